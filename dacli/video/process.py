"""Processing of one clip: decode → network → stabilize → draw → encode, and the state for resuming a stopped run."""

import contextlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from dacli.batch.jobs import Job
from dacli.batch.opening import OpenRun
from dacli.batch.preparing import prepare_picture
from dacli.batch.stages import Loaded, Stages, run_stages
from dacli.callbacks import Log
from dacli.errors import DacliError
from dacli.io import files
from dacli.io.records import Record
from dacli.paths import display_path
from dacli.video import decoding, frames, probe
from dacli.video.clip import Clip, trim_clip
from dacli.video.depth_clips import find_finished_clip, fingerprint_clip, sidecar_paths
from dacli.video.frames import DrawnFrame, FirstPassFrame, FrameInfo
from dacli.video.options import ClipOptions
from dacli.video.rendering import IDENTITY_SCALE_SHIFT, ClipRenderer, FrameRow, FrameSizes
from dacli.video.segments import ClipWriter
from dacli.video.stabilize import Stabilizer, TwoPassStabilizer

FrameProgress = Callable[[int, float], None]  # takes the number of frames done, and the frames per second
TemporalStage = Callable[[Iterator[Any]], Iterator[Any]]


@dataclass(frozen=True)
class ClipResult:
    """A finished clip: its record, its number of frames, the tiles of each frame, and the network's time in seconds.

    `skipped` is true if its outputs already existed.
    """

    record: Record
    count: int
    tiles: int = 0
    network: float = 0.0
    skipped: bool = False


def open_clip(path: Path, options: ClipOptions, max_pixels: int) -> Clip:
    """Return the part of a clip to process; raise DacliError for a file that is not a clip, or is too large."""
    clip = probe.probe_clip(path, options.rate, options.probing)
    if clip.width * clip.height > max_pixels:
        fault = f"{display_path(path)} has {clip.width} × {clip.height} pixels, more than {max_pixels / 1e6:g} million"
        raise DacliError(fault, "allow more with --max-pixels")
    part = trim_clip(clip, options.start, options.end, options.max_fps, constant_rate=options.constant_rate)
    return part if options.first_frame is None else part.numbered_from(options.first_frame)


class ClipInterrupt(KeyboardInterrupt):
    """An interrupt while a clip is made; `kept` frames are kept, after which the next run goes on."""

    def __init__(self, kept: int) -> None:
        super().__init__()
        self.kept = kept


def process_clip(
    job: Job, clip: Clip, run: OpenRun, options: ClipOptions, *, log: Log, progress: FrameProgress
) -> ClipResult:
    """Write all outputs of a clip unless they already exist; raise DacliError if one cannot be written.

    An output file is complete or does not exist. An interrupt is raised as ClipInterrupt.
    """
    fingerprint = fingerprint_clip(clip, run.settings, options)
    if not run.settings.overwrite and (record := find_finished_clip(job, fingerprint)):
        return ClipResult(record, len(clip.pts), skipped=True)
    renderer = ClipRenderer(job, clip, run.predictor, run.settings, options, fingerprint)
    resume = not run.settings.overwrite
    writer = ClipWriter(clip, job.outputs, str(fingerprint), crf=options.crf, codec=options.codec, resume=resume)
    try:
        with writer:
            if writer.damage:
                log(writer.damage)
            if writer.kept_frames:
                log(f"{display_path(clip.path)}: goes on after frame {writer.kept_frames} of {len(clip.pts)}")
            temporal = choose_temporal_stage(renderer, run, writer, log)
            source = decoding.decode_frames(
                clip,
                after=writer.after,
                allow_truncated=options.allow_truncated,
                alpha=run.settings.alpha,
                log=log,
            )
            drawn = run_frames(source, run, temporal, renderer.draw)
            written = FrameWriter(writer)
            written.write_all(drawn, progress)
            record = renderer.clip_record(written.rows, written.sizes)
            notes = writer.finish(renderer.output_texts(written.rows, record), allow_truncated=options.allow_truncated)
    except KeyboardInterrupt:
        raise ClipInterrupt(writer.kept_frames) from None
    for path in sidecar_paths(job):
        files.write_file(path, renderer.sidecar_text(written.rows, record).encode())
    for folder in writer.other_folders():
        log(f"{display_path(folder)} holds frames of a run with other settings that was stopped: delete it if unwanted")
    for note in notes:
        log(note)
    return ClipResult(record, len(written.rows), written.sizes.tiles, written.network)


