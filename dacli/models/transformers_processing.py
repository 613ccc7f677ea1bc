"""How image processors of Transformers prepare pictures and restore depth, from their preprocessor_config.json.

This is written here because the library's own classes need torchvision, whose usual builds do not load beside a torch
for the CPU. Where the library has a class without it, results are the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from dacli.models.spec import LONGEST_SIDE
from dacli.types import DepthArray, ImageArray

# On 8 bits without aliases by Pillow or by torch, or by torch on floats with aliases, corners aligned or not.
ResizeWay = Literal["pillow", "torch", "plain", "aligned"]
RESIZE_FILTERS: Mapping[int, str] = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # by Pillow's numbers
UNSIZED = 480  # pixels of the short side up to which networks of any size, such as GLPN, get the picture as it is
NEAREST_INVERSE, FARTHEST_INVERSE = 1e4, 1e-4  # 1/m, the limits of Depth Pro's image processor
REFLECTED = 3  # ZoeDepth pads by this many roots of half a side


@dataclass(frozen=True, kw_only=True)
class TransformersProcessing:
    """The steps of an image processor, with its own values as defaults where its configuration may leave them out.

    `size` is what pictures are resized to, (H, W), with `keep_aspect_ratio` only one of the two; None leaves them as
    they are, shrunk to the short side that is asked for. Both sides become multiples of `multiple`, rounded down
    with `floor`. Zeros pad them to multiples of `pad_divisor`; with `reflect` the source is padded by its own mirror
    image, which restore() cuts off. `back` is the filter of restore(), whose result is 1/depth with `inverse`.
    """

    size: tuple[int, int] | None = (384, 384)
    keep_aspect_ratio: bool = False
    multiple: int = 1
    floor: bool = False
    resample: int = 3
    way: ResizeWay = "pillow"
    reflect: bool = False
    pad_divisor: int = 0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    back: str = "bicubic"
    back_aligned: bool | None = False
    inverse: bool = False

    @property
    def native_size(self) -> int:
        """Return the short side in pixels that it resizes to."""
        return min(self.size) if self.size else UNSIZED

    @property
    def sides_multiple(self) -> int:
        """Return what the sides of its results are multiples of; 32 if it does not say."""
        return max(each if each > 1 else 0 for each in (self.multiple, self.pad_divisor)) or 32

    def input_size(self, height: int, width: int, size: int, _multiple: int = 1) -> tuple[int, int]:
        """Return (H, W) to which a picture is resized, before it is padded."""
        vertical, horizontal = self._scales(height, width, size)
        nearest = math.floor if self.floor else round
        rows, columns = (
            max(1, nearest(side * scale / self.multiple)) for side, scale in ((height, vertical), (width, horizontal))
        )
        longest = LONGEST_SIDE * max(min(rows, columns), math.ceil(size / self.multiple / LONGEST_SIDE))
        return min(rows, longest) * self.multiple, min(columns, longest) * self.multiple

    def _scales(self, height: int, width: int, size: int) -> tuple[float, float]:
        if self.size is None:
            return (min(1.0, size / min(height, width)),) * 2
        scales = [
            side * size / (self.native_size * length) for side, length in zip(self.size, (height, width), strict=True)
        ]
        if self.keep_aspect_ratio:  # by the side whose scale is nearer to 1
            scales = [scales[1] if abs(1 - scales[1]) < abs(1 - scales[0]) else scales[0]] * 2
        return scales[0], scales[1]

    def prepare(self, rgb: ImageArray, size: int) -> Tensor:
        """Return an RGB picture [H, W, 3] as the network takes it: normalised float32 [3, h, w]."""
        pixels = self._resize(rgb, size)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (self.mean, self.std))
        pixels = (pixels - mean) / std
        if self.pad_divisor:
            (top, bottom), (left, right) = (self._padding(side) for side in pixels.shape[1:])
            pixels = F.pad(pixels, (left, right, top, bottom))
        return pixels

    def _resize(self, rgb: ImageArray, size: int) -> Tensor:
        """Return a picture [H, W, 3] as RGB in 0 … 1, [3, h, w], resized."""
        height, width = rgb.shape[:2]
        if self.way in ("pillow", "torch"):
            eight = to_bytes(rgb) if self.size is not None else shrink_to_short_side(to_bytes(rgb), size)
            return self._resize_bytes(eight, self.input_size(height, width, size)) / 255
        top, left = mirror_margins(height, width) if self.reflect else (0, 0)
        planes = torch.from_numpy(rgb / np.float32(np.iinfo(rgb.dtype).max)).permute(2, 0, 1)[None]
        planes = F.pad(planes, (left, left, top, top), "reflect") if self.reflect else planes
        target = self.input_size(height + 2 * top, width + 2 * left, size)
        return F.interpolate(planes, target, mode=RESIZE_FILTERS[self.resample], align_corners=self.way == "aligned")[0]

    def _resize_bytes(self, rgb: ImageArray, target: tuple[int, int]) -> Tensor:
        """Return a picture of 8 bits [H, W, 3] at the size `target`, [3, h, w]."""
        if self.way == "torch":
            planes = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].contiguous()
            return F.interpolate(planes, target, mode=RESIZE_FILTERS[self.resample], antialias=True)[0]
        if rgb.shape[:2] != target:
            rgb = np.asarray(Image.fromarray(rgb).resize(target[::-1], Image.Resampling(self.resample)))
        return torch.from_numpy(rgb.copy()).permute(2, 0, 1)

    def _padding(self, side: int) -> tuple[int, int]:
        lacking = -side % self.pad_divisor
        return lacking // 2, lacking - lacking // 2

    def restore(self, raw: Tensor, height: int, width: int, _focal_px: float | None = None) -> DepthArray:
        """Return depth [height, width] of the source's size from the network's output [h, w]."""
        top, left = mirror_margins(height, width) if self.reflect else (0, 0)
        target = height + 2 * top, width + 2 * left
        full = F.interpolate(raw.float()[None, None], target, mode=self.back, align_corners=self.back_aligned)[0, 0]
        depth = full[top : top + height, left : left + width]
        return (1 / depth.clamp(FARTHEST_INVERSE, NEAREST_INVERSE) if self.inverse else depth).numpy()


PROCESSING: Mapping[str, TransformersProcessing] = {
    "glpn": TransformersProcessing(
        size=None, multiple=32, floor=True, resample=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
    ),
    "zoedepth": TransformersProcessing(
        size=(384, 512), keep_aspect_ratio=True, multiple=32, resample=2, way="aligned", reflect=True
    ),
    "depth_pro": TransformersProcessing(size=(1536, 1536), resample=2, way="plain", back="bilinear", inverse=True),
    "chmv2": TransformersProcessing(
        size=None,
        keep_aspect_ratio=True,
        multiple=1,
        pad_divisor=16,
        mean=(0.420, 0.411, 0.296),
        std=(0.213, 0.156, 0.143),
        back="bilinear",
        back_aligned=True,
    ),
    "tipsv2_dpt": TransformersProcessing(
        size=(448, 448), resample=2, way="torch", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), back="bilinear"
    ),
}
USUAL_PROCESSING = TransformersProcessing()  # that of DPT, which most others use too


def read_processing(architecture: str, values: Mapping[str, Any]) -> TransformersProcessing:
    """Return the processing of an architecture with the values of a preprocessor_config.json.

    Raises KeyError, TypeError or ValueError for values that are none of an image processor.
    """
    usual = PROCESSING.get(architecture, USUAL_PROCESSING)
    resizes = values.get("do_resize", usual.size is not None or usual.floor)
    normalizes = values.get("do_normalize", usual.std != (1.0, 1.0, 1.0))
    multiple = int(values.get("size_divisor") or usual.multiple) if usual.floor else usual.multiple
    if resizes and not usual.floor:
        multiple = max(1, int(values.get("ensure_multiple_of") or usual.multiple))
    pads = values.get("do_pad", bool(usual.pad_divisor or usual.reflect))
    divisor = int(values.get("size_divisor") or usual.pad_divisor or 0)
    return replace(
        usual,
        size=_size_of(values.get("size"), usual.size) if resizes and not usual.floor else None,
        keep_aspect_ratio=bool(values.get("keep_aspect_ratio", usual.keep_aspect_ratio)),
        multiple=multiple,
        resample=_known_filter(int(values.get("resample", usual.resample)), usual.way),
        reflect=bool(usual.reflect and pads),
        pad_divisor=divisor if pads and not usual.reflect and not usual.floor else 0,
        mean=_three(values.get("image_mean", usual.mean)) if normalizes else (0.0, 0.0, 0.0),
        std=_three(values.get("image_std", usual.std)) if normalizes else (1.0, 1.0, 1.0),
    )


def _size_of(value: Any, usual: tuple[int, int] | None) -> tuple[int, int]:
    if value is None:
        value = usual or (384, 384)
    if isinstance(value, Mapping):
        value = (value["height"], value["width"])
    height, width = (value, value) if isinstance(value, int) else value
    if min(int(height), int(width)) < 1:
        raise ValueError(f"size is {value}")
    return int(height), int(width)


def _known_filter(number: int, way: ResizeWay) -> int:
    if way != "pillow" and number not in RESIZE_FILTERS:
        raise ValueError(f"resample is {number}")
    return int(Image.Resampling(number))


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(each) for each in values)
    return red, green, blue


def to_bytes(rgb: ImageArray) -> ImageArray:
    """Return a picture of 8 or 16 bits in 8 bits."""
    return rgb if rgb.dtype == np.uint8 else np.rint(rgb / np.float32(257)).astype(np.uint8)


def mirror_margins(height: int, width: int) -> tuple[int, int]:
    """Return the rows and the columns that ZoeDepth adds on each side of a picture."""
    rows, columns = (int(math.sqrt(side / 2) * REFLECTED) for side in (height, width))
    return min(rows, height - 1), min(columns, width - 1)


def shrink_to_short_side(rgb: ImageArray, size: int) -> ImageArray:
    """Return a picture [H, W, 3] averaged down so that its short side is `size` pixels, if it is longer."""
    height, width = rgb.shape[:2]
    scale = size / min(height, width)
    if scale >= 1:
        return rgb
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, target, interpolation=cv2.INTER_AREA), rgb.dtype)
