"""Two runs over the same pictures: how much their depths differ, and where."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.evaluation import accuracy, tables
from dacli.io import files, images, png, records
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.types import FloatArray

Depth = NDArray[np.float64]
DEPTHS = ("npy", "png16")  # the exact one first
NEAREST = 1e-6  # metres
PAIRS = 5000
APART = 0.05  # of the range: points that differ less have no order
BLOCKS = 8  # a picture is cut into 8 × 8 parts to tell where it differs most
ROWS = 8  # pictures of a sheet
WIDTH = 420  # pixels of a picture in it
NAMED = 10
TOLD = 10  # pictures of the table
FILES = {"csv": "compare.csv", "json": "compare.json", "png": "compare.png"}
SCORES = ("mean", "p99", "largest", "order")


@dataclass(frozen=True)
class Difference:
    """How far B is from A after its fit to A, in shares of A's range (2nd to 98th percentile), and where most.

    `order` is the share of random point pairs over 5 % of that range apart in A that B orders likewise; `row` and
    `column` are the middle, in pixels, of that of 8 × 8 parts with the largest mean; `same`: equal without a fit.
    """

    picture: str
    mean: float
    p99: float
    largest: float
    order: float
    row: int
    column: int
    same: bool


def outputs(folder: Path) -> dict[str, Path]:
    """The file of depth of each picture below a folder, by the path and stem of its outputs.

    Raises DacliError for what is no folder or holds none.
    """
    if not folder.is_dir():
        raise DacliError(f"{display_path(folder)} is not a folder", "name two output folders of dacli")
    found: dict[str, Path] = {}
    for kind in DEPTHS:
        for path in sorted(folder.rglob(f"*{FORMATS[kind].suffix}")):
            found.setdefault(path.relative_to(folder).as_posix().removesuffix(FORMATS[kind].suffix), path)
    if not found:
        raise DacliError(f"{display_path(folder)} holds no depth", "run dacli with --save npy or png16")
    return found


def read(path: Path) -> Depth:
    """Inverse depth [H, W]; metres are turned into it. An NPY without a PNG of dacli's beside it is taken for that."""
    if path.name.endswith(FORMATS["npy"].suffix):
        depth, quantity = from_npy(path), quantity_beside(path)
    else:
        decoded, record = records.decode(*images.read_depth16(path), display_path(path))
        depth, quantity = decoded.astype(np.float64), record.quantity
    inverse = 1 / np.maximum(depth, NEAREST) if quantity == "metres" else depth
    if not np.isfinite(inverse).all():
        raise DacliError(f"{display_path(path)} holds numbers that are not finite", "make it again")
    return inverse


def from_npy(path: Path) -> Depth:
    try:
        depth: Depth = np.load(io.BytesIO(files.contents(path)), allow_pickle=False).astype(np.float64)
    except (ValueError, EOFError, TypeError) as error:
        raise DacliError(f"{display_path(path)} is no NPY of numbers ({error})", "make it again with dacli") from None
    if depth.ndim != 2:
        raise DacliError(f"{display_path(path)} holds an array of {depth.shape}", "compare takes what dacli wrote")
    return depth


def quantity_beside(path: Path) -> str:
    stem = path.name.removesuffix(FORMATS["npy"].suffix)
    for suffix in (row.suffix for row in FORMATS.values() if row.suffix.endswith(".png")):
        beside = path.with_name(stem + suffix)
        if beside.is_file():
            text = png.text(files.contents(beside), display_path(beside)).get(RECORD_KEYWORD)
            if text is not None:
                return records.parse_record(text, display_path(beside)).quantity
    return "inverse depth"


def fitted(b: FloatArray, a: FloatArray, how: str) -> Depth:
    """B after the fit to A, [H, W]."""
    fit = accuracy.FITS[how]
    scale, shift = (1.0, 0.0) if fit is None else fit(b, a)
    return scale * b.astype(np.float64) + shift


def span(a: FloatArray) -> float:
    """A's range from the 2nd to the 98th percentile, or all of it where that is 0."""
    low, high = np.percentile(a, (2, 98))
    return float(high - low) or float(a.max() - a.min())


def share(a: Depth, b: Depth, how: str) -> Depth:
    """How far B is from A after its fit, [H, W], in shares of A's range, or of B's where A is flat, or as it is."""
    return np.abs(fitted(b, a, how) - a) / (span(a) or span(b) or 1.0)


def difference(name: str, first: Path, second: Path, how: str) -> Difference:
    """How the depths of one picture differ; raises DacliError if one cannot be read or their sizes differ."""
    a, b = read(first), read(second)
    if a.shape != b.shape:
        mine, other = (f"{shape[1]} × {shape[0]}" for shape in (a.shape, b.shape))
        raise DacliError(f"{name}: {mine} pixels in A, {other} in B", "compare runs over the same pictures")
    off = share(a, b, how)
    row, column = worst_part(off)
    same = bool(np.array_equal(a, b))
    return Difference(
        name, float(off.mean()), float(np.percentile(off, 99)), float(off.max()), agreement(a, b), row, column, same
    )


def worst_part(off: Depth) -> tuple[int, int]:
    """The middle, in pixels, of the part that differs most."""
    rows, columns = (np.array_split(np.arange(side), min(BLOCKS, side)) for side in off.shape)
    means = np.array([[off[np.ix_(r, c)].mean() for c in columns] for r in rows])
    y, x = np.unravel_index(int(means.argmax()), means.shape)
    return int(rows[y].mean()), int(columns[x].mean())


