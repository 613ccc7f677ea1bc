"""Probing of a clip, a video file or a folder of numbered pictures: its exact content, without decoding it."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

from dacli.batch.inputs import PICTURE_SUFFIXES
from dacli.errors import DacliError
from dacli.io import files, images
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.video import ffmpeg, timing

FOLDER_RATE = Fraction(24)
LENIENT_OPTIONS = ("-max_error_rate", "1", "-fflags", "+discardcorrupt")
RECORD_TAG = "keywords"  # MP4 has no tags with free names: this tag holds `dacli=` and the record
COPY_AGAIN = "copy it again, or save it again with another program"
_STREAM = re.compile(r"^\[info\]   Stream #0:(\d+)(?:\[\w+\])?(?:\(.*?\))?: (Audio|Subtitle|Video): (\w+)(.*)$", re.M)
_MAPPED = re.compile(r"^\[info\]   Stream #0:(\d+) -> #0:0", re.M)
_FORMAT = re.compile(r"^\[info\] Input #0, (\S+), from", re.M)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d+):([\d.]+),", re.M)
_PIXEL_FORMAT = re.compile(r", ([a-z]\w+)[(,]")
_RATE = re.compile(r", ([\d.]+) fps")
_TRANSFER = re.compile("smpte2084|arib-std-b67")  # PQ and HLG
_FIELDS = re.compile("(?:top|bottom) (?:coded )?first")
_ENDED = re.compile(r"\[error\] .*(?:ended prematurely|partial file)")
_BOXES = {b"ftyp", b"mdat", b"wide", b"free", b"skip"}  # the first box of an MP4 or MOV file
# Streams without a container: ffmpeg invents the times of their packets.
_UNTIMED = {"h264", "hevc", "vvc", "obu", "m4v", "mpegvideo", "mjpeg", "vc1"}
_NO_CLIPS = {"hls", "concat", "dash", "sdp", "rtsp", "imf", "tty", "ffmetadata"}


class MediaTrack(NamedTuple):
    """A stream other than the video: its number in the file, its kind ("audio" or "subtitle"), and its codec."""

    number: int
    kind: str
    codec: str


@dataclass(frozen=True)
class Clip:
    """The content of a clip; times are in ticks of `time_base` seconds from the start of the file.

    `width` and `height` are those of the upright frames in stored pixels, each `sample_aspect` times as wide as high.
    Frame i is shown at `pts[i]`, the last one until `end`; `pts` is strictly increasing. `rate` is exact, or the mean
    if `variable`. Outputs start at `origin`. `missing_frames` is the number of frames that the file declares but does
    not contain; `end_trimmed` is true if frames at the end were left out; `transfer` is ffmpeg's name of an HDR curve.
    """

    path: Path
    codec: str
    pixel_format: str
    width: int
    height: int
    sample_aspect: Fraction
    time_base: Fraction
    pts: tuple[int, ...]
    end: int
    rate: Fraction
    variable: bool
    transfer: str = ""
    interlaced: bool = False
    tracks: tuple[MediaTrack, ...] = ()
    origin: int = 0
    missing_frames: int = 0
    end_trimmed: bool = False
    seekable: bool = True
    pictures: tuple[Path, ...] = ()

    @property
    def seconds(self) -> Fraction:
        """Return the duration from the first frame to the end, in seconds."""
        return (self.end - self.pts[0]) * self.time_base


def probe_clip(path: Path, rate: Fraction = FOLDER_RATE) -> Clip:
    """Return the content of a video file, or of a folder of numbered pictures to show at `rate`.

    Decodes only the first frame, or all frames if the packets do not contain the presentation times (interlaced,
    hidden or untimed frames). Raises DacliError, with the reason, for a file that is not a clip.
    """
    if path.is_dir():
        return _probe_folder(path, rate)
    _check_file(path)
    found, log = ffmpeg.list_media([*clip_source(path), "-c", "copy"])
    if found is None:
        raise _unreadable_error(path, log)
    form = _container_format(path, found.log)
    video = _video_line(found.log)
    decoded = not found.pts or form in _UNTIMED or found.codec == "vp8" or _FIELDS.search(video) is not None
    if decoded:
        pts, end = decodable_frames(path, found.time_base)
        found = replace(found, pts=pts, end=end)
    if not found.pts:
        raise DacliError(f"{display_path(path)} has a video stream without a frame", COPY_AGAIN)
    return _make_clip(path, found, video, seekable=not decoded)


def clip_source(path: Path, *before: str) -> list[str]:
    """Return ffmpeg arguments that read a file's video, not its cover; `before` are options of the input."""
    name = ["-i", ffmpeg.file_url(path)]
    return ["-copyts", "-start_at_zero", *before, *name, "-map", "0:V:0", "-fps_mode", "passthrough"]


