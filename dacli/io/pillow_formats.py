"""Which of the kinds that Pillow reads a file may be, and the packages that some of them need."""

import importlib
import io
import struct

from PIL import Image

from dacli.errors import DacliError
from dacli.io import image_errors
from dacli.io.jxl import JXL_STARTS

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PPM", "JPEG2000", "PSD")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"
_PSD_DEPTH = 22  # offset of the bits per channel, a 16-bit number
_PSD_SECTIONS = 26  # offset of the first section
_HAS_FLAT_PICTURE = 1057  # Photoshop's resource that says so
_PSD_HINT = "save it with Maximize Compatibility, or as PNG or TIFF"


def open_image(data: bytes, name: str) -> Image.Image:
    """Return a picture that Pillow reads, of which only the header is read; raise DacliError for any other file."""
    formats: tuple[str, ...] = _FORMATS
    if data[4:8] == b"ftyp" and data[8:12] in _HEIC_BRANDS and b"avif" not in data[:64]:
        _enable("pillow_heif", "pillow-heif", f"{name}", "a HEIC picture")
        formats = ("HEIF",)
    elif data.startswith(JXL_STARTS):
        _enable("pillow_jxl", "pillow-jxl-plugin", name, "a JPEG XL picture")
        formats = ("JXL",)
    elif data.endswith(_TGA_FOOTER) or name.lower().endswith(".tga"):
        formats = ("TGA",)
    elif data.startswith(b"8BPS"):
        _check_bits(data, name)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except Exception as error:
        raise image_errors.unknown_format_error(data, name) from error
    if image.format == "PSD":
        _check_flat_picture(image, name)
    return image


def has_alpha(image: Image.Image, data: bytes) -> bool:
    """Return whether a picture has transparency; the fourth channel of a Photoshop file may be a saved selection."""
    return image.has_transparency_data and not (image.format == "PSD" and _holds_selection(data))


def _holds_selection(data: bytes) -> bool:
    """Return whether the number of layers of a Photoshop file says that its fourth channel is no transparency."""
    at = _PSD_SECTIONS
    for _ in range(2):  # the color table and the resources
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    length, count = int.from_bytes(data[at : at + 4], "big"), int.from_bytes(data[at + 8 : at + 10], "big", signed=True)
    return length > 0 and count > 0


def _enable(module: str, package: str, name: str, kind: str) -> None:
    """Import the package that adds a kind to Pillow; raise DacliError where it is missing."""
    try:
        plugin = importlib.import_module(module)
    except ImportError:
        raise image_errors.missing_package_error(name, kind, package) from None
    if module == "pillow_heif":
        plugin.register_heif_opener()


def _check_bits(data: bytes, name: str) -> None:
    bits = struct.unpack_from(">H", data.ljust(_PSD_DEPTH + 2, b"\0"), _PSD_DEPTH)[0]
    if data[4:6] == b"\0\2" or bits not in (1, 8):
        kind = "a large Photoshop file (PSB)" if data[4:6] == b"\0\2" else f"a Photoshop file of {bits} bits"
        raise DacliError(f"{name} is {kind}", "save it as PNG or TIFF", "format")


def _check_flat_picture(image: Image.Image, name: str) -> None:
    """Raise DacliError for a Photoshop file of layers only, whose flat picture is white."""
    for number, _, content in getattr(image, "resources", ()):
        if number == _HAS_FLAT_PICTURE and content[4:5] == b"\0":
            raise DacliError(f"{name} holds layers but no flat picture", _PSD_HINT, "format")
