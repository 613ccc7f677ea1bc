import io
import os
import struct
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import OpenEXR
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli import choices
from dacli.errors import DacliError, UsageError
from dacli.io import png, records
from dacli.io.depth_files import parse_depth_unit, read_depth16, read_depth_file
from tests.support.pictures import (
    encode_picture,
    encode_png16,
    png_chunk,
    write_bytes,
)

DEPTH = np.array([[0.5, 1, 2, 4], [8, 16, 32, 64], [0.25, 3, 5, 7]], np.float32)
STEPS = np.array([[0, 1, 500, 65534, 65535]], np.uint16)
COLOR = np.random.default_rng(5).integers(0, 256, (24, 40, 3), dtype=np.uint8)
INVERSE = np.array([[np.nan, 100, 0.2, 1 / 655.34, 0]])  # of those steps in centimetres


def write_depth(path: Path, values: NDArray[np.floating | np.integer]) -> Path:
    """Write a depth file of the kind that its name gives, with other libraries where there are some."""
    if path.suffix == ".png":
        Image.fromarray(values.astype(np.uint16)).save(path)
    elif path.suffix == ".pfm":
        path.write_bytes(cv2.imencode(".pfm", values.astype(np.float32))[1].tobytes())
    elif path.suffix == ".exr":
        OpenEXR.File({}, {"Z": values.astype(np.float32)}).write(str(path))
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file["dataset"] = values
    else:
        np.save(path, values)
    return path


def write_recorded_png(path: Path, values: NDArray[np.uint16], white: float, quantity: choices.Quantity) -> Path:
    record = records.Record(
        black=0,
        white=white,
        near="black",
        unit="steps",
        quantity=quantity,
        low=0,
        high=1,
        encoder="e",
        model="m",
        network_size=(1, 1),
        source_size=(1, 1),
        version="0",
        source="a.png",
        settings="",
    )
    path.write_bytes(png.encode_png(values, record.text()))
    return path


# --- units ---


@pytest.mark.parametrize(
    ("text", "unit"), [("m", 1), ("cm", 0.01), ("mm", 0.001), ("0.00390625", 1 / 256), ("1/m", "1/m"), (None, None)]
)
def test_units(text: str | None, unit: float | str | None) -> None:
    assert parse_depth_unit(text) == unit


@pytest.mark.parametrize("text", ["", "feet", "0", "-1", "nan", "inf", "1e9", "hypersim", "label", "1/cm"])
def test_an_unknown_unit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--unit {text} ?is not a unit of depth: give m, cm, mm, 1/m or"):
        parse_depth_unit(text)


# --- files ---


@pytest.mark.parametrize("name", ["d.npy", "d.pfm", "d.exr", "d.hdf5"])
@pytest.mark.parametrize("unit", [1.0, 0.01, 1 / 256, None])
def test_depth_of_every_kind_in_every_unit(name: str, unit: float | None, tmp_path: Path) -> None:
    path = write_depth(tmp_path / name, DEPTH / np.float32(unit or 1))
    found = read_depth_file(path, unit)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 / DEPTH, rtol=1e-6)


def test_a_png_has_unknown_depth_at_0_and_the_sky_at_65535(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_depth_file(write_depth(tmp_path / "a.png", STEPS), 0.01), INVERSE, rtol=1e-6)
    recorded = write_recorded_png(tmp_path / "b.png", STEPS, 655.35, "metres")
    np.testing.assert_allclose(read_depth_file(recorded), INVERSE, rtol=1e-6)


def test_a_given_unit_replaces_that_of_the_record(tmp_path: Path) -> None:
    recorded = write_recorded_png(tmp_path / "b.png", STEPS, 1.0, "metres")
    np.testing.assert_allclose(read_depth_file(recorded, 0.01), INVERSE, rtol=1e-6)


