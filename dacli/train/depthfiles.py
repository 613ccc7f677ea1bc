"""Depth as other programs store it, read as inverse depth: 0 = infinitely far, NaN = not known."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.files import contents, reason
from dacli.jobs import shown

Map = NDArray[np.float32]

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}  # metres in one
INVERSE = "1/m"
PSEUDO = "label"  # inverse depth that a network gave; it may be flat
HYPERSIM, VIRTUAL_KITTI = "hypersim", "vkitti"
HYPERSIM_ANGLE = np.pi / 3  # of the camera, across the width
SKY_CM = 65535  # what Virtual KITTI calls the sky, and all that is as far


def read(path: Path, unit: str) -> Map:
    """The inverse depth [H, W] of a PNG with 16 bits, NPY, PFM, EXR or HDF5 file, by its extension.

    `unit` is that of the numbers: m, cm, mm; 1/m, inverse depth of any scale; hypersim or vkitti, as those data sets
    have it; label, as dacli writes it. Depth that is 0, negative or NaN is not known, infinite depth is far. Raises
    DacliError, with the reason, for a file that is none of these or knows no pixel.
    """
    name = shown(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DacliError(f"{name} is no depth file", f"depth is read from {', '.join(READERS)}")
    try:
        values = reader(contents(path), name)
    except DacliError:
        raise
    except Exception as error:
        raise DacliError(f"{name} cannot be read as depth ({reason(error)})", "export it again") from error
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.size == 0:
        raise DacliError(f"{name} is no depth but {values.dtype} {list(values.shape)}", "give one number a pixel")
    found = inverse(values.astype(np.float32), unit)
    known = np.isfinite(found)
    if not known.any() or (unit != PSEUDO and not found[known].any()):
        raise DacliError(f"{name} holds no depth: all of it is 0, infinite or not a number", "leave it out of the list")
    return found


def inverse(values: Map, unit: str) -> Map:
    """Inverse depth, float32, of numbers [H, W] in a unit."""
    if unit in (INVERSE, PSEUDO):
        return np.where(np.isfinite(values) & (values >= 0), values, np.nan).astype(np.float32)
    depth = values * np.float32(UNITS.get(unit, 1.0))
    if unit == HYPERSIM:
        depth = along_axis(values)
    elif unit == VIRTUAL_KITTI:
        depth = np.where(values >= SKY_CM, np.inf, values * np.float32(0.01))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(depth > 0, 1 / depth, np.nan).astype(np.float32)


def along_axis(distance: Map) -> Map:
    """Depth along the optical axis from Hypersim's distance to the camera's centre, both [H, W] in metres."""
    height, width = distance.shape
    focal = width / 2 / np.tan(HYPERSIM_ANGLE / 2)
    y, x = np.mgrid[:height, :width]
    across, down = x + 0.5 - width / 2, y + 0.5 - height / 2
    depth: Map = (distance * (focal / np.sqrt(across**2 + down**2 + focal**2))).astype(np.float32)
    return depth


def from_png(data: bytes, name: str) -> NDArray[Any]:
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DacliError(f"{name} is no whole PNG", "export it again")
    if values.dtype != np.uint16:
        raise DacliError(f"{name} has 8 bits, which is too coarse for depth", "give PNGs with 16 bits")
    return values


def from_npy(data: bytes, _: str) -> NDArray[Any]:
    found: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return found


def from_pfm(data: bytes, name: str) -> NDArray[Any]:
    """A portable float map: three lines of header, then rows from the bottom up; a negative scale is little-endian."""
    kind, size, scale, pixels = data.split(b"\n", 3)
    if kind.strip() != b"Pf":
        raise DacliError(f"{name} is no gray PFM", "depth has one number a pixel")
    width, height = (int(number) for number in size.split())
    order = "<f4" if float(scale) < 0 else ">f4"
    return np.frombuffer(pixels[: 4 * width * height], order).reshape(height, width)[::-1]


def from_exr(data: bytes, name: str) -> NDArray[Any]:
    """The channel Z, Y, R or the only one of an OpenEXR file."""
    try:
        import OpenEXR
    except ImportError:
        raise DacliError(f"{name} is OpenEXR", "install what reads it: pip install 'dacli[depth]'") from None
    with OpenEXR.File(io.BytesIO(data), separate_channels=True) as file:
        channels = {key: channel.pixels for key, channel in file.channels().items()}
    key = next((key for key in ("Z", "Y", "R", "V") if key in channels), next(iter(channels)))
    return np.array(channels[key])


def from_hdf5(data: bytes, name: str) -> NDArray[Any]:
    try:
        import h5py
    except ImportError:
        raise DacliError(f"{name} is HDF5", "install what reads it: pip install 'dacli[depth]'") from None
    with h5py.File(io.BytesIO(data)) as file:
        return np.array(file["dataset"])


READERS: dict[str, Callable[[bytes, str], NDArray[Any]]] = {
    ".png": from_png,
    ".npy": from_npy,
    ".pfm": from_pfm,
    ".exr": from_exr,
    ".hdf5": from_hdf5,
}
