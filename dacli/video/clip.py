"""What is known of a clip before it is decoded, and the choice of a part of it."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm
from pathlib import Path
from typing import NamedTuple

from dacli.errors import DacliError
from dacli.paths import display_path
from dacli.video import timing
from dacli.video.ffmpeg import file_url


class MediaTrack(NamedTuple):
    """A stream other than the video: its number in the file, its kind ("audio" or "subtitle"), and its codec."""

    number: int
    kind: str
    codec: str


@dataclass(frozen=True)
class ClipSource:
    """How ffmpeg reads the video of a file: `options` of the input, and the `stream`, as -map takes it.

    `start` is the time in seconds at which the file begins, for containers whose time stamps may jump. There ffmpeg
    would count from the first of the streams that are mapped, and video and sound, read alone, would both begin at 0.
    `filters` change which frames there are.
    """

    path: Path
    options: tuple[str, ...] = ()
    stream: str = "V:0"  # the first that is not a cover
    start: Fraction | None = None
    filters: tuple[str, ...] = ()

    def arguments(self, *before: str) -> list[str]:
        """Return the arguments that read the video, with its times counted from the start of the file.

        `before` are further options of the input.
        """
        times = ["-start_at_zero"] if self.start is None else ["-itsoffset", seconds_text(-self.start)]
        name = ["-i", file_url(self.path), "-map", f"0:{self.stream}", "-fps_mode", "passthrough"]
        return ["-copyts", *times, *self.options, *before, *name]


def seconds_text(time: Fraction) -> str:
    """Return a time in seconds as ffmpeg takes it, to a microsecond."""
    return f"{float(time):.6f}"


@dataclass(frozen=True)
class RoundedTimes:
    """The times of frames in the file, in ticks of `time_base` seconds, by their exact times in the clip's ticks."""

    time_base: Fraction
    ticks: Mapping[int, int]


@dataclass(frozen=True)
class Clip:
    """The content of a clip; times are in ticks of `time_base` seconds from the start of the file.

    `width` and `height` are those of the upright frames in stored pixels, each `sample_aspect` times as wide as high.
    Frame i is shown at `pts[i]`, the last one until `end`; `pts` is strictly increasing. `rate` is exact, or the mean
    if `variable`; `usual_rate` is a constant one near it. Frames whose time is a key of `repeats` are shown again at
    the times there, which `pts` holds too. Outputs start at `origin`. `missing_frames` is the number of frames that the
    file declares but does not contain; `end_trimmed` is true if frames at the end were left out; `transfer` is ffmpeg's
    name of an HDR curve. `labels` are the numbers in the names of `pictures`, as text; without them frames are counted
    from `first_frame`, in `digits` digits. `reading` says how a file is read, `rounded` which times it has where it
    rounds those of a constant rate; `timecode` is that of the first frame; `notes` say what the user should know of the
    source.
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
    transparent: bool = False
    interlaced: bool = False
    timecode: str = ""
    reading: ClipSource | None = None
    rounded: "RoundedTimes | None" = None
    tracks: tuple[MediaTrack, ...] = ()
    origin: int = 0
    usual_rate: Fraction | None = None
    repeats: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    missing_frames: int = 0
    end_trimmed: bool = False
    seekable: bool = True
    pictures: tuple[Path, ...] = ()
    labels: tuple[str, ...] = ()
    first_frame: int = 0
    digits: int = 6
    notes: tuple[str, ...] = ()

    @property
    def source(self) -> ClipSource:
        """Return how the file is read."""
        return self.reading or ClipSource(self.path)

    @property
    def decoded_times(self) -> tuple[int, ...]:
        """Return the times at which another frame is shown, without those of frames that are shown again."""
        if not self.repeats:
            return self.pts
        repeated = {time for times in self.repeats.values() for time in times}
        return tuple(time for time in self.pts if time not in repeated)

    @property
    def tick_base(self) -> Fraction:
        """Return the length of a tick of the file, in seconds."""
        return self.time_base if self.rounded is None else self.rounded.time_base

    def file_ticks(self, times: Sequence[int]) -> dict[int, int]:
        """Return some of the clip's times by the time that the frame has in the file."""
        return {time if self.rounded is None else self.rounded.ticks[time]: time for time in times}

    def frame_label(self, pts: int) -> str:
        """Return the number of the frame shown at a time, as names of files have it."""
        if self.labels:
            return self.labels[pts]
        return f"{self.first_frame + bisect_left(self.pts, pts):0{self.digits}d}"

    def numbered_from(self, first: int) -> "Clip":
        """Return the clip with its frames counted from a number, in four digits or as many as it takes."""
        return replace(self, labels=(), first_frame=first, digits=4)

    @property
    def seconds(self) -> Fraction:
        """Return the duration from the first frame to the end, in seconds."""
        return (self.end - self.pts[0]) * self.time_base


