"""The training loop and whole trainings: checkpoints, resuming, schedules, averages, faults."""

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
from safetensors.torch import save_file
from torch import Tensor, nn

from dacli.errors import DacliError, StopError
from dacli.models import tiny
from dacli.models.tiny import Tiny
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import Layout, render_layouts
from dacli.training import data, loop, recipes, run
from dacli.training.data import PairSource, SceneSource, TrainingStage, validation_samples
from dacli.training.loop import learning_rate_at, train_network
from dacli.training.monitoring import validate_network
from dacli.training.parallel import TrainingWorld
from dacli.training.recipes import STUDENT, TEACHER, Schedule, TrainingPlan
from dacli.training.run import TrainingOptions, run_training
from dacli.training.state import CHECKPOINT_FILE, WEIGHT_DECAY, TrainingState, create_training_state
from dacli.training.step import FeatureAlignment, batch_loss, checkpoint_activations, training_step
from tests.support.models import ConvolutionModel

ALONE = TrainingWorld()
SHORT: dict[str, Any] = {"steps": 6, "batch": 2, "size": 32, "precision": "fp32", "workers": 0, "minutes": 60}
SMALL = TrainingStage(steps=3, size=32, batch=2, fresh=1, canvas=48)
LARGER = TrainingStage(steps=3, size=64, batch=2, fresh=1, canvas=64)
Rows = list[dict[str, Any]]


@cache
def cached_scene(index: int) -> Layout:
    return make_scene(17, index)


def some_scene(_seed: int, index: int) -> Layout:
    """Return one of five scenes, which are made once."""
    return cached_scene(index % 5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 2)
    monkeypatch.setattr("dacli.training.run.LOG_EVERY", 2)


def small_plan(
    *stages: TrainingStage, objective: recipes.Objective = TEACHER, encoder_factor: float = 1.0
) -> TrainingPlan:
    schedule = Schedule(((1e-3, stages or (SMALL,)),), encoder_factor)
    return TrainingPlan(schedule, objective, SceneSource(5, some_scene), 5, dtype=torch.float32)


def new_state(settings: dict[str, str] | None = None, encoder_factor: float = 1.0) -> TrainingState:
    torch.manual_seed(3)
    return create_training_state(Tiny(), encoder_factor, settings)


def train(
    state: TrainingState,
    folder: Path,
    plan: TrainingPlan,
    report: Callable[[dict[str, Any]], None] | None = None,
    minutes: float = 60,
) -> Rows:
    rows: Rows = []
    train_network(state, plan, folder, ALONE, workers=0, minutes=minutes, report=report or rows.append)
    return rows


@cache
def scenes_at_64() -> tuple[Tensor, Tensor]:
    """Return eight pictures in 0…1 and their inverse depth, one region each."""
    found = render_layouts([make_scene(17, index) for index in range(8)], 64, 64)
    return found.rgb / 255, found.inverse_depth[:, None]


def state_dicts(state: TrainingState) -> dict[str, Any]:
    return {name: getattr(state, name).state_dict() for name in ("model", "average", "optimiser")}


def assert_same(first: Any, second: Any) -> None:
    """Assert that nested states are equal to the last bit."""
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


def interrupted_at(at: int) -> Callable[[dict[str, Any]], None]:
    def interrupt(row: dict[str, Any]) -> None:
        if row["step"] == at:
            raise KeyboardInterrupt

    return interrupt


def test_a_few_steps_write_a_checkpoint(tmp_path: Path) -> None:
    state = new_state({"seed": "3"})
    before = [p.clone() for p in state.model.parameters()]
    rows = train(state, tmp_path, small_plan())
    assert [(row["step"], row["of"], row["size"]) for row in rows] == [(1, 3, 32), (2, 3, 32), (3, 3, 32)]
    assert all(np.isfinite(row["loss"]) and row["loss"] > 0 for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    assert any(not torch.equal(a, b) for a, b in zip(before, state.model.parameters(), strict=True))
    again = new_state({"seed": "3"})
    again.load(tmp_path / CHECKPOINT_FILE)
    assert again.steps_done == state.steps_done == 3
    assert_same(state_dicts(again), state_dicts(state))


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, TrainingState]:
    """The rows and the last state of a training of two stages that was not interrupted."""
    state = new_state()
    return train(state, tmp_path_factory.mktemp("whole"), small_plan(SMALL, LARGER)), state


