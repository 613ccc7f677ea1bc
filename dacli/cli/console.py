"""How a command talks: results on stdout, the rest on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dacli.paths import display_path

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Count = Callable[[float, int, float, str], None]
EVERY = 30.0  # seconds between two lines where there is no terminal


@dataclass(frozen=True)
class Voice:
    """What the user wants to hear: JSON instead of paths, no notes and bars."""

    json: bool = False
    quiet: bool = False

    def note(self, text: str) -> None:
        """Say a line, unless quiet."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def fault(self, error: Exception) -> None:
        """Say a line that nobody can switch off."""
        print(f"error: {error}", file=sys.stderr, flush=True)

    def insist(self, text: str) -> None:
        """Say a line that is no error and that nobody can switch off."""
        print(text, file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """Say a line of the command's result."""
        print(text, flush=True)

    def planned(self, source: str, outputs: dict[str, str]) -> None:
        """Say what a run would make of an input."""
        told = json.dumps({"input": source, "outputs": outputs})
        self.result(told if self.json else f"{source} -> {', '.join(outputs.values())}")

    @contextmanager
    def counting(self, total: int) -> "Iterator[Count]":
        """Yield what shows how a batch stands: a bar on a terminal, else a line every half minute."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        name = TextColumn("{task.fields[file]}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        rate = TextColumn("{task.fields[rate]:.2f}/s, {task.fields[failed]} failed")
        begun = told = time.monotonic()
        with self.progress(BarColumn(20), MofNCompleteColumn(), rate, TimeRemainingColumn(), name) as bar:
            task = bar.add_task("", total=total, failed=0, rate=0.0, file="")

            def show(ended: float, failed: int, rate: float, file: str) -> None:
                nonlocal told
                bar.update(
                    task,
                    completed=max(ended, bar.tasks[0].completed),
                    failed=failed,
                    rate=rate,
                    file=display_path(Path(file)),
                )
                if bar.disable and time.monotonic() - told >= EVERY:
                    told = time.monotonic()
                    left = (told - begun) / ended * (total - ended)
                    stands = f"{int(ended)} of {total}, {rate:.2f}/s, {failed} failed, {left:.0f} s left"
                    self.note(f"{stands}, at {display_path(Path(file))}")

            yield show

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
