"""dacli bench as users type it, and what it computes."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dacli import __version__
from dacli.bench import machine, measure, rivals, subjects, table
from dacli.bench.rivals import RivalInput, Runner
from dacli.bench.subjects import MeasuredModel
from dacli.cli.console import Console
from dacli.errors import DacliError
from dacli.inference import device, planning
from dacli.models import checkpoint_files
from dacli.models.choice import ModelChoice
from dacli.models.depth_anything import DepthAnything
from dacli.models.tiny import Tiny
from tests.support.commands import Run, read_bgr

SMALL = ("--encoder", "tiny", "--size", "32", "--turns", "1")
MADE = ("--engine", "torch", "--precision", "fp32")


@pytest.fixture(autouse=True)
def little(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - the fixture works by its name
    """A folder to be timed has two small pictures."""
    monkeypatch.setattr(table, "FOLDER_PICTURES", 2)
    monkeypatch.setattr(table, "make_photos", partial(measure.make_photos, width=48, height=36))


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No command is run for its memory."""
    monkeypatch.setattr(table, "image_peak_memory", lambda *_: 0.25)


# --- the table ---


@pytest.mark.slow
@pytest.mark.usefixtures("light")
def test_the_table_names_the_machine_and_has_a_row_for_each_way(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "has_fast_bf16", lambda: "AMX")  # OpenVINO then computes bf16 as it can
    run = dacli("bench", *SMALL, "--precision", "fp32,bf16", "--engine", "torch,openvino", "--device", "cpu")
    assert (run.code, run.err) == (0, ["measuring tiny at 32 px"])
    first, second, *rows = run.out.splitlines()
    for part in (
        f"dacli {__version__}",
        f"torch {torch.__version__}",
        f"{device.compute_threads()} threads",
        "openvino 20",
    ):
        assert part in first
    assert second.endswith("weights tiny.safetensors, size 32; medians")
    told = [row.split()[:3] for row in rows if row.split()[:1] == ["tiny"]]
    assert told == [["tiny", engine, how] for engine in ("torch", "openvino") for how in ("fp32", "bf16")]
    assert "pipeline" not in run.out


@pytest.mark.usefixtures("light")
def test_json_is_one_line(dacli: Run) -> None:
    run = dacli("bench", *SMALL, *MADE, "--size", "32,320", "--json", "-q")
    assert (run.code, run.err) == (0, [])
    (line,) = run.out.splitlines()
    found = json.loads(line)
    assert found["machine"] == machine.examine_machine()
    small, large = found["results"]
    setup = {"encoder": "tiny", "model": "tiny", "weights": "tiny.safetensors", "engine": "torch", "precision": "fp32"}
    assert small.items() >= {**setup, "size": 32, "tiles": 0, "relative_error": 0, "peak_gib": 0.25}.items()
    assert large.items() >= {**setup, "size": 320, "tiles": 4, "network_seconds": None}.items()
    assert set(small) == set(large) == {*setup, "size", "tiles", *table.BENCH_SCORES}
    assert min(small[name] for name in ("seconds", "network_seconds", "pictures_per_second")) > 0
    assert {small[name] for name in table.BENCH_SCORES if name.startswith("times")} == {None}


def test_errors_are_those_of_the_depth() -> None:
    exact = np.array([[3, 4]], np.float32)
    assert table.relative_error(exact, exact) == 0
    assert table.relative_error(np.array([[3, 5]], np.float32), exact) == pytest.approx(0.2)


def test_ratios_are_medians_of_turns_and_only_where_there_is_a_rival() -> None:
    runners = [Runner("openvino", "bf16"), Runner(rivals.PIPELINE, "fp32"), Runner(rivals.OPENVINO, "bf16")]
    seconds = {
        "whole": [[1.0, 2.0, 4.0], [4.0, 4.0, 4.0], []],
        "network": [[1.0, 1.0, 1.0], [], [0.5, 0.9, 1.1]],
        "folder": [[2.0, 4.0, 2.0], [8.0, 8.0, 12.0], []],
    }
    mine, pipeline, plain = table.summarize_turns(runners, seconds, files=8)
    assert mine == {
        "seconds": 2.0,
        "network_seconds": 1.0,
        "pictures_per_second": 4.0,
        "times_pipeline": 2.0,
        "times_pipeline_folder": 4.0,
        "times_openvino": 0.9,
    }
    assert (pipeline["pictures_per_second"], pipeline["times_pipeline"], plain["times_openvino"]) == (1.0, 1.0, 1.0)
    assert all(math.isnan(float(str(plain[name]))) for name in ("seconds", "pictures_per_second", "times_pipeline"))
    (alone,) = table.summarize_turns(runners[:1], {kind: each[:1] for kind, each in seconds.items()}, files=8)
    assert math.isnan(float(str(alone["times_pipeline"])))


