"""One picture seen by several networks, precisions and sizes: a sheet of depth maps with their time and memory."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.bench.measure import time_in_turns
from dacli.bench.subjects import open_measured_model
from dacli.bench.table import BenchGroup, BenchSetup, image_peak_memory, median_or_nan
from dacli.callbacks import Reporter
from dacli.errors import DacliError
from dacli.evaluation import tables
from dacli.inference.device import ExecutionPlan
from dacli.outputs import drawing, style
from dacli.types import ImageArray

MAP_WIDTH = 360  # pixels of a map
HEAD, SIDE, BELOW, GAP = 60, 190, 28, 8  # pixels above all maps, left of them, below and around each
DPI = 130  # at which tables.as_png draws


@dataclass(frozen=True)
class SheetCell:
    """A depth map in color, [H, W, 3], with its time in seconds (median) and its peak memory in GiB."""

    row: str
    size: int
    tiles: int
    seconds: float
    peak_gib: float
    shown: NDArray[np.uint8]


def measure_cells(
    todo: Sequence[BenchSetup], photo: Path, rgb: ImageArray, count: int, reporter: Reporter
) -> Iterator[SheetCell | None]:
    """Yield the depth map of a photo by each setup, timed in `count` turns; None if it failed, as is reported."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        for encoder in dict.fromkeys(setup.encoder for setup in todo):
            with open_measured_model(encoder, Path(name), reporter) as given:
                for setup in (setup for setup in todo if setup.encoder == encoder):
                    group = BenchGroup(given, setup.size or given.network.spec.native_size, [photo], Path(name), count)
                    reporter.note(f"{encoder} at {group.size} px, {setup.plan.engine} {setup.plan.precision}")
                    made: SheetCell | None = None
                    try:
                        made = measure_cell(group, setup.plan, rgb)
                    except DacliError as error:
                        reporter.error(error)
                    yield made


def measure_cell(group: BenchGroup, plan: ExecutionPlan, rgb: ImageArray) -> SheetCell:
    """Return the depth map of a picture by a plan; raise DacliError if that fails."""
    ready = group.predictor(plan)
    (seconds,) = time_in_turns(lambda: ready.predict([rgb]), count=group.turns)
    (found,) = ready.predict([rgb])
    taken = image_peak_memory(group.given, plan, group.size, group.sources[0], group.folder)
    row = f"{group.given.encoder}\n{plan.engine} {plan.precision}"
    row += "\nrandom weights" if group.given.weights == "random" else ""
    low, high = style.depth_limits(found.depth)
    shown = drawing.draw_color(shrink_map(found.depth), low, high, ready.spec.quantity)
    return SheetCell(row, group.size, found.tiles, median_or_nan(seconds), taken, shown)


def shrink_map(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the map [h, WIDTH] of the sheet."""
    size = (MAP_WIDTH, max(1, round(picture.shape[0] * MAP_WIDTH / picture.shape[1])))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def draw_sheet(made: Sequence[SheetCell], title: str) -> bytes:
    """Return the PNG of a sheet: a row for each network and precision, a column for each size."""
    from matplotlib.figure import Figure

    rows, columns = list(dict.fromkeys(each.row for each in made)), sorted({each.size for each in made})
    tall, wide = made[0].shown.shape[0] + BELOW + GAP, MAP_WIDTH + GAP
    height, width = HEAD + tall * len(rows), SIDE + wide * len(columns)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(text: str, x: float, y: float, wrap: bool = False) -> None:
        figure.text(x / width, 1 - y / height, tables.plain_text(text), fontsize=7, va="top", wrap=wrap)

    write(title, GAP, GAP, wrap=True)
    for row, name in enumerate(rows):
        write(name, GAP, HEAD + row * tall)
    for column, size in enumerate(columns):
        write(f"{size} px", SIDE + column * wide, HEAD - 18)
    for cell in made:
        x, y = cell_position(rows.index(cell.row), columns.index(cell.size), tall)
        figure.figimage(cell.shown, x, height - y - cell.shown.shape[0])
        tiles = f", {cell.tiles} tiles" if cell.tiles else ""
        write(f"{cell.seconds:.3g} s, {cell.peak_gib:.2f} GiB{tiles}", x, y + cell.shown.shape[0] + 6)
    return tables.figure_png(figure)


def cell_position(row: int, column: int, tall: int) -> tuple[int, int]:
    """Return the position of the map in a row and a column: pixels from the left and from the top."""
    return SIDE + column * (MAP_WIDTH + GAP), HEAD + row * tall
