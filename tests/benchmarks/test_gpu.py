"""The benchmark of GPUs runs in its CPU form, with a row for every figure; without a GPU it says so in one line."""

import re
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from dacli.errors import DacliError

KINDS = ["error", "error", "network", "engine", "network", "engine", "folder", "clip", "clip", "320", "320", "memory"]


def test_every_figure_has_a_row_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--smallest"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]
    assert [re.split(r"[ ,]", what)[0] for what, *_ in rows] == [*KINDS, "training"]
    assert {network for _, network, *_ in rows} == {"tiny"}
    assert float(rows[0][3]) <= 1e-5  # torch on a CPU against torch on a CPU
    assert all(re.match(r"\d+(\.\d+)?(e-\d+)?( |$)", value) for *_, value in rows)


def test_without_a_gpu_the_error_is_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^error: (this PyTorch is a build without|torch sees no) cuda.*--device cpu"):
        gpu.main([])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nTried"), DacliError("no room", "x")])
def test_a_figure_that_memory_does_not_hold_is_a_row_and_the_others_follow(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object) -> None:
        raise error

    def nothing(*_: object) -> list[gpu.Figure]:
        return []

    monkeypatch.setattr(gpu, "make_photos", nothing)
    for name in ("parity", "bare_network", "folders", "clips", "memory_of_passes"):
        monkeypatch.setattr(gpu, name, nothing)
    short.__name__ = "tiles"
    monkeypatch.setattr(gpu, "tiles", short)
    monkeypatch.setattr(gpu, "training", lambda *_: [gpu.Figure("training", "tiny", "", "1")])
    found = list(gpu.measure_all(gpu.SMALLEST, "cpu", tmp_path))
    assert [figure.what for figure in found] == ["tiles", "training"]
    assert found[0].value in ("CUDA out of memory.", "no room: x")
