"""The ffmpeg binary as a process: its pipes, its time limit and its log."""

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

FFMPEG_SECONDS = 300.0  # seconds without progress after which ffmpeg is considered stalled
_REINSTALL = "reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to the path of ffmpeg 6 or later"
_LOG_BYTES = 1 << 20
_PIPE_BYTES = 1 << 20
_NO_PTS = -(1 << 63)
_CORRUPT, _DISCARD = 2, 4  # AV_PKT_FLAG_CORRUPT and AV_PKT_FLAG_DISCARD
_LOG_ERROR = re.compile(r"^((?:\[[^\]]* @ [^\]]*\] )*)\[(?:error|fatal|panic)\] (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class MediaListing:
    """The output of the framecrc muxer for one video stream; times are in ticks of `time_base` seconds.

    `pts` holds the presentation times of the displayed packets in increasing order, or is empty if one is unknown;
    `end` is the end time of the last one; `cut` is true if the last packet is incomplete; `log` is ffmpeg's whole log;
    `first_packet` is the time of the packet that is decoded first.
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
    first_packet: int = 0


class FFmpegProcess:
    """A running ffmpeg process; leaving the context kills it if it still runs, and closes its pipes."""

    def __init__(self, arguments: Sequence[str], level: str = "error", *, folder: Path | None = None) -> None:
        self.stalled = False
        command = [ffmpeg_executable(), "-hide_banner", "-nostdin", "-v", f"level+{level}", *arguments]
        self.log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed on leaving the context
        try:  # in its own session: Ctrl-C reaches only dacli, which stops ffmpeg
            self.popen = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                start_new_session=True,
                cwd=folder,
            )
        except OSError as error:
            self.log.close()
            raise DacliError(f"ffmpeg cannot be started ({error.strerror or error})", _REINSTALL) from error
        for pipe in (self.stdin, self.stdout):
            _enlarge_pipe(pipe)

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
        """Kill ffmpeg at once, together with the child processes of a wrapper script."""
        if self.popen.poll() is not None:
            return
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.kill()

    @contextlib.contextmanager
    def time_limit(self) -> Iterator[None]:
        """Kill ffmpeg if the block in this context takes longer than FFMPEG_SECONDS."""
        timer = threading.Timer(FFMPEG_SECONDS, self.kill_stalled)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def kill_stalled(self) -> None:
        self.stalled = True
        self.kill()

    def fill(self, buffer: memoryview) -> bool:
        """Fill the whole buffer from ffmpeg's output; return False if the output ends before that."""
        with self.time_limit():
            got: int = self.stdout.readinto(buffer)  # type: ignore[attr-defined]
            return got == len(buffer)

    def text(self) -> Iterator[str]:
        """Yield the lines of ffmpeg's output."""
        rest = b""
        while True:
            with self.time_limit():
                block = self.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)

    def feed(self, *parts: bytes | memoryview) -> bool:
        """Write to ffmpeg's input; return False if ffmpeg does not accept more."""
        try:
            with self.time_limit():
                for part in parts:
                    self.stdin.write(part)
                self.stdin.flush()
        except OSError:
            return False
        return True

    def finish(self) -> int:
        """Close the input, wait until ffmpeg exits and return its status; negative for a signal."""
        with self.time_limit():
            with contextlib.suppress(OSError):
                self.stdin.close()
            return self.popen.wait()

    def read_log(self) -> str:
        """Return the first megabyte of the log of ffmpeg, after it exited."""
        self.log.seek(0)
        return self.log.read(_LOG_BYTES).decode("utf-8", "replace")

    def failure_reason(self, pattern: str = "") -> str:
        """Return why ffmpeg failed, after it exited: the first error in its log whose origin matches the pattern."""
        if self.stalled:
            return f"ffmpeg stalled for {FFMPEG_SECONDS:g} s"
        status = self.popen.returncode
        if (reason := find_log_error(self.read_log(), pattern)) or status == 0:
            return reason
        return f"ffmpeg was killed by signal {-status}" if status < 0 else f"ffmpeg ended with status {status}"


