import difflib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dacli.errors import UsageError
from dacli.io.records import _LARGEST, TOP16, _ends, _levels
from dacli.types import DepthArray, Gray8, Image8, Near, Quantity

_RANGE_HINT = "--range takes auto, LO,HI or percentiles such as p2,p98"


@dataclass(frozen=True)
class Range:
    """What `--range` asks for: bounds in the unit of the depth or in percent of its pixels, or, without them, all."""

    low: float | None = None
    high: float | None = None
    percent: bool = False


AUTO = Range()


def parse_range(text: str) -> Range:
    """Return what a `--range` text asks for; raises UsageError that names the fault."""
    parts = [part.strip().lower() for part in text.split(",")]
    if parts == ["auto"]:
        return AUTO
    percent = [part.startswith("p") for part in parts]
    if len(parts) != 2 or any(percent) != all(percent):
        raise UsageError(f"cannot read the range {text!r}", _RANGE_HINT)
    low, high = (_bound(part.removeprefix("p"), text) for part in parts)
    if low >= high:
        raise UsageError(f"the range {text!r} is empty", "the first number has to be the smaller one")
    if all(percent) and not 0 <= low < high <= 100:
        raise UsageError(f"the range {text!r} leaves 0 to 100 percent", _RANGE_HINT)
    return Range(low, high, all(percent))


def _bound(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise UsageError(f"cannot read {part!r} in the range {text!r}", _RANGE_HINT) from None
    if not abs(value) <= _LARGEST:
        raise UsageError(f"{part!r} in the range {text!r} is no usable number", _RANGE_HINT)
    return value


def limits(depth: DepthArray, spec: Range = AUTO) -> tuple[float, float]:
    """Return the lowest and highest depth to show, in the unit of the depth [H, W]; equal for a flat picture."""
    if spec.low is None or spec.high is None:
        return float(depth.min()), float(depth.max())
    if not spec.percent:
        return spec.low, spec.high
    low, high = np.percentile(depth, [spec.low, spec.high])
    return float(low), float(high)


def gray(depth: DepthArray, low: float, high: float, quantity: Quantity, near: Near = "white") -> Gray8:
    """Return 8-bit gray [H, W] of depth [H, W], linear between low and high, whose near end is white or black."""
    black, white = _ends(low, high, quantity, near)
    return _levels(depth, black, white, np.empty(depth.shape, np.uint8))


def color(depth: DepthArray, low: float, high: float, quantity: Quantity, colormap: str = "Spectral_r") -> Image8:
    """Return RGB [H, W, 3] of depth [H, W]; near has the last color of the map (red in Spectral_r).

    Raises UsageError for a colormap that Matplotlib does not have.
    """
    shades = gray(depth, low, high, quantity)
    return np.asarray(cv2.applyColorMap(shades, np.ascontiguousarray(colors(colormap).T[:, None])), np.uint8)


@lru_cache(maxsize=32)
def colors(colormap: str) -> npt.NDArray[np.uint8]:
    """Return the 256 colors of a Matplotlib colormap as [3, 256]; raises UsageError for a name it does not have."""
    import matplotlib

    if colormap not in matplotlib.colormaps:
        fold = {name.lower(): name for name in matplotlib.colormaps}
        near = difflib.get_close_matches(colormap.lower(), fold, n=1, cutoff=0.5)
        guess = f"did you mean {fold[near[0]]}? " if near else ""
        raise UsageError(f"there is no colormap {colormap!r}", f"{guess}--colormap takes the names of Matplotlib")
    rgba = matplotlib.colormaps[colormap](np.linspace(0, 1, 256))
    table: npt.NDArray[np.uint8] = np.rint(np.asarray(rgba)[:, :3].T * 255).astype(np.uint8)
    table.flags.writeable = False
    return table


def side(rgb: npt.NDArray[np.uint8 | np.uint16], colored: Image8) -> Image8:
    """Return the picture [H, W, 3] (8 or 16 bits) left of its colored depth [H, W, 3], as 8-bit [H, 2W, 3]."""
    height, width = rgb.shape[:2]
    both = np.empty((height, 2 * width, 3), np.uint8)
    both[:, width:] = colored
    if rgb.dtype == np.uint8:
        both[:, :width] = rgb
    else:
        both[:, :width] = _eight_bits()[rgb]
    return both


@lru_cache(maxsize=1)
def _eight_bits() -> npt.NDArray[np.uint8]:
    return ((np.arange(TOP16 + 1) + 128) // 257).astype(np.uint8)
