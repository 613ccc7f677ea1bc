import json
import subprocess
import sys
import warnings
from dataclasses import asdict, replace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dacli import choices, types
from dacli.choices import Near, Quantity
from dacli.errors import DacliError, UsageError
from dacli.io import png, records, scales
from dacli.io.records import Record
from dacli.io.scales import DepthScale
from dacli.outputs import drawing, style
from dacli.outputs.style import FULL_RANGE, DepthRange
from dacli.types import DepthArray

RNG = np.random.default_rng(7)
DEPTH: DepthArray = (RNG.random((30, 41), dtype=np.float32) * 9 + 0.5).astype(np.float32)
RECORD = Record(
    black=0.1,
    white=1 / 3,
    near="white",
    unit="steps",
    quantity="inverse depth",
    low=0.1,
    high=1 / 3,
    encoder="vits",
    model="v2",
    network_size=(518, 784),
    source_size=(30, 41),
    version="0.1.0",
    source="übung\udcff 深.jpg",
    settings="5f3a",
)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
QUANTITIES = st.sampled_from(["inverse depth", "metres"])
NEARS = st.sampled_from(["white", "black"])


def depth16(
    depth: types.DepthArray,
    low: float,
    high: float,
    quantity: choices.Quantity,
    near: choices.Near = "white",
) -> tuple[types.Gray16, scales.DepthScale]:
    """The 16-bit values and their scale, made as the pipeline makes them."""
    scale = scales.choose_scale(low, high, quantity, near)
    return scale.encode(depth), scale


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("auto", FULL_RANGE),
        (" AUTO ", FULL_RANGE),
        ("0,10", DepthRange(0.0, 10.0)),
        ("-1.5 , 2e3", DepthRange(-1.5, 2000.0)),
        ("p2,p98", DepthRange(2.0, 98.0, percent=True)),
        ("P0,P100", DepthRange(0.0, 100.0, percent=True)),
    ],
)
def test_parse_range(text: str, want: DepthRange) -> None:
    assert style.parse_depth_range(text) == want


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "cannot read"),
        ("1", "cannot read"),
        ("1,2,3", "cannot read"),
        ("a,b", "'a'"),
        ("1,p2", "cannot read"),
        ("p1,2", "cannot read"),
        ("2,1", "empty"),
        ("1,1", "empty"),
        ("nan,1", "'nan'"),
        ("0,inf", "'inf'"),
        ("0,1e39", "'1e39'"),
        ("p-1,p50", "0 to 100"),
        ("p1,p101", "0 to 100"),
        ("p,p", "''"),
    ],
)
def test_parse_range_names_the_fault(text: str, word: str) -> None:
    with pytest.raises(UsageError) as caught:
        style.parse_depth_range(text)
    assert word in caught.value.message
    assert caught.value.hint


def test_limits() -> None:
    assert style.depth_limits(DEPTH) == (DEPTH.min(), DEPTH.max())
    assert style.depth_limits(DEPTH, DepthRange(1.0, 2.0)) == (1.0, 2.0)
    low, high = style.depth_limits(DEPTH, DepthRange(2.0, 98.0, percent=True))
    ranked = np.sort(DEPTH, axis=None).astype(np.float64)
    places = np.array([0.02, 0.98]) * (ranked.size - 1)
    np.testing.assert_allclose([low, high], np.interp(places, np.arange(ranked.size), ranked), rtol=1e-6)


@pytest.mark.parametrize(
    ("quantity", "near", "rising"),
    [
        ("inverse depth", "white", True),
        ("inverse depth", "black", False),
        ("metres", "white", False),
        ("metres", "black", True),
    ],
)
def test_gray_has_its_near_end_where_asked(quantity: Quantity, near: Near, rising: bool) -> None:
    low, high = float(DEPTH.min()), float(DEPTH.max())
    share = (DEPTH.astype(np.float64) - low) / (high - low)
    want = np.rint((share if rising else 1 - share) * 255)
    found = drawing.draw_gray(DEPTH, low, high, quantity, near)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, want)
    deep, scale = depth16(DEPTH, low, high, quantity, near)
    assert (scale.black < scale.white) == rising
    np.testing.assert_array_equal(deep, np.rint((share if rising else 1 - share) * 65535))


