import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, optimize, stats

from dacli.evaluation import metrics

Map = NDArray[np.float64]
RNG = np.random.default_rng(4)
TRUTH = RNG.uniform(0.05, 2, (40, 50))
SEEN = TRUTH.copy()
SEEN[:10] = 0  # sky


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_affine_fit_against_least_squares() -> None:
    prediction = 3 * TRUTH**0.7 + RNG.normal(0, 0.3, TRUTH.shape)
    columns = np.stack([prediction.ravel(), np.ones(prediction.size)], 1)
    expected = np.linalg.lstsq(columns, TRUTH.ravel(), rcond=None)[0]
    np.testing.assert_allclose(metrics.affine_fit(prediction, TRUTH), expected, rtol=1e-9)
    line = stats.linregress(prediction.ravel(), TRUTH.ravel())
    np.testing.assert_allclose(metrics.affine_fit(prediction, TRUTH), (line.slope, line.intercept), rtol=1e-9)


def test_affine_fit_of_float32_far_from_zero_keeps_its_digits() -> None:
    prediction = (1000 + TRUTH).astype(np.float32)
    scale, shift = metrics.affine_fit(prediction, TRUTH)
    best = optimize.minimize(
        lambda p: float(((p[0] * (prediction.astype(np.float64) - 1000) + p[1] - TRUTH) ** 2).mean()), [0.5, 0.0]
    )
    np.testing.assert_allclose((scale, shift + 1000 * scale), best.x, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e30])
def test_a_constant_prediction_is_fitted_by_the_mean(value: float) -> None:
    flat = np.full(TRUTH.shape, value)
    assert metrics.affine_fit(flat, TRUTH) == (0.0, TRUTH.mean())
    fitted = metrics.align_affine(flat, TRUTH)
    np.testing.assert_allclose(fitted, TRUTH.mean())
    assert 0 < metrics.delta1(fitted, TRUTH) < 1
    assert metrics.abs_rel(fitted, TRUTH) == pytest.approx(np.mean(np.abs(1 / TRUTH.mean() - 1 / TRUTH) * TRUTH))
    assert metrics.boundary_f1(fitted, TRUTH) == 0
    assert metrics.ordinal(flat, TRUTH, rng()) == 0.5


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_constant_truth_divides_nothing_by_zero(value: float) -> None:
    flat = np.full(TRUTH.shape, value)
    fitted = metrics.align_affine(TRUTH, flat)
    assert (fitted > 0).all()
    assert np.isnan(metrics.ordinal(TRUTH, flat, rng()))
    assert metrics.boundary_f1(fitted, flat) == 0
    seen = value > 0
    np.testing.assert_equal(metrics.delta1(fitted, flat), 1.0 if seen else np.nan)
    np.testing.assert_allclose(metrics.abs_rel(fitted, flat), 0.0 if seen else np.nan, atol=1e-9)


def test_aligned_undoes_an_affine_map_and_is_never_behind_the_farthest_truth() -> None:
    np.testing.assert_allclose(metrics.align_affine(-4 * TRUTH + 7, TRUTH), TRUTH)
    noisy = SEEN + RNG.normal(0, 0.5, SEEN.shape)
    assert metrics.align_affine(noisy, SEEN).min() == SEEN[SEEN > 0].min()
    scale, shift = np.polyfit(noisy.ravel(), SEEN.ravel(), 1)
    near = scale * noisy + shift > SEEN[SEEN > 0].min()
    np.testing.assert_allclose(metrics.align_affine(noisy, SEEN)[near], (scale * noisy + shift)[near])


def test_delta1_of_a_hand_made_map() -> None:
    truth = np.array([[1.0, 1, 1, 1, 1, 0], [2, 2, 2, 2, 2, 0]])
    prediction = np.array([[1.0, 1.24, 1.26, 0.81, 0.79, 9], [2, 0, -2, 2.4, 3, 9]])
    assert metrics.delta1(prediction, truth) == 5 / 10


def test_abs_rel_is_that_of_depth_not_of_inverse_depth() -> None:
    truth, prediction = np.array([[1.0, 0.5, 0.25, 0.0]]), np.array([[2.0, 0.5, 0.2, 7.0]])
    depth, found = np.array([1.0, 2, 4]), np.array([0.5, 2, 5])
    assert metrics.abs_rel(prediction, truth) == pytest.approx(np.mean(np.abs(found - depth) / depth))
    assert metrics.abs_rel(np.zeros((1, 4)), truth) == np.inf


