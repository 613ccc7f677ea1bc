"""Several exposures of one view as one picture."""

from collections.abc import Sequence

import cv2
import numpy as np

from dacli.types import Image8, ImageArray

SMALLEST_LEVEL, MOST_LEVELS = 20, 6  # of the pyramid that shifts are searched in: pixels of its short side, levels


def merge_exposures(images: Sequence[ImageArray]) -> Image8:
    """Return one RGB picture [H, W, 3] of exposures of one size: each part from where it is neither black nor white.

    Shifts of the camera between the first and the others are taken back (Ward 2003); then exposures are fused
    (Mertens, Kautz and Van Reeth 2007), which needs no exposure times.
    """
    first, *others = [_eight_bits(image) for image in images]
    aligned = [first, *(_align(other, first) for other in others)]
    fused = cv2.createMergeMertens().process(aligned)
    return np.asarray(np.rint(255 * np.clip(fused, 0, 1)), np.uint8)


def _align(image: Image8, first: Image8) -> Image8:
    """Return a picture shifted by whole pixels to where the first one is; pixels from outside repeat its border."""
    height, width = image.shape[:2]
    levels = min((min(height, width) // SMALLEST_LEVEL).bit_length(), MOST_LEVELS)
    if levels < 2:
        return image  # too small to find a shift in it
    gray_first, gray = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (first, image))
    right, down = cv2.createAlignMTB(levels).calculateShift(gray_first, gray)
    shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(image, shift, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _eight_bits(image: ImageArray) -> Image8:
    return np.asarray(image if image.dtype == np.uint8 else np.rint(image / 257), np.uint8)