def test_an_explicit_range_clips() -> None:
    depth = np.array([[-5, 0, 1, 2, 3e38]], np.float32)
    assert drawing.draw_gray(depth, 0.0, 2.0, "inverse depth").tolist() == [[0, 0, 128, 255, 255]]
    assert drawing.draw_gray(depth, 0.0, 2.0, "metres").tolist() == [[255, 255, 128, 0, 0]]


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float32, SHAPES, elements=FLOATS), QUANTITIES, NEARS)
def test_16_bits_decode_to_half_a_step(depth: DepthArray, quantity: Quantity, near: Near) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = style.depth_limits(depth)
        values, scale = depth16(depth, low, high, quantity, near)
        found = scale.decode(values)
    assert found.dtype == np.float32
    half = (high - low) / 65535 / 2
    largest = max(abs(low), abs(high))
    error = np.abs(found.astype(np.float64) - depth)
    assert (error <= half * (1 + 1e-9) + largest * 2**-23 + 2**-149).all()
    again, _ = depth16(depth, low, high, quantity, near)
    np.testing.assert_array_equal(again, values)


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOATS, min_size=2, max_size=2, unique=True), hnp.arrays(np.uint16, SHAPES))
def test_decode_then_encode_gives_the_values_back(ends: list[float], values: types.Gray16) -> None:
    scale = DepthScale(ends[0], ends[1])
    coarse = abs(ends[1] - ends[0]) > max(map(abs, ends)) / 100 > 1e-30
    if coarse:
        np.testing.assert_array_equal(scale.encode(scale.decode(values)), values)


@pytest.mark.parametrize("value", [0.0, 1.25, -3.0, 3e38, 1e-45])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2)])
@pytest.mark.parametrize("quantity", ["inverse depth", "metres"])
def test_a_flat_picture_comes_back_as_it_was(value: float, shape: tuple[int, int], quantity: Quantity) -> None:
    depth = np.full(shape, value, np.float32)
    low, high = style.depth_limits(depth)
    values, scale = depth16(depth, low, high, quantity)
    np.testing.assert_array_equal(scale.decode(values), depth)
    assert len(np.unique(drawing.draw_gray(depth, low, high, quantity))) == 1
    assert len(np.unique(drawing.draw_color(depth, low, high, quantity).reshape(-1, 3), axis=0)) == 1


def test_metres_become_millimetres() -> None:
    depth = (RNG.random((40, 50), dtype=np.float32) * 65).astype(np.float32)
    depth[0, :3] = [0, 65.535, 1.2]
    scale = scales.metric_scale(65.535)
    values = scale.encode(depth)
    thousandths = depth.astype(np.float64) * 1000
    assert np.abs(values - thousandths).max() <= 0.5 + 1e-9
    assert values[0, :3].tolist() == [0, 65535, 1200]
    assert (scale.unit, scale.near, scale.black, scale.white) == ("millimetres", "black", 0.0, 65.535)
    np.testing.assert_allclose(scale.decode(values), values / 1000, rtol=1e-7)


@pytest.mark.parametrize("farthest", [65.6, 80, 10_000, None])
def test_metres_beyond_65_are_stored_as_kitti_stores_them(farthest: float | None) -> None:
    scale = scales.metric_scale(farthest)
    depth = np.array([[0, 1, 2.5, 80, 255.99, 256, 9000]], np.float32)
    assert scale.encode(depth).tolist() == [[0, 256, 640, 20480, 65533, 65535, 65535]]
    assert (scale.near, scale.unit) == ("black", "1/256 m")
    np.testing.assert_allclose(scale.decode(scale.encode(depth))[0, :5], depth[0, :5], atol=0.5 / 256)


def test_metres_with_a_range_are_those_of_the_range() -> None:
    assert scales.choose_scale(1.0, 9.0, "metres", "black") == DepthScale(1.0, 9.0, "black", "steps")


@pytest.mark.parametrize("name", ["Spectral_r", "viridis", "tab10", "gray"])
def test_color_is_that_of_matplotlib(name: str) -> None:
    shades = drawing.draw_gray(DEPTH, 1.0, 8.0, "inverse depth")
    want = mpl.colormaps[name](shades / 255.0)[..., :3] * 255
    found = drawing.draw_color(DEPTH, 1.0, 8.0, "inverse depth", name)
    assert found.dtype == np.uint8
    assert np.abs(found - want).max() <= 0.5


def test_near_is_warm_in_both_quantities() -> None:
    line = np.array([[1, 2, 3]], np.float32)
    for quantity, nearest in (("inverse depth", 2), ("metres", 0)):
        red, _, blue = drawing.draw_color(line, 1.0, 3.0, quantity)[0, nearest].tolist()  # type: ignore[arg-type]
        assert red > 2 * blue


