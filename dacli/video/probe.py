"""Probing of a clip, a video file or a folder of numbered pictures: its exact content, without decoding it."""

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from dacli.errors import DacliError
from dacli.io import files
from dacli.paths import display_path
from dacli.video import ffmpeg, timing
from dacli.video.clip import Clip, MediaTrack
from dacli.video.sequences import FOLDER_RATE, probe_sequence

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


def probe_clip(path: Path, rate: Fraction = FOLDER_RATE) -> Clip:
    """Return the content of a video file, or of a folder of numbered pictures to show at `rate`.

    Decodes only the first frame, or all frames if the packets do not contain the presentation times (interlaced,
    hidden or untimed frames). Raises DacliError, with the reason, for a file that is not a clip.
    """
    if path.is_dir():
        return probe_sequence(path, rate)
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
