"""The surface that a picture shows: its points and normals in metres, and where it is torn.

Coordinates are those of glTF and OpenGL: x right, y up, z towards the viewer, from the centre of the camera.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io.camera import PinholeCamera
from dacli.io.metric_fit import FARTHEST
from dacli.outputs.calibration import METRES_HINT
from dacli.outputs.style import put_far
from dacli.outputs.view import DepthView
from dacli.types import DepthArray

Mask = npt.NDArray[np.bool_]  # [h, w]
Points = npt.NDArray[np.float32]  # [..., 3]
_LARGEST_RADIUS = 6  # pixels over which a jump of depth may be spread
_BETWEEN = 0.15  # share of a jump by which flying pixels differ from both of its sides


@dataclass(frozen=True)
class SurfaceGrid:
    """The pixels of a picture that become points: their rows [h] and columns [w], and their metres [h, w]."""

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    depth: DepthArray
    camera: PinholeCamera

    def rays(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return x [w] and y [h] of the rays through the pixels at distance 1, y up."""
        x = (self.columns + 0.5 - self.camera.cx) / self.camera.fx
        y = (self.camera.cy - self.rows - 0.5) / self.camera.fy
        return x.astype(np.float32), y.astype(np.float32)

    def points(self) -> Points:
        """Return the points [h, w, 3] in metres."""
        x, y = self.rays()
        points = np.empty((*self.depth.shape, 3), np.float32)
        np.multiply(self.depth, x, out=points[..., 0])
        np.multiply(self.depth, y[:, None], out=points[..., 1])
        np.negative(self.depth, out=points[..., 2])
        return points


def metric_depth(view: DepthView, kind: str) -> DepthArray:
    """Return the metres [H, W] of a view, FARTHEST where it is transparent; raise DacliError for relative depth."""
    if view.record.quantity != "metres":
        raise DacliError(f"{kind} needs metres, and this depth is relative", METRES_HINT)
    return put_far(view.depth, FARTHEST, view.transparent)


def sample_surface(view: DepthView, kind: str) -> SurfaceGrid:
    """Return at most `max_points` pixels of a view, evenly spaced; raise DacliError for relative depth."""
    depth = metric_depth(view, kind)
    height, width = depth.shape
    share = min(1.0, math.sqrt(view.export.max_points / (height * width)))
    rows, columns = (_spread(size, max(1, int(size * share))) for size in (height, width))
    sampled = depth if share == 1 else np.ascontiguousarray(depth[rows[:, None], columns])
    return SurfaceGrid(rows, columns, sampled, view.camera)


def _spread(size: int, count: int) -> npt.NDArray[np.int64]:
    return ((np.arange(count) + 0.5) * size / count).astype(np.int64)


def jump_radius(view: DepthView, grid: SurfaceGrid) -> int:
    """Return over how many points of the grid one pixel of the network's depth is spread, rounded up; at least 1."""
    rows, columns = view.record.network_size
    spread = max(len(grid.rows) / max(1, rows), len(grid.columns) / max(1, columns))
    return min(_LARGEST_RADIUS, math.ceil(spread))


def invert_depth(depth: DepthArray) -> DepthArray:
    """Return 1 / metres [h, w]."""
    return np.divide(1, np.maximum(depth, np.float32(1 / FARTHEST)), dtype=np.float32)


def find_tears(depth: DepthArray, edge: float, radius: int) -> tuple[Mask, Mask]:
    """Return where metres [h, w] jump by more than the share `edge`, and which pixels fly between the two sides.

    A jump is a bend of inverse depth, which is linear on planes: ground that is seen at a low angle has none. It may be
    spread over `radius` pixels.
    """
    bent = _bend(invert_depth(depth), radius) > edge
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    near, far = cv2.erode(depth, window), cv2.dilate(depth, window)
    torn = cv2.dilate(bent.view(np.uint8), window).view(np.bool_) & (far > near * np.float32(1 + edge))
    margin = (far - near) * np.float32(_BETWEEN)
    flying = torn & (depth > near + margin) & (depth < far - margin)
    return torn, flying | (depth >= np.float32(FARTHEST))


def _bend(inverse: DepthArray, radius: int) -> DepthArray:
    """Return by how much inverse depth [h, w] differs from the mean of its neighbours, as a share of itself."""
    largest = np.zeros(inverse.shape, np.float32)
    for axis in (0, 1):
        ends = [(radius, radius), (0, 0)] if axis == 0 else [(0, 0), (radius, radius)]
        padded = np.pad(inverse, ends, mode="edge")
        count = inverse.shape[axis]
        before, after = (padded.take(range(start, start + count), axis) for start in (0, 2 * radius))
        bend = np.abs(before + after - 2 * inverse)
        bend[_ends(axis, radius)] = 0
        bend[_ends(axis, -radius)] = 0
        np.maximum(largest, bend, out=largest)
    return np.asarray(largest / inverse, np.float32)


def _ends(axis: int, count: int) -> tuple[slice, ...]:
    part = slice(0, count) if count > 0 else slice(count, None)
    return (part,) if axis == 0 else (slice(None), part)


def find_normals(grid: SurfaceGrid, edge: float, radius: int) -> Points:
    """Return the unit normals [h, w, 3] of the surface, which face the camera.

    They follow from the slopes of inverse depth w, exactly on planes: (-fx·w_u, fy·w_v, w + x·(-fx·w_u) + y·(fy·w_v))
    with the ray (x, y, -1). Slopes are taken over `radius` points on both sides; at a jump of depth, on the side with
    less of it.
    """
    inverse = invert_depth(grid.depth)
    across = _slope(inverse, grid.columns, 1, edge, radius) * np.float32(-grid.camera.fx)
    up = _slope(inverse, grid.rows, 0, edge, radius) * np.float32(grid.camera.fy)
    x, y = grid.rays()
    normals = np.empty((*grid.depth.shape, 3), np.float32)
    normals[..., 0], normals[..., 1] = across, up
    normals[..., 2] = inverse + across * x + up * y[:, None]
    length = np.sqrt(across * across + up * up + normals[..., 2] ** 2)
    normals /= np.maximum(length, np.float32(1e-30))[..., None]
    return normals


def _slope(values: DepthArray, places: npt.NDArray[np.int64], axis: int, edge: float, radius: int) -> DepthArray:
    """Return the slope of values [h, w] along an axis, whose pixels are at `places`; that of one side at a jump."""
    count = values.shape[axis]
    step = min(radius, count - 1)
    if step < 1:
        return np.zeros_like(values)
    spacing = (places[step:] - places[:-step]).astype(np.float32)
    later, sooner = (values.take(range(start, start + count - step), axis) for start in (step, 0))
    steps = (later - sooner) / (spacing[:, None] if axis == 0 else spacing)
    ahead = steps.take(np.minimum(np.arange(count), count - step - 1), axis)
    behind = steps.take(np.maximum(np.arange(count) - step, 0), axis)
    jump = np.abs(ahead - behind) > np.float32(edge / step) * values
    one_sided = np.where(np.abs(ahead) < np.abs(behind), ahead, behind)
    slope: DepthArray = np.where(jump, one_sided, (ahead + behind) * np.float32(0.5))
    return slope
