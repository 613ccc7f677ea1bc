"""Filters of an RGB picture [H, W, 3], 8 or 16 bits, before a network sees it."""

import math

import cv2
import numpy as np

from dacli.types import FloatArray, ImageArray

GAMMA_LIMITS = (0.4, 2.5)  # so that the noise of a black picture is not all that remains
LARGEST_GAIN = 1.5  # of a channel, so that a picture of a red wall does not become gray
CLAHE_TILES, SMALLEST_CLAHE_TILE = 8, 32  # along each side, unless tiles would get smaller than that many pixels
DENOISE_DIAMETER = 5  # pixels


def correct_exposure(image: ImageArray, brightness: float) -> ImageArray:
    """Return a picture whose mean brightness, in 0 … 1, is brought towards `brightness` by a gamma curve."""
    mean = float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()) / np.iinfo(image.dtype).max
    if not 0 < mean < 1:
        return image.copy()
    gamma = float(np.clip(math.log(brightness) / math.log(mean), *GAMMA_LIMITS))
    curve = np.linspace(0, 1, np.iinfo(image.dtype).max + 1) ** gamma
    return _map_values(image, [curve] * 3)


def balance_white(image: ImageArray) -> ImageArray:
    """Return a picture whose channels have the same mean (gray world), each scaled by LARGEST_GAIN at most."""
    means = np.asarray(cv2.mean(image)[:3])
    if not means.all():
        return image.copy()
    gains = np.clip(means.mean() / means, 1 / LARGEST_GAIN, LARGEST_GAIN)
    steps = np.linspace(0, 1, np.iinfo(image.dtype).max + 1)
    return _map_values(image, [steps * gain for gain in gains])


def raise_contrast(image: ImageArray, limit: float) -> ImageArray:
    """Return a picture whose brightness has more local contrast: CLAHE with this clip limit (Zuiderveld 1994)."""
    channels = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    rows, columns = (int(np.clip(side // SMALLEST_CLAHE_TILE, 1, CLAHE_TILES)) for side in image.shape[:2])
    equalizer = cv2.createCLAHE(limit, (columns, rows))
    channels[..., 0] = equalizer.apply(np.ascontiguousarray(channels[..., 0]))
    return np.asarray(cv2.cvtColor(channels, cv2.COLOR_YCrCb2RGB), image.dtype)


def remove_noise(image: ImageArray, strength: float) -> ImageArray:
    """Return a picture smoothed where its colors differ by less than about `strength` of 255: a bilateral filter."""
    top = np.iinfo(image.dtype).max
    pixels = image if image.dtype == np.uint8 else image.astype(np.float32) * np.float32(255 / top)
    smooth = cv2.bilateralFilter(pixels, DENOISE_DIAMETER, 3 * strength, DENOISE_DIAMETER / 2)
    return np.asarray(smooth if image.dtype == np.uint8 else np.rint(smooth * np.float32(top / 255)), image.dtype)


def _map_values(image: ImageArray, curves: list[FloatArray]) -> ImageArray:
    """Return a picture whose channels have passed curves: for each value, the new one in 0 … 1."""
    top = np.iinfo(image.dtype).max
    table = np.rint(np.clip(np.stack(curves, axis=1), 0, 1) * top).astype(image.dtype)
    if image.dtype == np.uint8:
        return np.asarray(cv2.LUT(image, table[None]), np.uint8)
    return np.stack([table[:, i].take(image[..., i]) for i in range(3)], axis=2)
