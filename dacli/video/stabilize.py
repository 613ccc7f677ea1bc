"""Steady depth clips: the scale and shift of every frame that keep what stands still at one brightness.

In one pass (Stabilizer), scale and shift follow from those of the frame before, and move slowly to the frame's own
range. In two passes (TwoPassStabilizer), those of all frames of a scene are solved for at once.
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

LEAK_SECONDS = 4.0  # time constant with which the output's range follows the range of the frames
LARGEST_DEVIATION = 8.0  # output ranges: a frame that lies farther outside, or is so much smaller, starts again
SHARED_SECONDS = 4.0  # in two passes, seconds over which neighbouring frames share their scale and shift


@dataclass(frozen=True)
class ScaleShift:
    """Raw depth D of a frame becomes scale·D + shift, mostly in 0 … 1, with scale > 0; and the number of its scene."""

    scale: float
    shift: float
    scene: int


class Stabilizer:
    """Finds scale and shift of each frame in one pass, without delay, from a state of fixed size.

    With `metric`, depth is in metres and does not change from frame to frame: scale and shift only choose the range to
    show.
    """

    def __init__(self, *, metric: bool = False) -> None:
        self.metric = metric
        self.matcher = FrameMatcher()
        self.scale_shift = ScaleShift(1.0, 0.0, -1)
        self.seconds = 0.0

    def step(self, depth: DepthArray, rgb: FramePicture, seconds: float) -> ScaleShift:
        """Return scale and shift of the next frame.

        It takes raw depth [h, w], the picture [H, W, 3] of any size with 8 or 16 bits, and the time in seconds. Raises
        ValueError for depth that is not finite.
        """
        link = self.matcher.link(depth, rgb)
        if link.cut:
            self.scale_shift = ScaleShift(
                1 / depth_range(link), -link.low / depth_range(link), self.scale_shift.scene + 1
            )
        else:
            pull = -math.expm1(-max(0.0, seconds - self.seconds) / LEAK_SECONDS)
            self.scale_shift = carry_scale_shift(self.scale_shift, link, pull, metric=self.metric)
        self.seconds = seconds
        return self.scale_shift

    def state(self) -> dict[str, Any]:
        """Return all that the next scale and shift depend on, as plain values for JSON: some 50 kB of text."""
        return {
            "matcher": self.matcher.state(),
            "scale_shift": list(astuple(self.scale_shift)),
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of another stabilizer, with the same results to the bit."""
        self.matcher.restore(state["matcher"])
        self.scale_shift, self.seconds = ScaleShift(*state["scale_shift"]), state["seconds"]


def depth_range(link: FrameLink) -> float:
    """Return the range of a frame from its 2nd to its 98th percentile, above 0 for a flat one too."""
    return max(link.high - link.low, 1e-3 * abs(link.high) + 1e-6)


def carry_scale_shift(scale_shift: ScaleShift, link: FrameLink, pull: float, *, metric: bool) -> ScaleShift:
    """Return scale and shift of the frame after one with `scale_shift`.

    The range of the output moves by the share `pull` towards 0 … 1, or all the way if it is too far from it.
    """
    scale = scale_shift.scale if metric else scale_shift.scale / link.scale
    shift = scale_shift.shift if metric else scale_shift.shift - scale * link.shift
    low, high = ((1 - pull) * (scale * end + shift) for end in (link.low, link.high))
    high += pull
    if not (max(-low, high) < LARGEST_DEVIATION and high - low > 1 / LARGEST_DEVIATION):
        low, high = 0.0, 1.0
    scale = (high - low) / depth_range(link)
    return ScaleShift(scale, low - scale * link.low, scale_shift.scene)


class TwoPassStabilizer:
    """Finds scale and shift in two passes: the first keeps 28 bytes of each frame, the second reads them."""

    def __init__(self, *, metric: bool = False) -> None:
        self.metric = metric
        self.matcher = FrameMatcher()
        self.rows = array("f")
        self.scenes: list[tuple[int, float]] = []
        self.seconds = 0.0

    def add(self, depth: DepthArray, rgb: FramePicture, seconds: float) -> None:
        """Add the next frame of the first pass; arguments and errors are those of Stabilizer.step()."""
        link = self.matcher.link(depth, rgb)
        if link.cut:
            self.scenes.append((len(self.rows) // 7, seconds))
        self.rows.extend((link.scale, link.shift, link.bottom, link.low, link.middle, link.high, link.top))
        self.seconds = seconds

    def scale_shifts(self) -> Iterator[ScaleShift]:
        """Yield scale and shift of all frames, in order."""
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
    """Return scales and shifts [n] of the frames of a scene [7, n].

    Neighbours agree, as far as `pull` does not draw each frame to its own range. The logarithms of the scales come
    first, so that scales stay above 0; then the shifts that give the median of each frame the value that it has in the
    next.
    """
    ratio, offset, _, low, middle, high, _ = scene
    spread = np.maximum(high - low, 1e-3 * np.abs(high) + 1e-6)
    scale = np.exp(solve_chain(np.log(ratio), -np.log(spread), pull))
    step = scale * offset + (scale * ratio - np.roll(scale, 1)) * np.roll(middle, 1)
    return scale, solve_chain(step, (middle - low) / spread - scale * middle, pull)


def solve_chain(step: SceneRows, own: SceneRows, pull: float) -> SceneRows:
    """Return the v [n] that minimizes Σ (v_t − v_(t−1) + step_t)² over t ≥ 1 plus pull · Σ (v_t − own_t)².

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
    """Return scales and shifts [n] with which nearly all pixels of nearly all frames of a scene [7, n] fill 0 … 1."""
    low, high = (float(np.percentile(scale * scene[row] + shift, share)) for row, share in ((2, 2), (6, 98)))
    reach = max(high - low, 1e-3 * abs(high) + 1e-6)
    return scale / reach, (shift - low) / reach
