"""Detection of cuts between shots: compares small luma images of two frames, and allows for camera motion."""

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

LumaImage = NDArray[np.float32]
MapValue = TypeVar("MapValue", bound=np.generic)

MAX_UNCHANGED_SHARE = 0.9  # share of unchanged pixels from which there is no cut
# Below this change of luma, or below 1.5 times the 25th percentile of the change, a pixel counts as unchanged.
SMALL_LUMA_CHANGE = 4 / 255
MIN_LUMA_CORRELATION = 0.5  # below this correlation, two images or windows do not show the same object
MATCH_WINDOW = (7, 7)  # pixels (width, height) of the windows that are compared
FLAT_LUMA = 2 / 255  # a window with a lower standard deviation of luma has no texture
MIN_MATCHED_SHARE = 0.5  # below this share of matched windows, there is a cut
BLACK_LUMA = 8 / 255  # a pixel up to this luma is black
MIN_LIT_SHARE = 0.05  # below this share of pixels that are not black, no cut is detected


def blurred_change(previous: LumaImage, current: LumaImage) -> LumaImage:
    """Return the absolute change of luma [h, w], averaged over 5 × 5 pixels.

    The median change of all pixels, a change of exposure, is subtracted first.
    """
    step = current - previous
    return np.asarray(cv2.blur(np.abs(step - np.median(step)), (5, 5)))


def is_cut(previous: LumaImage, current: LumaImage, change: LumaImage) -> bool:
    """Return whether two frames, as luma [h, w], show different shots.

    They do if most pixels changed, no translation aligns the edges of the two images, and most windows do not match,
    neither at the same place nor after that translation. Pixels that are black in both, such as letterbox bars, are
    ignored. `change` is the blurred_change of the two images.
    """
    lit = cv2.erode(np.maximum(previous, current), np.ones((5, 5), np.uint8)) > BLACK_LUMA
    unchanged_limit = max(SMALL_LUMA_CHANGE, 1.5 * float(np.percentile(change, 25)))
    if lit.mean() < MIN_LIT_SHARE or (change[lit] < unchanged_limit).mean() >= MAX_UNCHANGED_SHARE:
        return False
    edges_before, edges_now = edge_map(previous), edge_map(current)
    if correlation(edges_before[lit], edges_now[lit]) >= MIN_LUMA_CORRELATION:
        return False
    down, right = best_offset(edges_before, edges_now)
    inside = overlapping_part(lit, -down, -right) & overlapping_part(lit, down, right)
    if (
        correlation(
            overlapping_part(edges_before, -down, -right)[inside], overlapping_part(edges_now, down, right)[inside]
        )
        >= MIN_LUMA_CORRELATION
    ):
        return False
    matched = local_correlation(previous, current)
    matched_after_shift = local_correlation(
        overlapping_part(previous, -down, -right), overlapping_part(current, down, right)
    )
    overlapping_part(matched, down, right)[...] = np.maximum(
        overlapping_part(matched, down, right), matched_after_shift
    )
    textured = lit & (local_deviation(current) > FLAT_LUMA)
    return not textured.any() or bool((matched[textured] > MIN_LUMA_CORRELATION).mean() < MIN_MATCHED_SHARE)


def local_correlation(a: LumaImage, b: LumaImage) -> LumaImage:
    """Return the correlation [h, w] of two maps in a window around each pixel."""
    product = cv2.blur(a * b, MATCH_WINDOW) - cv2.blur(a, MATCH_WINDOW) * cv2.blur(b, MATCH_WINDOW)
    return np.asarray(product / (local_deviation(a) * local_deviation(b)))


def local_deviation(luma: LumaImage) -> LumaImage:
    """Return the standard deviation [h, w] of luma in a window around each pixel; always above 0."""
    variance = cv2.blur(luma * luma, MATCH_WINDOW) - cv2.blur(luma, MATCH_WINDOW) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 1e-8)))


def edge_map(luma: LumaImage) -> LumaImage:
    """Return the gradient magnitude [h, w] of luma, blurred by a Gaussian with a sigma of 1 pixel."""
    smooth = cv2.GaussianBlur(luma, (0, 0), 1.0)
    return np.asarray(cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)))


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Return the Pearson correlation of two arrays; 0 if one of them is constant or empty."""
    if a.size == 0 or a.min() == a.max() or b.min() == b.max():
        return 0.0
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def best_offset(a: LumaImage, b: LumaImage) -> tuple[int, int]:
    """Return how many pixels b [h, w] is shifted down and right from a (phase correlation, Kuglin and Hines 1975)."""
    height, width = a.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    cross = np.fft.rfft2(b * window) * np.conj(np.fft.rfft2(a * window))
    peak = int(np.argmax(np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=(height, width))))
    down, right = divmod(peak, width)
    return (down + height // 2) % height - height // 2, (right + width // 2) % width - width // 2


def overlapping_part(values: NDArray[MapValue], down: int, right: int) -> NDArray[MapValue]:
    """Return the part of a map [h, w] that overlaps an equal-sized map, shifted down and right by so many pixels."""
    height, width = values.shape
    return values[max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