@pytest.mark.parametrize("at", [2, pytest.param(5, marks=pytest.mark.slow)])
def test_an_interrupted_training_resumes_to_the_last_bit(
    at: int, whole_training: tuple[Rows, TrainingState], tmp_path: Path
) -> None:
    rows, whole = whole_training
    plan = small_plan(SMALL, LARGER)
    with pytest.raises(KeyboardInterrupt):
        train(new_state(), tmp_path, plan, interrupted_at(at), minutes=0)
    resumed = new_state()
    resumed.load(tmp_path / CHECKPOINT_FILE)
    assert resumed.steps_done == at - 1
    assert train(resumed, tmp_path, plan) == rows[at - 1 :]
    assert_same(state_dicts(resumed), state_dicts(whole))
    assert train(resumed, tmp_path, plan) == []


def test_each_cycle_of_the_rate_starts_where_the_one_before_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []

    def record(state: TrainingState, *_: object, learning_rate: float, **__: object) -> Tensor:
        rates.append(learning_rate)
        state.steps_done += 1
        return torch.tensor(0.25)

    monkeypatch.setattr(loop, "training_step", record)
    cycles = ((4e-3, (SMALL, replace(LARGER, steps=1))), (1e-3, (replace(LARGER, steps=2),)))
    plan = replace(small_plan(), schedule=Schedule(cycles))
    train(new_state(), tmp_path, plan)
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


def test_the_encoder_learns_at_its_own_rate() -> None:
    state = new_state(encoder_factor=0.1)
    picture, truth = (side[:2] for side in scenes_at_64())
    training_step(state, small_plan(encoder_factor=0.1), (picture, truth), ALONE, learning_rate=1e-3)
    names = {id(p): name for name, p in state.model.named_parameters()}
    for group in state.optimiser.param_groups:
        in_encoder = {names[id(p)].split(".")[0] == "encoder" for p in group["params"]}
        assert in_encoder == {group["lr"] == pytest.approx(1e-4)} == {group["lr"] != pytest.approx(1e-3)}
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] == WEIGHT_DECAY}
    assert sum(len(group["params"]) for group in state.optimiser.param_groups) == len(names)


@pytest.mark.parametrize(("done", "kept"), [(90, 0.91), (10**6, 0.999)])
def test_the_average_follows_the_weights_and_the_statistics_of_the_model(done: int, kept: float) -> None:
    state = new_state()
    with torch.no_grad():
        for value in (*state.model.parameters(), *state.model.buffers()):
            value.add_(1)
    old = {name: value.numpy().copy() for name, value in state.average.module.state_dict().items()}
    state.average.continue_after(done)  # the initial weights and those after each step
    state.average.update_parameters(state.model)
    now, counts = state.model.state_dict(), 0
    for name, value in state.average.module.state_dict().items():
        if name.endswith("num_batches_tracked"):  # only counts batches, and is in no file of weights
            counts += 1
            continue
        np.testing.assert_allclose(value, old[name] * kept + now[name].numpy() * (1 - kept), rtol=1e-5, atol=1e-6)
    assert 0 < counts < len(now) / 4
    assert not any(weight.requires_grad for weight in state.average.parameters())


@pytest.mark.parametrize("precision", [torch.float32, pytest.param(torch.bfloat16, marks=pytest.mark.slow)])
def test_the_loss_falls_on_one_batch(precision: torch.dtype) -> None:
    pictures, truth = (side[:4, :, ::2, ::2] for side in scenes_at_64())
    state, plan = new_state(), replace(small_plan(), dtype=precision)
    state.model.train()
    losses = [training_step(state, plan, (pictures, truth), ALONE, learning_rate=2e-3) for _ in range(8)]
    assert state.steps_done == 8
    assert losses[-1] < 0.5 * losses[0]
    assert next(state.model.parameters()).dtype == torch.float32


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    state = new_state()
    monkeypatch.setattr(state.optimiser, "step", lambda: None)
    batch = scenes_at_64()[0][:2], scenes_at_64()[1][:2]
    plan = small_plan(objective=replace(TEACHER, loss=lambda p, t: 1e4 * TEACHER.loss(p, t)))
    training_step(state, plan, batch, ALONE, learning_rate=1e-3)
    norm = sum(p.grad.square().sum().item() for p in state.model.parameters() if p.grad is not None) ** 0.5
    assert norm == pytest.approx(1, rel=1e-3)