def trim_clip(
    clip: Clip,
    start: float | None = None,
    end: float | None = None,
    max_fps: float | None = None,
    *,
    constant_rate: bool = False,
) -> Clip:
    """Return the clip with only the frames from `start` to before `end` (seconds), at most `max_fps` per second.

    With `constant_rate`, frames are repeated and dropped so that the rate is constant. With a `start`, the first frame
    of the output is at time 0. Raises DacliError if no frame is left.
    """
    first = Fraction(str(start or 0)) / clip.time_base  # 0.04 is the time of frame 1 of 25, which float(0.04) is not
    stop = clip.end + 1 if end is None else Fraction(str(end)) / clip.time_base
    times = tuple(time for time in clip.pts if first <= time < stop)
    if not times:
        span = f"from {start or 0:g} s to {'its end' if end is None else f'{end:g} s'}"
        last = f"choose another part: its last frame is at {float(clip.pts[-1] * clip.time_base):.3f} s"
        raise DacliError(f"{display_path(clip.path)} has no frame {span}", last)
    origin = times[0] if start else clip.origin
    timecode = clip.timecode and timing.move_timecode(clip.timecode, clip.pts.index(times[0]), clip.rate)
    if times[-1] != clip.pts[-1]:
        after = clip.pts[clip.pts.index(times[-1]) + 1]
        clip = replace(clip, end=after, missing_frames=0, end_trimmed=True)
    kept = replace(clip, pts=times, origin=origin, timecode=timecode)
    limit = None if max_fps is None else Fraction(max_fps)
    if constant_rate and not clip.pictures:
        rate = kept.usual_rate or kept.rate
        return _make_constant(kept, rate if limit is None else min(rate, limit))
    return kept if limit is None else _limit_rate(kept, limit)


def _make_constant(clip: Clip, rate: Fraction) -> Clip:
    """Return the clip at a constant rate, counted from its origin."""
    if not clip.variable and clip.rate == rate:
        return clip
    base = Fraction(1, lcm(rate.numerator, clip.time_base.denominator))
    begin, step = int(clip.origin * clip.time_base / base), int(1 / (rate * base))
    seconds = [(time - clip.origin) * clip.time_base for time in clip.pts]
    shown = timing.hold_rate(seconds, (clip.end - clip.origin) * clip.time_base, rate)
    times: dict[int, list[int]] = {}
    for number, index in shown:
        times.setdefault(index, []).append(begin + number * step)
    ticks = clip.file_ticks(clip.pts)
    by_index = list(ticks)
    return replace(
        clip,
        time_base=base,
        pts=tuple(begin + number * step for number, _ in shown),
        end=begin + (shown[-1][0] + 1) * step,
        origin=begin,
        rate=rate,
        variable=False,
        rounded=RoundedTimes(clip.tick_base, {first: by_index[index] for index, (first, *_) in times.items()}),
        repeats={first: tuple(rest) for first, *rest in times.values() if rest},
        timecode=timing.change_timecode_rate(clip.timecode, clip.rate, rate),
    )


def _limit_rate(clip: Clip, fps: Fraction) -> Clip:
    times = timing.thin_out(clip.pts, clip.time_base, fps)
    if times == clip.pts:
        return clip
    rate, variable = timing.frame_rate(times, clip.end, clip.time_base, fps)
    timecode = timing.change_timecode_rate(clip.timecode, clip.rate, rate)
    return replace(clip, pts=times, rate=rate, variable=variable, timecode=timecode)
