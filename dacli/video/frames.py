"""Frames on their way through the stages; between the network and the writer their depth is made steady."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.batch.outcomes import StageSeconds
from dacli.batch.stages import Predicted
from dacli.types import DepthArray
from dacli.video.stabilize import ScaleShift, Stabilizer, TwoPassStabilizer

FramePictures = Mapping[str, NDArray[Any] | bytes]  # by format: a picture for video, the bytes of a file for a folder


@dataclass(frozen=True)
class FrameInfo:
    """Which frame it is: its presentation time in ticks and its number in this run.

    `scale_shift` makes its depth steady; `state` is what the stabilizer goes on from, kept where a segment ends.
    """

    pts: int
    number: int
    scale_shift: ScaleShift | None = None
    state: dict[str, Any] | None = None


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with a picture in every format; sizes are (height, width), `span` is the range of its depth."""

    info: FrameInfo
    pictures: FramePictures
    span: tuple[float, float]
    network_size: tuple[int, int]
    source_size: tuple[int, int]
    tiles: int
    seconds: StageSeconds = field(default_factory=StageSeconds)

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds."""
        return sum(len(each) if isinstance(each, bytes) else each.nbytes for each in self.pictures.values())


@dataclass(frozen=True)
class FirstPassFrame:
    """A frame of the first of two passes, of which nothing is kept."""

    seconds: StageSeconds = field(default_factory=StageSeconds)
    nbytes: int = 0


PredictedFrames = Iterable[Predicted[FrameInfo]]


def steady_in_one_pass(
    frames: PredictedFrames, stabilizer: Stabilizer, time_base: Fraction, keeps_state: Callable[[int], bool]
) -> Iterator[Predicted[FrameInfo]]:
    """Yield frames with scale and shift, and the stabilizer's state where `keeps_state(number)` is true."""
    for frame in frames:
        info = frame.about
        scale_shift = stabilizer.step(network_depth(frame), picture_of(frame), float(info.pts * time_base))
        state = stabilizer.state() if keeps_state(info.number) else None
        yield replace(frame, about=replace(info, scale_shift=scale_shift, state=state))


def add_to_first_pass(
    frames: PredictedFrames, first_pass: TwoPassStabilizer, time_base: Fraction
) -> Iterator[FirstPassFrame]:
    """Add each frame to the first of two passes."""
    for frame in frames:
        first_pass.add(network_depth(frame), picture_of(frame), float(frame.about.pts * time_base))
        yield FirstPassFrame(frame.seconds)


def apply_scale_shifts(frames: PredictedFrames, scale_shifts: Iterable[ScaleShift]) -> Iterator[Predicted[FrameInfo]]:
    """Yield frames with scales and shifts that are known already."""
    for frame, scale_shift in zip(frames, scale_shifts, strict=False):
        yield replace(frame, about=replace(frame.about, scale_shift=scale_shift))


def network_depth(frame: Predicted[FrameInfo]) -> DepthArray:
    """Return the network's depth of the frame, [h, w] at the network's size or, in tiles, at that of the canvas."""
    depth: NDArray[np.float32] = frame.raw.tensor.numpy()
    return depth


def picture_of(frame: Predicted[FrameInfo]) -> NDArray[np.uint8 | np.uint16]:
    """Return the picture [H, W, 3] of a frame."""
    if frame.image is None:
        raise ValueError(f"frame {frame.about.number} has no picture")
    return frame.image
