"""OpenEXR pictures: the layer with colors, brought from scene-linear light to sRGB."""

import io
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io import light
from dacli.io.foreign_lines import listen_to
from dacli.io.image_errors import missing_package_error
from dacli.io.picture import OpenedPicture
from dacli.types import ImageArray

EXR_SIGNATURE = b"\x76\x2f\x31\x01"
_MAIN_LAYERS = ("", "rgba", "rgb", "beauty", "combined", "c")  # the first of these that has colors is used
_COLORS = (("R", "G", "B"), ("r", "g", "b"), ("red", "green", "blue"), ("Y",))
_DTYPES = {"HALF": np.float16, "FLOAT": np.float32, "UINT": np.uint32}
_NO_COLOR_HINT = "export R, G and B; dacli eval and dacli compare read depth from it"


class _Window(NamedTuple):
    """The first column and row of a rectangle, and those after its last."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top


class _Layer(NamedTuple):
    """The names of the channels of a layer's colors, three or one, and of its alpha, or nothing."""

    name: str
    colors: tuple[str, ...]
    alpha: str


def open_exr(data: bytes, name: str) -> OpenedPicture:
    """Return an OpenEXR picture of the size of its display window.

    The larger of its display and data windows counts for limits. Raises DacliError for a file without colors in its
    first part, and where the package OpenEXR is missing.
    """
    parts = _read_headers(data, name)
    header = parts[0]
    channels = [channel.name for channel in header["channels"]]
    layer = _choose_layer(channels)
    if "deep" in str(header["type"]):
        raise DacliError(f"{name} is a deep EXR", "flatten it, and save it as a flat one", "format")
    if layer is None:
        raise DacliError(f"{name} holds no colors, only {_listed(channels)}", _NO_COLOR_HINT, "format")
    stored, shown = _window(header["dataWindow"]), _window(header["displayWindow"])
    size = max(stored.size, shown.size, key=lambda size: size[0] * size[1])
    others = [*_other_layers(channels, layer), *(str(part.get("name", "")) for part in parts[1:])]
    return OpenedPicture(size, lambda: _decode(data, layer, header, name), _describe_choice(layer, others))


def _read_headers(data: bytes, name: str) -> list[dict[str, Any]]:
    try:
        import OpenEXR
    except ImportError:
        raise missing_package_error(name, "an OpenEXR picture", "OpenEXR") from None
    try:
        parts = _quietly(lambda: OpenEXR.File(io.BytesIO(data), separate_channels=True, header_only=True)).parts
        return [part.header for part in parts]
    except Exception as error:
        fault = f"{name} is truncated, damaged or of a rare kind ({len(data)} bytes)"
        raise DacliError(fault, "copy or export it again", "damaged") from error


def _quietly(decode: Any) -> Any:
    """Return what `decode` returns; what OpenEXR writes to standard error does not reach the user."""
    return listen_to(decode, b"EXR_ERR")[0]


def _window(box: Any) -> _Window:
    (left, top), (right, bottom) = box
    return _Window(int(left), int(top), int(right) + 1, int(bottom) + 1)


def _choose_layer(channels: list[str]) -> _Layer | None:
    layers = [layer for name in _layer_names(channels) if (layer := _find_colors(channels, name)) is not None]
    ranks = {name: rank for rank, name in enumerate(_MAIN_LAYERS)}
    return min(layers, key=lambda layer: ranks.get(layer.name.rpartition(".")[2].lower(), len(ranks)), default=None)


def _layer_names(channels: list[str]) -> list[str]:
    return list(dict.fromkeys(channel.rpartition(".")[0] for channel in channels))


def _find_colors(channels: list[str], layer: str) -> _Layer | None:
    start = f"{layer}." if layer else ""
    for names in _COLORS:
        colors = tuple(start + name for name in names)
        if all(color in channels for color in colors):
            alpha = next((start + each for each in ("A", "a", "alpha") if start + each in channels), "")
            return _Layer(layer, colors, alpha)
    return None


def _other_layers(channels: list[str], layer: _Layer) -> list[str]:
    used = {*layer.colors, layer.alpha}
    return list(dict.fromkeys(each.rpartition(".")[0] or each for each in channels if each not in used))


def _describe_choice(layer: _Layer, others: list[str]) -> str:
    if not others:
        return ""
    return f"{f'layer {layer.name}' if layer.name else 'its RGB'} is used, not {_listed(others)}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _decode(data: bytes, layer: _Layer, header: dict[str, Any], name: str) -> ImageArray:
    """Return RGB or RGBA [H, W] of the display window, 16 bits; where there are no data it is black and transparent."""
    stored, shown = _window(header["dataWindow"]), _window(header["displayWindow"])
    names = [*layer.colors, *([layer.alpha] if layer.alpha else [])]
    planes = _place(_read_channels(data, names, stored, name), stored, shown)
    colors = planes[..., : len(layer.colors)]
    rgb = np.ascontiguousarray(colors if len(layer.colors) == 3 else colors.repeat(3, axis=2))
    alpha = np.clip(planes[..., -1], 0, 1) if layer.alpha else None
    if alpha is not None:
        rgb /= np.where(alpha > 0, alpha, 1)[..., None]
    if "chromaticities" in header:
        numbers = [float(number) for number in header["chromaticities"]]
        red, green, blue, white = zip(numbers[::2], numbers[1::2], strict=True)
        rgb = light.change_primaries(rgb, (red, green, blue, white))
    developed = light.develop(rgb, None if alpha is None else alpha > 0)
    if alpha is None:
        return developed
    return np.concatenate([developed, np.rint(alpha * 65535).astype(np.uint16)[..., None]], axis=2)


def _read_channels(data: bytes, names: list[str], stored: _Window, name: str) -> npt.NDArray[np.float32]:
    """Return channels of the first part as [H, W, channels]; no others are decoded."""
    import OpenEXR

    def read() -> tuple[list[bytes], list[str]]:
        file = OpenEXR.InputFile(io.BytesIO(data))
        return file.channels(names), [str(file.header()["channels"][each].type) for each in names]

    width, height = stored.size
    planes, types = _quietly(read)
    arrays = [np.frombuffer(plane, _DTYPES[kind]) for plane, kind in zip(planes, types, strict=True)]
    if any(array.size != width * height for array in arrays):
        raise DacliError(f"{name} has colors of several resolutions", "export R, G and B of full size", "format")
    return np.stack([array.reshape(height, width).astype(np.float32) for array in arrays], axis=2)


def _place(planes: npt.NDArray[np.float32], stored: _Window, shown: _Window) -> npt.NDArray[np.float32]:
    """Return [H, W, channels] of the display window, with 0 where it lies outside of the data window."""
    if stored == shown:
        return planes
    width, height = shown.size
    placed = np.zeros((height, width, planes.shape[2]), np.float32)
    left, top = max(stored.left, shown.left), max(stored.top, shown.top)
    right, bottom = min(stored.right, shown.right), min(stored.bottom, shown.bottom)
    if left < right and top < bottom:
        part = planes[top - stored.top : bottom - stored.top, left - stored.left : right - stored.left]
        placed[top - shown.top : bottom - shown.top, left - shown.left : right - shown.left] = part
    return placed
