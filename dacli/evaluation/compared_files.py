"""The depth files that dacli compare reads: outputs of dacli, frames of its clips, and files of other tools."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.io import depth_files, files, npy, png, records
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path

ComparedDepth = NDArray[np.float64]
SMALLEST_METRES = 1e-6  # metres
METRES_ENDING = "_raw_depth_meter.npy"  # of Depth Anything V2's own script for metric models
ENDINGS = tuple(FORMATS[kind].suffix for kind in ("npy", "png16"))  # of dacli, the exact one first
OTHER_ENDINGS = (METRES_ENDING, "_depth.png", ".npy", ".png")


def find_depth_outputs(folder: Path) -> dict[str, Path]:
    """Return the depth file of each picture or frame below a folder, by its path without the ending of depth files.

    Files of dacli come first, then NPY files and 16-bit gray PNGs of any name. Raises DacliError for a path that is not
    a folder, and for a folder without depth.
    """
    if not folder.is_dir():
        raise DacliError(f"{display_path(folder)} is not a folder", "name two output folders of dacli")
    found: dict[str, Path] = {}
    seen: set[Path] = set()
    for ending in (*ENDINGS, *OTHER_ENDINGS):
        for path in sorted(set(folder.rglob(f"*{ending}")) - seen):
            seen.add(path)
            if path.is_file() and (ending in ENDINGS or is_depth_file(path)):
                found.setdefault(path.relative_to(folder).as_posix().removesuffix(ending), path)
    if not found:
        raise DacliError(f"{display_path(folder)} holds no depth", "run dacli with --save npy or png16")
    return found


def is_depth_file(path: Path) -> bool:
    """Return whether a file is an NPY or a 16-bit gray PNG."""
    with path.open("rb") as file:
        start = file.read(26)
    return path.suffix == ".npy" or (start[:8] == b"\x89PNG\r\n\x1a\n" and start[24:26] == b"\x10\0")


def read_compared_depth(path: Path) -> ComparedDepth:
    """Return inverse depth [H, W], NaN where it is unknown; metres are converted.

    Numbers of other tools are inverse depth, unless their name says that they are metres.
    """
    if path.suffix == ".npy":
        depth, quantity = read_npy_output(path), npy_quantity(path)
    else:
        values, text = depth_files.read_depth16(path)
        depth, quantity = values.astype(np.float64), "inverse depth"
        if RECORD_KEYWORD in text:
            decoded, record = records.decode_depth(values, text, display_path(path))
            depth, quantity = decoded.astype(np.float64), record.quantity
    inverse = 1 / np.maximum(depth, SMALLEST_METRES) if quantity != "inverse depth" else depth
    if np.isinf(inverse).any() or np.isnan(inverse).all():
        raise DacliError(f"{display_path(path)} holds numbers that are not finite", "run dacli again to replace it")
    return inverse


def npy_quantity(path: Path) -> str:
    """Return what the numbers of an NPY mean: by its name, its own record, or that of a PNG beside it."""
    if path.name.endswith(METRES_ENDING):
        return "metres"
    for text in _records_of_npy(path):
        return records.parse_record(text, display_path(path)).quantity
    return "inverse depth"


def _records_of_npy(path: Path) -> Iterator[str]:
    yield from npy.read_npy_text(files.read_bytes(path), display_path(path)).values()
    stem = path.name.removesuffix(FORMATS["npy"].suffix)
    for suffix in (row.suffix for row in FORMATS.values() if row.suffix.endswith(".png")):
        beside = path.with_name(stem + suffix)
        if beside.is_file():
            text = png.read_png_text(files.read_bytes(beside), display_path(beside))
            yield from [text[RECORD_KEYWORD]] if RECORD_KEYWORD in text else []


def read_npy_output(path: Path) -> ComparedDepth:
    try:
        depth: ComparedDepth = np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False).astype(np.float64)
    except (ValueError, EOFError, TypeError) as error:
        raise DacliError(
            f"{display_path(path)} is not an NPY of numbers ({error})", "run dacli again to replace it"
        ) from None
    if depth.ndim != 2:
        raise DacliError(
            f"{display_path(path)} holds an array of {depth.shape}",
            "dacli compare takes the NPY files that dacli wrote",
        )
    return depth
