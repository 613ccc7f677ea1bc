"""Folders without a network: pictures per second by number of cores, and the core time of each step.

python -m benchmarks.pipeline

JPEGs of 2 megapixels become gray PNGs, through an engine that answers at once.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dacli.batch.jobs import plan_jobs
from dacli.batch.outcomes import Failed
from dacli.batch.pictures import PictureRun, run_pictures
from dacli.batch.settings import RunSettings
from dacli.bench.measure import make_photos
from dacli.inference.device import ExecutionPlan, usable_cores
from dacli.inference.engine_pool import EnginePool, PooledEngine
from dacli.inference.predictor import Predictor
from dacli.inference.preprocess import normalize_image, resize_to_source
from dacli.inference.threads import limit_library_threads
from dacli.io import files, images, png
from dacli.models.spec import ModelSpec
from dacli.models.tiny import Tiny
from dacli.outputs.drawing import draw_gray
from dacli.outputs.formats import choose_formats

PLAN = ExecutionPlan("cpu", "none", "fp32", half_weights=False, reason="")
TURNS = 3
REPEATS = 15  # of each step


class InstantEngine:
    """An engine that answers at once, with waves that compress as depth does."""

    def __init__(self) -> None:
        self.plan, self.streams = PLAN, 1
        self.answers: dict[tuple[int, int], Tensor] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Return the same depth for all pictures of a size."""
        height, width = images.shape[2:]
        if (height, width) not in self.answers:
            down, across = torch.linspace(0, 9, height)[:, None], torch.linspace(0, 7, width)
            self.answers[height, width] = 2 + down.sin() + across.cos()
        return self.answers[height, width].expand(len(images), -1, -1)

    def free(self) -> None:
        """Release nothing."""

    def in_float32(self) -> "InstantEngine":
        """Return the engine itself."""
        return self


@dataclass(frozen=True)
class Throughput:
    """A run on some cores: pictures per second of the clock, and seconds of cores that a picture took."""

    cores: int
    rate: float
    core_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of cores, then that of steps."""
    parser = argparse.ArgumentParser("python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--pictures", type=int, default=120, help="pictures of a turn [120]")
    parser.add_argument("--size", type=int, default=288, help="short side of the network's input [288]")
    options = parser.parse_args(arguments)
    limit_library_threads(PLAN)
    with tempfile.TemporaryDirectory() as name:
        sources = make_photos(Path(name, "in"), options.pictures)
        spec = Tiny().spec
        for line in (
            *core_table(sources, Path(name), spec, options.size),
            "",
            *step_table(sources[0], spec, options.size),
        ):
            sys.stdout.write(line + "\n")


def core_table(sources: Sequence[Path], folder: Path, spec: ModelSpec, size: int) -> Iterator[str]:
    """Yield pictures per second by number of cores, which are 1, 2, 4, … and all."""
    predictor = Predictor(spec, EnginePool([PooledEngine(InstantEngine(), 1)], 1), size=size, tiled=False)
    settings = RunSettings(
        encoder="none", model="v2", weights="", quantity=spec.quantity, size=size, plan=PLAN, overwrite=True
    )
    jobs = plan_jobs(sources, folder / "out", choose_formats(["gray"]), root=folder / "in")
    yield "| cores | pictures/s | of linear | core ms a picture | pictures a second and core |\n|---|---|---|---|---|"
    alone = 0.0
    for found in measure_cores(lambda: run_all(jobs, PictureRun(predictor, settings)), len(jobs)):
        alone = alone or found.rate
        yield (
            f"| {found.cores} | {found.rate:.1f} | {found.rate / alone / found.cores:.2f} "
            f"| {1e3 * found.core_seconds:.1f} | {1 / found.core_seconds:.1f} |"
        )


def measure_cores(run: Callable[[], None], count: int) -> Iterator[Throughput]:
    """Yield what a run over `count` pictures takes on 1, 2, 4, … cores; where a system cannot limit them, on all."""
    everything = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else set()
    total = usable_cores()
    for cores in sorted({2**power for power in range(total.bit_length()) if everything} | {total}):
        try:
            if everything:
                os.sched_setaffinity(0, sorted(everything)[:cores])
            rates, seconds = zip(*(time_run(run, count) for _ in range(TURNS)), strict=True)
        finally:
            if everything:
                os.sched_setaffinity(0, everything)
        yield Throughput(cores, statistics.median(rates), statistics.median(seconds))


def time_run(run: Callable[[], None], count: int) -> tuple[float, float]:
    """Return pictures per second of a run, and the seconds of cores that each took."""
    clock, cores = time.perf_counter(), time.process_time()
    run()
    return count / (time.perf_counter() - clock), (time.process_time() - cores) / count


def run_all(jobs: Sequence[Any], run: PictureRun) -> None:
    """Run all pictures; raise SystemExit if one failed."""
    if any(isinstance(outcome, Failed) for outcome in run_pictures(jobs, run)):
        raise SystemExit("a picture failed")


def step_table(source: Path, spec: ModelSpec, size: int) -> Iterator[str]:
    """Yield the core time of each step of one picture, in the order of the steps."""
    data = source.read_bytes()
    rgb = images.decode_image(data, source)
    height, width = rgb.shape[:2]
    inside = spec.input_size(height, width, size)
    raw = InstantEngine().forward(torch.zeros(1, 3, *inside))[0]
    depth = resize_to_source(raw, height, width, align_corners=spec.align_corners)
    low, high = float(depth.min()), float(depth.max())
    gray = draw_gray(depth, low, high, spec.quantity)
    target = source.with_name("step.png")
    steps: dict[str, Callable[[], object]] = {
        "decode": lambda: images.decode_image(data, source),
        f"prepare, {inside[0]} × {inside[1]}": lambda: normalize_image(rgb, inside),
        "resize": lambda: resize_to_source(raw, height, width, align_corners=spec.align_corners),
        "draw": lambda: (np.min(depth), np.max(depth), draw_gray(depth, low, high, spec.quantity)),
        "write": lambda: files.write_file(target, png.encode_png(gray)),
    }
    yield f"| step, {height} × {width} | core ms |\n|---|---|"
    for name, step in steps.items():
        yield f"| {name} | {1e3 * core_seconds(step):.2f} |"


def core_seconds(step: Callable[[], object]) -> float:
    """Return the median seconds of a core that a step takes, after a turn to warm up."""
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.process_time()
        step()
        seconds.append(time.process_time() - started)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main()
