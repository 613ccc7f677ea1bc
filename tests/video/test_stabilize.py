import json
import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from dacli.io.scales import from_tones, to_tones
from dacli.scenes.kinds import make_scene
from dacli.scenes.moving import MOTIONS, RenderedFrame, render_clip
from dacli.video.matching import FrameAlignment
from dacli.video.stabilize import (
    LEAK_SECONDS,
    ScaleShift,
    Stabilizer,
    TwoPassStabilizer,
    carry_scale_shift,
    solve_chain,
)

Depth = NDArray[np.float32]
SIZE = (48, 64)
FLAT = np.zeros(SIZE, np.float32)
GRAY = np.full((*SIZE, 3), 128, np.uint8)


def field(seed: int) -> Depth:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SIZE), 4)
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth), np.float32)


def picture(seed: int) -> NDArray[np.uint8]:
    return np.repeat(np.rint(40 + 170 * field(seed))[..., None], 3, 2).astype(np.uint8)


def shown(scale_shift: ScaleShift, depth: Depth) -> NDArray[np.float64]:
    assert scale_shift.scale > 0
    assert math.isfinite(scale_shift.scale)
    assert math.isfinite(scale_shift.shift)
    return scale_shift.scale * depth.astype(np.float64) + scale_shift.shift


def rendered(motion: str, count: int, *, cut: bool = False, fps: float = 30) -> list[RenderedFrame]:
    layouts = [make_scene(77, 9), make_scene(77, 15)] if cut else [make_scene(77, 9)]
    return list(render_clip(layouts, MOTIONS[motion], count, SIZE, fps=fps, noise=2))


def jittered(frames: list[RenderedFrame], seed: int = 0) -> Iterator[Depth]:
    rng = np.random.default_rng(seed)
    for frame in frames:
        yield (np.exp(rng.normal(0, 0.1)) * frame.inverse_depth + rng.normal(0, 0.2)).astype(np.float32)


def make_alignment(scale: float, shift: float, low: float, high: float) -> FrameAlignment:
    return FrameAlignment(scale, shift, cut=False, bottom=low, low=low, middle=(low + high) / 2, high=high, top=high)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0.2, 5), st.floats(-3, 3)), min_size=2, max_size=8))
def test_a_static_scene_is_constant_for_any_scale_and_shift(scale_shifts: list[tuple[float, float]]) -> None:
    stabilizer, depth, rgb = Stabilizer(), field(1), picture(2)
    seen = []
    for number, (scale, shift) in enumerate(scale_shifts):
        raw = (scale * depth + shift).astype(np.float32)
        seen.append(shown(stabilizer.step(raw, rgb, number / 30), raw))
    np.testing.assert_allclose(seen, np.broadcast_to(seen[0], (len(seen), *SIZE)), atol=1e-3)
    np.testing.assert_allclose(np.percentile(seen[-1], (2, 98)), (0, 1), atol=5e-3)


def test_noise_in_scale_and_shift_of_a_moving_camera_is_removed() -> None:
    frames = rendered("hand-held", 20)
    one, other = Stabilizer(), Stabilizer()
    for frame, raw in zip(frames, jittered(frames), strict=True):
        plain = shown(one.step(frame.inverse_depth, frame.rgb, frame.seconds), frame.inverse_depth)
        steady = shown(other.step(raw, frame.rgb, frame.seconds), raw)
        np.testing.assert_allclose(steady, plain, atol=2e-3)


def test_the_leak_moves_the_range_to_0_and_1_with_its_time_constant() -> None:
    alignment = make_alignment(1.0, 0.0, 2.0, 4.0)
    scale_shift = carry_scale_shift(
        ScaleShift(0.6, -1.1, 3), alignment, 1 - math.exp(-1.0 / LEAK_SECONDS), metric=False
    )
    low, high = 0.6 * 2 - 1.1, 0.6 * 4 - 1.1
    fade = math.exp(-1.0 / LEAK_SECONDS)
    assert scale_shift.scale * 2 + scale_shift.shift == pytest.approx(low * fade)
    assert scale_shift.scale * 4 + scale_shift.shift == pytest.approx(1 - (1 - high) * fade)
    assert scale_shift.scene == 3


def test_the_leak_depends_on_time_and_not_on_the_number_of_frames() -> None:
    ends = []
    for step in (1, 3, 40):
        stabilizer = Stabilizer()
        stabilizer.step(field(1), picture(2), 0.0)
        stabilizer.scale_shift = ScaleShift(0.8, 0.3, 0)
        for number in range(step, 121, step):
            scale_shift = stabilizer.step(field(1), picture(2), number / 30)
        ends.append((scale_shift.scale, scale_shift.shift))
    np.testing.assert_allclose(ends, np.broadcast_to(ends[0], (3, 2)), rtol=1e-5)
    assert ends[0][0] != pytest.approx(0.8, rel=1e-2)


