"""Depth files of other programs (16-bit PNG, NPY, PFM, EXR, HDF5), read as inverse depth, and dacli's 16-bit PNGs.

Inverse depth is 0 where depth is infinite and NaN where it is unknown.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError, UsageError
from dacli.io import png, records, scales
from dacli.io.files import os_reason, read_bytes
from dacli.io.images import decode_with_opencv
from dacli.io.names import RECORD_KEYWORD
from dacli.paths import display_path
from dacli.types import DepthArray, Gray16

DepthUnit = float | str  # metres of one step, or INVERSE, LABEL or HYPERSIM

INVERSE = "1/m"  # inverse depth of unknown scale
LABEL = "label"  # inverse depth that a network predicted; it may be flat
HYPERSIM = "hypersim"  # metres to the camera's centre, not along its axis
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
UNIT_CHOICES = f"{', '.join(UNITS)}, {INVERSE} or the metres of one step, such as 0.001"
HYPERSIM_ANGLE = np.pi / 3  # horizontal field of view of Hypersim's camera, in radians


def parse_depth_unit(text: str | None) -> DepthUnit | None:
    """Return the unit that `--unit` names; raise UsageError if it is neither a name nor a number of metres above 0."""
    if text is None or text == INVERSE:
        return text
    try:
        unit = UNITS[text] if text in UNITS else float(text)
    except ValueError:
        unit = 0.0
    if not 0 < unit < 1e6:
        raise UsageError(f"--unit {text} is not a unit of depth", f"give {UNIT_CHOICES}")
    return unit


def read_depth_file(path: Path, unit: DepthUnit | None = None) -> DepthArray:
    """Return the inverse depth [H, W] of a 16-bit gray PNG, NPY, PFM, EXR or HDF5 file, chosen by its extension.

    Without a unit the numbers are metres, and those of a PNG have the unit of its record. Depth that is 0, negative or
    NaN is unknown; infinity, and 65535 in a PNG, is infinitely far. Raises DacliError for a file of another kind,
    without a known unit, or without a pixel of known depth.
    """
    name, kind = display_path(path), path.suffix.lower()
    if kind == ".png":
        inverse = read_png_depth(path, unit)
    elif kind in DEPTH_PARSERS:
        inverse = to_inverse_depth(read_values(path, DEPTH_PARSERS[kind]), 1.0 if unit is None else unit)
    else:
        raise DacliError(f"{name} is not a depth file", f"depth is read from .png, {', '.join(DEPTH_PARSERS)}")
    known = np.isfinite(inverse)
    if not known.any() or (unit != LABEL and not inverse[known].any()):
        message = f"{name} holds no depth: all of it is 0, infinite or not a number"
        raise DacliError(message, "check what made it, or leave it out")
    return inverse


def to_inverse_depth(values: DepthArray, unit: DepthUnit) -> DepthArray:
    """Return the inverse depth [H, W] of numbers [H, W] in a unit."""
    if unit == HYPERSIM:
        depth = distance_to_depth(values)
    elif isinstance(unit, str):
        return np.where(np.isfinite(values) & (values >= 0), values, np.nan).astype(np.float32)
    else:
        depth = values * np.float32(unit)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = 1 / depth
    return np.where((depth > 0) & np.isfinite(inverse), inverse, np.nan).astype(np.float32)


def distance_to_depth(distance: DepthArray) -> DepthArray:
    """Return depth along the optical axis from Hypersim's distance to the camera's centre, both [H, W] in metres."""
    height, width = distance.shape
    focal = width / 2 / np.tan(HYPERSIM_ANGLE / 2)
    y, x = np.mgrid[:height, :width]
    across, down = x + 0.5 - width / 2, y + 0.5 - height / 2
    depth: DepthArray = (distance * (focal / np.sqrt(across**2 + down**2 + focal**2))).astype(np.float32)
    return depth


def read_depth16(path: Path) -> tuple[Gray16, dict[str, str]]:
    """Return the values [H, W] and the text of a 16-bit gray PNG; raise DacliError for any other file."""
    data, name = read_bytes(path), display_path(path)
    text = png.read_png_text(data, name)
    width, height, bits, kind = struct.unpack_from(">IIBB", data.ljust(26, b"\0"), 16)
    if bits != 16 or kind != 0:
        form = f"{bits}-bit {'gray' if kind == 0 else 'color'}"
        raise DacliError(f"{name} is a {form} PNG", "depth comes back from the 16-bit one that --save png16 makes")
    values = decode_with_opencv(data, cv2.IMREAD_UNCHANGED) if width * height <= 1 << 30 else None
    if values is None or values.dtype != np.uint16 or values.shape != (height, width):
        raise DacliError(f"{name} is damaged", "copy it again")
    return values.astype(np.uint16, copy=False), text


def read_png_depth(path: Path, unit: DepthUnit | None) -> DepthArray:
    """Return the inverse depth [H, W] of a 16-bit gray PNG, in a unit or by the scale of its record."""
    values, text = read_depth16(path)
    depth = recorded_scale(text, display_path(path)).decode(values) if unit is None else values.astype(np.float32)
    if unit != INVERSE:
        depth[values == scales.TOP16] = np.inf
    return to_inverse_depth(depth, 1.0 if unit is None else unit)


def recorded_scale(text: dict[str, str], name: str) -> scales.DepthScale:
    """Return the scale of the record in a PNG's text; raise DacliError if there is none, or one without metres."""
    if RECORD_KEYWORD not in text:
        raise DacliError(f"{name} does not say its unit", f"give it with --unit: {UNIT_CHOICES}")
    record = records.parse_record(text[RECORD_KEYWORD], name)
    if record.quantity != "metres":
        raise DacliError(f"{name} holds {record.quantity} of unknown scale", "give true depth in metres")
    return record.scale