def run_frames(
    decoded: Generator[decoding.DecodedFrame, None, None],
    run: OpenRun,
    temporal: TemporalStage,
    draw: Callable[[Any], Any],
) -> Generator[Any, None, None]:
    """Yield every frame in order, drawn; an error in any stage is raised here and ends all stages."""

    def read(numbered: tuple[int, decoding.DecodedFrame]) -> Loaded[FrameInfo]:
        number, (pts, rgb, transparent) = numbered
        return Loaded(FrameInfo(pts, number), prepare_picture(rgb, *run), rgb, transparent)

    def numbered_frames() -> Iterator[tuple[int, decoding.DecodedFrame]]:
        with contextlib.closing(decoded):  # enumerate() alone cannot be closed, and would leave ffmpeg running
            yield from enumerate(decoded)

    return run_stages(numbered_frames(), Stages(read=read, write=draw, temporal=temporal), run.predictor)


def choose_temporal_stage(renderer: ClipRenderer, run: OpenRun, writer: ClipWriter, log: Log) -> TemporalStage:
    """Return the stage that adds scale and shift to the frames after the last one in the writer."""
    clip, options = renderer.clip, renderer.options
    metric = run.settings.quantity == "metres"
    if options.steady == "off":
        return iter
    if options.steady == "on":
        stabilizer = Stabilizer(metric=metric)
        if writer.segments:
            stabilizer.restore(json.loads(writer.state(len(writer.segments) - 1))["stabilizer"])
        return partial(
            frames.stabilize_in_one_pass,
            stabilizer=stabilizer,
            time_base=clip.time_base,
            depth_of=renderer.network_depth,
        )
    two_pass = run_first_pass(renderer, run, TwoPassStabilizer(metric=metric), log)
    kept = 0 if writer.after is None else sum(time <= writer.after for time in clip.decoded_times)
    return partial(frames.apply_scale_shifts, scale_shifts=islice(two_pass.scale_shifts(), kept, None))


def run_first_pass(renderer: ClipRenderer, run: OpenRun, stabilizer: TwoPassStabilizer, log: Log) -> TwoPassStabilizer:
    """Return the stabilizer after the first of two passes, which adds all frames of a clip."""
    clip, options = renderer.clip, renderer.options
    log(f"{display_path(clip.path)}: the first of two passes, which takes as long as the second")
    source = decoding.decode_frames(clip, allow_truncated=options.allow_truncated, alpha=run.settings.alpha)
    collect = partial(
        frames.collect_first_pass,
        stabilizer=stabilizer,
        time_base=clip.time_base,
        depth_of=renderer.network_depth,
    )
    results: Generator[FirstPassFrame, None, None] = run_frames(source, run, collect, lambda frame: frame)
    for _ in results:
        pass
    return stabilizer


class FrameWriter:
    """Writes the frames of a clip that an earlier run has not written, and keeps a row of data for every frame."""

    def __init__(self, writer: ClipWriter) -> None:
        self.writer = writer
        self.rows: list[FrameRow] = []
        self.sizes = FrameSizes()
        self.network = 0.0
        for number in range(len(writer.segments)):
            state = json.loads(writer.state(number))
            self.rows += [FrameRow(*row) for row in state["rows"]]
            network_size, source_size = map(tuple, state["sizes"])
            self.sizes = FrameSizes(network_size, source_size, state["tiles"])

    def write_all(self, drawn: Generator[DrawnFrame, None, None], progress: FrameProgress) -> None:
        """Write all remaining frames."""
        started, before = perf_counter(), len(self.rows)
        with contextlib.closing(drawn):
            for frame in drawn:
                scale_shift = frame.info.scale_shift or IDENTITY_SCALE_SHIFT
                times = (frame.info.pts, *self.writer.clip.repeats.get(frame.info.pts, ()))
                self.rows += [
                    FrameRow(time, scale_shift.scale, scale_shift.shift, scale_shift.scene, *frame.span)
                    for time in times
                ]
                self.sizes = FrameSizes(frame.network_size, frame.source_size, frame.tiles)
                self.writer.write(times, frame.pictures, partial(self.state, frame.info))
                self.network += frame.seconds.network
                progress(len(self.rows), (len(self.rows) - before) / (perf_counter() - started))

    def state(self, info: FrameInfo) -> str:
        """Return the state from which a run resumes after a segment that ends with this frame, as JSON."""
        rows = self.rows[-len(self.writer.times) :]
        sizes = [self.sizes.network, self.sizes.source]
        stabilizer = info.state() if info.state else None
        return json.dumps({"stabilizer": stabilizer, "rows": rows, "sizes": sizes, "tiles": self.sizes.tiles})