def test_a_png_without_a_unit_or_a_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=r"a\.png does not say its unit: give it with --unit: m, cm, mm, 1/m or"):
        read_depth_file(write_depth(tmp_path / "a.png", STEPS))
    with pytest.raises(DacliError, match=r"b\.png holds inverse depth of unknown scale"):
        read_depth_file(write_recorded_png(tmp_path / "b.png", STEPS, 1, "inverse depth"))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8, np.int16, np.int32, np.uint32])
def test_arrays_of_any_numbers(kind: type, tmp_path: Path) -> None:
    path = write_depth(tmp_path / "d.npy", np.array([[1, 2, 0], [4, 8, 16]], kind))
    np.testing.assert_array_equal(read_depth_file(path), [[1, 0.5, np.nan], [0.25, 0.125, 0.0625]])
    np.testing.assert_array_equal(read_depth_file(path, 0.5), [[2, 1, np.nan], [0.5, 0.25, 0.125]])
    row = write_depth(tmp_path / "row.npy", np.array([[2, 4]], kind)[..., None])
    assert read_depth_file(row).tolist() == [[0.5, 0.25]]


def test_inverse_depth_stays_as_it_is(tmp_path: Path) -> None:
    path = write_depth(tmp_path / "d.npy", np.array([[0, 2.5, -1], [np.nan, np.inf, 1]], np.float32))
    nan = np.nan
    np.testing.assert_array_equal(read_depth_file(path, "1/m"), [[0, 2.5, nan], [nan, nan, 1]])
    png16 = write_depth(tmp_path / "d.png", STEPS)
    np.testing.assert_array_equal(read_depth_file(png16, "1/m"), STEPS)  # 0 is far and 65535 the nearest


def test_unknown_and_infinite_depth(tmp_path: Path) -> None:
    path = write_depth(tmp_path / "d.npy", np.array([[0, -1, np.nan], [np.inf, 4, 1], [-np.inf, 1e-40, 1e300]]))
    nan = np.nan
    np.testing.assert_array_equal(read_depth_file(path), [[nan, nan, nan], [0, 0.25, 1], [nan, nan, 0]])


def test_hypersim_stores_distances_to_the_camera(tmp_path: Path) -> None:
    height, width, focal = 768, 1024, 886.81  # as the makers of the data set give it
    depth = np.full((height, width), 3.0)
    y, x = np.mgrid[:height, :width]
    distance = depth * np.sqrt((x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 + focal**2) / focal
    distance[5, 6] = np.nan
    found = read_depth_file(
        write_depth(tmp_path / "frame.0000.depth_meters.hdf5", distance.astype(np.float32)), "hypersim"
    )
    assert np.isnan(found[5, 6])
    np.testing.assert_allclose(np.delete(found.ravel(), 5 * width + 6), 1 / 3, rtol=1e-5)


def test_a_big_endian_float_map(tmp_path: Path) -> None:
    rows = b"".join(struct.pack(">4f", *row) for row in DEPTH[::-1])  # the lowest row comes first
    (tmp_path / "d.pfm").write_bytes(b"Pf\n4 3\n1.0\n" + rows)
    np.testing.assert_allclose(read_depth_file(tmp_path / "d.pfm"), 1 / DEPTH)


@pytest.mark.parametrize("name", ["Y", "R", "V", "depth"])
def test_openexr_channels_by_their_usual_names(name: str, tmp_path: Path) -> None:
    OpenEXR.File({}, {name: DEPTH, "zz": DEPTH * 2}).write(str(tmp_path / "d.exr"))
    np.testing.assert_allclose(read_depth_file(tmp_path / "d.exr"), 1 / DEPTH)


def test_a_flat_label_is_read(tmp_path: Path) -> None:
    path = write_depth(tmp_path / "d.npy", np.zeros((2, 3), np.float16))
    np.testing.assert_array_equal(read_depth_file(path, "label"), np.zeros((2, 3)))
    with pytest.raises(DacliError, match=r"e\.npy holds no depth"):
        read_depth_file(write_depth(tmp_path / "e.npy", np.full((2, 3), np.nan)), "label")


def npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def encode_by_opencv(values: NDArray[np.integer]) -> bytes:
    return bytes(cv2.imencode(".png", values)[1])


DAMAGED = {
    "code.npy": npy(np.array([{"a": 1}], dtype=object)),
    "rgb.npy": npy(np.ones((4, 5, 3), np.float32)),
    "text.npy": npy(np.array([["a", "b"]])),
    "complex.npy": npy(np.array([[1j]])),
    "truth.npy": npy(np.array([[True]])),
    "none.npy": npy(np.ones((0, 5), np.float32)),
    "empty.npy": b"",
    "cut.npy": npy(np.ones((4, 5)))[:-1],
    "8bit.png": encode_by_opencv(np.ones((4, 5), np.uint8)),
    "color.png": encode_by_opencv(np.ones((4, 5, 3), np.uint16)),
    "cut.png": encode_by_opencv(np.ones((40, 50), np.uint16))[:-20],
    "color.pfm": b"PF\n1 1\n-1\n" + struct.pack("<3f", 1, 1, 1),
    "cut.pfm": b"Pf\n100 100\n-1\n" + bytes(12),
    **dict.fromkeys(("a.npy", "a.png", "a.pfm", "a.exr", "a.hdf5", "a.txt", "a"), b"no depth at all" * 20),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_file_without_depth_is_an_error_of_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).write_bytes(DAMAGED[kind])
    with pytest.raises(DacliError) as error:
        read_depth_file(tmp_path / kind, 1.0)
    assert kind in str(error.value)
    assert error.value.hint
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, np.nan, -1, np.inf])
@pytest.mark.parametrize("unit", [None, 1.0, "1/m", "hypersim"])
def test_a_map_without_known_depth_is_refused(value: float, unit: float | str | None, tmp_path: Path) -> None:
    path = write_depth(tmp_path / "d.npy", np.full((3, 4), value, np.float32))
    with pytest.raises(DacliError, match=r"d\.npy holds no depth: all of it is 0, infinite or not a number"):
        read_depth_file(path, unit)


