import io
import os
import struct
from pathlib import Path

import cv2
import h5py
import numpy as np
import OpenEXR
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.errors import DacliError
from dacli.train import depthfiles

DEPTH = np.array([[0.5, 1, 2, 4], [8, 16, 32, 64], [0.25, 3, 5, 7]], np.float32)


def write(path: Path, values: NDArray[np.floating | np.integer]) -> Path:
    """A depth file of the kind that its name says, by other libraries than the one that reads it."""
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


@pytest.mark.parametrize("name", ["d.npy", "d.pfm", "d.exr", "d.hdf5"])
@pytest.mark.parametrize(("unit", "factor"), [("m", 1.0), ("cm", 0.01), ("mm", 0.001)])
def test_depth_of_every_kind_in_every_unit(name: str, unit: str, factor: float, tmp_path: Path) -> None:
    path = write(tmp_path / name, DEPTH / np.float32(factor))
    found = depthfiles.read(path, unit)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1 / DEPTH, rtol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1000), ("cm", 100)])
def test_depth_of_pngs_with_16_bits(unit: str, factor: int, tmp_path: Path) -> None:
    found = depthfiles.read(write(tmp_path / "d.png", np.rint(DEPTH * factor)), unit)
    np.testing.assert_allclose(1 / found, DEPTH, atol=0.5 / factor)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.uint8, np.int32])
def test_arrays_of_any_numbers(kind: type, tmp_path: Path) -> None:
    path = write(tmp_path / "d.npy", np.array([[1, 2], [4, 8]], kind))
    np.testing.assert_array_equal(depthfiles.read(path, "m"), [[1, 0.5], [0.25, 0.125]])


def test_inverse_depth_stays_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npy", np.array([[0, 2.5, -1], [np.nan, np.inf, 1]], np.float32))
    nan = np.nan
    np.testing.assert_array_equal(depthfiles.read(path, "1/m"), [[0, 2.5, nan], [nan, nan, 1]])


def test_depth_that_is_not_known_and_depth_that_is_infinite(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npy", np.array([[0, -1, np.nan], [np.inf, 4, 1]], np.float32))
    nan = np.nan
    np.testing.assert_array_equal(depthfiles.read(path, "m"), [[nan, nan, nan], [0, 0.25, 1]])


def test_hypersim_stores_distances_to_the_camera(tmp_path: Path) -> None:
    height, width, focal = 768, 1024, 886.81  # as the makers of the data set give it
    depth = np.full((height, width), 3.0)
    y, x = np.mgrid[:height, :width]
    distance = depth * np.sqrt((x - width / 2 + 0.5) ** 2 + (y - height / 2 + 0.5) ** 2 + focal**2) / focal
    distance[5, 6] = np.nan
    found = depthfiles.read(write(tmp_path / "frame.0000.depth_meters.hdf5", distance.astype(np.float32)), "hypersim")
    assert np.isnan(found[5, 6])
    np.testing.assert_allclose(np.delete(found.ravel(), 5 * width + 6), 1 / 3, rtol=1e-5)


def test_virtual_kitti_stores_centimetres_and_its_sky_is_far(tmp_path: Path) -> None:
    path = write(tmp_path / "d.png", np.array([[100, 65535], [65534, 0]]))
    expected = np.array([[1, 0], [1 / 655.34, np.nan]])
    np.testing.assert_allclose(depthfiles.read(path, "vkitti"), expected, rtol=1e-6)


def test_a_float_map_of_the_other_order_of_bytes(tmp_path: Path) -> None:
    rows = b"".join(struct.pack(">4f", *row) for row in DEPTH[::-1])  # the lowest row comes first
    (tmp_path / "d.pfm").write_bytes(b"Pf\n4 3\n1.0\n" + rows)
    np.testing.assert_allclose(depthfiles.read(tmp_path / "d.pfm", "m"), 1 / DEPTH)


@pytest.mark.parametrize("name", ["Y", "R", "V", "depth"])
def test_openexr_channels_by_their_usual_names(name: str, tmp_path: Path) -> None:
    OpenEXR.File({}, {name: DEPTH, "zz": DEPTH * 2}).write(str(tmp_path / "d.exr"))
    np.testing.assert_allclose(depthfiles.read(tmp_path / "d.exr", "m"), 1 / DEPTH)


def test_a_flat_label_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npy", np.zeros((2, 3), np.float16))
    np.testing.assert_array_equal(depthfiles.read(path, "label"), np.zeros((2, 3)))


def damaged(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "code.npy":
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "rgb.npy":
        np.save(file, np.ones((4, 5, 3), np.float32))
    elif kind == "text.npy":
        np.save(file, np.array([["a", "b"]]))
    elif kind == "none.npy":
        np.save(file, np.ones((0, 5), np.float32))
    elif kind == "8bit.png":
        Image.fromarray(np.ones((4, 5), np.uint8)).save(file, "PNG")
    elif kind == "color.png":
        data: bytes = cv2.imencode(".png", np.ones((4, 5, 3), np.uint16))[1].tobytes()
        return data
    elif kind == "color.pfm":
        return b"PF\n1 1\n-1\n" + bytes(12)
    elif kind == "cut.pfm":
        return b"Pf\n100 100\n-1\n" + bytes(12)
    else:
        return b"no depth at all" * 20
    return file.getvalue()


@pytest.mark.parametrize(
    "kind",
    ["code.npy", "rgb.npy", "text.npy", "none.npy", "8bit.png", "color.png", "color.pfm", "cut.pfm", "a.npy", "a.png",
     "a.pfm", "a.exr", "a.hdf5", "a.txt", "a"],
)  # fmt: skip
def test_what_is_no_depth_is_named_in_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / kind).write_bytes(damaged(kind))
    with pytest.raises(DacliError) as error:
        depthfiles.read(tmp_path / kind, "m")
    assert kind in str(error.value)
    assert error.value.hint
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, np.nan, -1, np.inf])
@pytest.mark.parametrize("unit", ["m", "1/m"])
def test_a_map_without_depth_is_named(value: float, unit: str, tmp_path: Path) -> None:
    path = write(tmp_path / "d.npy", np.full((3, 4), value, np.float32))
    with pytest.raises(DacliError, match=r"d\.npy holds no depth"):
        depthfiles.read(path, unit)


def test_what_reads_exr_and_hdf5_is_named_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, module in (("d.exr", "OpenEXR"), ("d.hdf5", "h5py")):
        monkeypatch.setitem(__import__("sys").modules, module, None)
        (tmp_path / name).write_bytes(os.urandom(8))
        with pytest.raises(DacliError, match=r"pip install 'dacli\[depth\]'"):
            depthfiles.read(tmp_path / name, "m")
