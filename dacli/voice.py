"""How a command talks: results on stdout, the rest on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dacli.errors import DacliError

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


@dataclass(frozen=True)
class Voice:
    """What the user wants to hear: JSON instead of paths, no notes and bars."""

    json: bool = False
    quiet: bool = False

    def note(self, text: str) -> None:
        """Say a line, unless quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def fault(self, error: DacliError) -> None:
        """Say a line that nobody can switch off."""
        print(f"error: {error}", file=sys.stderr, flush=True)

    @contextmanager
    def bar(self) -> "Iterator[Progress]":
        """Yield a bar that counts, with the time left."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        with self.progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        ) as bar:
            yield bar

    @contextmanager
    def download(self, file: str) -> "Iterator[Callable[[int, int | None], None]]":
        """Yield what shows (bytes done, bytes in all) of one file; the bar appears with the first bytes."""
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        with self.progress(
            TextColumn(file), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
        ) as bar:
            shown = bar.add_task(file, visible=False)
            yield lambda done, total: bar.update(shown, completed=done, total=total, visible=True)

    @contextmanager
    def progress(self, *columns: "ProgressColumn") -> "Iterator[Progress]":
        """Yield a bar on stderr, invisible when quiet or when stderr is no terminal."""
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        # Rich would send to stderr what is printed meanwhile: right on a terminal, the loss of it all in a pipe.
        mixed, off = sys.stdout.isatty(), self.quiet or not console.is_terminal
        with Progress(*columns, console=console, disable=off, transient=True, redirect_stdout=mixed) as bar:
            yield bar
