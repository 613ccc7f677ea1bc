"""One clip in, its depth out: what is shown of it, what is written, and what the files say about themselves."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dacli import __version__, types
from dacli.batch.jobs import Job
from dacli.batch.settings import Task, identity, record_in, recorded_name
from dacli.errors import DacliError
from dacli.inference.predictor import Predictor
from dacli.io import files, images, png, records
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs import drawing
from dacli.outputs.formats import CLIP_KINDS, FRAME_KINDS
from dacli.paths import display_path
from dacli.video import decoding, frames, probe
from dacli.video.frames import Frame
from dacli.video.probe import Clip
from dacli.video.segments import FRAMES, ClipWriter
from dacli.video.stabilize import Gauge, Steadier, Survey

Steady = Literal["on", "off", "two-pass"]
Tell = Callable[[str], None]
Show = Callable[[int, float], None]
AS_IT_IS = Gauge(1.0, 0.0, 0)
NOTHING = np.empty((0, 0, 3), np.uint8)
VARYING = "varying"  # the unit of 16-bit values whose ends are those of each frame, in the sidecar


@dataclass(frozen=True)
class Showing:
    """What is shown of clips, and how: a span in seconds, frames per second at most, or of a folder; steadiness.

    `folders` writes numbered files instead of video.
    """

    start: float | None = None
    end: float | None = None
    max_fps: float | None = None
    rate: Fraction = probe.FOLDER_RATE
    steady: Steady = "on"
    crf: int = 18
    folders: bool = False
    resume: bool = False
    allow_truncated: bool = False

    @property
    def settings(self) -> list[object]:
        """All that decides the outputs besides the clip and the task."""
        return [self.start, self.end, self.max_fps, str(self.rate), self.steady, self.crf, self.folders]


class Row(NamedTuple):
    """A frame of an output: when it is shown, in ticks; its gauge and scene; the range of its depth."""

    pts: int
    scale: float
    shift: float
    scene: int
    low: float
    high: float


@dataclass(frozen=True)
class Developed:
    """A finished clip: its record, number of frames, tiles of each, the network's seconds; `kept`: it was there."""

    record: records.Record
    count: int
    tiles: int = 0
    network: float = 0.0
    kept: bool = False


def open_clip(path: Path, showing: Showing, max_pixels: int) -> Clip:
    """What is to be shown of a clip; raises DacliError for what is none, or too large."""
    clip = probe.probe(path, showing.rate)
    if clip.width * clip.height > max_pixels:
        fault = f"{display_path(path)} has {clip.width} × {clip.height} pixels, more than {max_pixels / 1e6:g} million"
        raise DacliError(fault, "allow more with --max-pixels")
    return probe.cut(clip, showing.start, showing.end, showing.max_fps)


def develop(
    job: Job, clip: Clip, predictors: Sequence[Predictor], task: Task, showing: Showing, tell: Tell, show: Show
) -> Developed:
    """Make all outputs of a clip, whole, unless they are there; raises DacliError if one cannot be made.

    `tell` hears notes, `show` how many frames are done and how many a second.
    """
    settings = fingerprint(clip, task, showing)
    if not task.overwrite and (kept := recorded(job, settings)):
        return Developed(kept, len(clip.pts), kept=True)
    director = Director(job, clip, predictors[0], task, showing, settings)
    with ClipWriter(clip, job.outputs, settings, crf=showing.crf, resume=showing.resume) as writer:
        steadied = steadying(clip, predictors, task, showing, writer, tell)
        source = decoding.frames(clip, after=writer.after, allow_truncated=showing.allow_truncated, tell=tell)
        work = frames.play(source, predictors, steadied, director.draw)
        director.write(work, writer, show)
        notes = writer.finish(director.texts(), allow_truncated=showing.allow_truncated)
    for path in sidecars(job):
        files.write(path, director.account().encode())
    for note in notes:
        tell(note)
    return Developed(director.record(), len(director.rows), director.tiles, director.network)


def steadying(
    clip: Clip, predictors: Sequence[Predictor], task: Task, showing: Showing, writer: ClipWriter, tell: Tell
) -> frames.Steadying:
    """What gives the frames after the writer's last one their gauges."""
    metric = task.quantity == "metres"
    if showing.steady == "off":
        return iter
    if showing.steady == "on":
        steadier = Steadier(metric=metric)
        for state in writer.states():
            if (before := json.loads(state)["steadier"]) is not None:  # the last segment's is None: nothing follows it
                steadier.restore(before)
        return partial(frames.one_pass, steadier=steadier, time_base=clip.time_base, keeps=writer.ends_segment)
    survey = Survey(metric=metric)
    tell(f"{display_path(clip.path)}: the first of two passes, which takes as long as the second")
    source = decoding.frames(clip, allow_truncated=showing.allow_truncated)
    look = partial(frames.surveyed, survey=survey, time_base=clip.time_base)
    for _ in frames.play(source, predictors, look, lambda frame: frame):
        pass
    written = sum(map(len, writer.segments))
    return partial(frames.with_gauges, gauges=islice(survey.gauges(), written, None))


