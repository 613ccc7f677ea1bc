"""From depth to the values of 16-bit pictures and back: linear scales, and tones that are bent at their ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dacli.choices import Near, Quantity
from dacli.types import DepthArray, Gray16

TOP16 = 65535  # the largest 16-bit value
TONES = "tones"  # the unit of 16-bit values that from_tones() turns into depth
LINEAR_SHARE = 0.9  # share of tones that are linear in depth, in their middle
BENT_SHARE = (1 - LINEAR_SHARE) / 2  # for depth beyond 0 … 1, at either end
_BAND_PIXELS = 1 << 17  # pixels that are computed at once, so that they stay in the cache
_Level = TypeVar("_Level", np.uint8, np.uint16)


@dataclass(frozen=True)
class DepthScale:
    """The depths of the 16-bit values 0 (`black`) and 65535 (`white`); between them the scale is linear."""

    black: float
    white: float
    near: Near = "white"
    unit: str = "steps"

    def encode(self, depth: DepthArray) -> Gray16:
        """Return the 16-bit values [H, W] nearest to depths [H, W]; depths outside the scale are clipped."""
        return quantize_depth(depth, self.black, self.white, np.empty(depth.shape, np.uint16))

    def decode(self, values: Gray16) -> DepthArray:
        """Return the depths [H, W] of 16-bit values [H, W], exact to half a step."""
        depth = np.empty(values.shape, np.float32)
        for rows in _row_bands(values.shape):
            depth[rows] = values[rows] / TOP16 * (self.white - self.black) + self.black
        return depth


MILLIMETRES = DepthScale(0.0, TOP16 / 1000, "black", "millimetres")
SHARES_OF_METRES = DepthScale(0.0, TOP16 / 256, "black", "1/256 m")  # as KITTI stores depth


def to_tones(depth: DepthArray, scale: float, shift: float) -> DepthArray:
    """Return the tones [H, W] in 0 … 1 of depth [H, W]: 0.05 + 0.9·(scale·depth + shift), bent beyond [0.05, 0.95].

    The bend is e / (1 + e), so that no depth becomes a flat patch of black or white: depth that lies n times the range
    outside it gets a tone within 0.05 / (1 + 18 n) of 0 or 1.
    """
    tones = np.empty(depth.shape, np.float32)
    flat, raw = tones.reshape(-1), depth.reshape(-1)
    for start in range(0, raw.size, _BAND_PIXELS):
        band = slice(start, start + _BAND_PIXELS)
        flat[band] = _bend(raw[band] * np.float32(scale) + np.float32(shift - 0.5))
    return tones


def _bend(around: DepthArray) -> DepthArray:
    """Return the tones of scaled depth that is centred at 0; changes its argument."""
    inner = np.clip(around, -0.5, 0.5)
    around -= inner
    beyond = np.abs(around)
    beyond *= LINEAR_SHARE / BENT_SHARE
    beyond += 1
    around /= beyond
    around += inner
    around *= LINEAR_SHARE
    around += 0.5
    return around


def from_tones(tones: DepthArray) -> DepthArray:
    """Return scale·depth + shift [H, W] of tones [H, W]; tones nearer than 1e-5 to 0 or 1 count as that near."""
    around = np.clip(tones, 1e-5, 1 - 1e-5).astype(np.float64) - 0.5
    inner = np.clip(around, -LINEAR_SHARE / 2, LINEAR_SHARE / 2)
    around -= inner
    return np.asarray(
        inner / LINEAR_SHARE + around / (LINEAR_SHARE * (1 - np.abs(around) / BENT_SHARE)) + 0.5, np.float32
    )


def metric_scale(farthest: float | None) -> DepthScale:
    """Return the one scale of all 16-bit outputs of a run whose depth is at most `farthest` metres (None: unknown).

    Near is dark. Values are millimetres if `farthest` fits, which is 65.5 m, and else 1/256 m, up to 256 m; what is
    farther is white.
    """
    return MILLIMETRES if farthest is not None and round(farthest * 1000) <= TOP16 else SHARES_OF_METRES


def choose_scale(low: float, high: float, quantity: Quantity, near: Near = "white") -> DepthScale:
    """Return the scale of a 16-bit picture of depths from low to high, with near depth white or black."""
    black, white = scale_ends(low, high, quantity, near)
    return DepthScale(black, white, near)


def scale_ends(low: float, high: float, quantity: Quantity, near: Near) -> tuple[float, float]:
    """Return the depths that are drawn black and white, for a range of depths and the tone of its near end."""
    rising = (quantity == "inverse depth") == (near == "white")
    return (low, high) if rising else (high, low)


def _row_bands(shape: tuple[int, ...]) -> Iterator[slice]:
    height, width = shape
    rows = max(1, _BAND_PIXELS // width)
    return (slice(top, top + rows) for top in range(0, height, rows))


def quantize_depth(depth: DepthArray, black: float, white: float, out: npt.NDArray[_Level]) -> npt.NDArray[_Level]:
    """Write depth [H, W] into `out` as its nearest integers: 0 at `black`, the largest value at `white`; return it."""
    if black == white:
        out[...] = 0
        return out
    top = np.iinfo(out.dtype).max
    for rows in _row_bands(depth.shape):
        part = depth[rows].astype(np.float64)
        np.clip(part, min(black, white), max(black, white), out=part)
        part -= black
        part /= white - black
        part *= top
        out[rows] = np.rint(part, out=part)
    return out
