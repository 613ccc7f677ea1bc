import io
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from dacli.io import images
from tests.support.pictures import (
    encode_picture,
    encode_png16,
    encode_tiff,
    exif_of,
    png_chunk,
    read_error,
    write_bytes,
)

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(40) * 6, np.arange(24)[:, None] * 10, 90), axis=-1).astype(np.uint8)


def turn_upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    way = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    if way is None:
        return pixels
    planes = [Image.fromarray(pixels[..., c].astype(np.int32)).transpose(Image.Transpose(way)) for c in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1).astype(pixels.dtype)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, form: str, orientation: int) -> None:
    data = encode_picture(Image.fromarray(SMOOTH), form, exif=exif_of(orientation))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = images.read_image(write_bytes(tmp_path, "a.pic", data))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found.astype(int) - turn_upright(SMOOTH, orientation)).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bits(tmp_path: Path, orientation: int) -> None:
    deep = RNG.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    expected = turn_upright(deep, orientation)
    block = png_chunk(b"eXIf", exif_of(orientation).tobytes().removeprefix(b"Exif\0\0"))
    for data in (encode_png16(deep, 2, block), encode_tiff(deep, 2, orientation)):
        found = images.read_image(write_bytes(tmp_path, "a.pic", data))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, expected)
    gray = images.read_image(write_bytes(tmp_path, "b.tif", encode_tiff(deep[..., :1], 1, orientation)))
    np.testing.assert_array_equal(gray[..., 0], expected[..., 0])


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, form: str) -> None:
    found = images.read_image(write_bytes(tmp_path, "a.pic", encode_picture(Image.fromarray(RGB), form)))
    np.testing.assert_array_equal(found, RGB)
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossy_pictures_come_as_pillow_decodes_them(tmp_path: Path, form: str, mode: str) -> None:
    data = encode_picture(Image.fromarray(SMOOTH).convert(mode), form)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "a.pic", data)), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_the_smallest_and_thinnest_pictures(tmp_path: Path, form: str, size: tuple[int, int]) -> None:
    data = encode_picture(Image.new("RGB", size, (90, 90, 90)), form)
    found = images.read_image(write_bytes(tmp_path, "a.pic", data))
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found.astype(int) - 90).max() <= 3


def test_progressive_cmyk_and_inverted_adobe_jpeg(tmp_path: Path) -> None:
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    data = encode_picture(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    found = images.read_image(write_bytes(tmp_path, "cmyk.jpg", data))
    assert np.abs(found.astype(int) - SMOOTH).mean() < 6
    later = encode_picture(Image.fromarray(SMOOTH), "JPEG", progressive=True)
    expected = np.asarray(Image.open(io.BytesIO(later)))
    np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "p.jpg", later)), expected)


