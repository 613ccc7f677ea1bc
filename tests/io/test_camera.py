"""Focal lengths: by options, by EXIF as cameras and phones write it, and by nothing at all."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from dacli.errors import UsageError
from dacli.io.camera import ANY_CAMERA, CameraChoice, PinholeCamera, choose_camera, find_camera, read_exif_focal


def with_exif(path: Path, tags: dict[int, object], size: tuple[int, int] = (300, 200)) -> Path:
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = tags
    Image.new("RGB", size).save(path, exif=exif)
    return path


def camera_of(path: Path, width: int = 300, height: int = 200) -> PinholeCamera:
    return find_camera(ANY_CAMERA, width, height, read_exif_focal(path.read_bytes()))


@given(st.floats(1, 170), st.integers(1, 10_000))
def test_a_field_of_view_spans_the_width(fov: float, width: int) -> None:
    camera = find_camera(choose_camera(fov, None), width, 7, exif=2.0, network_px=3.0)
    assert math.isclose(2 * math.degrees(math.atan(width / 2 / camera.fx)), fov, rel_tol=1e-9)
    assert (camera.fy, camera.cx, camera.cy, camera.source) == (camera.fx, width / 2, 3.5, "--fov")


def test_the_user_is_asked_first_then_exif_then_the_network() -> None:
    size = (400, 300)
    assert find_camera(CameraChoice(focal_px=900), *size, 2.0, 7.0) == PinholeCamera(900, 900, 200, 150, "--focal-px")
    assert find_camera(ANY_CAMERA, *size, 2.0, 7.0) == PinholeCamera(1000, 1000, 200, 150, "EXIF")  # a diagonal of 500
    assert find_camera(ANY_CAMERA, *size, None, 7.0) == PinholeCamera(7, 7, 200, 150, "network")
    assert find_camera(ANY_CAMERA, 1000, 300).fx == pytest.approx(960.5, abs=0.1)  # 55°
    assert find_camera(ANY_CAMERA, *size).source == "assumed"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_35_mm_film_is_3_to_2_and_its_diagonal_counts(tmp_path: Path, suffix: str) -> None:
    path = with_exif(tmp_path / f"a{suffix}", {ExifTags.Base.FocalLengthIn35mmFilm: 36})
    assert camera_of(path).fx == pytest.approx(300)  # 36 mm of film across 300 pixels, seen with 36 mm
    assert camera_of(path, 200, 300).fx == pytest.approx(300)  # upright
    assert camera_of(path, 3000, 2000).source == "EXIF"


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 25.4), (3, 10), (4, 1)])
def test_a_sensor_says_its_pixels_per_unit(tmp_path: Path, unit: int, per_unit: float) -> None:
    tags: dict[int, object] = {
        ExifTags.Base.FocalLength: IFDRational(50, 1),
        ExifTags.Base.FocalPlaneXResolution: IFDRational(round(per_unit * 100), 1),  # 100 pixels a millimetre
        ExifTags.Base.FocalPlaneResolutionUnit: unit,
        ExifTags.Base.ExifImageWidth: 3000,
        ExifTags.Base.ExifImageHeight: 2000,
    }
    assert camera_of(with_exif(tmp_path / "a.jpg", tags)).fx == pytest.approx(
        500
    )  # 5000 of 3000, made 10 times smaller


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {ExifTags.Base.FocalLengthIn35mmFilm: 0},
        {ExifTags.Base.FocalLengthIn35mmFilm: 65535},
        {ExifTags.Base.FocalLength: IFDRational(50, 1)},
        {ExifTags.Base.FocalLength: IFDRational(50, 0), ExifTags.Base.FocalPlaneXResolution: IFDRational(0, 0)},
    ],
)
def test_exif_without_a_focal_length_is_as_none(tmp_path: Path, tags: dict[int, object]) -> None:
    assert camera_of(with_exif(tmp_path / "a.jpg", tags)).source == "assumed"


def test_what_is_no_picture_has_no_exif() -> None:
    assert read_exif_focal(b"\xff\xd8\xff\xe1\x00\x08Exif\0\0damaged") is None


def test_a_png_without_exif_is_not_decoded_to_find_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    decoded: list[object] = []
    monkeypatch.setattr(Image, "open", decoded.append)
    assert read_exif_focal(tmp_path / "a.png") is None
    assert not decoded
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    assert read_exif_focal(tmp_path / "a.jpg") is None
    assert len(decoded) == 1


@pytest.mark.parametrize(
    ("fov", "focal", "words"),
    [
        (180, None, "--fov 180 is not between"),
        (0, None, "--fov 0 is not"),
        (math.nan, None, "--fov nan"),
        (None, 0, "--focal-px 0 is not"),
        (None, math.inf, "--focal-px inf is not"),
        (50, 900, "contradict each other"),
    ],
)
def test_cameras_that_cannot_be(fov: float | None, focal: float | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose_camera(fov, focal)
