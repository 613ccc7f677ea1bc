"""The camera of a picture: its focal length and centre in pixels, as options, EXIF or a network give them."""

import contextlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from dacli.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

CameraSource = Literal["--fov", "--focal-px", "EXIF", "network", "assumed"]
ASSUMED_FOV = 55.0  # degrees across a picture of which nothing is known
_FILM_DIAGONAL = math.hypot(36, 24)  # mm, of the film that FocalLengthIn35mmFilm refers to
_EXIF_IFD = 0x8769
_PNG_EXIF_MARKS = (b"eXIf", b"Raw profile type exif")
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x920A, 0xA405
_WIDTH, _HEIGHT, _RESOLUTION, _RESOLUTION_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0}  # of FocalPlaneResolutionUnit


@dataclass(frozen=True)
class PinholeCamera:
    """A pinhole camera, in pixels of the upright picture; the centre of the first pixel is at (0.5, 0.5).

    `source` says where the focal length is from; "assumed": nothing is known of the picture.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    source: CameraSource


@dataclass(frozen=True)
class CameraChoice:
    """What the user says of the camera: the horizontal field of view in degrees, or the focal length in pixels."""

    fov: float | None = None
    focal_px: float | None = None


ANY_CAMERA = CameraChoice()


def choose_camera(fov: float | None, focal_px: float | None) -> CameraChoice:
    """Return what `--fov` and `--focal-px` say; raise UsageError for a value that no camera has, and for both."""
    if fov is not None and focal_px is not None:
        raise UsageError("--fov and --focal-px contradict each other", "give one of them")
    if fov is not None and not 0.1 <= fov <= 170:
        raise UsageError(f"--fov {fov:g} is not between 0.1 and 170 degrees", "give the horizontal field of view")
    if focal_px is not None and not 1 <= focal_px <= 1e6:
        raise UsageError(f"--focal-px {focal_px:g} is not between 1 and 1000000 pixels", "give it in pixels")
    return CameraChoice(fov, focal_px)


def find_camera(
    choice: CameraChoice, width: int, height: int, exif: float | None = None, network_px: float | None = None
) -> PinholeCamera:
    """Return the camera of a picture: by the user's choice, else by EXIF, else as a network estimates it, else assumed.

    `exif` is the focal length in diagonals of the picture, as read_exif_focal() returns it.
    """
    found: tuple[float, CameraSource]
    if choice.fov is not None:
        found = focal_of_fov(choice.fov, width), "--fov"
    elif choice.focal_px is not None:
        found = choice.focal_px, "--focal-px"
    elif exif is not None:
        found = exif * math.hypot(width, height), "EXIF"
    elif network_px is not None:
        found = network_px, "network"
    else:
        found = focal_of_fov(ASSUMED_FOV, width), "assumed"
    return PinholeCamera(found[0], found[0], width / 2, height / 2, found[1])


def focal_of_fov(degrees: float, width: int) -> float:
    """Return the focal length in pixels of a horizontal field of view."""
    return width / 2 / math.tan(math.radians(degrees) / 2)


def read_exif_focal(source: "bytes | Path | Image") -> float | None:
    """Return the focal length that EXIF gives, in diagonals of the picture; None without a usable one.

    It is FocalLengthIn35mmFilm (EXIF 3.0, 4.6.6.7.33), which refers to the diagonal of 43.3 mm, or else FocalLength
    with the size of the sensor by FocalPlaneXResolution.
    """
    from PIL import Image

    with contextlib.suppress(Exception):  # damaged EXIF makes Pillow raise anything
        if isinstance(source, Image.Image):
            return focal_of_exif(source.getexif().get_ifd(_EXIF_IFD))
        data = source.read_bytes() if isinstance(source, Path) else source
        if data.startswith(b"\x89PNG") and not any(mark in data for mark in _PNG_EXIF_MARKS):
            return None  # Pillow would decode the whole picture to look for EXIF behind it
        with Image.open(io.BytesIO(data)) as image:
            return focal_of_exif(image.getexif().get_ifd(_EXIF_IFD))
    return None


def focal_of_exif(tags: Mapping[int, Any]) -> float | None:
    """Return the focal length in diagonals of the picture by the tags of EXIF; None without a usable one."""
    if length := float(tags.get(_FOCAL_LENGTH_35MM, 0)):
        focal = length / _FILM_DIAGONAL
    else:
        pixels_per_mm = float(tags[_RESOLUTION]) / _UNIT_MM[tags.get(_RESOLUTION_UNIT, 2)]
        focal = float(tags[_FOCAL_LENGTH]) * pixels_per_mm / math.hypot(tags[_WIDTH], tags[_HEIGHT])
    return focal if 0.05 < focal < 100 else None


def parse_camera(values: Any) -> PinholeCamera | None:
    """Return the camera that a record or a journal holds; None for None; raise ValueError for damaged values."""
    if values is None:
        return None
    fx, fy, cx, cy = (float(values[name]) for name in ("fx", "fy", "cx", "cy"))
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or values["source"] not in get_args(CameraSource):
        raise ValueError(f"camera is {values!r}")
    return PinholeCamera(fx, fy, cx, cy, values["source"])
