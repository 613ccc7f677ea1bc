"""RAW files of cameras, developed by LibRaw, as far as the package rawpy is installed."""

import importlib.util
import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dacli.errors import DacliError
from dacli.io import tiff
from dacli.io.image_errors import missing_package_error
from dacli.io.picture import OpenedPicture
from dacli.types import ImageArray

_SUFFIXES = (
    ".cr2 .cr3 .crw .nef .nrw .arw .sr2 .srf .dng .raf .orf .rw2 .rwl .pef .srw .3fr .fff .iiq .erf .kdc .dcr .mrw .mos"
)
RAW_SUFFIXES = frozenset(_SUFFIXES.split())
_SIGNATURES = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIU\0"),
    (0, b"IIRO"),
    (0, b"IIRS"),
    (0, b"MMOR"),
    (8, b"CR\x02"),
    (4, b"ftypcrx "),
    (6, b"HEAPCCDR"),
    (0, b"\0MRM"),
)


@lru_cache(maxsize=1)
def reads_camera_raw() -> bool:
    """Return whether the package that reads RAW files is installed."""
    return importlib.util.find_spec("rawpy") is not None


def is_camera_raw(data: bytes, path: Path) -> bool:
    """Return whether a file is a RAW file: by its first bytes, or, if it looks like TIFF, by its extension or tags."""
    if any(data.startswith(signature, offset) for offset, signature in _SIGNATURES):
        return True
    return tiff.is_tiff(data) and (path.suffix.lower() in RAW_SUFFIXES or tiff.holds_raw(data))


def open_camera_raw(data: bytes, name: str) -> OpenedPicture:
    """Return a RAW file of a camera; raise DacliError where rawpy is missing, and for a file that it cannot open."""
    try:
        import rawpy
    except ImportError:
        raise missing_package_error(name, "a camera RAW file", "rawpy", "develop it to JPEG, PNG or TIFF") from None
    try:
        raw = rawpy.imread(io.BytesIO(data))
        size = (int(raw.sizes.width), int(raw.sizes.height))
    except Exception as error:
        reason = _reason(error)
        fault = f"{name} is a camera RAW file that cannot be opened ({reason})"
        raise DacliError(fault, "copy it again, or develop it to JPEG, PNG or TIFF", "damaged") from error
    return OpenedPicture(size, lambda: _develop(raw))


def _develop(raw: Any) -> ImageArray:
    """Return upright sRGB [H, W, 3], 8 bits, with the white balance of the camera."""
    try:
        with raw:
            return np.asarray(raw.postprocess(use_camera_wb=True, output_bps=8))
    except Exception as error:
        raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
