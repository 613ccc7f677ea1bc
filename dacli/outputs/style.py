"""How depth is shown: the colormap, which end of gray is near, and the range that maps to black and white."""

from dataclasses import dataclass

import numpy as np

from dacli.choices import Near
from dacli.errors import UsageError
from dacli.types import DepthArray, PixelMask

_LARGEST = float(np.finfo(np.float32).max)
_RANGE_HINT = "--range takes auto, LO,HI or percentiles such as p2,p98"


@dataclass(frozen=True)
class DepthRange:
    """The range of `--range`: bounds in the unit of the depth, or percentiles; without bounds, the whole depth."""

    low: float | None = None
    high: float | None = None
    percent: bool = False


FULL_RANGE = DepthRange()


@dataclass(frozen=True)
class DepthStyle:
    """How depth is shown: a Matplotlib colormap, which end of gray is near, what maps to black and white."""

    colormap: str = "Spectral_r"
    near: Near = "white"
    range: DepthRange = FULL_RANGE


def parse_depth_range(text: str) -> DepthRange:
    """Return the range that a `--range` text names; raise UsageError, which says what is wrong, for any other text."""
    parts = [part.strip().lower() for part in text.split(",")]
    if parts == ["auto"]:
        return FULL_RANGE
    percent = [part.startswith("p") for part in parts]
    if len(parts) != 2 or any(percent) != all(percent):
        raise UsageError(f"cannot read the range {text!r}", _RANGE_HINT)
    low, high = (_parse_bound(part.removeprefix("p"), text) for part in parts)
    if low >= high:
        raise UsageError(f"the range {text!r} is empty", "the first number has to be the smaller one")
    if all(percent) and not 0 <= low < high <= 100:
        raise UsageError(f"the range {text!r} is not within 0 to 100 percent", _RANGE_HINT)
    return DepthRange(low, high, all(percent))


def _parse_bound(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise UsageError(f"cannot read {part!r} in the range {text!r}", _RANGE_HINT) from None
    if not abs(value) <= _LARGEST:
        raise UsageError(f"{part!r} in the range {text!r} is not a usable number", _RANGE_HINT)
    return value


def depth_limits(
    depth: DepthArray, shown: DepthRange = FULL_RANGE, transparent: PixelMask | None = None
) -> tuple[float, float]:
    """Return the lowest and highest depth to show, in the unit of the depth [H, W]; equal for a flat picture.

    Depth where the picture is `transparent` does not count, unless all of it is.
    """
    if shown.low is not None and shown.high is not None and not shown.percent:
        return shown.low, shown.high
    counted = depth if transparent is None or bool(transparent.all()) else depth[~transparent]
    if shown.low is None or shown.high is None:
        return float(counted.min()), float(counted.max())
    low, high = np.percentile(counted, [shown.low, shown.high])
    return float(low), float(high)


def put_far(values: DepthArray, far: float, transparent: PixelMask | None) -> DepthArray:
    """Return values [H, W], with `far` where the picture is transparent."""
    return values if transparent is None else np.where(transparent, np.float32(far), values)
