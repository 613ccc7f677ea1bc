"""Measures of depth against truth; maps are float arrays [H, W] of inverse depth, 0 = infinitely far."""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]


def affine_fit(prediction: Map, truth: Map) -> tuple[float, float]:
    """Least-squares scale and shift that carry the prediction onto the truth; scale 0 for a constant prediction."""
    p, t = prediction.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    if p.min() == p.max():
        return 0.0, float(t.mean())
    centred = p - p.mean()
    scale = float((centred * (t - t.mean())).mean() / centred.var())
    return scale, float(t.mean() - scale * p.mean())


def aligned(prediction: Map, truth: Map) -> Map:
    """The prediction after the affine fit, no farther than the farthest finite truth."""
    scale, shift = affine_fit(prediction, truth)
    floor = truth[truth > 0].min() if (truth > 0).any() else 1e-6
    return np.maximum(scale * prediction.astype(np.float64) + shift, floor)


def delta1(prediction: Map, truth: Map) -> float:
    """Share of pixels of finite depth whose depth ratio to the truth is under 1.25 (Eigen et al. 2014); NaN if none."""
    seen = truth > 0
    p, t = prediction[seen], truth[seen]
    return float((np.maximum(p, t) < 1.25 * np.minimum(p, t)).mean()) if seen.any() else float("nan")


def abs_rel(prediction: Map, truth: Map) -> float:
    """Mean |D̂ − D| / D over pixels of finite depth, D = 1 / inverse depth (Eigen et al. 2014); NaN if none.

    The prediction is of finite depth there too, as that of aligned(); where it is not, the result is infinite.
    """
    seen = truth > 0
    if (prediction[seen] <= 0).any():
        return float("inf")
    return float(np.abs(truth[seen] / prediction[seen] - 1).mean()) if seen.any() else float("nan")


def ordinal(prediction: Map, truth: Map, rng: np.random.Generator, pairs: int = 5000, ratio: float = 1.1) -> float:
    """Share of random point pairs with a depth ratio over `ratio` that the prediction puts in the right order.

    Pairs that it holds equal count half, so a flat map scores 0.5 like a random one; NaN if the truth has no such pair.
    """
    a, b = rng.integers(0, truth.size, (2, pairs))
    (ta, tb), (pa, pb) = (truth.ravel()[[a, b]], prediction.ravel()[[a, b]])
    apart = np.maximum(ta, tb) > ratio * np.minimum(ta, tb)
    agree = np.sign(pa - pb)[apart] * np.sign(ta - tb)[apart]
    return float((1 + agree.mean()) / 2) if apart.any() else float("nan")


def boundary_f1(prediction: Map, truth: Map) -> float:
    """F1 of occluding edges, d(p+1)/d(p) > t in four directions, weighted over t = 1.05 … 1.25 (Depth Pro, eq. 3–4).

    Maps are cut off at 5 % of the largest truth. As in the published code a direction without edges counts as 0: the
    truth itself scores 1 only if it has edges over 1.25 in all four directions.
    """
    thresholds = np.linspace(1.05, 1.25, 10)
    floor = max(0.05 * float(truth.max()), 1e-30)
    p, t = np.maximum(prediction, floor), np.maximum(truth, floor)
    scores = [edge_f1(p, t, threshold) for threshold in thresholds]
    return float((thresholds * scores).sum() / thresholds.sum())


def edge_f1(prediction: Map, truth: Map, threshold: float) -> float:
    """F1 of the edges over one threshold, precision and recall being means over the four directions."""
    precision, recall = [], []
    for mine, theirs in zip(steps(prediction), steps(truth), strict=True):
        found, real = mine > threshold, theirs > threshold
        both = (found & real).sum()
        precision.append(both / max(found.sum(), 1))
        recall.append(both / max(real.sum(), 1))
    p, r = np.mean(precision), np.mean(recall)
    return float(2 * p * r / (p + r)) if p + r > 0 else 0.0


def steps(d: Map) -> tuple[Map, Map, Map, Map]:
    """Ratios of neighbours in four directions: the left, the right, the upper and the lower one farther."""
    across, down = d[:, 1:] / d[:, :-1], d[1:] / d[:-1]
    return across, 1 / across, down, 1 / down
