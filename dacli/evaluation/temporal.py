"""Measures of clips of depth against truth; clips are float arrays [T, H, W] of inverse depth, 0 = infinitely far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dacli.evaluation.metrics import affine_fit, align_affine, delta1
from dacli.scenes.moving import FrameMatch, sample_bilinear
from dacli.types import FloatArray

Residuals = NDArray[np.float64]


@dataclass(frozen=True)
class TemporalScores:
    """Temporal and depth errors of a clip; `jerk` and `tge` in percent of the truth's range.

    `jerk` is the standard deviation of m_t − m_(t−1), where m_t is the median of residuals(): the flicker of the whole
    picture's brightness. `tge` is the mean of their absolute values (temporal gradient error, after the loss of Video
    Depth Anything, eq. 3). Both are of frames that have a match, after one affine fit of the clip to the truth, and NaN
    if there are too few; the range is that from the 2nd to the 98th percentile. `delta1` is that of metrics after the
    same fit, `clipped` the share of pixels outside 0 … 1 before it.
    """

    jerk: float
    tge: float
    delta1: float
    clipped: float


def measure_flicker(depth: FloatArray, truth: FloatArray, matches: Sequence[FrameMatch | None]) -> TemporalScores:
    """Return the flicker of a clip [T, H, W].

    Matches[t] tells where frame t was in frame t − 1, None at the first and at cuts.
    """
    scale, shift = affine_fit(depth, truth)
    low, high = np.percentile(truth, (2, 98))
    medians, sizes = np.full(len(depth), np.nan), np.full(len(depth), np.nan)
    for t, match in enumerate(matches):
        if match is not None and match.seen.any():
            off = motion_residuals(scale * depth[t - 1 : t + 1] + shift, truth[t - 1 : t + 1], match) / (high - low)
            medians[t], sizes[t] = np.median(off), np.abs(off).mean()
    return TemporalScores(
        100 * standard_spread(np.diff(medians)),
        100 * float(sizes[np.isfinite(sizes)].mean()) if np.isfinite(sizes).any() else float("nan"),
        delta1(align_affine(depth, truth), truth),
        float(((depth < 0) | (depth > 1)).mean()),
    )


def motion_residuals(depth: FloatArray, truth: FloatArray, match: FrameMatch) -> Residuals:
    """Return how much more than the truth each point [n] changed between two maps [2, H, W]."""
    change = [pair[1] - sample_bilinear(pair[0], match.x, match.y) for pair in (depth, truth)]
    return np.asarray((change[0] - change[1])[match.seen], np.float64)


def scale_drift(depth: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Return the standard deviation of log s over the frames, and the rise over the clip of the line through it.

    Of clips [T, H, W].

    s is the least-squares scale of the truth to the frame: what a change of depth counts in the output. Frames in which
    it is not above 0 do not count.
    """
    scales = np.array([affine_fit(g, d)[0] for d, g in zip(depth, truth, strict=True)])
    known = np.flatnonzero(scales > 0)
    if known.size < 2:
        return float("nan"), float("nan")
    logs = np.log(scales[known])
    return float(logs.std()), float(np.polyfit(known, logs, 1)[0] * (len(scales) - 1))


def standard_spread(values: Residuals) -> float:
    """Return the standard deviation of the values that are not NaN; NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(known.std()) if known.size else float("nan")
