"""How the library reports what happens while it works: functions and objects that the caller passes in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

Log = Callable[[str], None]  # takes one line of text
DownloadProgress = Callable[[int, int | None], None]  # takes the bytes so far and the bytes in all, if known


class Reporter(Protocol):
    """What shows a run to its user; the command line's is `dacli.cli.console`."""

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
    def download(self, file: str) -> AbstractContextManager[DownloadProgress]: ...


TileProgress = Callable[[int, int], None]  # takes how many tiles of a picture are done, and of how many


def ignore_progress(done: float, of: float) -> None:
    """Take progress that nobody shows."""


def ignore_log(line: str) -> None:
    """Take a line that nobody reads."""


@contextmanager
def ignore_download(_file: str) -> Iterator[DownloadProgress]:
    """Yield what takes the progress of a download that nobody shows."""
    yield ignore_bytes


def ignore_bytes(done: int, total: int | None) -> None:
    """Take the progress of a download that nobody shows."""
