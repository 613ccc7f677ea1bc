"""Where a clip changes from one shot to another: two small pictures of luma are compared, whatever the camera does."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

LumaImage = NDArray[np.float32]
ChangeKind = TypeVar("ChangeKind", bound=np.generic)

UNCHANGED = 0.9  # share of unchanged pixels up to which there may be a cut
CHANGE = 4 / 255  # of luma, up to which a pixel counts as unchanged; or 1.5 times the change of the calmest quarter
ALIKE = 0.5  # correlation under which two pictures, or two places in them, are not of one thing
MATCH_WINDOW = (7, 7)  # pixels of a place
FLAT_LUMA = 2 / 255  # standard deviation of luma under which a place shows nothing
FOUND = 0.5  # share of places found again under which there may be a cut
BLACK, LIT = 8 / 255, 0.05  # luma up to which a pixel is black; share that is not and has to be for a cut


def blurred_change(before: LumaImage, now: LumaImage) -> LumaImage:
    """Return mean over 5 × 5 pixels of how much luma [h, w] changed, apart from what most pixels share.

    The exposure.
    """
    step = now - before
    return np.asarray(cv2.blur(np.abs(step - np.median(step)), (5, 5)))


def is_cut(before: LumaImage, now: LumaImage, change: LumaImage) -> bool:
    """Return whether luma [h, w] of two frames shows different shots.

    It does if most pixels changed, no shift of the picture lays its edges on the others, and most places are not found
    again, neither where they were nor after that shift. What is black in both says nothing (bars above and below).
    `change` is their blurred_change.
    """
    lit = cv2.erode(np.maximum(before, now), np.ones((5, 5), np.uint8)) > BLACK
    calm = max(CHANGE, 1.5 * float(np.percentile(change, 25)))
    if lit.mean() < LIT or (change[lit] < calm).mean() >= UNCHANGED:
        return False
    a, b = edge_map(before), edge_map(now)
    if correlation(a[lit], b[lit]) >= ALIKE:
        return False
    down, right = best_offset(a, b)
    inside = overlapping_part(lit, -down, -right) & overlapping_part(lit, down, right)
    if correlation(overlapping_part(a, -down, -right)[inside], overlapping_part(b, down, right)[inside]) >= ALIKE:
        return False
    again = likeness(before, now)
    moved = likeness(overlapping_part(before, -down, -right), overlapping_part(now, down, right))
    overlapping_part(again, down, right)[...] = np.maximum(overlapping_part(again, down, right), moved)
    telling = lit & (luma_spread(now) > FLAT_LUMA)
    return not telling.any() or bool((again[telling] > ALIKE).mean() < FOUND)


def likeness(a: LumaImage, b: LumaImage) -> LumaImage:
    """Return correlation of two maps in a window around each pixel [h, w]."""
    product = cv2.blur(a * b, MATCH_WINDOW) - cv2.blur(a, MATCH_WINDOW) * cv2.blur(b, MATCH_WINDOW)
    return np.asarray(product / (luma_spread(a) * luma_spread(b)))


def luma_spread(luma: LumaImage) -> LumaImage:
    """Return standard deviation, above 0, in a window around each pixel [h, w]."""
    variance = cv2.blur(luma * luma, MATCH_WINDOW) - cv2.blur(luma, MATCH_WINDOW) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 1e-8)))


def edge_map(luma: LumaImage) -> LumaImage:
    """Return magnitude of the gradient of luma [h, w] blurred by a Gaussian of 1 pixel."""
    smooth = cv2.GaussianBlur(luma, (0, 0), 1.0)
    return np.asarray(cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return Pearson's correlation of two arrays, 0 if one is constant or empty."""
    if a.size == 0 or a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def best_offset(a: LumaImage, b: LumaImage) -> tuple[int, int]:
    """Return how many pixels b [h, w] lies below and right of a (phase correlation, Kuglin and Hines 1975)."""
    height, width = a.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    cross = np.fft.rfft2(b * window) * np.conj(np.fft.rfft2(a * window))
    peak = int(np.argmax(np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=(height, width))))
    down, right = divmod(peak, width)
    return (down + height // 2) % height - height // 2, (right + width // 2) % width - width // 2


def overlapping_part(values: NDArray[ChangeKind], down: int, right: int) -> NDArray[ChangeKind]:
    """Return the part of a map [h, w] that another one covers that lies below and to the right by so many pixels."""
    height, width = values.shape
    return values[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
