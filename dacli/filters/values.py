"""Filters that look only at depth [H, W]: its noise, its outliers, the spread of its values."""

import cv2
import numpy as np

from dacli.types import DepthArray

BINS = 1 << 16  # of the histogram that equalize_depth() spreads


def bilateral_filter(depth: DepthArray, diameter: int) -> DepthArray:
    """Return depth smoothed over `diameter` pixels where it differs by less than some 3 % of its range."""
    span = float(depth.max() - depth.min())
    if span == 0:
        return depth.copy()
    return np.asarray(cv2.bilateralFilter(depth, diameter, 0.03 * span, diameter / 2), np.float32)


def median_filter(depth: DepthArray, size: int) -> DepthArray:
    """Return the median of the depths in a square of `size` pixels, 3 or 5, around each pixel."""
    return np.asarray(cv2.medianBlur(depth, size), np.float32)


def equalize_depth(depth: DepthArray) -> DepthArray:
    """Return depth whose values are spread evenly over its range, in the same order: its histogram becomes flat."""
    low, high = float(depth.min()), float(depth.max())
    if low == high:
        return depth.copy()
    bins = np.minimum((depth - np.float32(low)) * np.float32(BINS / (high - low)), BINS - 1)
    counts = np.bincount(bins.astype(np.int32).ravel(), minlength=BINS)
    below = np.concatenate([[0], np.cumsum(counts)]) / depth.size
    whole = np.floor(bins)
    index = whole.astype(np.int32)
    share = bins - whole
    rank = below[:-1].astype(np.float32)[index] + share * (counts / depth.size).astype(np.float32)[index]
    return np.asarray(np.float32(low) + rank * np.float32(high - low))


def clip_outliers(depth: DepthArray, percent: float) -> DepthArray:
    """Return depth without its lowest and highest values: `percent` of all pixels at either end take the next value."""
    low, high = np.percentile(depth, [percent, 100 - percent]).astype(np.float32)
    return np.clip(depth, low, high)


def stretch_to_unit(depth: DepthArray) -> DepthArray:
    """Return depth scaled and shifted to 0 … 1; zeros for a flat picture."""
    low, high = depth.min(), depth.max()
    return np.zeros_like(depth) if low == high else (depth - low) / (high - low)
