"""Transparent pixels laid over white, in bands of rows that take little memory."""

from collections.abc import Iterator

import numpy as np

from dacli.types import ImageArray

_BAND_PIXELS = 1 << 20  # pixels that are converted at once: less memory than for a whole picture


def lay_over_white(pixels: ImageArray, *, premultiplied: bool = False) -> ImageArray:
    """Return RGB [H, W, 3] of RGBA [H, W, 4] laid over white; RGB stays as it is.

    With `premultiplied` the colors are multiplied by their alpha already.
    """
    if pixels.shape[2] == 3:
        return pixels
    white = int(np.iinfo(pixels.dtype).max)
    rgb = np.ascontiguousarray(pixels[..., :3])
    for top, bottom in row_ranges(*pixels.shape[:2]):
        alpha = pixels[top:bottom, :, 3:].astype(np.uint32)
        if premultiplied:
            rgb[top:bottom] = np.minimum(rgb[top:bottom] + (white - alpha), white)
        else:
            rgb[top:bottom] = (rgb[top:bottom] * alpha + white * (white - alpha) + white // 2) // white
    return rgb


def row_ranges(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row after the last of each band."""
    rows = max(1, _BAND_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))
