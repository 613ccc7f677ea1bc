"""Measures of depth against truth; maps are float arrays [H, W] of inverse depth, 0 = infinitely far.

Where the truth is NaN it is unknown, and nothing counts.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.types import FloatArray

Alignment = Callable[[FloatArray, FloatArray], tuple[float, float]]


def affine_fit(prediction: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Return the least-squares scale and shift from the prediction to the truth.

    Scale 0 for a constant prediction.
    """
    p, t = prediction.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    if p.min() == p.max():
        return 0.0, float(t.mean())
    centred = p - p.mean()
    scale = float((centred * (t - t.mean())).mean() / centred.var())
    return scale, float(t.mean() - scale * p.mean())


def align_affine(prediction: FloatArray, truth: FloatArray, fit: Alignment = affine_fit) -> FloatArray:
    """Return the prediction aligned to the known truth, no farther than the farthest finite truth."""
    known = ~np.isnan(truth)
    scale, shift = fit(prediction[known], truth[known])
    floor = truth[truth > 0].min() if (truth > 0).any() else 1e-6
    return np.maximum(scale * prediction.astype(np.float64) + shift, floor)


def delta1(prediction: FloatArray, truth: FloatArray, limit: float = 1.25) -> float:
    """Return the share of pixels of finite depth whose ratio to the true depth is under the limit; NaN without any.

    1.25, 1.25² and 1.25³ make δ1, δ2 and δ3 (Eigen et al. 2014).
    """
    seen = truth > 0
    p, t = prediction[seen], truth[seen]
    return float((np.maximum(p, t) < limit * np.minimum(p, t)).mean()) if seen.any() else float("nan")


def abs_rel(prediction: FloatArray, truth: FloatArray) -> float:
    """Return the mean |D̂ − D| / D over pixels of finite depth, D = 1 / inverse depth (Eigen et al. 2014); NaN if none.

    The prediction is of finite depth there too, as that of aligned(); where it is not, the result is infinite.
    """
    seen = truth > 0
    if (prediction[seen] <= 0).any():
        return float("inf")
    return float(np.abs(truth[seen] / prediction[seen] - 1).mean()) if seen.any() else float("nan")


def ordinal(
    prediction: FloatArray, truth: FloatArray, rng: np.random.Generator, pairs: int = 5000, ratio: float = 1.1
) -> float:
    """Return the share of random point pairs with a depth ratio over `ratio` that the prediction orders correctly.

    Pairs that it holds equal count half, so a flat map scores 0.5 like a random one; NaN if the truth has no such pair.
    """
    a, b = rng.integers(0, truth.size, (2, pairs))
    (ta, tb), (pa, pb) = (truth.ravel()[[a, b]], prediction.ravel()[[a, b]])
    apart = np.maximum(ta, tb) > ratio * np.minimum(ta, tb)
    agree = np.sign(pa - pb)[apart] * np.sign(ta - tb)[apart]
    return float((1 + agree.mean()) / 2) if apart.any() else float("nan")


