"""Writing of a clip's outputs in segments of a few seconds, so that a killed run resumes after the last complete one.

An output is a video file or, if its name has no suffix, a folder with one numbered file for each frame.
"""

import contextlib
import hashlib
import json
import shutil
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.io import files
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.video import muxing
from dacli.video.encoding import DEFAULT_CRF, ClipEncoder, encode_error
from dacli.video.probe import Clip

SEGMENT_FRAMES = 250  # frames
FRAMES_FILE = "frames.json"  # the metadata of a folder of frames
_JOB_FILE = "job.json"


class ClipWriter:
    """Writes all outputs of one clip in one pass; an output is complete or does not exist.

    Until finish(), complete segments are in a hidden folder next to the outputs. They stay there after a failure,
    unless discard() is called. With `resume`, segments of an earlier run with the same `settings`, clip and quality
    are kept if they have all formats: `after` is the time of their last frame, or None if there are none, and states()
    yields the state that was written with the last frame of each segment.
    """

    def __init__(
        self,
        clip: Clip,
        outputs: Mapping[str, Path],
        settings: str,
        *,
        crf: int = DEFAULT_CRF,
        segment_length: int = SEGMENT_FRAMES,
        resume: bool = False,
    ) -> None:
        self.clip, self.outputs, self.crf, self.segment_length = clip, outputs, crf, segment_length
        self.video_outputs = {kind: path for kind, path in outputs.items() if path.suffix}
        self.work_folder = _hidden_folder(outputs)
        self.segments: list[list[int]] = []  # the times of the frames in each finished segment
        self.times: list[int] = []  # of the frames in the current segment
        self.state = ""
        self.encoders: dict[str, ClipEncoder] = {}
        job_text = _fingerprint(clip, settings, crf, segment_length)
        with self._report_disk_errors():
            if resume and _read_text(self.work_folder / _JOB_FILE) == job_text:
                self._load_segments()
            else:
                self.discard()
                self.work_folder.mkdir(parents=True)
                files.write_file(self.work_folder / _JOB_FILE, job_text.encode())

    @property
    def after(self) -> int | None:
        """Return the time of the last frame in finished segments, in ticks of the clip; None before the first."""
        return self.segments[-1][-1] if self.segments else None

    def ends_segment(self, number: int) -> bool:
        """Return whether frame `number` of this run, counted from 0, is the last of a segment: its state is kept."""
        return (number + 1) % self.segment_length == 0

    def states(self) -> Iterator[str]:
        """Yield the state that was written with the last frame of each finished segment."""
        for number in range(len(self.segments)):
            yield json.loads(_read_text(self._segment_path(number)))["state"]

    def write(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes], state: str = "") -> None:
        """Write a frame in every format: an array for video, or the bytes of a file for a folder.

        `state` is needed to resume after this frame. Raises DacliError if writing fails.
        """
        if not self.times:
            self._start_segment(pts, pictures)
        index = bisect_right(self.clip.pts, pts)
        until = self.clip.pts[index] if index < len(self.clip.pts) else self.clip.end
        for kind in self.outputs:
            picture = pictures[kind]
            if isinstance(picture, bytes):
                files.write_file(self.work_folder / kind / _file_name(kind, index - 1), picture)
            else:
                self.encoders[kind].write(pts, until, picture)
        self.times.append(pts)
        self.state = state
        if len(self.times) == self.segment_length:
            self._end_segment()

    def finish(self, records: Mapping[str, str], *, allow_truncated: bool = False) -> tuple[str, ...]:
        """Complete the outputs, each with the record of its format in its tags, and return notes for the user.

        Raises DacliError if an output cannot be written, or if frames are missing, unless that is allowed.
        """
        if self.times:
            self._end_segment()
        times = [time for segment in self.segments for time in segment]
        if not times or (tuple(times) != self.clip.pts and not allow_truncated):
            message = f"{len(times)} of {len(self.clip.pts)} frames of {display_path(self.clip.path)} were written"
            raise DacliError(message, "run the command again")
        notes = self._join(records, times)
        with self._report_disk_errors():
            for kind, output in self.outputs.items():
                part = self.work_folder / f"{kind}{output.suffix}"
                if kind not in self.video_outputs:
                    files.write_file(part / FRAMES_FILE, records[kind].encode())
                    if output.exists():
                        output.replace(self.work_folder / f"old-{kind}")
                part.replace(output)
        self.discard()
        return notes

    def _join(self, records: Mapping[str, str], times: list[int]) -> tuple[str, ...]:
        mappings: dict[str, muxing.TrackMapping] = {}
        for kind, output in self.video_outputs.items():
            container = muxing.container_format(output)
            mappings[container] = mappings.get(container) or muxing.map_tracks(self.clip, container)
            part = self.work_folder / f"{kind}{output.suffix}"
            segments = {segment[0]: self._segment_path(i, kind) for i, segment in enumerate(self.segments)}
            muxing.join_segments(segments, self.clip, mappings[container], records[kind], part, output)
            muxing.check_times(part, times, self.clip, output)
        return tuple(note for mapping in mappings.values() for note in mapping.notes)

    def discard(self) -> None:
        """Remove the folder of segments."""
        self.close()
        shutil.rmtree(self.work_folder, ignore_errors=True)

    def close(self) -> None:
        """Stop the encoders of the current segment, and drop that segment."""
        for encoder in self.encoders.values():
            encoder.close()
        self.encoders, self.times = {}, []

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if not self.segments:
            self.discard()

    def _start_segment(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes]) -> None:
        for kind, output in self.video_outputs.items():
            path = self._segment_path(len(self.segments), kind)
            self.encoders[kind] = ClipEncoder(path, np.asarray(pictures[kind]), self.clip, pts, self.crf, output)

    def _end_segment(self) -> None:
        for encoder in self.encoders.values():
            encoder.end()
        with self._report_disk_errors():
            for encoder in self.encoders.values():
                encoder.finish()
            segment = {"pts": self.times, "state": self.state}
            files.write_file(self._segment_path(len(self.segments)), json.dumps(segment).encode())
        self.segments.append(self.times)
        self.close()

    def _load_segments(self) -> None:
        while segment := _read_text(self._segment_path(len(self.segments))):
            if not all(self._segment_path(len(self.segments), kind).is_file() for kind in self.video_outputs):
                break
            self.segments.append(json.loads(segment)["pts"])
        complete = {
            self._segment_path(i, kind) for i in range(len(self.segments)) for kind in ("", *self.video_outputs)
        }
        for path in self.work_folder.iterdir():
            if path.is_file() and path not in complete and path.name != _JOB_FILE:
                path.unlink()

    def _segment_path(self, number: int, kind: str = "") -> Path:
        return self.work_folder / (f"{number:06d}-{kind}.mov" if kind else f"{number:06d}.json")

    @contextlib.contextmanager
    def _report_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise encode_error(next(iter(self.outputs.values())), files.os_reason(error)) from error


def count_kept_frames(outputs: Mapping[str, Path]) -> int:
    """Return how many frames a run that was stopped has left in finished segments."""
    segments = sorted(_hidden_folder(outputs).glob("[0-9]*.json"))
    return sum(len(json.loads(segment.read_text("utf-8"))["pts"]) for segment in segments)


def _hidden_folder(outputs: Mapping[str, Path]) -> Path:
    kind, path = next(iter(outputs.items()))
    return path.with_name(f".{path.name.removesuffix(FORMATS[kind].clip_suffix)}.part")


def _fingerprint(clip: Clip, settings: str, crf: int, segment_length: int) -> str:
    times = hashlib.sha256(repr((clip.time_base, clip.pts, clip.end, clip.origin)).encode()).hexdigest()
    return json.dumps([settings, crf, segment_length, times])


def _file_name(kind: str, number: int) -> str:
    return f"{number:06d}{'.npy' if kind == 'npy' else '.png'}"


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
