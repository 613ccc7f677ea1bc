"""Photoshop, JPEG 2000, JPEG XL, Targa and RAW pictures: made byte by byte or by Pillow and tifffile, and read back."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_jxl
import pytest
from PIL import Image

from dacli.io import images, jxl
from tests.support.pictures import encode_picture, read_error, write_bytes
from tests.support.rare_pictures import make_dng, make_psd

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (18, 26, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (18, 26, 4), dtype=np.uint8)
assert pillow_jxl.__name__  # it adds the format to Pillow


def over_white(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    white = Image.new("RGBA", pixels.shape[1::-1], "white")
    return np.asarray(Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB"))


def read(data: bytes, name: str = "a.pic") -> npt.NDArray[Any]:
    return images.decode_image(data, Path(name))


def test_the_flat_picture_of_a_photoshop_file() -> None:
    np.testing.assert_array_equal(read(make_psd(RGB)), RGB)
    assert np.abs(read(make_psd(RGBA)).astype(int) - over_white(RGBA)).max() <= 1
    assert np.abs(read(make_psd(RGBA, layers=-2)).astype(int) - over_white(RGBA)).max() <= 1


def test_a_saved_selection_of_photoshop_is_no_transparency() -> None:
    np.testing.assert_array_equal(read(make_psd(RGBA, layers=2)), RGBA[..., :3])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": 16}, "is a Photoshop file of 16 bits"),
        ({"version": 2}, "is a large Photoshop file (PSB)"),
        ({"flat": False}, "holds layers but no flat picture: save it with Maximize Compatibility"),
    ],
)
def test_photoshop_files_without_a_readable_picture(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    assert said in read_error(write_bytes(tmp_path, "a.psd", make_psd(RGB, **options)))


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_jpeg_2000(options: dict[str, bool]) -> None:
    np.testing.assert_array_equal(read(encode_picture(Image.fromarray(RGB), "JPEG2000", **options)), RGB)
    data = encode_picture(Image.fromarray(RGBA), "JPEG2000", **options)
    assert np.abs(read(data).astype(int) - over_white(RGBA)).max() <= 1


def test_jpeg_2000_of_16_bits_of_gray() -> None:
    deep = RNG.integers(0, 65536, (18, 26), dtype=np.uint16)
    found = read(encode_picture(Image.fromarray(deep), "JPEG2000"))
    np.testing.assert_array_equal(found, deep[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("rle", [None, "tga_rle"])
def test_targa_with_and_without_its_footer(rle: str | None) -> None:
    data = encode_picture(Image.fromarray(RGB), "TGA", compression=rle)
    np.testing.assert_array_equal(read(data), RGB)
    np.testing.assert_array_equal(read(data.removesuffix(b"TRUEVISION-XFILE.\0"), "a.TGA"), RGB)


def test_jpeg_xl() -> None:
    np.testing.assert_array_equal(read(encode_picture(Image.fromarray(RGB), "JXL", lossless=True)), RGB)
    data = encode_picture(Image.fromarray(RGBA), "JXL", lossless=True)
    assert np.abs(read(data).astype(int) - over_white(RGBA)).max() <= 1


SIZES = [(26, 18), (64, 64), (256, 8), (1, 1), (300, 200), (8192, 1)]
LARGE = [pytest.param(size, marks=pytest.mark.slow) for size in ((600, 9000), (1920, 1080), (3, 70_000))]


@pytest.mark.parametrize("size", [*SIZES, *LARGE])
def test_the_size_of_a_jpeg_xl_is_in_its_header(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size)
    assert jxl.read_jxl_size(encode_picture(picture, "JXL", effort=1)) == size
    boxed = encode_picture(picture, "JXL", effort=1, use_container=True)
    assert jxl.read_jxl_size(boxed) == size


def test_a_jpeg_xl_that_is_too_large_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path, "a.jxl", encode_picture(Image.fromarray(RGB), "JXL"))
    monkeypatch.setattr(Image, "open", None)
    assert "26 × 18 pixels, more than the limit" in read_error(path, max_pixels=26 * 17)


CUT = {
    "a.jxl": encode_picture(Image.fromarray(RGB), "JXL"),
    "a.jp2": encode_picture(Image.fromarray(RGB), "JPEG2000"),
    "a.psd": make_psd(RGB),
    "a.tga": encode_picture(Image.fromarray(RGB), "TGA"),
}


@pytest.mark.parametrize("name", CUT)
def test_cut_files_are_refused(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for length in (len(CUT[name]) // 2, len(CUT[name]) - 60, 20, 4):
        assert read_error(write_bytes(tmp_path, name, CUT[name][:length]))
    assert capfd.readouterr() == ("", "")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("pillow_jxl", "rawpy"):
        monkeypatch.setitem(sys.modules, module, None)
    said = read_error(write_bytes(tmp_path, "a.jxl", CUT["a.jxl"]))
    assert "is a JPEG XL picture: install what reads it: pip install pillow-jxl-plugin" in said
    said = read_error(write_bytes(tmp_path, "a.dng", make_dng()))
    assert "is a camera RAW file: install what reads it: pip install rawpy, or develop it to JPEG, PNG or TIFF" in said


def test_a_raw_file_is_developed_in_its_colors_and_turned_upright() -> None:
    found = read(make_dng(), "a.dng")
    assert found.shape == (48, 64, 3)
    assert (found[4, 4] == 255).all()
    values = found[30, 40] / 255
    light = np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))  # the curve of BT.709
    np.testing.assert_allclose(light / light[0], (1, 0.6, 0.2), atol=0.03)
    turned = read(make_dng(6), "renamed.tif")
    assert turned.shape == (64, 48, 3)
    assert (turned[4, -4] == 255).all()


def test_a_damaged_raw_file(tmp_path: Path) -> None:
    for name, data in (("a.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(60)), ("a.raf", b"FUJIFILMCCD-RAW 0201" + bytes(99))):
        assert "is a camera RAW file that cannot be opened" in read_error(write_bytes(tmp_path, name, data))
    assert "more than the limit" in read_error(write_bytes(tmp_path, "a.dng", make_dng()), max_pixels=1000)
