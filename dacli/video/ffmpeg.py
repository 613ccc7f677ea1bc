"""The ffmpeg binary as a process: its pipes, how long it may take, and what it says."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import IO

import imageio_ffmpeg

from dacli.errors import DacliError

if sys.platform == "linux":
    import fcntl

FFMPEG_SECONDS = 300.0  # seconds without a step after which ffmpeg counts as stalled
_REINSTALL = "reinstall imageio-ffmpeg, or name an ffmpeg of version 6 or later in IMAGEIO_FFMPEG_EXE"
_LOG_BYTES = 1 << 20
_PIPE_BYTES = 1 << 20
_NO_PTS = -(1 << 63)
_CORRUPT, _DISCARD = 2, 4  # AV_PKT_FLAG_CORRUPT and AV_PKT_FLAG_DISCARD
_COMPLAINT = re.compile(r"^((?:\[[^\]]* @ [^\]]*\] )*)\[(?:error|fatal|panic)\] (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class MediaListing:
    """What the framecrc muxer says of one video stream; times are in ticks of `time_base` seconds.

    `pts` holds the presentation times of the packets that are shown, in rising order, or nothing if one is unknown;
    `end` is when the last one ends; `cut` says that the last packet is not whole; `log` is all that ffmpeg said.
    """

    codec: str
    width: int
    height: int
    sample_aspect: Fraction
    time_base: Fraction
    pts: tuple[int, ...]
    end: int
    cut: bool
    log: str


class FFmpegProcess:
    """A running ffmpeg; leaving the context kills it if it still runs, reaps it and closes its pipes."""

    def __init__(self, arguments: Sequence[str], level: str = "error") -> None:
        self.stalled = False
        command = [ffmpeg_executable(), "-hide_banner", "-nostdin", "-v", f"level+{level}", *arguments]
        self.log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed on leaving the context
        try:  # a session of its own: Ctrl-C is for dacli, which ends ffmpeg itself
            self.popen = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, start_new_session=True
            )
        except OSError as error:
            self.log.close()
            raise DacliError(f"ffmpeg cannot be started ({error.strerror or error})", _REINSTALL) from error
        for pipe in (self.stdin, self.stdout):
            _widen(pipe)

    def __enter__(self) -> "FFmpegProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.kill()
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self.popen.wait()
        self.log.close()

    @property
    def stdin(self) -> IO[bytes]:
        assert self.popen.stdin is not None  # noqa: S101 - it was opened as a pipe
        return self.popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.popen.stdout is not None  # noqa: S101 - it was opened as a pipe
        return self.popen.stdout

    def kill(self) -> None:
        """End ffmpeg, and what a wrapper script around it started, at once."""
        if self.popen.poll() is not None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.kill()

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Yield kill ffmpeg if what is done in this context takes longer than PATIENCE."""
        timer = threading.Timer(FFMPEG_SECONDS, self.give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def give_up(self) -> None:
        self.stalled = True
        self.kill()

    def fill(self, buffer: memoryview) -> bool:
        """Read into all of the buffer; False if ffmpeg's output ends before."""
        with self.patience():
            got: int = self.stdout.readinto(buffer)  # type: ignore[attr-defined]
            return got == len(buffer)

    def text(self) -> Iterator[str]:
        """Yield the lines of ffmpeg's output."""
        rest = b""
        while True:
            with self.patience():
                block = self.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)

    def feed(self, *parts: bytes | memoryview) -> bool:
        """Write to ffmpeg's input; False if it does not take any more."""
        try:
            with self.patience():
                for part in parts:
                    self.stdin.write(part)
                self.stdin.flush()
        except OSError:
            return False
        return True

    def finish(self) -> int:
        """Close the input, wait for the end and return the exit status; negative for a signal."""
        with self.patience():
            with contextlib.suppress(OSError):
                self.stdin.close()
            return self.popen.wait()

    def said(self) -> str:
        """Return what ffmpeg, which has ended, wrote to its log; no more than the first megabyte."""
        self.log.seek(0)
        return self.log.read(_LOG_BYTES).decode("utf-8", "replace")

    def fault(self, pattern: str = "") -> str:
        """Return why ffmpeg, which has ended, failed: the first error in its log whose origin matches the pattern."""
        if self.stalled:
            return f"ffmpeg stalled for {FFMPEG_SECONDS:g} s"
        status = self.popen.returncode
        if (found := find_complaint(self.said(), pattern)) or status == 0:
            return found
        return f"ffmpeg was killed by signal {-status}" if status < 0 else f"ffmpeg ended with status {status}"


