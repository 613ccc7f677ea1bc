"""The page of a sheet of depth maps: the photo first, then a row for each network, a column for each size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from dacli.bench.contact_sheet import PhotoCrop, SheetCell, SheetPhoto
from dacli.evaluation import tables
from dacli.outputs import drawing
from dacli.outputs.plain_matplotlib import new_figure
from dacli.types import Image8, ImageArray

PAGE_WIDTH = 1920  # pixels; a map is not enlarged to fill it
LEAST_WIDTH = 320  # pixels of a map
TITLE, HEAD, LINE, GAP = 84, 40, 34, 12  # pixels: of the page's title, a row's title, a caption, between pictures
HEAD_POINTS, TEXT_POINTS = 12, 9
DPI = 130  # at which tables.figure_png draws
MARK = (255, 255, 255), (0, 0, 0)  # colors of the frame around the part that is shown large, outside and inside


class PageCanvas:
    """An empty page of a size in pixels, on which pictures and text are placed by pixels from its left upper corner."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.figure = new_figure(figsize=(width / DPI, height / DPI), dpi=DPI)

    def write(self, text: str, x: float, y: float, points: float = TEXT_POINTS) -> None:
        """Write text, its lines broken at the right edge."""
        shown = tables.plain_text(text)
        self.figure.text(x / self.width, 1 - y / self.height, shown, fontsize=points, va="top", wrap=True)

    def place(self, picture: Image8, x: int, y: int) -> None:
        """Draw a picture, a pixel for each of its own."""
        self.figure.figimage(picture, x, self.height - y - picture.shape[0])


@dataclass(frozen=True)
class SheetPage:
    """The page of a sheet of cells; a map that failed leaves its place empty."""

    title: str
    photo: SheetPhoto
    cells: Sequence[SheetCell]

    @cached_property
    def rows(self) -> list[str]:
        """Return the titles of the rows below the photo."""
        return list(dict.fromkeys(cell.title for cell in self.cells))

    @cached_property
    def sizes(self) -> list[object]:
        """Return the sizes, one for each column."""
        return sorted({cell.record["size"] for cell in self.cells}, key=lambda size: int(str(size)))

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """Return the width and height of a map in pixels: as wide as the page allows, at most the photo's own size."""
        height, width = self.photo.rgb.shape[:2]
        wide = min(width, max(LEAST_WIDTH, (PAGE_WIDTH - GAP) // max(1, len(self.sizes)) - GAP))
        return wide, max(1, round(height * wide / width))

    @cached_property
    def crop_size(self) -> tuple[int, int] | None:
        """Return the width and height of the part below a map, as wide as the map; None without one."""
        crop = self.photo.crop
        return None if crop is None else (self.map_size[0], max(1, round(crop.height * self.map_size[0] / crop.width)))

    @property
    def row_height(self) -> int:
        """Return the height of a row: its title, the map, the part of it, the caption."""
        below = 0 if self.crop_size is None else GAP + self.crop_size[1]
        return HEAD + self.map_size[1] + below + LINE + GAP

    def draw(self) -> bytes:
        """Return the PNG of the page."""
        width = max(2 * LEAST_WIDTH, GAP + len(self.sizes) * (self.map_size[0] + GAP))
        canvas = PageCanvas(width, TITLE + (1 + len(self.rows)) * self.row_height)
        canvas.write(self.title, GAP, GAP)
        for row, title in enumerate(["the photo", *self.rows]):
            canvas.write(title, GAP, TITLE + row * self.row_height + 8, points=HEAD_POINTS)
        self._fill(canvas, 0, 0, *self._photo_pictures(), "{1} × {0} pixels".format(*self.photo.rgb.shape))
        for cell in self.cells:
            part = None if self.crop_size is None else cell.draw(self.crop_size, self.photo.crop)
            row, column = self.rows.index(cell.title) + 1, self.sizes.index(cell.record["size"])
            self._fill(canvas, row, column, cell.draw(self.map_size), part, cell.caption)
        return tables.figure_png(canvas.figure)

    def _fill(
        self, canvas: "PageCanvas", row: int, column: int, shown: Image8, part: Image8 | None, caption: str
    ) -> None:
        """Draw a map, the part of it below, and the caption, in a row and a column."""
        x, y = GAP + column * (self.map_size[0] + GAP), TITLE + row * self.row_height + HEAD
        for picture in (shown, *([] if part is None else [part])):
            canvas.place(picture, x, y)
            y += picture.shape[0] + GAP
        canvas.write(caption, x, y - GAP + 6)

    def _photo_pictures(self) -> tuple[Image8, Image8 | None]:
        """Return the photo with a frame around the part, and the part."""
        crop, shown = self.photo.crop, resize_photo(self.photo.rgb, self.map_size)
        if crop is None or self.crop_size is None:
            return shown, None
        part = resize_photo(np.ascontiguousarray(crop.cut(self.photo.rgb)), self.crop_size)
        return frame_crop(shown, crop, self.map_size[0] / self.photo.rgb.shape[1]), part


def resize_photo(rgb: ImageArray, size: tuple[int, int]) -> Image8:
    """Return an RGB picture [H, W, 3] with 8 bits at a size (width, height)."""
    how = cv2.INTER_AREA if size[0] <= rgb.shape[1] else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(drawing.to_eight_bits(rgb), size, interpolation=how), np.uint8)


def frame_crop(picture: Image8, crop: PhotoCrop, scale: float) -> Image8:
    """Return the picture, `scale` times the photo's size, with a frame around a part of the photo."""
    framed = picture.copy()
    first = round(crop.x * scale), round(crop.y * scale)
    last = round((crop.x + crop.width) * scale) - 1, round((crop.y + crop.height) * scale) - 1
    for color, width in zip(MARK, (3, 1), strict=True):
        cv2.rectangle(framed, first, last, color, width)
    return framed
