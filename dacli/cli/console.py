"""How a command prints: results on stdout, notes, errors and progress on stderr."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dacli.errors import DacliError, StopError
from dacli.paths import display_path, printable_text

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

BatchProgress = Callable[[float, int, float, str], None]  # takes inputs done, failed, per second, and the current file
_LOGGER = logging.getLogger("dacli")  # of lines for the user: without a log file nobody listens
_LOGGER.propagate = False
_LOGGER.addHandler(logging.NullHandler())
TERMINAL_VARIABLES = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")  # by which Rich takes anything for a terminal
LINE_INTERVAL = 30.0  # seconds between two lines where there is no terminal


def open_log(path: Path) -> None:
    """Append all lines from now on to a file, with their times; raise DacliError if it cannot be written."""
    try:
        handler = LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        fault = f"cannot write the log {display_path(path)} ({error.strerror})"
        raise DacliError(fault, "choose another --log-file") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    close_log()
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)


def close_log() -> None:
    """Close the log file, if there is one."""
    for handler in _LOGGER.handlers[1:]:
        _LOGGER.removeHandler(handler)
        with suppress(OSError):
            handler.close()


class LogFile(logging.FileHandler):
    """A log file without which a run goes on, if its disk is full or lost; one line says so."""

    def drop(self) -> None:
        """Close the file without what could not be written."""
        if self.stream is not None:
            self.stream.close()

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say once that the log cannot be written, and stop writing it."""
        if self in _LOGGER.handlers:
            _LOGGER.removeHandler(self)
            with suppress(OSError):
                self.drop()
            reason = os_reason_of(sys.exc_info()[1])
            say_on_stderr(
                f"cannot write the log {display_path(Path(self.baseFilename))} ({reason}): the run goes on without it"
            )


def os_reason_of(error: BaseException | None) -> str:
    """Return the reason of an error in the system's words, or else its text."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def say_on_stderr(text: str) -> None:
    """Print a line on stderr; if that is closed or its disk is full, the run goes on as if it were quiet."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


class ReportedInterrupt(KeyboardInterrupt):
    """An interrupt of which a command has said already what it left behind."""


@dataclass(frozen=True)
class Console:
    """How a command prints: results on stdout, the rest on stderr; JSON instead of paths, no notes when quiet."""

    json: bool = False
    quiet: bool = False

    def note(self, text: str) -> None:
        """Print a line on stderr, unless quiet."""
        self._print_line(logging.INFO, text, shown=not self.quiet)

    def hint(self, text: str) -> None:
        """Print a line on stderr for somebody who watches: not if it is a pipe or a file, nor when quiet."""
        if sys.stderr.isatty():
            self.note(text)

    def error(self, error: Exception) -> None:
        """Print an error on stderr, also when quiet."""
        _LOGGER.error(printable_text(str(error)))
        say_on_stderr(printable_text(f"error: {error}"))

    def warn(self, text: str) -> None:
        """Print a line on stderr, also when quiet."""
        self._print_line(logging.WARNING, text)

    def result(self, text: str) -> None:
        """Print a line of the result on stdout: on a terminal without control characters, in a pipe as it is.

        Raises StopError for a full disk, BrokenPipeError without a reader.
        """
        _LOGGER.info(printable_text(text))
        try:
            print(printable_text(text) if sys.stdout.isatty() else text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            fault = f"cannot write the results to standard output ({os_reason_of(error)})"
            raise StopError(fault, "free some space, or send them elsewhere") from error

    def _print_line(self, level: int, text: str, *, shown: bool = True) -> None:
        """Print a line on stderr, and log it, with its control characters escaped."""
        text = printable_text(text)
        _LOGGER.log(level, text)
        if shown:
            say_on_stderr(text)

    def planned(self, source: str, outputs: dict[str, str]) -> None:
        """Print the files that a run would write for an input."""
        row = json.dumps({"input": source, "outputs": outputs})
        self.result(row if self.json else f"{source} -> {', '.join(outputs.values())}")

    @contextmanager
    def progress_of_batch(self, total: int) -> "Iterator[BatchProgress]":
        """Yield a function that shows the progress of a batch: a bar on a terminal, else a line every half minute."""
        if not self.shows_bars():
            yield self._progress_lines(total)
            return
        from dacli.cli import progress

        with self._progress(*progress.batch_columns()) as bar:
            task = bar.add_task("", total=total, failed=0, rate=0.0, file="")

            def show(ended: float, failed: int, rate: float, file: str) -> None:
                completed = max(ended, bar.tasks[0].completed)
                bar.update(task, completed=completed, failed=failed, rate=rate, file=display_path(Path(file)))

            yield show

    def shows_bars(self) -> bool:
        """Return whether bars are shown; Rich, slow to load, is asked only where it may find a terminal."""
        if self.quiet or not (sys.stderr.isatty() or any(name in os.environ for name in TERMINAL_VARIABLES)):
            return False
        from rich.console import Console as RichConsole

        return RichConsole(stderr=True).is_terminal

    def _progress_lines(self, total: int) -> "BatchProgress":
        """Return a function that prints a line about a batch every half minute."""
        started = last_printed = time.monotonic()

        def show(ended: float, failed: int, rate: float, file: str) -> None:
            nonlocal last_printed
            if time.monotonic() - last_printed >= LINE_INTERVAL:
                last_printed = time.monotonic()
                left = (last_printed - started) / ended * (total - ended)
                failures = f", {failed} failed" if failed else ""
                counts = f"{int(ended)} of {total}, {rate:.2f}/s{failures}, {left:.0f} s left"
                self.note(f"{counts}, at {display_path(Path(file))}")

        return show

    @contextmanager
    def progress_bar(self) -> "Iterator[Progress]":
        """Yield a bar that shows a count and the time left."""
        from dacli.cli import progress

        with self._progress(*progress.count_columns()) as bar:
            yield bar

    @contextmanager
    def progress_of_shares(self) -> "Iterator[Callable[[float, str], None]]":
        """Yield a function that shows which share of the work is done, 0 to 1, and what is done now."""
        from dacli.cli import progress

        with self._progress(*progress.share_columns()) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda share, text: bar.update(task, completed=share, description=printable_text(text))

    @contextmanager
    def download(self, file: str) -> "Iterator[Callable[[int, int | None], None]]":
        """Yield a function that shows the download of one file; the bar appears with the first bytes."""
        from dacli.cli import progress

        with self._progress(*progress.download_columns()) as bar:
            task = bar.add_task(printable_text(file), visible=False)
            yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)

    @contextmanager
    def _progress(self, *columns: "ProgressColumn") -> "Iterator[Progress]":
        """Yield a bar on stderr, invisible when quiet or when stderr is not a terminal."""
        from rich.console import Console
        from rich.progress import Progress

        from dacli.cli.progress import SPEED_WINDOW

        console = Console(stderr=True)
        # While a bar is shown, Rich redirects stdout to stderr: right on a terminal, but a pipe would get no results.
        redirect, disable = sys.stdout.isatty(), self.quiet or not console.is_terminal
        with Progress(
            *columns,
            console=console,
            disable=disable,
            transient=True,
            redirect_stdout=redirect,
            speed_estimate_period=SPEED_WINDOW,
        ) as bar:
            yield bar
