"""Colors of pictures that are not sRGB: their ICC profile is applied, and PQ and HLG are mapped as clips are."""

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from dacli.io import light, png
from dacli.io.alpha import row_ranges
from dacli.types import Image8, ImageArray

_PQ, _HLG = 16, 18  # transfer characteristics (ITU-T H.273)
_BT2020 = 9  # color primaries
_SAME_COLOR = 3  # levels of 255 within which a profile counts as sRGB
_SEARCHED_BYTES = 1 << 16  # at the start of a HEIC or AVIF file, for the box with its color space


def convert_to_srgb(pixels: ImageArray, data: bytes, profile: bytes | None) -> ImageArray:
    """Return RGB or RGBA [H, W] in sRGB, of a file's bytes and its ICC profile.

    HDR becomes 16 bits, and pixels with a profile that is not sRGB 8 bits. A profile that cannot be read, or that is
    not of RGB, is not applied.
    """
    primaries, transfer = read_color_codes(data)
    if transfer in (_PQ, _HLG):
        return _map_hdr(pixels, primaries, transfer)
    transform = _find_transform(profile) if profile else None
    return pixels if transform is None else _apply_transform(pixels, transform)


def read_color_codes(data: bytes) -> tuple[int, int]:
    """Return the color primaries and the transfer characteristics that a PNG, HEIC or AVIF file states, or 0, 0."""
    if data.startswith(png.PNG_SIGNATURE):
        head = data[:_SEARCHED_BYTES].partition(b"IDAT")[0]
        at = head.find(b"\0\0\0\x04cICP")
        return (head[at + 8], head[at + 9]) if 0 <= at <= len(head) - 12 else (0, 0)
    if data[4:8] == b"ftyp":
        at = data.find(b"colrnclx", 0, _SEARCHED_BYTES)
        return struct.unpack_from(">HH", data, at + 8) if 0 <= at <= len(data) - 12 else (0, 0)
    return 0, 0


def _map_hdr(pixels: ImageArray, primaries: int, transfer: int) -> ImageArray:
    """Return an HDR picture for usual screens, 16 bits."""
    white = int(np.iinfo(pixels.dtype).max)
    mapped = np.empty(pixels.shape, np.uint16)
    mapped[..., 3:] = pixels[..., 3:].astype(np.uint32) * (65535 // white)
    decode = light.decode_pq if transfer == _PQ else light.decode_hlg
    for top, bottom in row_ranges(*pixels.shape[:2]):
        shine = decode(pixels[top:bottom, :, :3].astype(np.float32) / np.float32(white))
        if primaries == _BT2020:
            shine = np.maximum(light.change_primaries(shine, light.BT2020), 0)
        mapped[top:bottom, :, :3] = light.encode_bt1886(light.compress_hdr(shine))
    return mapped


@lru_cache(maxsize=16)
def _find_transform(profile: bytes) -> Any:
    """Return Pillow's transform from a profile to sRGB; None if none is needed, or none is possible."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    difference = np.abs(_transformed(colors, transform).astype(int) - colors)
    return None if difference.max() <= _SAME_COLOR else transform


def _apply_transform(pixels: ImageArray, transform: Any) -> ImageArray:
    deep = pixels.dtype == np.uint16
    converted = np.empty(pixels.shape, np.uint8)
    for top, bottom in row_ranges(*pixels.shape[:2]):
        band = ((pixels[top:bottom].astype(np.uint32) + 128) // 257).astype(np.uint8) if deep else pixels[top:bottom]
        converted[top:bottom] = band
        converted[top:bottom, :, :3] = _transformed(np.ascontiguousarray(band[..., :3], np.uint8), transform)
    return converted


def _transformed(colors: Image8, transform: Any) -> Image8:
    return np.asarray(ImageCms.applyTransform(Image.fromarray(colors), transform), np.uint8)