def test_a_loss_that_is_not_a_number_ends_the_training_without_a_checkpoint(tmp_path: Path) -> None:
    plan = small_plan(objective=replace(TEACHER, loss=lambda p, t: TEACHER.loss(p, t) * torch.nan))
    with pytest.raises(DacliError, match=r"step 1 is not a number: lower --rate"):
        train(new_state(), tmp_path, plan)
    assert not list(tmp_path.iterdir())


def test_features_are_aligned_with_those_of_the_encoder_before_training() -> None:
    state, plan = new_state(), small_plan(objective=STUDENT)
    alignment = FeatureAlignment(state.model)
    batch = scenes_at_64()[0][:2], scenes_at_64()[1][:2]
    state.model.eval()  # both use the same batch statistics
    picture = state.model.normalize(batch[0])
    state.model(picture)
    assert alignment.loss(picture).tolist() == [0, 0]
    state.model.train()
    frozen = [p.clone() for p in alignment.frozen.parameters()]
    training_step(state, plan, batch, ALONE, learning_rate=3e-2, alignment=alignment)
    assert_same(list(alignment.frozen.parameters()), frozen)
    with torch.no_grad():  # far from where it began
        for parameter in state.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3)
    state.model(picture)
    loss = alignment.loss(picture)
    assert loss.mean() > 0
    total = batch_loss(state, plan, *batch, alignment)
    torch.testing.assert_close(total - batch_loss(state, plan, *batch, None), loss.mean(), atol=1e-5, rtol=1e-4)


def test_a_training_that_is_asked_to_stop_saves_the_step_that_it_is_at(
    whole_training: tuple[Rows, TrainingState], tmp_path: Path
) -> None:
    rows, whole = whole_training
    plan = small_plan(SMALL, LARGER)
    seen: Rows = []
    with pytest.raises(loop.TrainingInterruptedError) as caught:
        train_network(
            new_state(),
            plan,
            tmp_path,
            ALONE,
            workers=0,
            minutes=60,
            report=seen.append,
            is_stopping=lambda: len(seen) == 3,
        )
    assert caught.value.step == 3
    assert seen == rows[:3]
    resumed = new_state()
    resumed.load(tmp_path / CHECKPOINT_FILE)
    assert train(resumed, tmp_path, plan) == rows[3:]
    assert_same(state_dicts(resumed), state_dicts(whole))


