"""DPX pictures (SMPTE ST 268), decoded by ffmpeg; film densities become sRGB."""

import struct
import subprocess
from functools import partial
from typing import NamedTuple

import numpy as np

from dacli.errors import DacliError
from dacli.io import light
from dacli.io.image_errors import decoding_error
from dacli.io.picture import OpenedPicture
from dacli.types import ImageArray

DPX_SIGNATURES = (b"SDPX", b"XPDS")  # big-endian, little-endian
_WITH_ALPHA = (51, 52)  # descriptors
_FILM_TRANSFERS = (1, 3)  # printing density, logarithmic
_SECONDS = 60.0  # for one picture


class _Header(NamedTuple):
    """What a DPX header says of its first element; its samples take at least `needed` bytes of the file."""

    size: tuple[int, int]
    has_alpha: bool
    transfer: int
    bits: int
    needed: int


def open_dpx(data: bytes, name: str) -> OpenedPicture:
    """Return a DPX picture; raise DacliError for a truncated one."""
    try:
        header = _read_header(data)
    except struct.error as error:
        raise decoding_error(data, name, EOFError()) from error
    if header.needed > len(data):
        raise decoding_error(data, name, EOFError())
    return OpenedPicture(header.size, lambda: _decode(data, header, name))


def _read_header(data: bytes) -> _Header:
    unpack = partial(struct.unpack_from, ">I" if data[:4] == b"SDPX" else "<I", data)
    (width,), (height,), (offset,) = unpack(772), unpack(776), unpack(4)
    descriptor, transfer, _, bits = struct.unpack_from("4B", data, 800)
    samples = {6: 1, **dict.fromkeys(_WITH_ALPHA, 4), 50: 3}.get(descriptor, 2)
    needed = offset + width * height * samples * bits // 8
    return _Header((width, height), descriptor in _WITH_ALPHA, transfer, bits, needed)


def _decode(data: bytes, header: _Header, name: str) -> ImageArray:
    """Return RGB or RGBA [H, W]: 8 bits if the file has 8, else 16."""
    width, height = header.size
    bands = 4 if header.has_alpha else 3
    if header.bits > 16:
        floats = np.frombuffer(_run_ffmpeg(data, "gbrpf32le", width * height * 12, name), "<f4").reshape(
            3, height, width
        )
        return light.develop(np.ascontiguousarray(floats[[2, 0, 1]].transpose(1, 2, 0)))
    form, dtype = _pixel_format(header)
    pixels = np.frombuffer(_run_ffmpeg(data, form, width * height * bands * dtype.itemsize, name), dtype)
    pixels = pixels.reshape(height, width, bands)
    return _develop_film(pixels) if header.transfer in _FILM_TRANSFERS else pixels


def _pixel_format(header: _Header) -> tuple[str, np.dtype[np.uint8 | np.uint16]]:
    if header.bits == 8:
        return ("rgba" if header.has_alpha else "rgb24"), np.dtype(np.uint8)
    return ("rgba64le" if header.has_alpha else "rgb48le"), np.dtype("<u2")


def _develop_film(pixels: ImageArray) -> ImageArray:
    white = int(np.iinfo(pixels.dtype).max)
    developed = light.develop(light.decode_film(pixels[..., :3].astype(np.float32) / np.float32(white)))
    alpha = (pixels[..., 3:].astype(np.uint32) * (65535 // white)).astype(np.uint16)
    return np.concatenate([developed, alpha], axis=2)


def _run_ffmpeg(data: bytes, pixel_format: str, count: int, name: str) -> bytes:
    """Return the `count` bytes of the picture's pixels; raise ValueError, with ffmpeg's reason, for other ones."""
    import imageio_ffmpeg

    try:
        executable = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        fault = f"{name} is DPX, and ffmpeg, which reads it, was not found"
        raise DacliError(fault, "reinstall imageio-ffmpeg") from None
    strict = ["-v", "error", "-xerror", "-err_detect", "explode"]
    command = [executable, *strict, "-f", "dpx_pipe", "-i", "pipe:0", "-frames:v", "1"]
    command += ["-pix_fmt", pixel_format, "-f", "rawvideo", "pipe:1"]
    result = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, check=False)  # noqa: S603
    if len(result.stdout) != count:
        lines = result.stderr.decode("utf-8", "replace").splitlines()
        raise ValueError(lines[0].partition("] ")[2] if lines else "its pixels are damaged")
    return result.stdout
