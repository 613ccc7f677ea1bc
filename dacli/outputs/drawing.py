"""Depth as pictures: gray, color, and color beside the picture itself."""

import difflib
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dacli.choices import Near, Quantity
from dacli.errors import UsageError
from dacli.io.scales import TOP16, quantize_depth, scale_ends
from dacli.types import DepthArray, Gray8, Gray16, Image8, ImageArray

UNSURE = 0.25  # difference of predictions, in shares of the range, that is black in confidence


def draw_gray(depth: DepthArray, low: float, high: float, quantity: Quantity, near: Near = "white") -> Gray8:
    """Return 8-bit gray [H, W] of depth [H, W], linear between low and high; its near end is white or black."""
    black, white = scale_ends(low, high, quantity, near)
    return quantize_depth(depth, black, white, np.empty(depth.shape, np.uint8))


def draw_deep_gray(depth: DepthArray, low: float, high: float, quantity: Quantity, near: Near = "white") -> Gray16:
    """Return the same as draw_gray() with 16 bits."""
    black, white = scale_ends(low, high, quantity, near)
    return quantize_depth(depth, black, white, np.empty(depth.shape, np.uint16))


def draw_color(depth: DepthArray, low: float, high: float, quantity: Quantity, colormap: str = "Spectral_r") -> Image8:
    """Return RGB [H, W, 3] of depth [H, W]; near has the last color of the map (red in Spectral_r).

    Raises UsageError for a colormap that Matplotlib does not have.
    """
    shades = draw_gray(depth, low, high, quantity)
    return np.asarray(cv2.applyColorMap(shades, np.ascontiguousarray(colormap_table(colormap).T[:, None])), np.uint8)


def draw_confidence(spread: DepthArray) -> Gray8:
    """Return 8-bit gray [H, W]: white where the members of an ensemble agree, black from UNSURE of the range on.

    `spread` [H, W] is how far they are apart, in shares of the whole range of depth.
    """
    certain = 1 - np.clip(spread / np.float32(UNSURE), 0, 1)
    return np.asarray(np.rint(255 * certain), np.uint8)


@lru_cache(maxsize=32)
def colormap_table(colormap: str) -> npt.NDArray[np.uint8]:
    """Return the 256 colors of a Matplotlib colormap as [3, 256]; raise UsageError for a name it does not have."""
    from dacli.outputs.plain_matplotlib import load_matplotlib

    matplotlib = load_matplotlib()
    if colormap not in matplotlib.colormaps:
        names = {name.lower(): name for name in matplotlib.colormaps}
        similar = difflib.get_close_matches(colormap.lower(), names, n=1, cutoff=0.5)
        guess = f"did you mean {names[similar[0]]}? " if similar else ""
        raise UsageError(f"there is no colormap {colormap!r}", f"{guess}--colormap takes the names of Matplotlib")
    rgba = matplotlib.colormaps[colormap](np.linspace(0, 1, 256))
    table: npt.NDArray[np.uint8] = np.rint(np.asarray(rgba)[:, :3].T * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def draw_side_by_side(rgb: ImageArray, colored: Image8) -> Image8:
    """Return the picture [H, W, 3] (8 or 16 bits) left of its colored depth [H, W, 3], as 8-bit [H, 2W, 3]."""
    height, width = rgb.shape[:2]
    both = np.empty((height, 2 * width, 3), np.uint8)
    both[:, width:] = colored
    both[:, :width] = to_eight_bits(rgb)
    return both


def to_eight_bits(rgb: ImageArray) -> Image8:
    """Return a picture [H, W, 3] of 8 or 16 bits with 8 bits."""
    return np.asarray(rgb if rgb.dtype == np.uint8 else _eight_bits()[rgb], np.uint8)


@lru_cache(maxsize=1)
def _eight_bits() -> npt.NDArray[np.uint8]:
    return ((np.arange(TOP16 + 1) + 128) // 257).astype(np.uint8)
