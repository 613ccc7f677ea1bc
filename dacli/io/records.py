"""The record in every output of depth: what its values mean, how to decode them, and what made it."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, get_args

import numpy as np

from dacli.choices import Near, Quantity
from dacli.errors import DacliError
from dacli.io.camera import PinholeCamera, parse_camera
from dacli.io.metric_fit import MetricFit, parse_metric_fit
from dacli.io.names import RECORD_KEYWORD
from dacli.io.scales import TONES, DepthScale, from_tones
from dacli.types import DepthArray, Gray16

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Record:
    """What the values of a picture of depth mean, and what made them.

    `black` and `white` are the depths at 0 and at the largest value, `low` and `high` the range, in the unit of
    `quantity`. `unit` is "millimetres" if the values are lengths, TONES if they are bent tones, and else "steps".
    Sizes are (height, width). `pre` and `post` are the filters that picture and depth have passed, `ensemble` what was
    averaged; `camera` is that of the source, and `calibration` how its metres were made of relative depth; None if they
    were not.
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
    pre: str = ""
    post: str = ""
    ensemble: str = ""
    camera: PinholeCamera | None = None
    calibration: MetricFit | None = None

    @property
    def scale(self) -> DepthScale:
        """Return the scale that turns 16-bit values into depth."""
        return DepthScale(self.black, self.white, self.near, self.unit)

    def decode(self, values: Gray16) -> DepthArray:
        """Return the depth [H, W] of 16-bit values [H, W]."""
        depth = self.scale.decode(values)
        return from_tones(depth) if self.unit == TONES else depth

    def text(self) -> dict[str, str]:
        """Return the record as text of a PNG: ASCII JSON under one keyword, with every float exact."""
        return {RECORD_KEYWORD: json.dumps(asdict(self), allow_nan=False)}


def decode_depth(values: Gray16, text: Mapping[str, str], name: str) -> tuple[DepthArray, Record]:
    """Return the depths [H, W] of 16-bit values [H, W], and their record from the text of the file.

    Raises DacliError, with the file's name, if the text has no record or a damaged one.
    """
    if RECORD_KEYWORD not in text:
        raise DacliError(f"{name} does not say what its values mean", "decode takes the 16-bit files that dacli wrote")
    record = parse_record(text[RECORD_KEYWORD], name)
    return record.decode(values), record


def parse_record(text: str, name: str) -> Record:
    """Return the record in a JSON text; raise DacliError, with the file's name, for a damaged one."""
    try:
        values = json.loads(text)
        names = [each.name for each in fields(Record) if each.name in values or each.default is MISSING]
        return _checked_record({name: values[name] for name in names})
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        reason = f"is damaged ({error})"
    except KeyError as error:
        reason = f"lacks {error}"
    raise DacliError(f"the record of depth in {name} {reason}", "make the picture again with dacli")


def _checked_record(values: dict[str, Any]) -> Record:
    """Return the record with these values by field; raise ValueError or TypeError if a value is not valid."""
    for key in ("black", "white", "low", "high"):
        if type(values[key]) not in (int, float) or not abs(values[key]) <= _LARGEST:
            raise ValueError(f"{key} is {values[key]!r}")
        values[key] = float(values[key])
    for key in ("network_size", "source_size"):
        height, width = values[key]
        values[key] = (int(height), int(width))
    for key, known in (("near", ("white", "black")), ("quantity", get_args(Quantity))):
        if values[key] not in known:
            raise ValueError(f"{key} is {values[key]!r}")
    for key in ("unit", "encoder", "model", "version", "source", "settings", "pre", "post", "ensemble"):
        if not isinstance(values[key], str):
            raise TypeError(f"{key} is {values[key]!r}")
    values["camera"] = parse_camera(values.get("camera"))
    values["calibration"] = parse_metric_fit(values.get("calibration"))
    return Record(**values)
