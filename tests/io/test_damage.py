"""JPEG and WebP whose decoders pass over what is lost in them, and whole ones that only look strange."""

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from dacli.errors import DacliError
from dacli.io import foreign_lines, images
from tests.support.pictures import encode_picture

NOISE = np.random.default_rng(1).integers(0, 256, (160, 240, 3), dtype=np.uint8)
PHOTO = Image.fromarray(cv2.GaussianBlur(NOISE, (0, 0), 1.2))
END = b"\xff\xd9"
FILES = {
    "baseline": encode_picture(PHOTO, "JPEG", quality=90),
    "progressive": encode_picture(PHOTO, "JPEG", quality=90, progressive=True),
    "gray": encode_picture(PHOTO.convert("L"), "JPEG", quality=90),
    "cmyk": encode_picture(PHOTO.convert("CMYK"), "JPEG", quality=90),
    "restarts": encode_picture(PHOTO, "JPEG", quality=90, restart_marker_rows=2),
}
WEBPS = {
    "lossy": encode_picture(PHOTO, "WEBP", quality=80),
    "coarse": encode_picture(PHOTO, "WEBP", quality=20, method=0),
    "lossless": encode_picture(PHOTO, "WEBP", lossless=True),
    "clear": encode_picture(PHOTO.convert("RGBA"), "WEBP", quality=80),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "second half zero": lambda d: d[: len(d) // 2] + bytes(len(d) - len(d) // 2),
    "last fifth zero": lambda d: d[: -len(d) // 5] + bytes(len(d) // 5),
    "zeros in the middle": lambda d: d[: len(d) // 2] + bytes(2000) + d[len(d) // 2 + 2000 :],
    "zeros up to the end mark": lambda d: d[: len(d) // 2] + bytes(len(d) - len(d) // 2 - 2) + END,
}
JPEG_DAMAGES = DAMAGES | {
    "end marks in the middle": lambda d: d[: len(d) // 2] + END * 30 + d[len(d) // 2 + 60 :],
    "ends early": lambda d: d[: len(d) // 2] + END,
    "a piece is missing": lambda d: d[: len(d) // 2] + d[len(d) // 2 + 1500 :],
    "a piece is there twice": lambda d: d[: len(d) // 2] + d[len(d) // 2 - 1500 :],
    "bytes of another file": lambda d: d[: len(d) // 2] + bytes(range(256)) * 6 + d[len(d) // 2 + 1536 :],
}


@pytest.mark.parametrize("damage", JPEG_DAMAGES)
@pytest.mark.parametrize("kind", FILES)
def test_a_jpeg_of_which_a_part_is_lost_is_refused_by_name(
    kind: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(
        DacliError, match=r"photo\.jpg (is damaged, and a part of it is lost|is truncated|cannot be)"
    ) as caught:
        images.decode_image(JPEG_DAMAGES[damage](FILES[kind]), Path("photo.jpg"))
    assert caught.value.kind == "damaged"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", WEBPS)
def test_a_webp_of_which_a_part_is_lost_is_refused_by_name(kind: str, damage: str) -> None:
    with pytest.raises(DacliError, match=r"photo\.webp") as caught:
        images.decode_image(DAMAGES[damage](WEBPS[kind]), Path("photo.webp"))
    assert caught.value.kind == "damaged"


@pytest.mark.parametrize("kind", [*FILES, *WEBPS])
def test_what_only_looks_strange_is_read(kind: str) -> None:
    data = (FILES | WEBPS)[kind]
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    strange = [data, data + b"trailer" * 50]
    if kind in FILES:
        strange += [data[:-2] + bytes(3000) + END, data[:-2] + b"\0\xaa" + END, data + bytes(5000)]
    for each in strange:
        np.testing.assert_array_equal(images.decode_image(each, Path("a.jpg")), expected)


@pytest.mark.parametrize("color", [0, 128, 255])
def test_flat_pictures_whose_data_are_mostly_zeros_are_read(color: int) -> None:
    flat = Image.new("RGB", (800, 500), (color, color, 255 - color))
    drawn = flat.copy()
    drawn.paste(PHOTO, (0, 0))
    ImageDraw.Draw(drawn).text((300, 300), "a screen" * 8)
    for picture in (flat, drawn):
        options: list[tuple[str, dict[str, Any]]] = [
            ("WEBP", {"quality": q, "method": m}) for q in (20, 100) for m in (0, 2)
        ]
        for form, how in [*options, ("JPEG", {"optimize": True}), ("JPEG", {"progressive": True})]:
            data = encode_picture(picture, form, **how)
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            np.testing.assert_array_equal(images.decode_image(data, Path("a.pic")), expected)


def test_a_webp_with_zeros_in_its_exif_is_read() -> None:
    exif = Image.Exif()
    exif[0x927C] = bytes(4000)
    data = encode_picture(PHOTO, "WEBP", exif=exif)
    assert bytes(2000) in data
    assert images.decode_image(data, Path("a.webp")).shape == NOISE.shape


def test_threads_do_not_take_the_damage_of_others_for_theirs() -> None:
    good, bad = FILES["baseline"], JPEG_DAMAGES["ends early"](FILES["baseline"])
    found: list[tuple[bool, bool]] = []

    def read(data: bytes) -> None:
        for _ in range(25):
            try:
                images.decode_image(data, Path("a.jpg"))
                found.append((data is good, True))
            except DacliError:
                found.append((data is good, False))

    threads = [threading.Thread(target=read, args=(data,)) for data in (good, bad, good, bad)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert all(is_good == was_read for is_good, was_read in found)


def test_lines_of_others_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    def decode() -> int:
        os.write(2, b"a line of another library\nCorrupt JPEG data: x\n")
        return 3

    assert foreign_lines.listen_to(decode, b"JPEG") == (3, "Corrupt JPEG data: x")
    assert capfd.readouterr().err == "a line of another library\n"
