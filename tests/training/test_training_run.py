import errno
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from dacli.errors import DacliError, StopError
from dacli.inference import preprocess
from dacli.models import tiny
from dacli.models.spec import DepthModel
from dacli.models.tiny import Tiny
from dacli.scenes.layouts import Layout, make_scene, render_layouts
from dacli.training import data, loop, recipes
from dacli.training.data import SceneSource, TrainingStage, validation_samples
from dacli.training.loop import (
    CHECKPOINT_FILE,
    FeatureAlignment,
    TrainingPlan,
    TrainingState,
    create_training_state,
    learning_rate_at,
    train_network,
    training_step,
    update_average,
)
from dacli.training.monitoring import validate_network
from dacli.training.parallel import TrainingWorld
from dacli.training.recipes import STUDENT, TEACHER, Schedule
from dacli.training.run import TrainingOptions, run_training

ALONE = TrainingWorld()
GENTLE: dict[str, Any] = {"steps": 6, "batch": 2, "size": 64, "precision": "fp32", "workers": 0, "minutes": 0}
SMALL = TrainingStage(steps=3, size=64, batch=2, fresh=1, canvas=64)
LARGER = TrainingStage(steps=3, size=96, batch=2, fresh=1, canvas=64)
Rows = list[dict[str, Any]]


@cache
def few(index: int) -> Layout:
    return make_scene(17, index)


def plain(_seed: int, index: int) -> Layout:
    """One of a few scenes."""
    return few(index % 5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 2)
    monkeypatch.setattr("dacli.training.run.LOG_EVERY", 2)


def course(*stages: TrainingStage, objective: recipes.Objective = TEACHER, share: float = 1.0) -> TrainingPlan:
    schedule = Schedule(((1e-3, stages or (SMALL,)),), share)
    return TrainingPlan(schedule, objective, SceneSource(5, plain), 5, dtype=torch.float32)


def fresh(settings: dict[str, str] | None = None, share: float = 1.0) -> TrainingState:
    torch.manual_seed(3)
    return create_training_state(Tiny(), share, settings)


def go(
    run: TrainingState, folder: Path, plan: TrainingPlan, report: Callable[[dict[str, Any]], None] | None = None
) -> Rows:
    rows: Rows = []
    train_network(run, plan, folder, ALONE, 0, 0, report or rows.append)
    return rows


@cache
def scenes_at_64() -> tuple[Tensor, Tensor]:
    """Eight normalised pictures and their inverse depth, one region each."""
    found = render_layouts([make_scene(17, index) for index in range(8)], 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (preprocess.MEAN, preprocess.STD))
    return ((found.rgb / 255 - mean) / std).float(), found.inverse_depth[:, None]


def state_of(run: TrainingState) -> dict[str, Any]:
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


def broken_off(at: int) -> Callable[[dict[str, Any]], None]:
    def power_cut(row: dict[str, Any]) -> None:
        if row["step"] == at:
            raise KeyboardInterrupt

    return power_cut


def test_a_few_steps_write_a_checkpoint(tmp_path: Path) -> None:
    run = fresh({"seed": "3"})
    before = [p.clone() for p in run.model.parameters()]
    rows = go(run, tmp_path, course())
    assert [(row["step"], row["of"], row["size"]) for row in rows] == [(1, 3, 64), (2, 3, 64), (3, 3, 64)]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    again = fresh({"seed": "3"})
    again.load(tmp_path / CHECKPOINT_FILE)
    assert again.done == run.done == 3
    assert_same(state_of(again), state_of(run))


@pytest.mark.parametrize("at", [2, 5])
def test_a_training_that_was_broken_off_goes_on_to_the_last_bit(at: int, tmp_path: Path) -> None:
    plan, whole = course(SMALL, LARGER), fresh()
    rows = go(whole, tmp_path / "whole", plan)
    with pytest.raises(KeyboardInterrupt):
        go(fresh(), tmp_path / "cut", plan, broken_off(at))
    resumed = fresh()
    resumed.load(tmp_path / "cut" / CHECKPOINT_FILE)
    assert resumed.done == at - 1
    assert go(resumed, tmp_path / "cut", plan) == rows[at - 1 :]
    assert_same(state_of(resumed), state_of(whole))
    assert go(resumed, tmp_path / "cut", plan) == []


def test_each_cycle_of_the_rate_begins_anew_where_the_one_before_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def counted(run: TrainingState, _course: TrainingPlan, _batch: object, learning_rate: float, *_: object) -> float:
        rates.append(learning_rate)
        run.done += 1
        return 0.25

    monkeypatch.setattr(loop, "training_step", counted)
    cycles = ((4e-3, (SMALL, replace(LARGER, steps=1))), (1e-3, (replace(LARGER, steps=2),)))
    plan = replace(course(), schedule=Schedule(cycles))
    go(fresh(), tmp_path, plan)
    assert rates == [learning_rate_at(n, 4, 4e-3) for n in range(4)] + [learning_rate_at(n, 2, 1e-3) for n in range(2)]