class Director:
    """Draws the frames of one clip, writes them, and knows what its files say about themselves."""

    def __init__(self, job: Job, clip: Clip, predictor: Predictor, task: Task, showing: Showing, settings: str) -> None:
        self.job, self.clip, self.predictor, self.task = job, clip, predictor, task
        self.folders, self.settings = showing.folders, settings
        self.metric, auto = task.quantity == "metres", task.style.range == drawing.AUTO
        self.steady = showing.steady != "off"
        self.toned = auto and self.steady
        self.millimetres = auto and self.metric
        self.fixed = self.toned or self.millimetres or not (auto or task.style.range.percent)
        self.rows: list[Row] = []
        self.network, self.tiles = 0.0, 0
        self.network_size = self.source_size = (0, 0)

    def draw(self, frame: Frame) -> Frame:
        """The frame with a picture of every kind, and no depth any more."""
        if frame.raw is None:
            raise ValueError(f"frame {frame.number} has no depth")
        found = self.predictor.finish(frame.raw)
        height, width = found.depth.shape
        self.network_size, self.source_size, self.tiles = found.network_size, (height, width), found.tiles
        gauge = frame.gauge or AS_IT_IS
        steady = self.steady and not self.metric
        depth = found.depth * np.float32(gauge.scale) + np.float32(gauge.shift) if steady else found.depth
        frame.span = drawing.limits(depth, self.task.style.range)
        tones = records.tone(found.depth, gauge.scale, gauge.shift) if self.toned else None
        for kind in self.job.outputs:
            frame.pictures[kind] = self.picture(kind, frame, depth, tones)
        frame.rgb, frame.raw = NOTHING, None
        return frame

    def write(self, work: Generator[Frame, None, None], writer: ClipWriter, show: Show) -> None:
        """Write every frame, after those that a job before has written."""
        for state in map(json.loads, writer.states()):
            self.rows += [Row(*row) for row in state["rows"]]
            self.network_size, self.source_size, self.tiles = *map(tuple, state["sizes"]), state["tiles"]
        begun, before, kept = time.perf_counter(), len(self.rows), len(self.rows)
        with contextlib.closing(work):
            for frame in work:
                gauge = frame.gauge or AS_IT_IS
                self.rows.append(Row(frame.pts, gauge.scale, gauge.shift, gauge.scene, *frame.span))
                writer.write(frame.pts, frame.pictures, self.state(frame, self.rows[kept:]))
                kept = len(self.rows) if writer.ends_segment(frame.number) else kept
                self.network += frame.network
                show(len(self.rows), (len(self.rows) - before) / (time.perf_counter() - begun))

    def state(self, frame: Frame, rows: Sequence[Row]) -> str:
        """What a job that goes on after this frame has to know; the rows are those of its segment."""
        sizes = [self.network_size, self.source_size]
        return json.dumps({"steadier": frame.state, "rows": rows, "sizes": sizes, "tiles": self.tiles})

    def picture(
        self, kind: str, frame: Frame, depth: types.DepthArray, tones: types.DepthArray | None
    ) -> NDArray[Any] | bytes:
        """One kind of output: a picture for video, the bytes of a file for a folder."""
        if kind == "npy":
            return images.npy(depth)
        scale = self.scale(frame.span)
        values, low, high = (depth, *frame.span) if tones is None else (tones, 0.0, 1.0)
        drawn: NDArray[Any]
        if kind == "png16":
            drawn = scale.encode(depth if tones is None or self.millimetres else tones)
        elif kind == "gray":
            drawn = drawing.gray(values, low, high, self.task.quantity, self.task.style.near)
        else:
            drawn = drawing.color(values, low, high, self.task.quantity, self.task.style.colormap)
            drawn = drawn if kind == "color" else drawing.side(frame.rgb, drawn)
        return png.encode(drawn, self.describe(frame.span).text()) if self.folders else drawn

    def scale(self, span: tuple[float, float]) -> records.Scale:
        """What the 16-bit values of a frame stand for, whose depth has this range."""
        quantity, near = self.task.quantity, self.task.style.near
        if self.millimetres:
            return records.scale16(0.0, self.predictor.max_depth or 1.0, quantity, near, auto=True)
        if self.toned:
            return replace(records.scale16(0.0, 1.0, quantity, near), unit=records.TONES)
        return records.scale16(*span, quantity, near)

    def describe(self, span: tuple[float, float]) -> records.Record:
        """What a frame, or with the range of all a clip, says about itself."""
        scale, task = self.scale(span), self.task
        return records.Record(
            scale.black, scale.white, scale.near, scale.unit, task.quantity, *span, task.encoder, task.model,
            self.network_size, self.source_size, __version__, recorded_name(self.job), self.settings,
        )  # fmt: skip

    def record(self) -> records.Record:
        """What the clip says about itself."""
        found = self.describe((min(row.low for row in self.rows), max(row.high for row in self.rows)))
        return found if self.fixed else replace(found, unit=VARYING)

    def account(self) -> str:
        """The record and how the depth of each frame was made: what leads back to the network's own numbers."""
        shots = [row._asdict() | {"seconds": float(row.pts * self.clip.time_base)} for row in self.rows]
        return json.dumps({RECORD_KEYWORD: asdict(self.record()), "frames": shots}, allow_nan=False)

    def texts(self) -> dict[str, str]:
        """What each kind of output holds besides its frames: a clip its record, a folder the account of all frames."""
        record = json.dumps(asdict(self.record()), allow_nan=False)
        return {kind: record if path.suffix else self.account() for kind, path in self.job.outputs.items()}


