import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dacli import labelled, png, render
from dacli.errors import DacliError, UsageError
from dacli.labelled import Pair, find, parse_unit, read, read_depth

STEPS = np.array([[0, 1, 500, 65534, 65535]], np.uint16)
METRES = np.array([[np.nan, 0.01, 5, 655.34, np.inf]])


def plain_png(path: Path, values: NDArray[np.uint16]) -> Path:
    path.write_bytes(cv2.imencode(".png", values)[1].tobytes())
    return path


def own_png(path: Path, values: NDArray[np.uint16], white: float, quantity: render.Quantity) -> Path:
    record = render.Record(0, white, "black", "steps", quantity, 0, 1, "e", "m", (1, 1), (1, 1), "0", "a.png", "")
    path.write_bytes(png.encode(values, record.text()))
    return path


def saved(path: Path, array: NDArray[np.generic]) -> Path:
    np.save(path, array)
    return path


def photo(path: Path, height: int, width: int) -> Path:
    return plain_png(path, np.zeros((height, width), np.uint16))


# --- depth ---


def test_16_bits_are_steps_with_unknown_below_and_the_sky_above(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_depth(plain_png(tmp_path / "a.png", STEPS), 0.01), METRES, rtol=1e-6)
    own = own_png(tmp_path / "b.png", STEPS, 655.35, "metres")
    np.testing.assert_allclose(read_depth(own, None), METRES, rtol=1e-6)


def test_a_unit_that_is_given_counts_more_than_the_files_own(tmp_path: Path) -> None:
    own = own_png(tmp_path / "b.png", STEPS, 1.0, "metres")
    np.testing.assert_allclose(read_depth(own, 0.01), METRES, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.uint32])
def test_an_npy_holds_metres_of_any_type_or_what_the_unit_says(tmp_path: Path, kind: type) -> None:
    path = saved(tmp_path / "a.npy", np.array([[0, 1, 7], [2, 3, 4]], kind))
    np.testing.assert_array_equal(read_depth(path, None), [[np.nan, 1, 7], [2, 3, 4]])
    np.testing.assert_array_equal(read_depth(path, 0.5), [[np.nan, 0.5, 3.5], [1, 1.5, 2]])
    assert read_depth(saved(tmp_path / "row.npy", np.array([[3, 4]], kind)), None).tolist() == [[3, 4]]


def test_unknown_is_what_is_not_above_0_and_a_channel_of_one_is_none(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=r"holds an array of \(2, 2, 3\)"):
        read_depth(saved(tmp_path / "a.npy", np.ones((2, 2, 3))), None)
    path = saved(tmp_path / "b.npy", np.array([[np.nan, -1], [0, np.inf], [-np.inf, 3]], np.float32)[..., None])
    np.testing.assert_array_equal(read_depth(path, None), [[np.nan, np.nan], [np.nan, np.inf], [np.nan, 3]])


@pytest.mark.parametrize("value", [0, -2, np.nan, np.inf])
def test_depth_without_a_finite_number_above_0_is_refused(tmp_path: Path, value: float) -> None:
    path = saved(tmp_path / "a.npy", np.full((4, 5), value))
    with pytest.raises(DacliError, match=r"a\.npy has no finite depth above 0"):
        read_depth(path, None)


@pytest.mark.parametrize("value", [0, 65535])
def test_a_png_of_nothing_but_sky_or_holes_is_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(DacliError, match="no finite depth"):
        read_depth(plain_png(tmp_path / "a.png", np.full((4, 5), value, np.uint16)), 1)


def test_what_does_not_say_its_unit_or_is_of_no_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=r"does not say its unit: give it with --unit"):
        read_depth(plain_png(tmp_path / "a.png", STEPS), None)
    with pytest.raises(DacliError, match="holds inverse depth of no known scale"):
        read_depth(own_png(tmp_path / "b.png", STEPS, 1, "inverse depth"), None)


@pytest.mark.parametrize("data", [b"", b"not an array", b"\x93NUMPY\x01\x00"])
def test_a_damaged_npy_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(DacliError, match=r"a\.npy is (empty|no NPY of numbers)"):
        read_depth(tmp_path / "a.npy", None)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([[1j]]), np.array([None])])
def test_an_npy_of_no_real_numbers_is_refused(tmp_path: Path, array: NDArray[np.generic]) -> None:
    with pytest.raises(DacliError, match="no NPY of numbers"):
        read_depth(saved(tmp_path / "a.npy", array), None)


def test_depth_of_another_size_names_both_files_and_sizes(tmp_path: Path) -> None:
    pair = Pair("a", photo(tmp_path / "a.png", 3, 4), saved(tmp_path / "a.npy", np.ones((4, 3))))
    with pytest.raises(DacliError, match=r"a\.png has 4 × 3 pixels, its depth .*a\.npy 3 × 4"):
        read(pair)


