"""Stabilization of depth clips: a scale and shift for every frame that keep static objects at a constant brightness.

Stabilizer works in one pass: it propagates scale and shift from frame to frame, and moves each frame's
range slowly towards 0 … 1. TwoPassStabilizer solves for the scales and shifts of all frames of a scene at once.
"""

import math
from array import array
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.types import DepthArray
from dacli.video.matching import FrameAligner, FrameAlignment, FramePicture

SceneArray = NDArray[np.float64]
StabilizerState = Callable[[], dict[str, Any]]  # returns values for JSON

LEAK_SECONDS = 4.0  # time after which 1 / e of the difference between a frame's output range and 0 … 1 is left
LARGEST_DEVIATION = 8.0  # in output ranges: a frame that is farther off, or smaller by this factor, is reset
SHARED_SECONDS = 4.0  # time over which frames before and after share a scale and shift in two passes


@dataclass(frozen=True)
class ScaleShift:
    """What stabilizes a frame with raw depth D: scale·D + shift, mostly in 0 … 1, scale > 0; and its scene number."""

    scale: float
    shift: float
    scene: int


class Stabilizer:
    """Computes scales and shifts in one pass, without delay, from a state of fixed size.

    With `metric`, depth is in metres and is not aligned; scale and shift then only map it to the range to display.
    """

    def __init__(self, *, metric: bool = False) -> None:
        self.metric = metric
        self.aligner = FrameAligner()
        self.scale_shift = ScaleShift(1.0, 0.0, -1)
        self.seconds = 0.0

    def step(self, depth: DepthArray, rgb: FramePicture, seconds: float) -> ScaleShift:
        """Return the scale and shift of the next frame.

        Takes raw depth [h, w], its picture [H, W, 3] (any size, 8 or 16 bits) and its time in seconds.

        Raises ValueError for depth that is not finite.
        """
        alignment = self.aligner.align(depth, rgb)
        if alignment.cut:
            self.scale_shift = ScaleShift(
                1 / depth_range(alignment), -alignment.low / depth_range(alignment), self.scale_shift.scene + 1
            )
        else:
            leak = -math.expm1(-max(0.0, seconds - self.seconds) / LEAK_SECONDS)
            self.scale_shift = carry_scale_shift(self.scale_shift, alignment, leak, metric=self.metric)
        self.seconds = seconds
        return self.scale_shift

    def state(self) -> StabilizerState:
        """Return a function for everything that the next scale and shift depend on, as values for JSON: about 50 kB."""
        aligner, rest = self.aligner.state(), {"scale_shift": astuple(self.scale_shift), "seconds": self.seconds}
        return lambda: {"aligner": aligner()} | rest

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of another stabilizer, with bit-identical results."""
        self.aligner.restore(state["aligner"])
        self.scale_shift, self.seconds = ScaleShift(*state["scale_shift"]), state["seconds"]


def depth_range(alignment: FrameAlignment) -> float:
    """Return the range of a frame from its 2nd to its 98th percentile; always above 0, even for a flat frame."""
    return max(alignment.high - alignment.low, 1e-3 * abs(alignment.high) + 1e-6)


def carry_scale_shift(previous: ScaleShift, alignment: FrameAlignment, leak: float, *, metric: bool) -> ScaleShift:
    """Return the scale and shift of the next frame from those of the `previous` one.

    Its range moves by the fraction `leak` towards 0 … 1, or is reset to 0 … 1 if it is too far off.
    """
    scale = previous.scale if metric else previous.scale / alignment.scale
    shift = previous.shift if metric else previous.shift - scale * alignment.shift
    low, high = ((1 - leak) * (scale * end + shift) for end in (alignment.low, alignment.high))
    high += leak
    if not (max(-low, high) < LARGEST_DEVIATION and high - low > 1 / LARGEST_DEVIATION):
        low, high = 0.0, 1.0
    scale = (high - low) / depth_range(alignment)
    return ScaleShift(scale, low - scale * alignment.low, previous.scene)


class TwoPassStabilizer:
    """Computes scales and shifts in two passes: the first adds all frames, the second uses scale_shifts().

    28 bytes of each frame are kept.
    """

    def __init__(self, *, metric: bool = False) -> None:
        self.metric = metric
        self.aligner = FrameAligner()
        self.rows = array("f")
        self.scenes: list[tuple[int, float]] = []
        self.seconds = 0.0

    def add(self, depth: DepthArray, rgb: FramePicture, seconds: float) -> None:
        """Add the next frame of the first pass; arguments and errors are those of Stabilizer.step."""
        alignment = self.aligner.align(depth, rgb)
        if alignment.cut:
            self.scenes.append((len(self.rows) // 7, seconds))
        self.rows.extend(
            (
                alignment.scale,
                alignment.shift,
                alignment.bottom,
                alignment.low,
                alignment.middle,
                alignment.high,
                alignment.top,
            )
        )
        self.seconds = seconds

    def scale_shifts(self) -> Iterator[ScaleShift]:
        """Yield the scales and shifts of all frames, in order."""
        rows = np.array(self.rows, np.float64).reshape(-1, 7)
        bounds = pairwise([*self.scenes, (len(rows), self.seconds)])
        for number, ((first, start_seconds), (last, end_seconds)) in enumerate(bounds):
            scene, zeros = rows[first:last].T, np.zeros(last - first)
            weight = ((end_seconds - start_seconds) / (last - first) / SHARED_SECONDS) ** 2
            scales, shifts = fill_output_range(
                scene, *((zeros + 1, zeros) if self.metric else solve_scene(scene, weight))
            )
            for scale, shift in zip(scales.tolist(), shifts.tolist(), strict=True):
                yield ScaleShift(scale, shift, number)


def solve_scene(scene: SceneArray, weight: float) -> tuple[SceneArray, SceneArray]:
    """Return scales and shifts [n] of the frames of a scene [7, n] that align neighbouring frames.

    `weight` is that of each frame's own range. First come the logarithms of the scales, so that scales are above 0;
    then the shifts that keep the median of each frame where the next frame has it.
    """
    ratio, offset, _, low, middle, high, _ = scene
    own_range = np.maximum(high - low, 1e-3 * np.abs(high) + 1e-6)
    scale = np.exp(solve_chain(np.log(ratio), -np.log(own_range), weight))
    step = scale * offset + (scale * ratio - np.roll(scale, 1)) * np.roll(middle, 1)
    return scale, solve_chain(step, (middle - low) / own_range - scale * middle, weight)


def solve_chain(step: SceneArray, own: SceneArray, weight: float) -> SceneArray:
    """Return the v [n] that minimise Σ (v_t − v_(t−1) + step_t)² over t ≥ 1 plus weight · Σ (v_t − own_t)².

    Their normal equations are tridiagonal (Thomas 1949).
    """
    weight = max(weight, 1e-12)
    count, step_padded = len(own), np.append(np.append(0.0, step[1:]), 0.0)
    value = weight * own - step_padded[:-1] + step_padded[1:]
    diagonal = weight + np.minimum(np.arange(count), 1) + np.minimum(np.arange(count)[::-1], 1)
    for t in range(1, count):
        diagonal[t] -= 1 / diagonal[t - 1]
        value[t] += value[t - 1] / diagonal[t - 1]
    value[-1] /= diagonal[-1]
    for t in range(count - 2, -1, -1):
        value[t] = (value[t] + value[t + 1]) / diagonal[t]
    return np.asarray(value)


def fill_output_range(scene: SceneArray, scale: SceneArray, shift: SceneArray) -> tuple[SceneArray, SceneArray]:
    """Return scales and shifts [n] with which nearly all pixels of a scene [7, n], in nearly all frames, fill 0 … 1."""
    low, high = (float(np.percentile(scale * scene[row] + shift, share)) for row, share in ((2, 2), (6, 98)))
    full_range = max(high - low, 1e-3 * abs(high) + 1e-6)
    return scale / full_range, (shift - low) / full_range
