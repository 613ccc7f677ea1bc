"""Floats for other programs, opened by other readers; and which of them count as done."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from dacli.batch.outcomes import Failed, Skipped
from dacli.errors import DacliError
from dacli.io import exr_writer, records
from dacli.io.camera import CameraChoice, PinholeCamera
from dacli.io.names import RECORD_KEYWORD
from dacli.io.ownership import read_output_text
from dacli.outputs.calibration import Calibration
from dacli.outputs.export import DEFAULT_EXPORT, ExportOptions
from dacli.outputs.formats import FORMATS
from dacli.outputs.style import DepthStyle
from dacli.outputs.view import DepthView
from dacli.types import DepthArray
from tests.batch.test_pictures import SETTINGS, Model, errors, is_ok, journaled, photo, photos, run
from tests.outputs.test_drawing import RECORD

FLOATS = ("exr", "pfm", "tiff", "npz")
KINDS = (*FLOATS, "ply", "glb", "normal")
IN_METRES = replace(SETTINGS, calibration=Calibration((1, 4)))
DEPTH: DepthArray = np.random.default_rng(5).uniform(0, 9, (33, 41)).astype(np.float32)
CAMERA = PinholeCamera(50.0, 60.0, 20.5, 16.5, "--fov")


def view(depth: DepthArray = DEPTH, quantity: str = "metres", export: ExportOptions = DEFAULT_EXPORT) -> DepthView:
    record = replace(RECORD, quantity=quantity, camera=CAMERA)  # type: ignore[arg-type]
    return DepthView(depth, record, DepthStyle(), RECORD.scale, RECORD.scale, export=export)


def encoded(kind: str, shown: DepthView) -> io.BytesIO:
    return io.BytesIO(FORMATS[kind].encode(shown))


def open_exr(file: io.BytesIO) -> tuple[dict[str, object], dict[str, NDArray[Any]]]:
    with OpenEXR.File(file, separate_channels=True) as found:
        return dict(found.header()), {name: np.array(channel.pixels) for name, channel in found.channels().items()}


def test_exr_of_metres_has_z_and_the_camera_in_its_header() -> None:
    header, channels = open_exr(encoded("exr", view()))
    assert list(channels) == ["Z"]
    np.testing.assert_array_equal(channels["Z"], DEPTH)
    assert header["compression"] == OpenEXR.ZIP_COMPRESSION
    assert (header["fx"], header["fy"], header["cx"], header["cy"]) == (50, 60, 20.5, 16.5)
    assert header["screenWindowWidth"] == pytest.approx(41 / 50)
    assert header["pixelAspectRatio"] == pytest.approx(60 / 50)
    assert header["depthUnit"] == "metres"
    assert records.parse_record(str(header[RECORD_KEYWORD]), "a").camera == CAMERA


def test_exr_of_inverse_metres_and_of_16_bits() -> None:
    header, channels = open_exr(encoded("exr", view(export=ExportOptions(exr_z="1/z", exr_half=True))))
    assert channels["Z"].dtype == np.float16
    np.testing.assert_allclose(channels["Z"], np.minimum(1 / DEPTH.astype(np.float64), 1e4), rtol=1e-3)
    assert header["depthUnit"] == "1/metres"


@pytest.mark.parametrize(("quantity", "channel"), [("inverse depth", "disparity"), ("depth", "depth")])
def test_exr_of_relative_depth_has_no_z(quantity: str, channel: str) -> None:
    header, channels = open_exr(encoded("exr", view(quantity=quantity, export=ExportOptions(exr_z="1/z"))))
    assert list(channels) == [channel]
    np.testing.assert_array_equal(channels[channel], DEPTH)
    assert header["depthUnit"] == "relative"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_any_floats_come_back_from_exr(height: int, width: int, seed: int, half: bool) -> None:
    bits = np.random.default_rng(seed).integers(0, 2**16, (height, width), dtype=np.uint16)
    flat = (bits.astype(np.uint32) * (seed % 7)).view(np.float32)
    pixels: NDArray[Any] = np.nan_to_num(bits.view(np.float16) if half else flat)
    _, channels = open_exr(io.BytesIO(exr_writer.encode_exr(pixels, "Z")))
    np.testing.assert_array_equal(channels["Z"], pixels)


def test_noise_and_flat_rows_come_back_from_exr_and_flat_ones_are_small() -> None:
    noise = np.random.default_rng(2).uniform(1, 2, (400, 64)).astype(np.float32)
    mixed = np.concatenate([noise, np.full((400, 64), 7, np.float32), noise[:33]])
    data = exr_writer.encode_exr(mixed, "Z")
    np.testing.assert_array_equal(open_exr(io.BytesIO(data))[1]["Z"], mixed)
    untried = 5 * 16 * 64 * 4  # flat rows behind the noise that are stored as they are
    assert len(data) < noise.nbytes + noise[:33].nbytes + untried + 4000


def test_exr_names_what_it_cannot_hold() -> None:
    with pytest.raises(DacliError, match="reaches 70000, beyond 16-bit floats"):
        encoded("exr", view(np.array([[1, 70000]], np.float32), export=ExportOptions(exr_half=True)))
    with pytest.raises(ValueError, match="not a name in EXR"):
        exr_writer.encode_exr(DEPTH, "x" * 32)


def test_pfm_and_tiff_are_read_by_others() -> None:
    np.testing.assert_array_equal(np.asarray(Image.open(encoded("pfm", view()))), DEPTH)
    lines = encoded("pfm", view())
    assert [lines.readline() for _ in range(3)] == [b"Pf\n", b"41 33\n", b"-1.0\n"]
    np.testing.assert_array_equal(np.frombuffer(lines.read(), "<f4", 33 * 41).reshape(33, 41)[::-1], DEPTH)
    np.testing.assert_array_equal(tifffile.imread(encoded("tiff", view())), DEPTH)
    with Image.open(encoded("tiff", view())) as image:
        assert image.mode == "F"
        np.testing.assert_array_equal(np.asarray(image), DEPTH)


def test_npz_has_depth_valid_pixels_and_intrinsics() -> None:
    depth = DEPTH.copy()
    depth[0, :3] = [0, 10_000, 9_999]
    with np.load(encoded("npz", view(depth))) as found:
        np.testing.assert_array_equal(found["depth"], depth)
        assert found["valid"][0, :4].tolist() == [False, False, True, True]
        assert found["valid"].dtype == bool
        assert found["intrinsics"].tolist() == [[50, 0, 20.5], [0, 60, 16.5], [0, 0, 1]]
        assert json.loads(str(found["record"]))["encoder"] == "vits"
    with np.load(encoded("npz", view(depth, "inverse depth"))) as found:
        assert found["valid"][0, :4].tolist() == [False, True, True, True]


# --- what counts as done ---


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_known_by_its_record(tmp_path: Path, kind: str) -> None:
    source, settings = photo(tmp_path / "a.png"), replace(IN_METRES, camera=CameraChoice(fov=40))
    assert not any(errors(run([source], (kind,), settings)))
    model = Model()
    assert isinstance(run([source], (kind,), settings, model)[0], Skipped)
    assert model.seen == 0
    assert not isinstance(run([source], (kind,), replace(settings, calibration=Calibration((1, 2))))[0], Skipped)
    record = records.parse_record(read_output_text(tmp_path / f"a{FORMATS[kind].suffix}")[RECORD_KEYWORD], "a")
    assert (record.quantity, record.source) == ("metres", "a.png")


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_dacli_did_not_make_whole_stays(tmp_path: Path, kind: str, damage: str) -> None:
    source, output = photo(tmp_path / "a.png"), tmp_path / f"a{FORMATS[kind].suffix}"
    run([source], (kind,), IN_METRES)
    whole = output.read_bytes()
    middle = len(whole) // 2
    changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    output.write_bytes({"cut": whole[:-9], "changed": changed, "foreign": b"mine" * 999}[damage])
    found = output.read_bytes()
    (outcome,) = run([source], (kind,), IN_METRES)
    assert isinstance(outcome, Failed)
    assert f"{output.name} exists and is not a complete output of dacli" in str(outcome.error)
    assert output.read_bytes() == found
    assert is_ok(run([source], (kind,), replace(IN_METRES, overwrite=True))[0])
    assert output.read_bytes() == whole


def test_a_journal_claims_what_is_damaged(tmp_path: Path) -> None:
    photos(tmp_path / "in", 1)
    journaled(tmp_path, FLOATS)
    for kind in FLOATS:
        output = tmp_path / "out" / f"00_depth.{kind}"
        whole = output.read_bytes()
        output.write_bytes(whole[:-9])
        outcomes, model = journaled(tmp_path, FLOATS)
        assert (errors(outcomes), model.seen) == ([""], 1)
        assert output.read_bytes() == whole


def test_own_floats_are_no_pictures_of_a_folder(tmp_path: Path) -> None:
    from dacli.batch import inputs

    source = photo(tmp_path / "a.png")
    run([source], (*FLOATS, "png16"))
    tifffile.imwrite(tmp_path / "b.tiff", np.zeros((9, 9), np.float32))
    assert [path.name for path in inputs.find_pictures(tmp_path)] == ["a.png", "b.tiff"]
