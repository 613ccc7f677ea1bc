"""The record that every output carries: what its values mean, how they lead back to depth, and what made them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from dacli.choices import Near, Quantity
from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.types import DepthArray, Gray16

_Level = TypeVar("_Level", np.uint8, np.uint16)
TOP16 = 65535
TONES = "tones"  # the unit of 16-bit values that untone() leads back to depth
LINEAR_SHARE = 0.9  # share of tones that are linear in depth, in their middle
BENT_SHARE = (1 - LINEAR_SHARE) / 2  # for depth beyond 0 … 1, at either end
_BAND_PIXELS = 1 << 17
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class DepthScale:
    """The depths that the 16-bit values 0 (black) and 65535 (white) stand for; what lies between is linear."""

    black: float
    white: float
    near: Near = "white"
    unit: str = "steps"

    def encode(self, depth: DepthArray) -> Gray16:
        """Return the nearest 16-bit values [H, W] to the depths [H, W]; depths outside the scale are clipped."""
        return quantize_depth(depth, self.black, self.white, np.empty(depth.shape, np.uint16))

    def decode(self, values: Gray16) -> DepthArray:
        """Return the depths [H, W] that 16-bit values [H, W] stand for, exact to half a step."""
        depth = np.empty(values.shape, np.float32)
        for rows in _bands(values.shape):
            depth[rows] = values[rows] / TOP16 * (self.white - self.black) + self.black
        return depth


MILLIMETRES = DepthScale(0.0, TOP16 / 1000, "black", "millimetres")


@dataclass(frozen=True)
class Record:
    """What a picture of depth says about itself: the way back to depth, and what made it.

    `black` and `white` are the depths at 0 and at the largest value, `low` and `high` the range, in the unit of
    `quantity`; `unit` is "millimetres" where a value is itself a length, TONES where it is bent, and else "steps";
    sizes are (height, width).
    """

    black: float
    white: float
    near: Near
    unit: str
    quantity: Quantity
    low: float
    high: float
    encoder: str
    model: str
    network_size: tuple[int, int]
    source_size: tuple[int, int]
    version: str
    source: str
    settings: str

    @property
    def scale(self) -> DepthScale:
        """Return the way back from 16-bit values to depth."""
        return DepthScale(self.black, self.white, self.near, self.unit)

    def floats(self, values: Gray16) -> DepthArray:
        """Return the depth [H, W] that 16-bit values [H, W] stand for."""
        depth = self.scale.decode(values)
        return from_tones(depth) if self.unit == TONES else depth

    def text(self) -> dict[str, str]:
        """Return the record as the text of a PNG: one keyword, ASCII JSON, every float exact."""
        return {RECORD_KEYWORD: json.dumps(asdict(self), allow_nan=False)}


def to_tones(depth: DepthArray, scale: float, shift: float) -> DepthArray:
    """Return tones [H, W] in 0 … 1 of depth [H, W]: 0.05 + 0.9·(scale·depth + shift), bent beyond [0.05, 0.95].

    The bend is e / (1 + e), so nothing becomes a flat patch of black or white: what is n times the range beyond it
    comes to within 0.05 / (1 + 18 n) of either end.
    """
    tones = np.empty(depth.shape, np.float32)
    flat, raw = tones.reshape(-1), depth.reshape(-1)
    for start in range(0, raw.size, _BAND_PIXELS):
        band = slice(start, start + _BAND_PIXELS)
        flat[band] = _bent(raw[band] * np.float32(scale) + np.float32(shift - 0.5))
    return tones


def _bent(around: DepthArray) -> DepthArray:
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
    """Return the scale·depth + shift [H, W] that tones [H, W] stand for; 0 and 1, which none has, count as 1e-5 off."""
    around = np.clip(tones, 1e-5, 1 - 1e-5).astype(np.float64) - 0.5
    inner = np.clip(around, -LINEAR_SHARE / 2, LINEAR_SHARE / 2)
    around -= inner
    return np.asarray(
        inner / LINEAR_SHARE + around / (LINEAR_SHARE * (1 - np.abs(around) / BENT_SHARE)) + 0.5, np.float32
    )


def choose_scale(
    low: float, high: float, quantity: Quantity, near: Near = "white", *, auto: bool = False
) -> DepthScale:
    """Return the scale of a 16-bit picture of depths from low to high.

    Metres that are not given an explicit range (`auto`) become millimetres, whatever `near` says, if they fit.
    """
    if auto and quantity == "metres" and low >= 0 and round(high * 1000) <= TOP16:
        return MILLIMETRES
    black, white = scale_ends(low, high, quantity, near)
    return DepthScale(black, white, near)


def decode_depth(values: Gray16, text: Mapping[str, str], name: str) -> tuple[DepthArray, Record]:
    """Return the depths [H, W] of a 16-bit picture [H, W] with the text of its file, and what that says.

    Raises DacliError, with the file's name, if the text has no record or a damaged one.
    """
    if RECORD_KEYWORD not in text:
        raise DacliError(f"{name} does not say what its values mean", "decode takes the 16-bit files that dacli wrote")
    record = parse_record(text[RECORD_KEYWORD], name)
    return record.floats(values), record


def parse_record(text: str, name: str) -> Record:
    """Return the record that a JSON text holds; raise DacliError, with the file's name, for a damaged one."""
    try:
        found = json.loads(text)
        return _checked({field.name: found[field.name] for field in fields(Record)})
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        reason = f"is damaged ({error})"
    except KeyError as error:
        reason = f"lacks {error}"
    raise DacliError(f"the record of depth in {name} {reason}", "make the picture again with dacli")


def _checked(found: dict[str, Any]) -> Record:
    for key in ("black", "white", "low", "high"):
        if type(found[key]) not in (int, float) or not abs(found[key]) <= _LARGEST:
            raise ValueError(f"{key} is {found[key]!r}")
        found[key] = float(found[key])
    for key in ("network_size", "source_size"):
        height, width = found[key]
        found[key] = (int(height), int(width))
    for key, known in (("near", ("white", "black")), ("quantity", get_args(Quantity))):
        if found[key] not in known:
            raise ValueError(f"{key} is {found[key]!r}")
    for key in ("unit", "encoder", "model", "version", "source", "settings"):
        if not isinstance(found[key], str):
            raise TypeError(f"{key} is {found[key]!r}")
    return Record(**found)


def scale_ends(low: float, high: float, quantity: Quantity, near: Near) -> tuple[float, float]:
    rising = (quantity == "inverse depth") == (near == "white")
    return (low, high) if rising else (high, low)


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    height, width = shape
    rows = max(1, _BAND_PIXELS // width)
    return (slice(top, top + rows) for top in range(0, height, rows))


def quantize_depth(depth: DepthArray, black: float, white: float, out: npt.NDArray[_Level]) -> npt.NDArray[_Level]:
    if black == white:
        out[...] = 0
        return out
    top = np.iinfo(out.dtype).max
    for rows in _bands(depth.shape):
        part = depth[rows].astype(np.float64)
        np.clip(part, min(black, white), max(black, white), out=part)
        part -= black
        part /= white - black
        part *= top
        out[rows] = np.rint(part, out=part)
    return out
