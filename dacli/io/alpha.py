"""Transparent pixels laid over a color, in bands of rows that take little memory, and their mask."""

from collections.abc import Iterator

import numpy as np

from dacli.io.background import WHITE, AlphaOptions, Color8
from dacli.io.picture import Picture
from dacli.types import ImageArray

_BAND_PIXELS = 1 << 20  # pixels that are converted at once: less memory than for a whole picture


def split_alpha(pixels: ImageArray, options: AlphaOptions) -> Picture:
    """Return the picture of RGB [H, W, 3] or RGBA [H, W, 4] laid over the background.

    With `options.mask`, pixels of less than half opacity are marked as transparent.
    """
    if pixels.shape[2] == 3:
        return Picture(pixels)
    white = int(np.iinfo(pixels.dtype).max)
    transparent = pixels[..., 3] <= white // 2 if options.mask else None
    is_masked = transparent is not None and bool(transparent.any())
    return Picture(lay_over(pixels, options.background), transparent if is_masked else None)


def lay_over(pixels: ImageArray, background: Color8 = WHITE) -> ImageArray:
    """Return RGB [H, W, 3] of RGBA [H, W, 4] laid over a color."""
    white = int(np.iinfo(pixels.dtype).max)
    below = np.array(background, np.uint32) * (white // 255)
    rgb = np.ascontiguousarray(pixels[..., :3])
    for top, bottom in row_ranges(*pixels.shape[:2]):
        alpha = pixels[top:bottom, :, 3:].astype(np.uint32)
        part = rgb[top:bottom] * alpha
        part += below * (white - alpha)
        part += white // 2
        rgb[top:bottom] = part // white
    return rgb


def divide_by_alpha(pixels: ImageArray) -> ImageArray:
    """Return RGBA [H, W, 4] of which the colors are no longer multiplied by their alpha."""
    white = int(np.iinfo(pixels.dtype).max)
    straight = pixels.copy()
    for top, bottom in row_ranges(*pixels.shape[:2]):
        alpha = np.maximum(pixels[top:bottom, :, 3:].astype(np.uint64), 1)
        colors = (pixels[top:bottom, :, :3].astype(np.uint64) * white + alpha // 2) // alpha
        straight[top:bottom, :, :3] = np.minimum(colors, white)
    return straight


def row_ranges(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row after the last of each band."""
    rows = max(1, _BAND_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))