def test_jpeg_with_zeros_or_a_trailer_behind_its_end(tmp_path: Path) -> None:
    data = encode_picture(Image.fromarray(SMOOTH), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(data)))
    for tail in (b"\0\0\0", b"trailer of a phone " * 20):
        np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "a.jpg", data + tail)), expected)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_picture_with_damaged_exif_is_read(tmp_path: Path) -> None:
    data = encode_picture(Image.fromarray(SMOOTH), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert images.read_image(write_bytes(tmp_path, "a.jpg", data)).shape == SMOOTH.shape


def test_gray_bilevel_and_palette(tmp_path: Path) -> None:
    source = Image.fromarray(SMOOTH)
    for mode, form in (("L", "PNG"), ("1", "PNG"), ("1", "TIFF"), ("P", "PNG"), ("P", "GIF"), ("L", "TIFF")):
        image = source.convert(mode)
        found = images.read_image(write_bytes(tmp_path, "a.pic", encode_picture(image, form)))
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def over_white(color: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    top = np.iinfo(color.dtype).max
    share = alpha[..., None].astype(np.float64) / top
    return color * share + top * (1 - share)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_transparency_is_laid_over_white(tmp_path: Path, form: str) -> None:
    alpha = RNG.integers(0, 256, RGB.shape[:2], dtype=np.uint8)
    alpha[:4] = 0
    alpha[4:8] = 255
    image = Image.fromarray(np.dstack([RGB, alpha]))
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    found = images.read_image(write_bytes(tmp_path, "a.pic", encode_picture(image, form, **options)))
    np.testing.assert_array_equal(found, np.rint(over_white(RGB, alpha)))
    assert (found[:4] == 255).all()


def test_transparency_of_gray_palette_and_16_bits(tmp_path: Path) -> None:
    gray = np.dstack([RGB[..., 0], RGB[..., 1]])
    found = images.read_image(write_bytes(tmp_path, "la.png", encode_picture(Image.fromarray(gray), "PNG")))
    np.testing.assert_array_equal(found[..., 2], np.rint(over_white(gray[..., :1], gray[..., 1]))[..., 0])
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    found = images.read_image(
        write_bytes(tmp_path, "p.png", encode_picture(palette, "PNG", transparency=b"\xff\x00\xff"))
    )
    assert found.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    deep = RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
    deep[0, 0] = 65535
    for data in (encode_png16(deep, 6), encode_tiff(deep, 2)):
        found = images.read_image(write_bytes(tmp_path, "deep.pic", data))
        np.testing.assert_array_equal(found, np.rint(over_white(deep[..., :3], deep[..., 3])))
    color, key = deep[..., :3], struct.pack(">HHH", *deep[2, 2, :3])
    found = images.read_image(write_bytes(tmp_path, "key.png", encode_png16(color, 2, png_chunk(b"tRNS", key))))
    assert found[2, 2].tolist() == [65535] * 3
    assert found[1, 1].tolist() == color[1, 1].tolist()


def test_16_bits_stay_16_bits(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    for data in (
        encode_png16(deep, 2),
        encode_tiff(deep, 2),
        encode_png16(deep[..., 0], 0),
        encode_tiff(deep[..., :1], 1),
    ):
        found = images.read_image(write_bytes(tmp_path, "a.pic", data))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found[..., 0], deep[..., 0])
    np.testing.assert_array_equal(
        images.read_image(write_bytes(tmp_path, "w.tif", encode_tiff(deep[..., :1], 0)))[..., 1], 65535 - deep[..., 0]
    )
    plain = encode_picture(Image.fromarray(deep[..., 0]), "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "l.tif", plain))[..., 2], deep[..., 0])


def test_floats_between_0_and_1_become_16_bits(tmp_path: Path) -> None:
    values = RNG.random((4, 5, 1), dtype=np.float32)
    found = images.read_image(write_bytes(tmp_path, "f.tif", encode_tiff(values, 1, sample=3)))
    np.testing.assert_array_equal(found[..., 1], np.rint(values[..., 0] * 65535.0).astype(np.uint16))


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    for form in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = encode_picture(frames[0], form, save_all=True, append_images=frames[1:], **options)
        found = images.read_image(write_bytes(tmp_path, "a.pic", data))
        assert found.shape == (6, 8, 3)
        assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 4, form


def test_two_pictures_in_one_jpeg(tmp_path: Path) -> None:
    data = encode_picture(Image.fromarray(SMOOTH), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 24))])
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "a.jpg", data)), expected)


def test_a_picture_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    path = write_bytes(tmp_path, "a.png", encode_picture(Image.fromarray(RGB), "PNG"))
    assert images.read_image(path, max_pixels=24 * 40).shape == RGB.shape
    assert "more than the limit" in read_error(path, max_pixels=24 * 40 - 1)


def test_a_picture_above_the_bomb_warning_of_pillow_reads(tmp_path: Path) -> None:
    path = write_bytes(tmp_path, "big.png", encode_picture(Image.new("1", (10000, 9500)), "PNG"))
    assert images.read_image(path).shape == (9500, 10000, 3)


def test_reading_from_many_threads(tmp_path: Path) -> None:
    path = write_bytes(tmp_path, "a.png", encode_picture(Image.fromarray(RGB), "PNG"))
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(np.array_equal(images.read_image(path), RGB))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_a_transparent_value_of_deep_gray_is_laid_over_white(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    deep[3, 4] = deep[2, 2]
    data = encode_png16(deep, 0, png_chunk(b"tRNS", struct.pack(">H", int(deep[2, 2]))))
    expected = np.where(deep == deep[2, 2], 65535, deep)
    np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "k.png", data))[..., 1], expected)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_with_much_compressed_text_or_a_large_profile_is_read(tmp_path: Path, kind: bytes) -> None:
    text = zlib.compress(b"x" * (3 << 20), 1)
    body = b"Raw profile type xmp\0\0" + text
    if kind == b"iTXt":
        body = b"XML:com.adobe.xmp\0\1\0\0\0" + text
    data = encode_picture(Image.fromarray(RGB), "PNG")
    data = data[:33] + png_chunk(kind, body) + data[33:]
    np.testing.assert_array_equal(images.read_image(write_bytes(tmp_path, "t.png", data)), RGB)


def test_a_png_whose_text_is_a_bomb_is_refused(tmp_path: Path) -> None:
    stream = zlib.compressobj(1)
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(65)) + stream.flush()
    data = encode_picture(Image.fromarray(RGB), "PNG")
    data = data[:33] + png_chunk(b"zTXt", b"Comment\0\0" + bomb) + data[33:]
    assert "bomb.png" in read_error(write_bytes(tmp_path, "bomb.png", data))
