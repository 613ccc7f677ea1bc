"""The sheet of a comparison: photo, A, B and their difference, of the pictures that differ most."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.batch import inputs
from dacli.errors import DacliError
from dacli.evaluation import tables
from dacli.evaluation.compared_files import ComparedDepth, read_compared_depth
from dacli.evaluation.comparison import (
    Difference,
    difference_title,
    fit_to_first,
    relative_difference,
    score_records,
    value_range,
)
from dacli.io import files, images
from dacli.outputs.drawing import to_eight_bits
from dacli.outputs.plain_matplotlib import new_figure
from dacli.paths import display_path
from dacli.types import Image8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure
    from matplotlib.image import AxesImage

COMPARISON_FILES = {"csv": "compare.csv", "json": "compare.json", "png": "compare.png"}
SHOWN_DIFFERENCES = 8  # pictures in the sheet
PANEL_WIDTH = 480  # pixels of a map in the sheet
PANEL_INCHES = 3.4
LABEL_WIDTH = 44  # characters in a line of a title
SHAPE_TOLERANCE = 0.02  # relative difference of a photo's width over height from that of its depth


@dataclass(frozen=True)
class ComparisonSheet:
    """What a sheet is drawn from: the depth files of A and B by picture, their names, the fit, and the photos."""

    a: dict[str, Path]
    b: dict[str, Path]
    names: tuple[str, str]
    how: str
    photos: dict[str, Path]


@dataclass(frozen=True)
class SheetRow:
    """A picture of the sheet, its maps [h, w] no wider than PANEL_WIDTH; the difference is in percent of A's range.

    `low` and `high` are the ends of the scale of A and B. `mark` is x, y of the largest difference in pixels of these.
    """

    difference: Difference
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    off: NDArray[np.float32]
    low: float
    high: float
    mark: tuple[float, float]
    photo: Image8 | None


def column_names(a: Path, b: Path) -> tuple[str, str]:
    """Return the names of two folders with only as many of their parents as tell them apart."""
    first, second = a.resolve().parts, b.resolve().parts
    longest = max(len(first), len(second))
    count = next((count for count in range(1, longest) if first[-count:] != second[-count:]), 1)
    return "/".join(first[-count:]), "/".join(second[-count:])


def find_photos(pictures: Sequence[str], folder: Path | None, outputs: Sequence[Path]) -> dict[str, Path]:
    """Return the photo of each picture, by its name: below `folder`, or beside the outputs without one.

    Raises DacliError if `folder` cannot be listed or has the photo of none.
    """
    found: dict[str, Path] = {}
    for root in outputs if folder is None else (folder,):
        photos = photos_by_name(root, pictures)
        found |= {name: photos[name] for name in pictures if name in photos and name not in found}
    if folder is not None and not found:
        fault = f"{display_path(folder)} holds no photo of {display_path(Path(pictures[0]))}"
        raise DacliError(fault, "name the folder that the runs took their pictures from")
    return found


def photos_by_name(root: Path, pictures: Sequence[str]) -> dict[str, Path]:
    """Return the pictures below a folder by their path in it, without their suffix and with it.

    Only the folders of `pictures` are searched. Raises DacliError if `root` cannot be listed.
    """
    folders = {name.rpartition("/")[0] for name in pictures}

    def wanted(path: str) -> bool:
        return path.rpartition("/")[0] in folders

    found: dict[str, Path] = {}
    for path in inputs.find_pictures(root, wanted=wanted):
        relative = path.relative_to(root)
        found.setdefault(relative.with_suffix("").as_posix(), path)
        found[relative.as_posix()] = path
    return found


def save_comparison(out: Path, found: Sequence[Difference], sheet: ComparisonSheet) -> list[Path]:
    """Write CSV, JSON lines and the sheet into a folder; return their paths."""
    reported = score_records(found)
    lines = "".join(tables.record_json(record) + "\n" for record in reported)
    made = {"csv": tables.records_csv(reported), "json": lines.encode(), "png": draw_comparison(found, sheet)}
    for kind, data in made.items():
        files.write_file(out / COMPARISON_FILES[kind], data)
    return [out / name for name in COMPARISON_FILES.values()]


def draw_comparison(found: Sequence[Difference], sheet: ComparisonSheet) -> bytes:
    """Return a PNG of the pictures that differ most: photo if there is one, A, B aligned to A, their difference."""
    rows = [sheet_row(each, sheet) for each in found[:SHOWN_DIFFERENCES]]
    panels = 4 if any(row.photo is not None for row in rows) else 3
    heights = [row_height(row) for row in rows]
    figure = new_figure(figsize=(PANEL_INCHES * panels + 1.2, 0.9 + sum(heights)), layout="constrained")
    figure.suptitle(tables.plain_text(f"{difference_title(sheet.how)}\nring: the largest difference"), fontsize=10)
    parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, part in zip(rows, parts, strict=True):
        draw_sheet_row(row, part, sheet, panels, difference_scale(rows))
    return tables.figure_png(figure)


def sheet_row(each: Difference, sheet: ComparisonSheet) -> SheetRow:
    """Return the small maps of a picture."""
    first, second = (read_compared_depth(paths[each.picture]) for paths in (sheet.a, sheet.b))
    low, high = depth_scale(first)
    small = shrink_map(first)
    ratio = small.shape[1] / first.shape[1], small.shape[0] / first.shape[0]
    return SheetRow(
        each,
        small,
        shrink_map(fit_to_first(second, first, sheet.how)),
        100 * shrink_map(relative_difference(first, second, sheet.how)),
        low,
        high,
        ((each.x + 0.5) * ratio[0] - 0.5, (each.y + 0.5) * ratio[1] - 0.5),
        photo_of_shape(sheet.photos.get(each.picture), small.shape),
    )


def depth_scale(depth: ComparedDepth) -> tuple[float, float]:
    """Return the ends of the scale of A and B: those of A's range, as value_range() takes it."""
    low, high = (float(end) for end in np.nanpercentile(depth, (2, 98)))
    if low == high:
        low, high = float(np.nanmin(depth)), float(np.nanmax(depth))
    return low, high if value_range(depth) else low + 1