def test_turns_are_shared_and_folders_get_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def noting(what: str) -> Callable[[], None]:
        return lambda: done.append(what)

    one = Runner("torch", "fp32", whole=noting("a"), network=noting("n"), folder=noting("f"))
    other = Runner(rivals.PIPELINE, "fp32", whole=noting("b"))
    monkeypatch.setattr(table, "FEWER_TURNS", 1)
    found = table.time_runners([one, other], 3)
    assert "".join(done) == "ab" * 4 + "n" * 4 + "f" * 2
    assert {kind: [len(each) for each in taken] for kind, taken in found.items()} == {
        "whole": [3, 3],
        "network": [3, 0],
        "folder": [1, 0],
    }


@pytest.mark.slow
def test_memory_is_the_commands_own(home: Path) -> None:
    ballast = bytearray(b"x" * (1 << 20)) * 500
    code = "import os; x = bytearray(os.urandom(1 << 20)) * 200"
    command = [sys.executable, "-c", measure.MEMORY_WRAPPER, sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert len(ballast) == 500 << 20
    assert 200 < int(told) / (1 << 10 if sys.platform != "darwin" else 1 << 20) < 300
    plan = planning.resolve_plan("cpu", "fp32", "torch")
    given = MeasuredModel(Tiny(), "tiny", "tiny", "tiny.safetensors", ("--encoder", "tiny"))
    (source,) = measure.make_photos(home, 1, width=48, height=36)
    assert 0.1 < table.image_peak_memory(given, plan, 32, source, home) < 0.45
    with pytest.raises(DacliError, match=r"dacli image, run for its memory, ended with 1: .*none\.png"):
        table.image_peak_memory(given, plan, 32, home / "none.png", home)


# --- networks whose weights are not here ---


def test_random_weights_are_always_the_same_and_show_something() -> None:
    picture = torch.randn(1, 3, 56, 70, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        first, second = (subjects.fill_with_random_weights(DepthAnything("vits").eval())(picture) for _ in range(2))
    assert torch.equal(first, second)
    assert float(first.std()) > 0.05 * float(first.mean()) > 0


@pytest.mark.parametrize("before", [None, "own"])
def test_what_is_made_of_random_weights_is_not_kept(
    before: str | None, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if before:
        monkeypatch.setenv("DACLI_CACHE", before)
    with subjects.open_measured_model(ModelChoice("vits", "v2"), home, Console(quiet=True)) as given:
        assert os.environ["DACLI_CACHE"] == str(home / "cache")
        option, path = given.options
        again = checkpoint_files.load_checkpoint(Path(path)).state_dict()
    assert os.environ.get("DACLI_CACHE") == before
    assert (given.weights, option) == ("random", "--weights")
    assert all(torch.equal(value, again[key]) for key, value in given.network.state_dict().items())
    assert "the weights of vits are not here (dacli weights get vits)" in capsys.readouterr().err


# --- rivals ---


def given(folder: Path) -> RivalInput:
    network = subjects.fill_with_random_weights(DepthAnything("vits").eval())
    (source,) = measure.make_photos(folder / "in", 1, width=80, height=60)
    rgb = np.ascontiguousarray(read_bgr(source)[..., ::-1])
    seen = torch.randn(1, 3, 42, 56, generator=torch.Generator().manual_seed(1))
    return RivalInput(network, rgb, seen, 42, [source], folder)


@pytest.mark.slow
def test_plain_openvino_computes_what_torch_does(home: Path) -> None:
    same = given(home)
    with torch.inference_mode():
        expected = same.network(same.seen).numpy()
    for fixed, name in ((False, "plain OpenVINO"), (True, "OpenVINO, one size")):
        runner = rivals.openvino_runner(same, fixed=fixed)
        assert runner.network is not None
        found: Any = runner.network()
        assert runner.engine == name
        assert table.relative_error(found[0], expected) < (1e-3 if runner.precision == "fp32" else 3e-2)


@pytest.mark.slow
def test_the_pipeline_sees_what_dacli_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same, seen = given(home), []
    real = torch.nn.Conv2d.forward

    def noting(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return real(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", noting)
    runner = rivals.pipeline_runner(same)
    assert runner.whole is not None
    assert runner.folder is not None
    found: Any = runner.whole()
    assert seen[0] == tuple(same.seen.shape)
    assert tuple(found["predicted_depth"].shape) == (60, 80)
    runner.folder()
    assert read_bgr(home / f"{same.sources[0].stem}_pipeline.png").shape == (60, 80, 3)


@pytest.mark.usefixtures("light")
def test_missing_and_failing_rivals_are_told_and_the_rest_is_measured(
    dacli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: RivalInput, **__: bool) -> Runner:
        raise RuntimeError("no such\nlayout")

    def standing(_: RivalInput) -> Runner:
        return Runner(rivals.PIPELINE, "fp32", whole=list, folder=list)

    monkeypatch.setattr(rivals, "has_package", lambda package: package != "onnxruntime")
    monkeypatch.setattr(rivals, "openvino_runner", failing)
    monkeypatch.setattr(rivals, "pipeline_runner", standing)
    run = dacli("bench", "--encoder", "vits", "--size", 42, "--turns", 1, *MADE, "--against", "--json", "-q")
    assert run.code == 0
    assert run.err[1:] == [
        "ONNX Runtime is not measured: pip install onnxruntime",
        "plain OpenVINO is not measured: RuntimeError: no such layout",
        "OpenVINO, one size is not measured: RuntimeError: no such layout",
    ]
    mine, pipeline = json.loads(run.out)["results"]
    assert (mine["weights"], pipeline["engine"], pipeline["relative_error"]) == ("random", rivals.PIPELINE, None)
    assert 0 < mine["times_pipeline"] < 1
    assert mine["times_openvino"] is None


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(("encoder", "tiles"), [("tiny", 0), ("vits", 6)])
def test_nothing_runs_against_tiny_and_tiles(
    dacli: Run, encoder: str, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = vars(DepthAnything)["spec"].fget
    small = property(lambda self: replace(spec(self), native_size=28, largest_pass=28))
    monkeypatch.setattr(DepthAnything, "spec", small)
    monkeypatch.delattr(rivals, "rival_runners")
    run = dacli("bench", "--encoder", encoder, "--size", 42, "--turns", 1, *MADE, "--against", "--json", "-q")
    (found,) = json.loads(run.out)["results"]
    assert (run.code, found["encoder"], found["tiles"]) == (0, encoder, tiles)


# --- failures ---


def test_what_fails_is_told_and_the_rest_is_measured(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: object, __: object, size: int, *___: object) -> float:
        if size == 64:
            raise DacliError("dacli image, run for its memory, ended with 1", "not enough memory")
        return 1.0

    monkeypatch.setattr(table, "image_peak_memory", failing)
    run = dacli("bench", *SMALL, *MADE, "--size", "64,32", "--json", "-q")
    assert run.code == 1
    assert run.err == ["error: dacli image, run for its memory, ended with 1: not enough memory"]
    assert [each["size"] for each in json.loads(run.out)["results"]] == [32]
    run = dacli("bench", *SMALL, *MADE, "--size", "64", "-q")
    assert (run.code, run.out) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--encoder", "tiny,vitx"], 2, "unknown encoder 'vitx'"),
        (["--size", "518,big"], 2, "--size big is not a number of pixels"),
        (["--size", "5"], 2, "--size 5 is not between 14 and 10000"),
        (["--precision", "fp32,int4"], 2, "unknown precision 'int4'"),
        (["--engine", "onnx"], 2, "unknown engine 'onnx'"),
        (["--device", "tpu"], 2, "unknown device 'tpu'"),
        (["--turns", "0"], 2, None),
        (["--model", "v2,indor"], 2, "unknown model 'indor': did you mean indoor?"),
        (["--encoder", "tiny", "--model", "indoor"], 2, "there is no indoor model of tiny"),
        (["--weights", "none.pth"], 1, "there is no file of weights none.pth: check the path"),
    ],
)
@pytest.mark.usefixtures("light")
def test_what_bench_cannot_do_is_one_line(
    dacli: Run, home: Path, arguments: list[str], code: int, why: str | None
) -> None:
    run = dacli("bench", *arguments)
    assert (run.code, run.out) == (code, "")
    if why is not None:
        (line,) = run.err
        assert line.startswith(f"error: {why}")
    assert not list(home.iterdir())


def test_an_engine_that_is_not_installed_is_told(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "is_installed", lambda name: name != "openvino")
    run = dacli("bench", *SMALL, "--engine", "torch,openvino")
    assert (run.code, run.out) == (1, "")
    (line,) = run.err
    assert line.startswith("error: OpenVINO is not installed: pip install")


def test_bench_has_help_with_an_example(dacli: Run) -> None:
    run = dacli("bench", "--help")
    assert (run.code, run.err) == (0, [])
    assert "Example: dacli bench" in run.out
    assert "bench" in dacli("--help").out
