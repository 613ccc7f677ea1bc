"""Times of frames in whole ticks: exact rates, strictly increasing times, fewer frames a second."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor


def make_increasing(times: Iterable[int]) -> Iterator[int]:
    """Yield the times, each at least one tick later than the one before, as containers need them."""
    last: int | None = None
    for time in times:
        last = time if last is None else max(time, last + 1)
        yield last


def frame_rate(
    times: Sequence[int], end: int, time_base: Fraction, stated: Fraction | None = None
) -> tuple[Fraction, bool]:
    """Return the frames per second of times in ticks of `time_base` seconds, and whether they vary.

    A constant rate is exact: that of the ticks, or one that gives these times when it is rounded to ticks (the `stated`
    one, a whole number, or a whole number over 1.001). A varying rate is the mean.
    """
    steps = {later - sooner for sooner, later in pairwise(times)} or {end - times[0]}
    if len(steps) == 1:
        return 1 / (max(steps) * time_base), False
    mean = (len(times) - 1) / ((times[-1] - times[0]) * time_base)
    for guess in (stated, Fraction(round(mean)), Fraction(1000, 1001) * ceil(mean)):
        if guess and _rounded(times, 1 / (guess * time_base)):
            return guess, False
    return mean, True


def _rounded(times: Sequence[int], step: Fraction) -> bool:
    top, bottom = step.numerator, step.denominator
    return all(abs((time - times[0]) * bottom - i * top) <= bottom for i, time in enumerate(times))


def exact_rate(stated: Fraction) -> Fraction:
    """Return the rate that a rate printed with two digits stands for: 23.98 for 24000/1001, and so on."""
    ntsc = Fraction(1000, 1001) * ceil(stated)
    return ntsc if abs(ntsc - stated) < Fraction(6, 1000) else stated


def thin_out(times: Sequence[int], time_base: Fraction, fps: Fraction) -> tuple[int, ...]:
    """Return those of the times (ticks of `time_base` seconds) that are the first in their 1/fps of a second.

    A frame may come one tick too early, if a tick is much shorter than a frame: so 60 frames a second become 30 evenly,
    although their times were rounded to ticks.
    """
    slack = min(Fraction(1), Fraction(times[-1] - times[0], 4 * len(times)))
    slots = [floor((time - times[0] + slack) * time_base * fps) for time in times]
    return tuple(time for time, slot, before in zip(times, slots, [-1, *slots], strict=False) if slot != before)
