"""dacli train: the recipe of Depth Anything V2, a command for each of its steps."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacli.batch import inputs, jobs
from dacli.batch.options import RunOptions
from dacli.cli.console import EVERY, Voice
from dacli.cli.options import (
    Batch,
    DepthUnit,
    Device,
    Devices,
    Encoder,
    Exclude,
    Half,
    Include,
    Json,
    MaxPixels,
    Model,
    Overwrite,
    Precision,
    Quiet,
    Retry,
    Shard,
    Size,
    Source,
    Target,
    Weights,
    check_size,
    chosen_precision,
    parse_batch,
    parse_devices,
    parse_shard,
    pixel_limit,
)
from dacli.errors import DacliError, UsageError
from dacli.outputs import formats

if TYPE_CHECKING:
    from dacli.training.data import TrainingSource as Data
    from dacli.training.recipes import Objective
    from dacli.training.run import TrainingOptions

train_app = typer.Typer(help="Train networks as Depth Anything V2 was trained.", no_args_is_help=True)

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Checkpoint, log, pictures, weights; training goes on there.")
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        metavar="LIST|FOLDER",
        help="Lines of picture, tab, depth; or Hypersim, Virtual KITTI 2, dacli scenes. [default: rendered]",
    ),
]
Labels = Annotated[Path, typer.Argument(metavar="LABELS", help="What dacli train label made of IN.")]
Taught = Annotated[
    str | None, typer.Option("--encoder", help="vits, vitb, vitl, vitg or tiny. [default: tiny, or that of --init]")
]
Init = Annotated[
    Path | None, typer.Option("--init", metavar="FILE", help="Weights to start from; a DINOv2 file gives an encoder.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the weights, the scenes and the order of the pictures.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Steps in all. [default: the recipe's]")]
BatchSize = Annotated[int | None, typer.Option("--batch", min=2, help="Pictures a step. [default: the recipe's]")]
Side = Annotated[int | None, typer.Option("--size", min=32, help="Short side in pixels. [default: the recipe's]")]
Rate = Annotated[float | None, typer.Option(min=0, help="Peak of the learning rate. [default: the recipe's]")]
Arithmetic = Annotated[str, typer.Option("--precision", help="auto, bf16 or fp32.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that make the batches.")]
Minutes = Annotated[float, typer.Option(min=0, help="Between two checkpoints.")]


@train_app.command("teacher", epilog="Example: dacli train teacher runs/tiny --seed 1")
def train_teacher(
    folder: Folder,
    data: Pairs = None,
    unit: DepthUnit = None,
    encoder: Taught = None,
    init: Init = None,
    seed: Seed = 1,
    steps: Steps = None,
    batch: BatchSize = None,
    size: Side = None,
    rate: Rate = None,
    precision: Arithmetic = "auto",
    device: Device = "auto",
    workers: Workers = 2,
    minutes: Minutes = 5,
    quiet: Quiet = False,
) -> None:
    """Train on exact depth: rendered scenes, or pictures with depth; the weights end up in DIR."""
    from dacli.scenes.layouts import make_scene
    from dacli.training import recipes, run

    wanted = run.TrainingOptions(folder, encoder, init, seed, steps, batch, size, rate, precision, workers, minutes)
    given = from_files(data, unit, seed) if data else rendered(seed, make_scene)
    go(wanted, "teacher", recipes.TEACHER, given, device, Voice(quiet=quiet))


@train_app.command("label", epilog="Example: dacli train label ./pictures ./labels --encoder vitl")
def label(
    source: Source,
    out: Target,
    include: Include = None,
    exclude: Exclude = None,
    retry_failed: Retry = False,
    shard: Shard = None,
    encoder: Encoder = None,
    model: Model = "v2",
    weights: Weights = None,
    size: Size = None,
    precision: Precision = "auto",
    fp16: Half = False,
    device: Device = "auto",
    devices: Devices = None,
    batch: Batch = "auto",
    max_pixels: MaxPixels = 200,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Pseudo-labels, float16 inverse depth, of every picture below IN; a rerun goes on where the last one ended."""
    voice = Voice(json_, quiet)
    chosen = RunOptions(
        encoder,
        model,
        weights,
        check_size(size),
        chosen_precision(precision, half=fp16),
        parse_devices(devices, device),
        "auto",
        "Spectral_r",
        "white",
        "auto",
        pixel_limit(max_pixels),
        overwrite,
        parse_batch(batch),
    )
    index, count, why = parse_shard(shard, os.environ)
    found = inputs.gather_inputs(source, out, include or (), exclude or ())
    planned = jobs.plan_jobs(found.files, out, [formats.FORMATS["half"]], root=found.root)
    if not planned:
        raise DacliError(f"no pictures in {source}", "check the path, --include and --exclude")
    if why:
        voice.note(why)
    from dacli.batch.folder import FolderOptions
    from dacli.cli import runs

    refuse_metres(model, weights)
    mine = jobs.select_shard(planned, index, count)
    folder_ = FolderOptions(mine, [job.name for job in planned], out, only_failed=retry_failed)
    raise typer.Exit(runs.run_folder_command(folder_, chosen, voice))


