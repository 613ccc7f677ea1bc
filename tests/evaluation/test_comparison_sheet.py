"""The sheet of a comparison, its maps and photos against NumPy and Pillow."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.errors import DacliError
from dacli.evaluation import comparison_sheet
from dacli.evaluation.comparison import compare_outputs
from dacli.evaluation.comparison_sheet import ComparisonSheet, column_names, find_photos, sheet_row

RNG = np.random.default_rng(3)
RAMP = np.linspace(0, 100, 64 * 80).reshape(64, 80)
BLUE = (10, 60, 230)


def pair(folder: Path, name: str, a: NDArray[np.generic], b: NDArray[np.generic]) -> tuple[Path, Path]:
    paths = folder / "a" / f"{name}_depth.npy", folder / "b" / f"{name}_depth.npy"
    for path, depth in zip(paths, (a, b), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, depth)
    return paths


def photo(path: Path, size: tuple[int, int] = (80, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, BLUE).save(path)
    return path


def make_sheet(
    folder: Path, depths: dict[str, tuple[NDArray[np.generic], NDArray[np.generic]]], how: str = "none"
) -> ComparisonSheet:
    paths = {name: pair(folder, name, *both) for name, both in depths.items()}
    a, b = ({name: both[side] for name, both in paths.items()} for side in (0, 1))
    return ComparisonSheet(a, b, ("one", "other"), how, {})


def drawn(sheet: ComparisonSheet) -> NDArray[np.int64]:
    found, errors = compare_outputs(list(sheet.a), sheet.a, sheet.b, sheet.how)
    assert not errors
    return np.asarray(Image.open(io.BytesIO(comparison_sheet.draw_comparison(found, sheet))).convert("RGB"), np.int64)


def with_photos(sheet: ComparisonSheet, photos: dict[str, Path]) -> ComparisonSheet:
    return ComparisonSheet(sheet.a, sheet.b, sheet.names, sheet.how, photos)


# --- names ---


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("out-fp32", "out-bf16", ("out-fp32", "out-bf16")),
        ("runs/fp32/out", "runs/bf16/out", ("fp32/out", "bf16/out")),
        ("x/y/out", "x/z/../z/out", ("y/out", "z/out")),
        ("out", "out/out", ("out", "out")),
        ("same", "same", ("same", "same")),
    ],
)
def test_columns_are_named_by_what_tells_the_folders_apart(
    tmp_path: Path, a: str, b: str, expected: tuple[str, str]
) -> None:
    if b == "out/out":
        expected = (f"{tmp_path.name}/out", "out/out")
    assert column_names(tmp_path / a, tmp_path / b) == expected


def test_the_current_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert column_names(Path(), Path("../there")) == ("here", "there")


# --- photos ---


def test_photos_are_found_by_path_and_name_without_their_suffix(tmp_path: Path) -> None:
    first, second = photo(tmp_path / "in/a.JPG"), photo(tmp_path / "in/sub/a.png")
    third = photo(tmp_path / "in/c.jpg")
    photo(tmp_path / "in/c.png")
    found = find_photos(["a", "sub/a", "c.jpg", "d"], tmp_path / "in", ())
    assert found == {"a": first, "sub/a": second, "c.jpg": third}


def test_without_a_folder_photos_lie_beside_the_outputs(tmp_path: Path) -> None:
    beside = photo(tmp_path / "B/sub/a.jpg")
    (tmp_path / "A").mkdir()
    assert find_photos(["sub/a"], None, (tmp_path / "A", tmp_path / "B")) == {"sub/a": beside}
    assert find_photos(["other"], None, (tmp_path / "A", tmp_path / "B")) == {}


def test_a_folder_without_photos_is_an_error(tmp_path: Path) -> None:
    photo(tmp_path / "in/b.jpg")
    with pytest.raises(DacliError, match="in holds no photo of a: name the folder"):
        find_photos(["a"], tmp_path / "in", ())
    with pytest.raises(DacliError, match="nowhere does not exist"):
        find_photos(["a"], tmp_path / "nowhere", ())


def test_a_photo_of_another_shape_or_a_damaged_one_is_not_shown(tmp_path: Path) -> None:
    photo(tmp_path / "wide.png", (200, 64))
    (tmp_path / "cut.png").write_bytes(photo(tmp_path / "whole.png").read_bytes()[:60])
    assert comparison_sheet.photo_of_shape(tmp_path / "wide.png", (64, 80)) is None
    assert comparison_sheet.photo_of_shape(tmp_path / "cut.png", (64, 80)) is None
    shown = comparison_sheet.photo_of_shape(photo(tmp_path / "large.png", (240, 192)), (64, 80))
    assert shown is not None
    assert shown.shape == (64, 80, 3)
    assert (shown == BLUE).all()


# --- maps and scales ---


def test_a_and_b_of_a_row_have_the_scale_of_a_and_the_mark_its_place(tmp_path: Path) -> None:
    a = RNG.uniform(3, 9, (88, 1920))
    b = a.copy()
    b[60:70, 1500:1600] += 4
    b[65, 1510] += 1
    sheet = make_sheet(tmp_path, {"p": (a, b)})
    (found,), _ = compare_outputs(["p"], sheet.a, sheet.b, "none")
    row = sheet_row(found, sheet)
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(a, (2, 98))))
    fourfold = np.abs(b - a).reshape(22, 4, 480, 4).mean((1, 3)) / (row.high - row.low)
    np.testing.assert_allclose(row.off, 100 * fourfold, atol=1e-3)
    assert row.mark[0] == pytest.approx(1510 / 4, abs=0.5)
    assert row.mark[1] == pytest.approx(65 * 22 / 88, abs=0.5)


def test_flat_depth_has_a_scale_too() -> None:
    assert comparison_sheet.depth_scale(np.full((9, 9), 4.0)) == (4, 5)
    one = np.zeros((64, 80))
    one[0, 0] = 2  # percentiles do not see it
    assert comparison_sheet.depth_scale(one) == (0, 2)


def test_the_same_depth_twice_is_a_sheet_without_a_difference(tmp_path: Path) -> None:
    picture = drawn(make_sheet(tmp_path, {"p": (RAMP, RAMP), "flat": (RAMP * 0, RAMP * 0)}))
    assert (picture.sum(2) < 20).mean() > 0.1


def test_all_rows_share_one_scale_of_differences(tmp_path: Path) -> None:
    """A difference of a tenth of that of the first row is nearly black, whichever row it is in."""
    both = make_sheet(tmp_path, {"large": (RAMP, RAMP + 40), "small": (RAMP, RAMP + 4)})
    alone = make_sheet(tmp_path, {"small": (RAMP, RAMP + 4)})
    top = (252, 253, 191)  # the end of the scale
    shares = [(np.abs(drawn(sheet) - top).max(2) < 3).sum() for sheet in (both, alone)]
    assert shares[0] == pytest.approx(shares[1], rel=0.1)
    rows = [sheet_row(each, both) for each in compare_outputs(["small", "large"], both.a, both.b, "none")[0]]
    assert comparison_sheet.difference_scale(rows) == pytest.approx(100 * 40 / 96, rel=1e-3)


# --- the picture ---


def test_the_sheet_shows_the_difference_where_it_is(tmp_path: Path) -> None:
    spot = RAMP.copy()
    spot[8:24, 50:70] += 40
    picture = drawn(make_sheet(tmp_path, {"$p$ 写": (RAMP, spot)}))
    dark = picture.sum(2) < 30
    rows, columns = np.nonzero(dark.mean(1) > 0.17)[0], np.nonzero(dark.mean(0) > 0.3)[0]
    left = columns[:-9][columns[9:] - columns[:-9] == 9][0]  # not the line around a bar
    shown = dark[rows[0] : rows[-1] + 1, left : left + len(rows) * 80 // 64]
    expected = np.asarray(Image.fromarray(spot == RAMP).resize(shown.shape[::-1], Image.Resampling.NEAREST))
    assert shown.size > 10_000
    assert (shown == expected).mean() > 0.95


def test_the_photo_is_at_the_left_with_the_ring_where_the_difference_is(tmp_path: Path) -> None:
    other = RAMP.copy()
    other[48, 20] += 50
    sheet = make_sheet(tmp_path, {"p": (RAMP, other)})
    picture = drawn(with_photos(sheet, {"p": photo(tmp_path / "p.png")}))
    blue = np.abs(picture - BLUE).max(2) < 8
    y, x = np.nonzero(blue)
    assert x.max() < picture.shape[1] / 3
    place = picture[y.min() : y.max() + 1, x.min() : x.max() + 1]
    ring_y, ring_x = np.nonzero(np.abs(place - BLUE).max(2) > 40)
    assert ring_x.mean() / place.shape[1] == pytest.approx(20.5 / 80, abs=0.01)
    assert ring_y.mean() / place.shape[0] == pytest.approx(48.5 / 64, abs=0.01)
    middle = place[round(48.5 / 64 * place.shape[0]), round(20.5 / 80 * place.shape[1])]
    assert np.abs(middle - BLUE).max() < 8


def test_without_photos_there_is_no_column_for_them(tmp_path: Path) -> None:
    sheet = make_sheet(tmp_path, {"p": (RAMP, RAMP + 1), "q": (RAMP, RAMP + 2)})
    one = with_photos(sheet, {"p": photo(tmp_path / "p.png")})
    assert drawn(one).shape[1] - drawn(sheet).shape[1] == pytest.approx(3.4 * 130, abs=2)


@pytest.mark.slow
def test_a_sheet_has_no_more_than_its_rows(tmp_path: Path) -> None:
    ten = make_sheet(tmp_path, {str(n): (RAMP, RAMP + n) for n in range(10)})
    eight = make_sheet(tmp_path, {str(n): (RAMP, RAMP + n) for n in range(2, 10)})
    np.testing.assert_array_equal(drawn(ten), drawn(eight))
