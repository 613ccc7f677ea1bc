"""Filters that bring the edges of depth [H, W] to the edges of the picture it was computed from."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dacli.types import DepthArray, FloatArray, ImageArray

STEP = 4  # coefficients are computed at a quarter of the size, as in the fast guided filter
GUIDED_EPSILON = 4e-4  # variance of the picture, in 0 … 1, below which it counts as plain
EDGE_CONTRAST = 0.06  # share of the whole range that depth has to change by within an edge
PLATEAU = 0.25  # share of an edge's height, at either end, that belongs to its two sides
COLOR_WEIGHT = 0.6  # how far the picture may move the middle of an edge, in shares of its height
STEEPNESS = 10.0
_REMAP_WIDTH = 256


def default_radius(depth: DepthArray) -> int:
    """Return the radius in pixels that fits the soft edges of networks: a hundredth of the short side, at least 2."""
    return max(2, round(int(min(depth.shape)) / 100))


def guided_filter(depth: DepthArray, image: ImageArray, radius: int) -> DepthArray:
    """Return depth [H, W] whose edges follow those of an RGB picture [H, W, 3].

    The fast guided filter with the picture's brightness as guide (He and Sun 2015, arXiv 1505.00996).
    """
    guide = _brightness(image)
    small_guide, small_depth = _shrink(guide), _shrink(depth)
    size = _window(max(1, round(radius / STEP)))
    mean_guide, mean_depth = cv2.blur(small_guide, size), cv2.blur(small_depth, size)
    covariance = cv2.blur(small_guide * small_depth, size) - mean_guide * mean_depth
    variance = cv2.blur(small_guide * small_guide, size) - mean_guide * mean_guide
    slope = covariance / (variance + GUIDED_EPSILON)
    offset = mean_depth - slope * mean_guide
    result = _grow(cv2.blur(slope, size), depth.shape)
    result *= guide
    result += _grow(cv2.blur(offset, size), depth.shape)
    return np.clip(result, depth.min(), depth.max(), out=result)


def sharpen_edges(depth: DepthArray, image: ImageArray, radius: int) -> DepthArray:
    """Return depth [H, W] whose soft edges are steep, at the place where the RGB picture [H, W, 3] changes its color.

    Within `radius` pixels of a depth edge every pixel goes to the near or the far side: to the one whose mean color
    is more like its own, or, where both have the same color, to the one whose depth is closer. Slopes stay.
    """
    span = float(depth.max() - depth.min())
    low, high = _local_range(depth, radius)
    colored = np.dstack([_unit_colors(image), _shrink(depth)])
    place = (colored[..., 3] - low) / np.maximum(high - low, np.float32(1e-6 * span or 1))
    lower, upper = (_side(colored, weight, radius) for weight in (PLATEAU - place, place - 1 + PLATEAU))
    edges = _grow((high - low > EDGE_CONTRAST * span).astype(np.float32), depth.shape)
    rows, columns = np.divmod(np.flatnonzero(edges > 0.5), depth.shape[1])
    if not len(rows):
        return depth.copy()
    at_low, at_high = (_values_at(each, rows, columns, depth.shape) for each in (lower, upper))
    color = image[rows, columns].astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    to_low, to_high = (_squared_distance(color, each[:, :3]) for each in (at_low, at_high))
    rise = np.maximum(at_high[:, 3] - at_low[:, 3], np.float32(1e-6 * span or 1))
    middle = (depth[rows, columns] - at_low[:, 3]) / rise - 0.5
    middle += np.float32(COLOR_WEIGHT / 2) * (to_low - to_high) / (to_low + to_high + np.float32(1e-3))
    result = depth.copy()
    result[rows, columns] = at_low[:, 3] + rise / (1 + np.exp(-STEEPNESS * np.clip(middle, -1, 1)))
    return result


def _local_range(depth: DepthArray, radius: int) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest depth within `radius` of each pixel, at a quarter of the size."""
    kernel = np.ones(_window(max(1, round(radius / STEP))), np.uint8)
    small = _shrink(depth)
    return np.asarray(cv2.erode(small, kernel), np.float32), np.asarray(cv2.dilate(small, kernel), np.float32)


def _side(colored: FloatArray, weight: FloatArray, radius: int) -> FloatArray:
    """Return the mean color and depth [h, w, 4] of one side, to which pixels belong by their weight [h, w]."""
    weight = np.clip(weight, 0, PLATEAU)[..., None] + np.float32(1e-4)
    size = _window(max(1, round(2 * radius / STEP)))
    mean = np.asarray(cv2.blur(np.dstack([colored * weight, weight]), size), np.float32)
    return np.asarray(mean[..., :4] / mean[..., 4:])


def _values_at(
    small: FloatArray, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]
) -> FloatArray:
    """Return the values [N, C] of a small map [h, w, C] at N pixels of the picture of `shape` (H, W)."""
    missing = -len(rows) % _REMAP_WIDTH
    places = [
        np.pad((index + np.float32(0.5)) * np.float32(few / many) - np.float32(0.5), (0, missing), mode="edge")
        for index, few, many in zip((columns, rows), small.shape[1::-1], shape[::-1], strict=True)
    ]
    x, y = (place.astype(np.float32).reshape(-1, _REMAP_WIDTH) for place in places)
    found = cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(-1, small.shape[2])[: len(rows)], np.float32)


def _squared_distance(first: FloatArray, second: FloatArray) -> FloatArray:
    difference = first - second
    return np.asarray(np.einsum("ij,ij->i", difference, difference))


def _unit_colors(image: ImageArray) -> FloatArray:
    return _shrink(image) / np.float32(np.iinfo(image.dtype).max)


def _brightness(image: ImageArray) -> DepthArray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gray /= np.iinfo(image.dtype).max
    return gray


def _shrink(values: npt.NDArray[Any]) -> FloatArray:
    height, width = values.shape[:2]
    size = (max(1, width // STEP), max(1, height // STEP))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _grow(values: npt.NDArray[Any], shape: tuple[int, ...]) -> DepthArray:
    return np.asarray(cv2.resize(values, shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _window(radius: int) -> tuple[int, int]:
    return 2 * radius + 1, 2 * radius + 1
