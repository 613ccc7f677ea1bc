"""Comparison of two runs over the same pictures: how much their depths differ, and where."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dacli.errors import DacliError
from dacli.evaluation import accuracy
from dacli.evaluation.compared_files import ComparedDepth, read_compared_depth
from dacli.paths import display_path
from dacli.types import FloatArray

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


def fit_to_first(b: FloatArray, a: FloatArray, how: str) -> ComparedDepth:
    """Return B [H, W] aligned to A, by the pixels that both know."""
    fit, known = accuracy.ALIGNMENTS[how], np.isfinite(a) & np.isfinite(b)
    scale, shift = (1.0, 0.0) if fit is None else fit(b[known], a[known])
    return scale * b.astype(np.float64) + shift


def value_range(a: FloatArray) -> float:
    """Return the range of a from the 2nd to the 98th percentile, or from end to end where that is 0."""
    low, high = np.nanpercentile(a, (2, 98))
    return float(high - low) or float(np.nanmax(a) - np.nanmin(a))


def relative_difference(a: ComparedDepth, b: ComparedDepth, how: str) -> ComparedDepth:
    """Return |A − B| [H, W] after the alignment, in shares of A's range, or of B's where A is flat; NaN if unknown."""
    return np.abs(fit_to_first(b, a, how) - a) / (value_range(a) or value_range(b) or 1.0)


def compare_picture(name: str, first: Path, second: Path, how: str) -> Difference:
    """Return how the depths of one picture differ; raise DacliError if one cannot be read or their sizes differ."""
    a, b = read_compared_depth(first), read_compared_depth(second)
    if a.shape != b.shape:
        mine, other = (f"{shape[1]} × {shape[0]}" for shape in (a.shape, b.shape))
        raise DacliError(f"{name}: {mine} pixels in A, {other} in B", "compare runs over the same pictures")
    off = relative_difference(a, b, how)
    if np.isnan(off).all():
        raise DacliError(f"{name}: no pixel has depth in A and in B", "compare runs over the same pictures")
    y, x = np.unravel_index(int(np.nanargmax(off)), off.shape)
    same = bool(np.array_equal(a, b, equal_nan=True))
    return Difference(
        name,
        float(np.nanmean(off)),
        float(np.nanpercentile(off, 99)),
        float(np.nanmax(off)),
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