def _enlarge_pipe(pipe: IO[bytes]) -> None:
    if sys.platform == "linux":  # a 1080p frame passes a pipe of 1 MiB in half the time of one of 64 KiB
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def run_ffmpeg(arguments: Sequence[str], folder: Path | None = None) -> str:
    """Run ffmpeg to write a file, while it makes progress; return why it failed, or an empty text.

    Relative paths in the arguments are below the `folder`, or else below the current one.
    """
    with FFmpegProcess(["-progress", "pipe:1", *arguments], folder=folder) as process:
        for _ in process.text():
            pass
        return process.failure_reason() if process.finish() else ""


def ffmpeg_executable() -> str:
    """Return the path of the ffmpeg to run; raise DacliError if none is installed."""
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        raise DacliError("ffmpeg was not found", _REINSTALL) from None


def has_filter(name: str) -> bool:
    """Return whether ffmpeg was built with a filter."""
    return name in _list_parts(ffmpeg_executable(), "-filters")


def has_decoder(name: str) -> bool:
    """Return whether ffmpeg was built with a decoder."""
    return name in _list_parts(ffmpeg_executable(), "-decoders")


def has_encoder(name: str) -> bool:
    """Return whether ffmpeg was built with an encoder."""
    return name in _list_parts(ffmpeg_executable(), "-encoders")


@lru_cache(maxsize=8)
def _list_parts(_: str, kind: str) -> frozenset[str]:
    with FFmpegProcess([kind]) as process:
        return frozenset(fields[1] for line in process.text() if len(fields := line.split()) > 2)


def find_log_error(log: str, pattern: str = "") -> str:
    """Return the first error in a log whose origin matches the pattern, without the origin; or an empty text."""
    for origin, text in _LOG_ERROR.findall(log):
        if re.search(pattern, origin):
            return str(text).strip()
    return ""


def file_url(path: Path) -> str:
    """Return a path as an argument that ffmpeg always reads as a file, regardless of special characters in the name.

    It is absolute, so that it is the same in every folder.
    """
    return f"file:{path.absolute()}"


def list_media(arguments: Sequence[str]) -> tuple[MediaListing | None, str]:
    """Return the framecrc listing of the one video stream that the arguments select, or None and the reason."""
    header: dict[str, str] = {}
    packets: list[tuple[int, int, int]] = []
    with FFmpegProcess([*arguments, "-f", "framecrc", "pipe:1"], "info") as process:
        for line in process.text():
            if line.startswith("#"):
                key, _, value = line.partition(" 0: ")
                header[key] = value
            else:
                packets.append(_packet(line))
        process.finish()
        log, failure_reason = process.read_log(), process.failure_reason()
        failed = process.stalled or process.popen.returncode != 0
    if failed or "#dimensions" not in header:
        return None, failure_reason if process.stalled else log or failure_reason
    return _listing(header, packets, log), ""


def _packet(line: str) -> tuple[int, int, int]:
    fields = line.split(",")
    flags = next((int(field.strip()[2:], 16) for field in fields[6:] if field.strip().startswith("F=")), 0)
    return int(fields[2]), int(fields[3]), flags


def _listing(header: dict[str, str], packets: list[tuple[int, int, int]], log: str) -> MediaListing:
    shown = sorted((pts, duration) for pts, duration, flags in packets if not flags & (_CORRUPT | _DISCARD))
    has_times = bool(shown) and shown[0][0] != _NO_PTS
    width, height = header["#dimensions"].split("x")
    return MediaListing(
        codec=header.get("#codec_id", ""),
        width=int(width),
        height=int(height),
        sample_aspect=Fraction(header.get("#sar", "1/1").replace("/0", "/1")) or Fraction(1),
        time_base=Fraction(header["#tb"]),
        pts=tuple(pts for pts, _ in shown) if has_times else (),
        end=max(pts + duration for pts, duration in shown) if has_times else 0,
        cut=bool(packets) and bool(packets[-1][2] & _CORRUPT),
        log=log,
        first_packet=next((pts for pts, _, flags in packets if not flags & (_CORRUPT | _DISCARD)), 0),
    )
