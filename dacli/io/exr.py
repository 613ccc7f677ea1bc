"""OpenEXR pictures: the layer with colors, brought from scene-linear light to sRGB."""

import io
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io import light
from dacli.io.foreign_lines import listen_to, mute_prints
from dacli.io.image_errors import missing_package_error, unknown_format_error
from dacli.io.picture import OpenedPicture
from dacli.types import ImageArray

EXR_SIGNATURE = b"\x76\x2f\x31\x01"
_MAIN_LAYERS = ("", "rgba", "rgb", "beauty", "combined", "c")  # the first of these that has colors is used
_COLORS = (("R", "G", "B"), ("r", "g", "b"), ("red", "green", "blue"), ("Y",))
_DTYPES = {"HALF": np.float16, "FLOAT": np.float32, "UINT": np.uint32}
_NO_COLOR_HINT = "export R, G and B of flat pixels; dacli eval and dacli compare read depth from it"


class _Window(NamedTuple):
    """The first column and row of a rectangle, and those after its last."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top


class _Colors(NamedTuple):
    """A layer, and the names of the channels of its colors, three or one, and of its alpha, or nothing."""

    name: str
    colors: tuple[str, ...]
    alpha: str


class _Layer(NamedTuple):
    """The colors of one of the parts of a file, by its number."""

    part: int
    name: str
    colors: tuple[str, ...]
    alpha: str


def open_exr(data: bytes, name: str) -> OpenedPicture:
    """Return an OpenEXR picture of the size of its display window.

    The larger of its display and data windows counts for limits. Raises DacliError for a file without colors, and where
    the package OpenEXR is missing.
    """
    parts = _read_headers(data, name)
    channels = [[channel.name for channel in header["channels"]] for header in parts]
    found = [
        _Layer(number, *colors)
        for number, header in enumerate(parts)
        if "deep" not in str(header["type"]) and (colors := _choose_colors(channels[number])) is not None
    ]
    if not found:
        every = [each for names in channels for each in names]
        kind = "deep pixels" if "deep" in str(parts[0]["type"]) else f"no colors, only {_listed(every)}"
        raise DacliError(f"{name} holds {kind}", _NO_COLOR_HINT, "format")
    layer, header = found[0], parts[found[0].part]
    stored, shown = _window(header["dataWindow"]), _window(header["displayWindow"])
    size = max(stored.size, shown.size, key=lambda size: size[0] * size[1])
    other_parts = [str(part["name"]) for part in parts if part is not header]
    others = [*_other_layers(channels[layer.part], layer), *other_parts]
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
        raise unknown_format_error(data, name) from error


def _quietly(decode: Any) -> Any:
    """Return what `decode` returns; what OpenEXR writes to standard error does not reach the user."""
    return listen_to(decode, b"EXR_ERR")[0]


def _window(box: Any) -> _Window:
    (left, top), (right, bottom) = box
    return _Window(int(left), int(top), int(right) + 1, int(bottom) + 1)


def _choose_colors(channels: list[str]) -> _Colors | None:
    layers = [layer for name in _layer_names(channels) if (layer := _find_colors(channels, name)) is not None]
    ranks = {name: rank for rank, name in enumerate(_MAIN_LAYERS)}
    return min(layers, key=lambda layer: ranks.get(layer.name.rpartition(".")[2].lower(), len(ranks)), default=None)


def _layer_names(channels: list[str]) -> list[str]:
    return list(dict.fromkeys(channel.rpartition(".")[0] for channel in channels))


def _find_colors(channels: list[str], layer: str) -> _Colors | None:
    start = f"{layer}." if layer else ""
    for names in _COLORS:
        colors = tuple(start + name for name in names)
        if all(color in channels for color in colors):
            alpha = next((start + each for each in ("A", "a", "alpha") if start + each in channels), "")
            return _Colors(layer, colors, alpha)
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
    read = _read_later_part if layer.part else _read_first_part
    arrays = _quietly(lambda: read(data, names, str(header.get("name", ""))))
    if any(array.size != stored.size[0] * stored.size[1] for array in arrays):
        raise DacliError(f"{name} has colors of several resolutions", "export R, G and B of full size", "format")
    planes = _place(np.stack([array.reshape(stored.size[::-1]) for array in arrays], axis=2), stored, shown)
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


def _read_first_part(data: bytes, names: list[str], _: str) -> list[npt.NDArray[np.float32]]:
    """Return channels of the first part, each in one row; no others are decoded."""
    import OpenEXR

    file = OpenEXR.InputFile(io.BytesIO(data))
    kinds = [_DTYPES[str(file.header()["channels"][name].type)] for name in names]
    planes = zip(file.channels(names), kinds, strict=True)
    return [np.frombuffer(plane, kind).astype(np.float32) for plane, kind in planes]


def _read_later_part(data: bytes, names: list[str], part: str) -> list[npt.NDArray[np.float32]]:
    """Return channels of a part; all parts are decoded. Raises EOFError if it is damaged, which OpenEXR only prints."""
    import OpenEXR

    with mute_prints(), OpenEXR.File(io.BytesIO(data), separate_channels=True) as file:
        channels: dict[str, Any] = next((each.channels for each in file.parts if each.name() == part), {})
        if not all(name in channels for name in names):
            raise EOFError
        return [np.array(channels[name].pixels, np.float32) for name in names]


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
