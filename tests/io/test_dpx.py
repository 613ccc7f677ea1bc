"""DPX and Radiance pictures: written by ffmpeg and OpenCV, and compared with the pixels that were written."""

import struct
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest

from dacli.io import images
from tests.support.footage import ffmpeg
from tests.support.pictures import read_error, write_bytes

RNG = np.random.default_rng(4)
DEEP = RNG.integers(0, 65536, (14, 22, 3), dtype=np.uint16)
ALPHA = RNG.integers(0, 65536, (14, 22, 1), dtype=np.uint16)
TRANSFER = 801  # offset of the transfer characteristic


def encode_dpx(folder: Path, pixels: npt.NDArray[Any], form: str, stored: str) -> bytes:
    """Return the DPX file that ffmpeg writes of pixels in one of its formats, stored in another."""
    (folder / "raw").write_bytes(pixels.tobytes())
    size = f"{pixels.shape[1]}x{pixels.shape[0]}"
    raw = ("-f", "rawvideo", "-pix_fmt", form, "-s", size, "-i", folder / "raw", "-frames:v", "1")
    return ffmpeg(*raw, "-pix_fmt", stored, "-c:v", "dpx", "-f", "image2pipe", "-")


@pytest.mark.parametrize(
    ("stored", "bits"), [("rgb24", 8), ("gbrp10le", 10), ("gbrp10be", 10), ("gbrp12be", 12), ("rgb48le", 16)]
)
def test_all_bits_of_a_file_are_read(tmp_path: Path, stored: str, bits: int) -> None:
    found = images.read_image(write_bytes(tmp_path, "a.dpx", encode_dpx(tmp_path, DEEP, "rgb48le", stored)))
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    step = 65535 / ((1 << bits) - 1)
    np.testing.assert_allclose(found.astype(float) * (257 if bits == 8 else 1), DEEP, atol=1.6 * step)


def test_gray_and_alpha(tmp_path: Path) -> None:
    gray = encode_dpx(tmp_path, DEEP[..., 0], "gray16le", "gray16be")
    found = images.read_image(write_bytes(tmp_path, "g.dpx", gray))
    np.testing.assert_array_equal(found, DEEP[..., :1].repeat(3, axis=2))
    data = encode_dpx(tmp_path, np.concatenate([DEEP, ALPHA], axis=2), "rgba64le", "rgba64be")
    share = ALPHA / 65535
    np.testing.assert_allclose(
        images.read_image(write_bytes(tmp_path, "a.dpx", data)), DEEP * share + 65535 * (1 - share), atol=1
    )


def test_film_densities_become_srgb(tmp_path: Path) -> None:
    codes = np.array([0, 95, 445, 685, 800, 1023])  # of Cineon's 10 bits
    pixels = np.rint(codes / 1023 * 65535).astype(np.uint16)[None, :, None].repeat(3, axis=2).repeat(400, axis=1)
    data = bytearray(encode_dpx(tmp_path, pixels, "rgb48le", "rgb48be"))
    for transfer in (1, 3):  # printing density, logarithmic
        data[TRANSFER] = transfer
        found = images.read_image(write_bytes(tmp_path, "a.dpx", bytes(data)))[0, ::400, 0] / 65535
        assert found[0] == 0
        assert found[1] < 0.02
        assert 0.2 < found[2] < 0.5  # 18 % gray
        assert found[2] < found[3] < found[4] < found[5] == 1
    data[TRANSFER] = 4
    as_it_is = images.read_image(write_bytes(tmp_path, "a.dpx", bytes(data)))
    np.testing.assert_array_equal(as_it_is, pixels)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    data = encode_dpx(tmp_path, DEEP, "rgb48le", "gbrp10be")
    for length in (len(data) - 100, 1000, 40):
        assert "is truncated" in read_error(write_bytes(tmp_path, "a.dpx", data[:length]))


def test_the_size_in_the_header_is_checked_before_ffmpeg_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", None)
    data = bytearray(encode_dpx(tmp_path, DEEP, "rgb48le", "rgb24") + bytes(3000))
    path = write_bytes(tmp_path, "a.dpx", bytes(data))
    assert "more than the limit" in read_error(path, max_pixels=14 * 21)
    struct.pack_into(">2I", data, 772, 1 << 30, 1 << 30)
    assert "is truncated" in read_error(write_bytes(tmp_path, "b.dpx", b"SDPX" + bytes(data[4:])))


def test_missing_ffmpeg_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path, "a.dpx", encode_dpx(tmp_path, DEEP, "rgb48le", "rgb24"))

    def missing() -> str:
        raise RuntimeError

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    assert "is DPX, and ffmpeg, which reads it, was not found" in read_error(path)


def test_radiance_within_0_to_1_is_srgb(tmp_path: Path) -> None:
    srgb = RNG.random((30, 40, 3))
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)
    data = cv2.imencode(".hdr", linear)[1].tobytes()
    found = images.read_image(write_bytes(tmp_path, "a.hdr", data))
    np.testing.assert_allclose(found[..., ::-1] / 65535, srgb, atol=0.06)  # its 8 bits are shared by the channels
    assert read_error(write_bytes(tmp_path, "b.hdr", data[:400]))
    turned = data.replace(b"-Y 30 +X 40", b"+Y 30 +X 40")
    assert "unusual header" in read_error(write_bytes(tmp_path, "c.hdr", turned))
