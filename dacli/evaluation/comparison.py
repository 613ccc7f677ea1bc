"""Comparison of two runs over the same pictures: how much their depths differ, and where."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.evaluation import accuracy
from dacli.io import depth_files, files, png, records
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.types import FloatArray

ComparedDepth = NDArray[np.float64]
COMPARED_KINDS = ("npy", "png16")  # the exact one first
SMALLEST_METRES = 1e-6  # metres
COMPARED_PAIRS = 5000
APART = 0.05  # share of the range: points whose depth differs less have no order
NAMED_MISSING = 10  # missing pictures that a message names
LISTED_PICTURES = 10  # pictures in the table
COMPARISON_SCORES = ("mean", "p99", "largest", "order")


@dataclass(frozen=True)
class Difference:
    """The difference between A and B, after B is aligned to A, in shares of A's range (2nd to 98th percentile).

    `order` is the share of random point pairs, more than 5 % of that range apart in A, that B has in the same order.
    `x` and `y` are the pixel of the largest difference, to the right and down from 0, 0. `same` means equal without an
    alignment.
    """

    picture: str
    mean: float
    p99: float
    largest: float
    order: float
    x: int
    y: int
    same: bool


def find_depth_outputs(folder: Path) -> dict[str, Path]:
    """Return the depth file of each picture below a folder, by the path of its outputs without their suffix.

    Raises DacliError for a path that is not a folder, and for a folder without depth.
    """
    if not folder.is_dir():
        raise DacliError(f"{display_path(folder)} is not a folder", "name two output folders of dacli")
    found: dict[str, Path] = {}
    for kind in COMPARED_KINDS:
        for path in sorted(folder.rglob(f"*{FORMATS[kind].suffix}")):
            found.setdefault(path.relative_to(folder).as_posix().removesuffix(FORMATS[kind].suffix), path)
    if not found:
        raise DacliError(f"{display_path(folder)} holds no depth", "run dacli with --save npy or png16")
    return found


def read_compared_depth(path: Path) -> ComparedDepth:
    """Return inverse depth [H, W]; metres are converted. An NPY without a PNG beside it is read as inverse depth."""
    if path.name.endswith(FORMATS["npy"].suffix):
        depth, quantity = read_npy_output(path), quantity_beside(path)
    else:
        decoded, record = records.decode_depth(*depth_files.read_depth16(path), display_path(path))
        depth, quantity = decoded.astype(np.float64), record.quantity
    inverse = 1 / np.maximum(depth, SMALLEST_METRES) if quantity != "inverse depth" else depth
    if not np.isfinite(inverse).all():
        raise DacliError(f"{display_path(path)} holds numbers that are not finite", "run dacli again to replace it")
    return inverse


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


def quantity_beside(path: Path) -> str:
    stem = path.name.removesuffix(FORMATS["npy"].suffix)
    for suffix in (row.suffix for row in FORMATS.values() if row.suffix.endswith(".png")):
        beside = path.with_name(stem + suffix)
        if beside.is_file():
            text = png.read_png_text(files.read_bytes(beside), display_path(beside)).get(RECORD_KEYWORD)
            if text is not None:
                return records.parse_record(text, display_path(beside)).quantity
    return "inverse depth"


def fit_to_first(b: FloatArray, a: FloatArray, how: str) -> ComparedDepth:
    """Return B [H, W] aligned to A."""
    fit = accuracy.ALIGNMENTS[how]
    scale, shift = (1.0, 0.0) if fit is None else fit(b, a)
    return scale * b.astype(np.float64) + shift


def value_range(a: FloatArray) -> float:
    """Return the range of a from the 2nd to the 98th percentile, or from end to end where that is 0."""
    low, high = np.percentile(a, (2, 98))
    return float(high - low) or float(a.max() - a.min())


def relative_difference(a: ComparedDepth, b: ComparedDepth, how: str) -> ComparedDepth:
    """Return |A − B| [H, W] after the alignment, in shares of A's range, or of B's where A is flat."""
    return np.abs(fit_to_first(b, a, how) - a) / (value_range(a) or value_range(b) or 1.0)


def compare_picture(name: str, first: Path, second: Path, how: str) -> Difference:
    """Return how the depths of one picture differ; raise DacliError if one cannot be read or their sizes differ."""
    a, b = read_compared_depth(first), read_compared_depth(second)
    if a.shape != b.shape:
        mine, other = (f"{shape[1]} × {shape[0]}" for shape in (a.shape, b.shape))
        raise DacliError(f"{name}: {mine} pixels in A, {other} in B", "compare runs over the same pictures")
    off = relative_difference(a, b, how)
    y, x = np.unravel_index(int(off.argmax()), off.shape)
    same = bool(np.array_equal(a, b))
    return Difference(
        name,
        float(off.mean()),
        float(np.percentile(off, 99)),
        float(off.max()),
        order_agreement(a, b),
        int(x),
        int(y),
        same,
    )


def order_agreement(a: ComparedDepth, b: ComparedDepth) -> float:
    """Return the share of point pairs clearly apart in A that B orders the same way; equal depths count half."""
    i, j = np.random.default_rng(0).integers(0, a.size, (2, COMPARED_PAIRS))
    apart, found = (depth.ravel()[i] - depth.ravel()[j] for depth in (a, b))
    clear = np.abs(apart) > APART * value_range(a)
    return float((1 + np.sign(apart * found)[clear]).mean() / 2) if clear.any() else float("nan")


def pair_outputs(a: dict[str, Path], b: dict[str, Path]) -> tuple[list[str], list[str]]:
    """Return the names that both folders have, and a message for each folder that has others.

    Raises DacliError if they have no name in common.
    """
    both = [name for name in a if name in b]
    if not both:
        raise DacliError("A and B have no picture in common", "name two output folders of the same pictures")
    lacking = []
    for side, mine, others in (("A", a, b), ("B", b, a)):
        if only := [name for name in mine if name not in others]:
            more = f" and {len(only) - NAMED_MISSING} more" if len(only) > NAMED_MISSING else ""
            lacking.append(f"only in {side}: {', '.join(map(display_path, map(Path, only[:NAMED_MISSING])))}{more}")
    return both, lacking


def compare_outputs(
    names: Sequence[str], a: dict[str, Path], b: dict[str, Path], how: str
) -> tuple[list[Difference], list[DacliError]]:
    """Return the differences of all pictures that can be read, the largest mean first, and the errors of the others."""
    found, errors = [], []
    for name in names:
        try:
            found.append(compare_picture(name, a[name], b[name], how))
        except DacliError as error:
            errors.append(error)
    return sorted(found, key=lambda each: -each.mean), errors


def total_record(found: Sequence[Difference]) -> dict[str, object]:
    """Return one record for all pictures: means, the largest difference, and how many are the same."""
    values = {name: np.array([getattr(each, name) for each in found], np.float64) for name in COMPARISON_SCORES}
    known = values["order"][~np.isnan(values["order"])]
    return {
        "picture": f"all {len(found)}",
        "mean": float(values["mean"].mean()),
        "p99": float(values["p99"].mean()),
        "largest": float(values["largest"].max()),
        "order": float(known.mean()) if known.size else float("nan"),
        "same": sum(each.same for each in found),
    }


def score_records(found: Sequence[Difference]) -> list[dict[str, object]]:
    """Return the total, and one record for each picture."""
    return [total_record(found), *(asdict(each) for each in found)]


def comparison_rows(found: Sequence[Difference]) -> list[dict[str, object]]:
    """Return the total and the pictures that differ most, as the table shows them."""
    everything = total_record(found)
    largest = [
        {"picture": each.picture, "same": "yes" if each.same else "no", "largest at": f"{each.x}, {each.y}"}
        | {name: getattr(each, name) for name in COMPARISON_SCORES}
        for each in found[:LISTED_PICTURES]
    ]
    return [everything | {"same": f"{everything['same']} of {len(found)}", "largest at": "x, y"}, *largest]


def format_difference(score: str, value: float) -> str:
    """Return a number of the table, in percent."""
    return "-" if np.isnan(value) else f"{100 * value:{'.2f' if score == 'order' else '.3g'}} %"


def comparison_title(how: str) -> str:
    """Return the title of the table, which says what its numbers mean."""
    return f"{difference_title(how)}; order: point pairs in the same order"


def difference_title(how: str) -> str:
    """Return what the numbers of the difference mean."""
    fit = "" if how == "none" else f" after B is aligned to A ({how}, in inverse depth)"
    return f"|A − B| in shares of A's range{fit}"
