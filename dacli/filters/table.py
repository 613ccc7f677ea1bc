"""The filters that `--post` takes, one row for each, and chains of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dacli.choices import Quantity
from dacli.errors import UsageError
from dacli.filters.steps import describe_steps, parse_steps

if TYPE_CHECKING:
    from dacli.types import DepthArray, ImageArray

    Apply = Callable[[DepthArray, ImageArray, float], DepthArray]


@dataclass(frozen=True)
class DepthFilter:
    """One filter of depth; a new one is one more row of FILTERS.

    `apply(depth, image, amount)` returns the filtered depth [H, W], finite and in the same unit, of depth [H, W] and
    the RGB picture [H, W, 3] it was computed from. The `amount` is what may follow the name after a colon: its meaning,
    default and limits; a default of 0 stands for one that follows from the size of the picture. `keeps_unit`:
    metres stay metres. `per_picture`: it depends on the range of the whole picture, so frames of a clip would flicker.
    """

    name: str
    summary: str
    apply: "Apply"
    amount: str
    default: float
    limits: tuple[float, float]
    keeps_unit: bool = True
    per_picture: bool = False


def _guided(depth: "DepthArray", image: "ImageArray", amount: float) -> "DepthArray":
    from dacli.filters import edges

    return edges.guided_filter(depth, image, round(amount) or edges.default_radius(depth))


def _sharpen(depth: "DepthArray", image: "ImageArray", amount: float) -> "DepthArray":
    from dacli.filters import edges

    return edges.sharpen_edges(depth, image, round(amount) or edges.default_radius(depth))


def _bilateral(depth: "DepthArray", _image: "ImageArray", amount: float) -> "DepthArray":
    from dacli.filters import values

    return values.bilateral_filter(depth, round(amount))


def _median(depth: "DepthArray", _image: "ImageArray", amount: float) -> "DepthArray":
    from dacli.filters import values

    return values.median_filter(depth, round(amount))


def _clip(depth: "DepthArray", _image: "ImageArray", amount: float) -> "DepthArray":
    from dacli.filters import values

    return values.clip_outliers(depth, amount)


def _equalize(depth: "DepthArray", _image: "ImageArray", _amount: float) -> "DepthArray":
    from dacli.filters import values

    return values.equalize_depth(depth)


def _normalize(depth: "DepthArray", _image: "ImageArray", _amount: float) -> "DepthArray":
    from dacli.filters import values

    return values.stretch_to_unit(depth)


FILTERS: Mapping[str, DepthFilter] = {
    row.name: row
    for row in (
        DepthFilter(
            name="guided",
            summary="edges follow the brightness of the picture",
            apply=_guided,
            amount="radius in pixels",
            default=0,
            limits=(1, 200),
        ),
        DepthFilter(
            name="sharpen",
            summary="soft edges become steep where the picture has an edge",
            apply=_sharpen,
            amount="radius in pixels",
            default=0,
            limits=(1, 200),
        ),
        DepthFilter(
            name="bilateral",
            summary="smooth, but not across edges of depth",
            apply=_bilateral,
            amount="diameter in pixels",
            default=5,
            limits=(3, 15),
        ),
        DepthFilter(
            name="median",
            summary="single wrong pixels go",
            apply=_median,
            amount="side in pixels, 3 or 5",
            default=5,
            limits=(3, 5),
        ),
        DepthFilter(
            name="clip",
            summary="the lowest and highest depths go",
            apply=_clip,
            amount="percent of pixels at either end",
            default=1,
            limits=(0.001, 49),
            per_picture=True,
        ),
        DepthFilter(
            name="equalize",
            summary="depths spread evenly over the range",
            apply=_equalize,
            amount="",
            default=0,
            limits=(0, 0),
            keeps_unit=False,
            per_picture=True,
        ),
        DepthFilter(
            name="normalize",
            summary="from 0 to 1",
            apply=_normalize,
            amount="",
            default=0,
            limits=(0, 0),
            keeps_unit=False,
            per_picture=True,
        ),
    )
}


@dataclass(frozen=True)
class FilterChain:
    """Filters in the order in which they are applied, each with its amount."""

    steps: tuple[tuple[DepthFilter, float], ...] = ()

    def __str__(self) -> str:
        return describe_steps(self.steps)

    def apply(self, depth: "DepthArray", image: "ImageArray") -> "DepthArray":
        """Return depth [H, W] after all filters; `image` is the RGB picture [H, W, 3] it was computed from."""
        for row, amount in self.steps:
            depth = row.apply(depth, image, amount)
        return depth

    def check_quantity(self, quantity: Quantity) -> None:
        """Raise UsageError for a filter after which metres would be metres no more."""
        for row, _ in self.steps:
            if quantity == "metres" and not row.keeps_unit:
                raise UsageError(f"--post {row.name} would turn metres into other numbers", "use a relative model")

    def check_clips(self) -> None:
        """Raise UsageError for a filter that would make the frames of a clip flicker."""
        for row, _ in self.steps:
            if row.per_picture:
                fault = f"--post {row.name} depends on the range of each frame, so a clip would flicker"
                raise UsageError(fault, "leave it out for clips: --steady gives them one range")


NO_FILTERS = FilterChain()


def parse_filters(text: str) -> FilterChain:
    """Return the filters that a list such as `sharpen,median:3` names, in its order; none for "".

    Raises UsageError for a name that is no filter, or an amount beyond its limits.
    """
    return FilterChain(parse_steps(text, FILTERS, "--post"))