def test_perfect_maps() -> None:
    assert metrics.delta1(SEEN, SEEN) == 1
    assert metrics.abs_rel(SEEN, SEEN) == 0
    assert metrics.ordinal(SEEN, SEEN, rng()) == 1
    assert metrics.ordinal(-SEEN, SEEN, rng()) == 0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
def test_ordinal_knows_no_scale_and_shift(scale: float, shift: float) -> None:
    assert metrics.ordinal(scale * SEEN + shift, SEEN, rng()) == 1
    assert metrics.ordinal(shift - scale * SEEN, SEEN, rng()) == 0


def test_ordinal_counts_only_pairs_far_enough_apart() -> None:
    truth = np.array([[1.0, 1.05, 3.0]])
    assert metrics.ordinal(np.array([[2.0, 1.0, 5.0]]), truth, rng()) == 1
    assert metrics.ordinal(np.array([[2.0, 1.0, 5.0]]), truth, rng(), ratio=1.01) < 0.9
    half_right = metrics.ordinal(np.array([[1.0, 1.0, 1.0, 2.0]]), np.array([[1.0, 2.0, 4.0, 8.0]]), rng(), 200_000)
    assert half_right == pytest.approx((3 + 3 * 0.5) / 6, abs=0.01)


def test_ordinal_is_kendalls_tau_brought_to_0_1() -> None:
    truth = 1.2 ** RNG.permutation(60).reshape(6, 10)
    prediction = truth + RNG.normal(0, 300, truth.shape)
    tau = stats.kendalltau(prediction, truth).statistic
    assert metrics.ordinal(prediction, truth, rng(), 400_000) == pytest.approx((1 + tau) / 2, abs=0.005)


def square(shift: int = 0, near: float = 1.0, far: float = 0.5) -> Map:
    field = np.full((30, 30), far)
    field[10:20, 10 + shift : 20 + shift] = near
    return field


def test_boundary_f1_of_a_hand_made_square() -> None:
    assert metrics.boundary_f1(square(), square()) == pytest.approx(1)
    assert metrics.boundary_f1(7 * square(), 3 * square()) == pytest.approx(1)
    assert metrics.boundary_f1(np.ones((30, 30)), square()) == 0
    # moved one pixel sideways: no upright edge is met any more, 9 of 10 pixels of the others are
    share = 0.25 * (0 + 0 + 9 / 10 + 9 / 10)
    assert metrics.boundary_f1(square(1), square()) == pytest.approx(share)
    assert metrics.boundary_f1(square(15), square()) == 0


def test_boundary_f1_weighs_thresholds_that_an_edge_passes() -> None:
    faint = square(near=0.575)  # a ratio of 1.15 in the prediction, 2 in the truth
    thresholds = np.linspace(1.05, 1.25, 10)
    assert metrics.boundary_f1(faint, square()) == pytest.approx(thresholds[thresholds < 1.15].sum() / thresholds.sum())


def test_boundary_f1_is_published_recall_and_precision() -> None:
    truth, prediction = RNG.uniform(0.5, 1, (12, 14)), RNG.uniform(0.5, 1, (12, 14))
    scores, thresholds = [], np.linspace(1.05, 1.25, 10)
    for t in thresholds:
        shares: list[list[float]] = [[], []]
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            edges = []
            for d in (prediction, truth):
                edges.append(
                    {
                        (y, x)
                        for y in range(12)
                        for x in range(14)
                        if 0 <= y + dy < 12 and 0 <= x + dx < 14 and d[y + dy, x + dx] / d[y, x] > t
                    }
                )
            found, real = edges
            shares[0].append(len(found & real) / max(len(found), 1))
            shares[1].append(len(found & real) / max(len(real), 1))
        p, r = np.mean(shares, 1)
        scores.append(2 * p * r / (p + r))
    assert metrics.boundary_f1(prediction, truth) == pytest.approx(np.average(scores, weights=thresholds))


def test_d3r_of_hand_made_maps() -> None:
    truth = np.array([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]])  # two pairs apart, of seven neighbours
    assert metrics.d3r(truth, truth, truth.size) == 0
    assert metrics.d3r(np.ones((2, 3)), truth, truth.size) == 1
    assert metrics.d3r(1 / truth, truth, truth.size) == 2
    assert metrics.d3r(np.array([[1.0, 1.0, 2.0], [1.0, 2.0, 1.0]]), truth, truth.size) == 1  # one right, one inverted
    assert metrics.d3r(np.array([[1.0, 1.0, 1.005], [1.0, 1.0, 1.02]]), truth, truth.size) == 0.5
    assert np.isnan(metrics.d3r(truth, np.full((2, 3), 5.0), truth.size))