def test_uneven_equal_and_reversed_times_do_no_harm() -> None:
    stabilizer = Stabilizer()
    for seconds in (5.0, 5.0, 4.0, 4.001, 9999.0, 1e-9):
        seen = shown(stabilizer.step(field(1), picture(2), seconds), field(1))
        np.testing.assert_allclose(np.percentile(seen, (2, 98)), (0, 1), atol=1e-3)


@pytest.mark.parametrize("step", [0.0, 1e-6, 3.0])
def test_the_range_stays_within_bounds_for_extreme_alignments(step: float) -> None:
    rng = np.random.default_rng(0)
    scale_shift = ScaleShift(1.0, 0.0, 0)
    for _ in range(300):
        low, range_ = rng.normal(), rng.choice([0.0, 1e-9, 0.5, 1e6])
        alignment = make_alignment(math.exp(rng.normal(0, 2)), rng.normal(0, 9), low, low + range_)
        scale_shift = carry_scale_shift(scale_shift, alignment, -math.expm1(-step / LEAK_SECONDS), metric=False)
        assert scale_shift.scale > 0
        below, above = (
            scale_shift.scale * alignment.low + scale_shift.shift,
            scale_shift.scale * alignment.high + scale_shift.shift,
        )
        assert -8 <= below <= above <= 8
        assert range_ < 0.1 or above - below >= 0.125


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.integers(0, 2**32 - 1), st.floats(-0.0005, 0.0005))
def test_alignment_errors_do_not_add_up_over_10000_frames(seed: int, bias: float) -> None:
    rng = np.random.default_rng(seed)
    errors, shifts = rng.normal(bias, 0.01, 10_000).tolist(), rng.normal(0, 0.005, 10_000).tolist()
    gains = np.exp(rng.normal(0, 0.1, 10_001)).tolist()
    scale_shift, ranges = ScaleShift(1 / gains[0], 0.0, 0), []
    for number in range(10_000):
        gain = gains[number + 1]
        step = gain / gains[number] * math.exp(errors[number])
        scale_shift = carry_scale_shift(
            scale_shift, make_alignment(step, gain * shifts[number], 0.0, gain), 1 / 30 / LEAK_SECONDS, metric=False
        )
        ranges.append(scale_shift.scale * gain)
    assert 0.5 <= min(ranges) <= max(ranges) <= 1.5
    halves = np.split(np.log(ranges[200:]), 2)
    assert halves[0].mean() == pytest.approx(halves[1].mean(), abs=0.05)


@pytest.mark.slow
def test_a_long_clip_keeps_its_range_and_does_not_drift() -> None:
    frames, stabilizer, rng = rendered("hand-held", 30), Stabilizer(), np.random.default_rng(5)
    there_and_back = [*frames, *frames[-2:0:-1]]
    level = np.float32(0.02 * np.ptp(np.percentile(frames[0].inverse_depth, (2, 98))))
    bumps = [level * ndimage.zoom(rng.normal(size=(3, 4)), 16, order=1).astype(np.float32) for _ in range(37)]
    scales, walk = [], rng.normal(0, 0.02, 3000).cumsum()
    for number in range(3000):
        frame = there_and_back[number % len(there_and_back)]
        raw = np.exp(walk[number]) * (frame.inverse_depth + bumps[number % 37]) + np.float32(walk[::-1][number])
        scale_shift = stabilizer.step(raw.astype(np.float32), frame.rgb, number / 30)
        low, high = scale_shift.scale * np.percentile(raw[::2, ::2], (2, 98))
        assert 0.5 <= high - low <= 1.5
        scales.append(scale_shift.scale * np.exp(walk[number]))
    logs = np.log(scales)
    assert np.polyfit(np.linspace(0, 1, 3000), logs, 1)[0] == pytest.approx(0, abs=0.05)
    assert logs[-300:].mean() == pytest.approx(logs[:300].mean(), abs=0.05)
    assert stabilizer.scale_shift.scene == 0


def test_after_a_cut_the_output_is_that_of_a_start() -> None:
    frames = rendered("pan", 24, cut=True)
    depths = list(jittered(frames))
    whole, fresh = Stabilizer(), Stabilizer()
    for number, (frame, raw) in enumerate(zip(frames, depths, strict=True)):
        scale_shift = whole.step(raw, frame.rgb, frame.seconds)
        assert scale_shift.scene == (number >= 12)
        if number >= 12:
            start = fresh.step(raw, frame.rgb, frame.seconds)
            assert (start.scale, start.shift) == (scale_shift.scale, scale_shift.shift)


