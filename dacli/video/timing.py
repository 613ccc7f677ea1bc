"""Presentation times in whole ticks: exact frame rates, strictly increasing times, and lower frame rates."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, lcm

_HIGHEST_USUAL_RATE = 240  # frames per second; ffmpeg states thousands where it finds no rate
TIMECODE_RATES = {24, 25, 30, 48, 50, 60, 100, 120}  # frames per second of timecode that containers can hold


def make_increasing(times: Iterable[int]) -> Iterator[int]:
    """Yield the times, each moved to at least one tick after the previous one, as containers require."""
    last: int | None = None
    for time in times:
        last = time if last is None else max(time, last + 1)
        yield last


def frame_rate(
    times: Sequence[int], end: int, time_base: Fraction, stated: Fraction | None = None
) -> tuple[Fraction, bool]:
    """Return the frames per second of times in ticks of `time_base` seconds, and whether they vary.

    A constant rate is exact. It is computed from equal steps in ticks; otherwise it is the `stated` rate, a whole
    number, or a whole number divided by 1.001, if its times rounded to ticks are these times. A variable rate is the
    mean.
    """
    steps = {later - earlier for earlier, later in pairwise(times)} or {end - times[0]}
    if len(steps) == 1:
        return 1 / (max(steps) * time_base), False
    mean = (len(times) - 1) / ((times[-1] - times[0]) * time_base)
    for candidate in (stated, Fraction(round(mean)), Fraction(1000, 1001) * ceil(mean)):
        if candidate and _is_rounded_rate(times, 1 / (candidate * time_base)):
            return candidate, False
    return mean, True


def _is_rounded_rate(times: Sequence[int], step: Fraction) -> bool:
    numerator, denominator = step.numerator, step.denominator
    return all(abs((time - times[0]) * denominator - i * numerator) <= denominator for i, time in enumerate(times))


def exact_times(times: Sequence[int], time_base: Fraction, rate: Fraction) -> tuple[Fraction, tuple[int, ...]]:
    """Return a finer time base, and the times of a constant rate in it, of times that were rounded to ticks.

    The first time stays what it is. Times that are multiples of whole ticks stay as they are.
    """
    if (1 / (rate * time_base)).denominator == 1:
        return time_base, tuple(times)
    ticks = lcm(rate.numerator, time_base.denominator)
    first, step = times[0] * time_base * ticks, Fraction(ticks) / rate
    return Fraction(1, ticks), tuple(int(first + number * step) for number in range(len(times)))


def exact_rate(stated: Fraction) -> Fraction:
    """Return the exact rate for a rate printed with two decimals: 24000/1001 for 23.98, for example."""
    ntsc = Fraction(1000, 1001) * ceil(stated)
    return ntsc if abs(ntsc - stated) < Fraction(6, 1000) else stated


def hold_rate(times: Sequence[float | Fraction], end: float | Fraction, rate: Fraction) -> list[tuple[int, int]]:
    """Return for each frame of a constant rate its number and the index of the time (seconds) that it shows.

    A time becomes the nearest number, of two times with one number the later is shown, and a frame is shown until the
    next one, or until `end`: as ffmpeg's filter fps does. There is at least one frame.
    """
    numbers = [_nearest(time * rate) for time in times]
    last = max(_nearest(end * rate), numbers[0] + 1)
    shown: list[tuple[int, int]] = []
    for index, (number, after) in enumerate(zip(numbers, [*numbers[1:], last], strict=True)):
        shown += [(each, index) for each in range(number, after)]
    return shown


def _nearest(value: float | Fraction) -> int:
    """Return the nearest whole number; of two that are as near, the one farther from 0."""
    return floor(value + Fraction(1, 2)) if value >= 0 else -floor(-value + Fraction(1, 2))


def usual_rate(stated: Fraction | None, times: Sequence[int], time_base: Fraction) -> Fraction:
    """Return the constant rate of frames at varying times: the `stated` one if it is usual, or that of most steps."""
    if stated is not None and stated <= _HIGHEST_USUAL_RATE:
        return exact_rate(stated)
    steps = sorted(later - earlier for earlier, later in pairwise(times)) or [1]
    return Fraction(max(1, round(1 / (steps[len(steps) // 2] * time_base))))


def thin_out(times: Sequence[int], time_base: Fraction, fps: Fraction) -> tuple[int, ...]:
    """Return the first of the times (ticks of `time_base` seconds) in each interval of 1/fps seconds.

    If a tick is much shorter than a frame, a time may be one tick too early, so that 60 frames per second become 30
    at equal steps although times were rounded to ticks.
    """
    tolerance = min(Fraction(1), Fraction(times[-1] - times[0], 4 * len(times)))
    slots = [floor((time - times[0] + tolerance) * time_base * fps) for time in times]
    return tuple(time for time, slot, before in zip(times, slots, [-1, *slots], strict=False) if slot != before)


def move_timecode(timecode: str, frames: int, rate: Fraction) -> str:
    """Return a timecode HH:MM:SS:FF moved by a number of frames; with `;` or `.` before FF, it drops frame numbers.

    Drop-frame timecode has no numbers 0 and 1 (0 to 3 at 60) in a minute that is not a tenth, SMPTE ST 12-1. After 24
    hours it begins again. Returns "" at rates that have no timecode.
    """
    fps = round(rate)
    if fps not in TIMECODE_RATES:
        return ""
    hours, minutes, seconds, number = (int(part) for part in (timecode[:2], timecode[3:5], timecode[6:8], timecode[9:]))
    dropped = fps // 15 if timecode[8] in ";." and fps in (30, 60) else 0
    total = 60 * hours + minutes
    count = (60 * total + seconds) * fps + number - dropped * (total - total // 10) + frames
    tens, rest = divmod(count, 600 * fps - 9 * dropped)
    count += 9 * dropped * tens + dropped * max(0, (rest - dropped) // (60 * fps - dropped))
    whole, number = divmod(count, fps)
    minutes, seconds = divmod(whole, 60)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}{timecode[8]}{number:02}"


def change_timecode_rate(timecode: str, before: Fraction, after: Fraction) -> str:
    """Return a timecode at another rate, with the same time; "" at rates that have no timecode."""
    fps = round(after)
    if not timecode or fps not in TIMECODE_RATES:
        return ""
    return f"{timecode[:8]}:{min(fps - 1, int(timecode[9:]) * fps // round(before)):02}"
