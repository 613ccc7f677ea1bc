"""Photoshop, JPEG 2000, JPEG XL, Targa and RAW pictures: made byte by byte or by Pillow and tifffile, and read back."""

import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_jxl
import pytest
import tifffile
from PIL import Image

from dacli.io import images, jxl
from tests.support.pictures import encode_picture, read_error, write_bytes

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (18, 26, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (18, 26, 4), dtype=np.uint8)
assert pillow_jxl.__name__  # it adds the format to Pillow


def over_white(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    white = Image.new("RGBA", pixels.shape[1::-1], "white")
    return np.asarray(Image.alpha_composite(white, Image.fromarray(pixels)).convert("RGB"))


def make_psd(
    pixels: npt.NDArray[np.uint8], *, bits: int = 8, version: int = 1, flat: bool = True, layers: int | None = None
) -> bytes:
    """Return a Photoshop file with a flat picture of RGB or RGBA (Adobe Photoshop File Formats Specification)."""
    height, width, bands = pixels.shape
    head = struct.pack(">4sH6xHIIHH", b"8BPS", version, bands, height, width, bits, 3)
    content = struct.pack(">IB", 1, flat) + bytes(3)
    resource = b"8BIM" + struct.pack(">HHI", 1057, 0, len(content)) + content
    resources = struct.pack(">I", len(resource)) + resource
    layer_info = b"" if layers is None else struct.pack(">Ih", 2, layers) + bytes(2)
    sections = bytes(4) + resources + struct.pack(">I", len(layer_info)) + layer_info
    return head + sections + bytes(2) + np.moveaxis(pixels, 2, 0).tobytes()


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


SIZES = [(26, 18), (64, 64), (256, 8), (1, 1), (300, 200), (600, 9000), (1920, 1080), (8192, 1), (3, 70_000)]


@pytest.mark.parametrize("size", SIZES)
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


TO_SRGB_CAMERA = np.linalg.inv([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def make_dng(orientation: int = 1) -> bytes:
    """Return a RAW file of a camera whose colors are those of sRGB: dark orange, with a white corner (DNG 1.4)."""
    mosaic = np.zeros((48, 64), np.uint16)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = 1000, 600, 600, 200
    mosaic[:16, :16] = 4095

    def rationals(values: npt.NDArray[Any]) -> tuple[int, ...]:
        return tuple(number for value in values.ravel() for number in (round(value * 10000), 10000))

    tags = [
        (274, 3, 1, orientation, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes((0, 1, 1, 2)), True),
        (50706, 1, 4, bytes((1, 4, 0, 0)), True),
        (50708, 2, 0, "Test", True),
        (50717, 4, 1, 4095, True),
        (50721, 10, 9, rationals(TO_SRGB_CAMERA), True),
        (50728, 5, 3, rationals(np.ones(3)), True),
        (50778, 3, 1, 21, True),
    ]
    file = io.BytesIO()
    tifffile.imwrite(file, mosaic, photometric=32803, extratags=tags, metadata=None)
    return file.getvalue()


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
