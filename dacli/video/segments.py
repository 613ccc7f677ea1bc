"""Outputs of a clip, written in segments, so that a killed run continues after the last complete segment.

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

SEGMENT_FRAMES = 250  # frames of a segment
FRAMES_FILE = "frames.json"  # the record of a folder of frames
_SETTINGS_FILE = "job.json"


class ClipWriter:
    """Writes all outputs of one clip in one pass; an output appears under its name only when it is complete.

    Until then complete segments are in a hidden folder beside the outputs, and stay there after a failure unless
    discard() is called. With `resume`, segments of the same settings, clip and quality are used again if all formats
    have them: `after` is the time of their last frame, or None, and states() yields their states.
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
        self.videos = {kind: path for kind, path in outputs.items() if path.suffix}
        self.folder = _segment_folder(outputs)
        self.segments: list[list[int]] = []  # the times of the frames in each finished segment
        self.times: list[int] = []  # the times of the frames in the current segment
        self.state = ""
        self.encoders: dict[str, ClipEncoder] = {}
        fingerprint = _fingerprint(clip, settings, crf, length)
        with self._named_errors():
            if resume and _text(self.folder / _SETTINGS_FILE) == fingerprint:
                self._load_segments()
            else:
                self.discard()
                self.folder.mkdir(parents=True)
                files.write_file(self.folder / _SETTINGS_FILE, fingerprint.encode())

    @property
    def after(self) -> int | None:
        """Return the time of the last frame in finished segments, in ticks of the clip; None before the first."""
        return self.segments[-1][-1] if self.segments else None

    def ends_segment(self, number: int) -> bool:
        """Return whether frame `number` of this run, counted from 0, ends a segment: its state is kept."""
        return (number + 1) % self.length == 0

    def states(self) -> Iterator[str]:
        """Yield the state that was written with the last frame of each finished segment."""
        for number in range(len(self.segments)):
            yield json.loads(_text(self._path(number)))["state"]

    def write(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes], state: str = "") -> None:
        """Write a frame in every format: a picture for a video, the bytes of a file for a folder.

        `state` is what a later run needs to continue after this frame. Raises DacliError if it cannot be written.
        """
        if not self.times:
            self._open(pts, pictures)
        index = bisect_right(self.clip.pts, pts)
        until = self.clip.pts[index] if index < len(self.clip.pts) else self.clip.end
        for kind in self.outputs:
            picture = pictures[kind]
            if isinstance(picture, bytes):
                files.write_file(self.folder / kind / _file_name(kind, index - 1), picture)
            else:
                self.encoders[kind].write(pts, until, picture)
        self.times.append(pts)
        self.state = state
        if len(self.times) == self.length:
            self._end_segment()

    def finish(self, records: Mapping[str, str], *, allow_truncated: bool = False) -> tuple[str, ...]:
        """Complete the outputs, with the record of each format in its tags, and return notes for the user.

        Raises DacliError if an output cannot be written or, unless `allow_truncated`, if frames are missing.
        """
        if self.times:
            self._end_segment()
        times = [time for segment in self.segments for time in segment]
        if not times or (tuple(times) != self.clip.pts and not allow_truncated):
            fault = f"{len(times)} of {len(self.clip.pts)} frames of {display_path(self.clip.path)} were written"
            raise DacliError(fault, "run the command again")
        notes = self._join(records, times)
        with self._named_errors():
            for kind, output in self.outputs.items():
                part = self.folder / f"{kind}{output.suffix}"
                if kind not in self.videos:
                    files.write_file(part / FRAMES_FILE, records[kind].encode())
                    if output.exists():
                        output.replace(self.folder / f"old-{kind}")
                part.replace(output)
        self.discard()
        return notes

    def _join(self, records: Mapping[str, str], times: list[int]) -> tuple[str, ...]:
        sounds: dict[str, muxing.Soundtrack] = {}
        for kind, output in self.videos.items():
            form = muxing.container_options(output)
            sounds[form] = sounds.get(form) or muxing.choose_soundtrack(self.clip, form)
            part = self.folder / f"{kind}{output.suffix}"
            segments = {segment[0]: self._path(i, kind) for i, segment in enumerate(self.segments)}
            muxing.join_segments(segments, self.clip, sounds[form], records[kind], part, output)
            muxing.check_times(part, times, self.clip, output)
        return tuple(note for sound in sounds.values() for note in sound.notes)

    def discard(self) -> None:
        """Remove the folder of segments."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Stop the encoders; the segment that was being written is lost."""
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
        for kind, output in self.videos.items():
            path = self._path(len(self.segments), kind)
            self.encoders[kind] = ClipEncoder(path, np.asarray(pictures[kind]), self.clip, pts, self.crf, output)

    def _end_segment(self) -> None:
        for encoder in self.encoders.values():
            encoder.end()
        with self._named_errors():
            for encoder in self.encoders.values():
                encoder.finish()
            content = {"pts": self.times, "state": self.state}
            files.write_file(self._path(len(self.segments)), json.dumps(content).encode())
        self.segments.append(self.times)
        self.close()

    def _load_segments(self) -> None:
        while content := _text(self._path(len(self.segments))):
            if not all(self._path(len(self.segments), kind).is_file() for kind in self.videos):
                break
            self.segments.append(json.loads(content)["pts"])
        complete = {self._path(i, kind) for i in range(len(self.segments)) for kind in ("", *self.videos)}
        for path in self.folder.iterdir():
            if path.is_file() and path not in complete and path.name != _SETTINGS_FILE:
                path.unlink()

    def _path(self, number: int, kind: str = "") -> Path:
        return self.folder / (f"{number:06d}-{kind}.mov" if kind else f"{number:06d}.json")

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise encode_error(next(iter(self.outputs.values())), files.os_reason(error)) from error


def _segment_folder(outputs: Mapping[str, Path]) -> Path:
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
