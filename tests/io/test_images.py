import contextlib
import errno
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from dacli.errors import DacliError
from dacli.io import depth_files, files, images, npy

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(40) * 6, np.arange(24)[:, None] * 10, 90), axis=-1).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def saved(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def fault(path: Path, **options: int) -> str:
    with pytest.raises(DacliError) as caught:
        images.read_image(path, **options)
    assert "\n" not in str(caught.value)
    assert "\n" not in caught.value.hint
    assert path.name in caught.value.message
    return str(caught.value)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(pixels: npt.NDArray[np.uint16], kind: int, extra: bytes = b"") -> bytes:
    height, width = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(height, -1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def tiff(pixels: npt.NDArray[Any], photometric: int, orientation: int = 1, sample: int = 1) -> bytes:
    height, width, samples = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    wide = struct.pack(f"<{samples}H", *[pixels.itemsize * 8] * samples)
    kinds = struct.pack(f"<{samples}H", *[sample] * samples)
    start = 8 + len(data)
    tags: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, samples, wide),
        (259, 3, 1, struct.pack("<H", 1)),
        (262, 3, 1, struct.pack("<H", photometric)),
        (273, 4, 1, struct.pack("<I", 8)),
        (274, 3, 1, struct.pack("<H", orientation)),
        (277, 3, 1, struct.pack("<H", samples)),
        (278, 4, 1, struct.pack("<I", height)),
        (279, 4, 1, struct.pack("<I", len(data))),
        *([(338, 3, 1, struct.pack("<H", 2))] if samples == 4 else []),
        (339, 3, samples, kinds),
    ]
    base = start + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, kind, count, value in tags:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", base + len(tail))
        tail += value if len(value) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, count) + place
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + tail


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[274] = orientation
    return made


def turned(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    way = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    if way is None:
        return pixels
    planes = [Image.fromarray(pixels[..., c].astype(np.int32)).transpose(Image.Transpose(way)) for c in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1).astype(pixels.dtype)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_as_pillow_does(tmp_path: Path, form: str, orientation: int) -> None:
    data = encoded(Image.fromarray(SMOOTH), form, exif=exif(orientation))
    want = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    found = images.read_image(saved(tmp_path, "a.pic", data))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, want)
    assert np.abs(found.astype(int) - turned(SMOOTH, orientation)).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bits(tmp_path: Path, orientation: int) -> None:
    deep = RNG.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    want = turned(deep, orientation)
    block = chunk(b"eXIf", exif(orientation).tobytes().removeprefix(b"Exif\0\0"))
    for data in (png16(deep, 2, block), tiff(deep, 2, orientation)):
        found = images.read_image(saved(tmp_path, "a.pic", data))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, want)
    gray = images.read_image(saved(tmp_path, "b.tif", tiff(deep[..., :1], 1, orientation)))
    np.testing.assert_array_equal(gray[..., 0], want[..., 0])


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "PPM"])
def test_lossless_pictures_come_back_exactly(tmp_path: Path, form: str) -> None:
    found = images.read_image(saved(tmp_path, "a.pic", encoded(Image.fromarray(RGB), form)))
    np.testing.assert_array_equal(found, RGB)
    assert found.flags.writeable
    assert found.flags.c_contiguous


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_lossy_pictures_come_as_pillow_decodes_them(tmp_path: Path, form: str, mode: str) -> None:
    data = encoded(Image.fromarray(SMOOTH).convert(mode), form)
    want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(images.read_image(saved(tmp_path, "a.pic", data)), want)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1)])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_the_smallest_and_thinnest(tmp_path: Path, form: str, size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size, (90, 90, 90)), form)
    found = images.read_image(saved(tmp_path, "a.pic", data))
    assert found.shape == (size[1], size[0], 3)
    assert np.abs(found.astype(int) - 90).max() <= 3


def test_progressive_cmyk_and_inverted_adobe_jpeg(tmp_path: Path) -> None:
    cmyk = Image.fromarray(SMOOTH).convert("CMYK")
    data = encoded(cmyk, "JPEG", quality=95)
    assert b"Adobe" in data
    found = images.read_image(saved(tmp_path, "cmyk.jpg", data))
    assert np.abs(found.astype(int) - SMOOTH).mean() < 6
    later = encoded(Image.fromarray(SMOOTH), "JPEG", progressive=True)
    want = np.asarray(Image.open(io.BytesIO(later)))
    np.testing.assert_array_equal(images.read_image(saved(tmp_path, "p.jpg", later)), want)


