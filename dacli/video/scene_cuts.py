"""Detection of cuts between shots, by two small pictures of luma; camera motion is not taken for a cut."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

LumaImage = NDArray[np.float32]
ChangeKind = TypeVar("ChangeKind", bound=np.generic)

UNCHANGED = 0.9  # with a larger share of unchanged pixels there is no cut
CHANGE = 4 / 255  # of luma, up to which a pixel counts as unchanged; or 1.5 times the lower quartile of all changes
ALIKE = 0.5  # with less correlation, two pictures, or two places in them, show different things
MATCH_WINDOW = (7, 7)  # pixels of a place
FLAT_LUMA = 2 / 255  # with a smaller standard deviation of luma, a place has no texture to compare
FOUND = 0.5  # if a larger share of places is found again, there is no cut
BLACK, LIT = 8 / 255, 0.05  # luma up to which a pixel is black; the share of others that a cut needs


def blurred_change(before: LumaImage, now: LumaImage) -> LumaImage:
    """Return the mean over 5 × 5 pixels of the change of luma [h, w], without what all pixels share (the exposure)."""
    step = now - before
    return np.asarray(cv2.blur(np.abs(step - np.median(step)), (5, 5)))


def is_cut(before: LumaImage, now: LumaImage, change: LumaImage) -> bool:
    """Return whether two frames, given as luma [h, w], show different shots.

    They do if most pixels changed, no shift of the picture aligns the edges, and most places are not found again,
    neither where they were nor after that shift. Places that are black in both frames (bars above and below) do not
    count. `change` is what blurred_change() returns for the two frames.
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
    textured = lit & (luma_spread(now) > FLAT_LUMA)
    return not textured.any() or bool((again[textured] > ALIKE).mean() < FOUND)


def likeness(a: LumaImage, b: LumaImage) -> LumaImage:
    """Return the correlation of two maps in a window around each pixel [h, w]."""
    product = cv2.blur(a * b, MATCH_WINDOW) - cv2.blur(a, MATCH_WINDOW) * cv2.blur(b, MATCH_WINDOW)
    return np.asarray(product / (luma_spread(a) * luma_spread(b)))


def luma_spread(luma: LumaImage) -> LumaImage:
    """Return the standard deviation, above 0, in a window around each pixel [h, w]."""
    variance = cv2.blur(luma * luma, MATCH_WINDOW) - cv2.blur(luma, MATCH_WINDOW) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 1e-8)))


def edge_map(luma: LumaImage) -> LumaImage:
    """Return the magnitude of the gradient of luma [h, w] blurred by a Gaussian of 1 pixel."""
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
    """Return the part of a map [h, w] that overlaps with a map which lies so many pixels below it and right of it."""
    height, width = values.shape
    return values[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