def test_the_learning_rate_warms_up_and_falls_by_half_a_cosine() -> None:
    total, warm = 1300, loop.WARM_UP_STEPS
    rates = np.array([learning_rate_at(number, total, 0.5) for number in range(total)])
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
    assert learning_rate_at(0, 12, 0.5) == 0.25  # a short training warms up in a sixth of its steps


def test_the_encoder_learns_at_its_share_of_the_rate() -> None:
    run = fresh(share=0.1)
    picture, truth = (side[:2] for side in scenes_at_64())
    training_step(run, course(share=0.1), (picture, truth), 1e-3, ALONE)
    names = {id(p): name for name, p in run.model.named_parameters()}
    for group in run.optimiser.param_groups:
        early = {names[id(p)].split(".")[0] in ("stem", "stages", "attention") for p in group["params"]}
        assert early == {group["lr"] == pytest.approx(1e-4)} == {group["lr"] != pytest.approx(1e-3)}
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == loop.WEIGHT_DECAY}
    assert sum(len(group["params"]) for group in run.optimiser.param_groups) == len(names)


@pytest.mark.parametrize(("done", "kept"), [(90, 0.91), (10**6, 0.999)])
def test_the_average_follows_the_weights_and_the_statistics_of_the_model(done: int, kept: float) -> None:
    run = fresh()
    with torch.no_grad():
        for value in (*run.model.parameters(), *run.model.buffers()):
            value.add_(1)
    old = {name: value.numpy().copy() for name, value in run.average.state_dict().items()}
    run.done = done
    update_average(run)
    now, counts = run.model.state_dict(), 0
    for name, value in run.average.state_dict().items():
        if name.endswith("num_batches_tracked"):  # tells nothing of the network, and is in no file of weights
            counts += 1
            continue
        np.testing.assert_allclose(value, old[name] * kept + now[name].numpy() * (1 - kept), rtol=1e-5, atol=1e-6)
    assert 0 < counts < len(now) / 4
    assert not any(weight.requires_grad for weight in run.average.parameters())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_loss_falls_on_one_batch(precision: torch.dtype) -> None:
    batch = scenes_at_64()[0][:4], scenes_at_64()[1][:4]
    run, plan = fresh(), replace(course(), dtype=precision)
    run.model.train()
    losses = [training_step(run, plan, batch, 2e-3, ALONE) for _ in range(15)]
    assert run.done == 15
    assert losses[-1] < 0.75 * losses[0]
    assert next(run.model.parameters()).dtype == torch.float32


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    run = fresh()
    monkeypatch.setattr(run.optimiser, "step", lambda: None)
    batch = scenes_at_64()[0][:2], scenes_at_64()[1][:2]
    plan = course(objective=replace(TEACHER, loss=lambda p, t: 1e4 * TEACHER.loss(p, t)))
    training_step(run, plan, batch, 1e-3, ALONE)
    norm = sum(p.grad.square().sum().item() for p in run.model.parameters() if p.grad is not None) ** 0.5
    assert norm == pytest.approx(1, rel=1e-3)


def test_a_loss_that_is_no_number_ends_the_training_before_it_is_saved(tmp_path: Path) -> None:
    plan = course(objective=replace(TEACHER, loss=lambda p, t: TEACHER.loss(p, t) * torch.nan))
    with pytest.raises(DacliError, match=r"step 1 is not a number: lower --rate"):
        go(fresh(), tmp_path, plan)
    assert not list(tmp_path.iterdir())


