from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacli.video import timing

MILLISECONDS = Fraction(1, 1000)
RATES = st.sampled_from([Fraction(n) for n in (5, 12, 24, 25, 30, 48, 50, 60, 120)]) | st.sampled_from(
    [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)]
)


def rounded(rate: Fraction, count: int, base: Fraction) -> list[int]:
    """Return times rounded to the nearest tick, as in a file."""
    return [floor(i / rate / base + Fraction(1, 2)) for i in range(count)]


@given(st.lists(st.integers(-50, 50), max_size=30).map(sorted))
def test_rising_times_are_distinct_and_move_no_more_than_they_must(times: list[int]) -> None:
    found = list(timing.make_increasing(times))
    assert len(found) == len(times)
    assert all(sooner < later for sooner, later in pairwise(found))
    assert all(got >= time for got, time in zip(found, times, strict=True))
    if len(set(times)) == len(times):
        assert found == times


def test_rising_times_that_are_equal_move_by_a_tick_each() -> None:
    assert list(timing.make_increasing([3, 3, 3, 4, 9, 9])) == [3, 4, 5, 6, 9, 10]


@given(RATES, st.integers(2, 400))
def test_a_rate_of_whole_ticks_is_exact(rate: Fraction, count: int) -> None:
    base = Fraction(1, rate.numerator)
    times = [7 + i * rate.denominator for i in range(count)]
    assert timing.frame_rate(times, times[-1] + rate.denominator, base) == (rate, False)


@given(RATES, st.integers(2, 4000))
def test_a_stated_rate_is_found_under_rounded_times(rate: Fraction, count: int) -> None:
    times = rounded(rate, count, MILLISECONDS)
    found, variable = timing.frame_rate(times, times[-1] + 40, MILLISECONDS, rate)
    assert not variable
    assert abs(found / rate - 1) <= Fraction(2, 1000 * (count - 1)) * rate
    if count > 2000:
        assert found == rate


@given(RATES)
def test_a_rate_that_is_not_stated_is_found_in_a_long_clip(rate: Fraction) -> None:
    times = rounded(rate, 4000, MILLISECONDS)
    assert timing.frame_rate(times, times[-1] + 40, MILLISECONDS, Fraction(17)) == (rate, False)


def test_one_frame_has_the_rate_of_its_duration() -> None:
    assert timing.frame_rate([5], 1006, Fraction(1, 24000)) == (Fraction(24000, 1001), False)


def test_a_variable_rate_is_reported_with_its_mean() -> None:
    found, variable = timing.frame_rate([0, 40, 80, 200], 240, MILLISECONDS, Fraction(25))
    assert variable
    assert found == 15


@pytest.mark.parametrize(
    ("stated", "exact"),
    [
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("24", Fraction(24)),
        ("12.5", Fraction(25, 2)),
        ("0.5", Fraction(1, 2)),
        ("0", Fraction(0)),
    ],
)
def test_printed_rates_stand_for_exact_ones(stated: str, exact: Fraction) -> None:
    assert timing.exact_rate(Fraction(stated)) == exact


@pytest.mark.parametrize("base", [MILLISECONDS, Fraction(1, 90000), Fraction(1, 600)])
@pytest.mark.parametrize("first", [0, 1, 7, 100])
@pytest.mark.parametrize("rate", [24, 50, 60, 120])
def test_whole_parts_of_a_rate_are_taken_evenly(base: Fraction, first: int, rate: int) -> None:
    times = rounded(Fraction(rate), 500, base)[first:]
    for step in (1, 2, 3, 4, 5, 12):
        assert timing.thin_out(times, base, Fraction(rate, step)) == tuple(times[::step])


def test_ticks_as_long_as_frames() -> None:
    times = tuple(range(100, 200))
    for step in (1, 2, 3, 4, 5, 12):
        assert timing.thin_out(times, Fraction(1, 24), Fraction(24, step)) == times[::step]


