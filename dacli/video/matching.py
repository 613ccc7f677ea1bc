"""Alignment of a frame's raw depth with the previous frame: scale, shift and cuts, on small grids.

A network for relative depth predicts each frame up to an unknown scale and shift. Pixels that look the same in two
frames determine the scale and shift between them.
"""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.types import DepthArray
from dacli.video.scene_cuts import blurred_change, is_cut

FramePicture = NDArray[np.uint8 | np.uint16]
LumaGrid = NDArray[np.uint8]

GRID_SIDE = 96  # pixels of a grid's long side, approximately
LUMA_SAMPLING_SIDE = 480  # pixels of a picture's long side from which its luma grid is computed, at least
# Up to this change of luma, or up to 1.6 times the 25th percentile of the change, a pixel counts as unchanged.
STABLE_LUMA_CHANGE = 8 / 255
FIT_ITERATIONS = 16
MIN_DEPTH_CORRELATION = 0.5  # up to this correlation, values determine no scale
RESIDUAL_FLOOR = 0.01  # residuals count as at least this share of their mean
PERCENTILES = (0.5, 2, 50, 98, 99.5)


@dataclass(frozen=True)
class FrameAlignment:
    """The alignment of raw depth x with p, that of the previous frame: x ≈ scale·p + shift; and percentiles of x.

    `bottom`, `low`, `middle`, `high` and `top` are the 0.5th, 2nd, 50th, 98th and 99.5th percentiles. At the first
    frame and after a cut, `cut` is true and the alignment is unknown: scale 1, shift 0.
    """

    scale: float
    shift: float
    cut: bool
    bottom: float
    low: float
    middle: float
    high: float
    top: float


