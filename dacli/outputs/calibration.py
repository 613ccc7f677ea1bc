"""From relative depth to metres by known distances: those of the nearest and farthest point, or of one or two pixels.

Metres are 1 / (scale · inverse depth + shift); one known pixel gives the scale alone.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dacli.errors import DacliError, UsageError
from dacli.io.metric_fit import FARTHEST, MetricFit

if TYPE_CHECKING:
    from dacli.choices import Quantity
    from dacli.types import DepthArray

METRES_HINT = "give --near-far LO,HI or --calibrate X,Y=METRES, or choose --model indoor or outdoor"
_SMALLEST = 1e-6  # metres
_NEAR_FAR_HINT = "give the metres of the nearest and of the farthest point, such as 0.5,20"
_POINT_HINT = "give a pixel and its metres, such as --calibrate 320,200=2.5"


class KnownPoint(NamedTuple):
    """A pixel of the upright picture, and its depth in metres along the optical axis."""

    x: int
    y: int
    metres: float


@dataclass(frozen=True)
class Calibration:
    """The known distances: metres of the nearest and of the farthest point, or one or two points."""

    near_far: tuple[float, float] | None = None
    points: tuple[KnownPoint, ...] = ()

    @property
    def given(self) -> str:
        """Return it as the user gave it."""
        if self.near_far is not None:
            return "--near-far {:g},{:g}".format(*self.near_far)
        return " ".join(f"--calibrate {x},{y}={metres:g}" for x, y, metres in self.points)

    @property
    def farthest(self) -> float:
        """Return the largest depth in metres that it can give."""
        return FARTHEST if self.near_far is None else self.near_far[1]


def parse_calibration(near_far: str | None, points: Sequence[str]) -> Calibration | None:
    """Return what `--near-far` and `--calibrate` say, None for neither; raise UsageError for anything else."""
    if near_far is not None and points:
        raise UsageError("--near-far and --calibrate contradict each other", "give one of them")
    if near_far is not None:
        return Calibration(near_far=_parse_near_far(near_far))
    if not points:
        return None
    known = tuple(_parse_point(text) for text in points)
    if len(known) > 2 or len({(point.x, point.y) for point in known}) < len(known):
        raise UsageError(f"--calibrate is given {len(known)} times", "give one point, or two different ones")
    return Calibration(points=known)


def _parse_near_far(text: str) -> tuple[float, float]:
    values = [_parse_metres(part) for part in text.split(",")]
    if len(values) != 2 or None in values:
        raise UsageError(f"cannot read --near-far {text}", _NEAR_FAR_HINT)
    near, far = (value for value in values if value is not None)
    if near >= far:
        raise UsageError(f"--near-far {text} is the wrong way round", "the nearest point comes first")
    return near, far


def _parse_point(text: str) -> KnownPoint:
    match = re.fullmatch(r"(\d{1,6}),(\d{1,6})=(.+)", text.replace(" ", ""))
    metres = _parse_metres(match[3]) if match else None
    if match is None or metres is None:
        raise UsageError(f"cannot read --calibrate {text}", _POINT_HINT)
    return KnownPoint(int(match[1]), int(match[2]), metres)


def _parse_metres(text: str) -> float | None:
    try:
        metres = float(text)
    except ValueError:
        return None
    return metres if math.isfinite(metres) and _SMALLEST <= metres <= FARTHEST else None


def calibrate_depth(
    depth: "DepthArray", quantity: "Quantity", calibration: Calibration
) -> tuple["DepthArray", MetricFit]:
    """Return metres [H, W] of relative depth [H, W], and how they were made of inverse depth.

    Depth of no fixed scale is taken as 1 / inverse depth. Raises DacliError for a point outside of the picture, for
    points that contradict the depth, and for depth that is the same everywhere.
    """
    import numpy as np

    inverse = depth
    if quantity != "inverse depth":
        inverse = np.divide(1, np.maximum(depth, np.float32(_SMALLEST)), dtype=np.float32)
    fit = _fit_ends(inverse, calibration) if calibration.near_far else _fit_points(inverse, calibration)
    return metres_of_inverse(inverse, fit, calibration.near_far), fit


def metres_of_inverse(inverse: "DepthArray", fit: MetricFit, limits: tuple[float, float] | None = None) -> "DepthArray":
    """Return metres [H, W] of inverse depth [H, W], within limits; without them up to FARTHEST."""
    import numpy as np

    near, far = limits or (_SMALLEST, FARTHEST)
    result = inverse * np.float32(fit.scale)
    result += np.float32(fit.shift)
    np.clip(result, np.float32(1 / far), np.float32(1 / near), out=result)
    np.divide(1, result, out=result)
    return np.clip(result, np.float32(near), np.float32(far), out=result)


def fit_of_range(calibration: Calibration, low: float, high: float) -> MetricFit:
    """Return the fit by which inverse depth `high` is at the nearest metres, and `low` at the farthest."""
    near, far = calibration.near_far or (_SMALLEST, FARTHEST)
    scale = (1 / near - 1 / far) / (high - low)
    return MetricFit(scale, 1 / far - scale * low, calibration.given)


def _fit_ends(inverse: "DepthArray", calibration: Calibration) -> MetricFit:
    low, high = float(inverse.min()), float(inverse.max())
    if low == high:
        fault = f"its depth is the same everywhere, so {calibration.given} has no nearest and farthest point"
        raise DacliError(fault, "give the metres of one point: --calibrate X,Y=METRES")
    return fit_of_range(calibration, low, high)


def _fit_points(inverse: "DepthArray", calibration: Calibration) -> MetricFit:
    height, width = inverse.shape
    for x, y, metres in calibration.points:
        if x >= width or y >= height:
            fault = f"--calibrate {x},{y}={metres:g} is outside of the picture, which has {width} × {height} pixels"
            raise DacliError(fault, f"x is at most {width - 1}, y at most {height - 1}")
    values = [float(inverse[point.y, point.x]) for point in calibration.points]
    if len(values) == 1:
        if values[0] <= 0:
            raise DacliError(f"the network sees no distance at {calibration.given}", "choose a nearer point")
        return MetricFit(1 / (values[0] * calibration.points[0].metres), 0.0, calibration.given)
    return _fit_two_points(values, calibration)


def _fit_two_points(values: Sequence[float], calibration: Calibration) -> MetricFit:
    wanted = [1 / point.metres for point in calibration.points]
    difference = values[1] - values[0]
    scale = (wanted[1] - wanted[0]) / difference if difference else 0.0
    if not (scale > 0 and math.isfinite(scale)):
        order = "as far as each other" if not difference else "in the other order"
        fault = f"the network sees the two points of {calibration.given} {order}"
        raise DacliError(fault, "choose points of clearly different depth, and check their metres")
    return MetricFit(scale, wanted[0] - scale * values[0], calibration.given)
