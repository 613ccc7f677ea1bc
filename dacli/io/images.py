"""Pictures read as RGB, upright, with limits checked from their headers before they are decoded."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from dacli.errors import DacliError
from dacli.io import camera_raw, damage, dpx, exr, image_errors, jxl, pillow_formats, png, radiance, tiff, tiff_pixels
from dacli.io.alpha import row_ranges, split_alpha
from dacli.io.background import OVER_WHITE, AlphaOptions
from dacli.io.color_spaces import convert_to_srgb
from dacli.io.files import read_bytes
from dacli.io.picture import OpenedPicture, Picture
from dacli.paths import display_path
from dacli.types import Image8, ImageArray

MAX_PIXELS = 200_000_000
_PNG_ORIENTATION_MARKS = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")

PngImagePlugin.MAX_TEXT_CHUNK = 64 << 20  # bytes: color profiles and XMP of whole pictures exceed Pillow's 1 MiB
Image.MAX_IMAGE_PIXELS = None  # decode_image() checks a limit of its own, and raises an error in place of a warning
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# OpenCV prints lines of its own on stderr for a damaged file; the switch moved between 4.10 and 5.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)


def picture_fault(path: Path) -> DacliError | None:
    """Return why a path cannot be a picture, by the file's kind and first bytes; nothing is decoded."""
    try:
        image_errors.refuse_other_formats(read_bytes(path, 4096), display_path(path))
    except DacliError as error:
        return error
    return None


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return a picture file as RGB [H, W, 3], upright sRGB, in 16 bits if the file has more than 8 and else in 8.

    Transparent pixels are laid over white. An animation gives its first frame. Floats of a TIFF must be within 0 to 1;
    those of other files are scene-linear light (dacli.io.light). Raises DacliError for a file that is not a complete
    picture of at most `max_pixels`.
    """
    return decode_image(read_bytes(path), path, max_pixels)


def decode_image(data: bytes, path: Path, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return the picture of a file's bytes as read_image() does; errors name the path, which is not read."""
    return decode_picture(data, path, max_pixels).rgb


def decode_picture(data: bytes, path: Path, max_pixels: int = MAX_PIXELS, alpha: AlphaOptions = OVER_WHITE) -> Picture:
    """Return the picture of a file's bytes as decode_image() does, with transparent pixels as the options say."""
    name = display_path(path)
    image_errors.refuse_other_formats(data, name)
    opened = _open_picture(data, path, name)
    return split_alpha(_decode_checked(opened, data, name, max_pixels), alpha)


def _open_picture(data: bytes, path: Path, name: str) -> OpenedPicture:
    """Return a picture with its header read, by what reads its kind."""
    if data.startswith(exr.EXR_SIGNATURE):
        return exr.open_exr(data, name)
    if data.startswith(dpx.DPX_SIGNATURES):
        return dpx.open_dpx(data, name)
    if data.startswith(radiance.RADIANCE_SIGNATURES):
        return radiance.open_radiance(data, name)
    if camera_raw.is_camera_raw(data, path):
        return camera_raw.open_camera_raw(data, name)
    if tiff.is_tiff(data):
        page = tiff.read_tiff_page(data, name)
        return OpenedPicture(_page_size(page), lambda: _decode_tiff(page, data, name))
    if data.startswith(jxl.JXL_STARTS):
        return OpenedPicture(_jxl_size(data, name), lambda: _decode_by_pillow_alone(data, name))
    image = pillow_formats.open_image(data, name)
    return OpenedPicture(image.size, lambda: _decode_image(image, data, name))


def _jxl_size(data: bytes, name: str) -> tuple[int, int]:
    try:
        return jxl.read_jxl_size(data)
    except EOFError as error:
        raise image_errors.unknown_format_error(data, name) from error


def _decode_by_pillow_alone(data: bytes, name: str) -> ImageArray:
    return _decode_image(pillow_formats.open_image(data, name), data, name)


def describe_left_out_pictures(data: bytes) -> str:
    """Return the note on further pages, frames or layers of a picture that can be decoded; "" if it has none."""
    with contextlib.suppress(Exception):
        if data.startswith(exr.EXR_SIGNATURE):
            return exr.open_exr(data, "").note
        if tiff.is_tiff(data):
            count = tiff.count_tiff_pages(data)
            return f"only the first of its {count} pages is used" if count > 1 else ""
        if data.startswith((b"GIF8", png.PNG_SIGNATURE, b"RIFF")) or data[4:12] == b"ftypavis":
            animated = getattr(pillow_formats.open_image(data, ""), "is_animated", False)
            return "only the first frame of its animation is used" if animated else ""
    return ""


def _decode_checked(opened: OpenedPicture, data: bytes, name: str, max_pixels: int) -> ImageArray:
    """Return the pixels of a picture, if its size is within the limit."""
    width, height = opened.size
    if width * height > max_pixels:
        fault = f"{width} × {height} pixels, more than the limit of {max_pixels / 1e6:g} megapixels"
        raise DacliError(f"{name} has {fault}", "make it smaller or raise --max-pixels", "too large")
    try:
        return np.ascontiguousarray(opened.decode())
    except MemoryError:
        fault = f"not enough memory for {name} ({width} × {height} pixels)"
        raise DacliError(fault, "make it smaller", "memory") from None
    except DacliError:
        raise
    except Exception as error:
        raise image_errors.decoding_error(data, name, error) from error