class FrameAligner:
    """Aligns each frame of a clip with the previous one; holds two grids, regardless of the length of the clip."""

    def __init__(self) -> None:
        self.depth: DepthArray | None = None
        self.luma: LumaGrid | None = None

    def align(self, depth: DepthArray, rgb: FramePicture) -> FrameAlignment:
        """Return the alignment of the next frame: raw depth [h, w], and its picture [H, W, 3] of any size.

        Raises ValueError for depth that is not finite.
        """
        grid = np.asarray(average_cells(depth), np.float32)
        if not np.isfinite(grid).all():
            raise ValueError("depth that is not finite")
        if self.depth is not None:
            grid = resize_grid(grid, self.depth.shape)
        luma = luma_grid(rgb, grid.shape)
        scale_shift = (
            None if self.depth is None or self.luma is None else align_grids(self.depth, self.luma, grid, luma)
        )
        self.depth, self.luma = grid, luma
        scale, shift = scale_shift or (1.0, 0.0)
        return FrameAlignment(scale, shift, scale_shift is None, *(float(v) for v in np.percentile(grid, PERCENTILES)))

    def state(self) -> Callable[[], dict[str, Any]]:
        """Return a function for everything that the next alignment depends on, as values for JSON: about 50 kB.

        align() replaces the grids and does not change them, so the function can be called later, or not at all.
        """
        depth, luma = self.depth, self.luma
        return lambda: {"depth": pack_array(depth), "luma": pack_array(luma)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of another aligner, with bit-identical results."""
        self.depth, self.luma = unpack_array(state["depth"]), unpack_array(state["luma"])


def pack_array(values: NDArray[Any] | None) -> dict[str, Any] | None:
    """Return an array as values for JSON: its type, its shape and its bytes in base64."""
    if values is None:
        return None
    dtype = values.dtype.newbyteorder("<")
    text = base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")
    return {"type": dtype.str, "shape": list(values.shape), "base64": text}


def unpack_array(packed: dict[str, Any] | None) -> NDArray[Any] | None:
    """Return the array from the values that pack_array() returned."""
    if packed is None:
        return None
    dtype = np.dtype(packed["type"])
    values = np.frombuffer(base64.b64decode(packed["base64"]), dtype).reshape(packed["shape"])
    return values.astype(dtype.newbyteorder("="))


def luma_grid(rgb: FramePicture, size: tuple[int, ...]) -> LumaGrid:
    """Return 8-bit luma (BT.601) of a picture [H, W, 3] of 8 or 16 bits, averaged to [h, w] = size.

    From a long side of 960 pixels, only every second row and column is used; from 1440 every third, and so on.
    """
    height, width = rgb.shape[:2]
    step = max(1, max(height, width) // LUMA_SAMPLING_SIDE)
    sampled_size = max(1, width // step), max(1, height // step)
    sparse = rgb if step == 1 else cv2.resize(rgb, sampled_size, interpolation=cv2.INTER_NEAREST)
    gray = average_cells(cv2.cvtColor(sparse, cv2.COLOR_RGB2GRAY))
    return resize_grid(np.asarray(gray if gray.dtype == np.uint8 else gray >> 8, np.uint8), size)


def resize_grid(grid: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Return a map [h, w] at another size."""
    return grid if grid.shape == size else np.asarray(cv2.resize(grid, size[::-1], interpolation=cv2.INTER_AREA))


def average_cells(values: NDArray[Any]) -> NDArray[Any]:
    """Return a map [H, W] averaged over square cells, to a long side of about 96.

    Cells consist of whole pixels: that is five times as fast as a resize to an exact size.
    """
    rows, columns = values.shape
    cell_side = max(1, min(round(max(rows, columns) / GRID_SIDE), rows, columns))
    rows, columns = rows // cell_side, columns // cell_side
    whole_cells = values[: rows * cell_side, : columns * cell_side]
    return np.asarray(cv2.resize(whole_cells, (columns, rows), interpolation=cv2.INTER_AREA))


def align_grids(p: DepthArray, previous: LumaGrid, x: DepthArray, current: LumaGrid) -> tuple[float, float] | None:
    """Return the scale and shift from depth p to x, both [h, w], from pixels with unchanged luma; None at a cut.

    If the picture as a whole moved, both are warped by its optical flow first, provided that luma changes less then.
    """
    a, b = (np.asarray(v / np.float32(255), np.float32) for v in (previous, current))
    change = blurred_change(a, b)
    if is_cut(a, b, change):
        return None
    flow = global_optical_flow(a, b)
    if any(flow):
        change_after_warp = blurred_change(*warp_halfway(a, b, flow))
        if (
            np.minimum(change_after_warp, STABLE_LUMA_CHANGE).mean()
            < np.minimum(crop_to_warp(change, flow), STABLE_LUMA_CHANGE).mean()
        ):
            (p, x), change = warp_halfway(p, x, flow), change_after_warp
    stable = change <= max(STABLE_LUMA_CHANGE, 1.6 * float(np.percentile(change, 25)))
    return fit_scale_shift(p[stable].astype(np.float64), x[stable].astype(np.float64))


def global_optical_flow(previous: DepthArray, current: DepthArray) -> tuple[float, float]:
    """Return the optical flow (down, right), in pixels, of a luma image [h, w] as a whole (Lucas and Kanade 1981).

    Two iterations in which pixels with large residuals, those of moving objects, have a low weight. Returns (0, 0) if
    the flow is longer than a quarter of the shorter side, or if the image is too small.
    """
    flow, largest_flow = np.zeros(2), min(previous.shape) / 4
    for _ in range(2 if largest_flow >= 2 else 0):
        a, b = warp_halfway(previous, current, (flow[0], flow[1]))
        residual = a - b
        residual -= np.median(residual)
        gradients = np.stack([gradient.ravel() for gradient in np.gradient((a + b) / 2)])
        weighted = gradients / np.maximum(np.abs(residual), 0.5 * np.abs(residual).mean() + 1e-6).ravel()
        normal_matrix = weighted @ gradients.T
        flow += np.linalg.solve(
            normal_matrix + (1e-6 * np.trace(normal_matrix) + 1e-12) * np.eye(2), weighted @ residual.ravel()
        )
        if np.abs(flow).max() > largest_flow:
            return 0.0, 0.0
    return float(flow[0]), float(flow[1])


def warp_halfway(previous: DepthArray, current: DepthArray, flow: tuple[float, float]) -> tuple[DepthArray, DepthArray]:
    """Return both maps [h, w] warped to the middle of the flow, bilinear, cropped to the part that both cover."""
    return warp_by_fraction(previous, flow, -0.5), warp_by_fraction(current, flow, 0.5)


def warp_by_fraction(values: DepthArray, flow: tuple[float, float], fraction: float) -> DepthArray:
    """Return a map sampled at a fraction of the flow (down, right), bilinear, cropped as by crop_to_warp()."""
    for axis, displacement in enumerate(flow):
        whole_steps, border = math.floor(fraction * displacement), warp_margin(displacement)
        positions = np.arange(border + whole_steps, values.shape[axis] - border + whole_steps)
        remainder = np.float32(fraction * displacement - whole_steps)
        values = values.take(positions, axis) * (1 - remainder) + values.take(positions + 1, axis) * remainder
    return values


def crop_to_warp(values: DepthArray, flow: tuple[float, float]) -> DepthArray:
    """Return the part of a map [h, w] that warp_halfway() covers."""
    down, right = warp_margin(flow[0]), warp_margin(flow[1])
    return values[down:-down, right:-right]


def warp_margin(displacement: float) -> int:
    return math.floor(abs(displacement) / 2) + 1


def fit_scale_shift(p: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Return scale > 0 and shift of x ≈ scale·p + shift for values [n], robust to a minority of outliers.

    Least absolute deviations by weights 1 / |residual| (Schlossmacher 1973). The scale is the ratio of the standard
    deviations, not the slope of a regression: noise makes the slope too small, and the product of slopes over many
    frames would shrink the range. The scale is 1 if the values hardly vary or are not correlated. The shift is the
    median of x - scale·p.
    """
    scale, weight = 1.0, np.ones_like(p)
    for _ in range(FIT_ITERATIONS):
        total = weight.sum()
        a, b = p - (weight @ p) / total, x - (weight @ x) / total
        variance_p, variance_x, covariance = float(weight @ (a * a)), float(weight @ (b * b)), float(weight @ (a * b))
        if covariance <= MIN_DEPTH_CORRELATION * np.sqrt(variance_p * variance_x):
            scale = 1.0
            break
        scale = float(np.sqrt(variance_x / variance_p))
        residual = np.abs(b - scale * a)
        weight = 1 / np.maximum(residual, RESIDUAL_FLOOR * residual.mean() + 1e-30)
    return scale, float(np.median(x - scale * p))
