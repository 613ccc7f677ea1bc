"""The options that all trainings share."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.choices import EncoderName, TrainingPrecision
from dacli.cli.options import DeviceName, Quiet
from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.training.run import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class TrainingCommandOptions:
    """What is trained, how long, and where."""

    encoder: Annotated[
        EncoderName | None,
        typer.Option("--encoder", help="[default: tiny, or that of --init]", rich_help_panel="Model"),
    ] = None
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            metavar="FILE",
            help="Weights to start from; a DINOv2 file gives an encoder.",
            rich_help_panel="Model",
        ),
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            min=0, help="Seed of the weights, the scenes and the order of the pictures.", rich_help_panel="Training"
        ),
    ] = 1
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps in all. [default: the recipe's]", rich_help_panel="Training")
    ] = None
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=2, help="Pictures in a step. [default: the recipe's]", rich_help_panel="Training"),
    ] = None
    size: Annotated[
        int | None,
        typer.Option(
            "--size", min=32, help="Short side in pixels. [default: the recipe's]", rich_help_panel="Training"
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(min=0, help="Peak of the learning rate. [default: the recipe's]", rich_help_panel="Training"),
    ] = None
    time: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="90s|10m|2h",
            help="End after this time: the schedule, its sizes and rates, is passed through faster.",
            rich_help_panel="Training",
        ),
    ] = None
    precision: Annotated[
        TrainingPrecision, typer.Option("--precision", help="Precision of the arithmetic.", rich_help_panel="Machine")
    ] = "auto"
    device: DeviceName = "auto"
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that prepare the batches. [default: 2; with a GPU all cores but one]",
            rich_help_panel="Machine",
        ),
    ] = None
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Compile the network first, with CUDA graphs.", rich_help_panel="Machine"),
    ] = False
    checkpoint_activations: Annotated[
        bool,
        typer.Option(
            "--checkpoint-activations",
            help="Keep less in memory and compute it again: for the large encoders.",
            rich_help_panel="Machine",
        ),
    ] = False
    minutes: Annotated[float, typer.Option(min=0, help="Minutes between two checkpoints.", rich_help_panel="Run")] = 5
    quiet: Quiet = False


def training_options(folder: Path, options: TrainingCommandOptions, init: Path | None = None) -> "TrainingOptions":
    """Return the options of a training; `init` replaces that of the command line."""
    from dacli.training.run import TrainingOptions

    return TrainingOptions(
        folder=folder,
        encoder=options.encoder,
        init=init or options.init,
        seed=options.seed,
        steps=options.steps,
        batch=options.batch,
        size=options.size,
        rate=options.rate,
        precision=options.precision,
        workers=options.workers,
        minutes=options.minutes,
        compiled=options.compile_,
        checkpoint_activations=options.checkpoint_activations,
        seconds=None if options.time is None else parse_duration(options.time),
    )


def parse_duration(text: str) -> float:
    """Return the seconds of a time such as 90s, 10m or 2h; raise UsageError for any other text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise UsageError(f"--time {text} is not a time", "use 90s, 10m or 2h")
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
