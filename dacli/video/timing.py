"""Presentation times in whole ticks: exact frame rates, strictly increasing times, and lower frame rates."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor


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


def exact_rate(stated: Fraction) -> Fraction:
    """Return the exact rate for a rate printed with two decimals: 24000/1001 for 23.98, for example."""
    ntsc = Fraction(1000, 1001) * ceil(stated)
    return ntsc if abs(ntsc - stated) < Fraction(6, 1000) else stated


def thin_out(times: Sequence[int], time_base: Fraction, fps: Fraction) -> tuple[int, ...]:
    """Return the first of the times (ticks of `time_base` seconds) in each interval of 1/fps seconds.

    If a tick is much shorter than a frame, a time may be one tick too early, so that 60 frames per second become 30
    at equal steps although times were rounded to ticks.
    """
    tolerance = min(Fraction(1), Fraction(times[-1] - times[0], 4 * len(times)))
    slots = [floor((time - times[0] + tolerance) * time_base * fps) for time in times]
    return tuple(time for time, slot, before in zip(times, slots, [-1, *slots], strict=False) if slot != before)
