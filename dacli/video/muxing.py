"""Muxing of encoded segments and the source's sound into one file, without encoding frames again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.paths import display_path
from dacli.video import ffmpeg
from dacli.video.clip import Clip, MediaTrack, seconds_text
from dacli.video.decoding import read_tags
from dacli.video.encoding import encode_error, encoder_time_base
from dacli.video.probe import KEYWORDS_END, RECORD_TAG
from dacli.video.subtitles import is_cut_text, write_cut_subtitles

_FALLBACK_CODECS = {  # the codec to convert a track to if a container cannot hold it unchanged
    "mp4": {"audio": "aac", "subtitle": "mov_text"},
    "mov": {"audio": "pcm_s16le", "subtitle": "mov_text"},
    "matroska": {"audio": "flac", "subtitle": "subrip"},
}
_TAGS_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands")
_ITUNES_TAGS = (  # that MP4 holds under names of its own, and that all players show
    "title artist album_artist composer album date encoder comment genre copyright grouping lyrics description synopsis"
    " show episode_id network keywords episode_sort season_number media_type hd_video gapless_playback compilation disc"
    " track rating sort_name sort_artist sort_album sort_album_artist sort_composer sort_show location timecode"
)
_FIXED_TAGS = {*_TAGS_OF_THE_FILE, *_ITUNES_TAGS.split(), "creation_time", "duration", "handler_name", "vendor_id"}
_MOV_TEXT = {".srt": "mov_text", ".ass": "mov_text"}
CUT_CODECS = {"mp4": _MOV_TEXT, "mov": _MOV_TEXT, "matroska": {".srt": "subrip", ".ass": "ass"}}
_REPORT_HINT = "this is a bug in dacli or in this version of ffmpeg: please report it"


@dataclass(frozen=True)
class TrackMapping:
    """Arguments that copy or convert sound and subtitles, and notes on what was changed.

    The source is the second input; `subtitles` are further ones, with the cues of a part of it.
    """

    arguments: tuple[str, ...]
    notes: tuple[str, ...]
    subtitles: tuple[Path, ...] = ()


def container_format(path: Path) -> str:
    """Return ffmpeg's name for the container of an output."""
    return {".mkv": "matroska", ".mov": "mov"}.get(path.suffix, "mp4")


def map_tracks(clip: Clip, container: str, folder: Path) -> TrackMapping:
    """Return the mapping of a clip's tracks to a container: copied if possible, otherwise converted or left out.

    Files that it needs are written into `folder`.
    """
    arguments: list[str] = []
    notes = []
    subtitles: list[Path] = []
    mapped = 0
    for track in clip.tracks:
        name = f"{track.kind} track {track.number} ({track.codec}) of {display_path(clip.path)}"
        codec = next(
            (c for c in ("copy", _FALLBACK_CODECS[container][track.kind]) if _can_hold(clip, track, c, container)), None
        )
        if codec is None:
            notes.append(f"{name} is left out: {container} cannot hold it")
            continue
        if codec != "copy":
            notes.append(f"{name} became {codec}: {container} cannot hold it as it is")
        if is_cut_text(clip, track):
            path = write_cut_subtitles(clip, track, folder)
            if path is not None:
                mapped += 1
                codec = CUT_CODECS[container][path.suffix]
                arguments += ["-map", f"{2 + len(subtitles)}:0", f"-c:{mapped}", codec]
                arguments += [f"-map_metadata:s:{mapped}", f"1:s:{track.number}"]
                subtitles.append(path)
            continue
        mapped += 1
        arguments += ["-map", f"1:{track.number}", f"-c:{mapped}", codec]
        if codec != "copy" and track.kind == "audio" and clip.source.start is not None:
            arguments += [f"-filter:{mapped}", "atrim=start=0"]  # what is copied is cut by -copypriorss
    return TrackMapping(tuple(arguments), tuple(notes), tuple(subtitles))


def _can_hold(clip: Clip, track: MediaTrack, codec: str, container: str) -> bool:
    """Return whether ffmpeg can write the header of a file with this track; no packet is written."""
    stream = ["-movflags", "+empty_moov+delay_moov"] if container != "matroska" else []
    target = ["-c", codec, "-t", "0", *stream, "-f", container, "pipe:1"]
    return not ffmpeg.run_ffmpeg(["-i", ffmpeg.file_url(clip.path), "-map", f"0:{track.number}", *target])


