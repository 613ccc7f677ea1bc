"""dacli train: the recipe of Depth Anything V2, a command for each of its steps."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dacli.choices import MetricModelName
from dacli.cli.console import LINE_INTERVAL, Console, ReportedInterrupt
from dacli.cli.expand import expand_options
from dacli.cli.folder import plan_folder_runs
from dacli.cli.help import GroupedCommand
from dacli.cli.options import (
    DepthUnitText,
    FolderSource,
    FolderTarget,
    LimitOptions,
    MachineOptions,
    NetworkOptions,
    Overwrite,
    ReportOptions,
    SelectionOptions,
    SharingOptions,
)
from dacli.cli.requests import open_console, run_options
from dacli.cli.training_options import TrainingCommandOptions, training_options
from dacli.cli.values import pixel_limit
from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.training.data import TrainingSource
    from dacli.training.parallel import TrainingWorld
    from dacli.training.recipes import Objective
    from dacli.training.run import TrainingOptions

train_app = typer.Typer(help="Train networks as Depth Anything V2 was trained.", no_args_is_help=True)

TrainingFolder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR", help="Folder for checkpoint, log, pictures, weights; the same command goes on there."
    ),
]
PairsOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="LIST|FOLDER",
        help="Lines with picture, tab, depth; or Hypersim, Virtual KITTI 2, dacli scenes. [default: rendered]",
        rich_help_panel="Input",
    ),
]


@train_app.command("teacher", cls=GroupedCommand, epilog="Example: dacli train teacher runs/tiny --seed 1")
@expand_options
def train_teacher(
    folder: TrainingFolder,
    options: TrainingCommandOptions,
    data: PairsOption = None,
    unit: DepthUnitText = None,
) -> None:
    """Train on exact depth: rendered scenes, or pictures with depth; the weights end up in DIR."""
    from dacli.scenes.kinds import make_scene
    from dacli.training import recipes

    if data:
        source = source_from_files(data, unit, options.seed)
    else:
        source = rendered_source("scenes", options.seed, make_scene)
    run_training_command(training_options(folder, options), "teacher", recipes.TEACHER, source, options)


@train_app.command("label", cls=GroupedCommand, epilog="Example: dacli train label ./pictures ./labels --encoder vitl")
@expand_options
def train_label(
    source: FolderSource,
    out: FolderTarget,
    selection: SelectionOptions,
    limits: LimitOptions,
    network: NetworkOptions,
    machine: MachineOptions,
    sharing: SharingOptions,
    report: ReportOptions,
    overwrite: Overwrite = False,
) -> None:
    """Pseudo-labels, float16 inverse depth, of every picture below IN by one network; a second run goes on."""
    from dacli.batch.naming import RunVariant
    from dacli.cli.runs import run_folder_command
    from dacli.outputs import formats

    console = open_console(report)
    options = run_options(network, machine, sharing, max_pixels=pixel_limit(limits.max_pixels), overwrite=overwrite)
    planned = plan_folder_runs(source, out, selection, [formats.FORMATS["half"]], [RunVariant(options)], console)
    refuse_metres(options.model, options.weights)
    raise typer.Exit(run_folder_command(planned, console, selection.shard_text()))


@train_app.command(
    "student",
    cls=GroupedCommand,
    epilog="Example: dacli train student runs/vits ./pictures ./labels --init dinov2_vits14.pth",
)
@expand_options
def train_student(
    folder: TrainingFolder,
    source: FolderSource,
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="What dacli train label wrote for IN.")],
    options: TrainingCommandOptions,
    strong: Annotated[
        bool,
        typer.Option("--strong", help="Perturb pictures strongly: color, blur, CutMix.", rich_help_panel="Training"),
    ] = False,
) -> None:
    """Train on pictures and their pseudo-labels; the weights end up in DIR."""
    from dacli.evaluation import datasets
    from dacli.training import recipes
    from dacli.training.data import PairSource

    pairs, unlabelled = datasets.find_labelled_pairs(source, labels)
    if unlabelled:
        Console(quiet=options.quiet).note(f"{unlabelled} pictures have no label and are left out")
    labelled_source = PairSource(options.seed, pairs), datasets.digest_pairs(pairs, labels)
    run_training_command(
        training_options(folder, options), "student", recipes.STUDENT, labelled_source, options, strong=strong
    )


@train_app.command(
    "metric", cls=GroupedCommand, epilog="Example: dacli train metric runs/metres --encoder tiny --model indoor"
)
@expand_options
def train_metric(
    folder: TrainingFolder,
    options: TrainingCommandOptions,
    data: PairsOption = None,
    unit: DepthUnitText = None,
    model: Annotated[
        MetricModelName, typer.Option(help="indoor, to 20 m, or outdoor, to 80 m.", rich_help_panel="Model")
    ] = "indoor",
) -> None:
    """Train a relative network to give metres, on rendered rooms (streets outdoors) or pictures with depth."""
    from dacli.models import tiny
    from dacli.scenes.metric_places import METRIC_PLACES
    from dacli.training import recipes

    if options.init is None and options.encoder not in (None, "tiny"):
        raise UsageError("metres are learned from a relative checkpoint", "name one of this encoder with --init")
    if unit == "1/m":
        hint = "give depth in m, cm, mm or a number of metres"
        raise UsageError("inverse depth of unknown scale cannot train metres", hint)
    if data:
        source = source_from_files(data, unit, options.seed)
    else:
        source = rendered_source(f"{model} places", options.seed, METRIC_PLACES[model], whole=True)
    wanted = training_options(folder, options, init=options.init or tiny.BUNDLED_WEIGHTS)
    run_training_command(wanted, "metric", recipes.metric_objective(model), source, options)


def rendered_source(
    name: str, seed: int, make: Callable[[int, int], Any], *, whole: bool = False
) -> tuple["TrainingSource", str]:
    """Return an endless source of scenes, and the name by which checkpoints identify it."""
    from dacli.training.data import SceneSource

    return SceneSource(seed, make, whole), f"rendered {name}"


def source_from_files(data: Path, unit: str | None, seed: int) -> tuple["TrainingSource", str]:
    """Return a source of pictures with depth, and the digest that identifies it in checkpoints."""
    from dacli.evaluation import datasets
    from dacli.io import depth_files
    from dacli.training.data import PairSource

    pairs = datasets.find_training_pairs(data, depth_files.parse_depth_unit(unit))
    return PairSource(seed, pairs), datasets.digest_pairs(pairs, data.parent if data.is_file() else data)


def refuse_metres(model: str, weights: Path | None) -> None:
    """Raise UsageError for a network that predicts metres: labels are inverse depth."""
    from dacli.models import registry, tiny
    from dacli.models.choice import MODELS

    metric = MODELS.get(registry.choose_model(None, model, weights).model)
    if weights is not None and registry.is_tiny_file(weights):
        metric = tiny.load_tiny(weights).max_depth
    if metric is not None:
        raise UsageError("pseudo-labels are inverse depth, and this network predicts metres", "choose a relative one")


def run_training_command(
    wanted: "TrainingOptions",
    command: str,
    objective: "Objective",
    identified_source: tuple["TrainingSource", str],
    options: TrainingCommandOptions,
    *,
    strong: bool = False,
) -> None:
    """Train in this process, or as one of those that torchrun started, and print the path of the weights."""
    from dacli.inference import planning
    from dacli.training import parallel, run

    console = Console(quiet=options.quiet)
    with parallel.join_world(planning.choose_device(options.device)[0]) as world:
        step_console = console if world.is_main else Console(quiet=True)
        try:
            with show_steps(step_console) as report, signals_after_step(world) as is_stopping:
                path = run.run_training(
                    wanted,
                    command,
                    objective,
                    *identified_source,
                    world,
                    report,
                    log=step_console.note,
                    is_stopping=is_stopping,
                    strong=strong,
                )
        except KeyboardInterrupt as interruption:
            console.warn(describe_interruption(interruption, wanted.folder))
            raise ReportedInterrupt from interruption
        if world.is_main:
            console.result(str(path))


@contextmanager
def signals_after_step(world: "TrainingWorld") -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether a first Ctrl-C or SIGTERM came; the second one ends the training at once.

    One of several processes ends at once: the others are at other steps.
    """
    stopping = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM) if world.count == 1 else ()
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(*_: object) -> None:
        stopping.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # a shell lets background processes ignore Ctrl-C
            signal.signal(number, stop)
    try:
        yield stopping.is_set
    finally:
        restore()


