import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Generator, Tensor, nn

from dacli import preprocess
from dacli.errors import DacliError
from dacli.scenes import Layout, draw, scene
from dacli.tiny import Tiny
from dacli.train import data, loop, teacher
from dacli.train.data import Stage, Stream, picture_size
from dacli.train.loop import Run, follow, rate, start, step, train

ONE_96 = {"size": 96, "batch": 2, "fresh": 1, "canvas": 96}
STAGE = Stage(steps=3, size=64, batch=2, fresh=1, canvas=64)
PEAK = 1e-3


def fresh() -> Run:
    torch.manual_seed(3)
    return start(Tiny())


@cache
def scenes_at_64() -> tuple[Tensor, Tensor]:
    """Eight normalised pictures and their inverse depth."""
    found = draw([scene(17, index) for index in range(8)], 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.MEAN, preprocess.STD))
    return ((found.rgb / 255 - mean) / std).float(), found.inverse_depth


def go(
    run: Run, folder: Path, stages: list[Stage], report: Callable[[dict[str, Any]], None] | None = None
) -> list[Any]:
    rows: list[Any] = []
    train(run, stages, 5, PEAK, folder, workers=0, minutes=0, report=report or rows.append)
    return rows


def state_of(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name).state_dict() for name in ("model", "average", "optimiser")}


def assert_same(first: Any, second: Any) -> None:
    """Nested states are equal to the last bit."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_same(value, second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_same(a, b)
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


class Batches:
    """Stands in for loader(): batch number n of any stage is always the same, whoever asks for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[int, int, int]] = []
        monkeypatch.setattr(loop, "loader", self)

    def __call__(
        self, stage: Stage, _seed: int, first: int, last: int, _workers: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked.append((stage.size, first, last))
        picture, truth = scenes_at_64()
        for number in range(first, last):
            pick = torch.randperm(8, generator=Generator().manual_seed(number))[: stage.batch]
            yield picture[pick], truth[pick]


def test_a_few_steps_write_a_checkpoint(tmp_path: Path) -> None:
    run = fresh()
    before = [p.clone() for p in run.model.parameters()]
    rows = go(run, tmp_path, [STAGE])
    assert [(row["step"], row["of"], row["size"]) for row in rows] == [(1, 3, 64), (2, 3, 64), (3, 3, 64)]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    again = fresh()
    again.load(tmp_path / "checkpoint.pt")
    assert again.done == run.done == 3
    assert_same(state_of(again), state_of(run))


def test_a_run_at_its_end_does_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, run = Batches(monkeypatch), fresh()
    run.done = 3
    assert go(run, tmp_path, [STAGE]) == []
    assert batches.asked == []


def test_a_resumed_run_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches(monkeypatch)
    stages = [Stage(2, 64, 2, 1, 64), Stage(3, 96, 3, 1, 64)]
    whole = fresh()
    losses = [row["loss"] for row in go(whole, tmp_path / "whole", stages)]
    assert batches.asked == [(64, 0, 2), (96, 2, 5)]

    def power_cut(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(fresh(), tmp_path / "cut", stages, power_cut)
    batches.asked.clear()
    resumed = fresh()
    resumed.load(tmp_path / "cut" / "checkpoint.pt")
    assert resumed.done == 3
    rows = go(resumed, tmp_path / "cut", stages)
    assert batches.asked == [(96, 3, 5)]
    assert [row["step"] for row in rows] == [4, 5]
    assert [row["loss"] for row in rows] == losses[3:]
    assert_same(state_of(resumed), state_of(whole))
    assert resumed.optimiser.param_groups[0]["lr"] == rate(4, 5, PEAK)


def test_each_cycle_of_the_rate_begins_anew_where_the_one_before_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches, rates = Batches(monkeypatch), []

    def counted(run: Run, _picture: Tensor, _truth: Tensor, learning_rate: float) -> float:
        rates.append(learning_rate)
        run.done += 1
        return 0.25

    monkeypatch.setattr(loop, "step", counted)
    cycles = ((4e-3, (Stage(2, 64, 2, 1, 64), Stage(1, 96, 2, 1, 96))), (1e-3, (Stage(2, 96, 2, 1, 96),)))
    path = teacher.teach(tmp_path, 5, 0, lambda _: None, cycles)
    assert rates == pytest.approx([2e-5, 4e-5, 6e-5, 5e-6, 1e-5])  # peak · (step + 1) / 200 while it warms up
    assert batches.asked == [(64, 0, 2), (96, 2, 3), (96, 3, 5)]
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()["cycles"])[1] == [1e-3, [{"steps": 2, **ONE_96}]]


def test_every_fiftieth_step_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Batches(monkeypatch)

    def counted(run: Run, *_: object) -> float:
        run.done += 1
        return 0.25

    monkeypatch.setattr(loop, "step", counted)
    train(fresh(), [Stage(120, 64, 2, 1, 64)], 5, PEAK, tmp_path, 0, 60, lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["of"], row["loss"]) for row in rows] == [(50, 120, 0.25), (100, 120, 0.25)]


@pytest.mark.parametrize("place", ["torch.save", "pathlib.Path.replace"])
def test_a_crash_while_saving_leaves_the_old_checkpoint(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = fresh(), tmp_path / "checkpoint.pt"
    run.save(path)
    old = path.read_bytes()
    run.done = 7

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises((OSError, DacliError), match=r"No space|disk is full"):
            run.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    run.save(path)
    run.load(path)
    assert run.done == 7


class Stranger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)


