"""Depth above the size that a network was trained for: the structure of one small pass, the detail of tiles.

The base is one pass over the whole picture at the network's native size. The picture at the size asked for, the canvas,
is then cut into overlapping tiles of about the native size. Each tile knows depth up to a scale and a shift of its own
and little of what lies around it; so it is brought to the contrast of the base, and all that varies slowly in it is
taken from the base. Tiles meet the base and never each other: their order does not matter, and neighbours agree in
all but detail, which fades from one into the other. Relative depth is compared as inverse depth, metres by their
logarithm: what a crop hides from a metric network, the focal length, scales its metres.
"""

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise, product
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor

from dacli.callbacks import TileProgress, ignore_progress
from dacli.choices import TileMode
from dacli.inference.preprocess import network_size, normalize_image, resize_to_source
from dacli.models.spec import IMAGENET_MEAN, IMAGENET_STD
from dacli.prefetch import Prefetch
from dacli.types import DepthArray, ImageArray

TileForward = Callable[[Tensor], Tensor]
Normalization = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation, RGB in 0 … 1

TILE_OVERLAP = 0.25  # share of a tile's side that the next one shares, at least
SMALLEST_TILE = 0.85  # a tile's side is at least so much of the native one
COMPARISON_GRID = 64  # cells a side, at most, on which a tile is compared with the base
OFFSET_BLUR = 0.1  # share of a tile's side over which an offset may vary: what varies more slowly is the base's
LEAST_CORRELATION = 0.2  # correlation with the base below which a tile contradicts it
FLAT_SPREAD = 1e-5  # spread of a tile, as a share of its values, that may be nothing but rounding
NEAREST_METRES = 1e-3  # metres


@dataclass(frozen=True)
class Tiling:
    """Sizes (H, W) of the base's input, the canvas and every tile in pixels, and where tiles begin on the canvas."""

    base: tuple[int, int]
    canvas: tuple[int, int]
    tile: tuple[int, int]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @property
    def count(self) -> int:
        """Return how many tiles there are; the base comes on top."""
        return len(self.rows) * len(self.columns)


@dataclass(frozen=True)
class RefinedDepth:
    """Depth [H, W] float32 at the canvas' size, in the base's units, and how it was made.

    `used` of `tiling.count` tiles agree with the base. `unsound` passes, of tiles and base, gave numbers that are not
    finite: such a tile is left out, such a base has infinity set to its largest value and NaN to its farthest.
    """

    depth: Tensor
    tiling: Tiling
    used: int
    unsound: int


def uses_tiles(mode: TileMode, size: int, largest_pass: int) -> bool:
    """Return whether a picture is made of tiles at `size`, where one pass is better up to `largest_pass`."""
    return mode == "on" or (mode == "auto" and size > largest_pass)


def plan_tiles(height: int, width: int, size: int, native: int, patch: int) -> Tiling:
    """Return the tiles of a picture of height × width on a canvas whose short side is `size`.

    Tiles cover the canvas, overlap by OVERLAP of their side or more, and are multiples of `patch`: `native` or, where
    the overlap allows, down to LEAST of it, which costs less time. Raises ValueError unless all are positive.
    """
    canvas = network_size(height, width, size, patch)
    (tall, rows), (wide, columns) = (cut_axis(length, native, patch) for length in canvas)
    return Tiling(network_size(height, width, min(size, native), patch), canvas, (tall, wide), rows, columns)


def cut_axis(length: int, native: int, patch: int) -> tuple[int, tuple[int, ...]]:
    """Return the side of the tiles along an axis of the canvas, and where each begins; the last ends with the axis."""
    if length <= native:
        return length, (0,)
    count = max(2, math.ceil((length / native - TILE_OVERLAP) / (1 - TILE_OVERLAP)))
    needed = max(length / (count - (count - 1) * TILE_OVERLAP), SMALLEST_TILE * native)
    side = min(native, math.ceil(needed / patch) * patch)
    return side, tuple(round(i * (length - side) / (count - 1)) for i in range(count))


def refine_with_tiles(
    rgb: ImageArray,
    seen: Tensor,
    forward: TileForward,
    tiling: Tiling,
    *,
    batch: int = 1,
    streams: int = 1,
    metres: bool = False,
    align_corners: bool = False,
    report: TileProgress = ignore_progress,
    normalize: Normalization = (IMAGENET_MEAN, IMAGENET_STD),
) -> RefinedDepth:
    """Return depth of a shrunk() RGB picture from its base and its tiles.

    `seen` is what the base sees of it, [3, h, w].

    `forward` gives depth [B, h, w] of normalised pictures [B, 3, h, w]: metres, or else inverse depth; it is called
    with the base, then with at most `batch` tiles at a time, by so many threads as there are `streams`.
    `report(done, of)` is called after every tile.
    """
    with contextlib.closing(predict_tiles(rgb, seen, forward, tiling, batch, streams, normalize)) as passes:
        return assemble_tiles(passes, tiling, metres=metres, align_corners=align_corners, report=report)


