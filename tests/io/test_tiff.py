"""TIFF of every kind, as tifffile and OpenCV write it, against the pixels that were written."""

import io
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.io import images
from tests.support.pictures import encode_tiff, read_error, write_bytes

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
GRAY = RGB[..., 0]
ALPHA = RNG.choice(np.array([0, 128, 255], np.uint8), (24, 40))
GRAY3 = GRAY[..., None].repeat(3, 2)
INFRARED = ALPHA


def over_white(color: NDArray[np.uint8]) -> NDArray[np.float64]:
    share = ALPHA[..., None] / 255
    return color * share + 255 * (1 - share)


KINDS: dict[str, tuple[NDArray[np.uint8], dict[str, Any], NDArray[Any]]] = {
    "gray": (GRAY, {"photometric": 1}, GRAY3),
    "gray, white is zero": (255 - GRAY, {"photometric": 0}, GRAY3),
    "gray and alpha": (np.dstack([GRAY, ALPHA]), {"photometric": 1, "extrasamples": [2]}, over_white(GRAY3)),
    "color": (RGB, {"photometric": 2}, RGB),
    "color and infrared": (np.dstack([RGB, INFRARED]), {"photometric": 2, "extrasamples": [0]}, RGB),
    "color and alpha": (np.dstack([RGB, ALPHA]), {"photometric": 2, "extrasamples": [2]}, over_white(RGB)),
    "premultiplied": (
        np.dstack([np.rint(RGB * (ALPHA[..., None] / 255)).astype(np.uint8), ALPHA]),
        {"photometric": 2, "extrasamples": [1]},
        over_white(RGB),
    ),
    "five bands": (np.dstack([RGB, INFRARED, GRAY]), {"photometric": 2, "extrasamples": [0, 0]}, RGB),
    "color that says gray": (RGB, {"photometric": 1}, RGB),
    "inks": (np.dstack([255 - RGB, np.zeros_like(GRAY)]), {"photometric": 5}, RGB),
}
TOPS = {"u1": 255, "u2": 65535, "f2": 1, "f4": 1, "f8": 1}


def encode_kind(kind: str, dtype: str, planes: int, **options: Any) -> bytes:
    """Return the TIFF of a kind, its samples of this dtype, together (planes 1) or in separate planes (2)."""
    pixels, named, _ = KINDS[kind]
    samples = pixels / 255 * TOPS[dtype]
    values = (samples if dtype.startswith("f") else np.rint(samples)).astype(dtype)
    if values.ndim == 3:
        named = named | {"planarconfig": planes}
        values = np.moveaxis(values, 2, 0) if planes == 2 else values
    file = io.BytesIO()
    tifffile.imwrite(file, np.ascontiguousarray(values), metadata=None, **named, **options)
    return file.getvalue()


def first_page(data: bytes) -> Any:
    return tifffile.TiffFile(io.BytesIO(data)).pages[0]


def as_8_bits(pixels: NDArray[Any]) -> NDArray[np.float64]:
    return pixels / (257 if pixels.dtype == np.uint16 else 1)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("dtype", TOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_samples_gives_the_pixels_that_were_written(kind: str, dtype: str, planes: int) -> None:
    for options in ({}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}, {"compression": "zlib"}):
        found = images.decode_image(encode_kind(kind, dtype, planes, **options), Path("a.tif"))
        assert found.dtype == (np.uint8 if dtype == "u1" else np.uint16)
        assert np.abs(as_8_bits(found) - KINDS[kind][2]).max() <= 1.01, options


@pytest.mark.parametrize("kind", ["color", "color and infrared", "gray and alpha"])
def test_tiles_and_predictors(kind: str) -> None:
    for dtype in ("u1", "u2", "f4"):
        for options in ({"tile": (16, 16)}, {"compression": "zlib", "predictor": dtype != "f4", "rowsperstrip": 7}):
            found = images.decode_image(encode_kind(kind, dtype, 1, **options), Path("a.tif"))
            assert np.abs(as_8_bits(found) - KINDS[kind][2]).max() <= 1.01, (dtype, options)


def test_deep_color_with_lzw_as_opencv_writes_it() -> None:
    deep = RNG.integers(0, 65536, (30, 20, 3), dtype=np.uint16)
    data = cv2.imencode(".tiff", deep)[1].tobytes()
    assert first_page(data).tags["Compression"].value == 5
    np.testing.assert_array_equal(images.decode_image(data, Path("a.tif"))[..., ::-1], deep)


def packed(values: NDArray[np.unsignedinteger[Any]], bits: int) -> bytes:
    """Return integers [H, W] in so many bits each; every row begins with a byte (TIFF 6.0, section 3)."""
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in values.tolist()]
    return b"".join(int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows)


