"""Depth as floats for other programs: PFM, TIFF and NPZ, each with a record."""

import io
import json
import zipfile
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.io.sealed import read_sealed_text
from dacli.types import DepthArray

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of ZIP: the same depth gives the same file at any time


def encode_pfm(depth: DepthArray, text: str) -> bytes:
    """Return the portable float map of depth [H, W], little-endian, rows from the lowest up; a text follows the pixels.

    PFM has no place for text; readers that take what the header says stop before it.
    """
    height, width = depth.shape
    pixels = np.ascontiguousarray(depth[::-1]).astype("<f4", copy=False)
    return b"".join((f"Pf\n{width} {height}\n-1.0\n".encode(), pixels.tobytes(), text.encode()))


def read_pfm_text(data: bytes, name: str) -> dict[str, str]:
    """Return the record of a PFM by its keyword; nothing if it has none.

    Raises DacliError, with the file's name, for a file that is damaged or not a PFM.
    """
    try:
        kind, size, _, pixels = data.split(b"\n", 3)
        width, height = map(int, size.split())
        if kind.strip() not in (b"Pf", b"PF") or len(pixels) < 4 * width * height:
            raise ValueError("it lacks pixels")
    except ValueError as error:
        raise DacliError(f"{name} is not a whole PFM ({error})", "make it again with dacli") from error
    return read_sealed_text(data, name)


def encode_float_tiff(depth: DepthArray, text: str) -> bytes:
    """Return the uncompressed TIFF of depth [H, W] in 32-bit floats, with a text as its description."""
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, depth, photometric="minisblack", description=text, metadata=None, software=False)
    return file.getvalue()


def encode_npz(arrays: Mapping[str, npt.NDArray[np.generic]], text: str) -> bytes:
    """Return the NPZ file of arrays by name, uncompressed, with a text as the array `record`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in {**arrays, "record": np.array(text)}.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EARLIEST), "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return file.getvalue()


def read_npz_text(data: bytes, name: str) -> dict[str, str]:
    """Return the record of an NPZ file by its keyword; nothing if it has none.

    Raises DacliError, with the file's name, for a file that is damaged or not an NPZ file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if broken := archive.testzip():
                raise ValueError(f"{broken} does not match its checksum")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            text = str(arrays["record"]) if "record" in arrays else ""
        return {RECORD_KEYWORD: text} if isinstance(json.loads(text or "[]"), dict) else {}
    except Exception as error:  # damaged archives can make zipfile and NumPy raise anything
        raise DacliError(f"{name} is not a whole NPZ file ({error})", "make it again with dacli") from error
