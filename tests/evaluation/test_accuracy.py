from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize

from dacli.evaluation import accuracy
from dacli.evaluation.metrics import boundary_f1, delta1, ordinal

Map = NDArray[np.float64]
Measure = Callable[[Map, Map], float]
RNG = np.random.default_rng(8)
DEPTH = RNG.uniform(0.5, 40, (30, 40))
TRUTH = 1 / DEPTH
SKY = TRUTH.copy()
SKY[:8] = 0
PARTLY = SKY.copy()
PARTLY[20:] = np.nan
ERRORS = (accuracy.rmse, accuracy.log10, accuracy.silog)


def test_errors_of_a_hand_made_map() -> None:
    depth, found = np.array([1.0, 2, 4, 10]), np.array([2.0, 2, 1, 1])
    truth, prediction = np.array([[*(1 / depth), 0, np.nan]]), np.array([[*(1 / found), 5, 7]])
    assert accuracy.rmse(prediction, truth) == pytest.approx(np.sqrt((1 + 0 + 9 + 81) / 4))
    tens = [np.log10(2), 0, np.log10(4), 1]
    assert accuracy.log10(prediction, truth) == pytest.approx(np.mean(tens))
    logs = np.log(found) - np.log(depth)
    kitti = 100 * np.sqrt((logs**2).mean() - logs.mean() ** 2)
    assert accuracy.silog(prediction, truth) == pytest.approx(kitti)


def test_errors_are_zero_at_the_truth_and_silog_knows_no_scale_of_depth() -> None:
    for error in ERRORS:
        assert error(PARTLY, PARTLY) == 0
    assert accuracy.silog(3 * PARTLY, PARTLY) == pytest.approx(0, abs=1e-6)
    assert accuracy.log10(10 * PARTLY, PARTLY) == pytest.approx(1)


def test_delta_counts_by_powers_of_the_limit() -> None:
    truth, prediction = np.ones((1, 4)), np.array([[1.2, 1.5, 1 / 1.9, 2.0]])
    assert [delta1(prediction, truth, 1.25**n) for n in (1, 2, 3)] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize("error", ERRORS)
def test_without_finite_truth_there_is_no_error_and_behind_infinity_it_is_infinite(error: Measure) -> None:
    assert np.isnan(error(TRUTH, np.zeros_like(TRUTH)))
    assert np.isnan(error(TRUTH, np.full_like(TRUTH, np.nan)))
    assert error(np.zeros_like(TRUTH), TRUTH) == np.inf
    assert error(-TRUTH, TRUTH) == np.inf


def test_median_makes_the_median_depths_equal() -> None:
    odd = DEPTH[:, :39].ravel()[:1169].reshape(1, -1)
    prediction = 1 / RNG.uniform(1, 9, odd.shape)
    fitted = accuracy.align_prediction(prediction, 1 / odd, "median")
    assert np.median(1 / np.maximum(fitted, 1e-9)) == pytest.approx(np.median(odd))
    assert accuracy.align_prediction(PARTLY * 5, PARTLY, "median")[10:20] == pytest.approx(PARTLY[10:20])


def test_scale_is_the_best_multiple_by_search() -> None:
    prediction = TRUTH + RNG.uniform(0, 1, TRUTH.shape)
    best = optimize.minimize_scalar(lambda s: float(((s * prediction - TRUTH) ** 2).sum()))
    scale, shift = accuracy.scale_fit(prediction, TRUTH)
    assert scale == pytest.approx(best.x, rel=1e-5)
    assert shift == 0


@pytest.mark.parametrize("how", ["median", "scale", "affine"])
def test_a_fit_undoes_a_scale_where_the_truth_is_known_and_none_leaves_it(how: str) -> None:
    known = ~np.isnan(PARTLY) & (PARTLY > 0)
    wild = np.where(np.isnan(PARTLY), 1e9, 4 * PARTLY)
    np.testing.assert_allclose(accuracy.align_prediction(wild, PARTLY, how)[known], PARTLY[known])
    assert accuracy.align_prediction(wild, PARTLY, "none") is wild


def test_only_affine_undoes_a_shift() -> None:
    errors = {how: delta1(accuracy.align_prediction(TRUTH + 3, TRUTH, how), TRUTH) for how in accuracy.ALIGNMENTS}
    assert errors["affine"] == 1
    assert max(errors["none"], errors["median"], errors["scale"]) < 0.6


@pytest.mark.parametrize("how", ["median", "scale", "affine"])
def test_what_cannot_be_fitted_lies_at_the_farthest_truth_or_its_mean(how: str) -> None:
    flat = accuracy.align_prediction(np.zeros_like(TRUTH), TRUTH, how)
    assert (flat == (TRUTH.mean() if how == "affine" else TRUTH.min())).all()
    assert (accuracy.align_prediction(TRUTH, np.zeros_like(TRUTH), how) > 0).all()


def test_unknown_pixels_count_in_no_measure() -> None:
    prediction = SKY + RNG.normal(0, 0.1, SKY.shape)
    other = np.where(np.isnan(PARTLY), RNG.uniform(0, 9, SKY.shape), prediction)
    for measure in (boundary_f1, delta1, *ERRORS):
        assert measure(np.abs(prediction), PARTLY) == measure(np.abs(other), PARTLY)
    assert boundary_f1(np.abs(prediction), PARTLY) == pytest.approx(boundary_f1(np.abs(prediction[:20]), PARTLY[:20]))
    pairs = (ordinal(each, PARTLY, np.random.default_rng(3)) for each in (prediction, other))
    assert next(pairs) == next(pairs)
