"""How metres were made of relative depth, as records hold it."""

import math
from typing import Any, NamedTuple

FARTHEST = 10_000.0  # metres; what is farther, as the sky, is there


class MetricFit(NamedTuple):
    """Metres are 1 / (scale · inverse depth + shift); `given` is what the user said for that."""

    scale: float
    shift: float
    given: str


def parse_metric_fit(values: Any) -> MetricFit | None:
    """Return the fit that a record holds; None for None; raise ValueError or TypeError for damaged values."""
    if values is None:
        return None
    scale, shift, given = values
    if not (math.isfinite(scale) and math.isfinite(shift) and isinstance(given, str)):
        raise ValueError(f"calibration is {values!r}")
    return MetricFit(float(scale), float(shift), given)