def test_jpeg_with_zeros_or_a_trailer_behind_its_end(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG")
    want = np.asarray(Image.open(io.BytesIO(data)))
    for tail in (b"\0\0\0", b"trailer of a phone " * 20):
        np.testing.assert_array_equal(images.read_image(saved(tmp_path, "a.jpg", data + tail)), want)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_is_no_reason_to_refuse(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert images.read_image(saved(tmp_path, "a.jpg", data)).shape == SMOOTH.shape


def test_gray_bilevel_and_palette(tmp_path: Path) -> None:
    source = Image.fromarray(SMOOTH)
    for mode, form in (("L", "PNG"), ("1", "PNG"), ("1", "TIFF"), ("P", "PNG"), ("P", "GIF"), ("L", "TIFF")):
        image = source.convert(mode)
        found = images.read_image(saved(tmp_path, "a.pic", encoded(image, form)))
        np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))


def on_white(color: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
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
    found = images.read_image(saved(tmp_path, "a.pic", encoded(image, form, **options)))
    np.testing.assert_array_equal(found, np.rint(on_white(RGB, alpha)))
    assert (found[:4] == 255).all()


def test_transparency_of_gray_palette_and_16_bits(tmp_path: Path) -> None:
    gray = np.dstack([RGB[..., 0], RGB[..., 1]])
    found = images.read_image(saved(tmp_path, "la.png", encoded(Image.fromarray(gray), "PNG")))
    np.testing.assert_array_equal(found[..., 2], np.rint(on_white(gray[..., :1], gray[..., 1]))[..., 0])
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    found = images.read_image(saved(tmp_path, "p.png", encoded(palette, "PNG", transparency=b"\xff\x00\xff")))
    assert found.tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    deep = RNG.integers(0, 65536, (5, 7, 4), dtype=np.uint16)
    deep[0, 0] = 65535
    for data in (png16(deep, 6), tiff(deep, 2)):
        found = images.read_image(saved(tmp_path, "deep.pic", data))
        np.testing.assert_array_equal(found, np.rint(on_white(deep[..., :3], deep[..., 3])))
    color, key = deep[..., :3], struct.pack(">HHH", *deep[2, 2, :3])
    found = images.read_image(saved(tmp_path, "key.png", png16(color, 2, chunk(b"tRNS", key))))
    assert found[2, 2].tolist() == [65535] * 3
    assert found[1, 1].tolist() == color[1, 1].tolist()


def test_16_bits_stay_16_bits(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    for data in (png16(deep, 2), tiff(deep, 2), png16(deep[..., 0], 0), tiff(deep[..., :1], 1)):
        found = images.read_image(saved(tmp_path, "a.pic", data))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found[..., 0], deep[..., 0])
    np.testing.assert_array_equal(
        images.read_image(saved(tmp_path, "w.tif", tiff(deep[..., :1], 0)))[..., 1], 65535 - deep[..., 0]
    )
    plain = encoded(Image.fromarray(deep[..., 0]), "TIFF", compression="tiff_lzw")
    np.testing.assert_array_equal(images.read_image(saved(tmp_path, "l.tif", plain))[..., 2], deep[..., 0])


def test_floats_between_0_and_1_become_16_bits(tmp_path: Path) -> None:
    values = RNG.random((4, 5, 1), dtype=np.float32)
    found = images.read_image(saved(tmp_path, "f.tif", tiff(values, 1, sample=3)))
    np.testing.assert_array_equal(found[..., 1], np.rint(values[..., 0] * 65535.0).astype(np.uint16))


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 1.5])
def test_floats_of_no_known_range_are_refused(tmp_path: Path, value: float) -> None:
    values = np.full((4, 5, 1), value, np.float32)
    assert "outside 0 to 1" in fault(saved(tmp_path, "f.tif", tiff(values, 1, sample=3)))


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "lime", "blue")]
    for form in ("GIF", "PNG", "WEBP", "AVIF", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)
        found = images.read_image(saved(tmp_path, "a.pic", data))
        assert found.shape == (6, 8, 3)
        assert np.abs(found.astype(int) - [255, 0, 0]).max() <= 4, form


def test_two_pictures_in_one_jpeg(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(SMOOTH), "MPO", save_all=True, append_images=[Image.new("RGB", (40, 24))])
    want = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(images.read_image(saved(tmp_path, "a.jpg", data)), want)


