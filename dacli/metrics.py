"""Measures of depth against truth; maps are float arrays [H, W] of inverse depth, 0 = infinitely far."""

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.floating]


def affine_fit(prediction: Map, truth: Map) -> tuple[float, float]:
    """Least-squares scale and shift that carry the prediction onto the truth."""
    p, t = prediction.astype(np.float64).ravel(), truth.astype(np.float64).ravel()
    variance = p.var()
    scale = float(((p - p.mean()) * (t - t.mean())).mean() / variance) if variance > 0 else 0.0
    return scale, float(t.mean() - scale * p.mean())


def aligned(prediction: Map, truth: Map) -> Map:
    """The prediction after the affine fit, no farther than the farthest finite truth."""
    scale, shift = affine_fit(prediction, truth)
    floor = truth[truth > 0].min() if (truth > 0).any() else 1e-6
    return np.maximum(scale * prediction.astype(np.float64) + shift, floor)


def delta1(prediction: Map, truth: Map) -> float:
    """Share of pixels of finite depth whose depth ratio to the truth is under 1.25 (Eigen et al. 2014)."""
    seen = truth > 0
    ratio = prediction[seen] / truth[seen]
    return float((np.maximum(ratio, 1 / ratio) < 1.25).mean())


def abs_rel(prediction: Map, truth: Map) -> float:
    """Mean |D̂ − D| / D over pixels of finite depth, D = 1 / inverse depth (Eigen et al. 2014)."""
    seen = truth > 0
    return float(np.abs(truth[seen] / prediction[seen] - 1).mean())


def ordinal(prediction: Map, truth: Map, rng: np.random.Generator, pairs: int = 5000, ratio: float = 1.1) -> float:
    """Share of random point pairs with a depth ratio over `ratio` that the prediction puts in the right order."""
    a, b = rng.integers(0, truth.size, (2, pairs))
    ta, tb = truth.ravel()[a], truth.ravel()[b]
    apart = np.maximum(ta, tb) > ratio * np.minimum(ta, tb)
    right = (prediction.ravel()[a] > prediction.ravel()[b]) == (ta > tb)
    return float(right[apart].mean()) if apart.any() else float("nan")


def boundary_f1(prediction: Map, truth: Map) -> float:
    """F1 of occluding edges, d(p+1)/d(p) > t in four directions, weighted over t = 1.05 … 1.25 (Depth Pro, eq. 3–4)."""
    thresholds = np.linspace(1.05, 1.25, 10)
    floor = 0.05 * truth.max()
    p, t = np.maximum(prediction, floor), np.maximum(truth, floor)
    scores = [edge_f1(p, t, threshold) for threshold in thresholds]
    return float((thresholds * scores).sum() / thresholds.sum())


def edge_f1(prediction: Map, truth: Map, threshold: float) -> float:
    precision, recall = [], []
    for mine, theirs in zip(steps(prediction), steps(truth), strict=True):
        found, real = mine > threshold, theirs > threshold
        both = (found & real).sum()
        precision.append(both / max(found.sum(), 1))
        recall.append(both / max(real.sum(), 1))
    p, r = np.mean(precision), np.mean(recall)
    return float(2 * p * r / (p + r)) if p + r > 0 else 0.0


def steps(d: Map) -> tuple[Map, Map, Map, Map]:
    across, down = d[:, 1:] / d[:, :-1], d[1:] / d[:-1]
    return across, 1 / across, down, 1 / down
