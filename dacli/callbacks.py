"""Types of the functions and objects through which the library reports its progress to the caller."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

Log = Callable[[str], None]  # takes one line of text
DownloadProgress = Callable[[int, int | None], None]  # takes the bytes so far and the total number of bytes, if known


class Reporter(Protocol):
    """Shows the progress and results of a run to the user; the command line uses `dacli.cli.console`."""

    @property
    def json(self) -> bool: ...
    @property
    def quiet(self) -> bool: ...

    def note(self, text: str) -> None: ...
    def error(self, error: Exception) -> None: ...
    def warn(self, text: str) -> None: ...
    def result(self, text: str) -> None: ...
    def planned(self, source: str, outputs: dict[str, str]) -> None: ...
    def progress_of_batch(self, total: int) -> AbstractContextManager[Callable[[float, int, float, str], None]]: ...
    def progress_bar(self) -> AbstractContextManager[Any]: ...
    def progress_of_shares(self) -> AbstractContextManager[Callable[[float, str], None]]: ...
    def download(self, file: str) -> AbstractContextManager[DownloadProgress]: ...


TileProgress = Callable[[int, int], None]  # takes the number of finished tiles of a picture, and the total


def ignore_progress(done: float, total: float) -> None:
    """Ignore progress."""


def ignore_log(line: str) -> None:
    """Ignore a line of the log."""


@contextmanager
def ignore_download(_file: str) -> Iterator[DownloadProgress]:
    """Yield a function that ignores the progress of a download."""
    yield ignore_bytes


def ignore_bytes(done: int, total: int | None) -> None:
    """Ignore the progress of a download."""