def difference_scale(rows: Sequence[SheetRow]) -> float:
    """Return the end of the scale of differences, in percent: 99 % of the pixels of every row are below it."""
    most = max(100 * row.difference.p99 for row in rows)
    return most or max(100 * row.difference.largest for row in rows) or 1.0


def photo_of_shape(path: Path | None, shape: tuple[int, ...]) -> Image8 | None:
    """Return a photo [h, w, 3] of the height and width of a map; None without one, or if its shape is another."""
    if path is None:
        return None
    try:
        rgb = to_eight_bits(images.read_image(path))
    except DacliError:
        return None  # the comparison needs no photo
    if abs(rgb.shape[1] / rgb.shape[0] / (shape[1] / shape[0]) - 1) > SHAPE_TOLERANCE:
        return None
    return np.asarray(cv2.resize(rgb, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)


def shrink_map(depth: ComparedDepth) -> NDArray[np.float32]:
    """Return the map [H, W] at the width of a panel, if it is wider."""
    height, width = depth.shape
    shrunk = depth.astype(np.float32)
    if width <= PANEL_WIDTH:
        return shrunk
    size = (PANEL_WIDTH, max(1, round(height * PANEL_WIDTH / width)))
    return np.asarray(cv2.resize(shrunk, size, interpolation=cv2.INTER_AREA), np.float32)


def row_height(row: SheetRow) -> float:
    """Return the height of a row in inches: that of its panels, within limits, and of its titles."""
    height, width = row.first.shape
    return 0.62 + min(max(PANEL_INCHES * float(height) / float(width), 0.9), 1.5 * PANEL_INCHES)


def draw_sheet_row(row: SheetRow, part: "SubFigure", sheet: ComparisonSheet, panels: int, most: float) -> None:
    """Draw the panels of a picture, with a bar for A and B and one for the difference, to `most` percent."""
    part.suptitle(tables.plain_text(row_title(row.difference)), fontsize=9, fontweight="bold")
    every = part.subplots(1, panels, squeeze=False)[0]
    for plot in every:
        plot.set_axis_off()
    if panels > 3:
        draw_photo(every[0], row)
    axes = every[-3:]
    fitted = "" if sheet.how == "none" else ", aligned to A"
    titles = f"A: {sheet.names[0]}", f"B: {sheet.names[1]}{fitted}", "|A − B|, same scale in all rows"
    for plot, text in zip(axes, titles, strict=True):
        plot.set_title(tables.plain_text(textwrap.fill(text, LABEL_WIDTH)), fontsize=8)
        draw_mark(plot, row.mark)
    for plot, depth in zip(axes, (row.first, row.second), strict=False):
        shades = plot.imshow(depth, cmap="Spectral_r", vmin=row.low, vmax=row.high)
    draw_bar(axes[1], shades, "inverse depth, near ↑", "both")
    draw_bar(axes[2], axes[2].imshow(row.off, cmap="magma", vmin=0, vmax=most), "% of A's range", "max")


def draw_bar(plot: "Axes", shades: "AxesImage", label: str, extend: Literal["both", "max"]) -> None:
    """Draw the bar of a scale beside a panel; `extend` says at which ends values may lie beyond it."""
    bar = plot.figure.colorbar(shades, ax=plot, extend=extend, shrink=0.8)
    bar.set_label(label, fontsize=7)
    bar.ax.tick_params(labelsize=7)


def row_title(difference: Difference) -> str:
    """Return what stands above a row: the picture, how much it differs, and where most."""
    return (
        f"{difference.picture}: mean {100 * difference.mean:.3g} %, largest {100 * difference.largest:.3g} % "
        f"at x, y = {difference.x}, {difference.y}"
    )


def draw_photo(plot: "Axes", row: SheetRow) -> None:
    """Draw the photo, or say that there is none."""
    if row.photo is None:
        plot.set_title("photo: not found", fontsize=8)
        return
    plot.set_title("photo", fontsize=8)
    plot.imshow(row.photo)
    draw_mark(plot, row.mark)


def draw_mark(plot: "Axes", mark: tuple[float, float]) -> None:
    """Draw a ring, black on white, so that it shows on any color and what is in it can be seen."""
    for width, color in ((3.5, "white"), (1.5, "black")):
        plot.plot(*mark, "o", markersize=12, color=color, markeredgewidth=width, fillstyle="none", clip_on=False)
