"""How a frame's raw depth follows from the one before: scale, shift and cuts, on small grids.

A network for relative depth gives every frame in an unknown scale and shift of its own. Pixels that look the same in
two frames tell the scale and shift between them.
"""

import base64
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.types import DepthArray
from dacli.video.scene_cuts import blurred_change, is_cut

FramePicture = NDArray[np.uint8 | np.uint16]
LumaGrid = NDArray[np.uint8]

GRID_SIDE = 96  # pixels of a grid's long side, about
ENOUGH_CELLS = 480  # pixels of a picture's long side that tell its luma on a grid
STABLE_CELLS = (
    8 / 255
)  # change of luma up to which a pixel counts as unchanged; or 1.6 times that of the calmest quarter
FIT_ROUNDS = 16
RELATED_DEPTH = 0.5  # correlation up to which values tell no scale
RESIDUAL_FLOOR = 0.01  # residuals count as at least this share of their mean
QUANTILES = (0.5, 2, 50, 98, 99.5)


@dataclass(frozen=True)
class FrameLink:
    """A frame's raw depth x from that of the frame before, p: x ≈ scale·p + shift; and its percentiles.

    `bottom`, `low`, `middle`, `high` and `top` are the 0.5th, 2nd, 50th, 98th and 99.5th. At a `cut`, as at the first
    frame, nothing is known: scale 1, shift 0.
    """

    scale: float
    shift: float
    cut: bool
    bottom: float
    low: float
    middle: float
    high: float
    top: float


class FrameMatcher:
    """Links each frame of a clip to the one before; holds two grids, however long the clip."""

    def __init__(self) -> None:
        self.depth: DepthArray | None = None
        self.luma: LumaGrid | None = None

    def link(self, depth: DepthArray, rgb: FramePicture) -> FrameLink:
        """Return the link of the next frame: raw depth [h, w] and its picture [H, W, 3], which may have another size.

        Raises ValueError for depth that is not finite.
        """
        x = np.asarray(average_cells(depth), np.float32)
        if not np.isfinite(x).all():
            raise ValueError("depth that is not finite")
        if self.depth is not None:
            x = resize_grid(x, self.depth.shape)
        y = luma_grid(rgb, x.shape)
        found = None if self.depth is None or self.luma is None else compare_grids(self.depth, self.luma, x, y)
        self.depth, self.luma = x, y
        scale, shift = found or (1.0, 0.0)
        return FrameLink(scale, shift, found is None, *(float(v) for v in np.percentile(x, QUANTILES)))

    def state(self) -> dict[str, Any]:
        """Return all that the next link depends on, as plain values for JSON: some 50 kB of text."""
        return {"depth": pack_array(self.depth), "luma": pack_array(self.luma)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the matcher whose state it is, with the same results to the bit."""
        self.depth, self.luma = unpack_array(state["depth"]), unpack_array(state["luma"])


def pack_array(values: NDArray[Any] | None) -> dict[str, Any] | None:
    """Return an array as plain values for JSON: its type, its shape and its bytes in base64."""
    if values is None:
        return None
    kind = values.dtype.newbyteorder("<")
    text = base64.b64encode(values.astype(kind).tobytes()).decode("ascii")
    return {"type": kind.str, "shape": list(values.shape), "base64": text}


def unpack_array(plain: dict[str, Any] | None) -> NDArray[Any] | None:
    """Return the array that packed() made plain values of."""
    if plain is None:
        return None
    kind = np.dtype(plain["type"])
    values = np.frombuffer(base64.b64decode(plain["base64"]), kind).reshape(plain["shape"])
    return values.astype(kind.newbyteorder("="))


def luma_grid(rgb: FramePicture, size: tuple[int, ...]) -> LumaGrid:
    """Return luma (BT.601), 8 bits, averaged to [h, w] = size, of a picture [H, W, 3] of 8 or 16 bits.

    Of a picture of 960 pixels and more only every second row and column count, of 1440 every third, and so on.
    """
    height, width = rgb.shape[:2]
    step = max(1, max(height, width) // ENOUGH_CELLS)
    few = max(1, width // step), max(1, height // step)
    sparse = rgb if step == 1 else cv2.resize(rgb, few, interpolation=cv2.INTER_NEAREST)
    gray = average_cells(cv2.cvtColor(sparse, cv2.COLOR_RGB2GRAY))
    return resize_grid(np.asarray(gray if gray.dtype == np.uint8 else gray >> 8, np.uint8), size)


def resize_grid(grid: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Return a map [h, w] at another size."""
    return grid if grid.shape == size else np.asarray(cv2.resize(grid, size[::-1], interpolation=cv2.INTER_AREA))


def average_cells(values: NDArray[Any]) -> NDArray[Any]:
    """Return means over squares of a map [H, W] to a long side of about 96.

    Of whole pixels, five times as fast as others.
    """
    rows, columns = values.shape
    side = max(1, min(round(max(rows, columns) / GRID_SIDE), rows, columns))
    rows, columns = rows // side, columns // side
    whole = values[: rows * side, : columns * side]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA))


