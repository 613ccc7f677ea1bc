"""The training loop: one function for all recipes, which resumes exactly from any checkpoint."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dacli.callbacks import Log, ignore_log
from dacli.errors import DacliError
from dacli.training.data import BatchStream, SceneSource, TrainingSample, TrainingStage, load_batches
from dacli.training.device_batches import batches_on_device
from dacli.training.parallel import TrainingWorld, agree_on_step
from dacli.training.recipes import Schedule, TrainingPlan
from dacli.training.state import CHECKPOINT_FILE, TrainingState
from dacli.training.step import FeatureAlignment, training_step

WARM_UP_STEPS = 200
REPORTED_TOGETHER = 10  # steps of a GPU


@dataclass(frozen=True)
class TrainingClock:
    """Ends a training after a number of seconds: its schedule moves on at least as fast as the time passes.

    Steps that there is no time for are skipped evenly, so every stage gets its share of the time, and the learning rate
    reaches its end. `begin` is the step and `started` the time.monotonic() at which the clock starts.
    """

    seconds: float
    begin: int
    started: float

    def due_step(self, total: int) -> int:
        """Return the step at which a training of `total` steps has to be by now."""
        share = min(1.0, (time.monotonic() - self.started) / self.seconds)
        return self.begin + math.floor(share * (total - self.begin))


def learning_rate_at(step: int, total: int, peak: float) -> float:
    """Return the rate at a step of a cycle: linear warm-up, then half a cosine (Loshchilov 2017) to peak / 100."""
    warm = max(1, min(WARM_UP_STEPS, total // 6))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) / 2)


class TrainingInterruptedError(KeyboardInterrupt):
    """A training that was asked to stop, and has saved its checkpoint after this step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step


@dataclass
class LossReports:
    """Reports the losses of steps, and raises DacliError for one that is not finite.

    It keeps up to `late` of them: reading one from a GPU waits for all that the GPU has to do before.
    """

    report: Callable[[dict[str, Any]], None]  # takes the rows of steps, with their loss as a float
    late: int = 1
    waiting: list[tuple[dict[str, Any], Tensor]] = field(default_factory=list)

    def add(self, row: dict[str, Any], loss: Tensor) -> None:
        """Take the row of a step, and report what waits if that is enough."""
        self.waiting.append((row, loss))
        if len(self.waiting) >= self.late:
            self.flush()

    def flush(self) -> None:
        """Report everything that waits."""
        rows, self.waiting = self.waiting, []
        losses = torch.stack([loss for _, loss in rows]).tolist() if rows else []
        for (row, _), loss in zip(rows, losses, strict=True):
            if not math.isfinite(loss):
                fault = f"the loss of step {row['step']} is not a number"
                raise DacliError(fault, "lower --rate; the last checkpoint is whole")
            self.report({**row, "loss": loss})


