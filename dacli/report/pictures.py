"""The pictures of a report: thumbnails, and for each input a script that holds its depth and its picture.

A page that is opened from disk may not read the pixels of a picture beside it, but may run a script beside it.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from dacli.batch.fingerprint import stamp_file
from dacli.errors import DacliError, UsageError
from dacli.io import depth_files, files, images, png, scales
from dacli.io.names import THUMBNAIL_MARK, THUMBNAIL_SUFFIX
from dacli.io.records import decode_depth
from dacli.outputs import drawing
from dacli.paths import display_path
from dacli.report.items import ReportItem
from dacli.types import DepthArray, Image8

THUMBNAIL_SIDE = 320  # pixels of the longer side
PICTURE_SIDE = 1600  # pixels of the longer side of depth and picture in the page
_QUALITY = 85  # of JPEG
_LAYOUT = 1  # of the files; a change makes all of them again
_DEFAULT_COLORMAP = "Spectral_r"
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class PageDepth:
    """Depth [h, w] of a page: every `step`-th pixel of the depth map, with its own value; NaN where it is unknown."""

    values: DepthArray
    step: int
    low: float
    high: float

    def encode(self) -> bytes:
        """Return an RGB PNG: high and low byte of 16 bits from low to high, and 255 in blue where depth is unknown.

        Browsers give 8 bits of each channel.
        """
        known = np.isfinite(self.values)
        filled = np.where(known, self.values, np.float32(self.low))
        levels = scales.quantize_depth(filled, self.low, self.high, np.empty(filled.shape, np.uint16))
        return png.encode_png(np.dstack([levels >> 8, levels & 255, np.where(known, 0, 255)]).astype(np.uint8))


def item_id(item: ReportItem) -> str:
    """Return what the files of an item are named by: it changes with the files that they are made from."""
    made_from = [[str(output.path), output.size, output.mtime_ns] for output in item.outputs]
    parts = [_LAYOUT, item.stem, made_from, item.source and stamp_file(item.source)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def data_name(identity: str) -> str:
    """Return the name of the script with an item's depth and picture."""
    return f"{identity}.js"


def thumbnail_name(identity: str) -> str:
    """Return the name of an item's thumbnail."""
    return identity + THUMBNAIL_SUFFIX


def make_item_files(item: ReportItem, identity: str, folder: Path) -> bool:
    """Write the script and the thumbnail of an item, unless they exist already; return whether anything was written.

    What cannot be read is said in the script. Raises DacliError if a file cannot be written.
    """
    script = folder / data_name(identity)
    if script.exists():
        return False
    faults: list[str] = []
    depth = _attempt(lambda: read_page_depth(item), faults)
    picture = _read_picture(item, faults)
    drawn = _read_drawn(item, faults) if depth is None else None
    thumbnail = drawn if depth is None else _color_small(depth, item)
    thumbnail = picture if thumbnail is None else thumbnail
    if thumbnail is not None:
        files.write_file(folder / thumbnail_name(identity), encode_jpeg(shrink(thumbnail, THUMBNAIL_SIDE)))
    data = _script_data(depth, {"picture": picture, "drawn": drawn}, faults)
    files.write_file(script, f"dacliInput({json.dumps(identity)}, {script_json(data)});\n".encode())
    return True


def script_json(value: object) -> str:
    """Return JSON that is also valid, and harmless, inside a script of a page."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace(">", "\\u003e")


def read_page_depth(item: ReportItem) -> PageDepth | None:
    """Return the depth of an item from its NPY or 16-bit PNG; None without either.

    Raises DacliError for a damaged file.
    """
    output = item.output("npy", "png16")
    if output is None:
        return None
    if output.kind == "npy":
        depth = depth_files.read_values(output.path, depth_files.parse_npy)
    else:
        depth, _ = decode_depth(*depth_files.read_depth16(output.path), display_path(output.path))
    if not depth.size:
        raise DacliError(f"{display_path(output.path)} holds no pixels", "make it again with dacli")
    step = -(-max(depth.shape) // PICTURE_SIDE)
    values = np.ascontiguousarray(depth[::step, ::step])
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    return PageDepth(values, step, low, high)


def _read_picture(item: ReportItem, faults: list[str]) -> Image8 | None:
    """Return the picture of an item, from its file or else from the left half of its side picture."""
    side, source = item.output("side"), item.source
    picture = None
    if source is not None and not any(output.is_clip for output in item.outputs):
        picture = _attempt(lambda: images.read_image(source), faults)
    if picture is None and side is not None:
        both = _attempt(lambda: images.read_image(side.path), faults)
        picture = None if both is None else both[:, : both.shape[1] // 2]
    return None if picture is None else shrink(drawing.to_eight_bits(picture), PICTURE_SIDE)


def _read_drawn(item: ReportItem, faults: list[str]) -> Image8 | None:
    """Return the depth of an item as a run drew it; None if no output shows it."""
    output = item.output("color", "gray", "side", "normal")
    drawn = None if output is None else _attempt(lambda: images.read_image(output.path), faults)
    if output is None or drawn is None:
        return None
    shown = drawn[:, drawn.shape[1] // 2 :] if output.kind == "side" else drawn
    return shrink(drawing.to_eight_bits(shown), PICTURE_SIDE)


def _color_small(depth: PageDepth, item: ReportItem) -> Image8 | None:
    """Return a small picture of depth in color, with range and colormap as in the run."""
    if (record := item.record) is None:
        return None
    step = max(1, max(depth.values.shape) // (2 * THUMBNAIL_SIDE))
    small = np.nan_to_num(depth.values[::step, ::step], nan=depth.low)
    return drawing.draw_color(small, record.low, record.high, record.quantity, colormap_of(item))


def colormap_of(item: ReportItem) -> str:
    """Return the colormap of an item's run; the default if it is not known."""
    style = item.run.settings.get("style") if item.run else None
    name = style.get("colormap") if isinstance(style, dict) else None
    try:
        drawing.colormap_table(name)
    except (UsageError, AttributeError):
        return _DEFAULT_COLORMAP
    return str(name)


def shrink(picture: npt.NDArray[np.uint8], longest: int) -> Image8:
    """Return RGB [H, W, 3] with its longer side at most `longest` pixels."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(rgb: Image8) -> bytes:
    """Return a JPEG of RGB [H, W, 3] with a comment by which runs over pictures leave it out."""
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    comment = b"\xff\xfe" + (len(THUMBNAIL_MARK) + 2).to_bytes(2, "big") + THUMBNAIL_MARK
    return data[:2] + comment + data[2:]


def _attempt(read: Callable[[], _Value], faults: list[str]) -> _Value | None:
    """Return what is read; None for a file that cannot be read, whose error is added to `faults`."""
    try:
        return read()
    except DacliError as error:
        faults.append(str(error))
        return None


def _script_data(
    depth: PageDepth | None, pictures: Mapping[str, Image8 | None], faults: list[str]
) -> dict[str, object]:
    data: dict[str, object] = {"fault": "; ".join(faults)} if faults else {}
    if depth is not None:
        data |= {"depth": _address("png", depth.encode()), "step": depth.step, "low": depth.low, "high": depth.high}
    shown = {name: _address("jpeg", encode_jpeg(rgb)) for name, rgb in pictures.items() if rgb is not None}
    return data | shown


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