@pytest.mark.parametrize("value", [0, 65535])
def test_a_png_of_only_sky_or_only_holes_is_refused(value: int, tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=r"d\.png holds no depth"):
        read_depth_file(write_depth(tmp_path / "d.png", np.full((4, 5), value)), 0.001)


def test_missing_readers_of_exr_and_hdf5_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("d.exr", "OpenEXR"), ("d.hdf5", "h5py")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        (tmp_path / name).write_bytes(os.urandom(8))
        with pytest.raises(DacliError, match=r"pip install (OpenEXR|h5py)"):
            read_depth_file(tmp_path / name)


# --- dacli's 16-bit PNG ---


def test_read_depth16_gives_values_and_text(tmp_path: Path) -> None:
    deep = np.random.default_rng(5).integers(0, 65536, (5, 7), dtype=np.uint16)
    path = write_bytes(tmp_path, "a.png", encode_png16(deep, 0, png_chunk(b"tEXt", b"dacli\0{}")))
    values, text = read_depth16(path)
    np.testing.assert_array_equal(values, deep)
    assert text == {"dacli": "{}"}


def test_read_depth16_refuses_other_files(tmp_path: Path) -> None:
    deep = encode_png16(np.random.default_rng(5).integers(0, 65536, (30, 30), dtype=np.uint16), 0)
    damaged = bytearray(deep)
    damaged[200:240] = bytes(40)
    cases = [
        (encode_picture(Image.fromarray(COLOR), "JPEG"), "is not a PNG"),
        (encode_picture(Image.fromarray(COLOR[..., 0]), "PNG"), "8-bit gray"),
        (encode_picture(Image.fromarray(COLOR), "PNG"), "8-bit color"),
        (encode_png16(np.zeros((2, 2, 3), np.uint16), 2), "16-bit color"),
        (deep[:-20], "truncated"),
        (bytes(damaged), "damaged"),
        (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b""), "PNG"),
        (b"", "empty"),
    ]
    for data, word in cases:
        with pytest.raises(DacliError, match=word):
            read_depth16(write_bytes(tmp_path, "a.png", data))
