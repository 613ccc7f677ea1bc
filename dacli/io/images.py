"""Pictures in: files decoded to RGB, with limits checked from their headers before they are decoded."""

import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from dacli.errors import DacliError
from dacli.io import png
from dacli.io.files import os_reason, read_bytes
from dacli.paths import display_path
from dacli.types import ImageArray

MAX_PIXELS = 200_000_000
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW_SUFFIXES = {".dng", ".nef", ".nrw", ".arw", ".sr2", ".cr2", ".pef", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".dcr"}
_DNG_VERSION, _PHOTOMETRIC, _BITS_PER_SAMPLE = 50706, 262, 258
_BAND_PIXELS = 1 << 20
_PNG_ORIENTATION = (b"eXIf", b"Raw profile type exif", b"tiff:Orientation")
_CUT_WORDS = ("truncat", "eof", "end of file", "not enough image data", "expecting to read")
_TIFF_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8)
_READABLE = "dacli reads JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and, with dacli[heic], HEIC"
_RAW = ("is a camera RAW file", "develop it to JPEG, PNG or TIFF first")
_VIDEO = ("is a video", "take its frames as pictures first")
_FOREIGN: tuple[tuple[int, bytes, tuple[str, str]], ...] = (
    (0, b"version https://git-lfs", ("is a Git LFS pointer, not the picture", "fetch it with git lfs pull")),
    (0, b"%PDF", ("is a PDF", "export its page as PNG")),
    (0, b"8BPS", ("is a Photoshop file", "save it as PNG or TIFF")),
    (0, b"\x76\x2f\x31\x01", ("is an OpenEXR file", "convert it to PNG or TIFF")),
    (0, b"\xff\x0a", ("is a JPEG XL file", "convert it to JPEG or PNG")),
    (4, b"JXL ", ("is a JPEG XL file", "convert it to JPEG or PNG")),
    (4, b"jP  ", ("is a JPEG 2000 file", "convert it to JPEG or PNG")),
    (0, b"PK\x03\x04", ("is a ZIP archive", "unpack it first")),
    (0, b"\x1f\x8b", ("is a gzip archive", "unpack it first")),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"IIU\0", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"MMOR", _RAW),
    (8, b"CR\x02", _RAW),
    (4, b"ftypcrx ", _RAW),
    (0, b"\x1a\x45\xdf\xa3", _VIDEO),
    (8, b"AVI ", _VIDEO),
    (4, b"ftypqt  ", _VIDEO),
    (4, b"ftypiso", _VIDEO),
    (4, b"ftypmp4", _VIDEO),
    (4, b"ftypM4V", _VIDEO),
)
_STARTS = (b"\xff\xd8\xff", png.PNG_SIGNATURE, b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0")

Image.MAX_IMAGE_PIXELS = None  # read() has its own limit, which is an error and not a warning
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
# OpenCV writes its own lines on stderr for a damaged file; the switch moved between 4.10 and 5
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return a picture file as RGB [H, W, 3], upright, 16-bit where the file is and else 8-bit.

    Transparency is laid over white, of an animation the first frame is taken, floats must lie in 0 to 1 and become
    16-bit. Raises DacliError for a file that is not a complete picture of at most `max_pixels`.
    """
    return decode_image(read_bytes(path), path, max_pixels)


def decode_image(data: bytes, path: Path, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Return what read() returns for a file of these bytes; the path only gives errors their name."""
    name = display_path(path)
    image = _open(data, path)
    width, height = image.size
    if width * height > max_pixels:
        size = f"{width} × {height} pixels, more than the limit of {max_pixels / 1e6:g} megapixels"
        raise DacliError(f"{name} has {size}", "make it smaller or raise --max-pixels")
    try:
        _check_whole(image, data)
        return np.ascontiguousarray(_pixels(image, data, name))
    except MemoryError:
        raise DacliError(f"not enough memory for {name} ({width} × {height} pixels)", "make it smaller") from None
    except DacliError:
        raise
    except Exception as error:
        raise _fault(data, name, error) from error


def read_depth16(path: Path) -> tuple[npt.NDArray[np.uint16], dict[str, str]]:
    """Return the values [H, W] and the text of a 16-bit gray PNG; raise DacliError for any other file."""
    data, name = read_bytes(path), display_path(path)
    text = png.read_png_text(data, name)
    width, height, bits, kind = struct.unpack_from(">IIBB", data.ljust(26, b"\0"), 16)
    if bits != 16 or kind != 0:
        form = f"{bits}-bit {'gray' if kind == 0 else 'color'}"
        raise DacliError(f"{name} is a {form} PNG", "depth comes back from the 16-bit one that --save png16 makes")
    values = _imdecode(data, cv2.IMREAD_UNCHANGED) if width * height <= 1 << 30 else None
    if values is None or values.dtype != np.uint16 or values.shape != (height, width):
        raise DacliError(f"{name} is damaged", "copy it again")
    return values.astype(np.uint16, copy=False), text


def encode_npy(array: npt.NDArray[np.float16 | np.float32]) -> bytes:
    """Return the .npy file of an array."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def encode_npy_stream(arrays: Iterator[npt.NDArray[np.float32]], count: int) -> Iterator[bytes]:
    """Yield the .npy file [N, H, W] of `count` arrays [H, W], piece by piece."""
    for number, array in enumerate(arrays):
        if number == 0:
            file = io.BytesIO()
            head = {"descr": "<f4", "fortran_order": False, "shape": (count, *array.shape)}
            np.lib.format.write_array_header_1_0(file, head)
            yield file.getvalue()
        yield array.astype("<f4", copy=False).tobytes()


def _open(data: bytes, path: Path) -> Image.Image:
    name = display_path(path)
    for offset, magic, (fault, hint) in _FOREIGN:
        if data.startswith(magic, offset):
            raise DacliError(f"{name} {fault}", hint)
    heic = data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[:64]
    if heic:
        _enable_heic(name)
    try:
        image = Image.open(io.BytesIO(data), formats=(*_FORMATS, "HEIF") if heic else _FORMATS)
    except Exception as error:
        raise _unknown(data, name) from error
    if image.format == "TIFF" and (path.suffix.lower() in _RAW_SUFFIXES or _DNG_VERSION in _tags(image)):
        raise DacliError(f"{name} {_RAW[0]}", _RAW[1])
    return image


def _enable_heic(name: str) -> None:
    try:
        import pillow_heif
    except ImportError:
        raise DacliError(f"{name} is a HEIC picture", "install what reads it: pip install 'dacli[heic]'") from None
    pillow_heif.register_heif_opener()


def _tags(image: Image.Image) -> Mapping[int, Any]:
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _check_whole(image: Image.Image, data: bytes) -> None:
    if image.format == "PNG":
        for _ in png.read_png_chunks(data):
            pass
    if image.format == "TIFF" and data[2:4] in (b"*\0", b"\0*"):
        _check_directory(data, "<" if data[:2] == b"II" else ">")


def _check_directory(data: bytes, order: str) -> None:
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        struct.unpack_from(f"{order}I", data, start + 2 + 12 * count)
        for index in range(count):
            _, kind, number, offset = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * index)
            size = number * (_TIFF_SIZES[kind] if kind < len(_TIFF_SIZES) else 1)
            if size > 4 and offset + size > len(data):
                raise EOFError
    except struct.error:
        raise EOFError from None


def _pixels(image: Image.Image, data: bytes, name: str) -> ImageArray:
    pixels = _opencv_pixels(image, data)
    if pixels is None:
        pixels = _pillow_pixels(image, name)
        return _upright(pixels, _orientation(image))
    marked = image.format != "PNG" or any(mark in data for mark in _PNG_ORIENTATION)
    turned = image.format == "TIFF" or not marked
    return _upright(pixels, 1 if turned else _orientation(image))


def _opencv_pixels(image: Image.Image, data: bytes) -> ImageArray | None:
    bits = data[24:25] == b"\x10" if image.format == "PNG" else 16 in tuple(_tags(image).get(_BITS_PER_SAMPLE, ()))
    if bits and image.mode in ("RGB", "RGBA"):
        pixels = _imdecode(data, cv2.IMREAD_UNCHANGED)  # turns TIFF upright, not PNG
    elif _plain(image, data):
        pixels = _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    else:
        return None
    if pixels is None or pixels.ndim != 3:
        return None
    if pixels.shape[2] == 4:
        return _on_white(cast(ImageArray, cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA)))
    return cast(ImageArray, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _plain(image: Image.Image, data: bytes) -> bool:
    if image.format == "WEBP":
        return image.mode == "RGB" and not getattr(image, "is_animated", False)
    whole = data[-64:].rstrip(b"\0").endswith(b"\xff\xd9")
    return image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and whole


def _imdecode(data: bytes, flags: int) -> ImageArray | None:
    try:
        return cast("ImageArray | None", cv2.imdecode(np.frombuffer(data, np.uint8), flags))
    except cv2.error:
        return None


def _pillow_pixels(image: Image.Image, name: str) -> ImageArray:
    image.load()
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_gray(image, name)[..., None].repeat(3, axis=2)
    mode = "RGBA" if image.has_transparency_data else "RGB"
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top, bottom in _bands(height, width):
        pixels[top:bottom] = _on_white(np.asarray(image.crop((0, top, width, bottom)).convert(mode)))
    return pixels


def _deep_gray(image: Image.Image, name: str) -> npt.NDArray[np.uint16]:
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= top):
        raise DacliError(f"{name} holds numbers outside 0 to {top}", "convert it to 8 or 16 bits")
    if image.mode == "F":
        values = np.rint(values * 65535)
    return 65535 - values.astype(np.uint16) if _tags(image).get(_PHOTOMETRIC) == 0 else values.astype(np.uint16)


def _on_white(pixels: ImageArray) -> ImageArray:
    if pixels.shape[2] == 3:
        return pixels
    white = int(np.iinfo(pixels.dtype).max)
    rgb = np.ascontiguousarray(pixels[..., :3])
    for top, bottom in _bands(*pixels.shape[:2]):
        alpha = pixels[top:bottom, :, 3:].astype(np.uint32)
        rgb[top:bottom] = (rgb[top:bottom] * alpha + white * (white - alpha) + white // 2) // white
    return rgb


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    rows = max(1, _BAND_PIXELS // width)
    return ((top, min(top + rows, height)) for top in range(0, height, rows))


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF says nothing, and Pillow raises what it happens to meet
        return 1
    return turn if turn in range(1, 9) else 1


def _upright(pixels: ImageArray, orientation: int) -> ImageArray:
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _unknown(data: bytes, name: str) -> DacliError:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return DacliError(f"{name} is a web page, not a picture", "download the picture itself again")
    if head.startswith((b"<svg", b"<?xml")):
        return DacliError(f"{name} is SVG or XML, not pixels", "export it as PNG")
    if any(data[: len(start)] == start[: len(data)] for start in _STARTS):
        return DacliError(
            f"{name} is truncated, damaged or of a rare kind ({len(data)} bytes)", "copy or export it again"
        )
    if head and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        return DacliError(f"{name} holds text, not a picture", _READABLE)
    return DacliError(f"{name} is not a picture of a known kind", _READABLE)


def _fault(data: bytes, name: str, error: Exception) -> DacliError:
    cause = os_reason(error)
    riff_cut = data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 > len(data)
    if riff_cut or isinstance(error, EOFError) or any(word in cause.lower() for word in _CUT_WORDS):
        return DacliError(f"{name} is truncated ({len(data)} bytes)", "copy it again")
    return DacliError(f"{name} cannot be decoded ({cause})", "copy it again, or save it again with another program")