@pytest.mark.parametrize(
    "name", ["übung 深度 🏔.png", "a\nb.png", os.fsdecode(b"caf\xe9\xff.png"), "-o.png", "%s{}.png"]
)
def test_any_name_the_file_system_allows(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, name, encoded(Image.fromarray(RGB), "PNG"))
    np.testing.assert_array_equal(images.read_image(path), RGB)
    files.write_file(tmp_path / "out" / name, b"x")
    assert (tmp_path / "out" / name).read_bytes() == b"x"


def test_a_name_that_no_terminal_shows_fails_in_plain_text(tmp_path: Path) -> None:
    with pytest.raises(DacliError) as caught:
        images.read_image(tmp_path / os.fsdecode(b"\xff\x1b[2J.png"))
    assert "\\udcff\\x1b[2J.png does not exist" in caught.value.message
    caught.value.message.encode()


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
def test_a_truncated_file_is_named_as_such(tmp_path: Path, form: str, options: dict[str, Any]) -> None:
    data = encoded(Image.fromarray(RGB), form, **options)
    for keep in sorted({len(data) - 1, len(data) - 2, len(data) - 13, *range(9, len(data), len(data) // 23)}):
        said = fault(saved(tmp_path, "photo.jpg", data[:keep]))
        assert "photo.jpg is truncated" in said, (keep, len(data))
        assert f"({keep} bytes)" in said
        assert "copy" in said


def test_a_truncated_bmp_gif_and_16_bit_png(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (30, 30, 3), dtype=np.uint16)
    for data in (encoded(Image.fromarray(RGB), "BMP"), encoded(Image.fromarray(RGB), "GIF"), png16(deep, 2)):
        assert "is truncated (" in fault(saved(tmp_path, "a.pic", data[:-30]))


def test_damage_inside_a_file(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(RGB), "PNG"))
    data[60:90] = bytes(30)
    fault(saved(tmp_path, "a.png", bytes(data)))
    deep = bytearray(png16(RNG.integers(0, 65536, (30, 30, 3), dtype=np.uint16), 2))
    deep[60:90] = bytes(30)
    fault(saved(tmp_path, "b.png", bytes(deep)))


HEAD = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
BOMB = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HEAD) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = saved(tmp_path, "bomb.png", BOMB)
    said = fault(path)
    assert "60000 × 60000 pixels, more than the limit of 200 megapixels" in said
    assert "--max-pixels" in said


def test_the_limit_of_pixels_is_the_last_size_allowed(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", encoded(Image.fromarray(RGB), "PNG"))
    assert images.read_image(path, max_pixels=24 * 40).shape == RGB.shape
    assert "more than the limit" in fault(path, max_pixels=24 * 40 - 1)


def test_a_picture_above_the_bomb_warning_of_pillow_reads(tmp_path: Path) -> None:
    path = saved(tmp_path, "big.png", encoded(Image.new("1", (10000, 9500)), "PNG"))
    assert images.read_image(path).shape == (9500, 10000, 3)


FOREIGN = [
    (b"", "is empty"),
    (b"\x07\x80garbage\0\0" * 9, "no picture of a known kind"),
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
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\x89PNG\r\n\x1a\n", "truncated"),
    (b"\xff\xd8\xff", "truncated"),
]


@pytest.mark.parametrize(("data", "word"), FOREIGN)
def test_what_is_no_picture_is_named(tmp_path: Path, data: bytes, word: str) -> None:
    assert word in fault(saved(tmp_path, "photo.jpg", data))


def test_a_raw_file_is_not_read_as_its_thumbnail(tmp_path: Path) -> None:
    assert "RAW" in fault(saved(tmp_path, "a.NEF", encoded(Image.fromarray(RGB), "TIFF")))
    dng = encoded(Image.fromarray(RGB), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    assert "RAW" in fault(saved(tmp_path, "renamed.tif", dng))


def test_heic_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert "dacli[heic]" in fault(saved(tmp_path, "a.heic", b"\0\0\0\x18ftypheic" + bytes(40)))


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "does not exist" in fault(tmp_path / "none.jpg")
    assert "name the pictures in it" in fault(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in fault(tmp_path / "loop")
    assert "cannot be read" in fault(tmp_path / ("n" * 300))


def test_a_pipe_a_socket_and_a_device_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as served, contextlib.chdir(tmp_path):
        served.bind("socket")
        for path in (Path("fifo"), Path("socket"), Path(os.devnull)):
            assert "not a file" in fault(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "a.png", encoded(Image.fromarray(RGB), "PNG"))
    monkeypatch.setattr(Path, "read_bytes", raising(PermissionError(errno.EACCES, "denied")))
    assert "no permission to read" in fault(path)
    monkeypatch.setattr(Path, "read_bytes", raising(OSError(errno.EIO, "Input/output error")))
    assert "Input/output error" in fault(path)


def test_too_large_a_file_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "a.png", b"x" * 100)
    monkeypatch.setattr(files, "MAX_BYTES", 99)
    assert "too large" in fault(path)


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, "a.png", encoded(Image.fromarray(RGB), "PNG"))
    monkeypatch.setattr(images, "_decode_by_pillow", raising(MemoryError()))
    assert "not enough memory" in fault(path)


def test_reading_from_many_threads(tmp_path: Path) -> None:
    path = saved(tmp_path, "a.png", encoded(Image.fromarray(RGB), "PNG"))
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(np.array_equal(images.read_image(path), RGB))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_nothing_but_our_line_reaches_stderr(tmp_path: Path) -> None:
    saved(tmp_path, "a.jpg", encoded(Image.fromarray(RGB), "JPEG")[:-200])
    deep = RNG.integers(0, 65536, (30, 30, 3), dtype=np.uint16)
    saved(tmp_path, "b.tif", tiff(deep, 2)[:4000] + bytes(2000) + tiff(deep, 2)[6000:])
    saved(tmp_path, "c.png", png16(deep, 2).replace(b"IDATx", b"IDATy"))
    saved(tmp_path, "d.tif", encoded(Image.fromarray(RGB), "TIFF", compression="tiff_lzw")[:-2])
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


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_write_makes_the_folder_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.png"
    files.write_file(path, b"one")
    files.write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


WRITE_FAULTS = [
    (errno.ENOSPC, "disk is full"),
    (errno.EACCES, "no permission"),
    (errno.EROFS, "read-only"),
    (errno.EIO, "Input/output error"),
]


@pytest.mark.parametrize(("number", "word"), WRITE_FAULTS)
@pytest.mark.parametrize("step", ["open", "replace", "mkdir"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str, step: str
) -> None:
    path = saved(tmp_path, "a.png", b"before")
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, raising(OSError(number, os.strerror(number))))
        with pytest.raises(DacliError, match=word) as caught:
            files.write_file(path, b"after")
    assert "a.png" in caught.value.message
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_full_disk(path: Path, _: str) -> Any:
        path.write_bytes(b"half")
        full = Path("/dev/full")
        if full.exists():
            return io.FileIO(full, "w")
        raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda p, *a, **k: on_a_full_disk(p, *a) if a == ("xb",) else real(p, *a, **k))
    with pytest.raises(DacliError, match="disk is full"):
        files.write_file(tmp_path / "a.png", b"data")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        files.write_file(tmp_path / "a.png", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_a_file_and_a_long_name_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DacliError, match="a folder stands there"):
        files.write_file(tmp_path / "a.png", b"data")
    saved(tmp_path, "file", b"")
    for path in (tmp_path / "file" / "a.png", tmp_path / "file" / "below" / "a.png"):
        with pytest.raises(DacliError, match="a file stands where its folder should be"):
            files.write_file(path, b"data")
    with pytest.raises(DacliError, match="name is too long"):
        files.write_file(tmp_path / ("n" * 300), b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "file"]


def test_npy_is_read_by_numpy() -> None:
    depth = RNG.random((7, 5), dtype=np.float32)
    found = np.load(io.BytesIO(npy.encode_npy(depth)), allow_pickle=False)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, depth)


def test_read_depth16_gives_values_and_text(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    path = saved(tmp_path, "a.png", png16(deep, 0, chunk(b"tEXt", b"dacli\0{}")))
    values, text = depth_files.read_depth16(path)
    np.testing.assert_array_equal(values, deep)
    assert text == {"dacli": "{}"}


def test_read_depth16_refuses_other_files(tmp_path: Path) -> None:
    deep = png16(RNG.integers(0, 65536, (30, 30), dtype=np.uint16), 0)
    hurt = bytearray(deep)
    hurt[200:240] = bytes(40)
    cases = [
        (encoded(Image.fromarray(RGB), "JPEG"), "is not a PNG"),
        (encoded(Image.fromarray(RGB[..., 0]), "PNG"), "8-bit gray"),
        (encoded(Image.fromarray(RGB), "PNG"), "8-bit color"),
        (png16(np.zeros((2, 2, 3), np.uint16), 2), "16-bit color"),
        (deep[:-20], "truncated"),
        (bytes(hurt), "damaged"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "PNG"),
        (b"", "empty"),
    ]
    for data, word in cases:
        with pytest.raises(DacliError, match=word):
            depth_files.read_depth16(saved(tmp_path, "a.png", data))
