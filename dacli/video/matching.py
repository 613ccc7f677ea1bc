"""Scale and shift between the raw depth of two frames, and cuts, found on small grids.

A network for relative depth returns every frame with an unknown scale and shift. Pixels that look the same in two
frames show the scale and shift between them.
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

GRID_SIDE = 96  # cells of a grid's long side, about
SAMPLED_SIDE = 480  # pixels of a picture's long side that its luma grid is made from
STABLE_CHANGE = 8 / 255  # change of luma up to which a cell counts as unchanged; or 1.6 times the lower quartile
FIT_ROUNDS = 16
LEAST_FRAME_CORRELATION = 0.5  # of depth: with less, the scale between two frames is unknown
RESIDUAL_FLOOR = 0.01  # residuals count as at least this share of their mean
QUANTILES = (0.5, 2, 50, 98, 99.5)


@dataclass(frozen=True)
class FrameLink:
    """The raw depth x of a frame follows from that of the frame before, p: x ≈ scale·p + shift.

    `bottom`, `low`, `middle`, `high` and `top` are the 0.5th, 2nd, 50th, 98th and 99.5th percentile of x. At a `cut`
    and at the first frame the relation is unknown: scale 1, shift 0.
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
    """Relates each frame of a clip to the one before; it holds two grids, however long the clip is."""

    def __init__(self) -> None:
        self.depth: DepthArray | None = None
        self.luma: LumaGrid | None = None

    def link(self, depth: DepthArray, rgb: FramePicture) -> FrameLink:
        """Return the link of the next frame to the one before.

        It takes raw depth [h, w] and the picture [H, W, 3], which may have another size. Raises ValueError for depth
        that is not finite.
        """
        x = np.asarray(average_cells(depth), np.float32)
        if not np.isfinite(x).all():
            raise ValueError("the depth is not finite")
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
        """Continue from the state of another matcher, with the same results to the bit."""
        self.depth, self.luma = unpack_array(state["depth"]), unpack_array(state["luma"])


def pack_array(values: NDArray[Any] | None) -> dict[str, Any] | None:
    """Return an array as plain values for JSON: its type, its shape and its bytes in base64."""
    if values is None:
        return None
    kind = values.dtype.newbyteorder("<")
    text = base64.b64encode(values.astype(kind).tobytes()).decode("ascii")
    return {"type": kind.str, "shape": list(values.shape), "base64": text}


def unpack_array(plain: dict[str, Any] | None) -> NDArray[Any] | None:
    """Return the array that pack_array() packed."""
    if plain is None:
        return None
    kind = np.dtype(plain["type"])
    values = np.frombuffer(base64.b64decode(plain["base64"]), kind).reshape(plain["shape"])
    return values.astype(kind.newbyteorder("="))