@pytest.mark.parametrize(("name", "guess"), [("spectral_r", "Spectral_r"), ("virdis", "viridis"), ("", "")])
def test_an_unknown_colormap(name: str, guess: str) -> None:
    with pytest.raises(UsageError, match="no colormap") as caught:
        drawing.colormap_table(name)
    assert guess in caught.value.hint


def test_matplotlib_is_not_imported_before_a_color_is_needed() -> None:
    code = "import sys, dacli.outputs.drawing; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_side_by_side() -> None:
    rgb = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    color = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(drawing.draw_side_by_side(rgb, color), np.concatenate([rgb, color], axis=1))


def test_side_by_side_of_16_bits_rounds() -> None:
    deep = np.arange(65536, dtype=np.uint16).reshape(256, 256)[..., None].repeat(3, axis=2)
    found = drawing.draw_side_by_side(deep, np.zeros((256, 256, 3), np.uint8))
    np.testing.assert_array_equal(found[:, :256], np.rint(deep / 257.0))


@settings(max_examples=100, deadline=None)
@given(FLOATS, FLOATS, st.text(max_size=20), st.text(max_size=20))
def test_a_record_survives_its_png(black: float, white: float, source: str, fingerprint: str) -> None:
    record = replace(RECORD, black=black, white=white, source=source, settings=fingerprint)
    text = record.text()
    assert text["dacli"].isascii()
    data = png.encode_png(np.zeros((1, 1), np.uint16), text)
    depth, found = records.decode_depth(np.array([[0, 65535]], np.uint16), png.read_png_text(data, "a.png"), "a.png")
    assert found == record
    assert found.scale == DepthScale(black, white)
    np.testing.assert_allclose(depth, np.array([[black, white]]), rtol=1e-6, atol=1e-38 + abs(black) * 2e-7)


def test_a_file_without_a_record() -> None:
    with pytest.raises(DacliError, match=r"a\.png does not say what its values mean"):
        records.decode_depth(np.zeros((1, 1), np.uint16), {"Software": "GIMP"}, "a.png")


@pytest.mark.parametrize("key", [key for key, value in asdict(RECORD).items() if value is not None])
def test_a_record_that_lacks_something(key: str) -> None:
    found = {name: value for name, value in asdict(RECORD).items() if name != key}
    with pytest.raises(DacliError, match=f"a.png lacks '{key}'"):
        records.parse_record(json.dumps(found), "a.png")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("black", "NaN"),
        ("white", "Infinity"),
        ("low", "-Infinity"),
        ("high", "1e999"),
        ("black", "1" + "0" * 400),
        ("black", "9" * 5000),
        ("black", "true"),
        ("white", "null"),
        ("white", '"1"'),
        ("near", '"left"'),
        ("near", "[]"),
        ("quantity", '"miles"'),
        ("network_size", "[1]"),
        ("source_size", "[1, NaN]"),
        ("source_size", "[1, Infinity]"),
        ("source_size", "7"),
        ("camera", "7"),
        ("camera", '{"fx": "NaN", "fy": 1, "cx": 1, "cy": 1, "source": "EXIF"}'),
        ("camera", '{"fx": 1, "fy": 1, "cx": 1, "cy": 1, "source": "a guess"}'),
        ("calibration", "[1, 2]"),
        ("calibration", '[1, Infinity, "--near-far 1,2"]'),
        ("model", "3"),
    ],
)
def test_a_record_with_a_wrong_value(key: str, value: str) -> None:
    text = json.dumps(asdict(RECORD) | {key: "HERE"}).replace('"HERE"', value)
    with pytest.raises(DacliError, match=r"a\.png is damaged"):
        records.parse_record(text, "a.png")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", '"x"', "[" * 100_000, "{}{}"])
def test_a_record_that_is_no_json_object(text: str) -> None:
    with pytest.raises(DacliError, match=r"a\.png is damaged"):
        records.parse_record(text, "a.png")


def test_a_record_with_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(RECORD, black=float("nan")).text()


def test_wide_and_tall_pictures_are_done_in_bands() -> None:
    for shape in ((3, 200_000), (200_000, 3)):
        depth = RNG.random(shape, dtype=np.float32)
        values, scale = depth16(depth, 0.0, 1.0, "inverse depth")
        np.testing.assert_array_equal(values, np.rint(depth.astype(np.float64) * 65535))
        assert np.abs(scale.decode(values) - depth).max() <= 0.5 / 65535 + 1e-7