def _widen(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":  # a frame of 1080p goes through 1 MiB in half the time that it takes through 64 KiB
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def run_ffmpeg(arguments: Sequence[str]) -> str:
    """Let ffmpeg make a file, as long as it gets on with it; return why it failed, or nothing."""
    with FFmpegProcess(["-progress", "pipe:1", *arguments]) as process:
        for _ in process.text():
            pass
        return process.fault() if process.finish() else ""


def ffmpeg_executable() -> str:
    """Return the path of the ffmpeg to run; raise DacliError if there is none."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise DacliError("there is no ffmpeg", _REINSTALL) from None


def has_filter(name: str) -> bool:
    """Return whether ffmpeg was built with a filter."""
    return name in _filters(ffmpeg_executable())


@lru_cache(maxsize=1)
def _filters(_: str) -> frozenset[str]:
    with FFmpegProcess(["-filters"]) as process:
        return frozenset(fields[1] for line in process.text() if len(fields := line.split()) > 2)


def find_complaint(log: str, pattern: str = "") -> str:
    """Return the first error in a log, without its origin, or nothing; only of origins that match the pattern."""
    for origin, text in _COMPLAINT.findall(log):
        if re.search(pattern, origin):
            return str(text).strip()
    return ""


def file_url(path: Path) -> str:
    """Return a path as an argument: whatever its name begins with or holds, it is a file's."""
    return f"file:{path}"


def list_media(arguments: Sequence[str]) -> tuple[MediaListing | None, str]:
    """Return what framecrc says of the one video stream that the arguments read, or None and why there is nothing."""
    head: dict[str, str] = {}
    packets: list[tuple[int, int, int]] = []
    with FFmpegProcess([*arguments, "-f", "framecrc", "pipe:1"], "info") as process:
        for line in process.text():
            if line.startswith("#"):
                key, _, value = line.partition(" 0: ")
                head[key] = value
            else:
                packets.append(_packet(line))
        process.finish()
        log, fault = process.said(), process.fault()
        failed = process.stalled or process.popen.returncode != 0
    if failed or "#dimensions" not in head:
        return None, fault if process.stalled else log or fault
    return _listing(head, packets, log), ""


def _packet(line: str) -> tuple[int, int, int]:
    fields = line.split(",")
    flags = next((int(field.strip()[2:], 16) for field in fields[6:] if field.strip().startswith("F=")), 0)
    return int(fields[2]), int(fields[3]), flags


def _listing(head: dict[str, str], packets: list[tuple[int, int, int]], log: str) -> MediaListing:
    shown = sorted((pts, duration) for pts, duration, flags in packets if not flags & (_CORRUPT | _DISCARD))
    known = bool(shown) and shown[0][0] != _NO_PTS
    width, height = head["#dimensions"].split("x")
    return MediaListing(
        codec=head.get("#codec_id", ""),
        width=int(width),
        height=int(height),
        sample_aspect=Fraction(head.get("#sar", "1/1").replace("/0", "/1")) or Fraction(1),
        time_base=Fraction(head["#tb"]),
        pts=tuple(pts for pts, _ in shown) if known else (),
        end=max(pts + duration for pts, duration in shown) if known else 0,
        cut=bool(packets) and bool(packets[-1][2] & _CORRUPT),
        log=log,
    )
