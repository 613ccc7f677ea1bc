"""The entry point: the commands, and how errors and interrupts become exit codes."""

import codecs
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, NoReturn

import typer

from dacli import __version__, prefetch
from dacli.cli import settings, streams
from dacli.cli.bench import bench
from dacli.cli.config import config
from dacli.cli.console import Console, close_log
from dacli.cli.decode import decode
from dacli.cli.demo import demo
from dacli.cli.doctor import doctor
from dacli.cli.evaluate import compare, evaluate, scenes
from dacli.cli.export import export_app
from dacli.cli.folder import folder
from dacli.cli.help import GroupedCommand
from dacli.cli.image import image
from dacli.cli.report import report
from dacli.cli.train import train_app
from dacli.cli.usage import CLICK_USAGE_ERROR, describe_usage_error, refuse_single_dash
from dacli.cli.video import video
from dacli.cli.weights import weights_app
from dacli.errors import DacliError, UsageError, unexpected_error

app = typer.Typer(
    help="Depth of pictures and clips with Depth Anything V2, in batches.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def add_command(function: Callable[..., None], name: str, summary: str, example: str = "") -> None:
    """Add a command, with its line in the list of commands and an example below its help."""
    epilog = f"Example: {example}" if example else None
    app.command(name, cls=GroupedCommand, short_help=summary, epilog=epilog)(function)


add_command(
    image, "image", "depth of single pictures", "dacli image photo.jpg --encoder tiny --save color,png16 -o depth"
)
add_command(folder, "folder", "depth of every picture below a folder", "dacli folder ./in ./out --save color,png16")
add_command(video, "video", "depth of clips, as clips", "dacli video clip.mp4 --save side,png16")
add_command(decode, "decode", "floats back from a 16-bit PNG or clip", "dacli decode photo_depth16.png -o depth.npy")
add_command(report, "report", "a page of outputs, for a browser", "dacli report depth -o depth/report.html")
add_command(demo, "demo", "depth of a photo and of a rendered scene; no network", "dacli demo -o demo")
add_command(config, "config", "defaults of options, and where each comes from", "dacli config")
add_command(doctor, "doctor", "what this machine will use, and why")
app.add_typer(weights_app, name="weights", short_help="checkpoints: list, download, verify, find")
app.add_typer(export_app, name="export", short_help="a network as a file for other programs: ONNX")
app.add_typer(train_app, name="train", short_help="training as Depth Anything V2 was trained")
add_command(
    evaluate,
    "eval",
    "accuracy on pictures with known depth",
    "dacli eval da2k --encoder vits,vitb --precision fp32,bf16 -o scores",
)
add_command(
    compare,
    "compare",
    "how much two runs differ, and where",
    "dacli compare out-fp32 out-bf16 --align none -o differences",
)
add_command(
    scenes, "scenes", "rendered pictures with exact depth", "dacli scenes 100 rendered --seed 7 --save npy,png16"
)
add_command(
    bench,
    "bench",
    "measured speed, memory and error of this machine",
    "dacli bench --encoder vits,vitb --size 518,1600 --against --json",
)


def show_version(requested: bool) -> None:
    """Print the version and exit, if `--version` was given."""
    if requested:
        print(f"dacli {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Depth of pictures and clips with Depth Anything V2, in batches."""


def report_error(error: DacliError) -> int:
    """Print an error, and return its exit code."""
    Console().error(error)
    return 2 if isinstance(error, UsageError) else 1


def exit_process(code: int) -> NoReturn:
    """Exit without waiting for threads: one may be in a forward pass that lasts a minute and cannot be interrupted.

    If the interpreter shut down first, such a thread would crash the process when its pass ends.
    """
    if files := sys.modules.get("dacli.io.files"):
        files.remove_unfinished_files()
    if not streams.flush_stream(sys.stdout):
        code = code or streams.give_up_stdout()
    if not streams.flush_stream(sys.stderr):
        sys.stderr = None  # or Python would fail to flush it once more, and exit with 120
    if not prefetch.any_stage_alive():
        sys.exit(code)
    os._exit(code)


def replace_unprintable(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return the bytes of a name that is not text, or the escape of a character that the stream's encoding lacks."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 something failed, 2 wrong usage, 130 interrupted, 141 no reader of stdout."""
    if arguments is None:  # a process of its own: those that it starts do not run code of the current folder
        os.environ.setdefault("PYTHONSAFEPATH", "1")
    codecs.register_error("dacli", replace_unprintable)
    if arguments is None:
        streams.prepare_streams()
    for pipe in (sys.stdout, sys.stderr):
        pipe.reconfigure(errors="dacli")  # type: ignore[union-attr]
    prefetch.interrupt_event.clear()
    signal.signal(signal.SIGTERM, prefetch.on_interrupt)
    # A shell makes background processes ignore Ctrl-C; that stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, prefetch.on_interrupt)
    exit_process(run_command(arguments))


def run_command(arguments: Sequence[str] | None) -> int:
    """Run a command, and return its exit code."""
    typed = sys.argv[1:] if arguments is None else arguments
    used: list[settings.Setting] = []
    try:
        refuse_single_dash(typed)
        used = find_settings(typed)
        defaults = {"default_map": settings.default_map(used)} if used else {}
        return int(command_tree()(arguments, prog_name="dacli", standalone_mode=False, **defaults) or 0)
    except SystemExit as error:
        # Of `dacli … | head`, Click makes an exit with code 1: who reads the results has what he wants.
        return streams.give_up_stdout() if isinstance(error.__context__, BrokenPipeError) else int(error.code or 0)
    except DacliError as error:
        if os.environ.get("DACLI_DEBUG") == "1":
            raise
        return report_error(settings.blame_setting(error, used) if isinstance(error, UsageError) else error)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - it is reported in one line, or raised with DACLI_DEBUG=1
        return report_other_error(error, used)
    finally:
        close_log()


@cache
def command_tree() -> Any:
    """Return all commands as Click has them, built once: that takes 16 ms."""
    return typer.main.get_command(app)


def find_settings(arguments: Sequence[str]) -> list[settings.Setting]:
    """Return the settings that a command line uses, and say where they come from, unless it is quiet."""
    if not settings.has_settings(arguments, os.environ):
        return []
    options = settings.list_options(command_tree())
    used = settings.used_settings(settings.read_settings(options, arguments), arguments)
    if used and not {"-q", "--quiet", "-h", "--help"} & set(arguments):
        Console().note(f"settings: {settings.describe_settings(used)}")
    return used


def report_other_error(error: Any, used: Sequence[settings.Setting]) -> int:
    """Report an error of Click or one that was not expected, and return its exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return 2
    if isinstance(error, CLICK_USAGE_ERROR):
        return report_error(settings.blame_setting(describe_usage_error(error), used))
    return report_error(unexpected_error(error))
