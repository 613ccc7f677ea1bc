"""Pictures read as RGB, upright, with limits checked from their headers before they are decoded."""

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin, UnidentifiedImageError

from dacli.errors import DacliError
from dacli.io import damage, image_errors, png, tiff, tiff_pixels
from dacli.io.alpha import lay_over_white, row_ranges
from dacli.io.files import read_bytes
from dacli.paths import display_path
from dacli.types import Gray16, Image8, ImageArray

MAX_PIXELS = 200_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
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
    """Return a picture file as RGB [H, W, 3], upright, in 16 bits if the file has 16 bits and else in 8.

    Transparent pixels are laid over white. An animation gives its first frame. Floats must be within 0 to 1 and become
    16-bit. Raises DacliError for a file that is not a complete picture of at most `max_pixels`.
    """
    return decode_image(read_bytes(path), path, max_pixels)


def decode_image(data: bytes, path: Path, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return the picture of a file's bytes as read_image() does; errors name the path, which is not read."""
    name = display_path(path)
    image_errors.refuse_other_formats(data, name)
    if tiff.is_tiff(data):
        page = tiff.read_tiff_page(data, path, name)
        return _decode_checked(lambda: _decode_tiff(page, data, name), _page_size(page), data, name, max_pixels)
    image = _open_image(data, name)
    return _decode_checked(lambda: _decode_image(image, data, name), image.size, data, name, max_pixels)


def describe_left_out_pictures(data: bytes) -> str:
    """Return the note on the further pages or frames of a picture that can be decoded; "" if it has none."""
    with contextlib.suppress(Exception):
        if tiff.is_tiff(data):
            count = tiff.count_tiff_pages(data)
            return f"only the first of its {count} pages is used" if count > 1 else ""
        if data.startswith((b"GIF8", png.PNG_SIGNATURE, b"RIFF")) or data[4:12] == b"ftypavis":
            animated = getattr(Image.open(io.BytesIO(data), formats=_FORMATS), "is_animated", False)
            return "only the first frame of its animation is used" if animated else ""
    return ""


def _decode_checked(
    decode: Callable[[], ImageArray], size: tuple[int, int], data: bytes, name: str, max_pixels: int
) -> ImageArray:
    """Return what `decode` returns for a picture of a size (w, h), if that is within the limit."""
    width, height = size
    if width * height > max_pixels:
        fault = f"{width} × {height} pixels, more than the limit of {max_pixels / 1e6:g} megapixels"
        raise DacliError(f"{name} has {fault}", "make it smaller or raise --max-pixels", "too large")
    try:
        return np.ascontiguousarray(decode())
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


def _open_image(data: bytes, name: str) -> Image.Image:
    heic = data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[:64]
    if heic:
        _enable_heic(name)
    try:
        return Image.open(io.BytesIO(data), formats=(*_FORMATS, "HEIF") if heic else _FORMATS)
    except Exception as error:
        raise image_errors.unknown_format_error(data, name) from error


def _enable_heic(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        hint = "install what reads it: pip install pillow-heif"
        raise DacliError(f"{name} is a HEIC picture", hint, "format") from None
    pillow_heif.register_heif_opener()


def _page_size(page: Any) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _decode_tiff(page: Any, data: bytes, name: str) -> ImageArray:
    """Return a page, upright, by the first of OpenCV, Pillow and tifffile that reads its kind right."""
    tiff.check_tiff_is_whole(page, data)
    if tiff.reads_by_opencv(page):
        pixels = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)  # which turns it upright
        if pixels is None:
            raise ValueError("its compressed data are damaged")
        pixels = tiff_pixels.scale_samples(pixels, page, name)
        return tiff_pixels.apply_alpha(pixels[..., 2::-1], pixels[..., 3:], page)
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
    pixels = _decode_by_pillow(image, name)
    white_is_zero = page.photometric == 0 and pixels.dtype == np.uint16  # which Pillow turns in 8 bits only
    return _turn_upright(65535 - pixels if white_is_zero else pixels, _orientation(image))


def _decode_image(image: Image.Image, data: bytes, name: str) -> ImageArray:
    """Return the pixels, decoded by OpenCV, which is faster, where its pixels equal Pillow's, and else by Pillow."""
    if image.format == "PNG":
        for _ in png.read_png_chunks(data):  # which raises the error for a damaged file
            pass
    pixels = _decode_jpeg(image, data, name) if image.format in ("JPEG", "MPO") else _decode_by_opencv(image, data)
    if pixels is None:
        pixels = _decode_by_pillow(image, name)
    if image.format == "WEBP" and (fault := damage.webp_damage(data, pixels)):
        raise image_errors.damage_error(name, fault)
    has_mark = image.format != "PNG" or any(mark in data for mark in _PNG_ORIENTATION_MARKS)
    return _turn_upright(pixels, _orientation(image) if has_mark else 1)


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
    """Return RGB [H, W, 3] of a deep PNG or a plain WebP; None for a picture that has to be decoded by Pillow."""
    if image.format == "PNG" and image.mode in ("RGB", "RGBA") and data[24:25] == b"\x10":
        pixels = decode_with_opencv(data, cv2.IMREAD_UNCHANGED)
    elif image.format == "WEBP" and image.mode == "RGB" and not getattr(image, "is_animated", False):
        pixels = decode_with_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    else:
        return None
    if pixels is None or pixels.ndim != 3:
        return None
    if pixels.shape[2] == 4:
        return lay_over_white(cast(ImageArray, cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)))
    return cast(ImageArray, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _decode_by_pillow(image: Image.Image, name: str) -> ImageArray:
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _gray16(image, name)[..., None].repeat(3, axis=2)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    width, height = image.size
    pixels: Image8 = np.empty((height, width, 3), np.uint8)
    for top, bottom in row_ranges(height, width):
        pixels[top:bottom] = lay_over_white(np.asarray(image.crop((0, top, width, bottom)).convert(mode)))
    return pixels


def _gray16(image: Image.Image, name: str) -> Gray16:
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise DacliError(f"{name} holds numbers outside 0 to {top}", "convert it to 8 or 16 bits", "format")
    if image.mode == "F":
        values = np.rint(values * 65535)
    deep = values.astype(np.uint16)
    if image.format == "PNG" and isinstance(key := image.info.get("transparency"), int):
        deep[deep == key] = 65535  # transparent pixels are laid over white
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
