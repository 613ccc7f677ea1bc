"""Lines that C libraries write to standard error past Python: kept from the user, and read for what they report.

libjpeg reports damage in no other way, and OpenCV does not pass it on.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO, TypeVar, cast

Listened = TypeVar("Listened")
_STDERR = 2  # file descriptor


def _open_nameless() -> int:
    """Return the descriptor of a new file without a name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("lines")
    import tempfile  # 10 ms

    with tempfile.TemporaryFile("w+b") as file:
        return os.dup(file.fileno())


class _Ear:
    """The file that takes the lines, and who is listening: several at once, or one alone."""

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self.stays_diverted = False
        self.changed = threading.Condition()
        self.listeners = 0
        self.one_alone = False

    def open(self) -> int:
        if self.descriptor is None:
            self.descriptor = _open_nameless()
        return self.descriptor

    def size(self) -> int:
        return os.fstat(self.open()).st_size

    def read(self) -> bytes:
        size = self.size()
        os.lseek(self.open(), 0, os.SEEK_SET)
        return os.read(self.open(), size)

    def clear(self) -> None:
        os.ftruncate(self.open(), 0)
        os.lseek(self.open(), 0, os.SEEK_SET)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.one_alone)
            self.listeners += 1
        try:
            yield
        finally:
            with self.changed:
                self.listeners -= 1
                self.changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.one_alone)
            self.one_alone = True
            self.changed.wait_for(lambda: not self.listeners)
        try:
            yield
        finally:
            with self.changed:
                self.one_alone = False
                self.changed.notify_all()


_ear = _Ear()


def divert_foreign_lines() -> None:
    """Keep what C libraries write to standard error from the user from now on; sys.stderr still reaches the user.

    For a whole process, before any of its threads starts.
    """
    with contextlib.suppress(OSError):
        own = os.fdopen(os.dup(_STDERR), "w", encoding=sys.stderr.encoding, errors="replace", buffering=1)
        os.dup2(_ear.open(), _STDERR)
        sys.stderr = own
        _ear.stays_diverted = True


class _StandardOutput:
    """Standard output without what one thread writes to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._muted = stream, threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._muted else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_muting = threading.Lock()


@contextlib.contextmanager
def mute_prints() -> Iterator[None]:
    """Keep what a library prints in this thread, through Python, from standard output, which is for results."""
    with _muting:
        own = sys.stdout
        sys.stdout = cast("TextIO", _StandardOutput(own))
        try:
            yield
        finally:
            sys.stdout = own


def listen_to(decode: Callable[[], Listened], mark: bytes) -> tuple[Listened, str]:
    """Return what `decode` returns, and the first line with a mark that it made a C library write; "" if none.

    Without divert_foreign_lines() only one thread decodes at a time, and other lines are passed on.
    """
    if not _ear.stays_diverted:
        with _ear.alone():
            return _listen_briefly(decode, mark)
    with _ear.together():
        before = _ear.size()
        result = decode()
        if _ear.size() == before:
            return result, ""
    with _ear.alone():  # the line may be about a file that another thread decoded
        _ear.clear()
        result = decode()
        return result, _first_line(_ear.read(), mark)


def _listen_briefly(decode: Callable[[], Listened], mark: bytes) -> tuple[Listened, str]:
    with _diverted():
        result = decode()
    text = _ear.read()
    others = b"".join(line for line in text.splitlines(keepends=True) if mark not in line)
    with contextlib.suppress(OSError):
        os.write(_STDERR, others)
    return result, _first_line(text, mark)


@contextlib.contextmanager
def _diverted() -> Iterator[Any]:
    _ear.clear()
    try:
        own = os.dup(_STDERR)
    except OSError:  # standard error is closed
        yield
        return
    try:
        os.dup2(_ear.open(), _STDERR)
        yield
    finally:
        os.dup2(own, _STDERR)
        os.close(own)


def _first_line(text: bytes, mark: bytes) -> str:
    return next((line.decode("ascii", "replace") for line in text.splitlines() if mark in line), "")
