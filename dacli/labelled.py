"""Pictures with known depth: found in a list of pairs or in a folder that `dacli scenes` made, and read."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli import files, pictures, render
from dacli.errors import DacliError, UsageError
from dacli.jobs import RECORD_KEYWORD, shown

Metres = NDArray[np.float64]
UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
NAMED = 10  # missing files that an error names


@dataclass(frozen=True)
class Pair:
    """A picture and the file of its depth; the unit is what one step of that means in metres, None: the file tells."""

    name: str
    picture: Path
    depth: Path
    unit: float | None = None


def parse_unit(text: str | None) -> float | None:
    """What one step means in metres; raises UsageError for what is neither a unit nor a number above 0."""
    if text is None:
        return None
    try:
        unit = UNITS[text] if text in UNITS else float(text)
    except ValueError:
        unit = 0.0
    if not 0 < unit < 1e6:
        raise UsageError(f"--unit {text} is no length", "give m, cm, mm, or what one step means in metres, as 0.001")
    return unit


def find(path: Path, unit: float | None = None) -> tuple[Pair, ...]:
    """The pairs below a folder or in a list, in a stable order.

    Raises DacliError if there are none, or if files that a list names are missing: it names them, up to ten.
    """
    pairs = tuple(below(path, unit) if path.is_dir() else listed(path, unit))
    if not pairs:
        hint = "name a folder that dacli scenes made, or a list with a picture and its depth in each line"
        raise DacliError(f"no pictures with depth in {shown(path)}", hint)
    missing = [file for pair in pairs for file in (pair.picture, pair.depth) if not file.is_file()]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        names = ", ".join(shown(file) for file in missing[:NAMED])
        raise DacliError(f"{shown(path)} names {len(missing)} files that are not there: {names}{more}", "check them")
    return pairs


def listed(path: Path, unit: float | None) -> Iterator[Pair]:
    """The pairs of a list: a picture and its depth in each line, with a tab, a comma or spaces between.

    Paths start from the list's folder; empty lines and those that begin with # are passed over.
    """
    try:
        lines = files.contents(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DacliError(f"{shown(path)} is no list of pairs", "give a text file, a folder or DA-2K.zip") from None
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            between = next((mark for mark in "\t," if mark in line), None)
            fields = [field.strip() for field in line.split(between)]
            if len(fields) != 2 or not all(fields):
                fault = f"line {number} of {shown(path)} has {len(fields)} fields"
                raise DacliError(fault, "give a picture and its depth, with a tab, a comma or a space between")
            yield Pair(fields[0], path.parent / fields[0], path.parent / fields[1], unit)


def below(folder: Path, unit: float | None) -> Iterator[Pair]:
    """The pairs that JSON files below a folder name by `picture` and `depth`, a file or several of the same depth."""
    for path in sorted(folder.rglob("*.json")):
        found = described(path)
        if isinstance(found, dict) and isinstance(found.get("picture"), str) and "depth" in found:
            depth = found["depth"]
            one = next(iter(depth.values()), None) if isinstance(depth, dict) else depth
            if not isinstance(one, str):
                raise DacliError(f"{shown(path)} names no file of depth", "make it again with dacli scenes")
            picture = path.parent / found["picture"]
            yield Pair(picture.relative_to(folder).as_posix(), picture, path.parent / one, unit)


def described(path: Path) -> Any:
    try:
        return json.loads(files.contents(path))
    except (ValueError, RecursionError) as error:
        raise DacliError(f"{shown(path)} is no JSON ({error})", "make it again, or move it away") from None


def read(pair: Pair, max_pixels: int = pictures.MAX_PIXELS) -> tuple[pictures.Picture, Metres]:
    """The picture [H, W, 3] and its depth [H, W] in metres; raises DacliError if one is bad or their sizes differ."""
    rgb, depth = pictures.read(pair.picture, max_pixels), read_depth(pair.depth, pair.unit)
    if rgb.shape[:2] != depth.shape:
        mine, other = (f"{shape[1]} × {shape[0]}" for shape in (rgb.shape, depth.shape))
        fault = f"{shown(pair.picture)} has {mine} pixels, its depth {shown(pair.depth)} {other}"
        raise DacliError(fault, "give depth of the picture's size")
    return rgb, depth


def read_depth(path: Path, unit: float | None) -> Metres:
    """Depth [H, W] in metres of an NPY or a 16-bit PNG: infinite in the sky, NaN where it is not known.

    Unknown is what is not above 0, and the sky 65535 in a PNG. An NPY holds metres unless a unit is given, a PNG of
    dacli's says what it holds. Raises DacliError if that is not known, or no pixel has a finite depth.
    """
    depth = from_npy(path, unit) if path.suffix.lower() == ".npy" else from_png(path, unit)
    depth[~(depth > 0)] = np.nan
    if not np.isfinite(depth).any():
        raise DacliError(f"{shown(path)} has no finite depth above 0", "check what made it")
    return depth


def from_npy(path: Path, unit: float | None) -> Metres:
    try:
        values = np.load(io.BytesIO(files.contents(path)), allow_pickle=False)
        flat = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
        depth: Metres = flat.astype(np.float64, casting="same_kind") * (unit or 1)
    except (ValueError, EOFError, TypeError) as error:
        raise DacliError(f"{shown(path)} is no NPY of numbers ({error})", "check what made it") from None
    if depth.ndim != 2:
        raise DacliError(f"{shown(path)} holds an array of {values.shape}", "give depth as H × W")
    return depth


def from_png(path: Path, unit: float | None) -> Metres:
    values, text = pictures.read_depth16(path)
    scale = render.Scale(0, render.TOP16 * unit) if unit else scale_in(text, shown(path))
    depth = scale.decode(values).astype(np.float64)
    depth[values == render.TOP16] = np.inf
    depth[values == 0] = np.nan
    return depth


def scale_in(text: dict[str, str], name: str) -> render.Scale:
    if RECORD_KEYWORD not in text:
        raise DacliError(f"{name} does not say its unit", "give it with --unit: m, cm, mm, or what one step means")
    record = render.parse_record(text[RECORD_KEYWORD], name)
    if record.quantity != "metres":
        raise DacliError(f"{name} holds {record.quantity} of no known scale", "the truth has to be in metres")
    return record.scale
