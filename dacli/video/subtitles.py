"""Subtitles of a part of a clip: cues moved and cut to it, which ffmpeg does not do when it converts them."""

import re
from fractions import Fraction
from pathlib import Path

from dacli.video import ffmpeg
from dacli.video.clip import Clip, MediaTrack

TEXT_CODECS = {"subrip": "srt", "mov_text": "srt", "webvtt": "srt", "text": "srt", "ass": "ass", "ssa": "ass"}
_SRT_CUE = re.compile(r"(\d+):(\d\d):(\d\d),(\d{3}) --> (\d+):(\d\d):(\d\d),(\d{3})[^\n]*\n(.*?)(?=\n\n|\Z)", re.DOTALL)
_ASS_CUE = re.compile(r"^(Dialogue: [^,]*),(\d+):(\d\d):(\d\d)\.(\d\d),(\d+):(\d\d):(\d\d)\.(\d\d),(.*)$", re.MULTILINE)


def is_cut_text(clip: Clip, track: MediaTrack) -> bool:
    """Return whether a track is text whose cues have to be moved, because only a part of the clip is made."""
    return track.codec in TEXT_CODECS and bool(clip.origin or clip.end_trimmed)


def write_cut_subtitles(clip: Clip, track: MediaTrack, folder: Path) -> Path | None:
    """Write the cues of a text track that are shown in the part, from its start, to a file; None if there are none."""
    form = TEXT_CODECS[track.codec]
    source = ["-copyts", "-start_at_zero", "-i", ffmpeg.file_url(clip.path), "-map", f"0:{track.number}"]
    with ffmpeg.FFmpegProcess([*source, "-f", form, "pipe:1"]) as process:
        text = "\n".join(process.text()) + "\n"
        process.finish()
    begin, end = clip.origin * clip.time_base, clip.end * clip.time_base
    cut = (cut_srt if form == "srt" else cut_ass)(text, begin, end)
    if not cut:
        return None
    path = folder / f"subtitles-{track.number}.{form}"
    path.write_text(cut, "utf-8", newline="\n")
    return path


def cut_srt(text: str, begin: Fraction, end: Fraction) -> str:
    """Return the cues of SubRip text from `begin` to `end` in seconds, counted from `begin`; "" without any."""
    cues: list[str] = []
    for match in _SRT_CUE.finditer(text):
        first, last = (_cut(_seconds_of(match.group(n, n + 1, n + 2, n + 3)), begin, end) for n in (1, 5))
        if first < last:
            span = f"{_clock(first, 1000, ',', 2)} --> {_clock(last, 1000, ',', 2)}"
            cues.append(f"{len(cues) + 1}\n{span}\n{match[9].rstrip()}\n")
    return "\n".join(cues)


def cut_ass(text: str, begin: Fraction, end: Fraction) -> str:
    """Return Advanced SubStation text with the lines from `begin` to `end`, as cut_srt(); "" without any."""
    kept = False

    def moved(match: re.Match[str]) -> str:
        nonlocal kept
        first, last = (_cut(_seconds_of(match.group(n, n + 1, n + 2, n + 3)), begin, end) for n in (2, 6))
        if first >= last:
            return ""
        kept = True
        return f"{match[1]},{_clock(first, 100, '.', 1)},{_clock(last, 100, '.', 1)},{match[10]}"

    cut = _ASS_CUE.sub(moved, text)
    return cut if kept else ""


def _seconds_of(parts: tuple[str, ...]) -> Fraction:
    hours, minutes, seconds = map(int, parts[:3])
    return hours * 3600 + minutes * 60 + seconds + Fraction(int(parts[3]), 10 ** len(parts[3]))


def _cut(time: Fraction, begin: Fraction, end: Fraction) -> Fraction:
    return min(max(time, begin), end) - begin


def _clock(time: Fraction, ticks: int, point: str, digits: int) -> str:
    whole, part = divmod(round(time * ticks), ticks)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:0{digits}}:{minutes:02}:{seconds:02}{point}{part:0{len(str(ticks)) - 1}}"
