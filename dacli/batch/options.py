"""What the options of a command ask for, before anything is resolved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.batch.settings import Style
    from dacli.types import TileMode


@dataclass(frozen=True)
class RunOptions:
    """What the options of a command say about the network, the machine and the look; text as it was typed."""

    encoder: str | None
    model: str
    weights: Path | None
    size: int | None
    precision: str
    devices: Sequence[str]
    engine: str
    colormap: str
    near: str
    range: str
    max_pixels: int
    overwrite: bool
    batch: int | None = 1
    tile: "TileMode" = "auto"


def style(colormap: str, near: str, range_: str) -> "Style":
    """The style that the options make; raises UsageError for a colormap, an end or a range that is none."""
    from dacli.batch import settings
    from dacli.outputs import drawing

    if near not in ("white", "black"):
        raise UsageError(f"--near {near} is neither white nor black", "white makes near things bright")
    drawing.colors(colormap)
    return settings.Style(colormap, "white" if near == "white" else "black", drawing.parse_range(range_))
