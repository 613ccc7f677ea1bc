"""All figures of a GPU as one table, in a few minutes: parity, network, folders, a clip, tiles, memory, training.

python -m benchmarks.gpu                            on the first NVIDIA GPU
python -m benchmarks.gpu --device cpu --smallest    the same code where there is no GPU; its figures say nothing

Weights are random, except those of tiny: they take the same time.
"""

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.clip_speed import footage
from benchmarks.pipeline import run_all
from dacli.batch.jobs import plan_jobs
from dacli.batch.opening import OpenRun
from dacli.batch.pictures import PictureRun
from dacli.batch.settings import RunSettings
from dacli.bench.measure import make_photos, process_peak
from dacli.callbacks import ignore_log, ignore_progress
from dacli.errors import DacliError
from dacli.inference import planning
from dacli.inference.device import ExecutionPlan, usable_cores
from dacli.inference.engines.table import start_engine
from dacli.inference.engines.torch_engine import TorchEngine
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Predictor, pass_bytes
from dacli.models import tiny
from dacli.models.registry import build_untrained
from dacli.models.spec import DepthModel
from dacli.outputs.formats import choose_formats
from dacli.scenes.kinds import make_scene
from dacli.training.data import SceneSource, TrainingStage
from dacli.training.parallel import TrainingWorld
from dacli.training.recipes import TEACHER, Schedule, TrainingPlan
from dacli.training.state import create_training_state
from dacli.training.step import training_step
from dacli.video import process
from dacli.video.options import ClipOptions

TRAINING = TrainingStage(steps=1, size=252, batch=16, fresh=1, canvas=252)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is measured: networks, sizes in pixels of the short side, and how many pictures, frames and turns."""

    encoders: Sequence[str] = ("tiny", "vits", "vitb", "vitl")
    size: int | None = None
    precisions: Sequence[str] = ("fp32", "bf16", "fp16")
    batches: Sequence[int] = (1, 8, 32)
    pictures: int = 128
    kinds: Sequence[Sequence[str]] = (("gray",), ("color", "png16"))
    frames: int = 96
    tiled_photo: tuple[int, int] = (3060, 4080)
    tile_sizes: Sequence[int] = (1600, 2400)
    pass_sizes: Sequence[int] = (518, 1036, 2072)
    stage: TrainingStage = TRAINING
    turns: int = 5


SMALLEST = Workload(
    encoders=("tiny",),
    size=64,
    precisions=("fp32",),
    batches=(1, 2),
    pictures=2,
    kinds=(("gray",),),
    frames=2,
    tiled_photo=(306, 408),
    tile_sizes=(320,),
    pass_sizes=(64,),
    stage=TrainingStage(steps=1, size=32, batch=2, fresh=1, canvas=32),
    turns=1,
)


class Figure(NamedTuple):
    """A row of the table."""

    what: str
    network: str
    how: str
    value: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the machine, the table as its rows are measured, and the time that all took."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu [cuda]")
    parser.add_argument("--smallest", action="store_true", help="one network, small pictures, one turn")
    options = parser.parse_args(arguments)
    try:
        planning.choose_device(options.device)
    except DacliError as error:
        raise SystemExit(f"error: {error}") from error
    torch.manual_seed(0)
    started = time.perf_counter()
    name = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "a CPU"
    write(f"{name}, {usable_cores()} cores, torch {torch.__version__}\n")
    write("| figure | network | how | measured |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for figure in measure_all(SMALLEST if options.smallest else Workload(), options.device, Path(folder)):
            write(f"| {' | '.join(figure)} |")
    write(f"\nall in {time.perf_counter() - started:.0f} s")


def write(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def measure_all(work: Workload, device: str, folder: Path) -> Iterator[Figure]:
    """Yield all figures; those of one kind that a GPU has no memory for end with a row that says so."""
    sources = make_photos(folder / "in", work.pictures)
    for measure in (parity, bare_network, folders, clips, tiles, memory_of_passes, training):
        try:
            yield from measure(work, device, folder, sources)
        except (DacliError, torch.OutOfMemoryError) as error:
            yield Figure(measure.__name__.replace("_", " "), "", "", str(error).partition("\n")[0])


def plan_for(device: str, precision: str = "auto") -> ExecutionPlan:
    """Return the plan of torch on a device."""
    return planning.resolve_plan(device, precision, "torch")


@cache
def original(encoder: str) -> DepthModel:
    """Return a network in float32 on the CPU; random weights get a bias that keeps their depth above 0."""
    if encoder == "tiny":
        return tiny.load_tiny()
    network = build_untrained(encoder, None).eval()
    network.get_parameter("depth_head.scratch.output_conv2.2.bias").data.fill_(0.5)
    return network


def network_of(encoder: str) -> DepthModel:
    """Return a copy of a network, which engines change."""
    return copy.deepcopy(original(encoder))


def seconds_of(action: Callable[[], object], device: str, turns: int) -> float:
    """Return the median seconds of an action until the device is done with it, after a turn to warm up."""
    seconds = []
    for _ in range(turns + 1):
        started = time.perf_counter()
        action()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def input_of(network: DepthModel, size: int | None, count: int) -> torch.Tensor:
    """Return noise [count, 3, h, w] as the network takes a 4:3 picture."""
    shape = network.spec.input_size(3, 4, size or network.spec.native_size)
    return torch.randn(count, 3, *shape, generator=torch.Generator().manual_seed(1))


def parity(work: Workload, device: str, _folder: Path, _sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield the relative error of each precision to float32 on the CPU, and of a batch of 2 to one picture."""
    for encoder in work.encoders:
        pictures = input_of(original(encoder), work.size, 2)
        with torch.inference_mode():
            exact = original(encoder)(pictures[:1])
        for precision in work.precisions:
            engine = start_engine(network_of(encoder), plan_for(device, precision), 1, ignore_log)
            alone, together = engine.forward(pictures[:1]), engine.forward(pictures)[:1]
            yield Figure("error to the CPU", encoder, precision, f"{relative_error(alone, exact):.1e}")
            yield Figure("error of a batch of 2 to one", encoder, precision, f"{relative_error(together, alone):.1e}")


