"""A folder as users have them: pictures of every kind, damaged ones, other files named as pictures, and the rest."""

import gzip
import io
import os
import socket
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from tests.support.pictures import encode_picture, exif_of, png_chunk

PIXELS = np.random.default_rng(7).integers(0, 256, (24, 36, 3), dtype=np.uint8)
RGB = Image.fromarray(PIXELS)
LONG = "x" * 247
NOT_UTF8 = os.fsdecode(b"caf\xe9.jpg")


def turned_picture(orientation: int, form: str) -> bytes:
    return encode_picture(RGB, form, exif=exif_of(orientation).tobytes())


def encode_by_opencv(pixels: NDArray[Any], suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of few bytes whose header gives it this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + body + png_chunk(b"IEND", b"")


def with_inverted_byte(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def zip_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("photo.jpg", JPEG)
    return file.getvalue()


def animation(form: str) -> bytes:
    return encode_picture(RGB, form, save_all=True, append_images=[RGB.rotate(90), RGB.rotate(180)], duration=40)


def commented_png() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a picture by another program")
    return encode_picture(RGB, "PNG", pnginfo=text)


def damaged_exif(text: bytes) -> bytes:
    """Return a JPEG with this EXIF block."""
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(text) + 8) + b"Exif\0\0" + text + JPEG[2:]


JPEG = encode_picture(RGB, "JPEG", quality=90)
PROGRESSIVE = encode_picture(RGB, "JPEG", quality=90, progressive=True)
PNG = encode_picture(RGB, "PNG")
WEBP = encode_picture(RGB, "WEBP", lossless=True)
TIFF = encode_picture(RGB, "TIFF")
LZW = encode_picture(RGB, "TIFF", compression="tiff_lzw")
GIF = encode_picture(RGB.quantize(64), "GIF")
BMP = encode_picture(RGB, "BMP")
PPM = encode_picture(RGB, "PPM")
DEEP = PIXELS.astype(np.uint16) * 257
FLOATS = (PIXELS[..., 0] / np.float32(255)).astype(np.float32)

GOOD: Mapping[str, bytes] = {
    **{f"turned/{n}.jpg": turned_picture(n, "JPEG") for n in range(1, 9)},
    "turned/6.png": turned_picture(6, "PNG"),
    "turned/8.webp": turned_picture(8, "WEBP"),
    "turned/5.tif": turned_picture(5, "TIFF"),
    "cmyk.jpg": encode_picture(RGB.convert("CMYK"), "JPEG"),
    "gray.jpg": encode_picture(RGB.convert("L"), "JPEG"),
    "progressive.jpeg": PROGRESSIVE,
    "bilevel.png": encode_picture(RGB.convert("1"), "PNG"),
    "palette.png": encode_picture(RGB.quantize(16), "PNG"),
    "alpha.png": encode_picture(RGB.convert("RGBA"), "PNG"),
    "gray alpha.png": encode_picture(RGB.convert("LA"), "PNG"),
    "gray16.png": encode_by_opencv(DEEP[..., 0]),
    "rgb16.png": encode_by_opencv(DEEP),
    "rgb16.tiff": encode_by_opencv(DEEP, ".tiff"),
    "float.tif": encode_picture(Image.fromarray(FLOATS), "TIFF"),
    "lzw.tif": LZW,
    "cmyk.tif": encode_picture(RGB.convert("CMYK"), "TIFF"),
    "moving.gif": animation("GIF"),
    "moving.webp": animation("WEBP"),
    "moving.png": animation("PNG"),
    "clear.webp": encode_picture(RGB.convert("RGBA"), "WEBP"),
    "plain.bmp": BMP,
    "plain.ppm": PPM,
    "plain.pgm": encode_picture(RGB.convert("L"), "PPM"),
    "still.avif": encode_picture(RGB, "AVIF"),
    "zeros behind.jpg": JPEG + bytes(40),
    "UPPER.JPG": JPEG,
    "Mixed.PnG": PNG,
    "suffixless": JPEG,
    "in folder/suffixless too": PNG,
    "a jpeg.png": JPEG,
    "a png.jpg": PNG,
    "a webp.jpg": WEBP,
    "one pixel.png": encode_picture(Image.new("RGB", (1, 1)), "PNG"),
    "tall.png": encode_picture(Image.new("L", (1, 90)), "PNG"),
    "wide.png": encode_picture(Image.new("L", (90, 1)), "PNG"),
    "flat.png": encode_picture(Image.new("RGB", (30, 20)), "PNG"),
    "a.jpg": JPEG,
    "a.png": PNG,
    "a.webp": WEBP,
    "sub/a.jpg": JPEG,
    "sub/deeper/a.jpg": JPEG,
    "A.jpg": PROGRESSIVE,
    "Same.jpg": JPEG,
    "same.jpg": JPEG,
    "a_jpg.png": PNG,
    "写真 día 🙂.jpg": JPEG,
    "cafe\u0301.jpg": JPEG,
    "caf\u00e9.jpg": JPEG,
    "new\nline.jpg": JPEG,
    "-dash.jpg": JPEG,
    "--help.png": PNG,
    "@list.jpg": JPEG,
    "[x]*.jpg": JPEG,
    " spaces .jpg": JPEG,
    "two..dots.jpg": JPEG,
    "%d.jpg": JPEG,
    "'quoted\".jpg": JPEG,
    f"{LONG}.jpg": JPEG,
    f"{LONG}.png": PNG,
    f"{LONG[:-1]}y.jpg": JPEG,
    NOT_UTF8: JPEG,
    "写" * 70 + ".png": PNG,
    "comment_color.png": commented_png(),
    "folder.jpg/in it.jpg": JPEG,
    "empty exif.jpg": damaged_exif(b""),
    "cut exif.jpg": damaged_exif(b"MM\0*\0\0\0\x08\0\x05\x01\x12"),
    "loud exif.jpg": damaged_exif(bytes(range(256))),
    "wild exif.jpg": damaged_exif(b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0"),
}

CUT = {
    **{f"cut at {n}.jpg": (JPEG[:n], "truncated") for n in (2, 3, 20, 300, len(JPEG) // 2, len(JPEG) - 40)},
    "lacks its end.jpg": (JPEG[:-2], "truncated"),
    "cut progressive.jpg": (PROGRESSIVE[: len(PROGRESSIVE) // 2], "truncated"),
    **{f"cut at {n}.png": (PNG[:n], "truncated") for n in (4, 8, 20, 33, 60, len(PNG) // 2, len(PNG) - 12)},
    **{f"cut at {n}.webp": (WEBP[:n], "truncated") for n in (4, 11, 30, len(WEBP) // 2, len(WEBP) - 2)},
    **{f"cut at {n}.tif": (TIFF[:n], "truncated") for n in (3, 8, len(TIFF) // 2, len(TIFF) - 3)},
    "cut lzw.tif": (LZW[: len(LZW) // 2], "truncated"),
    **{f"cut at {n}.gif": (GIF[:n], "truncated") for n in (5, 13, len(GIF) // 2)},
    **{f"cut at {n}.bmp": (BMP[:n], "truncated") for n in (10, 30, len(BMP) // 2)},
    "cut.ppm": (PPM[: len(PPM) // 2], "truncated"),
}

OTHER_FORMATS = {
    "page.jpg": (b"<!DOCTYPE html><html><title>404</title></html>", "web page"),
    "page in capitals.png": (b"\n <HTML><body>Sign in</body></HTML>", "web page"),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "sitemap.jpg": (b'<?xml version="1.0"?><urlset/>', "XML"),
    "document.jpg": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "archive.jpg": (zip_archive(), "ZIP"),
    "packed.jpg": (gzip.compress(JPEG, mtime=0), "gzip"),
    "text.jpg": (b"This is not a picture.\n", "text"),
    "report.jpg": (b'{"error": "rate limit"}', "text"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
    "clip.jpg": (b"\0\0\0\x20ftypisom" + bytes(64), "video"),
    "phone clip.jpg": (b"\0\0\0\x14ftypqt  " + bytes(64), "video"),
    "matroska.jpg": (b"\x1a\x45\xdf\xa3" + bytes(64), "video"),
    "avi.jpg": (b"RIFF\x40\0\0\0AVI LIST" + bytes(64), "video"),
    "light.jpg": (b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(64), "OpenEXR"),
    "jxl.jpg": (b"\xff\x0a" + bytes(64), "JPEG XL"),
    "jxl in a box.jpg": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64), "JPEG XL"),
    "jp2.jpg": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64), "JPEG 2000"),
    "layers.jpg": (b"8BPS\0\1" + bytes(64), "Photoshop"),
    "canon.jpg": (b"II*\0\x10\0\0\0CR\x02\0" + bytes(64), "RAW"),
    "fuji.jpg": (b"FUJIFILMCCD-RAW 0201" + bytes(64), "RAW"),
    "sound.jpg": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(28), "truncated, damaged"),
    "program.jpg": (b"\x7fELF\2\1\1" + bytes(64), "is not a picture"),
    "icon.png": (b"\0\0\1\0\1\0\x10\x10" + bytes(64), "is not a picture"),
}

DAMAGED = {
    "empty.jpg": (b"", "empty"),
    "empty.png": (b"", "empty"),
    "one byte.jpg": (b"\xff", "truncated, damaged"),
    "zeros.jpg": (bytes(5000), "truncated, damaged"),
    "noise.jpg": (np.random.default_rng(0).bytes(5000), "is not a picture"),
    "bomb.png": (bomb(60_000, 60_000), "60000 × 60000 pixels"),
    "larger bomb.png": (bomb(2**31 - 1, 2**31 - 1), "pixels"),
    "bomb named.jpg": (bomb(30_000, 30_000), "30000 × 30000 pixels"),
    "hollow.png": (bomb(500, 500), ""),
    "no size.png": (bomb(0, 10), ""),
    "wrong crc.png": (with_inverted_byte(PNG, 29), ""),
    "wrong crc of pixels.png": (with_inverted_byte(PNG, 100), ""),
    "jpeg without pixels.jpg": (JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9", ""),
    "bright.tif": (encode_picture(Image.fromarray(FLOATS * 300), "TIFF"), "outside 0 to 1"),
    "below zero.tif": (encode_picture(Image.fromarray(FLOATS - 1), "TIFF"), "outside 0 to 1"),
    "not a number.tif": (encode_picture(Image.fromarray(FLOATS * np.nan), "TIFF"), "outside 0 to 1"),
    "directory far away.tif": (b"II*\0\xf0\xff\xff\x7f" + TIFF[8:], ""),
    "sub/bad\nname.jpg": (b"nonsense", "text"),
    "写真.jpg": (b"", "empty"),
    os.fsdecode(b"bad caf\xe9.jpg"): (b"", "empty"),
    "y" * 240 + ".jpg": (b"", "empty"),
    "-bad.jpg": (b"", "empty"),
}

BAD: Mapping[str, tuple[bytes, str]] = {**CUT, **OTHER_FORMATS, **DAMAGED}
BROKEN_LINK = "leads nowhere.jpg"  # one more bad file: a link to nothing

SKIPPED: Mapping[str, bytes] = {
    ".DS_Store": b"\0\0\0\1Bud1",
    "._a.jpg": b"\0\5\x16\7" + bytes(70),
    ".hidden.jpg": JPEG,
    ".thumbs/a.jpg": JPEG,
    "Thumbs.db": b"\xd0\xcf\x11\xe0",
    "desktop.ini": b"[x]",
    "notes.txt": b"text",
    "a.xmp": b"<x/>",
    "README": b"text",
    "clip.mp4": b"\0\0\0\x20ftypisom" + bytes(64),
    "a.jpg.json": b"{}",
    "empty": b"",
    "a.jpg~": JPEG,
    "a.jpg.part": JPEG,
}


def fill_folder(folder: Path) -> None:
    """Fill a folder with GOOD, BAD, BROKEN_LINK and SKIPPED, and with pipes, sockets and links that lead in circles."""
    for name, data in {**GOOD, **{name: data for name, (data, _) in BAD.items()}, **SKIPPED}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "nothing in it.jpg").mkdir()
    (folder / BROKEN_LINK).symlink_to("is not here.jpg")
    (folder / "round.jpg").symlink_to("round.jpg")
    (folder / "there.jpg").symlink_to("back.jpg")
    (folder / "back.jpg").symlink_to("there.jpg")
    (folder / "sub/up").symlink_to(folder, target_is_directory=True)
    (folder / "sub/up.jpg").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as end:
        here = Path.cwd()
        os.chdir(folder)  # the path of a socket is limited to about a hundred bytes
        try:
            end.bind("socket.jpg")
        finally:
            os.chdir(here)