@pytest.mark.parametrize("level", [0.0, 3.5, -2.0])
def test_flat_frames_give_a_flat_output_and_later_frames_recover(level: float) -> None:
    stabilizer = Stabilizer()
    for number in range(3):
        seen = shown(stabilizer.step(FLAT + np.float32(level), GRAY, number / 30), FLAT + np.float32(level))
        assert np.ptp(seen) == 0
        assert -0.5 <= seen[0, 0] <= 1.5
    seen = shown(stabilizer.step(field(1), GRAY, 0.1), field(1))
    np.testing.assert_allclose(np.percentile(seen, (2, 98)), (0, 1), atol=1e-3)
    assert stabilizer.scale_shift.scene == 0


def test_black_frames_between_shots_do_no_harm() -> None:
    black = np.zeros_like(GRAY)
    shots = [(field(1), picture(2)), (field(3), black), (field(4), picture(5))]
    stabilizer, scenes = Stabilizer(), []
    for number in range(15):
        depth, rgb = shots[number // 5]
        scale_shift = stabilizer.step(depth, rgb, number / 30)
        np.testing.assert_allclose(np.percentile(shown(scale_shift, depth), (2, 98)), (0, 1), atol=1e-3)
        scenes.append(scale_shift.scene)
    assert scenes == [0] * 5 + [1] * 5 + [2] * 5


def test_metres_are_shown_by_a_range_that_follows_slowly() -> None:
    stabilizer, metres = Stabilizer(metric=True), 1 + 4 * field(1)
    first = stabilizer.step(metres, picture(2), 0.0)
    low, high = np.percentile(metres, (2, 98))
    assert 1 / first.scale == pytest.approx(high - low, rel=1e-5)
    assert -first.shift / first.scale == pytest.approx(low, rel=1e-4)
    second = stabilizer.step(np.float32(1.2) * metres, picture(2), 1 / 30)
    assert second.scale == pytest.approx(first.scale, rel=0.01)  # a jump of 20 % is displayed unchanged
    for number in range(2, 900):
        last = stabilizer.step(np.float32(1.2) * metres, picture(2), number / 30)
    assert last.scale == pytest.approx(first.scale / 1.2, rel=1e-3)


@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_restored_stabilizer_continues_bit_identically(stop: int) -> None:
    frames = rendered("dolly", 14, cut=True)
    depths = list(jittered(frames))
    whole, first, second = Stabilizer(), Stabilizer(), Stabilizer()
    expected = [whole.step(d, f.rgb, f.seconds) for d, f in zip(depths, frames, strict=True)]
    found = [first.step(d, f.rgb, f.seconds) for d, f in zip(depths[:stop], frames[:stop], strict=True)]
    second.restore(json.loads(json.dumps(first.state()())))
    found += [second.step(d, f.rgb, f.seconds) for d, f in zip(depths[stop:], frames[stop:], strict=True)]
    assert found == expected


def test_depth_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ValueError, match="not finite"):
        Stabilizer().step(FLAT + np.float32(np.nan), GRAY, 0.0)


def two_pass_scale_shifts(
    frames: list[RenderedFrame], depths: list[Depth], *, metric: bool = False
) -> list[ScaleShift]:
    stabilizer = TwoPassStabilizer(metric=metric)
    for depth, frame in zip(depths, frames, strict=True):
        stabilizer.add(depth, frame.rgb, frame.seconds)
    assert len(stabilizer.rows) * stabilizer.rows.itemsize == 28 * len(frames)
    return list(stabilizer.scale_shifts())


def test_two_passes_make_a_still_scene_constant_and_fill_the_range() -> None:
    frames = rendered("still", 12)
    depths = list(jittered([frames[0]] * 12))
    seen = [shown(g, d) for g, d in zip(two_pass_scale_shifts(frames, depths), depths, strict=True)]
    np.testing.assert_allclose(seen, np.broadcast_to(seen[0], (12, *SIZE)), atol=2e-3)
    np.testing.assert_allclose(np.percentile(seen, (0.5, 99.5)), (0, 1), atol=0.02)


def test_two_passes_treat_every_shot_independently() -> None:
    frames = rendered("pan", 20, cut=True)
    depths = list(jittered(frames))
    both = two_pass_scale_shifts(frames, depths)
    assert [g.scene for g in both] == [0] * 10 + [1] * 10
    for part in (slice(0, 10), slice(10, 20)):
        alone = two_pass_scale_shifts(frames[part], depths[part])
        expected = [(g.scale, g.shift) for g in both[part]]
        np.testing.assert_allclose([(g.scale, g.shift) for g in alone], expected, rtol=1e-3)
        seen = np.array([shown(g, d) for g, d in zip(both[part], depths[part], strict=True)])
        assert ((seen < 0) | (seen > 1)).mean() < 0.03


