"""TIFF files: their tags, whether they are complete, and camera RAW files that look like them."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

DNG_VERSION, PHOTOMETRIC, BITS_PER_SAMPLE = 50706, 262, 258  # tags
_RAW_SUFFIXES = {".dng", ".nef", ".nrw", ".arw", ".sr2", ".cr2", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".dcr"}
_TYPE_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)  # bytes, by the number of a field's type (TIFF 6.0, section 2)


def tiff_tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the tags of an opened TIFF file; none for another format."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def is_raw_file(image: Image.Image, path: Path) -> bool:
    """Return whether an opened file is a camera's RAW file, which is a TIFF file with its thumbnail first."""
    return image.format == "TIFF" and (path.suffix.lower() in _RAW_SUFFIXES or DNG_VERSION in tiff_tags(image))


def check_tiff_is_whole(data: bytes) -> None:
    """Raise EOFError if the first directory of a TIFF file, or what its entries point to, lies beyond the file's end.

    BigTIFF files are not checked.
    """
    if data[2:4] not in (b"*\0", b"\0*"):
        return
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)
        for index in range(count):
            _, kind, number, offset = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * index)
            size = number * (_TYPE_SIZES[kind] if kind < len(_TYPE_SIZES) else 1)
            if size > 4 and offset + size > len(data):
                raise EOFError
    except struct.error:
        raise EOFError from None
