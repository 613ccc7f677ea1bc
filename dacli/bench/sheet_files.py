"""The files of a sheet of depth maps: its PNG and its table, written again and again while maps are made."""

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from dacli.bench import machine
from dacli.bench.contact_sheet import PhotoCrop, SheetCell, SheetPhoto
from dacli.bench.sheet_page import SheetPage
from dacli.errors import UsageError
from dacli.evaluation import tables
from dacli.io import files, images
from dacli.paths import display_path

SAVE_INTERVAL = 20.0  # seconds


@dataclass
class SheetFiles:
    """The cells of a sheet so far, and the files that hold them."""

    target: Path
    photo: SheetPhoto
    cells: list[SheetCell] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    @property
    def title(self) -> str:
        """Return the title of the page and of the table."""
        return f"{display_path(self.photo.path)}: {machine.describe_machine(machine.examine_machine())}"

    @property
    def records(self) -> list[dict[str, object]]:
        """Return the rows of the table."""
        return [cell.record for cell in self.cells]

    def add(self, cell: SheetCell | None) -> None:
        """Add a cell, if there is one; save the sheet if that was long ago."""
        if cell is not None:
            self.cells.append(cell)
            if time.monotonic() - self.saved >= SAVE_INTERVAL:
                self.save()

    def save(self) -> None:
        """Write both files, if there is a cell."""
        if self.cells:
            files.write_file(self.target, SheetPage(self.title, self.photo, self.cells).draw())
            files.write_file(self.target.with_suffix(".csv"), tables.records_csv(self.records))
        self.saved = time.monotonic()


def read_photo(path: Path, crop: str | None) -> SheetPhoto:
    """Return the photo of a sheet; raise DacliError if it cannot be read, UsageError for a part outside of it."""
    rgb = images.read_image(path)
    return SheetPhoto(path, rgb, None if crop is None else parse_crop(crop, rgb.shape[1], rgb.shape[0]))


def parse_crop(text: str, width: int, height: int) -> PhotoCrop:
    """Return the part of a photo that a text X,Y,WIDTH,HEIGHT names; raise UsageError if it is not within the photo."""
    if not re.fullmatch(r"\d{1,6}(,\d{1,6}){3}", text.replace(" ", "")):
        raise UsageError(f"--crop {text} is not X,Y,WIDTH,HEIGHT", "give pixels of the photo, such as 400,300,320,240")
    found = PhotoCrop(*map(int, text.replace(" ", "").split(",")))
    if not (found.width and found.height and found.x + found.width <= width and found.y + found.height <= height):
        raise UsageError(f"--crop {text} is not a part of the photo", f"it has {width} × {height} pixels")
    return found