def luma_grid(rgb: FramePicture, size: tuple[int, ...]) -> LumaGrid:
    """Return the luma (BT.601, 8 bits) of a picture [H, W, 3] of 8 or 16 bits, averaged to [h, w] = size.

    From 960 pixels on only every second row and column is read, from 1440 on every third, and so on.
    """
    height, width = rgb.shape[:2]
    step = max(1, max(height, width) // SAMPLED_SIDE)
    few = max(1, width // step), max(1, height // step)
    sparse = rgb if step == 1 else cv2.resize(rgb, few, interpolation=cv2.INTER_NEAREST)
    gray = average_cells(cv2.cvtColor(sparse, cv2.COLOR_RGB2GRAY))
    return resize_grid(np.asarray(gray if gray.dtype == np.uint8 else gray >> 8, np.uint8), size)


def resize_grid(grid: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Return a map [h, w] at another size."""
    return grid if grid.shape == size else np.asarray(cv2.resize(grid, size[::-1], interpolation=cv2.INTER_AREA))


def average_cells(values: NDArray[Any]) -> NDArray[Any]:
    """Return means over squares of a map [H, W], with a long side of about 96.

    Squares of whole pixels take a fifth of the time of others.
    """
    rows, columns = values.shape
    side = max(1, min(round(max(rows, columns) / GRID_SIDE), rows, columns))
    rows, columns = rows // side, columns // side
    whole = values[: rows * side, : columns * side]
    return np.asarray(cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA))


def compare_grids(p: DepthArray, before: LumaGrid, x: DepthArray, now: LumaGrid) -> tuple[float, float] | None:
    """Return scale and shift from depth p to x, both [h, w], by the cells whose luma is unchanged; None at a cut.

    If the camera moved, p is moved by the same way, provided that more cells are unchanged then.
    """
    a, b = (np.asarray(v / np.float32(255), np.float32) for v in (before, now))
    change = blurred_change(a, b)
    if is_cut(a, b, change):
        return None
    motion = optical_motion(a, b)
    if any(motion):
        after = blurred_change(*warp_halfway(a, b, motion))
        if np.minimum(after, STABLE_CHANGE).mean() < np.minimum(inner_cells(change, motion), STABLE_CHANGE).mean():
            (p, x), change = warp_halfway(p, x, motion), after
    stable = change <= max(STABLE_CHANGE, 1.6 * float(np.percentile(change, 25)))
    return fit_scale_shift(p[stable].astype(np.float64), x[stable].astype(np.float64))


def optical_motion(before: DepthArray, now: DepthArray) -> tuple[float, float]:
    """Return how many cells down and right the picture moved between two lumas [h, w] (Lucas and Kanade 1981).

    It takes two rounds, in which cells with a large error, moving things, count little. The result is 0 if the way is
    longer than a quarter of the shorter side, or if the picture is too small.
    """
    motion, farthest = np.zeros(2), min(before.shape) / 4
    for _ in range(2 if farthest >= 2 else 0):
        a, b = warp_halfway(before, now, (motion[0], motion[1]))
        off = a - b
        off -= np.median(off)
        slopes = np.stack([slope.ravel() for slope in np.gradient((a + b) / 2)])
        weighted = slopes / np.maximum(np.abs(off), 0.5 * np.abs(off).mean() + 1e-6).ravel()
        square = weighted @ slopes.T
        motion += np.linalg.solve(square + (1e-6 * np.trace(square) + 1e-12) * np.eye(2), weighted @ off.ravel())
        if np.abs(motion).max() > farthest:
            return 0.0, 0.0
    return float(motion[0]), float(motion[1])


def warp_halfway(before: DepthArray, now: DepthArray, motion: tuple[float, float]) -> tuple[DepthArray, DepthArray]:
    """Return both maps [h, w] as seen from half-way between them (bilinear), without borders that one lacks."""
    return warp_by_share(before, motion, -0.5), warp_by_share(now, motion, 0.5)


def warp_by_share(values: DepthArray, motion: tuple[float, float], share: float) -> DepthArray:
    """Return a map moved by a share of a motion (down, right), bilinear, without the borders of inner_cells()."""
    for axis, full in enumerate(motion):
        whole, border = math.floor(share * full), grid_margin(full)
        place = np.arange(border + whole, values.shape[axis] - border + whole)
        part = np.float32(share * full - whole)
        values = values.take(place, axis) * (1 - part) + values.take(place + 1, axis) * part
    return values


def inner_cells(values: DepthArray, motion: tuple[float, float]) -> DepthArray:
    """Return the part of a map [h, w] that warp_halfway() returns."""
    down, right = grid_margin(motion[0]), grid_margin(motion[1])
    return values[down:-down, right:-right]


def grid_margin(full: float) -> int:
    return math.floor(abs(full) / 2) + 1


def fit_scale_shift(p: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Return scale > 0 and shift of x ≈ scale·p + shift for values [n], of which a minority may be outliers.

    These are least absolute deviations by weights 1 / |residual| (Schlossmacher 1973). The scale is the ratio of the
    spreads, not the slope of a regression: noise makes slopes too small, and their product over many frames would lose
    the range. Values that hardly vary, or do not correlate, have scale 1. The shift is the median.
    """
    scale, weight = 1.0, np.ones_like(p)
    for _ in range(FIT_ROUNDS):
        total = weight.sum()
        a, b = p - (weight @ p) / total, x - (weight @ x) / total
        spread, other, both = float(weight @ (a * a)), float(weight @ (b * b)), float(weight @ (a * b))
        if both <= LEAST_FRAME_CORRELATION * np.sqrt(spread * other):
            scale = 1.0
            break
        scale = float(np.sqrt(other / spread))
        off = np.abs(b - scale * a)
        weight = 1 / np.maximum(off, RESIDUAL_FLOOR * off.mean() + 1e-30)
    return scale, float(np.median(x - scale * p))
