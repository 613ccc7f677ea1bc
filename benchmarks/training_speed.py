"""Speed and memory of training on this machine: python -m benchmarks.training_speed; ratios are of turns in one run."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from dacli.inference import device
from dacli.models.tiny import Tiny
from dacli.scenes.kinds import make_scene
from dacli.training.data import BATCH_LANES, BatchStream, SceneSource, TrainingSample, TrainingStage
from dacli.training.loop import train_network
from dacli.training.losses import relative_depth_loss
from dacli.training.parallel import TrainingWorld
from dacli.training.recipes import SCHEDULES, TEACHER, Schedule, TrainingPlan
from dacli.training.state import TrainingState, create_training_state
from dacli.training.step import training_step

TURNS = 15
BATCHES = 24  # rendered to measure how fast batches are made; the first of each lane are not counted
LONG = 10_000  # steps over which memory is measured


def main() -> None:
    """Print all figures, one line each."""
    for measure in (measure_steps, measure_rendering, measure_memory):
        for line in measure():
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def training_plan(stage: TrainingStage) -> TrainingPlan:
    """Return a plan of one stage on rendered scenes, in the precision in which this CPU is fastest."""
    dtype = torch.bfloat16 if device.has_fast_bf16() else torch.float32
    return TrainingPlan(Schedule(((1e-3, (stage,)),)), TEACHER, SceneSource(1, make_scene), 1, dtype=dtype)


def tiny_stages() -> list[TrainingStage]:
    """Return all stages of the recipe of tiny."""
    return [stage for _, stages in SCHEDULES["tiny", "scratch"].cycles for stage in stages]


def noise_batch(stage: TrainingStage) -> TrainingSample:
    """Return a batch of noise: the time of a step does not depend on the pictures."""
    random = torch.Generator().manual_seed(1)
    shape = (stage.batch, stage.size, stage.size)
    picture = torch.randn(stage.batch, 3, *shape[1:], generator=random)
    return picture, torch.rand(stage.batch, 1, *shape[1:], generator=random) + 0.1


def measure_steps() -> list[str]:
    """Return the time of a step of tiny, and its ratio to that of a minimal training loop on the same batch."""
    lines = []
    for stage in (tiny_stages()[0], tiny_stages()[-1]):
        plan, batch = training_plan(stage), noise_batch(stage)
        state, minimal = create_training_state(Tiny()), create_training_state(Tiny())
        state.model.train()
        minimal.model.train()
        taken: list[list[float]] = [[], []]
        for _ in range(TURNS + 2):
            taken[0].append(cpu_seconds(lambda: step(state, plan, batch)))  # noqa: B023 - runs at once
            taken[1].append(cpu_seconds(lambda: minimal_step(minimal, batch, plan.dtype)))  # noqa: B023
        whole, loop = (each[2:] for each in taken)
        ratio = statistics.median(a / b for a, b in zip(whole, loop, strict=True))
        lines.append(
            f"a step of tiny, {stage.batch} of {stage.size} px: {statistics.median(whole):.3f} s of work, "
            f"{ratio:.2f} of a bare loop's, {torch.get_num_threads()} threads"
        )
    return lines


def step(state: TrainingState, plan: TrainingPlan, batch: TrainingSample) -> None:
    """Do one step of the training loop."""
    training_step(state, plan, batch, TrainingWorld(), learning_rate=1e-4)


def cpu_seconds(action: Callable[[], object]) -> float:
    """Return the CPU seconds of all threads of this process, to which other processes do not add."""
    started = time.process_time()
    action()
    return time.process_time() - started


def minimal_step(state: TrainingState, batch: TrainingSample, dtype: torch.dtype) -> None:
    """Do a forward pass, the loss, a backward pass and an update, and nothing else."""
    picture = batch[0].to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        prediction = state.model(picture)
    loss = relative_depth_loss(prediction.float(), batch[1][:, 0]).mean()
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    state.optimiser.step()
    loss.item()


def measure_rendering() -> list[str]:
    """Return how many pictures a second one core makes, and how many the other cores can learn from at most."""
    lines, others, threads = [], max(1, device.usable_cores() - 1), torch.get_num_threads()
    torch.set_num_threads(1)
    for stage in tiny_stages()[:-1]:
        made = stage.batch / statistics.median(list(batch_seconds(stage))[BATCH_LANES:])
        state, plan, batch = create_training_state(Tiny()), training_plan(stage), noise_batch(stage)
        state.model.train()
        taken = [cpu_seconds(lambda: step(state, plan, batch)) for _ in range(5)]  # noqa: B023
        learned = others * stage.batch / statistics.median(taken[1:])
        lines.append(
            f"{stage.batch} of {stage.size} px, {stage.fresh} new: one core makes {made:.0f} pictures/s, "
            f"{others} learn from {learned:.0f} at most"
        )
    torch.set_num_threads(threads)
    return lines


def batch_seconds(stage: TrainingStage) -> Iterator[float]:
    """Yield the CPU seconds that each of the first batches takes to make."""
    stream = BatchStream(training_plan(stage).batch_settings(stage), 0, 0, BATCHES)
    for number in range(BATCHES):
        yield cpu_seconds(lambda: stream.batch(number))  # noqa: B023 - runs at once


def measure_memory() -> list[str]:
    """Return the resident memory of a training after a tenth of many steps, and after all of them."""
    stage = TrainingStage(steps=LONG, size=32, batch=2, fresh=1, canvas=32)
    state, measured = create_training_state(Tiny()), []

    def measure(row: dict[str, Any]) -> None:
        if row["step"] in (LONG // 10, LONG):
            measured.append(resident_memory())

    with tempfile.TemporaryDirectory() as name:
        plan = training_plan(stage)
        train_network(state, plan, Path(name), TrainingWorld(), workers=0, minutes=1e9, report=measure)
    return [f"{LONG} steps: {measured[0]:.0f} MiB resident after a tenth, {measured[1]:.0f} MiB at the end"]


def resident_memory() -> float:
    """Return the resident memory of this process in MiB, on Linux."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    argparse.ArgumentParser("python -m benchmarks.training_speed", description=__doc__).parse_args()
    main()
