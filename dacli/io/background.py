"""What is done with transparent pixels; loads neither NumPy nor Pillow before it needs them."""

import contextlib
from dataclasses import dataclass

from dacli.errors import UsageError

Color8 = tuple[int, int, int]  # RGB, 0 to 255
WHITE: Color8 = (255, 255, 255)


@dataclass(frozen=True)
class AlphaOptions:
    """What is done with transparent pixels: the color that is put below them, and whether they get no depth."""

    background: Color8 = WHITE
    mask: bool = False


OVER_WHITE = AlphaOptions()


def parse_background(text: str) -> Color8:
    """Return the color of `--background`: a name of CSS or #rrggbb; raise UsageError for any other text."""
    from PIL import ImageColor

    with contextlib.suppress(ValueError):
        color = ImageColor.getrgb(text)
        if len(color) == 3:
            return color
    raise UsageError(f"--background {text} is not a color", "give a name such as gray, or #rrggbb in quotes")
