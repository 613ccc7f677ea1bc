"""Picture files of rarer kinds: OpenEXR, Photoshop and RAW files of cameras, made byte by byte or by their packages."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import tifffile

TO_SRGB_CAMERA = np.linalg.inv([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def encode_exr(channels: dict[str, npt.NDArray[Any]], **header: Any) -> bytes:
    file = io.BytesIO()
    OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, channels).write(file)
    return file.getvalue()


def rgb_channels(pixels: npt.NDArray[Any], start: str = "") -> dict[str, npt.NDArray[Any]]:
    return {
        start + name: np.ascontiguousarray(pixels[..., band]) for band, name in enumerate("RGBA"[: pixels.shape[2]])
    }


def make_psd(
    pixels: npt.NDArray[np.uint8], *, bits: int = 8, version: int = 1, flat: bool = True, layers: int | None = None
) -> bytes:
    """Return a Photoshop file with a flat picture of RGB or RGBA (Adobe Photoshop File Formats Specification)."""
    height, width, bands = pixels.shape
    head = struct.pack(">4sH6xHIIHH", b"8BPS", version, bands, height, width, bits, 3)
    content = struct.pack(">IB", 1, flat) + bytes(3)
    resource = b"8BIM" + struct.pack(">HHI", 1057, 0, len(content)) + content
    resources = struct.pack(">I", len(resource)) + resource
    layer_info = b"" if layers is None else struct.pack(">Ih", 2, layers) + bytes(2)
    sections = bytes(4) + resources + struct.pack(">I", len(layer_info)) + layer_info
    return head + sections + bytes(2) + np.moveaxis(pixels, 2, 0).tobytes()


def make_dng(orientation: int = 1) -> bytes:
    """Return a RAW file of a camera whose colors are those of sRGB: dark orange, with a white corner (DNG 1.4)."""
    mosaic = np.zeros((48, 64), np.uint16)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = 1000, 600, 600, 200
    mosaic[:16, :16] = 4095

    def rationals(values: npt.NDArray[Any]) -> tuple[int, ...]:
        return tuple(number for value in values.ravel() for number in (round(value * 10000), 10000))

    tags = [
        (274, 3, 1, orientation, True),
        (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes((0, 1, 1, 2)), True),
        (50706, 1, 4, bytes((1, 4, 0, 0)), True),
        (50708, 2, 0, "Test", True),
        (50717, 4, 1, 4095, True),
        (50721, 10, 9, rationals(TO_SRGB_CAMERA), True),
        (50728, 5, 3, rationals(np.ones(3)), True),
        (50778, 3, 1, 21, True),
    ]
    file = io.BytesIO()
    tifffile.imwrite(file, mosaic, photometric=32803, extratags=tags, metadata=None)
    return file.getvalue()