def describe_interruption(interruption: KeyboardInterrupt, folder: Path) -> str:
    """Return what an interrupted training has left in its folder."""
    from dacli.training.loop import TrainingInterruptedError
    from dacli.training.state import CHECKPOINT_FILE

    if isinstance(interruption, TrainingInterruptedError):
        return f"stopped after step {interruption.step}, which is saved; the same command goes on from there"
    if (folder / CHECKPOINT_FILE).exists():
        return "interrupted; the same command goes on from the last checkpoint"
    return "interrupted before anything was saved; the same command starts from the beginning"


@contextmanager
def show_steps(console: Console) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that shows the steps of a training: a bar on a terminal, else a line every half minute."""
    last_printed = time.monotonic()
    with console.progress_bar() as bar:
        task = bar.add_task("training", total=None)

        def show(row: dict[str, Any]) -> None:
            nonlocal last_printed
            text = f"{row['size']} px, loss {row['loss']:.3f}, {row.get('rate', 0):.2f} steps/s"
            bar.update(task, completed=row["step"], total=row["of"], description=text)
            if bar.disable and time.monotonic() - last_printed >= LINE_INTERVAL:
                last_printed = time.monotonic()
                left = (row["of"] - row["step"]) / max(row.get("rate", 0), 1e-9)
                console.note(f"step {row['step']} of {row['of']}, {text}, {left:.0f} s left")

        yield show