def assemble_tiles(
    passes: Iterator[Tensor], tiling: Tiling, *, metres: bool, align_corners: bool, report: TileProgress
) -> RefinedDepth:
    """Return depth from what the network gives of the base, which comes first, and of each tile."""
    raw = next(passes)
    base = resize_to_source(to_comparable(fill_nonfinite(raw, metres), metres), *tiling.canvas, align_corners)
    result, used, unsound = np.zeros_like(base), 0, int(not raw.isfinite().all())
    fades = [
        blend_weights(starts, side) for starts, side in zip((tiling.rows, tiling.columns), tiling.tile, strict=True)
    ]
    for number, ((i, j), depth) in enumerate(zip(tile_indices(tiling), passes, strict=True), 1):
        window = tile_window(tiling, i, j)
        finite = bool(depth.isfinite().all())
        detail = (
            align_tile(to_comparable(depth, metres).numpy(), base[window], comparison_cells(tiling)) if finite else None
        )
        used, unsound = used + (detail is not None), unsound + (not finite)
        result[window] += fades[0][i][:, None] * fades[1][j] * (base[window] if detail is None else detail)
        report(number, tiling.count)
    depth = torch.from_numpy(result)
    return RefinedDepth(depth.exp_() if metres else depth.clamp_(min=0), tiling, used, unsound)


def shrink_to_canvas(rgb: ImageArray, size: tuple[int, int]) -> ImageArray:
    """Return the picture averaged down to `size` (H, W) where it is larger.

    A cubic without antialias would miss fine bars.
    """
    height, width = min(rgb.shape[0], size[0]), min(rgb.shape[1], size[1])
    if (height, width) == rgb.shape[:2]:
        return rgb
    return cast("ImageArray", cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=cv2.INTER_AREA))


def predict_tiles(
    rgb: ImageArray,
    seen: Tensor,
    forward: TileForward,
    tiling: Tiling,
    batch: int,
    streams: int,
    normalize: Normalization,
) -> Generator[Tensor, None, None]:
    """Yield depth [h, w] as the network gives it, of the base and then of each tile, those of several streams ahead."""

    def one(some: list[tuple[int, int]]) -> Tensor:
        mean, std = normalize
        crops = [normalize_image(rgb, tiling.canvas, *tile_window(tiling, i, j), mean=mean, std=std) for i, j in some]
        return forward(torch.stack(crops) if crops else seen[None])

    left = iter(tile_indices(tiling))
    passes = chain([[]], iter(lambda: list(islice(left, batch)), []))
    ahead = Prefetch(passes, one, lambda made: made.nbytes, streams)
    try:
        for made in ahead if streams > 1 else map(one, passes):
            yield from made
    finally:
        ahead.close()


def tile_indices(tiling: Tiling) -> Iterator[tuple[int, int]]:
    """Return each tile's row and column among the tiles."""
    return product(range(len(tiling.rows)), range(len(tiling.columns)))


def tile_window(tiling: Tiling, i: int, j: int) -> tuple[slice, slice]:
    """Return the rows and columns of the canvas that tile (i, j) covers."""
    (tall, wide), top, left = tiling.tile, tiling.rows[i], tiling.columns[j]
    return slice(top, top + tall), slice(left, left + wide)


def comparison_cells(tiling: Tiling) -> tuple[int, int]:
    """Return how many cells down and across a tile is compared with the base in.

    No more than the base has pixels there.
    """
    tall, wide = (
        max(1, min(COMPARISON_GRID, side * small // large))
        for side, small, large in zip(tiling.tile, tiling.base, tiling.canvas, strict=True)
    )
    return tall, wide


def align_tile(tile: DepthArray, base: DepthArray, grid: tuple[int, int]) -> DepthArray | None:
    """Return the tile [h, w] with the contrast of the base there and its slow variation.

    None if it is flat or contradicts it.

    The offset is the difference of both, averaged with a Gaussian: any scale, shift or slow error of a tile vanishes.
    The contrast is matched by the standard deviation, not by least squares, which takes from it what the tile knows
    better than the base; both are seen in a `grid` of cells (down, across) that holds what both can know.
    """
    tall, wide = grid
    t, b = (cv2.resize(v, (wide, tall), interpolation=cv2.INTER_AREA).astype(np.float64) for v in (tile, base))
    spread = t.std()
    if (
        spread <= FLAT_SPREAD * np.abs(t).max()
        or ((t - t.mean()) * (b - b.mean())).mean() < LEAST_CORRELATION * spread * b.std()
    ):
        return None
    scale = b.std() / spread
    offset = cv2.GaussianBlur(b - scale * t, (0, 0), OFFSET_BLUR * wide, sigmaY=OFFSET_BLUR * tall)
    slow = cv2.resize(offset.astype(np.float32), tile.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.float32(scale) * tile + slow)


def blend_weights(starts: Sequence[int], side: int) -> DepthArray:
    """Return weights [n, side] of n tiles along an axis that add to one: raised cosines where two overlap."""
    weights = np.ones((len(starts), side))
    for i, (here, there) in enumerate(pairwise(starts)):
        shared = here + side - there
        rising = 0.5 - 0.5 * np.cos(np.pi * (np.arange(shared) + 0.5) / shared)
        weights[i + 1, :shared] *= rising
        weights[i, -shared:] *= 1 - rising
    return weights.astype(np.float32)


def to_comparable(depth: Tensor, metres: bool) -> Tensor:
    return depth.clamp_min(NEAREST_METRES).log() if metres else depth


def fill_nonfinite(depth: Tensor, metres: bool) -> Tensor:
    """Return depth with infinity set to the largest finite value and NaN to the farthest; all 0 if none is finite."""
    known = depth[depth.isfinite()]
    low, high = (known.min().item(), known.max().item()) if known.numel() else (0.0, 0.0)
    return depth.nan_to_num(nan=high if metres else low, posinf=high, neginf=low)
