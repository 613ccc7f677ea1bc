"""Pictures of one kind into a whole video file, each shown at its exact time."""

import contextlib
import secrets
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.paths import display_path
from dacli.video import ffmpeg
from dacli.video.probe import Clip

DEFAULT_CRF = 18
_FINEST = 1_000_000  # ticks a second: what ffmpeg's joining of files keeps
_FOURCC = {(3, "uint8"): b"RGB\x18", (2, "uint8"): b"Y800", (2, "uint16"): b"Y1\0\x10"}
_DEPTH16 = ("-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1")
# No B-frames: what is joined then has one order and one set of times, whatever the rate does.
_H264 = ("-c:v", "libx264", "-preset", "veryfast", "-bf", "0")
_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


class ClipEncoder:
    """A whole file at `path` of the frames it is fed, or none; their times count from `begin`, that of the first.

    16-bit gray is kept exactly in FFV1; anything else becomes H.264 in 4:2:0, odd sizes made even by repeating the
    last column or row. `output` is the name in messages.
    """

    def __init__(self, path: Path, like: NDArray[Any], clip: Clip, begin: int, crf: int, output: Path) -> None:
        self.path, self.clip, self.begin, self.output = path, clip, begin, output
        self.part = path.with_name(f".{secrets.token_hex(8)}.part")
        exact = ["-fps_mode", "passthrough", "-enc_time_base", f"1:{encoder_time_base(clip)}"]
        codec = _DEPTH16 if like.dtype == np.uint16 else (*_H264, "-crf", str(crf))
        file = ["-vf", _filters(like, clip), *codec, "-f", "mov", ffmpeg.file_url(self.part)]
        self.process = ffmpeg.FFmpegProcess(["-f", "matroska", "-i", "pipe:0", *exact, *file])
        self.head = _head(like, clip.rate)

    def write(self, pts: int, until: int, picture: NDArray[Any]) -> None:
        """Add a frame that is shown from `pts` to `until`; raises DacliError if ffmpeg does not take it."""
        begin, duration = (_nanoseconds(time, self.clip) for time in (pts - self.begin, until - pts))
        data = np.ascontiguousarray(picture).data.cast("B")
        if not self.process.feed(self.head + _cluster(begin, duration, data.nbytes), data):
            self.process.finish()
            raise self.failure()
        self.head = b""

    def end(self) -> None:
        """Say that no frame will follow, so that ffmpeg gets ready while others do."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def finish(self) -> None:
        """Put the whole file in its place; raises DacliError if ffmpeg could not make it."""
        if self.process.finish():
            raise self.failure()
        self.part.replace(self.path)

    def failure(self) -> DacliError:
        return encode_error(self.output, self.process.fault())

    def close(self) -> None:
        """End ffmpeg if it still runs, and remove what is not whole."""
        self.process.__exit__(None, None, None)
        with contextlib.suppress(OSError):
            self.part.unlink(missing_ok=True)


def encoder_time_base(clip: Clip) -> int:
    """Return the ticks a second of what is written: the source's, or where those are too fine, what its times need."""
    finest = clip.time_base.denominator
    if finest > _FINEST:
        finest //= gcd(finest, clip.end, *clip.pts)
    return min(finest, _FINEST)


def encode_error(path: Path, fault: str) -> DacliError:
    """Return the error of an output that ffmpeg could not write."""
    if "No space left" in fault:
        return DacliError(f"cannot write {display_path(path)} (the disk is full)", "make room or choose another folder")
    return DacliError(
        f"cannot write {display_path(path)} ({fault})", "check the disk, or choose another folder with -o"
    )


def _filters(like: NDArray[Any], clip: Clip) -> str:
    height, width = like.shape[:2]
    aspect = f"setsar={clip.sample_aspect.numerator}/{clip.sample_aspect.denominator}:max=1000000"
    if like.dtype == np.uint16:
        return aspect
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2,format=gbrp,"
    even += f"fillborders=right={width % 2}:bottom={height % 2}:mode=smear,"
    convert = f"scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,{_BT709},{aspect}"
    return even + convert if width % 2 or height % 2 else convert


def _nanoseconds(time: int, clip: Clip) -> int:
    return round(time * clip.time_base * 1_000_000_000)


def _head(like: NDArray[Any], rate: Fraction) -> bytes:
    """Return what a stream of uncompressed Matroska (RFC 9559) begins with; one of its ticks is a nanosecond."""
    ebml = _element(0x1A45DFA3, _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2))
    segment = bytes.fromhex("18538067 01FFFFFFFFFFFFFF")  # of unknown size
    info = _element(0x1549A966, _number(0x2AD7B1, 1) + _element(0x4D80, b"dacli") + _element(0x5741, b"dacli"))
    height, width = like.shape[:2]
    picture = _number(0xB0, width) + _number(0xBA, height) + _element(0x2EB524, _FOURCC[like.ndim, like.dtype.name])
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_UNCOMPRESSED")
    track += _element(0x22B59C, b"und") + _number(0x23E383, round(1_000_000_000 / rate)) + _element(0xE0, picture)
    return ebml + segment + info + _element(0x1654AE6B, _element(0xAE, track))


def _cluster(begin: int, duration: int, size: int) -> bytes:
    """Return what stands before the `size` bytes of one frame: a cluster that holds it alone, so that any time fits."""
    block = b"\x81\0\0\0"  # track 1, no offset to the cluster's time, no lacing
    group = _number(0x9B, duration) + _start(0xA1, len(block) + size) + block
    body = _number(0xE7, begin) + _start(0xA0, len(group) + size) + group
    return _start(0x1F43B675, len(body) + size) + body


def _element(name: int, body: bytes) -> bytes:
    return _start(name, len(body)) + body


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))


def _start(name: int, size: int) -> bytes:
    return name.to_bytes(-(-name.bit_length() // 8), "big") + (1 << 56 | size).to_bytes(8, "big")
