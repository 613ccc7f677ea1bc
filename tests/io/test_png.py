import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from dacli.errors import DacliError
from dacli.io import png

RNG = np.random.default_rng(6)
GRAY = np.zeros((2, 3), np.uint8)
KEYWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=79)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


def open_with_pillow(data: bytes) -> PngImagePlugin.PngImageFile:
    image = Image.open(io.BytesIO(data))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    image.load()
    return image


def png_with_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    data = png.encode_png(GRAY)
    check = zlib.crc32(kind + body) if crc is None else crc
    return data[:33] + struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check) + data[33:]


@pytest.mark.parametrize("shape", [(1, 1), (17, 9), (1, 300), (300, 1)])
def test_pixels_as_pillow_reads_them(shape: tuple[int, int]) -> None:
    gray = RNG.integers(0, 256, shape, dtype=np.uint8)
    color = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    deep = RNG.integers(0, 65536, shape, dtype=np.uint16)
    for array, mode in ((gray, "L"), (color, "RGB"), (deep, "I;16")):
        image = open_with_pillow(png.encode_png(array))
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), array)


def test_views_that_are_not_contiguous() -> None:
    color = RNG.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    for view in (color[::-1], color[:, ::2], color.swapaxes(0, 1), color[..., 1]):
        np.testing.assert_array_equal(np.asarray(open_with_pillow(png.encode_png(view))), view)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(KEYWORDS, TEXTS, max_size=4))
def test_text_round_trip_agrees_with_pillow(text: dict[str, str]) -> None:
    data = png.encode_png(GRAY, text)
    assert open_with_pillow(data).text == text
    assert png.read_png_text(data, "a.png") == text


def test_text_that_pillow_writes() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("plain", "one")
    info.add_text("packed", "two" * 50, zip=True)
    info.add_itxt("wide", "drei 深", lang="de", tkey="x")
    info.add_itxt("wide packed", "vier 深" * 50, zip=True)
    file = io.BytesIO()
    Image.fromarray(GRAY).save(file, "PNG", pnginfo=info)
    expected = {"plain": "one", "packed": "two" * 50, "wide": "drei 深", "wide packed": "vier 深" * 50}
    assert png.read_png_text(file.getvalue(), "a.png") == expected


@pytest.mark.parametrize("text", [{"": "x"}, {"k" * 80: "x"}, {"k": "a\0b"}, {"k\0": "a"}, {"深": "a"}])
def test_text_that_png_cannot_hold(text: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"text that PNG can hold|codec"):
        png.encode_png(GRAY, text)


@pytest.mark.parametrize("cut", [1, 2, 12, 13, 40])
def test_a_cut_file(cut: int) -> None:
    with pytest.raises(DacliError, match=r"a\.png is truncated"):
        png.read_png_text(png.encode_png(GRAY, {"k": "v"})[:-cut], "a.png")


def test_a_length_beyond_the_file() -> None:
    data = bytearray(png.encode_png(GRAY, {"k": "v"}))
    data[33:37] = b"\xff\xff\xff\xff"
    with pytest.raises(DacliError, match="truncated"):
        png.read_png_text(bytes(data), "a.png")


DAMAGED = [
    png_with_chunk(b"tEXt", b"key\0text", crc=5),
    png_with_chunk(b"tEXt", b"no separator"),
    png_with_chunk(b"zTXt", b"key\0\0not deflate"),
    png_with_chunk(b"zTXt", b"key\0\0" + zlib.compress(b"x" * 500)[:-6]),
    png_with_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1 << 21))),
    png_with_chunk(b"iTXt", b"key\0"),
    png_with_chunk(b"iTXt", b"key\0\0\0de\0x\0\xff\xfe"),
]


@pytest.mark.parametrize("data", DAMAGED)
def test_damaged_text(data: bytes) -> None:
    with pytest.raises(DacliError, match=r"a\.png is damaged \("):
        png.read_png_text(data, "a.png")


def test_pixels_that_do_not_match_their_checksum() -> None:
    data = bytearray(png.encode_png(RNG.integers(0, 65536, (30, 30), dtype=np.uint16)))
    data[300] ^= 1
    with pytest.raises(DacliError, match=r"a\.png is damaged"):
        png.read_png_text(bytes(data), "a.png")


def test_a_file_of_another_format() -> None:
    for data in (b"", b"\x89PNG", b"\xff\xd8\xff"):
        with pytest.raises(DacliError, match=r"a\.png is not a PNG"):
            png.read_png_text(data, "a.png")