def packed_tiff(pixels: NDArray[np.uint16], bits: int) -> bytes:
    """Return the TIFF [H, W, C] of integers of so many bits."""
    height, width, count = pixels.shape
    body = packed(pixels.reshape(height, -1), bits)
    data = encode_tiff(np.zeros((height, width, count), np.uint16), 1 if count == 1 else 2)
    old = struct.pack("<HHII", 279, 4, 1, height * width * count * 2)
    wide = struct.pack("<HHIHxx", 258, 3, 1, bits) if count == 1 else b""
    data = data.replace(struct.pack("<HHIHxx", 258, 3, 1, 16), wide) if count == 1 else data
    data = data.replace(struct.pack("<3H", 16, 16, 16), struct.pack("<3H", bits, bits, bits))
    data = data.replace(old, struct.pack("<HHII", 279, 4, 1, len(body)))
    return data[:8] + body.ljust(height * width * count * 2, b"\0") + data[8 + height * width * count * 2 :]


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
@pytest.mark.parametrize("count", [1, 3])
def test_bits_that_fill_no_bytes(bits: int, count: int) -> None:
    values = RNG.integers(0, 1 << bits, (6, 9, count), dtype=np.uint16)
    found = images.decode_image(packed_tiff(values, bits), Path("a.tif"))
    white = 255 if bits <= 8 else 65535
    np.testing.assert_allclose(found, np.broadcast_to(values * (white / ((1 << bits) - 1)), (6, 9, 3)), atol=0.51)


def test_12_bits_in_16_are_bright_where_the_file_says_its_largest_value() -> None:
    values = RNG.integers(0, 4096, (6, 9, 3), dtype=np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=2, metadata=None, extratags=[(281, 3, 3, (4095,) * 3, True)])
    found = images.decode_image(file.getvalue(), Path("a.tif"))
    np.testing.assert_allclose(found, values * (65535 / 4095), atol=0.51)


def test_a_thumbnail_before_the_picture_is_passed_over() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(RGB[::4, ::4], photometric=2, subfiletype=1, metadata=None)
        writer.write(RGB, photometric=2, metadata=None)
    np.testing.assert_array_equal(images.decode_image(file.getvalue(), Path("a.tif")), RGB)


def test_separate_planes_show_no_memory_of_other_pictures() -> None:
    data = encode_kind("color", "u2", 2)
    found = []
    for fill in (0, 255):
        np.full((64, 1 << 18), fill, np.uint8)  # what a decoder that leaves pixels as they were would show
        found.append(images.decode_image(data, Path("a.tif")))
    np.testing.assert_array_equal(found[0], found[1])


# --- files that are refused ---


@pytest.mark.parametrize("kind", ["color", "five bands", "gray"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("planes", [1, 2])
def test_missing_strips_are_reported_and_not_filled(tmp_path: Path, kind: str, dtype: str, planes: int) -> None:
    options = {"rowsperstrip": 5, "byteorder": "<"}
    data = encode_kind(kind, dtype, planes, **options)
    assert "is truncated" in read_error(write_bytes(tmp_path, "cut.tif", data[:-9]))
    page = first_page(data)
    for tag in ("StripOffsets", "StripByteCounts"):
        entry = page.tags[tag]
        fewer = bytearray(data)
        struct.pack_into("<I", fewer, entry.offset + 4, entry.count - 1)
        message = read_error(write_bytes(tmp_path, "fewer.tif", bytes(fewer)))
        assert "fewer.tif" in message


def test_damaged_compressed_strips_are_reported(tmp_path: Path) -> None:
    for kind, dtype in (("color", "u2"), ("color", "f4"), ("color", "u1")):
        data = bytearray(encode_kind(kind, dtype, 1, compression="zlib"))
        start = first_page(bytes(data)).dataoffsets[0]
        data[start + 30 : start + 90] = bytes(60)
        assert "damaged.tif" in read_error(write_bytes(tmp_path, "damaged.tif", bytes(data)))


def test_a_kind_without_a_decoder_is_named(tmp_path: Path) -> None:
    lzw = bytearray(encode_kind("color", "u2", 2))
    entry = first_page(bytes(lzw)).tags["Compression"]
    struct.pack_into("<H", lzw, entry.valueoffset, 5)
    message = read_error(write_bytes(tmp_path, "planes.tif", bytes(lzw)))
    assert "planes.tif is a TIFF of 3 bands of 16-bit integers with LZW compression" in message
    assert "save it as RGB of 8 or 16 bits, or as PNG" in message
    for values in (np.full((4, 5, 3), 1 + 1j, np.complex64), np.full((4, 5, 3), 70000, np.uint32)):
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric=2, metadata=None)
        with pytest.raises(DacliError, match=r"a\.tif (is a TIFF of 3 bands of|holds numbers outside 0 to 65535)"):
            images.decode_image(file.getvalue(), Path("a.tif"))


def test_colors_beyond_0_to_1_are_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.full((4, 5, 3), 1.5, np.float32), photometric=2, metadata=None)
    assert "outside 0 to 1" in read_error(write_bytes(tmp_path, "bright.tif", file.getvalue()))


def test_the_limit_is_read_from_the_header(tmp_path: Path) -> None:
    path = write_bytes(tmp_path, "large.tif", encode_kind("five bands", "f4", 2))
    assert "40 × 24 pixels, more than the limit" in read_error(path, max_pixels=24 * 40 - 1)