def test_two_passes_of_metres_keep_one_range_for_a_scene() -> None:
    frames = rendered("dolly", 10)
    depths = [np.minimum(f.depth, 20) for f in frames]
    (scale_shift,) = {(g.scale, g.shift) for g in two_pass_scale_shifts(frames, depths, metric=True)}
    extremes = np.percentile([np.percentile(d, (0.5, 99.5)) for d in depths], (2, 98), axis=0)
    assert -scale_shift[1] / scale_shift[0] == pytest.approx(extremes[0, 0], rel=0.02)
    assert (1 - scale_shift[1]) / scale_shift[0] == pytest.approx(extremes[1, 1], rel=0.02)


@pytest.mark.parametrize("depth", [field(1), FLAT, FLAT + 7], ids=["a scene", "zero", "flat"])
def test_a_clip_of_one_frame(depth: Depth) -> None:
    two_pass, one_pass = TwoPassStabilizer(), Stabilizer()
    two_pass.add(depth, GRAY, 0.0)
    (two,), one = two_pass.scale_shifts(), one_pass.step(depth, GRAY, 0.0)
    for scale_shift in (one, two):
        assert scale_shift.scene == 0
        assert -0.2 < shown(scale_shift, depth).min() <= shown(scale_shift, depth).max() < 1.2


def test_two_passes_without_frames_yield_nothing() -> None:
    assert list(TwoPassStabilizer().scale_shifts()) == []


@pytest.mark.parametrize("pull", [1e-5, 0.01, 3.0])
def test_a_chain_is_the_least_squares_solution(pull: float) -> None:
    rng = np.random.default_rng(2)
    step, own = rng.normal(size=(2, 9))
    links = np.diff(np.eye(9), axis=0)
    rows = np.concatenate([links, math.sqrt(pull) * np.eye(9)])
    expected = np.linalg.lstsq(rows, np.concatenate([-step[1:], math.sqrt(pull) * own]), rcond=None)[0]
    np.testing.assert_allclose(solve_chain(step, own, pull), expected, rtol=1e-8)
    np.testing.assert_allclose(solve_chain(step[:1], own[:1], pull), own[:1])


def test_tones_are_linear_within_0_to_1_and_compressed_beyond() -> None:
    steady = np.array([[0, 0.25, 0.5, 1, 1 + 1 / 18, 2, -1, 1e6, -1e6]], np.float32)
    found = to_tones(((steady - 3) / 2).astype(np.float32), 2.0, 3.0)[0]
    expected = [0.05, 0.275, 0.5, 0.95, 0.975, 1 - 0.05 / 19, 0.05 / 19, 1, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    around = to_tones(np.array([[0.999, 1.0, 1.001]], np.float32), 1.0, 0.0)[0]
    np.testing.assert_allclose(np.diff(around) / 0.001, 0.9, rtol=0.03)  # no kink


def test_tones_increase_with_depth_and_convert_back_to_it() -> None:
    steady = np.linspace(-1.5, 2.5, 400_001, dtype=np.float32)[None]  # more values than are converted in one block
    tones = to_tones((steady + 0.8) / np.float32(0.37), 0.37, -0.8)
    assert (np.diff(tones) >= 0).all()
    assert (np.diff(tones[:, ::100]) > 0).all()
    np.testing.assert_allclose(from_tones(tones), steady, atol=1e-3)
    inside = (tones > 0.06) & (tones < 0.94)
    sixteen = (np.rint(tones * 65535) / 65535).astype(np.float32)
    np.testing.assert_allclose(from_tones(sixteen)[inside], steady[inside], atol=0.51 / 65535 / 0.9 + 1e-6)
    ends = from_tones(np.array([[0.0, 1.0]], np.float32))
    assert np.isfinite(ends).all()
    assert ends[0, 0] < steady.min()
    assert ends[0, 1] > steady.max()


def test_tones_of_a_clip_are_hardly_ever_pure_black_or_white() -> None:
    frames, stabilizer = rendered("passer", 30, fps=15), Stabilizer()
    ends, clipped = [], []
    for frame, raw in zip(frames, jittered(frames), strict=True):
        scale_shift = stabilizer.step(raw, frame.rgb, frame.seconds)
        steady = shown(scale_shift, raw)
        ends.append(np.isin(np.rint(65535 * to_tones(raw, scale_shift.scale, scale_shift.shift)), (0, 65535)).mean())
        clipped.append(((steady < 0) | (steady > 1)).mean())
    assert max(clipped) > 0.02
    assert max(ends) == 0


def test_tones_do_not_change_their_input() -> None:
    depth = field(1)
    before = depth.copy()
    to_tones(depth, 2.0, 1.0)
    from_tones(depth)
    np.testing.assert_array_equal(depth, before)