def decodable_frames(path: Path, time_base: Fraction) -> tuple[tuple[int, ...], int]:
    """Return the presentation times of all frames that can be decoded, and the end of the last one, in ticks."""
    ticks = f"{time_base.numerator}:{time_base.denominator}"
    arguments = [*clip_source(path, *LENIENT_OPTIONS), "-enc_time_base", ticks, "-c:v", "wrapped_avframe"]
    found, _ = ffmpeg.list_media(arguments)
    return (found.pts, found.end) if found else ((), 0)


@contextlib.contextmanager
def spool_stream(stream: BinaryIO) -> Iterator[Path]:
    """Yield the path of a temporary file with the whole stream; it is removed at the end of the context."""
    with tempfile.TemporaryDirectory(prefix="dacli-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "stdin")
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
        except OSError as error:
            fault = f"standard input cannot be saved in {display_path(path.parent)} ({files.os_reason(error)})"
            raise DacliError(
                fault, "free some space there, set TMPDIR to another folder, or use a file as input"
            ) from error
        yield path


def trim_clip(clip: Clip, start: float | None = None, end: float | None = None, max_fps: float | None = None) -> Clip:
    """Return the clip with only the frames from `start` to before `end` (seconds), at most `max_fps` per second.

    With a `start`, the first frame of the output is at time 0. Raises DacliError if no frame is left.
    """
    first = Fraction(start or 0) / clip.time_base
    stop = clip.end + 1 if end is None else Fraction(end) / clip.time_base
    times = tuple(time for time in clip.pts if first <= time < stop)
    if not times:
        span = f"from {start or 0:g} s to {'its end' if end is None else f'{end:g} s'}"
        last = f"choose another part: its last frame is at {float(clip.pts[-1] * clip.time_base):.3f} s"
        raise DacliError(f"{display_path(clip.path)} has no frame {span}", last)
    origin = times[0] if start else clip.origin
    if times[-1] != clip.pts[-1]:
        after = clip.pts[clip.pts.index(times[-1]) + 1]
        clip = replace(clip, end=after, missing_frames=0, end_trimmed=True)
    kept = replace(clip, pts=times, origin=origin)
    return kept if max_fps is None else _limit_rate(kept, Fraction(max_fps))


def _limit_rate(clip: Clip, fps: Fraction) -> Clip:
    times = timing.thin_out(clip.pts, clip.time_base, fps)
    if times == clip.pts:
        return clip
    rate, variable = timing.frame_rate(times, clip.end, clip.time_base, fps)
    return replace(clip, pts=times, rate=rate, variable=variable)


def _make_clip(path: Path, found: ffmpeg.MediaListing, video: str, *, seekable: bool) -> Clip:
    times = tuple(timing.make_increasing(found.pts))
    rate, variable = timing.frame_rate(times, found.end, found.time_base, _stated_rate(video))
    first, log = ffmpeg.list_media([*clip_source(path, *LENIENT_OPTIONS), "-frames:v", "1"])
    if first is None or not first.pts:
        raise DacliError(f"{display_path(path)} cannot be decoded ({ffmpeg.find_log_error(log)})", COPY_AGAIN)
    transfer, form = _TRANSFER.search(video), _PIXEL_FORMAT.search(video)
    return Clip(
        path=path,
        codec=found.codec,
        pixel_format=form[1] if form else "",
        width=first.width,
        height=first.height,
        sample_aspect=first.sample_aspect,
        time_base=found.time_base,
        pts=times,
        end=max(found.end, times[-1] + 1),
        rate=rate,
        variable=variable,
        transfer=transfer[0] if transfer else "",
        interlaced=_FIELDS.search(video) is not None,
        tracks=_media_tracks(found.log),
        missing_frames=_missing_frames(found, rate),
        seekable=seekable and times == found.pts,
    )


def _missing_frames(found: ffmpeg.MediaListing, rate: Fraction) -> int:
    if not (found.cut or _ENDED.search(found.log)):
        return 0
    duration = _DURATION.search(found.log)
    hours, minutes, seconds = map(Fraction, duration.groups()) if duration else (0, 0, 0)
    return max(1, round((hours * 3600 + minutes * 60 + seconds) * rate) - len(found.pts))


def _stated_rate(video: str) -> Fraction | None:
    found = _RATE.search(video)
    return timing.exact_rate(Fraction(found[1])) if found else None


def _streams(log: str) -> list[tuple[str, ...]]:
    return _STREAM.findall(log.partition("Stream mapping:")[0])


def _video_line(log: str) -> str:
    mapped = _MAPPED.search(log)
    return next((rest for index, _, _, rest in _streams(log) if mapped and index == mapped[1]), "")


def _media_tracks(log: str) -> tuple[MediaTrack, ...]:
    return tuple(MediaTrack(int(i), kind.lower(), codec) for i, kind, codec, _ in _streams(log) if kind != "Video")


def _check_file(path: Path) -> None:
    name = display_path(path)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise DacliError(f"{name} does not exist", "check the path", "missing") from None
    except (OSError, ValueError) as error:
        raise DacliError(f"{name} cannot be read ({files.os_reason(error)})", "check its permissions") from error
    if empty:
        raise DacliError(f"{name} is empty", "check what made it", "damaged")


def _container_format(path: Path, log: str) -> str:
    found = _FORMAT.search(log)
    form = found[1] if found else ""
    if form == "image2" or form.endswith("_pipe"):
        raise DacliError(f"{display_path(path)} is a picture, not a clip", "use dacli image for pictures", "format")
    if _NO_CLIPS & set(form.split(",")):
        raise DacliError(
            f"{display_path(path)} is not a clip but text or a list of files ({form})", "use the clip itself as input"
        )
    return form


def _unreadable_error(path: Path, log: str) -> DacliError:
    name, cause = display_path(path), ffmpeg.find_log_error(log).removeprefix("Error opening input: ") or log
    with path.open("rb") as file:
        box = file.read(8)[4:]
    if "moov atom not found" in log and box in _BOXES:
        return DacliError(f"{name} is truncated: its index (moov) is missing", "copy or record it again", "damaged")
    if "matches no streams" in log:
        kinds = sorted({kind.lower() for _, kind, _, _ in _streams(log)} - {"video"})
        only = f", only {' and '.join(kinds)}" if kinds else ""
        return DacliError(f"{name} has no video stream{only}", "use a file with video")
    return DacliError(f"{name} is not a video that ffmpeg can read ({cause})", "check that it plays, or copy it again")


def _probe_folder(path: Path, rate: Fraction) -> Clip:
    try:
        found = [
            entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES and _is_frame(entry.name)
        ]
    except OSError as error:
        raise DacliError(
            f"{display_path(path)} cannot be listed ({files.os_reason(error)})", "check its permissions"
        ) from error
    if not found:
        raise DacliError(f"{display_path(path)} holds no pictures", "use a video file or a folder of numbered pictures")
    frames = tuple(sorted(found, key=natural_key))
    height, width = images.read_image(frames[0]).shape[:2]
    times = tuple(range(len(frames)))
    end, square = len(times), Fraction(1)
    return Clip(path, "", "", width, height, square, 1 / rate, times, end, rate, variable=False, pictures=frames)


def _is_frame(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(tuple(row.suffix for row in FORMATS.values()))


def natural_key(path: Path) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return a sort key that compares numbers in file names by value: frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts if part), path.name
