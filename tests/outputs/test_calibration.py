"""Metres of relative depth by known distances: against the depth that the relative depth was made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dacli.errors import DacliError, UsageError
from dacli.outputs.calibration import Calibration, KnownPoint, calibrate_depth, parse_calibration
from dacli.types import DepthArray

RNG = np.random.default_rng(3)
METRES: DepthArray = RNG.uniform(0.7, 30, (12, 17)).astype(np.float32)


def of_points(*points: tuple[int, int]) -> Calibration:
    return Calibration(points=tuple(KnownPoint(x, y, float(METRES[y, x])) for x, y in points))


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 100), st.floats(-1, 1))
def test_two_points_or_both_ends_undo_scale_and_shift(scale: float, shift: float) -> None:
    relative = (scale / METRES.astype(np.float64) + shift * scale).astype(np.float32)
    ends = Calibration(near_far=(float(METRES.min()), float(METRES.max())))
    nearest, farthest = (np.unravel_index(pick(METRES), METRES.shape)[::-1] for pick in (np.argmin, np.argmax))
    for calibration in (ends, of_points((int(nearest[0]), int(nearest[1])), (int(farthest[0]), int(farthest[1])))):
        found, fit = calibrate_depth(relative, "inverse depth", calibration)
        np.testing.assert_allclose(found, METRES, rtol=1e-3)
        np.testing.assert_allclose(1 / METRES, fit.scale * relative.astype(np.float64) + fit.shift, rtol=1e-3)
        assert found.dtype == np.float32


def test_one_point_gives_the_scale() -> None:
    found, fit = calibrate_depth(np.float32(7) / METRES, "inverse depth", of_points((4, 5)))
    np.testing.assert_allclose(found, METRES, rtol=1e-5)
    assert (fit.shift, fit.given) == (0.0, f"--calibrate 4,5={METRES[5, 4]:g}")


def test_depth_of_no_scale_is_taken_as_depth() -> None:
    found, _ = calibrate_depth(METRES * np.float32(0.1), "depth", of_points((4, 5)))
    np.testing.assert_allclose(found, METRES, rtol=1e-5)


def test_the_ends_are_exact_and_what_is_beyond_infinity_is_very_far() -> None:
    found, _ = calibrate_depth(RNG.random((9, 9), dtype=np.float32), "inverse depth", Calibration(near_far=(0.3, 77)))
    assert (found.min(), found.max()) == (pytest.approx(0.3), pytest.approx(77))
    relative = np.array([[1, 0.5, 0, -1]], np.float32)
    found, _ = calibrate_depth(relative, "inverse depth", Calibration(points=(KnownPoint(0, 0, 2.0),)))
    assert found.tolist() == [[2, 4, 10_000, 10_000]]


@pytest.mark.parametrize(
    ("values", "calibration", "words"),
    [
        ([[1, 2]], Calibration(points=(KnownPoint(2, 0, 1),)), "--calibrate 2,0=1 is outside of the picture"),
        ([[1, 2]], Calibration(points=(KnownPoint(0, 1, 1),)), "which has 2 × 1 pixels"),
        ([[0, 2]], Calibration(points=(KnownPoint(0, 0, 1),)), "no distance at --calibrate 0,0=1"),
        ([[1, 2]], Calibration(points=(KnownPoint(0, 0, 1), KnownPoint(1, 0, 2))), "in the other order"),
        ([[1, 1]], Calibration(points=(KnownPoint(0, 0, 1), KnownPoint(1, 0, 2))), "as far as each other"),
        ([[1, 1]], Calibration(near_far=(1, 2)), "the same everywhere"),
    ],
)
def test_distances_that_contradict_the_depth(values: list[list[float]], calibration: Calibration, words: str) -> None:
    with pytest.raises(DacliError, match=words):
        calibrate_depth(np.array(values, np.float32), "inverse depth", calibration)


def test_what_is_given_is_read() -> None:
    assert parse_calibration(None, []) is None
    assert parse_calibration("0.5, 20", []) == Calibration(near_far=(0.5, 20))
    wanted = Calibration(points=(KnownPoint(3, 4, 2.5), KnownPoint(0, 0, 1e3)))
    assert parse_calibration(None, ["3,4=2.5", "0, 0 = 1e3"]) == wanted
    assert wanted.given == "--calibrate 3,4=2.5 --calibrate 0,0=1000"


@pytest.mark.parametrize(
    ("near_far", "points", "words"),
    [
        ("20,0.5", [], "the wrong way round"),
        ("2,2", [], "the wrong way round"),
        ("0,2", [], "cannot read --near-far 0,2"),
        ("1", [], "cannot read"),
        ("1,2,3", [], "cannot read"),
        ("1,nan", [], "cannot read"),
        ("1,1e9", [], "cannot read"),
        ("1,2", ["3,4=1"], "contradict each other"),
        (None, ["3,4"], "cannot read --calibrate 3,4"),
        (None, ["-3,4=1"], "cannot read"),
        (None, ["3,4=0"], "cannot read"),
        (None, ["3,4=1", "3,4=2"], "given 2 times"),
        (None, ["1,1=1", "2,2=2", "3,3=3"], "given 3 times"),
    ],
)
def test_what_cannot_be_read(near_far: str | None, points: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_calibration(near_far, points)
