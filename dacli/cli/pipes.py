"""A picture on standard input (`-`), and a result on standard output (`-o -`): through files in a temporary folder."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dacli.cli.console import Console
from dacli.errors import DacliError, UsageError

PIPE = Path("-")
MAX_PIPED = 2 << 30  # bytes of a picture on standard input


@dataclass(frozen=True)
class PipedPictures:
    """The pictures and the output folder of a command, with files in place of `-`."""

    photos: list[Path]
    out: Path | None
    to_stdout: bool = False

    def finish(self, code: int) -> int:
        """Write the one result to standard output, if it belongs there; return the exit code."""
        if self.to_stdout and self.out is not None:
            for path in self.out.iterdir():
                sys.stdout.buffer.write(path.read_bytes())
            sys.stdout.buffer.flush()
        return code


@contextmanager
def open_pipes(photos: Sequence[Path], out: Path | None, kinds: int) -> Iterator[PipedPictures]:
    """Yield the pictures and the output folder of `dacli image`, with files in place of `-`.

    The result of a picture on standard input is in the current folder without -o. Raises UsageError if more than one
    file would be on standard output, DacliError if nothing is on standard input.
    """
    from_stdin, to_stdout = PIPE in photos, out == PIPE
    if to_stdout and (len(photos) != 1 or kinds != 1):
        raise UsageError("-o - takes one file", "give one picture and one kind of --save, or a folder")
    if not from_stdin and not to_stdout:
        yield PipedPictures(list(photos), out)
        return
    with tempfile.TemporaryDirectory(prefix="dacli-") as name:
        picture, results = Path(name, "stdin"), Path(name, "out")
        if from_stdin:
            picture.write_bytes(read_stdin())
        results.mkdir()
        named = [picture if photo == PIPE else photo for photo in photos]
        yield PipedPictures(named, results if to_stdout else out or (Path() if from_stdin else None), to_stdout)


def read_stdin() -> bytes:
    """Return all that is on standard input."""
    data = sys.stdin.buffer.read(MAX_PIPED + 1)
    if not data:
        raise DacliError("standard input is empty", "give it a picture: dacli image - < photo.jpg", "damaged")
    if len(data) > MAX_PIPED:
        raise DacliError("standard input has over 2 GiB", "save it as a file first", "too large")
    return data


@dataclass(frozen=True)
class SilentConsole(Console):
    """A console that leaves standard output to the bytes of a picture."""

    def result(self, text: str) -> None:
        """Print nothing: the result itself is on standard output."""


def without_results(console: Console) -> Console:
    """Return a console with the same settings that leaves standard output alone."""
    return SilentConsole(**vars(replace(console)))
