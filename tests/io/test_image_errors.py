import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dacli.io import images
from tests.support.pictures import (
    encode_picture,
    encode_png16,
    encode_tiff,
    png_chunk,
    read_error,
    write_bytes,
)

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5])
def test_floats_of_no_known_range_are_refused(tmp_path: Path, value: float) -> None:
    values = np.full((4, 5, 1), value, np.float32)
    assert "outside 0 to 1" in read_error(write_bytes(tmp_path, "f.tif", encode_tiff(values, 1, sample=3)))


FORMS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("AVIF", {}),
]


@pytest.mark.parametrize(("form", "options"), FORMS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_truncated_file_is_reported_as_truncated(tmp_path: Path, form: str, options: dict[str, Any]) -> None:
    data = encode_picture(Image.fromarray(RGB), form, **options)
    for keep in sorted({len(data) - 1, len(data) - 2, len(data) - 13, *range(9, len(data), len(data) // 23)}):
        message = read_error(write_bytes(tmp_path, "photo.jpg", data[:keep]))
        assert "photo.jpg is truncated" in message, (keep, len(data))
        assert f"({keep} bytes)" in message
        assert "copy" in message


def test_a_truncated_bmp_gif_and_16_bit_png(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (30, 30, 3), dtype=np.uint16)
    for data in (
        encode_picture(Image.fromarray(RGB), "BMP"),
        encode_picture(Image.fromarray(RGB), "GIF"),
        encode_png16(deep, 2),
    ):
        assert "is truncated (" in read_error(write_bytes(tmp_path, "a.pic", data[:-30]))


def test_damage_inside_a_file(tmp_path: Path) -> None:
    data = bytearray(encode_picture(Image.fromarray(RGB), "PNG"))
    data[60:90] = bytes(30)
    read_error(write_bytes(tmp_path, "a.png", bytes(data)))
    deep = bytearray(encode_png16(RNG.integers(0, 65536, (30, 30, 3), dtype=np.uint16), 2))
    deep[60:90] = bytes(30)
    read_error(write_bytes(tmp_path, "b.png", bytes(deep)))


HEAD = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
BOMB = (
    b"\x89PNG\r\n\x1a\n"
    + png_chunk(b"IHDR", HEAD)
    + png_chunk(b"IDAT", zlib.compress(bytes(10**6)))
    + png_chunk(b"IEND", b"")
)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = write_bytes(tmp_path, "bomb.png", BOMB)
    message = read_error(path)
    assert "60000 × 60000 pixels, more than the limit of 200 megapixels" in message
    assert "--max-pixels" in message


FOREIGN = [
    (b"", "is empty"),
    (b"\x07\x80garbage\0\0" * 9, "is not a picture of a known kind"),
    (b"<!DOCTYPE html><html>404</html>", "web page"),
    (b"\xef\xbb\xbf\n<html><body>", "web page"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    (b"just some words\n", "holds text"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    (b"%PDF-1.7\n...", "PDF"),
    (b"8BPS\0\1" + bytes(30), "Photoshop"),
    (b"FUJIFILMCCD-RAW 0201", "RAW"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(30), "RAW"),
    (b"\0\0\0\x18ftypcrx \0\0\0\1", "RAW"),
    (b"\0\0\0\x20ftypisom\0\0\2\0", "is a video"),
    (b"\x1a\x45\xdf\xa3" + bytes(30), "is a video"),
    (b"PK\3\4" + bytes(30), "ZIP"),
    (b"\x89PNG\r\n\x1a\n", "truncated"),
    (b"\xff\xd8\xff", "truncated"),
]


@pytest.mark.parametrize(("data", "word"), FOREIGN)
def test_a_file_of_another_kind_is_named(tmp_path: Path, data: bytes, word: str) -> None:
    assert word in read_error(write_bytes(tmp_path, "photo.jpg", data))


def test_a_raw_file_is_not_read_as_its_thumbnail(tmp_path: Path) -> None:
    assert "RAW" in read_error(write_bytes(tmp_path, "a.NEF", encode_picture(Image.fromarray(RGB), "TIFF")))
    dng = encode_picture(Image.fromarray(RGB), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert "RAW" in read_error(write_bytes(tmp_path, "renamed.tif", dng))


def test_heic_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "pip install pillow-heif" in read_error(write_bytes(tmp_path, "a.heic", b"\0\0\0\x18ftypheic" + bytes(40)))


def test_too_little_memory_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    path = write_bytes(tmp_path, "a.png", encode_picture(Image.fromarray(RGB), "PNG"))
    monkeypatch.setattr(images, "_decode_by_pillow", fail)
    assert "not enough memory" in read_error(path)


def test_decoders_print_nothing_on_stderr(tmp_path: Path) -> None:
    write_bytes(tmp_path, "a.jpg", encode_picture(Image.fromarray(RGB), "JPEG")[:-200])
    deep = RNG.integers(0, 65536, (30, 30, 3), dtype=np.uint16)
    write_bytes(tmp_path, "b.tif", encode_tiff(deep, 2)[:4000] + bytes(2000) + encode_tiff(deep, 2)[6000:])
    write_bytes(tmp_path, "c.png", encode_png16(deep, 2).replace(b"IDATx", b"IDATy"))
    write_bytes(tmp_path, "d.tif", encode_picture(Image.fromarray(RGB), "TIFF", compression="tiff_lzw")[:-2])
    code = "\n".join(
        [
            "import sys; from pathlib import Path; from dacli import errors; from dacli.io import images",
            "for name in sys.argv[1:]:",
            "    try: images.read_image(Path(name))",
            "    except errors.DacliError: pass",
        ]
    )
    names = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
