"""Damage in JPEG and WebP files that their decoders pass over: part of the picture would be missing without a word."""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dacli.io.foreign_lines import listen_to
from dacli.types import ImageArray

END_OF_IMAGE = b"\xff\xd9"
_HARMLESS_BYTES = 16  # of no meaning before the end mark, as some cameras write them, and as decoders look ahead
_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x(..)")
_MARKERS_OF_HEADERS = {"d8", "db", "c0", "c1", "c2", "fe", *(f"e{digit:x}" for digit in range(16))}
_RUN = 64  # bytes of one value in compressed data that have to be explained
_BYTES_PER_FLAT_BLOCK = 8  # at most, in WebP


def decode_jpeg_with_report(
    data: bytes, decode: Callable[[], npt.NDArray[Any] | None]
) -> tuple[npt.NDArray[Any] | None, str]:
    """Return what `decode` returns for a JPEG, and the damage that libjpeg reported; "" for a whole picture."""
    pixels, line = listen_to(decode, b"JPEG")
    return pixels, line if _is_damage(line, data) else ""


def _is_damage(line: str, data: bytes) -> bool:
    found = _EXTRANEOUS.search(line)
    if found is None:
        return any(words in line for words in ("remature end", "bad Huffman", "bad arithmetic", "instead of RST"))
    count, marker = int(found[1]), found[2]
    if marker != "d9":
        return marker not in _MARKERS_OF_HEADERS
    return count > _HARMLESS_BYTES and not _is_padding(count, data)


def _is_padding(count: int, data: bytes) -> bool:
    """Return whether so many bytes before the end mark are padding: one value, which begins where the picture ends."""
    before = data.rstrip(b"\0").removesuffix(END_OF_IMAGE) if data.rstrip(b"\0").endswith(END_OF_IMAGE) else data
    run = len(before) - len(before.rstrip(before[-1:]))
    return count <= run <= count + _HARMLESS_BYTES


def webp_damage(data: bytes, pixels: ImageArray) -> str:
    """Return the damage of a WebP of these pixels; "" for what seems whole.

    Its decoder reports none. A long run of zeros in its data is right only for parts of one color, of which the
    compressed data have at most some bytes for each block; more than these are data that were lost.
    """
    run = max(map(_longest_run, _webp_pixel_data(data)), default=0)
    if run < _RUN or run <= _BYTES_PER_FLAT_BLOCK * _count_flat_blocks(pixels):
        return ""
    return f"{run} bytes of its data are lost"


def _webp_pixel_data(data: bytes) -> Iterator[bytes]:
    """Yield the compressed pixels of a WebP, without its profile and its EXIF (RFC 9649, 2.3)."""
    at = 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        if data[at : at + 4] in (b"VP8 ", b"VP8L"):
            yield data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def _longest_run(data: bytes) -> int:
    """Return the length of the longest run of bytes 0 or 255, if it is of _RUN bytes or more."""
    starts = (bytes(_RUN), b"\xff" * _RUN)
    if not any(start in data for start in starts):
        return 0
    return max(len(run) for run in re.findall(rb"\x00{%d,}|\xff{%d,}" % (_RUN, _RUN), data))


def _count_flat_blocks(pixels: ImageArray) -> int:
    """Return how many blocks of 16 × 16 pixels have one color, within 2 of 255."""
    rows, columns = pixels.shape[0] // 16, pixels.shape[1] // 16
    blocks = pixels[: rows * 16, : columns * 16, 1].reshape(rows, 16, columns, 16)
    return int((np.ptp(blocks, axis=(1, 3)) <= 2).sum())
