"""Joining of encoded segments and the source's sound into one file, without encoding a frame again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.paths import display_path
from dacli.video import ffmpeg
from dacli.video.encoding import encode_error, encoder_time_base
from dacli.video.probe import RECORD_TAG, Clip, SoundTrack

_CONVERTED = {  # the codec of a track that a container cannot hold as it is
    "mp4": {"audio": "aac", "subtitle": "mov_text"},
    "matroska": {"audio": "flac", "subtitle": "subrip"},
}
_REPORT = "this is a fault of dacli or of this ffmpeg: please report it"


@dataclass(frozen=True)
class Soundtrack:
    """Arguments that copy sound and subtitles from the second input, and notes on what is changed or left out."""

    arguments: tuple[str, ...]
    notes: tuple[str, ...]


def container_options(path: Path) -> str:
    """Return ffmpeg's name for the container of an output."""
    return "matroska" if path.suffix == ".mkv" else "mp4"


def choose_soundtrack(clip: Clip, form: str) -> Soundtrack:
    """Return how the clip's tracks go into a container: copied if it can hold them, else converted, else left out."""
    arguments: list[str] = []
    notes = []
    taken = 0
    for track in clip.tracks:
        name = f"{track.kind} track {track.number} ({track.codec}) of {display_path(clip.path)}"
        codec = next((c for c in ("copy", _CONVERTED[form][track.kind]) if _holds(clip, track, c, form)), None)
        if codec is None:
            notes.append(f"{name} is left out: {form} cannot hold it")
            continue
        if codec != "copy":
            notes.append(f"{name} became {codec}: {form} cannot hold it as it is")
        taken += 1
        arguments += ["-map", f"1:{track.number}", f"-c:{taken}", codec]
    return Soundtrack(tuple(arguments), tuple(notes))


def _holds(clip: Clip, track: SoundTrack, codec: str, form: str) -> bool:
    """Return whether ffmpeg can write the head of a file with this track."""
    stream = ["-movflags", "+empty_moov+delay_moov"] if form == "mp4" else []
    target = ["-c", codec, "-t", "0", *stream, "-f", form, "pipe:1"]
    return not ffmpeg.run_ffmpeg(["-i", ffmpeg.file_url(clip.path), "-map", f"0:{track.number}", *target])


def join_segments(
    segments: Mapping[int, Path], clip: Clip, sound: Soundtrack, record: str, part: Path, output: Path
) -> None:
    """Write the segments, by the time at which each begins, and the sound to `part`; `record` goes into its tags.

    Raises DacliError, with the name of `output`, if ffmpeg cannot.
    """
    form = container_options(output)
    script = part.with_suffix(".ffconcat")
    script.write_text(_script(segments, clip), "utf-8")
    late = _seconds(min(segments) - clip.origin, clip)
    inputs = ["-itsoffset", late, "-f", "concat", "-safe", "0", "-i", ffmpeg.file_url(script), *_source(clip)]
    kept = ["-map_metadata", "1", "-map_chapters", "1"] if not clip.pictures else []
    # Without the time scale ffmpeg 7.0 rounds the time at which the video begins to milliseconds.
    exact = ["-movie_timescale", str(encoder_time_base(clip)), "-movflags", "+faststart"]
    named = [text for tag in _tags(record, form) for text in ("-metadata", tag)]
    # What comes before the part is left out, where Matroska would begin with it and MP4 would hide it.
    only = ["-copypriorss", "0"] if clip.origin else []
    maps = ["-map", "0:v:0", "-c:v", "copy", *sound.arguments, *kept, *only]
    fault = ffmpeg.run_ffmpeg(
        [*inputs, *maps, *named, *(exact if form == "mp4" else []), "-f", form, ffmpeg.file_url(part)]
    )
    if fault:
        raise encode_error(output, fault)


def _tags(record: str, form: str) -> list[str]:
    """Return options for the record, and, outside MP4, without tags that only describe the MP4 of the source."""
    if form == "mp4":
        return [f"{RECORD_TAG}={RECORD_KEYWORD}={record}"]
    return [f"{RECORD_KEYWORD}={record}", "major_brand=", "minor_version=", "compatible_brands="]


def check_times(part: Path, times: Sequence[int], clip: Clip, output: Path) -> None:
    """Raise DacliError unless the file shows its frames at these times of the clip, to the nearest of its ticks."""
    found, log = ffmpeg.list_media(["-copyts", "-i", ffmpeg.file_url(part), "-map", "0:V:0", "-c", "copy"])
    if found is None or len(found.pts) != len(times):
        number = len(found.pts) if found else 0
        fault = f"{display_path(output)} came out with {number} of {len(times)} frames ({ffmpeg.find_complaint(log)})"
        raise DacliError(fault, _REPORT)
    finest = (
        10**9 if clip.time_base.denominator <= encoder_time_base(clip) else 10**6
    )  # where the times themselves are rounded
    slack = found.time_base / 2 + Fraction(1, finest)
    late = _lateness(found, times[0], clip) if container_options(output) == "matroska" else 0
    for got, time in zip(found.pts, times, strict=True):
        wanted = (time - clip.origin) * clip.time_base + late
        if abs(got * found.time_base - wanted) > slack:
            fault = (
                f"a frame of {display_path(output)} is shown at {float(got * found.time_base)} s, not {float(wanted)} s"
            )
            raise DacliError(fault, _REPORT)


def _lateness(found: ffmpeg.MediaListing, first: int, clip: Clip) -> Fraction:
    """Return by how much ffmpeg 7.0 (not 9.0) shows all later in Matroska, for sound that begins before 0."""
    late = found.pts[0] * found.time_base - (first - clip.origin) * clip.time_base
    return late if found.time_base < late < Fraction(1, 10) else Fraction(0)


def _script(segments: Mapping[int, Path], clip: Clip) -> str:
    begins = sorted(segments)
    whole = [round((begin - begins[0]) * clip.time_base * 1_000_000) for begin in begins]
    lines = ["ffconcat version 1.0"]
    for begin, time, after in zip(begins, whole, [*whole[1:], None], strict=True):
        lines.append(f"file {segments[begin].name}")
        if after is not None:
            lines.append(f"duration {(after - time) // 1_000_000}.{(after - time) % 1_000_000:06d}")
    return "\n".join(lines) + "\n"


def _source(clip: Clip) -> list[str]:
    if clip.pictures:
        return []
    begin = ["-ss", _seconds(clip.origin, clip)] if clip.origin else []
    until = ["-t", _seconds(clip.end - clip.origin, clip)] if clip.followed else []
    return [*begin, *until, "-i", ffmpeg.file_url(clip.path)]


def _seconds(time: int, clip: Clip) -> str:
    return f"{float(time * clip.time_base):.6f}"