@pytest.mark.parametrize("place", ["torch.save", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_last_checkpoint(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, path = new_state(), tmp_path / CHECKPOINT_FILE
    state.save(path)
    old = path.read_bytes()
    state.steps_done = 7

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises((OSError, StopError), match=r"No space|disk is full"):
            state.save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    state.save(path)
    state.load(path)
    assert state.steps_done == 7


def test_different_settings_are_named(tmp_path: Path) -> None:
    new_state({"seed": "1", "encoder": "tiny", "size": "64"}).save(tmp_path / CHECKPOINT_FILE)
    with pytest.raises(DacliError) as error:
        new_state({"seed": "2", "encoder": "tiny", "data": "rendered"}).load(tmp_path / CHECKPOINT_FILE)
    message = str(error.value)
    assert "seed 1 instead of 2" in message
    assert "size 64 instead of nothing" in message
    assert "data nothing instead of rendered" in message
    assert "encoder" not in message


def damage(name: str, good: bytes, path: Path) -> None:
    if name == "another network":
        create_training_state(ConvolutionModel()).save(path)
    elif name == "a part missing":
        torch.save({"model": new_state().model.state_dict(), "done": 3, "settings": {}}, path)
    elif name == "no checkpoint":
        torch.save(torch.zeros(3), path)
    elif name == "another optimiser":
        state = torch.load(path, weights_only=True)
        torch.save(state | {"optimiser": torch.optim.SGD([torch.zeros(1)], 0.1).state_dict()}, path)
    elif name == "code":
        torch.save({"model": ConvolutionModel()}, path)
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
    new_state().save(path)
    damage(name, path.read_bytes(), path)
    with pytest.raises(DacliError, match=r"checkpoint\.pt") as error:
        new_state().load(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert error.value.hint


def short_options(folder: Path, **others: Any) -> TrainingOptions:
    return TrainingOptions(folder, **{**SHORT, **others})


def train_teacher(
    options: TrainingOptions,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
) -> Path:
    source = SceneSource(options.seed, some_scene)
    return run_training(options, "teacher", TEACHER, source, "a few scenes", ALONE, report, log=log)


def log_of(folder: Path) -> Rows:
    """Return the rows of a log without times and rates, which differ in every run."""
    first, *rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert first["dacli"]["command"] == "teacher"
    return [{key: value for key, value in row.items() if key not in ("time", "rate")} for row in rows]


def test_a_training_leaves_weights_a_log_and_pictures(tmp_path: Path) -> None:
    rows: Rows = []
    path = train_teacher(short_options(tmp_path / "run"), rows.append)
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
    schedule = recipes.SCHEDULES["tiny", "scratch"].with_changes(steps=6, batch=2, size=32)
    samples = validation_samples(
        replace(small_plan(), schedule=schedule, source=SceneSource(1, some_scene), seed=1).batch_settings(
            schedule.cycles[-1][1][-1]
        )
    )
    assert log[3] == {"step": 6, "validation": pytest.approx(validate_network(average, TEACHER, samples)[0], rel=1e-5)}
    with safe_open(path, "np") as file:
        assert file.metadata()["seed"] == "1"
        assert json.loads(file.metadata()["cycles"]) == schedule.as_lists()


def test_weights_carry_the_source_of_the_encoder_that_they_began_with(tmp_path: Path) -> None:
    torch.manual_seed(5)
    encoder = tmp_path / "encoder.safetensors"
    save_file(Tiny().encoder.state_dict(), encoder, {"source": "an archive, MIT"})
    first = train_teacher(short_options(tmp_path / "first", steps=1, init=encoder))
    second = train_teacher(short_options(tmp_path / "second", steps=1, init=first))
    for path in (first, second):
        with safe_open(path, "np") as file:
            assert file.metadata()["init source"] == "an archive, MIT"
    with safe_open(train_teacher(short_options(tmp_path / "third", steps=1)), "np") as file:
        assert "init source" not in file.metadata()


@pytest.mark.parametrize("resumed", [pytest.param(0, marks=pytest.mark.slow), 6])
def test_a_training_by_the_clock_passes_through_its_schedule_in_that_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resumed: int
) -> None:
    """Each step takes 5 s of a clock that stands still otherwise: 8 of 24 steps fit into 40 s."""
    seconds, rates = [100.0], []
    original = training_step

    def step_of_five_seconds(*given: Any, learning_rate: float, **named: Any) -> Tensor:
        seconds[0] += 5
        rates.append(learning_rate)
        return original(*given, learning_rate=learning_rate, **named)

    monkeypatch.setattr(loop, "training_step", step_of_five_seconds)
    monkeypatch.setattr("dacli.training.loop.time.monotonic", lambda: seconds[0])
    cycles = ((4e-3, (replace(SMALL, steps=12), replace(LARGER, steps=12))),)
    state = new_state()
    rows: Rows = []
    state.steps_done = resumed
    plan = replace(small_plan(), schedule=Schedule(cycles))
    train_network(state, plan, tmp_path, ALONE, workers=0, minutes=60, seconds=40, report=rows.append)
    steps = [resumed + number * (24 - resumed) // 8 for number in range(9)]
    assert [row["step"] for row in rows] == steps[1:]
    assert [row["size"] for row in rows] == [32 if step < 12 else 64 for step in steps[:-1]]
    assert rates == [learning_rate_at(step, 24, 4e-3) for step in steps[:-1]]
    assert state.steps_done == 24


@pytest.mark.slow
def test_a_training_that_was_killed_resumes_with_the_same_losses_and_log(tmp_path: Path) -> None:
    rows: Rows = []
    rest: Rows = []
    first = train_teacher(short_options(tmp_path / "whole"), rows.append)
    with pytest.raises(KeyboardInterrupt):
        train_teacher(short_options(tmp_path / "cut", minutes=0), interrupted_at(3))
    with (tmp_path / "cut" / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 1}\n{"step": 6, "lo')  # rows after the checkpoint, the last one incomplete
    second = train_teacher(short_options(tmp_path / "cut"), rest.append)
    assert [row["loss"] for row in rest] == [row["loss"] for row in rows[2:]]
    assert_same(tiny.load_tiny(first).state_dict(), tiny.load_tiny(second).state_dict())
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")


def test_a_finished_training_goes_on_with_more_steps_and_not_with_fewer(tmp_path: Path) -> None:
    rows: Rows = []
    said: list[str] = []
    first = tiny.load_tiny(train_teacher(short_options(tmp_path, steps=2))).state_dict()
    again = train_teacher(short_options(tmp_path, steps=2), rows.append, said.append)
    assert_same(tiny.load_tiny(again).state_dict(), first)
    validation = next(row["validation"] for row in log_of(tmp_path) if "validation" in row)
    assert said == [f"finished at step 2, validation loss {validation:.3f}; more --steps go on from there"]
    assert not rows
    train_teacher(short_options(tmp_path, steps=5), rows.append, said.append)
    assert [(row["step"], row["of"]) for row in rows] == [(3, 5), (4, 5), (5, 5)]
    assert said[1:] == ["goes on after step 2 of 5"]
    with pytest.raises(DacliError, match=r"steps 5 instead of 3: steps may be more than before, not fewer"):
        train_teacher(short_options(tmp_path, steps=3))
    with pytest.raises(DacliError, match=r"steps 5 instead of 9, .*: give those"):
        train_teacher(short_options(tmp_path, steps=9, batch=4))
    assert log_of(tmp_path)[-1]["step"] == 5


def test_a_folder_of_another_training_is_rejected_with_the_differences(tmp_path: Path) -> None:
    train_teacher(short_options(tmp_path, steps=1))
    with pytest.raises(DacliError, match=r"seed 1 instead of 2, batch 2.* instead of 4"):
        train_teacher(short_options(tmp_path, steps=1, seed=2, batch=4))


@pytest.mark.slow
def test_two_hundred_steps_on_rendered_scenes_lower_the_validation_loss_by_a_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured: from 4.05 to 2.08; and the losses are the same to the last bit after a kill at step 100."""
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 16)
    options = short_options(tmp_path / "whole", steps=200, batch=8, size=64, minutes=60, precision="auto")
    rows: Rows = []
    run_training(options, "teacher", TEACHER, SceneSource(1, make_scene), "scenes", ALONE, rows.append)
    torch.manual_seed(1)
    schedule = recipes.SCHEDULES["tiny", "scratch"].with_changes(steps=200, batch=8, size=64)
    plan = replace(small_plan(), schedule=schedule, source=SceneSource(1, make_scene), seed=1)
    samples = validation_samples(plan.batch_settings(schedule.cycles[-1][1][-1]))
    before = validate_network(Tiny(), TEACHER, samples)[0]
    after = log_of(tmp_path / "whole")[-1]["validation"]
    assert after < 0.67 * before
    cut = replace(options, folder=tmp_path / "cut", minutes=0)
    rest: Rows = []
    with pytest.raises(KeyboardInterrupt):
        run_training(cut, "teacher", TEACHER, SceneSource(1, make_scene), "scenes", ALONE, interrupted_at(101))
    run_training(cut, "teacher", TEACHER, SceneSource(1, make_scene), "scenes", ALONE, rest.append)
    assert [row["loss"] for row in rest] == [row["loss"] for row in rows[100:]]


# --- memory, and waiting for the device ---


def out_of_memory_above(pictures: int, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError]) -> list[int]:
    """Let the network fail for more pictures at once; return the list of how many went through it."""
    sizes: list[int] = []
    forward = Tiny.forward

    def limited(self: Tiny, x: Tensor) -> Tensor:
        if len(x) > pictures:
            raise error("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Tiny, "forward", limited)
    return sizes


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, pytest.param(RuntimeError, marks=pytest.mark.slow)])
def test_a_batch_that_memory_does_not_hold_is_computed_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[RuntimeError]
) -> None:
    sizes = out_of_memory_above(2, monkeypatch, error)
    lines: list[str] = []
    plan = small_plan(replace(SMALL, batch=8, steps=2))
    train_network(new_state(), plan, tmp_path, ALONE, workers=0, minutes=60, report=lambda _: None, log=lines.append)
    assert sizes == [2] * 8
    assert lines == [
        "cpu has no memory for 8 pictures: each batch is computed in 2 parts from now on",
        "cpu has no memory for 4 pictures: each batch is computed in 4 parts from now on",
    ]


def test_memory_for_less_than_two_pictures_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_above(1, monkeypatch, torch.OutOfMemoryError)
    with pytest.raises(DacliError, match="cpu has no memory for 2 pictures") as caught:
        train(new_state(), tmp_path, small_plan(replace(SMALL, batch=4)))
    assert caught.value.hint == "lower --batch or --size, or use --checkpoint-activations"


def test_other_faults_of_a_step_are_not_taken_for_a_lack_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Tiny, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(new_state(), tmp_path, small_plan())


def test_parts_of_a_batch_have_the_gradient_of_the_whole() -> None:
    pictures, truth = (values[:6] for values in scenes_at_64())
    gradients, losses = [], []
    for parts in (1, 3):
        state = new_state()
        state.model.eval()  # batch norms see each part by itself
        losses.append(float(training_step(state, small_plan(), (pictures, truth), ALONE, learning_rate=0, parts=parts)))
        gradients.append(torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_activations_that_are_computed_again_change_no_gradient_and_take_less_memory() -> None:
    pictures, truth = (values[:2] for values in scenes_at_64())
    kept, gradients = [], []
    for again in (False, True):
        state = new_state()
        stored: list[int] = []

        def note(tensor: Tensor, stored: list[int] = stored) -> Tensor:
            stored.append(tensor.nbytes)
            return tensor

        if again:
            checkpoint_activations(state.model)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = batch_loss(state, small_plan(), pictures, truth, None)
        loss.backward()  # type: ignore[no-untyped-call]
        kept.append(sum(stored))
        gradients.append([p.grad for p in state.model.parameters()])
    assert_same(*gradients)
    assert kept[1] < 0.6 * kept[0]


def test_losses_are_read_together_and_in_order() -> None:
    rows: Rows = []
    reports = loop.LossReports(rows.append, late=3)
    for number in range(5):
        reports.add({"step": number}, torch.tensor(number / 2))
        assert len(rows) == (number + 1) // 3 * 3
    reports.flush()
    reports.flush()
    assert rows == [{"step": number, "loss": number / 2} for number in range(5)]
    reports.add({"step": 5}, torch.tensor(torch.nan))
    reports.add({"step": 6}, torch.tensor(1.0))
    with pytest.raises(DacliError, match="the loss of step 5 is not a number"):
        reports.flush()


@pytest.mark.parametrize(("device", "mode"), [("cpu", None), ("cuda:1", "reduce-overhead")])
def test_compiled_networks_have_cuda_graphs_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, device: str, mode: str | None
) -> None:
    asked = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, **options: asked.append(options))
    run.compile_for_training(Tiny(), device)
    assert asked == [{"mode": mode, "dynamic": False}]


def test_rendered_scenes_for_a_gpu_take_a_worker_on_every_core_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    scenes, pairs = SceneSource(1, make_scene), PairSource(1, ())
    assert run.worker_count(scenes, TrainingWorld("cuda:0")) == 15
    assert run.worker_count(scenes, TrainingWorld("cuda:1", 1, 4)) == 3
    assert run.worker_count(scenes, ALONE) == run.worker_count(pairs, TrainingWorld("cuda:0")) == 2


def test_scenes_for_a_gpu_are_rendered_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(loop, "batches_on_device", lambda *given, **_: asked.append(given[1:]))
    plan = small_plan()
    (part,) = loop.stage_parts(plan.schedule)
    loop.stage_batches(plan, part, TrainingWorld("cuda:0"), 3, 1)
    assert asked == [(plan.source, 1, 3, 3, "cuda:0")]