@given(st.sets(st.integers(0, 9000), min_size=1).map(sorted), st.integers(1, 60))
def test_what_is_left_is_some_of_the_times_and_few_enough(times: list[int], fps: int) -> None:
    found = timing.thin_out(times, MILLISECONDS, Fraction(fps))
    assert set(found) <= set(times)
    assert found[0] == times[0]
    for start in range(0, 9000, 250):
        assert sum(start <= time < start + 1000 for time in found) <= fps + 1


def test_thinned_slots_begin_with_the_first_frame() -> None:
    assert timing.thin_out([500, 510, 600, 1500], MILLISECONDS, Fraction(10)) == (500, 600, 1500)


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30), Fraction(50), Fraction(60000, 1001)])
@given(st.integers(0, 24 * 3600 * 60 - 1), st.integers(0, 10**6))
def test_timecode_counts_frames(rate: Fraction, begin: int, frames: int) -> None:
    fps = round(rate)

    def plain(count: int) -> str:
        seconds, number = divmod(count, fps)
        clock = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        return f"{clock:%H:%M:%S}:{number:02}"

    assert timing.move_timecode(plain(begin), frames, rate) == plain(begin + frames)


@pytest.mark.parametrize(("rate", "dropped"), [(Fraction(30000, 1001), 2), (Fraction(60000, 1001), 4)])
def test_drop_frame_timecode_leaves_out_numbers_and_follows_the_clock(rate: Fraction, dropped: int) -> None:
    fps = round(rate)
    names = [
        f"00:{m:02}:{s:02};{f:02}"
        for m in range(11)
        for s in range(60)
        for f in range(fps)
        if not (s == 0 and f < dropped and m % 10)
    ]
    assert [timing.move_timecode("00:00:00;00", count, rate) for count in range(len(names))] == names
    assert timing.move_timecode(names[777], 5000, rate) == names[5777]
    hour = timing.move_timecode("00:00:00;00", round(3600 * rate), rate)
    assert hour in ("01:00:00;00", f"00:59:59;{fps - 1}")
    assert timing.move_timecode("23:59:59;29", 1, Fraction(30000, 1001)) == "00:00:00;00"
    assert timing.move_timecode("00:08:59;29", 1, Fraction(30000, 1001)) == "00:09:00;02"
    assert timing.move_timecode("00:09:59;29", 1, Fraction(30000, 1001)) == "00:10:00;00"


def test_timecode_at_another_rate_has_the_same_time() -> None:
    assert timing.change_timecode_rate("01:00:00:40", Fraction(50), Fraction(25)) == "01:00:00:20"
    assert timing.change_timecode_rate("01:00:00:20", Fraction(24), Fraction(7)) == ""
    assert timing.change_timecode_rate("", Fraction(24), Fraction(12)) == ""
    assert timing.move_timecode("01:00:00:00", 5, Fraction(15)) == ""


def test_a_held_rate_repeats_and_drops_frames() -> None:
    times = [Fraction(0), Fraction(1, 10), Fraction(12, 100), Fraction(1, 2)]
    shown = timing.hold_rate(times, Fraction(6, 10), Fraction(10))
    assert shown == [(0, 0), (1, 2), (2, 2), (3, 2), (4, 2), (5, 3)]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=40), RATES, st.integers(-40, 40))
def test_a_held_rate_has_every_number_and_is_never_half_a_frame_off(
    steps: list[int], rate: Fraction, first: int
) -> None:
    times = [first * MILLISECONDS]
    for step in steps:
        times.append(times[-1] + step * MILLISECONDS)
    *times, end = times
    shown = timing.hold_rate(times, end, rate)
    numbers = [number for number, _ in shown]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    for number, index in shown:
        assert times[index] * rate <= number + Fraction(1, 2)
        if index + 1 < len(times):
            assert times[index + 1] * rate >= number + Fraction(1, 2)


@pytest.mark.parametrize(
    ("stated", "rate"),
    [(Fraction("29.97"), Fraction(30000, 1001)), (Fraction(25), 25), (Fraction(90000), 50), (None, 50)],
)
def test_the_usual_rate_is_the_stated_one_or_that_of_most_steps(stated: Fraction | None, rate: Fraction) -> None:
    assert timing.usual_rate(stated, [0, 20, 40, 60, 140, 160, 220], MILLISECONDS) == rate
