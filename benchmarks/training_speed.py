"""Measured figures of training on this machine: python -m benchmarks.training_speed. Ratios are of turns in one run."""

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
from dacli.scenes.layouts import make_scene
from dacli.training.data import BATCH_LANES, BatchStream, SceneSource, TrainingSample, TrainingStage
from dacli.training.loop import TrainingPlan, TrainingState, create_training_state, train_network, training_step
from dacli.training.losses import relative_depth_loss
from dacli.training.parallel import TrainingWorld
from dacli.training.recipes import SCHEDULES, TEACHER, Schedule

TURNS = 15
BATCHES = 24  # that a rate of rendering is the mean of, after one of each lane
LONG = 10_000  # steps that memory is watched for


def main() -> None:
    """Print all figures, one line each."""
    for measure in (one_step, supply, memory):
        for line in measure():
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


def course(stage: TrainingStage) -> TrainingPlan:
    """Return rendered scenes for tiny, in the arithmetic that this CPU is best at."""
    dtype = torch.bfloat16 if device.has_fast_bf16() else torch.float32
    return TrainingPlan(Schedule(((1e-3, (stage,)),)), TEACHER, SceneSource(1, make_scene), 1, dtype=dtype)


def stages() -> list[TrainingStage]:
    """Return all stages of tiny's own recipe."""
    return [stage for _, stages in SCHEDULES["tiny", "scratch"].cycles for stage in stages]


def canned(stage: TrainingStage) -> TrainingSample:
    """Return a batch of noise: how long a step takes does not depend on what is seen."""
    random = torch.Generator().manual_seed(1)
    shape = (stage.batch, stage.size, stage.size)
    picture = torch.randn(stage.batch, 3, *shape[1:], generator=random)
    return picture, torch.rand(stage.batch, 1, *shape[1:], generator=random) + 0.1


def one_step() -> list[str]:
    """Return a step of tiny beside the plainest forward, backward and update on the same batch, in turns."""
    lines = []
    for stage in (stages()[0], stages()[-1]):
        plan, batch = course(stage), canned(stage)
        run, bare = create_training_state(Tiny()), create_training_state(Tiny())
        run.model.train()
        bare.model.train()
        taken: list[list[float]] = [[], []]
        for _ in range(TURNS + 2):
            taken[0].append(seconds(lambda: training_step(run, plan, batch, 1e-4, TrainingWorld())))  # noqa: B023 - runs at once
            taken[1].append(seconds(lambda: plain(bare, batch, plan.dtype)))  # noqa: B023
        whole, loop = (each[2:] for each in taken)
        ratio = statistics.median(a / b for a, b in zip(whole, loop, strict=True))
        lines.append(
            f"a step of tiny, {stage.batch} of {stage.size} px: {statistics.median(whole):.3f} s of work, "
            f"{ratio:.2f} of a bare loop's, {torch.get_num_threads()} threads"
        )
    return lines


def seconds(run: Callable[[], object]) -> float:
    """Return seconds of work, of all threads together: what else the machine does counts for nothing."""
    started = time.process_time()
    run()
    return time.process_time() - started


def plain(run: TrainingState, batch: TrainingSample, dtype: torch.dtype) -> None:
    """Forward, loss, backward, update: nothing else."""
    picture = batch[0].to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        prediction = run.model(picture)
    loss = relative_depth_loss(prediction.float(), batch[1][:, 0]).mean()
    run.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimiser.step()
    loss.item()


def supply() -> list[str]:
    """Return pictures a second that one core makes.

    That the others learn from if they lose nothing by being many.
    """
    lines, others, threads = [], max(1, device.usable_cores() - 1), torch.get_num_threads()
    torch.set_num_threads(1)
    for stage in stages()[:-1]:
        made = stage.batch / statistics.median(list(each_batch(stage))[BATCH_LANES:])
        run, batch = create_training_state(Tiny()), canned(stage)
        run.model.train()
        taken = [seconds(lambda: training_step(run, course(stage), batch, 1e-4, TrainingWorld())) for _ in range(5)]  # noqa: B023
        learned = others * stage.batch / statistics.median(taken[1:])
        lines.append(
            f"{stage.batch} of {stage.size} px, {stage.fresh} new: one core makes {made:.0f} pictures/s, "
            f"{others} learn from {learned:.0f} at most"
        )
    torch.set_num_threads(threads)
    return lines


def each_batch(stage: TrainingStage) -> Iterator[float]:
    """Yield seconds of each of the first batches."""
    stream = BatchStream(course(stage).lesson(stage), 0, 0, BATCHES)
    for number in range(BATCHES):
        yield seconds(lambda: stream.batch(number))  # noqa: B023 - runs at once


def memory() -> list[str]:
    """Return resident memory of a training after a tenth of many steps, and after all of them."""
    stage = TrainingStage(LONG, 32, 2, 1, 32)
    run, found = create_training_state(Tiny()), []

    def watch(row: dict[str, Any]) -> None:
        if row["step"] in (LONG // 10, LONG):
            found.append(resident())

    with tempfile.TemporaryDirectory() as name:
        train_network(run, course(stage), Path(name), TrainingWorld(), 0, 1e9, watch)
    return [f"{LONG} steps: {found[0]:.0f} MiB resident after a tenth, {found[1]:.0f} MiB at the end"]


def resident() -> float:
    """Return resident memory of this process in MiB, now; Linux."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