def join_segments(
    segments: Mapping[int, Path], clip: Clip, track_mapping: TrackMapping, record: str, part: Path, output: Path
) -> None:
    """Write the segments, keyed by their start times, and the sound to `part`, with `record` in its tags.

    Raises DacliError, with the name of `output`, if ffmpeg fails.
    """
    container = container_format(output)
    script = part.with_suffix(".ffconcat")
    script.write_text(_concat_script(segments, clip), "utf-8")
    delay = _seconds(min(segments) - clip.origin, clip)
    inputs = [
        *(["-copyts"] if clip.source.start is not None else []),
        "-itsoffset",
        delay,
        "-f",
        "concat",
        "-safe",
        "0",
        "-i",
        script.name,  # names in the script are resolved like parts of a URL: with the folder's, a # would end them
        *_source_arguments(clip),
        *(text for path in track_mapping.subtitles for text in ("-i", ffmpeg.file_url(path))),
    ]
    metadata = ["-map_metadata", "1", "-map_chapters", "1"] if not clip.pictures else []
    # Without this time scale, ffmpeg 7.0 rounds the start time of the video to milliseconds.
    source_tags = {} if clip.pictures else read_tags(clip.path)
    is_free = container == "mov" or (container == "mp4" and any(_is_free_tag(key) for key in source_tags))
    free_tags = "+use_metadata_tags" if is_free else ""
    exact = ["-movie_timescale", str(encoder_time_base(clip)), "-movflags", f"+faststart{free_tags}"]
    options = _tag_options(record, clip, source_tags, container, is_free=is_free)
    tags = [text for tag in options for text in ("-metadata", tag)]
    # Packets before the part are dropped: Matroska would start with them, and MP4 would hide them.
    trimmed = ["-copypriorss", "0"] if clip.origin else []
    if clip.end_trimmed and clip.source.start is not None:
        trimmed += ["-t", _seconds(clip.end - clip.origin, clip)]
    # Matroska has times in milliseconds, and states the rate beside them.
    rate = ["-r:v:0", str(clip.rate)] if container == "matroska" and not clip.variable else []
    maps = ["-map", "0:v:0", "-c:v", "copy", *rate, *track_mapping.arguments, *metadata, *trimmed]
    message = ffmpeg.run_ffmpeg(
        [*inputs, *maps, *tags, *(exact if container != "matroska" else []), "-f", container, ffmpeg.file_url(part)],
        part.parent,
    )
    if message:
        raise encode_error(output, message)


def _is_free_tag(key: str) -> bool:
    """Return whether MP4 can hold a tag only among those of free names, which fewer players show."""
    return key.partition("-")[0] not in _FIXED_TAGS


def _tag_options(
    record: str, clip: Clip, source_tags: Mapping[str, str], container: str, *, is_free: bool
) -> list[str]:
    """Return the tags for the record and the timecode; the keywords of the source stay.

    Where tags have free names, those of the source that only describe its MP4 file are removed.
    """
    timecode = f"timecode={'' if clip.variable else clip.timecode}"
    if container == "mp4" and not is_free:
        words = source_tags.get(RECORD_TAG, "")
        return [f"{RECORD_TAG}={words + KEYWORDS_END if words else ''}{RECORD_KEYWORD}={record}", timecode]
    return [f"{RECORD_KEYWORD}={record}", timecode, *(f"{key}=" for key in _TAGS_OF_THE_FILE)]


def check_times(part: Path, times: Sequence[int], clip: Clip, output: Path) -> None:
    """Raise DacliError unless the file shows its frames at these times of the clip, rounded to its ticks."""
    listing, log = ffmpeg.list_media(["-copyts", "-i", ffmpeg.file_url(part), "-map", "0:V:0", "-c", "copy"])
    if listing is None or len(listing.pts) != len(times):
        count = len(listing.pts) if listing else 0
        message = f"{display_path(output)} came out with {count} of {len(times)} frames ({ffmpeg.find_log_error(log)})"
        raise DacliError(message, _REPORT_HINT)
    # Times are rounded to nanoseconds, or to microseconds if the clip's ticks are finer than the output's.
    resolution = 10**9 if clip.time_base.denominator <= encoder_time_base(clip) else 10**6
    tolerance = listing.time_base / 2 + Fraction(1, resolution)
    delay = _matroska_delay(listing, times[0], clip) if container_format(output) == "matroska" else 0
    for pts, time in zip(listing.pts, times, strict=True):
        actual, expected = pts * listing.time_base, (time - clip.origin) * clip.time_base + delay
        if abs(actual - expected) > tolerance:
            message = f"a frame of {display_path(output)} is shown at {float(actual)} s, not {float(expected)} s"
            raise DacliError(message, _REPORT_HINT)


def _matroska_delay(listing: ffmpeg.MediaListing, first: int, clip: Clip) -> Fraction:
    """Return the delay that ffmpeg 7.0 (not 9.0) adds to all frames in Matroska if the sound begins before 0."""
    delay = listing.pts[0] * listing.time_base - (first - clip.origin) * clip.time_base
    return delay if listing.time_base < delay < Fraction(1, 10) else Fraction(0)


def _concat_script(segments: Mapping[int, Path], clip: Clip) -> str:
    begins = sorted(segments)
    whole = [round((begin - begins[0]) * clip.time_base * 1_000_000) for begin in begins]
    lines = ["ffconcat version 1.0"]
    for begin, time, after in zip(begins, whole, [*whole[1:], None], strict=True):
        lines.append(f"file {segments[begin].name}")
        if after is not None:
            lines.append(f"duration {(after - time) // 1_000_000}.{(after - time) % 1_000_000:06d}")
    return "\n".join(lines) + "\n"


def _source_arguments(clip: Clip) -> list[str]:
    """Return the arguments that read the source's sound, with the time 0 where the outputs begin."""
    if clip.pictures:
        return []
    name = [*clip.source.options, "-i", ffmpeg.file_url(clip.path)]
    if clip.source.start is not None:  # read whole: ffmpeg would count the start of the file twice after a seek
        return ["-itsoffset", seconds_text(-clip.source.start - clip.origin * clip.time_base), *name]
    begin = ["-ss", _seconds(clip.origin, clip)] if clip.origin else []
    until = ["-t", _seconds(clip.end - clip.origin, clip)] if clip.end_trimmed else []
    return [*begin, *until, *name]


def _seconds(time: int, clip: Clip) -> str:
    return seconds_text(time * clip.time_base)
