"""The commands: parse, resolve, report. Nothing heavy is imported before a command needs it."""

import codecs
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from dacli import __version__, paths, prefetch
from dacli.batch import inputs, jobs
from dacli.batch.options import RunOptions
from dacli.cli.bench import bench_app
from dacli.cli.console import Voice
from dacli.cli.evaluate import judge_app
from dacli.cli.options import (
    Batch,
    Colormap,
    Device,
    Devices,
    DryRun,
    Encoder,
    EngineName,
    Exclude,
    Half,
    Include,
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
    Retry,
    Save,
    Shard,
    Size,
    Source,
    Target,
    Tile,
    Weights,
    check_size,
    check_tile,
    chosen_precision,
    parse_batch,
    parse_devices,
    parse_shard,
    pixel_limit,
)
from dacli.cli.train import train_app
from dacli.cli.video import video
from dacli.cli.weights import weights_app
from dacli.errors import DacliError, UsageError, unexpected_error
from dacli.io import files
from dacli.outputs import formats

app = typer.Typer(
    help="Depth of pictures and clips with Depth Anything V2, in batches.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(weights_app, name="weights")
app.add_typer(train_app, name="train")
app.add_typer(judge_app)
app.add_typer(bench_app)


@app.command(epilog="Example: dacli image photo.jpg --encoder tiny --save color,png16 -o depth")
def image(
    photos: Photos,
    out: Out = None,
    encoder: Encoder = None,
    model: Model = "v2",
    weights: Weights = None,
    size: Size = None,
    tile: Tile = "auto",
    precision: Precision = "auto",
    fp16: Half = False,
    device: Device = "auto",
    engine: EngineName = "auto",
    save: Save = "color",
    colormap: Colormap = "Spectral_r",
    near: Near = "white",
    range_: RangeText = "auto",
    max_pixels: MaxPixels = 200,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Depth of one or more pictures."""
    voice = Voice(json_, quiet)
    kinds = formats.parse_formats(save)
    chosen = RunOptions(
        encoder,
        model,
        weights,
        check_size(size),
        chosen_precision(precision, half=fp16),
        [device],
        engine,
        colormap,
        near,
        range_,
        pixel_limit(max_pixels),
        overwrite,
        tile=check_tile(tile),
    )
    named, left_out = inputs.exclude_own_outputs(photos, inputs.is_own_picture)
    if left_out:
        voice.note(left_out)
    planned = jobs.plan_jobs(named, out, kinds)
    from dacli.cli.runs import run_image_command

    raise typer.Exit(run_image_command(planned, chosen, voice))


@app.command(epilog="Example: dacli folder ./in ./out --save color,png16")
def folder(
    source: Source,
    out: Target,
    include: Include = None,
    exclude: Exclude = None,
    dry_run: DryRun = False,
    retry_failed: Retry = False,
    shard: Shard = None,
    encoder: Encoder = None,
    model: Model = "v2",
    weights: Weights = None,
    size: Size = None,
    tile: Tile = "auto",
    precision: Precision = "auto",
    fp16: Half = False,
    device: Device = "auto",
    devices: Devices = None,
    engine: EngineName = "auto",
    batch: Batch = "auto",
    save: Save = "color",
    colormap: Colormap = "Spectral_r",
    near: Near = "white",
    range_: RangeText = "auto",
    max_pixels: MaxPixels = 200,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Depth of every picture below IN, in the same tree below OUT; a rerun goes on where the last one ended."""
    voice = Voice(json_, quiet)
    kinds = formats.parse_formats(save)
    chosen = RunOptions(
        encoder,
        model,
        weights,
        check_size(size),
        chosen_precision(precision, half=fp16),
        parse_devices(devices, device),
        engine,
        colormap,
        near,
        range_,
        pixel_limit(max_pixels),
        overwrite,
        parse_batch(batch),
        check_tile(tile),
    )
    index, count, why = parse_shard(shard, os.environ)
    found = inputs.gather_inputs(source, out, include or (), exclude or ())
    planned = jobs.plan_jobs(found.files, out, kinds, root=found.root)
    if not planned:
        raise DacliError(f"no pictures in {source}", "check the path, --include and --exclude")
    if why:
        voice.note(why)
    from dacli.batch.folder import FolderOptions
    from dacli.cli import runs

    mine = jobs.select_shard(planned, index, count)
    if dry_run:
        runs.show_folder_plan(mine, out, chosen, voice)
        raise typer.Exit
    folder_ = FolderOptions(mine, [job.name for job in planned], out, only_failed=retry_failed)
    raise typer.Exit(runs.run_folder_command(folder_, chosen, voice))


app.command(epilog="Example: dacli video clip.mp4 --save side,png16")(video)


@app.command(epilog="Example: dacli decode photo_depth16.png -o depth.npy")
def decode(
    file: Annotated[Path, typer.Argument(help="A 16-bit PNG or clip that dacli wrote.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.npy", help="[default: FILE with .npy]")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """The floats back from a 16-bit depth PNG (H × W) or clip (N × H × W): inverse depth or metres, float32."""
    from dacli.io import images, records
    from dacli.video import depth_clips

    target = out or file.parent / f"{file.stem}.npy"
    if target.exists() and not overwrite:
        raise DacliError(f"{paths.display_path(target)} is there already", "--overwrite replaces it")
    if file.suffix.lower() == ".mkv":
        record, count, shots = depth_clips.decode_depth_clip(file)
        files.write_file(target, images.encode_npy_stream(shots, count))
    else:
        depth, record = records.decode_depth(*images.read_depth16(file), paths.display_path(file))
        files.write_file(target, images.encode_npy(depth))
    Voice().note(f"{record.quantity}, {record.low:g} to {record.high:g}, by {record.encoder} {record.model}")
    print(target)


@app.command(epilog="Example: dacli demo -o demo")
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Output folder.")] = Path("dacli-demo"),
    seed: Annotated[int, typer.Option(help="Which scene.")] = 21,
    json_: Json = False,
) -> None:
    """A rendered scene with known depth through the bundled model: pictures and accuracy, with no network."""
    from dacli.cli import demo

    shown = demo.run(out, seed)
    if json_:
        print(json.dumps(shown.as_json()))
        return
    for path in shown.outputs.values():
        print(path)
    Voice().note(f"{shown.scores}")


@app.command()
def doctor() -> None:
    """What this machine will use and why: device, precision, ffmpeg, caches, what is missing."""
    from dacli.cli import doctor

    findings = doctor.examine()
    width = max(len(name) for name, _ in findings)
    for name, finding in findings:
        print(f"{name:<{width}}  {finding}")


def fail(error: DacliError) -> int:
    """Tell the error; the exit code that it means."""
    Voice().fault(error)
    return 2 if isinstance(error, UsageError) else 1


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"dacli {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Depth of pictures and clips with Depth Anything V2, in batches."""


def leave(code: int) -> NoReturn:
    """End now: a thread may be in a forward pass that lasts for a minute, and no one may interrupt it.

    Were Python to end first, such a thread would end the process by a crash when it comes back.
    """
    files.remove_unfinished()
    if not prefetch.any_stage_alive():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def any_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """Print names that are no text byte by byte, and characters that the stream's encoding lacks as escapes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."""
    codecs.register_error("dacli", any_name)
    for pipe in (sys.stdout, sys.stderr):
        pipe.reconfigure(errors="dacli")  # type: ignore[union-attr]
    prefetch.interrupt_event.clear()
    signal.signal(signal.SIGTERM, prefetch.on_interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # what runs in the background ignores Ctrl-C
        signal.signal(signal.SIGINT, prefetch.on_interrupt)
    leave(ending(arguments))


def ending(arguments: Sequence[str] | None) -> int:
    """Run a command; its exit code."""
    try:
        app(arguments, prog_name="dacli")
    except SystemExit as ended:  # Typer ends so in any case, also when it is interrupted
        return int(ended.code or 0)
    except DacliError as error:
        if os.environ.get("DACLI_DEBUG") == "1":
            raise
        return fail(error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - it is told, or raised for who looks for it
        return fail(unexpected_error(error))
    return 0