def d3r(prediction: FloatArray, truth: FloatArray, points: int = 5000) -> float:
    """Return the depth discontinuity disagreement ratio.

    Mean |ord(t) − ord(p)| over neighbours with a depth ratio over 1.1.

    ord is 1, −1 or 0 as the first of two points is over 1 % nearer, farther, or neither: from 0 (best) over 1 for a
    flat map to 2 for an inverted one (Miangoleh et al. 2021). Neighbours are those of a square grid of about `points`
    points instead of superpixels; NaN if the truth has no such pair.
    """
    step = max(1, round((truth.size / points) ** 0.5))
    p, t = (np.maximum(d[step // 2 :: step, step // 2 :: step], 0) for d in (prediction, truth))
    apart = pair_relation(t, 0.1) != 0
    return float(np.abs(pair_relation(t, 0.01) - pair_relation(p, 0.01))[apart].mean()) if apart.any() else float("nan")


def pair_relation(d: FloatArray, tolerance: float) -> NDArray[np.int8]:
    """Return which of two vertical and horizontal neighbours is nearer by a ratio over 1 + tolerance.

    1 the first, −1 the second.
    """
    a, b = (np.concatenate([u.ravel(), v.ravel()]) for u, v in ((d[:, :-1], d[:-1]), (d[:, 1:], d[1:])))
    return (a > (1 + tolerance) * b).astype(np.int8) - (b > (1 + tolerance) * a).astype(np.int8)


def boundary_f1(prediction: FloatArray, truth: FloatArray) -> float:
    """Return the F1 of occluding edges, d(p+1)/d(p) > t in four directions, weighted over t = 1.05 … 1.25.

    Depth Pro (Bochkovskii et al. 2024), eq. 3 and 4.

    Maps are cut off at 5 % of the largest truth. As in the published code a direction without edges counts as 0: the
    truth itself scores 1 only if it has edges over 1.25 in all four directions.
    """
    thresholds = np.linspace(1.05, 1.25, 10)
    floor = max(0.05 * float(np.nanmax(truth)), 1e-30)
    p, t = np.maximum(np.where(np.isnan(truth), np.nan, prediction), floor), np.maximum(truth, floor)
    mine, theirs = depth_steps(p), depth_steps(t)
    scores = [edge_f1(mine, theirs, threshold) for threshold in thresholds]
    return float((thresholds * scores).sum() / thresholds.sum())


def edge_f1(prediction: Sequence[FloatArray], truth: Sequence[FloatArray], threshold: float) -> float:
    """Return the F1 of the depth_steps() over one threshold, of the mean precision and recall of four directions."""
    precision, recall = [], []
    for mine, theirs in zip(prediction, truth, strict=True):
        found, real = mine > threshold, theirs > threshold
        both = (found & real).sum()
        precision.append(both / max(found.sum(), 1))
        recall.append(both / max(real.sum(), 1))
    p, r = np.mean(precision), np.mean(recall)
    return float(2 * p * r / (p + r)) if p + r > 0 else 0.0


def depth_steps(d: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the ratios of neighbours in four directions: with the left, right, upper and lower one farther."""
    across, down = d[:, 1:] / d[:, :-1], d[1:] / d[:-1]
    return across, 1 / across, down, 1 / down


def thin_contrast(prediction: FloatArray, truth: FloatArray, width: int) -> float:
    """Return the median contrast of thin near structures against what is beside them, as a share of the true one.

    NaN if none.

    Thin is what stands out by a depth ratio over 1.1 from the grey opening of the truth with a disc `width` pixels
    across (Serra 1982). The contrast at such a pixel is the mean over thin pixels less the mean over those that the
    opening leaves as they are, in a window of three widths, where it is over 10 % in the truth: 1 for the truth or
    more, 0 for a map that misses the structure. Maps are cut off at 5 % of the largest truth, as in boundary_f1.
    """
    floor = max(0.05 * float(truth.max()), 1e-30)
    p, t = (np.maximum(d, floor).astype(np.float32) for d in (prediction, truth))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    opened = cv2.morphologyEx(t, cv2.MORPH_OPEN, disc)
    thin, beside = t > 1.1 * opened, t <= 1.01 * opened
    window = (3 * width, 3 * width)
    mine, theirs = window_difference(p, thin, beside, window), window_difference(t, thin, beside, window)
    seen = thin & (theirs > 0.1 * opened)
    return float(np.median((mine[seen] / theirs[seen]).clip(0, 1))) if seen.any() else float("nan")


def window_difference(
    d: FloatArray, one: NDArray[np.bool_], other: NDArray[np.bool_], window: tuple[int, int]
) -> FloatArray:
    """Return the mean of d over the pixels `one` minus that over the pixels `other`, in a window around every pixel.

    Or NaN.
    """
    means = []
    for some in (one, other):
        total, count = (cv2.boxFilter(v, cv2.CV_64F, window, normalize=False) for v in (d * some, some * 1.0))
        means.append(np.divide(total, count, out=np.full(d.shape, np.nan), where=count > 0.5))
    return np.asarray(means[0] - means[1])


def seam_index(prediction: FloatArray, truth: FloatArray, rows: Sequence[int], columns: Sequence[int]) -> float:
    """Return the mean step of the error across tile borders, divided by that 4 to 8 pixels beside them: 1 is invisible.

    NaN if no border.

    A border stands before the pixel that it is named by. Pixels where the truth itself steps by over 1 % of its
    largest value are left out.
    """
    at: list[FloatArray] = []
    near: list[FloatArray] = []
    for axis, borders in ((0, rows), (1, columns)):
        error, edge = (np.abs(np.diff(d, axis=axis).swapaxes(0, axis)) for d in (prediction - truth, truth))
        calm = edge < 0.01 * truth.max()
        lines = np.asarray(borders, int) - 1
        ring = lines[:, None] + [offset * side for offset in range(4, 9) for side in (-1, 1)]
        for found, chosen in ((at, lines), (near, ring.ravel())):
            inside = chosen[(chosen >= 0) & (chosen < len(error))]
            found.append(error[inside][calm[inside]])
    steps_at, steps_near = np.concatenate(at), np.concatenate(near)
    return float(steps_at.mean() / steps_near.mean()) if len(steps_at) and len(steps_near) else float("nan")
