"""The pixels of TIFF pages that Pillow and OpenCV do not decode, or not right: decoded by tifffile."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io import tiff
from dacli.io.alpha import divide_by_alpha
from dacli.types import ImageArray

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK = 0, 1, 2, 3, 5  # PhotometricInterpretation
_EXTRA_SAMPLES = 338  # tag, and two of its values
_PREMULTIPLIED, _STRAIGHT = 1, 2
_MAX_SAMPLE_VALUE = 281  # tag
_COLORS = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4}  # bands, by photometric


def decode_tiff_page(page: Any, name: str) -> ImageArray:
    """Return a page as RGB [H, W, 3] or RGBA [H, W, 4] in 8 or 16 bits, not turned upright.

    Bands after the colors are left out, but alpha. Raises DacliError for a kind that cannot be decoded, with its name.
    """
    values = _bands_last(page, name)
    if page.photometric == _PALETTE:
        return np.ascontiguousarray(page.colormap.T[values[..., 0]], np.uint16)
    samples = scale_samples(values, page, name)
    bands = 3 if _is_color_by_count(page) else _COLORS.get(int(page.photometric), 0)
    if not bands or samples.shape[2] < bands:
        raise tiff.unreadable_tiff_error(page, name)
    return join_alpha(_as_rgb(samples[..., :bands], page.photometric), samples[..., bands:], page)


def join_alpha(rgb: ImageArray, extra_bands: ImageArray, page: Any) -> ImageArray:
    """Return RGB [H, W, 3], or RGBA [H, W, 4] if one of the bands after the colors is alpha.

    The fourth band of a page that does not say what it is counts as alpha, as in Pillow.
    """
    kinds = [int(kind) for kind in page.extrasamples] if _EXTRA_SAMPLES in page.tags else []
    if not kinds and page.photometric == _RGB and extra_bands.shape[2] == 1:
        kinds = [_STRAIGHT]
    for band, kind in zip(range(extra_bands.shape[2]), kinds, strict=False):
        if kind in (_PREMULTIPLIED, _STRAIGHT):
            pixels = np.concatenate([rgb, extra_bands[..., band : band + 1]], axis=2)
            return divide_by_alpha(pixels) if kind == _PREMULTIPLIED else pixels
    return np.ascontiguousarray(rgb)


def scale_samples(values: npt.NDArray[Any], page: Any, name: str) -> ImageArray:
    """Return samples as 8 bits if the page has at most 8, else as 16 bits; floats must be within 0 to 1.

    Integers of fewer bits are scaled to that range, those of more bits must be within it. Raises DacliError for numbers
    outside.
    """
    bits = int(np.max(page.bitspersample))
    if values.dtype.kind == "f":
        _refuse_outside(values, 1, name)
        return np.rint(values.astype(np.float64) * 65535).astype(np.uint16)
    if values.dtype.kind not in "uib":
        raise tiff.unreadable_tiff_error(page, name)
    white = 255 if bits <= 8 else 65535
    _refuse_outside(values, white, name)
    top = _largest_sample(page, bits, white)
    if top == white:
        return cast("ImageArray", values.astype(np.uint8 if bits <= 8 else np.uint16, copy=False))
    scaled = np.minimum(values, top).astype(np.uint64) * white + top // 2
    return cast("ImageArray", (scaled // top).astype(np.uint8 if bits <= 8 else np.uint16))


def _largest_sample(page: Any, bits: int, white: int) -> int:
    """Return the number that means white: that of the bits, or that which the page says."""
    tag = page.tags.get(_MAX_SAMPLE_VALUE)
    said = int(np.max(tag.value)) if tag is not None else 0
    top = min((1 << bits) - 1, white)
    return said if 255 <= said < top and bits > 8 else top


def _refuse_outside(values: npt.NDArray[Any], top: int, name: str) -> None:
    if not (values.min() >= 0 and values.max() <= top):
        raise DacliError(f"{name} holds numbers outside 0 to {top}", "convert it to 8 or 16 bits", "format")


def _bands_last(page: Any, name: str) -> npt.NDArray[Any]:
    """Return all samples of a page as [H, W, bands]."""
    bits = int(np.max(page.bitspersample))
    try:
        if bits not in (1, 8, 16, 32, 64) and page.compression == 1:
            return _unpacked(page, bits)
        # In place of a part that is missing stands 0, not what the memory held before.
        values = page.asarray(out=np.zeros(page.shape, page.dtype))
    except MemoryError:
        raise
    except Exception as error:
        raise tiff.unreadable_tiff_error(page, name) from error
    if values.ndim == 2:
        return cast("npt.NDArray[Any]", values[..., None])
    return cast("npt.NDArray[Any]", np.moveaxis(values, 0, 2) if page.planarconfig == 2 else values)


def _unpacked(page: Any, bits: int) -> npt.NDArray[Any]:
    """Return [H, W, bands] of integers of 2 to 31 bits in strips without compression; each row begins with a byte."""
    if page.is_tiled or page.fillorder != 1:
        raise ValueError("values of this many bits are read from plain strips only")
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    together = page.samplesperpixel // planes
    row_bytes = (page.imagewidth * together * bits + 7) // 8
    rows = np.frombuffer(_strips(page), np.uint8)[: planes * page.imagelength * row_bytes].reshape(-1, row_bytes)
    flags = np.unpackbits(rows, axis=1)[:, : page.imagewidth * together * bits]
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint32)
    values = flags.reshape(len(rows), -1, bits) @ weights
    shape = (planes, page.imagelength, page.imagewidth, together)
    return np.moveaxis(values.reshape(shape), 0, 3).reshape(page.imagelength, page.imagewidth, -1)


def _strips(page: Any) -> bytes:
    file = page.parent.filehandle
    parts = []
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        parts.append(file.read(count))
    return b"".join(parts)


def _is_color_by_count(page: Any) -> bool:
    """Return whether a page that says gray has three bands, as some programs write color."""
    return bool(page.photometric == _BLACK_IS_ZERO and page.samplesperpixel == 3)


def _as_rgb(colors: ImageArray, photometric: int) -> ImageArray:
    white = np.iinfo(colors.dtype).max
    if photometric == _CMYK:
        ink = (white - colors).astype(np.uint64)
        return (ink[..., :3] * ink[..., 3:] // white).astype(colors.dtype)
    if photometric == _WHITE_IS_ZERO:
        colors = white - colors
    return colors if colors.shape[2] == 3 else colors.repeat(3, axis=2)