def decode_with_opencv(data: bytes, flags: int) -> npt.NDArray[Any] | None:
    """Return what OpenCV decodes from a file's bytes, with its order of channels; None if it cannot."""
    try:
        return cast("npt.NDArray[Any] | None", cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except cv2.error:
        return None


def _page_size(page: Any) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _decode_tiff(page: Any, data: bytes, name: str) -> ImageArray:
    """Return a page, upright, in sRGB."""
    return convert_to_srgb(_decode_page(page, data, name), data, tiff.profile_of_page(page))


def _decode_page(page: Any, data: bytes, name: str) -> ImageArray:
    """Return a page, upright, by the first of OpenCV, Pillow and tifffile that reads its kind right."""
    tiff.check_tiff_is_whole(page, data)
    if tiff.reads_by_opencv(page):
        pixels = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)  # which turns it upright
        if pixels is None:
            raise ValueError("its compressed data are damaged")
        pixels = tiff_pixels.scale_samples(pixels, page, name)
        return tiff_pixels.join_alpha(pixels[..., 2::-1], pixels[..., 3:], page)
    if tiff.reads_by_pillow(page) and (pixels := _decode_page_by_pillow(page, data, name)) is not None:
        return pixels
    return _turn_upright(tiff_pixels.decode_tiff_page(page, name), tiff.orientation_of_page(page))


def _decode_page_by_pillow(page: Any, data: bytes, name: str) -> ImageArray | None:
    """Return a page, upright, as Pillow reads it; None for a kind that it does not know, such as big-endian BigTIFF."""
    try:
        image = Image.open(io.BytesIO(data), formats=("TIFF",))
        image.seek(page.index)
        image.load()
    except (UnidentifiedImageError, ValueError, KeyError):
        return None
    pixels = _decode_by_pillow(image, name, has_alpha=image.has_transparency_data)
    white_is_zero = page.photometric == 0 and pixels.dtype == np.uint16  # which Pillow turns in 8 bits only
    return _turn_upright(65535 - pixels if white_is_zero else pixels, _orientation(image))


def _decode_image(image: Image.Image, data: bytes, name: str) -> ImageArray:
    """Return the pixels, decoded by OpenCV, which is faster, where its pixels equal Pillow's, and else by Pillow."""
    if image.format == "PNG":
        for _ in png.read_png_chunks(data):  # which raises the error for a damaged file
            pass
    pixels = _decode_jpeg(image, data, name) if image.format in ("JPEG", "MPO") else _decode_by_opencv(image, data)
    if pixels is None:
        pixels = _decode_by_pillow(image, name, has_alpha=pillow_formats.has_alpha(image, data))
    if image.format == "WEBP" and (fault := damage.webp_damage(data, pixels)):
        raise image_errors.damage_error(name, fault)
    has_mark = image.format != "PNG" or any(mark in data for mark in _PNG_ORIENTATION_MARKS)
    upright = _turn_upright(pixels, _orientation(image) if has_mark else 1)
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P", "PA") else None
    return convert_to_srgb(upright, data, profile)


def _decode_jpeg(image: Image.Image, data: bytes, name: str) -> ImageArray | None:
    """Return RGB [H, W, 3] of a JPEG by OpenCV; None if only Pillow decodes it right, because of its colors or its end.

    Raises DacliError for damage that both decoders pass over, and what Pillow raises for a truncated file.
    """
    ends_as_it_should = data[-64:].rstrip(b"\0").endswith(damage.END_OF_IMAGE)
    if not ends_as_it_should:
        image.load()
        data = data + damage.END_OF_IMAGE
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels, fault = damage.decode_jpeg_with_report(data, lambda: decode_with_opencv(data, flags))
    if fault:
        raise image_errors.damage_error(name, fault)
    if pixels is None or image.mode not in ("RGB", "L") or not ends_as_it_should:
        return None
    return cast(ImageArray, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _decode_by_opencv(image: Image.Image, data: bytes) -> ImageArray | None:
    """Return RGB or RGBA [H, W] of a deep PNG or a plain WebP; None for a picture that has to be decoded by Pillow."""
    if image.format == "PNG" and image.mode in ("RGB", "RGBA") and data[24:25] == b"\x10":
        pixels = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
    elif image.format == "WEBP" and image.mode == "RGB" and not getattr(image, "is_animated", False):
        pixels = decode_with_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    else:
        return None
    if pixels is None or pixels.ndim != 3:
        return None
    return cast(ImageArray, cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB))


def _decode_by_pillow(image: Image.Image, name: str, *, has_alpha: bool) -> ImageArray:
    """Return RGB or RGBA [H, W] of a picture as Pillow reads it."""
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _gray16(image, name)
    mode = "RGBA" if has_alpha else "RGB"
    width, height = image.size
    pixels: Image8 = np.empty((height, width, len(mode)), np.uint8)
    for top, bottom in row_ranges(height, width):
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)).convert(mode))
    return pixels


def _gray16(image: Image.Image, name: str) -> ImageArray:
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise DacliError(f"{name} holds numbers outside 0 to {top}", "convert it to 8 or 16 bits", "format")
    if image.mode == "F":
        values = np.rint(values * 65535)
    deep = values.astype(np.uint16)[..., None].repeat(3, axis=2)
    if image.format == "PNG" and isinstance(key := image.info.get("transparency"), int):
        alpha = np.where(deep[..., :1] == key, 0, 65535).astype(np.uint16)
        return np.concatenate([deep, alpha], axis=2)
    return deep


def _orientation(image: Image.Image) -> int:
    """Return the orientation in EXIF, 1 to 8; 1 (upright) if there is none."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - Pillow raises errors of many kinds for damaged EXIF
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turn_upright(pixels: ImageArray, orientation: int) -> ImageArray:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
