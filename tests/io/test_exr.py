"""OpenEXR pictures: what is written is read back as sRGB, checked by formulas and by ffmpeg's reader."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest

from dacli.errors import DacliError
from dacli.io import images
from tests.support.footage import ffmpeg
from tests.support.rare_pictures import encode_exr, rgb_channels

RNG = np.random.default_rng(8)
SRGB = RNG.random((12, 20, 3))
LINEAR = np.where(SRGB <= 0.04045, SRGB / 12.92, ((SRGB + 0.055) / 1.055) ** 2.4).astype(np.float32)
COMPRESSIONS = ("NO", "ZIPS", "ZIP", "PIZ", "RLE", "PXR24")


def window(left: int, top: int, width: int, height: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    return np.array([left, top], np.int32), np.array([left + width - 1, top + height - 1], np.int32)


def read(data: bytes) -> npt.NDArray[Any]:
    return images.decode_image(data, Path("a.exr"))


def read_fault(data: bytes) -> str:
    with pytest.raises(DacliError) as caught:
        read(data)
    return str(caught.value)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_light_from_0_to_1_becomes_srgb_unchanged(compression: str) -> None:
    header = {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION")}
    for dtype, tolerance in ((np.float32, 2e-4 if compression == "PXR24" else 2e-5), (np.float16, 6e-4)):
        found = read(encode_exr(rgb_channels(LINEAR.astype(dtype)), **header))
        assert found.dtype == np.uint16
        np.testing.assert_allclose(found / 65535, SRGB, atol=tolerance)


def test_a_file_of_ffmpeg_is_read_too(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(LINEAR[..., [1, 2, 0]].transpose(2, 0, 1))
    (tmp_path / "raw").write_bytes(planes.tobytes())
    raw = ("-f", "rawvideo", "-pix_fmt", "gbrpf32le", "-s", "20x12", "-i", tmp_path / "raw")
    ffmpeg(*raw, "-frames:v", "1", tmp_path / "a.exr")
    np.testing.assert_allclose(read((tmp_path / "a.exr").read_bytes()) / 65535, SRGB, atol=2e-5)


def test_light_over_1_is_compressed_and_keeps_its_order_and_hue() -> None:
    ramp = np.tile(np.geomspace(0.01, 40, 400)[:, None], (40, 1))
    light = (ramp[..., None] * (1, 0.5, 0.25)).astype(np.float32)
    found = read(encode_exr(rgb_channels(light.reshape(200, 80, 3)))).reshape(-1, 3) / 65535
    rising = np.unique(found[:, 0])
    assert len(rising) > 390  # nothing but the last thousandth is cut
    assert rising[-1] == 1
    linear = np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(linear[:, 1] / linear[:, 0], 0.5, atol=2e-3)
    dark = linear[:, 0] < 0.1
    assert (
        np.abs(linear[dark, 0] / light.reshape(-1, 3)[dark, 0] - 1) < 0.15
    ).all()  # the dark half stays nearly as it was


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_exposure_far_off_is_corrected(factor: float) -> None:
    found = read(encode_exr(rgb_channels(LINEAR * np.float32(factor)))) / 65535
    assert 0.1 < np.median(found) < 0.9
    order = np.argsort(SRGB.max(axis=2), axis=None)
    assert (np.diff(found.max(axis=2).reshape(-1)[order]) >= 0).all()


def test_numbers_that_are_no_light_do_no_harm() -> None:
    light = np.tile(LINEAR, (5, 3, 1))
    light[0, 0], light[1, 1], light[2, 2] = np.nan, np.inf, -5
    found = read(encode_exr(rgb_channels(light)))
    assert found[0, 0].tolist() == found[2, 2].tolist() == [0, 0, 0]
    assert found[1, 1].tolist() == [65535] * 3
    np.testing.assert_allclose(found[12:] / 65535, np.tile(SRGB, (4, 3, 1)), atol=2e-5)


def test_the_display_window_is_shown_and_data_outside_of_it_are_not() -> None:
    data = encode_exr(rgb_channels(LINEAR), dataWindow=window(-3, -2, 20, 12), displayWindow=window(0, 0, 20, 14))
    found = read(data) / 65535
    assert found.shape == (14, 20, 3)
    np.testing.assert_allclose(found[:10, :17], SRGB[2:, 3:], atol=2e-5)
    assert not found[10:].any()
    assert not found[:, 17:].any()


def test_alpha_is_divided_out_and_laid_over_white() -> None:
    alpha = np.repeat([[0.0, 0.25, 0.5, 1.0]], 12, axis=0).repeat(5, axis=1).astype(np.float32)
    found = read(encode_exr(rgb_channels(np.dstack([LINEAR * alpha[..., None], alpha])))) / 65535
    np.testing.assert_allclose(found, SRGB * alpha[..., None] + 1 - alpha[..., None], atol=1e-4)


def test_of_several_layers_the_main_one_is_used_and_the_others_are_named() -> None:
    other = rgb_channels(np.ones_like(LINEAR), "diffuse.")
    for start, said in (("", "its RGB is used"), ("ViewLayer.Combined.", "layer ViewLayer.Combined is used")):
        data = encode_exr(other | rgb_channels(LINEAR, start) | {"Z": LINEAR[..., 0]})
        np.testing.assert_allclose(read(data) / 65535, SRGB, atol=2e-5)
        assert images.describe_left_out_pictures(data) == f"{said}, not Z, diffuse" or start
        assert images.describe_left_out_pictures(data).startswith(said)
    assert images.describe_left_out_pictures(encode_exr(rgb_channels(LINEAR))) == ""


def test_colors_in_the_first_part_are_read_and_the_other_parts_named() -> None:
    file = io.BytesIO()
    parts = [
        OpenEXR.Part({}, rgb_channels(LINEAR), name="beauty"),
        OpenEXR.Part({}, {"Z": LINEAR[..., 0]}, name="depth"),
    ]
    OpenEXR.File(parts).write(file)
    np.testing.assert_allclose(read(file.getvalue()) / 65535, SRGB, atol=2e-5)
    assert images.describe_left_out_pictures(file.getvalue()) == "its RGB is used, not depth"


def parts_with_late_colors() -> bytes:
    file = io.BytesIO()
    late = rgb_channels(LINEAR.astype(np.float16))
    shown = {"displayWindow": window(0, 0, 20, 12)}
    depth = OpenEXR.Part({**shown, "dataWindow": window(3, 3, 20, 12)}, {"Z": LINEAR[..., 0]}, name="depth")
    OpenEXR.File([depth, OpenEXR.Part(shown, late, name="beauty")]).write(file)
    return file.getvalue()


def test_colors_in_a_later_part_are_read_too(capfd: pytest.CaptureFixture[str]) -> None:
    data = parts_with_late_colors()
    np.testing.assert_allclose(read(data) / 65535, SRGB, atol=6e-4)
    assert images.describe_left_out_pictures(data) == "its RGB is used, not depth"
    assert "truncated" in read_fault(data[:-100])
    assert capfd.readouterr() == ("", "")


def test_brightness_alone_is_gray() -> None:
    found = read(encode_exr({"Y": np.ascontiguousarray(LINEAR[..., 0])})) / 65535
    np.testing.assert_allclose(found, SRGB[..., :1].repeat(3, axis=2), atol=2e-5)


def test_primaries_that_the_file_states_are_changed_to_those_of_srgb() -> None:
    rec709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    np.testing.assert_allclose(read(encode_exr(rgb_channels(LINEAR), chromaticities=rec709)) / 65535, SRGB, atol=2e-4)
    rec2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
    matrix = np.array(
        [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    )  # BT.2087, table 1
    wide = (LINEAR @ matrix.T).astype(np.float32)
    np.testing.assert_allclose(read(encode_exr(rgb_channels(wide), chromaticities=rec2020)) / 65535, SRGB, atol=4e-3)


def test_files_without_colors_are_refused_with_what_they_hold() -> None:
    fault = read_fault(encode_exr({"Z": LINEAR[..., 0], "id": LINEAR[..., 1]}))
    assert fault.startswith("a.exr holds no colors, only Z, id: export R, G and B of flat pixels")


def test_a_cut_file_and_a_damaged_one_are_refused_without_foreign_lines(capfd: pytest.CaptureFixture[str]) -> None:
    pixels = RNG.random((200, 100, 3), dtype=np.float32)
    data = encode_exr(rgb_channels(pixels))
    for damaged in (data[: len(data) // 2], data[:100], data[:20], data[:-5]):
        assert "a.exr" in read_fault(damaged)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_size_is_checked_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_exr(rgb_channels(LINEAR), displayWindow=window(0, 0, 60_000, 60_000))
    monkeypatch.setattr(OpenEXR, "InputFile", None)
    assert "60000 × 60000 pixels, more than the limit" in read_fault(data)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    assert read_fault(encode_as_is()) == "a.exr is an OpenEXR picture: install what reads it: pip install OpenEXR"


def encode_as_is() -> bytes:
    return b"\x76\x2f\x31\x01" + bytes(60)