def compare_grids(p: DepthArray, before: LumaGrid, x: DepthArray, now: LumaGrid) -> tuple[float, float] | None:
    """Return scale and shift from depth p to x, both [h, w], by the pixels whose luma stayed; None at a cut.

    Where the picture as a whole moved, p is moved along, if more stays then.
    """
    a, b = (np.asarray(v / np.float32(255), np.float32) for v in (before, now))
    change = blurred_change(a, b)
    if is_cut(a, b, change):
        return None
    way = optical_motion(a, b)
    if any(way):
        after = blurred_change(*warp_halfway(a, b, way))
        if np.minimum(after, STABLE_CELLS).mean() < np.minimum(inner_cells(change, way), STABLE_CELLS).mean():
            (p, x), change = warp_halfway(p, x, way), after
    stable = change <= max(STABLE_CELLS, 1.6 * float(np.percentile(change, 25)))
    return fit_scale_shift(p[stable].astype(np.float64), x[stable].astype(np.float64))


def optical_motion(before: DepthArray, now: DepthArray) -> tuple[float, float]:
    """Return how many pixels down and right points [h, w] moved between two lumas (Lucas and Kanade 1981).

    Two rounds for the picture as a whole, in which pixels that are far off, moving things, count little. 0 if that
    leads farther than a quarter of the shorter side, or if the picture is too small to tell.
    """
    way, farthest = np.zeros(2), min(before.shape) / 4
    for _ in range(2 if farthest >= 2 else 0):
        a, b = warp_halfway(before, now, (way[0], way[1]))
        off = a - b
        off -= np.median(off)
        slopes = np.stack([slope.ravel() for slope in np.gradient((a + b) / 2)])
        weighted = slopes / np.maximum(np.abs(off), 0.5 * np.abs(off).mean() + 1e-6).ravel()
        square = weighted @ slopes.T
        way += np.linalg.solve(square + (1e-6 * np.trace(square) + 1e-12) * np.eye(2), weighted @ off.ravel())
        if np.abs(way).max() > farthest:
            return 0.0, 0.0
    return float(way[0]), float(way[1])


def warp_halfway(before: DepthArray, now: DepthArray, way: tuple[float, float]) -> tuple[DepthArray, DepthArray]:
    """Return both maps [h, w] as seen from half the way between them, bilinear, without borders that one lacks."""
    return warp_by_share(before, way, -0.5), warp_by_share(now, way, 0.5)


def warp_by_share(values: DepthArray, way: tuple[float, float], share: float) -> DepthArray:
    """Return the values of a map so much of the way (down, right) farther on, bilinear, within inner()."""
    for axis, full in enumerate(way):
        whole, border = math.floor(share * full), grid_margin(full)
        place = np.arange(border + whole, values.shape[axis] - border + whole)
        part = np.float32(share * full - whole)
        values = values.take(place, axis) * (1 - part) + values.take(place + 1, axis) * part
    return values


def inner_cells(values: DepthArray, way: tuple[float, float]) -> DepthArray:
    """Return the part of a map [h, w] that halfway() gives."""
    down, right = grid_margin(way[0]), grid_margin(way[1])
    return values[down:-down, right:-right]


def grid_margin(full: float) -> int:
    return math.floor(abs(full) / 2) + 1


def fit_scale_shift(p: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Return scale > 0 and shift of x ≈ scale·p + shift for values [n] of which a minority may be far off.

    Least absolute deviations by weights 1 / |residual| (Schlossmacher 1973). The scale is the ratio of spreads and no
    regression's slope: noise makes that too small, and its product over frames would lose the range. Values that hardly
    vary, or not together, keep their scale. The shift is the median.
    """
    scale, weight = 1.0, np.ones_like(p)
    for _ in range(FIT_ROUNDS):
        total = weight.sum()
        a, b = p - (weight @ p) / total, x - (weight @ x) / total
        spread, other, both = float(weight @ (a * a)), float(weight @ (b * b)), float(weight @ (a * b))
        if both <= RELATED_DEPTH * np.sqrt(spread * other):
            scale = 1.0
            break
        scale = float(np.sqrt(other / spread))
        off = np.abs(b - scale * a)
        weight = 1 / np.maximum(off, RESIDUAL_FLOOR * off.mean() + 1e-30)
    return scale, float(np.median(x - scale * p))
