"""Steady depth clips: the scale and shift of every frame that keep what stands still at one brightness.

In one pass (Steadier) the gauge of a frame is carried on to the next and leaks slowly to the frame's own range; in two
passes (Survey) all gauges of a scene are solved for at once.
"""

import math
from array import array
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.types import DepthArray
from dacli.video.matching import FrameLink, FrameMatcher, FramePicture

SceneRows = NDArray[np.float64]

LEAK_SECONDS = 4.0  # seconds in which, but for 1 / e, a frame's range becomes the output's
LARGEST_DEVIATION = 8.0  # ranges of the output: a frame farther off it, or so much smaller, starts again
SHARED_SECONDS = 4.0  # seconds over which frames on both sides share a gauge in two passes


@dataclass(frozen=True)
class ScaleShift:
    """What makes raw depth D of a frame steady: scale·D + shift, mostly in 0 … 1, scale > 0; and the scene's number."""

    scale: float
    shift: float
    scene: int


class Stabilizer:
    """Gauges in one pass, with no delay, from a state of fixed size.

    Metres have no gauge that moves: with `metric` they are taken as they are, and the gauge is but the range to show.
    """

    def __init__(self, *, metric: bool = False) -> None:
        self.metric = metric
        self.matcher = FrameMatcher()
        self.gauge = ScaleShift(1.0, 0.0, -1)
        self.seconds = 0.0

    def step(self, depth: DepthArray, rgb: FramePicture, seconds: float) -> ScaleShift:
        """Return the gauge of the next frame.

        Raw depth [h, w], its picture [H, W, 3] (any size, 8 or 16 bits), its time.

        Raises ValueError for depth that is not finite.
        """
        link = self.matcher.link(depth, rgb)
        if link.cut:
            self.gauge = ScaleShift(1 / depth_range(link), -link.low / depth_range(link), self.gauge.scene + 1)
        else:
            pull = -math.expm1(-max(0.0, seconds - self.seconds) / LEAK_SECONDS)
            self.gauge = carry_scale_shift(self.gauge, link, pull, metric=self.metric)
        self.seconds = seconds
        return self.gauge

    def state(self) -> dict[str, Any]:
        """Return all that the next gauge depends on, as plain values for JSON: some 50 kB of text."""
        return {"matcher": self.matcher.state(), "gauge": list(astuple(self.gauge)), "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on as the steadier whose state it is, with the same results to the bit."""
        self.matcher.restore(state["matcher"])
        self.gauge, self.seconds = ScaleShift(*state["gauge"]), state["seconds"]


def depth_range(link: FrameLink) -> float:
    """Return range of a frame from its 2nd to its 98th percentile, but not nothing for a flat one."""
    return max(link.high - link.low, 1e-3 * abs(link.high) + 1e-6)


def carry_scale_shift(gauge: ScaleShift, link: FrameLink, pull: float, *, metric: bool) -> ScaleShift:
    """Return the gauge of the frame after.

    Its range is drawn by the share `pull` to 0 … 1, at once if it went astray.
    """
    scale = gauge.scale if metric else gauge.scale / link.scale
    shift = gauge.shift if metric else gauge.shift - scale * link.shift
    low, high = ((1 - pull) * (scale * end + shift) for end in (link.low, link.high))
    high += pull
    if not (max(-low, high) < LARGEST_DEVIATION and high - low > 1 / LARGEST_DEVIATION):
        low, high = 0.0, 1.0
    scale = (high - low) / depth_range(link)
    return ScaleShift(scale, low - scale * link.low, gauge.scene)


class TwoPassStabilizer:
    """Gauges in two passes: the first adds all frames and keeps 28 bytes of each, the second takes the gauges."""

    def __init__(self, *, metric: bool = False) -> None:
        self.metric = metric
        self.matcher = FrameMatcher()
        self.rows = array("f")
        self.scenes: list[tuple[int, float]] = []
        self.seconds = 0.0

    def add(self, depth: DepthArray, rgb: FramePicture, seconds: float) -> None:
        """Take the next frame of the first pass; arguments and errors are those of Steadier.step."""
        link = self.matcher.link(depth, rgb)
        if link.cut:
            self.scenes.append((len(self.rows) // 7, seconds))
        self.rows.extend((link.scale, link.shift, link.bottom, link.low, link.middle, link.high, link.top))
        self.seconds = seconds

    def gauges(self) -> Iterator[ScaleShift]:
        """Yield the gauges of all frames, in order."""
        rows = np.array(self.rows, np.float64).reshape(-1, 7)
        bounds = pairwise([*self.scenes, (len(rows), self.seconds)])
        for number, ((first, started), (last, over)) in enumerate(bounds):
            scene, still = rows[first:last].T, np.zeros(last - first)
            pull = ((over - started) / (last - first) / SHARED_SECONDS) ** 2
            scales, shifts = fill_output_range(
                scene, *((still + 1, still) if self.metric else solve_scene(scene, pull))
            )
            for scale, shift in zip(scales.tolist(), shifts.tolist(), strict=True):
                yield ScaleShift(scale, shift, number)


def solve_scene(scene: SceneRows, pull: float) -> tuple[SceneRows, SceneRows]:
    """Return scales and shifts [n] of the frames of a scene [7, n]: neighbours agree, `pull` draws each to its own.

    First the logarithms of the scales, which keeps those above 0, then the shifts that keep the median of each frame
    where the next one has it.
    """
    ratio, offset, _, low, middle, high, _ = scene
    spread = np.maximum(high - low, 1e-3 * np.abs(high) + 1e-6)
    scale = np.exp(solve_chain(np.log(ratio), -np.log(spread), pull))
    step = scale * offset + (scale * ratio - np.roll(scale, 1)) * np.roll(middle, 1)
    return scale, solve_chain(step, (middle - low) / spread - scale * middle, pull)


def solve_chain(step: SceneRows, own: SceneRows, pull: float) -> SceneRows:
    """Return the v [n] that minimise Σ (v_t − v_(t−1) + step_t)² over t ≥ 1 plus pull · Σ (v_t − own_t)².

    Their normal equations are tridiagonal (Thomas 1949).
    """
    pull = max(pull, 1e-12)
    count, jump = len(own), np.append(np.append(0.0, step[1:]), 0.0)
    value = pull * own - jump[:-1] + jump[1:]
    diagonal = pull + np.minimum(np.arange(count), 1) + np.minimum(np.arange(count)[::-1], 1)
    for t in range(1, count):
        diagonal[t] -= 1 / diagonal[t - 1]
        value[t] += value[t - 1] / diagonal[t - 1]
    value[-1] /= diagonal[-1]
    for t in range(count - 2, -1, -1):
        value[t] = (value[t] + value[t + 1]) / diagonal[t]
    return np.asarray(value)


def fill_output_range(scene: SceneRows, scale: SceneRows, shift: SceneRows) -> tuple[SceneRows, SceneRows]:
    """Return scales and shifts [n] that let nearly all pixels of a scene [7, n], in nearly all frames, fill 0 … 1."""
    low, high = (float(np.percentile(scale * scene[row] + shift, share)) for row, share in ((2, 2), (6, 98)))
    reach = max(high - low, 1e-3 * abs(high) + 1e-6)
    return scale / reach, (shift - low) / reach
