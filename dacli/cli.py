"""The commands: parse, resolve, report. Nothing heavy is imported before a command needs it."""

import codecs
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from dacli import __version__, checkpoints, jobs
from dacli.errors import DacliError, UsageError
from dacli.options import (
    Colormap,
    Device,
    Encoder,
    EngineName,
    Half,
    Json,
    MaxPixels,
    Model,
    Near,
    Out,
    Overwrite,
    Photos,
    Precision,
    Quiet,
    RangeText,
    Save,
    Size,
    Weights,
    check_size,
    chosen_precision,
    pixel_limit,
    style,
)  # fmt: skip
from dacli.voice import Voice

if TYPE_CHECKING:
    from dacli.networks import Opened
    from dacli.pipeline import Task, Work
    from dacli.predictor import Predictor

app = typer.Typer(
    help="Depth of pictures with Depth Anything V2, in batches.", no_args_is_help=True, pretty_exceptions_enable=False,
    rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
weights_app = typer.Typer(help="The checkpoints: list, download, check, find.", no_args_is_help=True)
train_app = typer.Typer(help="Train networks on rendered scenes.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
app.add_typer(train_app, name="train")


@app.command(epilog="Example: dacli image photo.jpg --encoder tiny --save color,png16 -o depth")
def image(
    photos: Photos, out: Out = None, encoder: Encoder = None, model: Model = "v2", weights: Weights = None,
    size: Size = None, precision: Precision = "auto", fp16: Half = False, device: Device = "auto",
    engine: EngineName = "auto", save: Save = "color", colormap: Colormap = "Spectral_r", near: Near = "white",
    range_: RangeText = "auto", max_pixels: MaxPixels = 200, overwrite: Overwrite = False, json_: Json = False,
    quiet: Quiet = False,
) -> None:  # fmt: skip
    """Depth of one or more pictures."""
    voice = Voice(json_, quiet)
    kinds = jobs.parse_kinds(save)
    check_size(size)
    limit = pixel_limit(max_pixels)
    work = jobs.plan(photos, out, kinds)
    precision = chosen_precision(precision, half=fp16)
    from dacli import networks, pipeline

    look = style(colormap, near, range_)
    choice = networks.choose(encoder, model, weights)
    predictor, opened = prepare(choice, size, (device, precision, engine), voice)
    task = pipeline.Task(opened.encoder, opened.model, opened.weights, look, limit, overwrite)
    with voice.bar() as bar:
        shown = bar.add_task("depth", total=len(work))
        failed = 0
        for done in pipeline.run(work, predictor, task):
            failed += done.error is not None
            report(done, predictor, task, voice)
            bar.advance(shown)
    raise typer.Exit(1 if failed else 0)


def prepare(choice: Any, size: int | None, machine: tuple[str, str, str], voice: Voice) -> "tuple[Predictor, Opened]":
    """The predictor for the options, and a line that says what was decided and why."""
    from dacli import device, networks, predictor

    plan = device.resolve(*machine)
    opened = networks.open_network(choice, half=plan.half_weights, say=voice.note, progress=voice.download)
    ready = predictor.Predictor(opened.network, plan, size)
    why = f" ({plan.reason})" if plan.reason else ""
    voice.note(
        f"{opened.encoder} {ready.quantity} at {ready.size} px on {plan.device}, {plan.engine} {plan.precision}{why}"
    )
    return ready, opened


def report(work: "Work", predictor: "Predictor", task: "Task", voice: Voice) -> None:
    """One input's result: JSON or paths on stdout, its fault or note on stderr."""
    if work.error is not None:
        voice.fault(work.error)
    elif work.kept:
        voice.note(f"{jobs.shown(work.job.source)} is done already; --overwrite redoes it")
    elif work.prediction is not None and work.prediction.note:
        voice.note(f"{jobs.shown(work.job.source)}: {work.prediction.note}")
    if voice.json:
        print(json.dumps(as_json(work, predictor, task)), flush=True)
    elif work.error is None:
        for path in work.job.outputs.values():
            print(path, flush=True)


def as_json(work: "Work", predictor: "Predictor", task: "Task") -> dict[str, object]:
    found: dict[str, object] = {"input": str(work.job.source), "ok": work.error is None}
    if work.error is not None or work.made is None:
        return found | {"error": str(work.error)}
    plan, prediction = predictor.engine.plan, work.prediction
    return found | {
        "outputs": {kind: str(path) for kind, path in work.job.outputs.items()},
        "encoder": task.encoder,
        "model": task.model,
        "quantity": predictor.quantity,
        "network_size": work.made.network_size,
        "tiles": 0 if prediction is None else prediction.tiles,
        "device": plan.device,
        "engine": plan.engine,
        "precision": plan.precision if prediction is None else prediction.precision,
        "seconds": round(work.seconds, 4),
        "range": [work.made.low, work.made.high],
        "kept": work.kept,
    }


@app.command(epilog="Example: dacli decode photo_depth16.png -o depth.npy")
def decode(
    file: Annotated[Path, typer.Argument(help="A 16-bit PNG that dacli wrote.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.npy", help="[default: FILE with .npy]")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """The floats back from a 16-bit depth PNG: inverse depth or metres, float32."""
    from dacli import files, pictures, render

    target = out or file.parent / f"{file.stem}.npy"
    if target.exists() and not overwrite:
        raise DacliError(f"{jobs.shown(target)} is there already", "--overwrite replaces it")
    depth, record = render.decode(*pictures.read_depth16(file), jobs.shown(file))
    files.write(target, pictures.npy(depth))
    Voice().note(f"{record.quantity}, {record.low:g} to {record.high:g}, by {record.encoder} {record.model}")
    print(target)


@app.command(epilog="Example: dacli demo -o demo")
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Output folder.")] = Path("dacli-demo"),
    seed: Annotated[int, typer.Option(help="Which scene.")] = 21, json_: Json = False,
) -> None:  # fmt: skip
    """A rendered scene with known depth through the bundled model: pictures and accuracy, with no network."""
    from dacli import demonstration

    shown = demonstration.run(out, seed)
    if json_:
        print(json.dumps(shown.as_json()))
        return
    for path in shown.outputs.values():
        print(path)
    Voice().note(f"{shown.scores}")


@app.command()
def doctor() -> None:
    """What this machine will use and why: device, precision, ffmpeg, caches, what is missing."""
    from dacli import diagnosis

    findings = diagnosis.examine()
    width = max(len(name) for name, _ in findings)
    for name, finding in findings:
        print(f"{name:<{width}}  {finding}")


@app.command("eval", epilog="Example: dacli eval --encoder tiny --scenes 256")
def evaluate(
    encoder: Encoder = None, model: Model = "v2", weights: Weights = None, size: Size = None,
    precision: Precision = "auto", device: Device = "auto", scenes: Annotated[int, typer.Option(min=1)] = 256,
    seed: Annotated[int, typer.Option(help="The stream of scenes; training uses others.")] = 4242,
    json_: Json = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Accuracy of a relative model on rendered scenes that it was never trained on."""
    voice = Voice(json_, quiet)
    check_size(size)
    from dacli import evaluation, networks

    predictor, _ = prepare(networks.choose(encoder, model, weights), size, (device, precision, "auto"), voice)
    if predictor.quantity == "metres":
        raise UsageError("eval compares relative depth", "leave --model out, or choose v2 or v1")
    with voice.bar() as bar:
        shown = bar.add_task("scenes", total=scenes)
        scores = evaluation.on_scenes(predictor, scenes, seed, lambda done: bar.update(shown, completed=done))
    print(json.dumps(asdict(scores)) if json_ else scores)


@train_app.command("teacher", epilog="Example: dacli train teacher runs/tiny")
def train_teacher(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Checkpoints, log and weights; training goes on there.")
    ],
    seed: Annotated[int, typer.Option(help="Of the weights and of the scenes.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that render scenes.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Train tiny on rendered scenes; the weights end up in DIR/tiny.safetensors."""
    from dacli.train import teacher

    with Voice(quiet=quiet).bar() as bar:
        shown = bar.add_task("training", total=teacher.STEPS)

        def report(row: dict[str, Any]) -> None:
            bar.update(shown, completed=row["step"], description=f"{row['size']} px, loss {row['loss']:.3f}")

        print(teacher.teach(folder, seed, workers, report))


@weights_app.command("list")
def list_weights() -> None:
    """All checkpoints: name, size, licence and whether they are here."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "MB", "licence", "state", box=None)
    for row in checkpoints.manifest():
        size = f"{row.bytes / 1e6:.0f}" if row.bytes else "?"
        table.add_row(row.name, size, row.licence, checkpoints.state(row).state)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@weights_app.command("get")
def get_weights(names: Annotated[list[str], typer.Argument(metavar="NAME...")], quiet: Quiet = False) -> None:
    """Download and check checkpoints; those that are here already are only checked."""
    voice = Voice(quiet=quiet)
    rows = [checkpoints.named(name) for name in names]
    failed = 0
    for row in rows:
        try:
            with voice.download(row.file) as progress:
                print(checkpoints.obtain(row, voice.note, progress))
        except DacliError as error:
            failed += 1
            voice.fault(error)
    raise typer.Exit(1 if failed else 0)


@weights_app.command("verify")
def verify_weights(names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]")] = None) -> None:
    """Read every byte again and compare; without names, all that are here."""
    rows = [checkpoints.named(name) for name in names] if names else checkpoints.manifest()
    bad = 0
    for row in rows:
        standing = checkpoints.verify(row)
        bad += standing.state == "damaged" or (bool(names) and standing.state == "missing")
        if names or standing.state != "missing":
            print(f"{row.name}: {standing.state} {standing.path} {standing.fault}".rstrip())
    raise typer.Exit(1 if bad else 0)


@weights_app.command("path")
def path_of_weights(name: str) -> None:
    """Where a checkpoint is, or where a file fetched by hand belongs (then the exit code is 1)."""
    standing = checkpoints.state(checkpoints.named(name))
    print(standing.path)
    raise typer.Exit(1 if standing.state in ("missing", "damaged") else 0)


def fail(error: DacliError) -> NoReturn:
    Voice().fault(error)
    sys.exit(2 if isinstance(error, UsageError) else 1)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"dacli {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Depth of pictures with Depth Anything V2, in batches."""


def any_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print names that are no text byte by byte, and characters that the stream's encoding lacks as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    codecs.register_error("dacli", any_name)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="dacli")  # type: ignore[union-attr]
    try:
        app(arguments, prog_name="dacli")
    except DacliError as error:
        if os.environ.get("DACLI_DEBUG") == "1":
            raise
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("DACLI_DEBUG") == "1":
            raise
        fail(DacliError(f"{type(error).__name__}: {error}", "this is a fault of dacli's; DACLI_DEBUG=1 shows where"))
    sys.exit(0)