def spoilt(name: str, good: bytes, path: Path) -> None:
    if name == "another network":
        start(Stranger()).save(path)
    elif name == "a part missing":
        torch.save({"model": fresh().model.state_dict(), "done": 3}, path)
    elif name == "no checkpoint":
        torch.save(torch.zeros(3), path)
    elif name == "another optimiser":
        state = torch.load(path, weights_only=True)
        torch.save(state | {"optimiser": torch.optim.SGD([torch.zeros(1)], 0.1).state_dict()}, path)
    elif name == "code":
        torch.save({"model": Stranger()}, path)
    elif name == "missing":
        path.unlink()
    else:
        content = {"empty": b"", "garbage": b"no checkpoint at all" * 50, "truncated": good[: len(good) // 2]}
        path.write_bytes(content[name])


@pytest.mark.parametrize(
    "name",
    ["empty", "garbage", "truncated", "another network", "a part missing", "no checkpoint", "another optimiser", "code",
     "missing"],
)  # fmt: skip
def test_damaged_checkpoints_are_named_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    fresh().save(path)
    spoilt(name, path.read_bytes(), path)
    with pytest.raises(DacliError, match=r"checkpoint\.pt") as error:
        fresh().load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert error.value.hint


def test_the_loss_falls_on_one_batch() -> None:
    picture, truth = (side[:4] for side in scenes_at_64())
    run = fresh()
    run.model.train()
    losses = [step(run, picture, truth, 2e-3) for _ in range(15)]
    assert run.done == 15
    assert losses[-1] < 0.75 * losses[0]
    assert np.polyfit(range(15), losses, 1)[0] < 0


def test_the_learning_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    total, warm = 1000, loop.WARM_UP
    rates = np.array([rate(number, total, 0.5) for number in range(total)])
    np.testing.assert_allclose(rates[:warm], 0.5 * np.arange(1, warm + 1) / warm)
    model = nn.Linear(1, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, total - warm, 0.005)
    expected = []
    for _ in range(total - warm):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    np.testing.assert_allclose(rates[warm:], expected, rtol=1e-6)
    assert rates.max() == 0.5
    assert rate(5, 10, 0.5) == 0.5 * 6 / warm


def test_the_average_follows_the_model() -> None:
    run = fresh()
    with torch.no_grad():
        for value in (*run.model.parameters(), *run.model.buffers()):
            value.add_(1)
    old = [p.numpy().copy() for p in run.average.parameters()]
    run.done = 90
    follow(run)
    for weight, was, now in zip(run.average.parameters(), old, run.model.parameters(), strict=True):
        np.testing.assert_allclose(weight, was * 0.91 + now.detach().numpy() * 0.09, rtol=1e-5, atol=1e-6)
        assert not weight.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(run.average.buffers(), run.model.buffers(), strict=True))
    run.done = 10**6
    kept = [p.clone() for p in run.average.parameters()]
    follow(run)
    for weight, before, now in zip(run.average.parameters(), kept, run.model.parameters(), strict=True):
        torch.testing.assert_close(weight, before * 0.999 + now.detach() * 0.001)


def test_only_matrices_decay() -> None:
    deep, flat = fresh().optimiser.param_groups
    assert (deep["weight_decay"], flat["weight_decay"]) == (0.05, 0.0)
    assert {p.ndim for p in flat["params"]} == {1}
    assert {p.ndim for p in deep["params"]} == {2, 4}
    assert len(deep["params"]) + len(flat["params"]) == len(list(Tiny().parameters()))


def test_the_stream_depends_on_its_seed_alone() -> None:
    first, again, other = (list(Stream(STAGE, seed, 0, 3)) for seed in (5, 5, 6))
    assert_same(first, again)
    for (picture, truth), (strange, _) in zip(first, other, strict=True):
        assert picture.shape == (2, 3, *truth.shape[1:])
        assert truth.shape[0] == 2
        assert picture.isfinite().all()
        assert truth.isfinite().all()
        assert (truth >= 0).all()
        assert picture.shape != strange.shape or not torch.equal(picture, strange)
        rgb = picture * torch.tensor(preprocess.STD).view(3, 1, 1) + torch.tensor(preprocess.MEAN).view(3, 1, 1)
        assert -1e-5 <= rgb.min() <= rgb.max() <= 1 + 1e-5


def test_a_stream_from_the_middle_renders_the_same_new_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def noted(_seed: int, index: int) -> Layout:
        asked.append(index)
        return scene(1, 0)

    monkeypatch.setattr(data, "scene", noted)
    list(Stream(STAGE, 5, 0, 4))
    assert asked == [0, 1, 2, 3, 1000, 2000, 3000]
    asked.clear()
    list(Stream(STAGE, 5, 2, 4))
    assert asked == [2000, 2001, 2002, 2003, 3000]


def test_a_stream_in_this_process_leaves_its_threads_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        next(iter(Stream(STAGE, 5, 0, 1)))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_loaders_give_the_stream() -> None:
    found = list(data.loader(STAGE, 5, 1, 3, workers=0))
    assert_same([list(pair) for pair in found], [list(pair) for pair in Stream(STAGE, 5, 1, 3)])


@pytest.mark.parametrize("size", [128, 192, 256])
def test_formats_are_multiples_of_32_and_of_about_one_area(size: int) -> None:
    found = {picture_size(size, Generator().manual_seed(seed)) for seed in range(100)}
    assert len(found) >= 3
    for height, width in found:
        assert height % 32 == width % 32 == 0
        assert 0.6 < height * width / size**2 < 1.5
        assert 0.4 < height / width < 2