def sidecars(job: Job) -> list[Path]:
    """The files beside 16-bit clips that hold the scale and shift of every frame."""
    return [path.with_suffix(".json") for kind, path in job.outputs.items() if kind == "png16" and path.suffix]


def fingerprint(clip: Clip, task: Task, showing: Showing) -> str:
    """A short hash of all that decides the outputs: the clip's identity and the settings."""
    sources = [[path.name, *identity(path)] for path in clip.pictures or (clip.path,)]
    return hashlib.sha256(json.dumps([sources, task.settings, showing.settings]).encode()).hexdigest()[:16]


def recorded(job: Job, settings: str) -> records.Record | None:
    """What the outputs say about themselves if all are there, made so; None if not.

    Raises DacliError for one that dacli did not make, or made from a clip of another name.
    """
    found = [record_in(path, job, texts) for path in job.outputs.values() if path.exists()]
    whole = len(found) == len(job.outputs) and all(path.is_file() for path in sidecars(job))
    return found[0] if whole and all(record.settings == settings for record in found) else None


def made_by_dacli(path: str) -> bool:
    """Whether a clip or a folder of frames is one that dacli made, by its name and what it says about itself."""
    with contextlib.suppress(DacliError):
        return path.endswith((*CLIP_KINDS.values(), *FRAME_KINDS.values())) and RECORD_KEYWORD in texts(Path(path))
    return False


def texts(path: Path) -> Mapping[str, str]:
    """What a clip, or the sidecar of a folder of frames, says about itself."""
    if path.is_file():
        return decoding.tags(path)
    return {key: json.dumps(value) for key, value in told(path / FRAMES).items()}


def told(path: Path) -> dict[str, Any]:
    """What a sidecar holds; raises DacliError for one that is not there or damaged."""
    try:
        found = json.loads(files.contents(path))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DacliError(f"{display_path(path)} is damaged", "make the clip again with dacli")
    return found


def decode(path: Path) -> tuple[records.Record, int, Iterator[types.DepthArray]]:
    """What a 16-bit depth clip says about itself, how many frames it has, and their floats [H, W], one by one.

    They are what --save npy writes, to half a step. Raises DacliError for any other file, and at the first damage.
    """
    name = display_path(path)
    values, tags, count = decoding.read_depth16_clip(path)
    if RECORD_KEYWORD not in tags:
        raise DacliError(f"{name} does not say what its values mean", "decode takes the 16-bit files that dacli wrote")
    record = records.parse_record(tags[RECORD_KEYWORD], name)
    if record.unit != VARYING:
        return record, count, (record.floats(each) for each in values)
    rows = told(path.with_suffix(".json")).get("frames", [])
    if len(rows) != count:
        raise DacliError(f"{name} and the file beside it, which ends in .json, do not belong together", "make it again")
    scales = (records.scale16(row["low"], row["high"], record.quantity, record.near) for row in rows)
    return record, count, (scale.decode(each) for each, scale in zip(values, scales, strict=False))