@dataclass
class BatchSplit:
    """Takes batches in several parts, one after the other, once the device has no memory for a whole one."""

    world: TrainingWorld
    log: Log
    parts: int = 1

    def run(self, step: Callable[..., Tensor], pictures: int) -> Tensor:
        """Return `step(parts=…)` for a batch of that many pictures, with twice the parts until memory holds each.

        Raises DacliError if not even two pictures fit, or for one of several processes: they have to do the same.
        """
        while True:
            try:
                return step(parts=self.parts)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            self.split(pictures)

    def split(self, pictures: int) -> None:
        """Double the number of parts."""
        at_once = -(-pictures // self.parts)
        fault = f"{self.world.device} has no memory for {at_once} pictures"
        if self.world.count > 1 or at_once < 4:
            raise DacliError(fault, "lower --batch or --size, or use --checkpoint-activations")
        self.parts *= 2
        if self.world.device.startswith("cuda"):
            torch.cuda.empty_cache()
        self.log(f"{fault}: each batch is computed in {self.parts} parts from now on")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a device had no memory; on a CPU torch raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class StagePart:
    """A stage of a schedule: its steps `begin` to `end` (exclusive), in a cycle of the learning rate.

    The cycle starts at step `cycle`, is `length` steps long, and has the rate `peak`.
    """

    stage: TrainingStage
    begin: int
    end: int
    cycle: int
    length: int
    peak: float

    def learning_rate(self, step: int) -> float:
        """Return the rate at a step of the training."""
        return learning_rate_at(step - self.cycle, self.length, self.peak)


def stage_parts(schedule: Schedule) -> Iterator[StagePart]:
    """Yield the stages of all cycles, in order."""
    end = 0
    for peak, stages in schedule.cycles:
        cycle, length = end, sum(stage.steps for stage in stages)
        for stage in stages:
            begin, end = end, end + stage.steps
            yield StagePart(stage, begin, end, cycle, length, peak)


def stage_batches(
    plan: TrainingPlan, part: StagePart, world: TrainingWorld, workers: int, first: int
) -> Iterator[TrainingSample]:
    """Yield the batches of a stage from batch `first` on.

    Scenes for a GPU are rendered there; everything else is made by worker processes.
    """
    settings = plan.batch_settings(part.stage)
    if world.device.startswith("cuda") and isinstance(plan.source, SceneSource) and not plan.strong:
        return batches_on_device(
            settings, plan.source, first, part.end, workers, world.device, rank=world.rank, ranks=world.count
        )
    stream = BatchStream(settings, part.begin, first, part.end, rank=world.rank, ranks=world.count)
    return load_batches(stream, workers)


def train_network(
    state: TrainingState,
    plan: TrainingPlan,
    folder: Path,
    world: TrainingWorld,
    *,
    workers: int,
    minutes: float,
    seconds: float | None = None,
    report: Callable[[dict[str, Any]], None],
    log: Log = ignore_log,
    is_stopping: Callable[[], bool] = lambda: False,
    alignment: FeatureAlignment | None = None,
) -> None:
    """Run all stages, with a checkpoint in the folder every few minutes and at the end; skip the steps already done.

    Each cycle of the learning rate spans its stages. With `seconds` the training ends after that time, as TrainingClock
    says. `report` gets a row for every step, `log` a line if batches have to be split. Raises DacliError if the loss
    is not finite, a file of the data is faulty, memory does not hold two pictures or a checkpoint cannot be written;
    the last checkpoint stays valid. Raises TrainingInterruptedError after a step at whose end `is_stopping` is true,
    with that step saved.
    """
    saved = time.monotonic()
    clock = TrainingClock(seconds, state.steps_done, saved) if seconds else None
    reports = LossReports(report, late=REPORTED_TOGETHER if world.device.startswith("cuda") else 1)
    split = BatchSplit(world, log)
    state.model.train()
    for part in stage_parts(plan.schedule):
        if state.steps_done >= part.end:
            continue
        for batch in stage_batches(plan, part, world, workers, max(state.steps_done, part.begin)):
            rate = part.learning_rate(state.steps_done)
            step = partial(training_step, state, plan, batch, world, learning_rate=rate, alignment=alignment)
            loss = split.run(step, len(batch[0]))
            if clock is not None:
                state.steps_done = max(state.steps_done, agree_on_step(clock.due_step(plan.schedule.steps), world))
            reports.add({"step": state.steps_done, "of": plan.schedule.steps, "size": part.stage.size}, loss)
            stopping = is_stopping()
            if world.is_main and (stopping or time.monotonic() - saved > 60 * minutes):
                reports.flush()
                state.save(folder / CHECKPOINT_FILE)
                saved = time.monotonic()
            if stopping:
                raise TrainingInterruptedError(state.steps_done)
            if state.steps_done >= part.end:
                break
    reports.flush()
    if world.is_main:
        state.save(folder / CHECKPOINT_FILE)