def agreement(a: Depth, b: Depth) -> float:
    """Share of point pairs clearly apart in A that B orders likewise, equal ones counting half; NaN if none are."""
    i, j = np.random.default_rng(0).integers(0, a.size, (2, PAIRS))
    apart, found = (depth.ravel()[i] - depth.ravel()[j] for depth in (a, b))
    clear = np.abs(apart) > APART * span(a)
    return float((1 + np.sign(apart * found)[clear]).mean() / 2) if clear.any() else float("nan")


def pair(a: dict[str, Path], b: dict[str, Path]) -> tuple[list[str], list[str]]:
    """The names that both folders have, and a line for each folder that lacks some; raises DacliError if none meet."""
    both = [name for name in a if name in b]
    if not both:
        raise DacliError("A and B have no picture in common", "name two output folders of the same pictures")
    lacking = []
    for side, mine, others in (("A", a, b), ("B", b, a)):
        if only := [name for name in mine if name not in others]:
            more = f" and {len(only) - NAMED} more" if len(only) > NAMED else ""
            lacking.append(f"only in {side}: {', '.join(map(display_path, map(Path, only[:NAMED])))}{more}")
    return both, lacking


def compare(
    names: Sequence[str], a: dict[str, Path], b: dict[str, Path], how: str
) -> tuple[list[Difference], list[DacliError]]:
    """The differences of all pictures that can be read, the largest mean first, and what is wrong with the others."""
    found, faults = [], []
    for name in names:
        try:
            found.append(difference(name, a[name], b[name], how))
        except DacliError as error:
            faults.append(error)
    return sorted(found, key=lambda each: -each.mean), faults


def total(found: Sequence[Difference]) -> dict[str, object]:
    """One record of all pictures: means, but the largest difference of all, and how many are the same."""
    values = {name: np.array([getattr(each, name) for each in found], np.float64) for name in SCORES}
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
    """The total and after it one record for each picture."""
    return [total(found), *(asdict(each) for each in found)]


def rows(found: Sequence[Difference]) -> list[dict[str, object]]:
    """The total and the pictures that differ most, as the table shows them."""
    everything = total(found)
    shown_ones = [
        {"picture": each.picture, "same": "yes" if each.same else "no", "most at": f"{each.row}, {each.column}"}
        | {name: getattr(each, name) for name in SCORES}
        for each in found[:TOLD]
    ]
    return [everything | {"same": f"{everything['same']} of {len(found)}", "most at": "row, column"}, *shown_ones]


def text(score: str, value: float) -> str:
    """A number of the table, in percent."""
    return "-" if np.isnan(value) else f"{100 * value:{'.2f' if score == 'order' else '.3g'}} %"


def title(how: str) -> str:
    """What the numbers mean."""
    fit = "" if how == "none" else f" after the fit of B to A ({how}, in inverse depth)"
    return f"|A − B| in shares of A's range{fit}; order: point pairs that both order alike"


def save(out: Path, found: Sequence[Difference], a: dict[str, Path], b: dict[str, Path], how: str) -> list[Path]:
    """Write CSV, JSON lines and the sheet into a folder; their paths."""
    told = score_records(found)
    lines = "".join(tables.as_json(record) + "\n" for record in told)
    made = {"csv": tables.as_csv(told), "json": lines.encode(), "png": sheet(found, a, b, how)}
    for kind, data in made.items():
        files.write(out / FILES[kind], data)
    return [out / name for name in FILES.values()]


def sheet(found: Sequence[Difference], a: dict[str, Path], b: dict[str, Path], how: str) -> bytes:
    """A PNG of the pictures that differ most, one in each row: A, B after its fit, and their difference."""
    from matplotlib.figure import Figure

    worst = found[:ROWS]
    figure = Figure(figsize=(9, 0.8 + 2.4 * len(worst)), layout="constrained")
    for each, axes in zip(worst, figure.subplots(len(worst), 3, squeeze=False), strict=True):
        first = read(a[each.picture])
        second = read(b[each.picture])
        low, high = float(first.min()), float(first.max())
        off = share(first, second, how)
        for plot, depth in zip(axes, (first, fitted(second, first, how)), strict=False):
            plot.imshow(small(depth), cmap="Spectral_r", vmin=low, vmax=high)
        shades = axes[2].imshow(100 * small(off), cmap="magma", vmin=0)
        figure.colorbar(shades, ax=axes[2], format="%.3g %%")
        for plot, text in zip(axes, (each.picture, "B", f"|A − B|, mean {100 * each.mean:.3g} %"), strict=True):
            plot.set_title(tables.plain(text), fontsize=7)
            plot.set_axis_off()
    figure.suptitle(tables.plain(title(how)), fontsize=9)
    return tables.as_png(figure)


def small(depth: Depth) -> NDArray[np.float32]:
    """The map at the sheet's width, if it is wider."""
    height, width = depth.shape
    shrunk = depth.astype(np.float32)
    if width <= WIDTH:
        return shrunk
    size = (WIDTH, max(1, round(height * WIDTH / width)))
    return np.asarray(cv2.resize(shrunk, size, interpolation=cv2.INTER_AREA), np.float32)