# --- units ---


@pytest.mark.parametrize(("text", "metres"), [("m", 1), ("cm", 0.01), ("mm", 0.001), ("0.00390625", 1 / 256)])
def test_units(text: str, metres: float) -> None:
    assert parse_unit(text) == metres
    assert parse_unit(None) is None


@pytest.mark.parametrize("text", ["", "feet", "0", "-1", "nan", "inf", "1e9"])
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no length"):
        parse_unit(text)


# --- lists ---


@pytest.mark.parametrize("between", ["\t", ",", " ", "  ", ", "])
def test_a_list_has_pairs_from_its_own_folder(tmp_path: Path, between: str) -> None:
    (tmp_path / "d").mkdir()
    photo(tmp_path / "b.png", 2, 2), photo(tmp_path / "d/a.png", 2, 2), saved(tmp_path / "d/a.npy", np.ones((2, 2)))
    lines = [f"d/a.png{between}d/a.npy", "# said", "", f"b.png{between}{tmp_path / 'd/a.npy'}"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    pairs = find(tmp_path / "list.txt", 0.5)
    assert [pair.name for pair in pairs] == ["d/a.png", "b.png"]
    assert pairs[0] == Pair("d/a.png", tmp_path / "d/a.png", tmp_path / "d/a.npy", 0.5)
    assert read(pairs[1])[1].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_names_with_spaces_need_a_tab_or_a_comma(tmp_path: Path) -> None:
    photo(tmp_path / "a b.png", 2, 2), saved(tmp_path / "a b.npy", np.ones((2, 2)))
    (tmp_path / "l.csv").write_text("a b.png,a b.npy\n")
    assert find(tmp_path / "l.csv")[0].picture == tmp_path / "a b.png"
    (tmp_path / "l.csv").write_text("a b.png a b.npy\n")
    with pytest.raises(DacliError, match=r"line 1 of .*l\.csv has 4 fields"):
        find(tmp_path / "l.csv")


def test_missing_files_are_named_up_to_ten(tmp_path: Path) -> None:
    saved(tmp_path / "d.npy", np.ones((2, 2)))
    (tmp_path / "l.txt").write_text("".join(f"{number}.png d.npy\n" for number in range(12)))
    with pytest.raises(DacliError) as error:
        find(tmp_path / "l.txt")
    assert "names 12 files that are not there" in error.value.message
    assert error.value.message.count(".png") == 10
    assert error.value.message.endswith("9.png and 2 more")


@pytest.mark.parametrize("data", [b"\n# nothing\n", b"\xff\xfe\x00"])
def test_a_list_without_pairs_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "l.txt").write_bytes(data)
    with pytest.raises(DacliError, match=r"no pictures with depth in|is no list of pairs"):
        find(tmp_path / "l.txt")


# --- folders ---


def described(folder: Path, name: str, **fields: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    photo(folder / f"{name}.png", 2, 3), saved(folder / f"{name}.npy", np.full((2, 3), 4.0))
    (folder / f"{name}.json").write_text(json.dumps({"picture": f"{name}.png", "depth": f"{name}.npy"} | fields))


def test_a_folder_has_what_its_jsons_name_at_any_depth(tmp_path: Path) -> None:
    described(tmp_path / "sub/b", "x")
    described(tmp_path, "a", depth={"npy": "a.npy", "png16": "missing.png"})
    (tmp_path / "settings.json").write_text('{"size": 3}')
    (tmp_path / "list.json").write_text("[1, 2]")
    pairs = find(tmp_path)
    assert [pair.name for pair in pairs] == ["a.png", "sub/b/x.png"]
    assert pairs[0].depth == tmp_path / "a.npy"
    assert (read(pairs[1])[1] == 4).all()


def test_a_folder_without_any_says_what_is_wanted(tmp_path: Path) -> None:
    photo(tmp_path / "a.png", 2, 2)
    with pytest.raises(DacliError, match="name a folder that dacli scenes made"):
        find(tmp_path)


@pytest.mark.parametrize(("text", "why"), [("{", "is no JSON"), ('{"picture": "a", "depth": {}}', "names no file")])
def test_a_damaged_description_is_named(tmp_path: Path, text: str, why: str) -> None:
    described(tmp_path, "a")
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DacliError, match=rf"b\.json {why}"):
        find(tmp_path)


def test_depth_that_a_description_names_and_that_is_gone_is_named(tmp_path: Path) -> None:
    described(tmp_path, "a")
    (tmp_path / "a.npy").unlink()
    with pytest.raises(DacliError, match=r"names 1 files that are not there: .*a\.npy"):
        labelled.find(tmp_path)
