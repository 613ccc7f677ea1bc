"""Frames on their way through the stages, and what makes their depth steady between the network and the writer."""

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
class SurveyedFrame:
    """A frame of the first of two passes; nothing of it is kept."""

    seconds: StageSeconds = field(default_factory=StageSeconds)
    nbytes: int = 0


PredictedFrames = Iterable[Predicted[FrameInfo]]


def steady_in_one_pass(
    frames: PredictedFrames, steadier: Stabilizer, time_base: Fraction, keeps_state: Callable[[int], bool]
) -> Iterator[Predicted[FrameInfo]]:
    """Yield frames with their scale and shift; with the steadier's state where `keeps_state` says so of a number."""
    for frame in frames:
        info = frame.about
        gauge = steadier.step(network_depth(frame), picture_of(frame), float(info.pts * time_base))
        state = steadier.state() if keeps_state(info.number) else None
        yield replace(frame, about=replace(info, scale_shift=gauge, state=state))


def survey_frames(frames: PredictedFrames, survey: TwoPassStabilizer, time_base: Fraction) -> Iterator[SurveyedFrame]:
    """Add each frame to the survey of the first pass."""
    for frame in frames:
        survey.add(network_depth(frame), picture_of(frame), float(frame.about.pts * time_base))
        yield SurveyedFrame(frame.seconds)


def apply_scale_shifts(frames: PredictedFrames, gauges: Iterable[ScaleShift]) -> Iterator[Predicted[FrameInfo]]:
    """Yield frames with scales and shifts that are known before."""
    for frame, gauge in zip(frames, gauges, strict=False):
        yield replace(frame, about=replace(frame.about, scale_shift=gauge))


def network_depth(frame: Predicted[FrameInfo]) -> DepthArray:
    """Return what the network made of the frame, [h, w] at the network's size or, in tiles, at the canvas' size."""
    depth: NDArray[np.float32] = frame.raw.tensor.numpy()
    return depth


def picture_of(frame: Predicted[FrameInfo]) -> NDArray[np.uint8 | np.uint16]:
    """Return the picture [H, W, 3] of a frame."""
    if frame.image is None:
        raise ValueError(f"frame {frame.about.number} has no picture")
    return frame.image