def read_values(path: Path, parse: "DepthParser") -> DepthArray:
    """Return the numbers [H, W] of a file; raise DacliError if it is damaged or has several numbers for a pixel."""
    name = display_path(path)
    try:
        values = parse(read_bytes(path), name)
    except DacliError:
        raise
    except Exception as error:
        raise DacliError(f"{name} cannot be read as depth ({os_reason(error)})", "export it again") from error
    flat = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if flat.ndim != 2 or flat.dtype.kind not in "fiu":
        raise DacliError(f"{name} is not depth but {values.dtype} {list(values.shape)}", "give one number for a pixel")
    with np.errstate(over="ignore"):
        return flat.astype(np.float32)


def parse_npy(data: bytes, _: str) -> NDArray[Any]:
    """Return the array of an NPY file; pickled objects are refused."""
    array: NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def parse_pfm(data: bytes, name: str) -> NDArray[Any]:
    """Return the values of a portable float map: a header of three lines, then rows from the lowest to the highest.

    Its third line is the scale; a negative one means little-endian.
    """
    kind, size, scale, pixels = data.split(b"\n", 3)
    if kind.strip() != b"Pf":
        raise DacliError(f"{name} is not a gray PFM", "give one number for a pixel")
    width, height = (int(number) for number in size.split())
    order = "<f4" if float(scale) < 0 else ">f4"
    return np.frombuffer(pixels[: 4 * width * height], order).reshape(height, width)[::-1]


def parse_exr(data: bytes, name: str) -> NDArray[Any]:
    """Return the channel Z, Y, R or V of an OpenEXR file, or else its first."""
    try:
        import OpenEXR
    except ImportError:
        raise DacliError(f"{name} is OpenEXR", "install what reads it: pip install OpenEXR") from None
    with OpenEXR.File(io.BytesIO(data), separate_channels=True) as file:
        channels = {key: channel.pixels for key, channel in file.channels().items()}
    key = next((key for key in ("Z", "Y", "R", "V") if key in channels), next(iter(channels)))
    return np.array(channels[key])


def parse_hdf5(data: bytes, name: str) -> NDArray[Any]:
    """Return the values of an HDF5 file as Hypersim writes it: an array called `dataset`."""
    try:
        import h5py
    except ImportError:
        raise DacliError(f"{name} is HDF5", "install what reads it: pip install h5py") from None
    with h5py.File(io.BytesIO(data)) as file:
        return np.array(file["dataset"])


DepthParser = Callable[[bytes, str], NDArray[Any]]  # takes a file's bytes and its name for errors
DEPTH_PARSERS: dict[str, DepthParser] = {
    ".npy": parse_npy,
    ".pfm": parse_pfm,
    ".exr": parse_exr,
    ".hdf5": parse_hdf5,
}