@train_app.command(
    "student", epilog="Example: dacli train student runs/vits ./pictures ./labels --init dinov2_vits14.pth"
)
def train_student(
    folder: Folder,
    source: Source,
    labels: Labels,
    encoder: Taught = None,
    init: Init = None,
    strong: Annotated[bool, typer.Option("--strong", help="Perturb pictures strongly: colour, blur, CutMix.")] = False,
    seed: Seed = 1,
    steps: Steps = None,
    batch: BatchSize = None,
    size: Side = None,
    rate: Rate = None,
    precision: Arithmetic = "auto",
    device: Device = "auto",
    workers: Workers = 2,
    minutes: Minutes = 5,
    quiet: Quiet = False,
) -> None:
    """Train on pictures and their pseudo-labels; the weights end up in DIR."""
    from dacli.evaluation import datasets
    from dacli.training import recipes, run
    from dacli.training.data import PairSource

    voice = Voice(quiet=quiet)
    found, without = datasets.find_labelled_pairs(source, labels)
    if without:
        voice.note(f"{without} pictures have no label and are left out")
    wanted = run.TrainingOptions(folder, encoder, init, seed, steps, batch, size, rate, precision, workers, minutes)
    given = PairSource(seed, found), datasets.digest_pairs(found, labels)
    go(wanted, "student", recipes.STUDENT, given, device, voice, strong=strong)


@train_app.command("metric", epilog="Example: dacli train metric runs/metres --encoder tiny --model indoor")
def train_metric(
    folder: Folder,
    data: Pairs = None,
    unit: DepthUnit = None,
    encoder: Taught = None,
    init: Init = None,
    model: Annotated[str, typer.Option(help="indoor, to 20 m, or outdoor, to 80 m.")] = "indoor",
    seed: Seed = 1,
    steps: Steps = None,
    batch: BatchSize = None,
    size: Side = None,
    rate: Rate = None,
    precision: Arithmetic = "auto",
    device: Device = "auto",
    workers: Workers = 2,
    minutes: Minutes = 5,
    quiet: Quiet = False,
) -> None:
    """Train a relative network to give metres, on rendered rooms (streets outdoors) or pictures with depth."""
    from dacli.models import registry, tiny
    from dacli.scenes import metric_places
    from dacli.training import recipes, run

    if model not in registry.METRIC_RANGES:
        raise UsageError(f"--model {model} is neither indoor nor outdoor", "indoor reaches to 20 m, outdoor to 80 m")
    if init is None and encoder not in (None, "tiny"):
        raise UsageError("metres are learned from a relative checkpoint", "name one of this encoder with --init")
    if unit == "1/m":
        raise UsageError("inverse depth of any scale tells no metres", "give depth in m, cm, mm or a number of metres")
    first = init or tiny.BUNDLED_WEIGHTS
    wanted = run.TrainingOptions(folder, encoder, first, seed, steps, batch, size, rate, precision, workers, minutes)
    given = from_files(data, unit, seed) if data else rendered(seed, metric_places.METRIC_PLACES[model], whole=True)
    go(wanted, "metric", recipes.metric_objective(model), given, device, Voice(quiet=quiet))


def rendered(seed: int, make: Callable[[int, int], Any], *, whole: bool = False) -> tuple["Data", str]:
    """Scenes without end, and what tells them from other data."""
    from dacli.training.data import SceneSource

    return SceneSource(seed, make, whole), f"rendered {make.__name__}"


def from_files(data: Path, unit: str | None, seed: int) -> tuple["Data", str]:
    """Pictures with depth, and what tells them from other data."""
    from dacli.evaluation import datasets
    from dacli.io import depth_files
    from dacli.training.data import PairSource

    found = datasets.find_training_pairs(data, depth_files.parse_depth_unit(unit))
    return PairSource(seed, found), datasets.digest_pairs(found, data.parent if data.is_file() else data)


def refuse_metres(model: str, weights: Path | None) -> None:
    """Raises UsageError for a network that gives metres: labels are inverse depth."""
    from dacli.models import registry, tiny

    metric = registry.MODELS.get(registry.choose_model(None, model, weights).model)
    if weights is not None and registry.is_tiny_file(weights):
        metric = tiny.load_tiny(weights).max_depth
    if metric is not None:
        raise UsageError("pseudo-labels are inverse depth, and this network gives metres", "choose a relative one")


def go(
    wanted: "TrainingOptions",
    command: str,
    objective: "Objective",
    given: tuple["Data", str],
    device_: str,
    voice: Voice,
    *,
    strong: bool = False,
) -> None:
    """Train in this process, or as one of those that torchrun started, and print the file of weights."""
    from dacli.inference import planning
    from dacli.training import parallel, run

    with parallel.join_world(planning.choose_device(device_)[0]) as world:
        told = voice if world.leads else Voice(quiet=True)
        try:
            with reporting(told) as report:
                path = run.run_training(wanted, command, objective, *given, world, report, strong=strong)
        except KeyboardInterrupt:
            voice.insist("interrupted; the same command goes on from the last checkpoint")
            raise
        if world.leads:
            voice.result(str(path))


@contextmanager
def reporting(voice: Voice) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield what shows a training's steps: a bar on a terminal, else a line every half minute."""
    last = time.monotonic()
    with voice.bar() as bar:
        task = bar.add_task("training", total=None)

        def show(row: dict[str, Any]) -> None:
            nonlocal last
            text = f"{row['size']} px, loss {row['loss']:.3f}, {row.get('rate', 0):.2f} steps/s"
            bar.update(task, completed=row["step"], total=row["of"], description=text)
            if bar.disable and time.monotonic() - last >= EVERY:
                last = time.monotonic()
                left = (row["of"] - row["step"]) / max(row.get("rate", 0), 1e-9)
                voice.note(f"step {row['step']} of {row['of']}, {text}, {left:.0f} s left")

        yield show
