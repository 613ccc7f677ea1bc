"""The data of a frame at each stage of a run, and the stabilization between the network and the writer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.batch.outcomes import StageSeconds
from dacli.batch.stages import Predicted
from dacli.types import DepthArray
from dacli.video.stabilize import ScaleShift, Stabilizer, StabilizerState, TwoPassStabilizer

FramePictures = Mapping[
    str, NDArray[Any] | bytes
]  # per format: an array for video, or the bytes of a file for a folder


@dataclass(frozen=True)
class FrameInfo:
    """Identifies a frame: its presentation time in ticks and its number in this run.

    `scale_shift` stabilizes its depth; `state` is the stabilizer's state after it.
    """

    pts: int
    number: int
    scale_shift: ScaleShift | None = None
    state: StabilizerState | None = None


@dataclass(frozen=True)
class DrawnFrame:
    """A frame drawn in every format; sizes are (height, width), `span` is the range of its depth."""

    info: FrameInfo
    pictures: FramePictures
    span: tuple[float, float]
    network_size: tuple[int, int]
    source_size: tuple[int, int]
    tiles: int
    seconds: StageSeconds = field(default_factory=StageSeconds)

    @property
    def nbytes(self) -> int:
        """Return the number of bytes in all its pictures."""
        return sum(len(item) if isinstance(item, bytes) else item.nbytes for item in self.pictures.values())


@dataclass(frozen=True)
class FirstPassFrame:
    """The result of a frame in the first of two passes: no data, only the time it took."""

    seconds: StageSeconds = field(default_factory=StageSeconds)
    nbytes: int = 0


PredictedFrames = Iterable[Predicted[FrameInfo]]
FrameDepth = Callable[[Predicted[FrameInfo]], DepthArray]  # the depth of a frame at about the network's size


def stabilize_in_one_pass(
    frames: PredictedFrames, stabilizer: Stabilizer, time_base: Fraction, depth_of: FrameDepth
) -> Iterator[Predicted[FrameInfo]]:
    """Yield frames with scale and shift, and the stabilizer's state after them."""
    for frame in frames:
        info = frame.about
        scale_shift = stabilizer.step(depth_of(frame), frame_picture(frame), float(info.pts * time_base))
        yield replace(frame, about=replace(info, scale_shift=scale_shift, state=stabilizer.state()))


def collect_first_pass(
    frames: PredictedFrames, stabilizer: TwoPassStabilizer, time_base: Fraction, depth_of: FrameDepth
) -> Iterator[FirstPassFrame]:
    """Add each frame to the stabilizer, in the first of two passes, and yield the time it took."""
    for frame in frames:
        stabilizer.add(depth_of(frame), frame_picture(frame), float(frame.about.pts * time_base))
        yield FirstPassFrame(frame.seconds)


def apply_scale_shifts(frames: PredictedFrames, scale_shifts: Iterable[ScaleShift]) -> Iterator[Predicted[FrameInfo]]:
    """Yield frames with scales and shifts that were computed before."""
    for frame, scale_shift in zip(frames, scale_shifts, strict=False):
        yield replace(frame, about=replace(frame.about, scale_shift=scale_shift))


def frame_picture(frame: Predicted[FrameInfo]) -> NDArray[np.uint8 | np.uint16]:
    """Return the picture [H, W, 3] of a frame."""
    if frame.image is None:
        raise ValueError(f"frame {frame.about.number} has no picture")
    return frame.image
