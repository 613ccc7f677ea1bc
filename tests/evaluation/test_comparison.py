from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from dacli import choices
from dacli.errors import DacliError
from dacli.evaluation import comparison
from dacli.evaluation.compared_files import find_depth_outputs, read_compared_depth
from dacli.evaluation.comparison import compare_outputs, compare_picture, pair_outputs
from dacli.io import png, records

Depth = NDArray[np.float64]
RNG = np.random.default_rng(2)
RAMP = np.linspace(0, 100, 64 * 80).reshape(64, 80)
SPAN = 96.0  # from the 2nd to the 98th percentile of RAMP


def npy(path: Path, depth: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, depth)
    return path


def png16(path: Path, depth: Depth, quantity: choices.Quantity = "inverse depth") -> Path:
    """As dacli writes it, with the record that leads back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    low, high = float(depth.min()), float(depth.max())
    record = records.Record(low, high, "white", "steps", quantity, low, high, "e", "m", (1, 1), (1, 1), "0", "a", "")
    values = np.rint((depth - low) / (high - low) * 65535).astype(np.uint16)
    path.write_bytes(png.encode_png(values, record.text()))
    return path


def differ(tmp_path: Path, a: Depth, b: Depth, how: str) -> comparison.Difference:
    return compare_picture("a", npy(tmp_path / "a_depth.npy", a), npy(tmp_path / "b_depth.npy", b), how)


# --- how much ---


def test_differences_are_shares_of_the_range_of_a(tmp_path: Path) -> None:
    off = RNG.uniform(0, 5, RAMP.shape)
    found = differ(tmp_path, RAMP, RAMP - off, "none")
    assert found.mean == pytest.approx(off.mean() / SPAN, rel=1e-3)
    assert found.p99 == pytest.approx(np.quantile(off, 0.99) / SPAN, rel=1e-3)
    assert found.largest == pytest.approx(off.max() / SPAN, rel=1e-3)
    assert not found.same


def test_the_same_is_the_same(tmp_path: Path) -> None:
    found = differ(tmp_path, RAMP, RAMP, "none")
    assert (found.mean, found.p99, found.largest, found.order, found.same) == (0, 0, 0, 1, True)


@pytest.mark.parametrize(("how", "b"), [("affine", 3 * RAMP + 9), ("scale", 3 * RAMP), ("median", 3 * RAMP)])
def test_a_fit_takes_away_what_it_can_and_nothing_is_the_same_for_that(tmp_path: Path, how: str, b: Depth) -> None:
    found = differ(tmp_path, RAMP, b, how)
    assert found.largest < 1e-9
    assert not found.same
    assert differ(tmp_path, RAMP, b, "none").mean > 0.5


def test_the_affine_fit_is_that_of_least_squares(tmp_path: Path) -> None:
    b = RAMP**2 / 50 + RNG.normal(0, 3, RAMP.shape)
    line = stats.linregress(b.ravel(), RAMP.ravel())
    off = np.abs(line.slope * b + line.intercept - RAMP)
    assert differ(tmp_path, RAMP, b, "affine").mean == pytest.approx(off.mean() / SPAN, rel=1e-3)


def test_where_a_is_flat_the_range_is_that_of_b_or_all_there_is(tmp_path: Path) -> None:
    flat = np.full((9, 9), 4.0)
    assert differ(tmp_path, flat, flat, "affine").largest == 0
    found = differ(tmp_path, flat, flat + 3, "none")
    assert found.mean == 3
    assert np.isnan(found.order)
    assert differ(tmp_path, np.zeros_like(RAMP), RAMP, "none").mean == pytest.approx(50 / SPAN, rel=1e-3)
    one = np.zeros((64, 80))
    one[0, 0] = 2  # percentiles do not see it
    assert differ(tmp_path, one, one + 1, "none").mean == 0.5


def test_order_is_that_of_pairs_clearly_apart(tmp_path: Path) -> None:
    assert differ(tmp_path, RAMP, -RAMP, "none").order == 0
    assert differ(tmp_path, RAMP, RAMP**3, "none").order == 1
    assert differ(tmp_path, RAMP, np.ones_like(RAMP), "none").order == 0.5
    noise = RNG.uniform(0, 4, RAMP.shape)  # less than 5 % of the range: no pair that counts is turned round
    assert differ(tmp_path, RAMP, RAMP + noise, "none").order == 1


# --- where ---


@pytest.mark.parametrize(("x", "y"), [(0, 0), (79, 63), (31, 7)])
def test_the_place_is_the_pixel_that_differs_most(tmp_path: Path, x: int, y: int) -> None:
    b = RAMP.copy()
    b[20:40, 20:40] += 5
    b[y, x] -= 9
    found = differ(tmp_path, RAMP, b, "none")
    assert (found.x, found.y) == (x, y)
    assert found.largest == pytest.approx(9 / SPAN, rel=1e-3)
    assert comparison.comparison_rows([found])[1]["largest at"] == f"{x}, {y}"


# --- files ---


def test_16_bits_compare_with_floats_to_half_a_step(tmp_path: Path) -> None:
    found = compare_picture("a", npy(tmp_path / "a_depth.npy", RAMP), png16(tmp_path / "b_depth16.png", RAMP), "none")
    assert 0 < found.largest <= 1.01 * 100 / 65535 / 2 / SPAN


def test_metres_are_compared_as_inverse_depth(tmp_path: Path) -> None:
    metres = RNG.uniform(2, 9, RAMP.shape)
    a = npy(tmp_path / "a_depth.npy", 1 / metres)
    b = png16(tmp_path / "b_depth16.png", metres, "metres")
    assert compare_picture("a", a, b, "none").largest < 1e-3


def test_a_png_beside_an_npy_says_what_it_holds(tmp_path: Path) -> None:
    metres = RNG.uniform(2, 9, RAMP.shape)
    path = npy(tmp_path / "a_depth.npy", metres)
    np.testing.assert_array_equal(read_compared_depth(path), metres)
    png16(tmp_path / "a_gray.png", metres, "metres")
    np.testing.assert_allclose(read_compared_depth(path), 1 / metres)


def test_outputs_are_found_below_and_floats_come_first(tmp_path: Path) -> None:
    npy(tmp_path / "x/a_depth.npy", RAMP), png16(tmp_path / "x/a_depth16.png", RAMP)
    png16(tmp_path / "b_depth16.png", RAMP), (tmp_path / "b_color.png").write_bytes(b"\x89PNG\r\n\x1a\nnone")
    assert find_depth_outputs(tmp_path) == {"x/a": tmp_path / "x/a_depth.npy", "b": tmp_path / "b_depth16.png"}


def test_files_of_other_tools_and_frames_of_clips_are_found_by_their_names(tmp_path: Path) -> None:
    names = ("a.npy", "b_raw_depth_meter.npy", "clip_depth/clip_depth_000001.npy")
    for name in names:
        npy(tmp_path / name, RAMP)
    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / "c.png")
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "d.png")  # a picture of 8 bits
    assert find_depth_outputs(tmp_path) == {
        "a": tmp_path / names[0],
        "b": tmp_path / names[1],
        "clip_depth/clip_depth_000001": tmp_path / names[2],
        "c": tmp_path / "c.png",
    }
    np.testing.assert_array_equal(read_compared_depth(tmp_path / "c.png"), RAMP.astype(np.uint16))
    metres = npy(tmp_path / "e_raw_depth_meter.npy", RNG.uniform(2, 9, RAMP.shape))
    np.testing.assert_allclose(read_compared_depth(metres), 1 / np.load(metres))


def test_pixels_without_depth_do_not_count(tmp_path: Path) -> None:
    holes = RAMP.astype(np.float64)
    holes[5:9, 7] = np.nan
    other = np.where(np.isnan(holes), 1e9, RAMP + 3)
    found = compare_picture("a", npy(tmp_path / "a_depth.npy", holes), npy(tmp_path / "b_depth.npy", other), "none")
    assert (found.mean, found.largest) == pytest.approx((3 / SPAN, 3 / SPAN), rel=1e-2)
    assert compare_picture("a", tmp_path / "a_depth.npy", tmp_path / "b_depth.npy", "affine").largest < 1e-6


def test_pairs_and_what_either_lacks() -> None:
    a, b = {name: Path(name) for name in "abc"}, {name: Path(name) for name in "bcd"}
    assert pair_outputs(a, b) == (["b", "c"], ["only in A: a", "only in B: d"])
    many = {f"{number:02}": Path() for number in range(13)}
    assert pair_outputs(many, {"00": Path()})[1] == [
        f"only in A: {', '.join(f'{n:02}' for n in range(1, 11))} and 2 more"
    ]
    with pytest.raises(DacliError, match="no picture in common"):
        pair_outputs({"a": Path()}, {"b": Path()})


def test_the_worst_comes_first_and_faults_stop_nothing(tmp_path: Path) -> None:
    a, b = ({name: tmp_path / side / f"{name}_depth.npy" for name in "uvwxyz"} for side in "ab")
    for name, off in zip("uvw", (1, 30, 4), strict=True):
        npy(a[name], RAMP), npy(b[name], RAMP + off)
    npy(a["x"], RAMP), npy(b["x"], RAMP.T)
    npy(a["y"], RAMP), npy(b["y"], RAMP * np.nan)
    npy(a["z"], RAMP), b["z"].write_bytes(b"\x93NUMPY cut")
    found, faults = compare_outputs(list(a), a, b, "none")
    assert [each.picture for each in found] == ["v", "w", "u"]
    assert [str(fault).partition(": ")[2].partition(" in B")[0] for fault in faults[:1]] == [
        "80 × 64 pixels in A, 64 × 80"
    ]
    assert "y_depth.npy holds numbers that are not finite" in str(faults[1])
    assert "z_depth.npy is not an NPY of numbers" in str(faults[2])
    whole = comparison.total_record(found)
    assert whole["picture"] == "all 3"
    assert whole["mean"] == pytest.approx(35 / 3 / SPAN, rel=1e-3)
    assert whole["largest"] == pytest.approx(30 / SPAN, rel=1e-3)
    assert whole["same"] == 0


def test_what_is_no_output_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match="none is not a folder"):
        find_depth_outputs(tmp_path / "none")
    with pytest.raises(DacliError, match="holds no depth: run dacli with --save"):
        find_depth_outputs(tmp_path)


def test_an_array_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=r"holds an array of \(2, 2, 2\)"):
        read_compared_depth(npy(tmp_path / "a_depth.npy", np.ones((2, 2, 2))))
    with pytest.raises(DacliError, match="not an NPY of numbers"):
        read_compared_depth(npy(tmp_path / "a_depth.npy", np.array([["x"]])))
