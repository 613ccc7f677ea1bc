"""Probing of a clip, a video file or a folder of numbered pictures: its exact content, without decoding it."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from dacli.choices import DeinterlaceMode
from dacli.errors import DacliError
from dacli.io import files
from dacli.io.names import RECORD_KEYWORD
from dacli.paths import display_path
from dacli.video import ffmpeg, timing
from dacli.video.clip import Clip, ClipSource, RoundedTimes
from dacli.video.sequences import FOLDER_RATE, is_frame_pattern, probe_sequence
from dacli.video.streams import NO_STREAM, FileReport, FileStream, describe_streams, rank_stream

LENIENT_OPTIONS = ("-max_error_rate", "1", "-fflags", "+discardcorrupt")
RECORD_TAG = "keywords"  # of an MP4 without tags of free names: it holds its own words, `dacli=`, and the record
KEYWORDS_END, RECORD_MARK = "; ", f"{RECORD_KEYWORD}={{"
COPY_AGAIN = "copy it again, or save it again with another program"
TELECINE = ("fieldmatch", "bwdif=mode=send_frame:deint=interlaced", "decimate")  # film of which TV made 30 frames
_TRANSFER = re.compile("smpte2084|arib-std-b67")  # PQ and HLG
_FIELDS = re.compile("(?:top|bottom) (?:coded )?first")
_FIELD_FRAME = re.compile(r"Parsed_showinfo.* i:([PTB])")
_ALPHA = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya8|ya16|pal8|ayuv|vuya")
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # ffmpeg's own ones ignore the layer with the transparency
_ENDED = re.compile(r"\[error\] .*(?:ended prematurely|partial file)")
_BOXES = {b"ftyp", b"mdat", b"wide", b"free", b"skip"}  # the first box of an MP4 or MOV file
# Streams without a container: ffmpeg invents the times of their packets.
_UNTIMED = {"h264", "hevc", "vvc", "obu", "m4v", "mpegvideo", "mjpeg", "vc1"}
_HIDING = {"vp8", "theora"}  # codecs with packets that show no frame of their own
_JUMPING = {"mpegts", "mpegtsraw", "mpeg", "ogg"}  # containers whose time stamps may jump
_LARGEST_JUMP = Fraction(1, 2)  # seconds back that are taken for jitter
_RAW_JPEG = {".mjpeg", ".mjpg"}  # frames one after the other, of which ffmpeg sees the first picture only
_NO_CLIPS = {"hls", "concat", "dash", "sdp", "rtsp", "imf", "tty", "ffmetadata"}


@dataclass(frozen=True)
class ProbeOptions:
    """What a user says of a file: the number of its video stream, or None, and whether its frames are interlaced."""

    stream: int | None = None
    deinterlace: DeinterlaceMode = "auto"


AUTOMATIC = ProbeOptions()


def probe_clip(path: Path, rate: Fraction = FOLDER_RATE, options: ProbeOptions = AUTOMATIC) -> Clip:
    """Return the content of a video file, or of a folder or pattern of numbered pictures to show at `rate`.

    Decodes only the first frames, or all if the packets do not contain the presentation times (interlaced, hidden or
    untimed frames). Raises DacliError, with the reason, for a file that is not a clip.
    """
    if path.is_dir() or is_frame_pattern(path):
        return probe_sequence(path, rate)
    _check_file(path)
    plain = ClipSource(path, options=("-f", "mjpeg") if path.suffix.lower() in _RAW_JPEG else ())
    found, log = _list_packets(plain)
    report = FileReport(log if found is None else found.log)
    if found is None and not report.videos:
        raise _unreadable_error(path, report)
    _check_format(path, report.formats)
    source, video, notes = choose_source(plain, report, options)
    if source != plain:
        found, log = _list_packets(source)
    if found is None:
        raise _unreadable_error(path, FileReport(log))
    if report.jump_back(found.time_base) > _LARGEST_JUMP:
        hint = f"make one time line of them: ffmpeg -i {display_path(path)} -c copy whole.mkv"
        raise DacliError(f"the time stamps of {display_path(path)} jump back", hint)
    decoded = bool(
        not found.pts
        or report.formats & _UNTIMED
        or found.codec in _HIDING
        or _FIELDS.search(video.line)
        or source.filters
    )
    if decoded:
        pts, end = decodable_frames(source, found.time_base)
        found = replace(found, pts=pts, end=end)
    if not found.pts:
        raise DacliError(f"{display_path(path)} has a video stream without a frame", COPY_AGAIN)
    return _make_clip(source, found, video, options, seekable=not decoded, notes=notes)


def choose_source(
    source: ClipSource, report: FileReport, options: ProbeOptions
) -> tuple[ClipSource, FileStream, tuple[str, ...]]:
    """Return how to read the video, its stream, and notes; raise DacliError for a stream that does not exist."""
    source = replace(
        source,
        start=report.start if report.formats & _JUMPING else None,
        filters=TELECINE if options.deinterlace == "telecine" else (),
    )
    video, notes = choose_stream(source, report.videos, options.stream)
    if len(report.videos) > 1:
        source = replace(source, stream=str(video.number))
    if video.has_alpha_layer and (decoder := _ALPHA_DECODERS.get(video.codec)) and ffmpeg.has_decoder(decoder):
        source = replace(source, options=(*source.options, "-c:v", decoder))
    return source, video, notes


def choose_stream(
    source: ClipSource, videos: list[FileStream], wanted: int | None
) -> tuple[FileStream, tuple[str, ...]]:
    """Return the wanted video stream, or that which players show, with a note that names the others."""
    name = display_path(source.path)
    if wanted is not None:
        found = next((video for video in videos if video.number == wanted), None)
        if found is None:
            hint = f"its video streams: {describe_streams(videos)}"
            raise DacliError(f"--stream {wanted} is not a video stream of {name}", hint)
        return found, ()
    if len(videos) < 2:
        return (videos or [NO_STREAM])[0], ()
    ranks = {video.number: rank_stream(video, _count_packets(source, video)) for video in videos}
    chosen = max(videos, key=lambda video: ranks[video.number])  # of equal ones the first
    others = describe_streams([video for video in videos if video != chosen])
    return chosen, (f"{name} has several video streams: {chosen.number} is used, not {others}; --stream chooses",)


def _count_packets(source: ClipSource, video: FileStream) -> int:
    found, _ = _list_packets(replace(source, stream=str(video.number)))
    return 0 if found is None else len(found.pts)


def _list_packets(source: ClipSource) -> tuple[ffmpeg.MediaListing | None, str]:
    return ffmpeg.list_media([*source.arguments(), "-c", "copy"])


def decodable_frames(source: ClipSource, time_base: Fraction) -> tuple[tuple[int, ...], int]:
    """Return the presentation times of all frames that can be decoded, and the end of the last one, in ticks."""
    found, _ = _list_frames(source, time_base)
    return (found.pts, found.end) if found else ((), 0)


def _list_frames(source: ClipSource, time_base: Fraction, *more: str) -> tuple[ffmpeg.MediaListing | None, str]:
    ticks = f"{time_base.numerator}:{time_base.denominator}"
    filters = ["-vf", ",".join(source.filters)] if source.filters else []
    arguments = [*source.arguments(*LENIENT_OPTIONS), "-enc_time_base", ticks, "-c:v", "wrapped_avframe"]
    return ffmpeg.list_media([*arguments, *filters, *more])


def _make_clip(
    source: ClipSource,
    found: ffmpeg.MediaListing,
    video: FileStream,
    options: ProbeOptions,
    *,
    seekable: bool,
    notes: tuple[str, ...],
) -> Clip:
    first = _first_frame(source, found)
    found = _without_leading(found, first.pts[0])
    report = FileReport(found.log)
    times = tuple(timing.make_increasing(found.pts))
    stated = None if source.filters or video.rate is None else timing.exact_rate(video.rate)
    rate, variable = timing.frame_rate(times, found.end, found.time_base, stated)
    transfer = _TRANSFER.search(video.line)
    base, exact = (found.time_base, times) if variable else timing.exact_times(times, found.time_base, rate)
    end = max(found.end, times[-1] + 1) if exact == times else exact[-1] + int(1 / (rate * base))
    return Clip(
        path=source.path,
        codec=found.codec,
        pixel_format=video.pixel_format,
        width=first.width,
        height=first.height,
        sample_aspect=first.sample_aspect,
        time_base=base,
        pts=exact,
        end=end,
        rounded=None if exact == times else RoundedTimes(found.time_base, dict(zip(exact, times, strict=True))),
        rate=rate,
        variable=variable,
        usual_rate=timing.usual_rate(video.base_rate, times, found.time_base) if variable else rate,
        transfer=transfer[0] if transfer else "",
        transparent=video.has_alpha_layer or _ALPHA.match(video.pixel_format) is not None,
        interlaced=_is_interlaced(video, first, options),
        timecode=report.timecode,
        reading=source,
        tracks=report.tracks,
        missing_frames=_missing_frames(found, report, rate),
        seekable=seekable and times == found.pts,
        notes=notes,
    )


def _first_frame(source: ClipSource, found: ffmpeg.MediaListing) -> ffmpeg.MediaListing:
    """Return the listing of the first frame that can be decoded, its log with the fields that it has."""
    shown = replace(source, filters=(*source.filters, "showinfo"))
    first, log = _list_frames(shown, found.time_base, "-frames:v", "1")
    if first is None or not first.pts:
        raise DacliError(f"{display_path(source.path)} cannot be decoded ({ffmpeg.find_log_error(log)})", COPY_AGAIN)
    return first


def _without_leading(found: ffmpeg.MediaListing, first: int) -> ffmpeg.MediaListing:
    """Return the listing without the pictures before the first packet that cannot be decoded.

    A recording that begins in the middle, or with an open group of pictures, has pictures that need earlier ones.
    """
    begin = min(first, found.first_packet)
    return replace(found, pts=tuple(time for time in found.pts if time >= begin)) if begin > found.pts[0] else found


def _is_interlaced(video: FileStream, first: ffmpeg.MediaListing, options: ProbeOptions) -> bool:
    """Return whether fields are to be combined: as asked for, or as the stream or its first frame says."""
    if options.deinterlace != "auto":
        return options.deinterlace == "on"
    field = _FIELD_FRAME.search(first.log)
    return _FIELDS.search(video.line) is not None or (field is not None and field[1] != "P")


def _missing_frames(found: ffmpeg.MediaListing, report: FileReport, rate: Fraction) -> int:
    if not (found.cut or _ENDED.search(found.log)):
        return 0
    return max(1, round(report.duration * rate) - len(found.pts))


def _check_file(path: Path) -> None:
    name = display_path(path)
    files.refuse_special_file(path)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise DacliError(f"{name} does not exist", "check the path", "missing") from None
    except (OSError, ValueError) as error:
        raise DacliError(f"{name} cannot be read ({files.os_reason(error)})", "check its permissions") from error
    if empty:
        raise DacliError(f"{name} is empty", "check what made it", "damaged")


def _check_format(path: Path, formats: set[str]) -> None:
    if "image2" in formats or any(form.endswith("_pipe") for form in formats):
        raise DacliError(f"{display_path(path)} is a picture, not a clip", "use dacli image for pictures", "format")
    if _NO_CLIPS & formats:
        fault = f"{display_path(path)} is not a clip but text or a list of files ({', '.join(sorted(formats))})"
        raise DacliError(fault, "use the clip itself as input")


def _unreadable_error(path: Path, report: FileReport) -> DacliError:
    log, name = report.log, display_path(path)
    cause = ffmpeg.find_log_error(log).removeprefix("Error opening input: ") or log
    with path.open("rb") as file:
        box = file.read(8)[4:]
    if "moov atom not found" in log and box in _BOXES:
        return DacliError(f"{name} is truncated: its index (moov) is missing", "copy or record it again", "damaged")
    if "matches no streams" in log:
        kinds = sorted({stream.kind for stream in report.streams} - {"video"})
        only = f", only {' and '.join(kinds)}" if kinds else ""
        return DacliError(f"{name} has no video stream{only}", "use a file with video")
    return DacliError(f"{name} is not a video that ffmpeg can read ({cause})", "check that it plays, or copy it again")