def relative_error(made: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the relative error of depth."""
    return float((made - expected).norm() / expected.norm())


@torch.inference_mode()
def bare_network(work: Workload, device: str, _folder: Path, _sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield milliseconds a picture of the network alone, its input on the device, and of the engine with its copies."""
    for encoder in work.encoders:
        plan = plan_for(device)
        engine = TorchEngine(network_of(encoder), plan)
        for batch in work.batches:
            pictures = input_of(engine.network, work.size, batch)
            x = pictures.to(device, plan.dtype, memory_format=torch.channels_last)
            bare = seconds_of(lambda: engine.network.predict(x), device, work.turns)  # noqa: B023 - runs at once
            whole = seconds_of(lambda: engine.forward(pictures), device, work.turns)  # noqa: B023
            how = f"batch {batch}, {plan.precision}"
            yield Figure("network", encoder, how, f"{1e3 * bare / batch:.2f} ms a picture")
            yield Figure("engine, copies too", encoder, how, f"{1e3 * whole / batch:.2f} ms a picture")


def open_predictor(work: Workload, encoder: str, device: str) -> OpenRun:
    """Return a predictor of a network as commands build it, and the settings of its run."""
    plan = plan_for(device)
    predictor = build_predictor(network_of(encoder), plan, work.size, batch=None, pictures=work.pictures)
    settings = RunSettings(
        encoder=encoder,
        model="v2",
        weights="",
        quantity=predictor.spec.quantity,
        size=predictor.size,
        plan=plan,
        overwrite=True,
    )
    return OpenRun(predictor, settings)


def folders(work: Workload, device: str, folder: Path, sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield pictures per second of folders: JPEGs of 2 megapixels to each set of kinds."""
    for encoder in work.encoders:
        run = PictureRun(*open_predictor(work, encoder, device))
        for kinds in work.kinds:
            jobs = plan_jobs(sources, folder / encoder, choose_formats(kinds), root=folder / "in")
            taken = seconds_of(lambda: run_all(jobs, run), device, 1)  # noqa: B023 - runs at once
            how = f"{'+'.join(kinds)}, batch {run.predictor.batch_size}"
            yield Figure("folder", encoder, how, f"{len(jobs) / taken:.1f} pictures/s")


def clips(work: Workload, device: str, folder: Path, _sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield frames per second of a clip of 1080p to color, steady and not."""
    source, options = footage(folder, work.frames), ClipOptions()
    (job,) = plan_jobs([source], folder / "clips", choose_formats(["color"]), medium="clip")
    clip = process.open_clip(source, options, 10**9)
    for encoder in work.encoders:
        run = open_predictor(work, encoder, device)
        for steady in ("on", "off"):
            chosen = replace(options, steady=steady)
            taken = seconds_of(
                lambda: process.process_clip(job, clip, run, chosen, log=ignore_log, progress=ignore_progress),  # noqa: B023
                device,
                1,
            )
            yield Figure("clip of 1080p", encoder, f"color, steady {steady}", f"{work.frames / taken:.1f} frames/s")


def tiles(work: Workload, device: str, _folder: Path, _sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield seconds of a 4:3 picture, of 12 megapixels by default, in tiles and in one pass of the same size."""
    height, width = work.tiled_photo
    noise = np.random.default_rng(0).integers(0, 255, (height // 10, width // 10, 3), np.uint8)
    picture = noise.repeat(10, 0).repeat(10, 1)
    for encoder in work.encoders:
        for size in work.tile_sizes:
            for tile in ("on", "off"):
                predictor = build_predictor(network_of(encoder), plan_for(device), size, tile=tile)
                taken = seconds_of(lambda: predictor.predict([picture]), device, work.turns)  # noqa: B023
                yield Figure(f"{size} px", encoder, describe_pass(predictor), f"{taken:.2f} s")


def describe_pass(predictor: Predictor) -> str:
    """Return whether a predictor takes tiles, in words."""
    return "tiles" if predictor.tiled else "one pass"


def memory_of_passes(work: Workload, device: str, _folder: Path, _sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield the peak memory of one pass at each size, weights and all, beside the estimate that dacli goes by."""
    for encoder in work.encoders:
        plan = plan_for(device)
        engine = TorchEngine(network_of(encoder), plan)
        for size in work.pass_sizes:
            picture = input_of(engine.network, size, 1)
            with process_peak(device) as peak:
                engine.forward(picture)
                taken = peak()
            estimate = pass_bytes(engine.network.spec, plan, *picture.shape[2:]) / 2**30
            value = f"{taken:.2f} GiB, {estimate:.2f} estimated without weights"
            yield Figure("memory", encoder, f"one pass at {size} px", value)
            engine.free()


def training(work: Workload, device: str, _folder: Path, _sources: Sequence[Path]) -> Iterator[Figure]:
    """Yield pictures per second that a network learns from, in bf16 where that is fast, without making them."""
    stage = work.stage
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    plan = TrainingPlan(Schedule(((1e-3, (stage,)),)), TEACHER, SceneSource(1, make_scene), 1, dtype=dtype)
    world = TrainingWorld(device=device)
    for encoder in work.encoders:
        side = stage.size // original(encoder).spec.multiple * original(encoder).spec.multiple
        state = create_training_state(network_of(encoder).requires_grad_().to(device))
        state.model.train()
        batch = torch.rand(stage.batch, 3, side, side), torch.rand(stage.batch, 1, side, side) + 0.1
        moved = (batch[0].to(device), batch[1].to(device))
        taken = seconds_of(lambda: training_step(state, plan, moved, world, learning_rate=1e-4), device, work.turns)  # noqa: B023
        how = f"{stage.batch} of {side} px, {dtype}".replace("torch.", "")
        yield Figure("training", encoder, how, f"{stage.batch / taken:.1f} views/s")


if __name__ == "__main__":
    main()
