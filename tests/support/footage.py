"""Clips made by ffmpeg's own sources, and what ffmpeg says of clips: the other way that the tests of clips go."""

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.hanging import TIME_LIMIT

FFMPEG = str(imageio_ffmpeg.get_ffmpeg_exe())
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "2")
# Times that no constant rate has, in ticks of 1/24000 s.
VARIABLE = tuple(n * 1001 + n // 5 * 700 + n % 3 * 97 for n in range(30))
VARY = "settb=1/24000,setpts='N*1001+floor(N/5)*700+mod(N,3)*97'"


class Packet(NamedTuple):
    """A packet as framecrc prints it; times in ticks."""

    pts: int
    duration: int
    size: int
    crc: str


def ffmpeg(*arguments: str | Path) -> bytes:
    """What ffmpeg prints; it must succeed."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def make_clip(path: Path, *arguments: str, source: str = "testsrc2=s=96x64:r=24", frames: int = 30) -> Path:
    """A clip of ffmpeg's test picture."""
    ffmpeg("-f", "lavfi", "-i", source, *arguments, "-frames:v", str(frames), path)
    return path


def packets(path: Path, stream: str = "0:V:0") -> tuple[Fraction, list[Packet]]:
    """The time base of a stream and its packets in the order of their times, as they stand in the file."""
    text = ffmpeg("-copyts", "-i", path, "-map", stream, "-c", "copy", "-f", "framecrc", "-").decode()
    head = dict(line[1:].split(" 0: ") for line in text.splitlines() if line.startswith("#") and " 0: " in line)
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines() if not line.startswith("#")]
    return Fraction(head["tb"]), sorted(Packet(int(r[2]), int(r[3]), int(r[4]), r[5]) for r in rows)


def packet_times(path: Path, stream: str = "0:V:0") -> list[Fraction]:
    """When the packets of a stream are shown."""
    base, found = packets(path, stream)
    return [packet.pts * base for packet in found]


def decoded_frames(path: Path, form: str = "rgb24", *options: str) -> NDArray[Any]:
    """The frames of a clip as ffmpeg alone decodes them, [N, H, W, 3] or of gray [N, H, W]; any fault is an error."""
    size = ffmpeg("-i", path, "-frames:v", "1", *options, "-f", "framecrc", "-").decode()
    width, height = (int(n) for n in size.split("#dimensions 0: ")[1].split("\n")[0].split("x"))
    strict = ["-xerror", "-err_detect", "explode"]
    data = ffmpeg(
        *strict,
        "-i",
        path,
        "-map",
        "0:V:0",
        "-fps_mode",
        "passthrough",
        *options,
        "-pix_fmt",
        form,
        "-f",
        "rawvideo",
        "-",
    )
    if form == "gray16le":
        return np.frombuffer(data, np.uint16).reshape(-1, height, width)
    return np.frombuffer(data, np.uint8).reshape((-1, height, width) + ((3,) if form == "rgb24" else ()))


def ffmpeg_report(path: Path) -> str:
    """What ffmpeg says of a file."""
    run = subprocess.run(
        [FFMPEG, "-hide_banner", "-i", str(path)], capture_output=True, timeout=TIME_LIMIT, check=False
    )
    return run.stderr.decode()


def stream_hash(path: Path, stream: str) -> bytes:
    """The checksum of a stream's packets."""
    return ffmpeg("-i", path, "-map", stream, "-c", "copy", "-f", "streamhash", "-")


def replace_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let dacli run a shell script in place of ffmpeg, which the script knows as $FFMPEG."""
    path = folder / "impostor"
    path.write_text(f"#!/bin/sh\nFFMPEG='{FFMPEG}'\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))


@contextmanager
def no_leftovers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if what is done leaves a thread, a process or a temporary file."""
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before, started = set(threading.enumerate()), child_processes()
    yield
    assert not set(threading.enumerate()) - before
    assert not list(folder.iterdir())
    assert child_processes() <= started, "a process is left"


def child_processes() -> set[str]:
    """The processes that this one started and that still run."""
    found: set[str] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found |= set(path.read_text().split())
    return found
