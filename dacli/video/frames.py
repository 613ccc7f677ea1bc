"""The frames of a clip through the network, steadied and drawn, in stages that overlap."""

import queue
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.inference.device import cores
from dacli.inference.predictor import Predictor, Prepared, Raw
from dacli.prefetch import AHEAD, Prefetch, taking
from dacli.video import decoding
from dacli.video.stabilize import Gauge, Steadier, Survey

Rgb = NDArray[np.uint8]
Steadying = Callable[[Iterator["Frame"]], Iterator["Frame"]]


@dataclass
class Frame:
    """One frame on its way: shown at `pts`, the `number`th of this run; `network` is the network's seconds for it.

    `gauge` and `state`, what steadying goes on from, are those of steady depth; `pictures` is what was drawn, by kind,
    and `span` the range of its depth.
    """

    pts: int
    number: int
    rgb: Rgb
    prepared: Prepared | None = None
    raw: Raw | None = None
    network: float = 0.0
    gauge: Gauge | None = None
    state: dict[str, Any] | None = None
    pictures: dict[str, NDArray[Any] | bytes] = field(default_factory=dict)
    span: tuple[float, float] = (0.0, 0.0)

    @property
    def bytes(self) -> int:
        """What it holds in memory."""
        held = sum(each.nbytes for each in (self.rgb, self.prepared, self.raw) if each is not None)
        drawn = (len(each) if isinstance(each, bytes) else each.nbytes for each in self.pictures.values())
        return held + sum(drawn)


def play(
    decoded: Iterable[decoding.Frame],
    predictors: Sequence[Predictor],
    steadied: Steadying,
    draw: Callable[[Frame], Frame],
) -> Generator[Frame, None, None]:
    """Every frame in order, drawn; whatever fails is raised here, and ends all stages.

    Each predictor has a thread of its own.
    """
    helpers = max(1, min(8, cores() // 2))
    free: queue.SimpleQueue[Predictor] = queue.SimpleQueue()
    for predictor in predictors:
        free.put(predictor)
    numbered = (Frame(pts, number, rgb) for number, (pts, rgb) in enumerate(decoded))
    ahead = AHEAD * max(each.batch for each in predictors)
    reading = Prefetch(numbered, lambda frame: prepare(frame, predictors[0]), weight, helpers, ahead)
    gathered = batches(reading, lambda: min(each.batch for each in predictors))
    inferring = Prefetch(gathered, lambda frames: infer(frames, free), weight_of_all, len(predictors))
    drawing = Prefetch(steadied(each_of(inferring)), draw, weight, helpers)
    yield from taking([drawing, inferring, reading], drawing)


def weight(frame: Frame) -> int:
    return frame.bytes


def weight_of_all(frames: Iterable[Frame]) -> int:
    return sum(map(weight, frames))


def each_of(groups: Iterable[list[Frame]]) -> Iterator[Frame]:
    for group in groups:
        yield from group


def batches(frames: Iterable[Frame], count: Callable[[], int]) -> Iterator[list[Frame]]:
    """Frames, which all have one size, in groups of `count()`."""
    group: list[Frame] = []
    for frame in frames:
        group.append(frame)
        if len(group) >= count():
            yield group
            group = []
    if group:
        yield group


def prepare(frame: Frame, predictor: Predictor) -> Frame:
    """The frame as the network sees it."""
    frame.prepared = predictor.prepare(frame.rgb)
    return frame


def infer(frames: list[Frame], free: "queue.SimpleQueue[Predictor]") -> list[Frame]:
    """The network's answer to a batch."""
    predictor = free.get()
    begun = time.perf_counter()
    try:
        raws = predictor.forward([frame.prepared for frame in frames if frame.prepared is not None])
    finally:
        free.put(predictor)
    share = (time.perf_counter() - begun) / len(frames)
    for frame, raw in zip(frames, raws, strict=True):
        frame.raw, frame.network, frame.prepared = raw, share, None
    return frames


def one_pass(
    frames: Iterable[Frame], steadier: Steadier, time_base: Fraction, keeps: Callable[[int], bool]
) -> Iterator[Frame]:
    """Frames with their gauges; with the steadier's state where `keeps` says so of a frame's number."""
    for frame in frames:
        frame.gauge = steadier.step(raw_depth(frame), frame.rgb, float(frame.pts * time_base))
        if keeps(frame.number):
            frame.state = steadier.state()
        yield frame


def surveyed(frames: Iterable[Frame], survey: Survey, time_base: Fraction) -> Iterator[Frame]:
    """The same frames, each added to the survey, and nothing of it kept."""
    for frame in frames:
        survey.add(raw_depth(frame), frame.rgb, float(frame.pts * time_base))
        frame.raw = None
        yield frame


def with_gauges(frames: Iterable[Frame], gauges: Iterable[Gauge]) -> Iterator[Frame]:
    """Frames with gauges known before."""
    for frame, gauge in zip(frames, gauges, strict=False):
        frame.gauge = gauge
        yield frame


def raw_depth(frame: Frame) -> NDArray[np.float32]:
    """What the network made of the frame, at the network's size or, made of tiles, the picture's."""
    if frame.raw is None:
        raise ValueError(f"frame {frame.number} has no depth")
    depth: NDArray[np.float32] = frame.raw.tensor.numpy()
    return depth
