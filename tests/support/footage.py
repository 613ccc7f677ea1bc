"""Clips of ffmpeg's test pictures, and what ffmpeg reports of clips: the reference for the tests of clips."""

import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.hanging import TIME_LIMIT

FFMPEG = str(imageio_ffmpeg.get_ffmpeg_exe())
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "2")
# Times of frames without a constant rate, in ticks of 1/24000 s, and the filter that gives frames these times.
VARIABLE = tuple(n * 1001 + n // 5 * 700 + n % 3 * 97 for n in range(30))
VARY = "settb=1/24000,setpts='N*1001+floor(N/5)*700+mod(N,3)*97'"


class Packet(NamedTuple):
    """A packet as ffmpeg's framecrc prints it; times in ticks."""

    pts: int
    duration: int
    size: int
    crc: str


def ffmpeg(*arguments: str | Path) -> bytes:
    """Return what ffmpeg prints on standard output; fail if it fails."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT, check=False)
    assert run.returncode == 0, run.stderr.decode()
    return run.stdout


def make_clip(path: Path, *arguments: str, source: str = "testsrc2=s=96x64:r=24", frames: int = 30) -> Path:
    """Write a clip of ffmpeg's test picture; one that several tests want is encoded once."""
    path.write_bytes(_encoded_clip(path.suffix, arguments, source, frames))
    return path


@cache
def _encoded_clip(suffix: str, arguments: tuple[str, ...], source: str, frames: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        ffmpeg("-f", "lavfi", "-i", source, *arguments, "-frames:v", str(frames), path)
        return path.read_bytes()


def packets(path: Path, stream: str = "0:V:0") -> tuple[Fraction, list[Packet]]:
    """Return the time base of a stream, and its packets in the order of their times."""
    text = ffmpeg("-copyts", "-i", path, "-map", stream, "-c", "copy", "-f", "framecrc", "-").decode()
    head = dict(line[1:].split(" 0: ") for line in text.splitlines() if line.startswith("#") and " 0: " in line)
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines() if not line.startswith("#")]
    return Fraction(head["tb"]), sorted(Packet(int(r[2]), int(r[3]), int(r[4]), r[5]) for r in rows)


def packet_times(path: Path, stream: str = "0:V:0") -> list[Fraction]:
    """Return when the packets of a stream are shown, in seconds."""
    base, found = packets(path, stream)
    return [packet.pts * base for packet in found]


def decoded_frames(path: Path, form: str = "rgb24", *options: str) -> NDArray[Any]:
    """Return the frames of a clip as ffmpeg decodes them: [N, H, W, 3], gray [N, H, W]; any damage is an error."""
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
    """Return what ffmpeg prints about a file."""
    run = subprocess.run(
        [FFMPEG, "-hide_banner", "-i", str(path)], capture_output=True, timeout=TIME_LIMIT, check=False
    )
    return run.stderr.decode()


def stream_hash(path: Path, stream: str) -> bytes:
    """Return the checksum of the packets of a stream."""
    return ffmpeg("-i", path, "-map", stream, "-c", "copy", "-f", "streamhash", "-")


def replace_ffmpeg(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let dacli run a shell script instead of ffmpeg; in the script, $FFMPEG is the path of ffmpeg."""
    path = folder / "ffmpeg-script"
    path.write_text(f"#!/bin/sh\nFFMPEG='{FFMPEG}'\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))


@contextmanager
def no_leftovers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if the block leaves a thread, a process or a temporary file."""
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before, started = set(threading.enumerate()), child_processes()
    yield
    assert not set(threading.enumerate()) - before
    left = [path.name for path in folder.rglob("*")]
    assert not left, left
    assert child_processes() <= started, "a process is left"


def child_processes() -> set[str]:
    """Return the ids of the running child processes of this process."""
    found: set[str] = set()
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found |= set(path.read_text().split())
    return found
