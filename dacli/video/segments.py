"""Outputs of a clip, written in segments of a few seconds, so that a killed job goes on after the last whole one.

An output is a video file, or, if its name has no suffix, a folder of numbered files with one for each frame.
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
FRAMES_FILE = "frames.json"  # what a folder of frames says about itself
_ABOUT = "job.json"


class ClipWriter:
    """Writes all outputs of one clip in one pass, each whole in the end or not there.

    Until then whole segments lie in a hidden folder beside the outputs, also after a failure, unless `discard` is
    called. With `resume`, those of the same `settings`, clip and quality that have all kinds are kept: `after` is the
    time of their last frame (None: there is none), states() what was given with the last frame of each.
    """

    def __init__(
        self,
        clip: Clip,
        outputs: Mapping[str, Path],
        settings: str,
        *,
        crf: int = DEFAULT_CRF,
        length: int = SEGMENT_FRAMES,
        resume: bool = False,
    ) -> None:
        self.clip, self.outputs, self.crf, self.length = clip, outputs, crf, length
        self.films = {kind: path for kind, path in outputs.items() if path.suffix}
        self.work = _work_folder(outputs)
        self.segments: list[list[int]] = []  # of each finished one, the times of its frames
        self.times: list[int] = []  # of the frames in the one that is being written
        self.state = ""
        self.encoders: dict[str, ClipEncoder] = {}
        about = _fingerprint(clip, settings, crf, length)
        with self._disk():
            if resume and _text(self.work / _ABOUT) == about:
                self._recall()
            else:
                self.discard()
                self.work.mkdir(parents=True)
                files.write_file(self.work / _ABOUT, about.encode())

    @property
    def after(self) -> int | None:
        """Return the time of the last frame in finished segments, in ticks of the clip; None before the first."""
        return self.segments[-1][-1] if self.segments else None

    def ends_segment(self, number: int) -> bool:
        """Return whether the frame written after `number` others in this run ends a segment: its state is kept."""
        return (number + 1) % self.length == 0

    def states(self) -> Iterator[str]:
        """Yield what was given with the last frame of each finished segment."""
        for number in range(len(self.segments)):
            yield json.loads(_text(self._path(number)))["state"]

    def write(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes], state: str = "") -> None:
        """Write a frame of every kind, a picture for video and a file's bytes for a folder.

        `state` is what going on after it takes. Raises DacliError if that fails.
        """
        if not self.times:
            self._open(pts, pictures)
        index = bisect_right(self.clip.pts, pts)
        until = self.clip.pts[index] if index < len(self.clip.pts) else self.clip.end
        for kind in self.outputs:
            picture = pictures[kind]
            if isinstance(picture, bytes):
                files.write_file(self.work / kind / _file_name(kind, index - 1), picture)
            else:
                self.encoders[kind].write(pts, until, picture)
        self.times.append(pts)
        self.state = state
        if len(self.times) == self.length:
            self._end_segment()

    def finish(self, records: Mapping[str, str], *, allow_truncated: bool = False) -> tuple[str, ...]:
        """Make the outputs whole, each with the record of its kind in its tags, and return what there is to tell.

        Raises DacliError if frames of the clip were not written, unless that is allowed, and if an output fails.
        """
        if self.times:
            self._end_segment()
        times = [time for segment in self.segments for time in segment]
        if not times or (tuple(times) != self.clip.pts and not allow_truncated):
            fault = f"{len(times)} of {len(self.clip.pts)} frames of {display_path(self.clip.path)} were written"
            raise DacliError(fault, "run the command again")
        notes = self._join(records, times)
        with self._disk():
            for kind, output in self.outputs.items():
                part = self.work / f"{kind}{output.suffix}"
                if kind not in self.films:
                    files.write_file(part / FRAMES_FILE, records[kind].encode())
                    if output.exists():
                        output.replace(self.work / f"old-{kind}")
                part.replace(output)
        self.discard()
        return notes

    def _join(self, records: Mapping[str, str], times: list[int]) -> tuple[str, ...]:
        sounds: dict[str, muxing.Soundtrack] = {}
        for kind, output in self.films.items():
            form = muxing.container_options(output)
            sounds[form] = sounds.get(form) or muxing.choose_soundtrack(self.clip, form)
            part = self.work / f"{kind}{output.suffix}"
            segments = {segment[0]: self._path(i, kind) for i, segment in enumerate(self.segments)}
            muxing.join_segments(segments, self.clip, sounds[form], records[kind], part, output)
            muxing.check_times(part, times, self.clip, output)
        return tuple(note for sound in sounds.values() for note in sound.notes)

    def discard(self) -> None:
        """Remove the folder of segments."""
        self.close()
        shutil.rmtree(self.work, ignore_errors=True)

    def close(self) -> None:
        """End the encoders of the segment that is being written, which is lost."""
        for encoder in self.encoders.values():
            encoder.close()
        self.encoders, self.times = {}, []

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
        if not self.segments:
            self.discard()

    def _open(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes]) -> None:
        for kind, output in self.films.items():
            path = self._path(len(self.segments), kind)
            self.encoders[kind] = ClipEncoder(path, np.asarray(pictures[kind]), self.clip, pts, self.crf, output)

    def _end_segment(self) -> None:
        for encoder in self.encoders.values():
            encoder.end()
        with self._disk():
            for encoder in self.encoders.values():
                encoder.finish()
            done = {"pts": self.times, "state": self.state}
            files.write_file(self._path(len(self.segments)), json.dumps(done).encode())
        self.segments.append(self.times)
        self.close()

    def _recall(self) -> None:
        while done := _text(self._path(len(self.segments))):
            if not all(self._path(len(self.segments), kind).is_file() for kind in self.films):
                break
            self.segments.append(json.loads(done)["pts"])
        whole = {self._path(i, kind) for i in range(len(self.segments)) for kind in ("", *self.films)}
        for path in self.work.iterdir():
            if path.is_file() and path not in whole and path.name != _ABOUT:
                path.unlink()

    def _path(self, number: int, kind: str = "") -> Path:
        return self.work / (f"{number:06d}-{kind}.mov" if kind else f"{number:06d}.json")

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise encode_error(next(iter(self.outputs.values())), files.os_reason(error)) from error


def _work_folder(outputs: Mapping[str, Path]) -> Path:
    kind, path = next(iter(outputs.items()))
    return path.with_name(f".{path.name.removesuffix(FORMATS[kind].clip_suffix)}.part")


def _fingerprint(clip: Clip, settings: str, crf: int, length: int) -> str:
    times = hashlib.sha256(repr((clip.time_base, clip.pts, clip.end, clip.origin)).encode()).hexdigest()
    return json.dumps([settings, crf, length, times])


def _file_name(kind: str, number: int) -> str:
    return f"{number:06d}{'.npy' if kind == 'npy' else '.png'}"


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return ""
