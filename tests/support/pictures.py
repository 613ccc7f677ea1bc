"""Picture files made by Pillow, or byte by byte where Pillow cannot write them."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from dacli.errors import DacliError
from dacli.io import images


def encode_picture(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return a picture file that Pillow writes."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def write_bytes(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def encode_png16(pixels: npt.NDArray[np.uint16], kind: int, extra: bytes = b"") -> bytes:
    """Return a 16-bit PNG [H, W] or [H, W, C] of a color type, with `extra` chunks before its pixels (PNG, 5.2)."""
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + extra + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def encode_tiff(pixels: npt.NDArray[Any], photometric: int, orientation: int = 1, sample: int = 1) -> bytes:
    """Return an uncompressed TIFF [H, W, C] (TIFF 6.0); `sample` is 1 for integers and 3 for floats."""
    height, width, samples = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    wide = struct.pack(f"<{samples}H", *[pixels.itemsize * 8] * samples)
    kinds = struct.pack(f"<{samples}H", *[sample] * samples)
    start = 8 + len(data)
    tags: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, samples, wide),
        (259, 3, 1, struct.pack("<H", 1)),
        (262, 3, 1, struct.pack("<H", photometric)),
        (273, 4, 1, struct.pack("<I", 8)),
        (274, 3, 1, struct.pack("<H", orientation)),
        (277, 3, 1, struct.pack("<H", samples)),
        (278, 4, 1, struct.pack("<I", height)),
        (279, 4, 1, struct.pack("<I", len(data))),
        *([(338, 3, 1, struct.pack("<H", 2))] if samples == 4 else []),
        (339, 3, samples, kinds),
    ]
    base = start + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, kind, count, value in tags:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", base + len(tail))
        tail += value if len(value) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, count) + place
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + tail


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def read_error(path: Path, **options: int) -> str:
    """Return the error that reading a picture raises, which is one line with the name of the file."""
    with pytest.raises(DacliError) as caught:
        images.read_image(path, **options)
    assert "\n" not in str(caught.value)
    assert "\n" not in caught.value.hint
    assert path.name in caught.value.message
    return str(caught.value)
