"""What reading a picture gives: a file whose header is read, and its pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dacli.types import ImageArray, PixelMask


@dataclass(frozen=True)
class OpenedPicture:
    """A picture whose header is read: its size (width, height) in pixels, and what is left out of it, as a note.

    `decode` returns its upright pixels: RGB [H, W, 3], or RGBA [H, W, 4] not multiplied by alpha.
    """

    size: tuple[int, int]
    decode: Callable[[], ImageArray]
    note: str = ""


class Picture(NamedTuple):
    """An upright picture RGB [H, W, 3], and the mask [H, W] of its transparent pixels; None for an opaque picture."""

    rgb: ImageArray
    transparent: PixelMask | None = None