def test_features_are_held_to_those_of_the_encoder_before_training() -> None:
    run, plan = fresh(), course(objective=STUDENT)
    assert isinstance(run.model, DepthModel)
    alignment = FeatureAlignment(run.model)
    batch = scenes_at_64()[0][:2], scenes_at_64()[1][:2]
    run.model.eval()  # both see the same statistics
    run.model(batch[0])
    assert alignment.loss(batch[0]).tolist() == [0, 0]
    run.model.train()
    frozen = [p.clone() for p in alignment.frozen.parameters()]
    for _ in range(3):
        training_step(run, plan, batch, 1e-2, ALONE, alignment)
    assert_same(list(alignment.frozen.parameters()), frozen)
    run.model(batch[0])
    apart = alignment.loss(batch[0])
    assert apart.mean() > 0
    with_it = loop.batch_loss(run, plan, *batch, alignment)
    torch.testing.assert_close(with_it - loop.batch_loss(run, plan, *batch, None), apart.mean(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("place", ["torch.save", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_last_whole_checkpoint(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = fresh(), tmp_path / CHECKPOINT_FILE
    run.save(path)
    old = path.read_bytes()
    run.done = 7

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises((OSError, StopError), match=r"No space|disk is full"):
            run.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    run.save(path)
    run.load(path)
    assert run.done == 7


def test_other_settings_are_named(tmp_path: Path) -> None:
    fresh({"seed": "1", "encoder": "tiny", "size": "64"}).save(tmp_path / CHECKPOINT_FILE)
    with pytest.raises(DacliError) as error:
        fresh({"seed": "2", "encoder": "tiny", "data": "rendered"}).load(tmp_path / CHECKPOINT_FILE)
    told = str(error.value)
    assert "seed 1 instead of 2" in told
    assert "size 64 instead of None" in told
    assert "data None instead of rendered" in told
    assert "encoder" not in told


class Stranger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)


def spoilt(name: str, good: bytes, path: Path) -> None:
    if name == "another network":
        create_training_state(Stranger()).save(path)
    elif name == "a part missing":
        torch.save({"model": fresh().model.state_dict(), "done": 3, "settings": {}}, path)
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
    [
        "empty",
        "garbage",
        "truncated",
        "another network",
        "a part missing",
        "no checkpoint",
        "another optimiser",
        "code",
        "missing",
    ],
)
def test_damaged_checkpoints_are_named_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT_FILE
    fresh().save(path)
    spoilt(name, path.read_bytes(), path)
    with pytest.raises(DacliError, match=r"checkpoint\.pt") as error:
        fresh().load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert error.value.hint


def wanted(folder: Path, **others: Any) -> TrainingOptions:
    return TrainingOptions(folder, **{**GENTLE, **others})


def taught(given: TrainingOptions, report: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    return run_training(given, "teacher", TEACHER, SceneSource(given.seed, plain), "a few scenes", ALONE, report)


def log_of(folder: Path) -> Rows:
    """The rows of a log without the times, which no two trainings share."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("time", "rate")} for row in rows]


def test_a_training_leaves_weights_a_log_and_pictures(tmp_path: Path) -> None:
    rows: Rows = []
    path = taught(wanted(tmp_path / "run"), rows.append)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "checkpoint.pt",
        "log.jsonl",
        "loss.png",
        "samples.png",
        "tiny.safetensors",
    }
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert all(row["rate"] > 0 for row in rows)
    log = log_of(tmp_path / "run")
    assert log[:3] == [{key: row[key] for key in ("step", "of", "size", "loss")} for row in rows[1::2]]
    state = torch.load(tmp_path / "run" / CHECKPOINT_FILE, weights_only=True)
    average = Tiny()
    average.load_state_dict(state["average"])
    found = tiny.load_tiny(path)
    assert_same([w.half().float() for w in average.parameters()], list(found.parameters()))
    assert_same([s for s in average.buffers() if s.ndim], [s for s in found.buffers() if s.ndim])
    made = recipes.SCHEDULES["tiny", "scratch"].changed(6, 2, 64, None)
    samples = validation_samples(
        replace(course(), schedule=made, source=SceneSource(1, plain), seed=1).lesson(made.cycles[-1][1][-1])
    )
    assert log[3] == {"step": 6, "validation": pytest.approx(validate_network(average, TEACHER, samples)[0], rel=1e-5)}
    with safe_open(path, "np") as file:
        assert file.metadata()["seed"] == "1"
        assert json.loads(file.metadata()["cycles"]) == made.plain()


def test_a_command_that_was_killed_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    rows: Rows = []
    rest: Rows = []
    first = taught(wanted(tmp_path / "whole"), rows.append)
    with pytest.raises(KeyboardInterrupt):
        taught(wanted(tmp_path / "cut"), broken_off(5))
    with (tmp_path / "cut" / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 1}\n{"step": 6, "lo')  # written after the checkpoint, and half of a line
    second = taught(wanted(tmp_path / "cut"), rest.append)
    assert [row["loss"] for row in rest] == [row["loss"] for row in rows[4:]]
    assert_same(tiny.load_tiny(first).state_dict(), tiny.load_tiny(second).state_dict())
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")


def test_a_folder_of_another_training_is_refused_by_what_differs(tmp_path: Path) -> None:
    taught(wanted(tmp_path, steps=1))
    with pytest.raises(DacliError, match=r"seed 1 instead of 2, batch 2.* instead of 4"):
        taught(wanted(tmp_path, steps=1, seed=2, batch=4))


@pytest.mark.slow
def test_two_hundred_steps_on_rendered_scenes_lower_the_validation_loss_by_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: from 4.05 to 2.08; and the losses are the same to the last bit after a kill at step 100."""
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 16)
    given = wanted(tmp_path / "whole", steps=200, batch=8, minutes=60, precision="auto")
    rows: Rows = []
    run_training(given, "teacher", TEACHER, SceneSource(1, make_scene), "scenes", ALONE, rows.append)
    torch.manual_seed(1)
    made = recipes.SCHEDULES["tiny", "scratch"].changed(200, 8, 64, None)
    lesson = replace(course(), schedule=made, source=SceneSource(1, make_scene), seed=1).lesson(made.cycles[-1][1][-1])
    before = validate_network(Tiny(), TEACHER, validation_samples(lesson))[0]
    after = log_of(tmp_path / "whole")[-1]["validation"]
    assert after < 0.67 * before
    cut = replace(given, folder=tmp_path / "cut", minutes=0)
    rest: Rows = []
    with pytest.raises(KeyboardInterrupt):
        run_training(cut, "teacher", TEACHER, SceneSource(1, make_scene), "scenes", ALONE, broken_off(101))
    run_training(cut, "teacher", TEACHER, SceneSource(1, make_scene), "scenes", ALONE, rest.append)
    assert [row["loss"] for row in rest] == [row["loss"] for row in rows[100:]]