def test_d3r_against_all_neighbours_one_by_one() -> None:
    truth, prediction = RNG.uniform(0.5, 1, (90, 120)), RNG.uniform(0.5, 1, (90, 120))

    def order(a: float, b: float, tolerance: float) -> int:
        return 1 if a / b > 1 + tolerance else -1 if b / a > 1 + tolerance else 0

    ys, xs = range(3, 90, 6), range(3, 120, 6)  # 300 points: every sixth
    pairs = [((y, x), (y, x + 6)) for y in ys for x in xs if x + 6 in xs]
    pairs += [((y, x), (y + 6, x)) for y in ys for x in xs if y + 6 in ys]
    apart = [(a, b) for a, b in pairs if order(truth[a], truth[b], 0.1)]
    wrong = [abs(order(truth[a], truth[b], 0.01) - order(prediction[a], prediction[b], 0.01)) for a, b in apart]
    assert metrics.d3r(prediction, truth, 300) == pytest.approx(np.mean(wrong))


def railing(contrast: float = 1.0, far: float = 0.5, step: int = 40) -> Map:
    """Upright bars 3 pixels wide and as near as 1 before a wall, or with a share of that contrast."""
    field = np.full((120, 200), far)
    for x in range(20, 190, step):
        field[:, x : x + 3] += contrast * (1 - far)
    return field


@pytest.mark.parametrize("contrast", [0.0, 0.25, 0.5, 1.0])
def test_thin_contrast_is_the_share_of_the_bars_height_that_is_there(contrast: float) -> None:
    assert metrics.thin_contrast(railing(contrast), railing(), 9) == pytest.approx(contrast, abs=1e-6)


@pytest.mark.parametrize(("contrast", "share"), [(-0.5, 0.0), (1.7, 1.0)])
def test_thin_contrast_is_a_share(contrast: float, share: float) -> None:
    assert metrics.thin_contrast(railing(contrast), railing(), 9) == share


def test_thin_contrast_counts_thin_and_near_things_only() -> None:
    wide, hole = railing(), 1.5 - railing()
    assert np.isnan(metrics.thin_contrast(wide, ndimage.grey_dilation(wide, (1, 15)), 9))
    assert np.isnan(metrics.thin_contrast(hole, hole, 9))
    assert np.isnan(metrics.thin_contrast(np.ones((50, 50)), np.ones((50, 50)), 9))
    assert np.isnan(metrics.thin_contrast(railing(0.05), railing(0.05), 9))


def test_thin_contrast_knows_no_shift_and_is_blind_to_what_lies_elsewhere() -> None:
    level = railing() + 0.2 * (np.arange(200) > 100)
    assert metrics.thin_contrast(level, railing(), 9) == pytest.approx(1, abs=0.05)
    blurred = ndimage.gaussian_filter(railing(), 3)
    assert 0.1 < metrics.thin_contrast(blurred, railing(), 9) < 0.6


def tiled_error(step: float, borders: list[int], noise: float = 0.01) -> Map:
    """Noise, and a step where each tile of rows begins."""
    field: Map = SEEN.max() + np.random.default_rng(3).normal(0, noise, (90, 400))
    for border in borders:
        field[border:] += step
    return field


def test_seam_index_is_one_where_nothing_shows_and_grows_with_the_step() -> None:
    truth = np.full((90, 400), 2.0)
    assert metrics.seam_index(tiled_error(0, [30, 60]), truth, [30, 60], []) == pytest.approx(1, abs=0.05)
    # |noise + step| / |noise| of normal differences: the step stands out of sqrt(2) sigma
    folded = stats.foldnorm(0.05 / (2**0.5 * 0.01)).mean() / stats.halfnorm.mean()
    found = metrics.seam_index(tiled_error(0.05, [30, 60]), truth, [30, 60], [])
    assert found == pytest.approx(folded, rel=0.05)
    turned = metrics.seam_index(tiled_error(0.05, [30, 60]).T, truth.T, [], [30, 60])
    assert turned == pytest.approx(found)
    assert metrics.seam_index(tiled_error(0.05, [31, 61]), truth, [30, 60], []) == pytest.approx(1, abs=0.05)


def test_seam_index_leaves_out_the_edges_of_the_truth() -> None:
    truth = np.full((90, 400), 2.0)
    truth[30:, :200] = 1.0
    prediction = tiled_error(0, [])
    prediction[30:, :200] -= 1.5
    assert metrics.seam_index(prediction, truth, [30], []) == pytest.approx(1, abs=0.1)
    assert np.isnan(metrics.seam_index(prediction, truth, [], []))
    assert np.isnan(metrics.seam_index(prediction[:1], truth[:1], [0], []))
