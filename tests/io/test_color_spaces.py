"""Color profiles and HDR stills: checked by the arithmetic of the standards, and by ffmpeg's filters for clips."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageCms

from dacli.io import color_spaces, images
from dacli.video import decoding
from tests.support.footage import ffmpeg
from tests.support.pictures import encode_picture, encode_png16, png_chunk

RNG = np.random.default_rng(6)
RGB = RNG.integers(20, 230, (16, 24, 3), dtype=np.uint8)
# Primaries adapted to D50, as profiles hold them (Lindbloom), and the gamma of the curve.
ADOBE = (np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]), 2.19921875)
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def make_profile(matrix: npt.NDArray[Any], gamma: float, space: bytes = b"RGB ") -> bytes:
    """Return an ICC profile of version 2 with a matrix and a gamma (ICC.1:2001-04)."""

    def xyz(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    desc = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": desc, b"cprt": b"text\0\0\0\0test", b"wtpt": xyz((0.9642, 1, 0.8249))}
    tags |= {b"rXYZ": xyz(matrix[:, 0]), b"gXYZ": xyz(matrix[:, 1]), b"bXYZ": xyz(matrix[:, 2])}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4xI4s4s4s12x4s", start + len(body), 0x02400000, b"mntr", space, b"XYZ ", b"acsp")
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


PROFILE = make_profile(*ADOBE)


def as_srgb(pixels: npt.NDArray[Any], white: int = 255) -> npt.NDArray[Any]:
    """Return Adobe RGB as sRGB, 0 to 255, by the matrices and curves of both."""
    matrix, gamma = ADOBE
    light = np.clip((pixels / white) ** gamma @ (np.linalg.inv(SRGB) @ matrix).T, 0, 1)
    return np.asarray(255 * np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055))


def decode(data: bytes) -> npt.NDArray[Any]:
    return images.decode_image(data, Path("a.pic"))


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_a_wide_profile_is_converted(form: str, options: dict[str, bool]) -> None:
    data = encode_picture(Image.fromarray(RGB), form, icc_profile=PROFILE, **options)
    assert np.abs(decode(data) - as_srgb(RGB)).max() <= 2


def test_a_wide_profile_of_a_jpeg_and_of_16_bits() -> None:
    data = encode_picture(Image.fromarray(RGB), "JPEG", quality=95, icc_profile=PROFILE)
    with Image.open(io.BytesIO(data)) as image:
        assert np.abs(decode(data) - as_srgb(np.asarray(image))).max() <= 3
    deep = RNG.integers(8000, 60000, (16, 24, 3), dtype=np.uint16)
    file = io.BytesIO()
    tifffile.imwrite(file, deep, photometric="rgb", extratags=[(34675, 7, len(PROFILE), PROFILE, True)])
    found = decode(file.getvalue())
    assert found.dtype == np.uint8
    assert np.abs(found - as_srgb(deep, 65535)).max() <= 3


def test_alpha_stays_beside_a_profile() -> None:
    alpha = RNG.integers(0, 256, (16, 24, 1), dtype=np.uint8)
    data = encode_picture(Image.fromarray(np.concatenate([RGB, alpha], axis=2)), "PNG", icc_profile=PROFILE)
    expected = as_srgb(RGB) * (alpha / 255) + 255 - alpha
    assert np.abs(decode(data) - expected).max() <= 2


SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(
    "profile", [SRGB_PROFILE, LAB_PROFILE, PROFILE[:200], b"garbage", make_profile(*ADOBE, b"GRAY")]
)
def test_srgb_and_profiles_that_cannot_be_applied_change_nothing(profile: bytes) -> None:
    data = encode_picture(Image.fromarray(RGB), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(decode(data), RGB)


def tags_of(transfer: str) -> str:
    return f"setparams=range=tv:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"


def tone_mapped_by_ffmpeg(folder: Path, deep: npt.NDArray[np.uint16], transfer: str) -> npt.NDArray[Any]:
    """Return RGB in BT.2020 tone-mapped by the filters that are used for clips."""
    (folder / "raw").write_bytes(deep.tobytes())
    size = f"{deep.shape[1]}x{deep.shape[0]}"
    to_yuv = "scale=out_color_matrix=bt2020:out_range=tv,format=yuv444p16le,"
    chain = f"{to_yuv}{tags_of(transfer)},{decoding._TONE_MAP.format(transfer)}"
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", size, "-i", folder / "raw")
    out = ffmpeg(*raw, "-vf", chain, "-pix_fmt", "rgb48le", "-f", "rawvideo", "-")
    return np.frombuffer(out, "<u2").reshape(deep.shape)


def hdr_png(pixels: npt.NDArray[np.uint16], transfer: int, primaries: int = 9) -> bytes:
    return encode_png16(pixels, 2, png_chunk(b"cICP", bytes((primaries, transfer, 0, 1))))


@pytest.mark.parametrize(("transfer", "name"), [(16, "smpte2084"), (18, "arib-std-b67")])
def test_hdr_stills_look_as_clips_do(tmp_path: Path, transfer: int, name: str) -> None:
    deep = RNG.integers(5000, 42000, (16, 24, 3), dtype=np.uint16)
    deep[:8] = deep[:8, :, :1]  # grays
    found = decode(hdr_png(deep, transfer)).astype(float) / 65535
    expected = tone_mapped_by_ffmpeg(tmp_path, deep, name) / 65535
    np.testing.assert_allclose(found[:8], expected[:8], atol=0.005)
    assert np.abs(found - expected).max() < 0.03
    assert np.abs(found - expected).mean() < 0.003


def nclx_box(primaries: int, transfer: int) -> bytes:
    return b"\0\0\0\x13colrnclx" + struct.pack(">HHHB", primaries, transfer, 9, 0x80)


@pytest.mark.parametrize(
    ("data", "codes"),
    [
        (b"\0\0\0\x18ftypavif" + bytes(40) + nclx_box(9, 16), (9, 16)),
        (b"\0\0\0\x18ftypheic" + bytes(40) + nclx_box(12, 13), (12, 13)),
        (b"\0\0\0\x18ftypheic" + bytes(40) + b"colrnclx\0", (0, 0)),
        (b"\xff\xd8\xff" + nclx_box(9, 16), (0, 0)),
        (hdr_png(np.zeros((2, 2, 3), np.uint16), 18), (9, 18)),
        (encode_png16(np.zeros((2, 2, 3), np.uint16), 2), (0, 0)),
    ],
)
def test_color_codes_are_read_where_formats_have_them(data: bytes, codes: tuple[int, int]) -> None:
    assert color_spaces.read_color_codes(data) == codes


def test_an_avif_in_pq_is_mapped(tmp_path: Path) -> None:
    ramp = f"gradients=s=64x48:c0=black:c1=white:x0=0:y0=0:x1=63:y1=0:d=0.04,format=yuv420p10le,{tags_of('smpte2084')}"
    path = tmp_path / "a.avif"
    ffmpeg("-f", "lavfi", "-i", ramp, "-frames:v", "1", "-c:v", "libsvtav1", "-still-picture", "1", path)
    assert color_spaces.read_color_codes(path.read_bytes()) == (9, 16)
    found = images.read_image(path)[24, :, 1] / 65535
    with Image.open(path) as image:
        plain = np.asarray(image.convert("RGB"))[24, :, 1] / 255
    middle = int(np.argmin(np.abs(plain - 0.5)))  # 0.5 of PQ is 92 cd/m², about the white of usual pictures
    assert 0.5 < found[middle] < 0.9
    assert (np.diff(found) >= -0.02).all()
