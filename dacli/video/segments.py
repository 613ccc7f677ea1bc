"""Writing of a clip's outputs in segments of half a minute of work, so that a killed run resumes after the last one.

An output is a video file, or a folder with one numbered file for each frame.
"""

import contextlib
import hashlib
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.io import files
from dacli.io.locks import lock_file
from dacli.outputs.formats import FORMATS, is_video_file
from dacli.paths import display_path
from dacli.prefetch import postpone_interrupts
from dacli.video import muxing, work_folder
from dacli.video.clip import Clip
from dacli.video.codecs import CODECS, EXACT16
from dacli.video.encoding import DEFAULT_CRF, ClipEncoder, encode_error

SEGMENT_SECONDS = 30.0  # of work, after which a segment ends
FRAMES_FILE = "frames.json"  # the metadata of a folder of frames
_HIDDEN_SUFFIX = ".part"


class ClipWriter:
    """Writes all outputs of one clip in one pass; an output is complete or does not exist.

    Until finish(), segments are in a hidden folder next to the outputs, one for each `settings`, clip and quality.
    They stay there after an interrupt, and after a failure past the first segment; both end the current segment. With
    `resume`, the segments of an earlier run are kept: `after` is the time of their last frame, or None if there are
    none, and state() returns the state that was written with the last frame of a segment.
    A segment ends `segment_seconds` after it began, by the `clock`.
    """

    def __init__(
        self,
        clip: Clip,
        outputs: Mapping[str, Path],
        settings: str,
        *,
        crf: int = DEFAULT_CRF,
        codec: str = "h264",
        segment_seconds: float = SEGMENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        resume: bool = False,
    ) -> None:
        self.clip, self.outputs, self.crf, self.codec = clip, outputs, crf, codec
        self.segment_seconds, self.clock = segment_seconds, clock
        self.video_outputs = {kind: path for kind, path in outputs.items() if is_video_file(path)}
        self.work_folder = _hidden_folder(outputs, _fingerprint(clip, settings, crf, outputs))
        self.segments: list[list[int]] = []  # the times of the frames in each finished segment
        self.states: list[str] = []  # after each finished segment
        self.damage = ""  # why segments of an earlier run are left out
        self.times: list[int] = []  # of the frames in the current segment
        self.last_state: Callable[[], str] = str  # after the last frame
        self.encoders: dict[str, ClipEncoder] = {}
        self.began = clock()  # the current segment
        self.lock: BinaryIO | None = None
        with self._report_disk_errors():
            self._open_work_folder(resume=resume)

    @property
    def after(self) -> int | None:
        """Return the time of the last frame in finished segments, in ticks of the clip; None before the first."""
        return self.segments[-1][-1] if self.segments else None

    @property
    def kept_frames(self) -> int:
        """Return how many frames are in finished segments."""
        return sum(map(len, self.segments))

    def other_folders(self) -> list[Path]:
        """Return the folders of segments that runs with other settings have left for the same outputs."""
        start = _hidden_start(self.outputs)
        found = (path for path in self.work_folder.parent.iterdir() if path.name.startswith(start))
        return sorted(path for path in found if path.suffix == _HIDDEN_SUFFIX and path != self.work_folder)

    def state(self, segment: int) -> str:
        """Return the state that was written with the last frame of a finished segment, counted from 0."""
        return self.states[segment]

    def write(
        self, times: Sequence[int], pictures: Mapping[str, NDArray[Any] | bytes], state: Callable[[], str] = str
    ) -> None:
        """Write a frame in every format, at each of its times: an array for video, the bytes of a file for a folder.

        `state` returns what is needed to resume after this frame; it is called if a segment ends with the frame.
        Raises DacliError if writing fails; an interrupt waits until all formats are written.
        """
        with postpone_interrupts():
            try:
                for pts in times:
                    self._write_all_formats(pts, pictures)
                    self.times.append(pts)
            except BaseException:
                self.close()  # some formats lack this frame
                raise
            self.last_state = state
            if self.clock() - self.began >= self.segment_seconds:
                self._end_segment()

    def _write_all_formats(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes]) -> None:
        if not self.times:
            self._start_segment(pts, pictures)
        index = bisect_right(self.clip.pts, pts)
        until = self.clip.pts[index] if index < len(self.clip.pts) else self.clip.end
        for kind in self.outputs:
            picture = pictures[kind]
            if isinstance(picture, bytes):
                path = self.work_folder / kind / self._file_name(kind, pts)
                files.write_file(path, picture, below=self.work_folder)
            else:
                self.encoders[kind].write(pts, until, picture)

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
                part = self._part(kind)
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
            mappings[container] = mappings.get(container) or muxing.map_tracks(self.clip, container, self.work_folder)
            part = self._part(kind)
            segments = {segment[0]: self._segment_path(i, kind) for i, segment in enumerate(self.segments)}
            muxing.join_segments(segments, self.clip, mappings[container], records[kind], part, output)
            muxing.check_times(part, times, self.clip, output)
        return tuple(note for mapping in mappings.values() for note in mapping.notes)

    def discard(self) -> None:
        """Remove the folder of segments."""
        self.close()
        self._unlock()
        shutil.rmtree(self.work_folder, ignore_errors=True)

    def close(self) -> None:
        """Stop the encoders of the current segment, and drop that segment."""
        for encoder in self.encoders.values():
            encoder.close()
        self.encoders, self.times = {}, []

    def __enter__(self) -> "ClipWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.times and (self.segments or isinstance(error, KeyboardInterrupt)):
            with contextlib.suppress(DacliError):  # the error that ended the run says more
                self._end_segment()
        self.close()
        if not self.segments:
            self.discard()
        self._unlock()

    def _open_work_folder(self, *, resume: bool) -> None:
        """Create the folder of segments, or take that of an earlier run; raise DacliError if a run is using it."""
        self.lock = work_folder.open_work_folder(self.work_folder)
        if lock_file(self.lock) is False:
            self._unlock()
            fault = f"another run is making the same outputs of {display_path(self.clip.path)}"
            raise DacliError(fault, "let it end, or stop it")
        if resume:
            self._load_segments()
        self._delete_unfinished()

    def _unlock(self) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def _start_segment(self, pts: int, pictures: Mapping[str, NDArray[Any] | bytes]) -> None:
        for kind, output in self.video_outputs.items():
            path = self._segment_path(len(self.segments), kind)
            codec = EXACT16 if FORMATS[kind].bits == 16 else CODECS[self.codec]
            picture = np.asarray(pictures[kind])
            self.encoders[kind] = ClipEncoder(path, picture, self.clip, pts, self.crf, output, codec)

    def _end_segment(self) -> None:
        for encoder in self.encoders.values():
            encoder.end()
        with self._report_disk_errors():
            for encoder in self.encoders.values():
                encoder.finish()
            notes = work_folder.SegmentNotes(self.times, self.last_state())
            files.write_file(self._segment_path(len(self.segments)), work_folder.encode_segment_notes(notes))
        self.segments.append(notes.pts)
        self.states.append(notes.state)
        self.close()
        self.began = self.clock()

    def _load_segments(self) -> None:
        """Take the segments up to the first that is damaged or lacks a kind."""
        try:
            while notes := work_folder.read_segment_notes(self._segment_path(len(self.segments))):
                if not all(self._segment_path(len(self.segments), kind).is_file() for kind in self.video_outputs):
                    break
                self.segments.append(notes.pts)
                self.states.append(notes.state)
        except DacliError as error:
            self.damage = str(error)

    def _delete_unfinished(self) -> None:
        """Delete all files of the folder that are not of a finished segment."""
        numbers = range(len(self.segments))
        kept = {self._segment_path(number, kind) for number in numbers for kind in ("", *self.video_outputs)}
        for path in self.work_folder.iterdir():
            if (path.is_file() or path.is_symlink()) and path not in kept and path.name != work_folder.LOCK_FILE:
                path.unlink()

    def _part(self, kind: str) -> Path:
        """Return where an output is completed before it is moved to its place."""
        return self.work_folder / f"{kind}{self.outputs[kind].suffix if kind in self.video_outputs else ''}"

    def _file_name(self, kind: str, pts: int) -> str:
        """Return the name of a frame's file: that of its folder, and the number of the frame."""
        return f"{self.outputs[kind].name}_{self.clip.frame_label(pts)}{Path(FORMATS[kind].suffix).suffix}"

    def _segment_path(self, number: int, kind: str = "") -> Path:
        return self.work_folder / (f"{number:06d}-{kind}.mov" if kind else f"{number:06d}.json")

    @contextlib.contextmanager
    def _report_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise encode_error(next(iter(self.outputs.values())), files.os_reason(error)) from error


def _hidden_start(outputs: Mapping[str, Path]) -> str:
    kind, path = next(iter(outputs.items()))
    stem = path.name.removesuffix(path.suffix) if is_video_file(path) else path.name
    return f".{stem.removesuffix(PurePath(FORMATS[kind].clip_suffix).stem)}-"


def _hidden_folder(outputs: Mapping[str, Path], fingerprint: str) -> Path:
    folder = next(iter(outputs.values())).parent
    return folder / f"{_hidden_start(outputs)}{fingerprint}{_HIDDEN_SUFFIX}"


def _fingerprint(clip: Clip, settings: str, crf: int, outputs: Mapping[str, Path]) -> str:
    """Return a hash of all that segments depend on, their formats too: a run with others does not touch them."""
    times = (clip.time_base, clip.pts, clip.end, clip.origin)
    return hashlib.sha256(repr((settings, crf, *outputs, times)).encode()).hexdigest()[:16]
