"""The filters that `--pre` takes, one row for each, and chains of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dacli.filters.steps import describe_steps, parse_steps

if TYPE_CHECKING:
    from dacli.types import ImageArray

    ApplyToPicture = Callable[[ImageArray, float], ImageArray]


@dataclass(frozen=True)
class PictureFilter:
    """One filter of pictures before the network; a new one is one more row of PICTURE_FILTERS.

    `apply(image, amount)` returns the filtered picture of an RGB picture [H, W, 3], of its size and type. The `amount`
    is what may follow the name after a colon: its meaning, default and limits.
    """

    name: str
    summary: str
    apply: "ApplyToPicture"
    amount: str = ""
    default: float = 0
    limits: tuple[float, float] = (0, 0)


def _exposure(image: "ImageArray", amount: float) -> "ImageArray":
    from dacli.filters import pictures

    return pictures.correct_exposure(image, amount / 100)


def _white_balance(image: "ImageArray", _amount: float) -> "ImageArray":
    from dacli.filters import pictures

    return pictures.balance_white(image)


def _denoise(image: "ImageArray", amount: float) -> "ImageArray":
    from dacli.filters import pictures

    return pictures.remove_noise(image, amount)


def _contrast(image: "ImageArray", amount: float) -> "ImageArray":
    from dacli.filters import pictures

    return pictures.raise_contrast(image, amount)


PICTURE_FILTERS: Mapping[str, PictureFilter] = {
    row.name: row
    for row in (
        PictureFilter(
            name="exposure",
            summary="dark and blown pictures get a usual brightness",
            apply=_exposure,
            amount="mean brightness in percent",
            default=45,
            limits=(10, 90),
        ),
        PictureFilter(name="white-balance", summary="a cast of color goes", apply=_white_balance),
        PictureFilter(
            name="denoise",
            summary="noise goes, edges stay",
            apply=_denoise,
            amount="strength of the noise, of 255",
            default=20,
            limits=(1, 50),
        ),
        PictureFilter(
            name="contrast",
            summary="more local contrast of brightness",
            apply=_contrast,
            amount="clip limit",
            default=2,
            limits=(1, 10),
        ),
    )
}


@dataclass(frozen=True)
class PictureFilterChain:
    """Filters of a picture in the order in which they are applied, each with its amount."""

    steps: tuple[tuple[PictureFilter, float], ...] = ()

    def __str__(self) -> str:
        return describe_steps(self.steps)

    def apply(self, image: "ImageArray") -> "ImageArray":
        """Return an RGB picture [H, W, 3] after all filters."""
        for row, amount in self.steps:
            image = row.apply(image, amount)
        return image


UNFILTERED = PictureFilterChain()


def parse_picture_filters(text: str) -> PictureFilterChain:
    """Return the filters that a list such as `exposure,denoise:5` names, in its order; none for "".

    Raises UsageError for a name that is no filter, or an amount beyond its limits.
    """
    return PictureFilterChain(parse_steps(text, PICTURE_FILTERS, "--pre"))
