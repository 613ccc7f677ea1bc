import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from dacli.evaluation.temporal import measure_flicker, motion_residuals, scale_drift
from dacli.scenes.moving import FrameMatch, sample_bilinear

Map = NDArray[np.float64]
RNG = np.random.default_rng(3)
SCENE = RNG.uniform(0.1, 1, (20, 30))
Y, X = (np.asarray(v, np.float64) for v in np.indices(SCENE.shape))
STAYS = FrameMatch(X, Y, np.ones(SCENE.shape, bool))
LEVELS = RNG.normal(0, 0.05, 12)


def still(frames: int) -> tuple[Map, list[FrameMatch | None]]:
    return np.repeat(SCENE[None], frames, 0), [None, *[STAYS] * (frames - 1)]


def flat_fit(depth: Map, truth: Map) -> Map:
    scale, shift = np.polyfit(depth.ravel(), truth.ravel(), 1)
    return np.asarray(scale * depth + shift)


def breadth(truth: Map) -> float:
    return float(np.percentile(truth, 98) - np.percentile(truth, 2))


def test_a_clip_equal_to_the_truth_up_to_scale_and_shift_has_no_flicker() -> None:
    truth, matches = still(5)
    found = measure_flicker(3 * truth - 0.4, truth, matches)
    assert found.jerk == pytest.approx(0, abs=1e-10)
    assert found.tge == pytest.approx(0, abs=1e-10)
    assert found.delta1 == 1
    assert found.clipped == np.mean((3 * SCENE - 0.4 < 0) | (3 * SCENE - 0.4 > 1))


def test_brightness_that_jumps_is_jerk_in_percent_of_the_truths_range() -> None:
    truth, matches = still(len(LEVELS))
    depth = truth + LEVELS[:, None, None]
    steps = np.diff(flat_fit(depth, truth)[:, 0, 0])  # of one pixel: all change alike
    found = measure_flicker(depth, truth, matches)
    assert found.jerk == pytest.approx(100 * np.std(np.diff(steps)) / breadth(truth))
    assert found.tge == pytest.approx(100 * np.mean(np.abs(steps)) / breadth(truth))


def test_brightness_that_rises_evenly_is_no_jerk() -> None:
    truth, matches = still(8)
    found = measure_flicker(truth + np.linspace(0, 0.2, 8)[:, None, None], truth, matches)
    assert found.jerk == pytest.approx(0, abs=1e-10)
    assert found.tge > 1


def test_flicker_of_a_minority_of_the_pixels_is_tge_but_no_jerk() -> None:
    truth, matches = still(len(LEVELS))
    depth = truth.copy()
    depth[:, :5] += LEVELS[:, None, None]
    found = measure_flicker(depth, truth, matches)
    assert found.jerk == pytest.approx(0, abs=1e-10)
    assert found.tge > 0.5


def test_motion_is_followed() -> None:
    wide, error = (ndimage.gaussian_filter(RNG.uniform(0, 1, (20, 60)), 2) for _ in range(2))
    truth, wrong = (np.stack([field[:, 2 * t : 2 * t + 30] for t in range(6)]) for field in (wide, error))
    moved = FrameMatch(X + 2, Y, X + 2 <= 29)  # a pan by 2 pixels a frame, with an error that goes along
    assert measure_flicker(truth + wrong, truth, [None, *[moved] * 5]).tge == pytest.approx(0, abs=1e-10)
    assert measure_flicker(truth + wrong, truth, [None, *[STAYS] * 5]).tge > 1


def test_frames_without_a_match_are_left_out() -> None:
    truth, matches = still(12)
    depth = truth + np.where(np.arange(12) < 6, 0.0, 0.3)[:, None, None]  # jumps at frame 6 only
    assert measure_flicker(depth, truth, matches).jerk > 1
    matches[6] = None
    assert measure_flicker(depth, truth, matches).jerk == pytest.approx(0, abs=1e-10)
    matches[6] = FrameMatch(X, Y, np.zeros(SCENE.shape, bool))
    assert measure_flicker(depth, truth, matches).jerk == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_too_short_for_a_measure_gives_nan(frames: int) -> None:
    truth, matches = still(frames)
    found = measure_flicker(truth, truth, matches)
    assert np.isnan(found.jerk)
    assert np.isnan(found.tge) == (frames == 1)
    assert found.delta1 == 1


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(0.01, 100), st.floats(-10, 10))
def test_flicker_knows_no_scale_and_shift_of_the_whole_clip(scale: float, shift: float) -> None:
    truth, matches = still(len(LEVELS))
    depth = truth * np.exp(LEVELS)[:, None, None] + LEVELS[::-1, None, None]
    plain, other = (measure_flicker(d, truth, matches) for d in (depth, scale * depth + shift))
    np.testing.assert_allclose((other.jerk, other.tge, other.delta1), (plain.jerk, plain.tge, plain.delta1), rtol=1e-6)


def test_residuals_of_a_hand_made_pair() -> None:
    depth, truth = np.array([[[1.0, 2, 3]], [[2, 3, 9]]]), np.array([[[0.0, 1, 2]], [[1, 1, 4]]])
    match = FrameMatch(np.array([[1.0, 2, 0]]), np.zeros((1, 3)), np.array([[True, True, False]]))
    np.testing.assert_allclose(motion_residuals(depth, truth, match), [(2 - 2) - (1 - 1), (3 - 3) - (1 - 2)])


def test_drift_of_a_clip_that_fades_evenly() -> None:
    truth, times = still(21)[0], np.arange(21)
    depth = np.exp(-0.01 * times)[:, None, None] * truth + 0.2
    deviation, rise = scale_drift(depth, truth)
    assert rise == pytest.approx(-0.2)
    assert deviation == pytest.approx(0.01 * np.sqrt((21**2 - 1) / 12))  # of evenly spaced numbers


def test_frames_without_a_scale_do_not_count_as_drift() -> None:
    truth, _ = still(6)
    depth = truth.copy()
    depth[2], depth[4] = -truth[2], 0.3
    np.testing.assert_allclose(scale_drift(depth, truth), 0, atol=1e-12)
    assert np.isnan(scale_drift(-truth, truth)).all()
    assert np.isnan(scale_drift(truth[:1], truth[:1])).all()


def test_sampled_is_bilinear_and_goes_on_at_the_border() -> None:
    x, y = RNG.uniform(-3, 33, (2, 15, 40))
    expected = ndimage.map_coordinates(SCENE, (y, x), order=1, mode="nearest")
    np.testing.assert_allclose(sample_bilinear(SCENE, x, y), expected, atol=1e-12)
    np.testing.assert_array_equal(sample_bilinear(SCENE, X, Y), SCENE)
    np.testing.assert_array_equal(sample_bilinear(SCENE[:1, :1], X, Y), np.full(SCENE.shape, SCENE[0, 0]))
