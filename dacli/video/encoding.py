"""Encoding of pictures into a video file, each shown at its exact time."""

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
from dacli.video.clip import Clip
from dacli.video.codecs import CODECS, EXACT16, VideoCodec

DEFAULT_CRF = 18
_MAX_TICKS_PER_SECOND = 1_000_000  # the finest time base that ffmpeg's concat keeps
_FOURCC = {(3, "uint8"): b"RGB\x18", (2, "uint8"): b"Y800", (2, "uint16"): b"Y1\0\x10"}
_BT709 = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"


class ClipEncoder:
    """Encodes frames into a file at `path`, which is complete or does not exist; times are relative to `start`.

    Pictures are 8-bit RGB or gray, or 16-bit gray. Odd sizes are made even by repeating the last column or row, but for
    lossless codecs. `example` has the shape and type of all frames; `output` is the name in error messages. The
    usual `codec` is EXACT16 for 16 bits, and H.264 for 8.
    """

    def __init__(
        self,
        path: Path,
        example: NDArray[Any],
        clip: Clip,
        start: int,
        crf: int,
        output: Path,
        codec: VideoCodec | None = None,
    ) -> None:
        self.path, self.clip, self.start, self.output = path, clip, start, output
        self.partial_path = path.with_name(f".{secrets.token_hex(8)}.part")
        exact = ["-fps_mode", "passthrough", "-enc_time_base", f"1:{encoder_time_base(clip)}"]
        codec = codec or (EXACT16 if example.dtype == np.uint16 else CODECS["h264"])
        chain = ["-vf", _filters(example, clip, codec), *codec.options(crf)]
        file = [*chain, "-f", "mov", ffmpeg.file_url(self.partial_path)]
        self.process = ffmpeg.FFmpegProcess(["-f", "matroska", "-i", "pipe:0", *exact, *file])
        self.header = _stream_header(example, clip.rate)

    def write(self, pts: int, end_pts: int, picture: NDArray[Any]) -> None:
        """Add a frame that is shown from `pts` to `end_pts`; raise DacliError if ffmpeg does not accept it."""
        start, duration = (_nanoseconds(time, self.clip) for time in (pts - self.start, end_pts - pts))
        data = np.ascontiguousarray(picture).data.cast("B")
        if not self.process.feed(self.header + _cluster_header(start, duration, data.nbytes), data):
            self.process.finish()
            raise self.failure()
        self.header = b""

    def end(self) -> None:
        """Close the input, so that ffmpeg finishes while other encoders do the same."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()

    def finish(self) -> None:
        """Move the complete file to its path; raise DacliError if ffmpeg could not write it."""
        if self.process.finish():
            raise self.failure()
        self.partial_path.replace(self.path)

    def failure(self) -> DacliError:
        return encode_error(self.output, self.process.failure_reason())

    def close(self) -> None:
        """Stop ffmpeg if it still runs, and remove an incomplete file."""
        self.process.__exit__(None, None, None)
        with contextlib.suppress(OSError):
            self.partial_path.unlink(missing_ok=True)


def encoder_time_base(clip: Clip) -> int:
    """Return the ticks per second of the output: those of the source, or fewer if they are finer than ffmpeg keeps."""
    ticks_per_second = clip.time_base.denominator
    if ticks_per_second > _MAX_TICKS_PER_SECOND:
        ticks_per_second //= gcd(ticks_per_second, clip.end, *clip.pts)
    return min(ticks_per_second, _MAX_TICKS_PER_SECOND)


def encode_error(path: Path, fault: str) -> DacliError:
    """Return the error of an output that ffmpeg could not write."""
    if "No space left" in fault:
        return DacliError(
            f"cannot write {display_path(path)} (the disk is full)", "free some space or choose another folder"
        )
    return DacliError(
        f"cannot write {display_path(path)} ({fault})", "check the disk, or choose another folder with -o"
    )


def _filters(example: NDArray[Any], clip: Clip, codec: VideoCodec) -> str:
    height, width = example.shape[:2]
    aspect = f"setsar={clip.sample_aspect.numerator}/{clip.sample_aspect.denominator}:max=1000000"
    pixels = codec.gray if example.ndim == 2 else codec.color
    if codec.is_lossless:
        return f"format={pixels},{aspect}"
    make_even = f"pad=ceil(iw/2)*2:ceil(ih/2)*2,format={'gbrp16le' if example.dtype == np.uint16 else 'gbrp'},"
    make_even += f"fillborders=right={width % 2}:bottom={height % 2}:mode=smear,"
    convert = f"scale=out_color_matrix=bt709:out_range=tv,format={pixels},{_BT709},{aspect}"
    return make_even + convert if width % 2 or height % 2 else convert


def _nanoseconds(time: int, clip: Clip) -> int:
    return round(time * clip.time_base * 1_000_000_000)


def _stream_header(example: NDArray[Any], rate: Fraction) -> bytes:
    """Return the header of a stream of uncompressed Matroska (RFC 9559) with ticks of one nanosecond."""
    ebml = _element(0x1A45DFA3, _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2))
    segment = bytes.fromhex("18538067 01FFFFFFFFFFFFFF")  # of unknown size
    info = _element(0x1549A966, _number(0x2AD7B1, 1) + _element(0x4D80, b"dacli") + _element(0x5741, b"dacli"))
    height, width = example.shape[:2]
    picture = (
        _number(0xB0, width) + _number(0xBA, height) + _element(0x2EB524, _FOURCC[example.ndim, example.dtype.name])
    )
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_UNCOMPRESSED")
    track += _element(0x22B59C, b"und") + _number(0x23E383, round(1_000_000_000 / rate)) + _element(0xE0, picture)
    return ebml + segment + info + _element(0x1654AE6B, _element(0xAE, track))


def _cluster_header(start: int, duration: int, size: int) -> bytes:
    """Return the header before the `size` bytes of a frame: each frame has its own cluster, so that any time fits."""
    block = b"\x81\0\0\0"  # track 1, no offset to the cluster's time, no lacing
    group = _number(0x9B, duration) + _element_header(0xA1, len(block) + size) + block
    body = _number(0xE7, start) + _element_header(0xA0, len(group) + size) + group
    return _element_header(0x1F43B675, len(body) + size) + body


def _element(name: int, body: bytes) -> bytes:
    return _element_header(name, len(body)) + body


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))


def _element_header(name: int, size: int) -> bytes:
    return name.to_bytes(-(-name.bit_length() // 8), "big") + (1 << 56 | size).to_bytes(8, "big")
