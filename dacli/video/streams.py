"""What ffmpeg reports of a file and its streams, read from its log."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from dacli.video.clip import MediaTrack

_STREAM = re.compile(
    r"^\[info\] +Stream #0:(\d+)(?:\[\w+\])?(?:\(.*?\))?: (Audio|Subtitle|Video): (\w+)(.*)$", re.MULTILINE
)
_FORMAT = re.compile(r"^\[info\] Input #0, (\S+), from", re.MULTILINE)
_DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d+):([\d.]+),", re.MULTILINE)
_START = re.compile(r"^\[info\]   Duration: .*?, start: (-?[\d.]+)", re.MULTILINE)
_RATE = re.compile(r", ([\d.]+) fps")
_BASE_RATE = re.compile(r", ([\d.]+)(k?) tbr")
_PIXEL_FORMAT = re.compile(r", ([a-z]\w+)[(,]")
_TIMECODE = re.compile(r"timecode +: (\d\d:\d\d:\d\d[:;.]\d\d)")
_JUMP = re.compile(r"Non-monotonic DTS; previous: (-?\d+), current: (-?\d+)")


@dataclass(frozen=True)
class FileStream:
    """A stream of a file: its number, kind ("video", "audio", "subtitle") and codec, its line, and its metadata."""

    number: int
    kind: str
    codec: str
    line: str = ""
    metadata: str = ""

    @property
    def is_default(self) -> bool:
        """Return whether players show this stream if nothing else is asked for."""
        return "(default)" in self.line

    @property
    def is_cover(self) -> bool:
        """Return whether it is a picture that stands for the file."""
        return "(attached pic)" in self.line

    @property
    def has_alpha_layer(self) -> bool:
        """Return whether transparency is in a layer that not every decoder of its codec reads."""
        return re.search(r"alpha_mode +: 1", self.metadata, re.IGNORECASE) is not None

    @property
    def pixel_format(self) -> str:
        """Return ffmpeg's name of its pixel format, or nothing."""
        found = _PIXEL_FORMAT.search(self.line)
        return found[1] if found else ""

    @property
    def rate(self) -> Fraction | None:
        """Return the frames per second that its line states, with two decimals."""
        found = _RATE.search(self.line)
        return Fraction(found[1]) if found else None

    @property
    def base_rate(self) -> Fraction | None:
        """Return the frames per second of which all its times are multiples, as its line states them."""
        found = _BASE_RATE.search(self.line)
        return Fraction(found[1]) * (1000 if found[2] else 1) if found else None


NO_STREAM = FileStream(-1, "video", "")


@dataclass(frozen=True)
class FileReport:
    """What ffmpeg's log says of its input."""

    log: str

    @property
    def formats(self) -> set[str]:
        """Return ffmpeg's names of the container."""
        found = _FORMAT.search(self.log)
        return set(found[1].split(",")) if found else set()

    @property
    def start(self) -> Fraction:
        """Return the time at which the first of its streams begins, in seconds."""
        found = _START.search(self.log)
        return Fraction(found[1]) if found else Fraction(0)

    @property
    def duration(self) -> Fraction:
        """Return the duration that it states, in seconds, or 0."""
        found = _DURATION.search(self.log)
        hours, minutes, seconds = map(Fraction, found.groups()) if found else (0, 0, 0)
        return Fraction(hours * 3600 + minutes * 60 + seconds)

    @property
    def timecode(self) -> str:
        """Return the timecode of its first frame, or nothing."""
        found = _TIMECODE.search(self.log)
        return found[1] if found else ""

    @property
    def streams(self) -> list[FileStream]:
        """Return its video, audio and subtitle streams."""
        text = self.log.partition("Stream mapping:")[0]
        found = list(_STREAM.finditer(text))
        ends = [*(match.start() for match in found[1:]), len(text)]
        return [
            FileStream(int(match[1]), match[2].lower(), match[3], match[4], text[match.end() : end])
            for match, end in zip(found, ends, strict=False)
        ]

    @property
    def videos(self) -> list[FileStream]:
        """Return its video streams without covers."""
        return [stream for stream in self.streams if stream.kind == "video" and not stream.is_cover]

    @property
    def tracks(self) -> tuple[MediaTrack, ...]:
        """Return its sound and subtitles."""
        return tuple(
            MediaTrack(stream.number, stream.kind, stream.codec) for stream in self.streams if stream.kind != "video"
        )

    def jump_back(self, time_base: Fraction) -> Fraction:
        """Return by how many seconds its time stamps jump back, at most, or 0."""
        return max((int(before) - int(now) for before, now in _JUMP.findall(self.log)), default=0) * time_base


def rank_stream(stream: FileStream, frames: int) -> tuple[bool, bool, int]:
    """Return the rank of a video stream: one that moves, then a default one, then one with more frames."""
    return frames > 1, stream.is_default, frames


def describe_streams(streams: Sequence[FileStream]) -> str:
    """Return the numbers of streams as a list."""
    return ", ".join(str(stream.number) for stream in streams)
