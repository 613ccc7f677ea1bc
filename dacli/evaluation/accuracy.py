"""Errors of depth as papers state them, after an alignment of inverse depth; maps are those of metrics.

All are over pixels of finite true depth D = 1 / inverse depth, and NaN if there are none. Where the prediction there is
infinitely far, they are infinite.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dacli.evaluation.metrics import Alignment, affine_fit, align_affine
from dacli.types import FloatArray


def median_fit(prediction: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Return the scale that makes the medians over finite true depth equal, and shift 0.

    The scale is 0 where it would be negative.
    """
    seen = truth > 0
    middle = float(np.median(prediction[seen])) if seen.any() else 0.0
    return (float(np.median(truth[seen])) / middle if middle > 0 else 0.0), 0.0


def scale_fit(prediction: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Return the least-squares scale, and shift 0; the scale is 0 for a prediction of zeros."""
    p, t = prediction.astype(np.float64), truth.astype(np.float64)
    square = float((p * p).sum())
    return (float((p * t).sum()) / square if square > 0 else 0.0), 0.0


ALIGNMENTS: Mapping[str, Alignment | None] = {
    "none": None,
    "median": median_fit,
    "scale": scale_fit,
    "affine": affine_fit,
}


def align_prediction(prediction: FloatArray, truth: FloatArray, how: str) -> FloatArray:
    """Return the prediction unchanged (`none`) or aligned, and then no farther than the farthest finite truth."""
    fit = ALIGNMENTS[how]
    return prediction if fit is None else align_affine(prediction, truth, fit)


def rmse(prediction: FloatArray, truth: FloatArray) -> float:
    """Return the root of the mean squared difference of depth, in metres where the truth is in 1 / metres."""
    p, t = valid_pairs(prediction, truth)
    return float(np.sqrt(np.mean((1 / p - 1 / t) ** 2))) if t.size and (p > 0).all() else no_pixels(t)


def log10(prediction: FloatArray, truth: FloatArray) -> float:
    """Return the mean absolute difference of the decimal logarithms of depth."""
    p, t = valid_pairs(prediction, truth)
    return float(np.abs(np.log10(p) - np.log10(t)).mean()) if t.size and (p > 0).all() else no_pixels(t)


def silog(prediction: FloatArray, truth: FloatArray) -> float:
    """Return SILog of KITTI: 100 times the standard deviation of the logarithm of predicted over true depth."""
    p, t = valid_pairs(prediction, truth)
    return float(100 * np.std(np.log(p) - np.log(t))) if t.size and (p > 0).all() else no_pixels(t)


def valid_pairs(prediction: FloatArray, truth: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both maps [n] in float64 where the true depth is known and finite."""
    finite = truth > 0
    return prediction[finite].astype(np.float64), truth[finite].astype(np.float64)


def no_pixels(truth: NDArray[np.float64]) -> float:
    return float("inf") if truth.size else float("nan")
