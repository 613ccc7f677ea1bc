"""Depth above the size that a network was trained for: the structure of one small pass, the detail of tiles.

The base is one pass over the whole picture at the network's native size. The picture at the size asked for, the canvas,
is then cut into overlapping tiles of about the native size. A tile's depth has a scale and a shift of its own, and
misses the surroundings, so its contrast is matched to that of the base, and all that varies slowly in it is taken from
the base. A tile is only compared with the base, never with other tiles: their order does not matter, and
neighbours agree in all but detail, which is blended from one into the other. Metres are compared by their logarithm,
because the focal length, which a metric network cannot see in a crop, scales them; other depth is compared as it is.
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
from dacli.choices import Quantity, TileMode
from dacli.errors import UsageError
from dacli.inference.preprocess import normalize_image, resize_to_source
from dacli.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, ResizeRule, network_size
from dacli.prefetch import Prefetch
from dacli.types import DepthArray, ImageArray

TileForward = Callable[[Tensor], Tensor]
Normalization = tuple[Sequence[float], Sequence[float]]  # mean and standard deviation, RGB in 0 … 1

TILE_OVERLAP = 0.25  # smallest share of a tile's side that overlaps the next tile
SMALLEST_TILE = 0.85  # smallest side of a tile, as a share of the native side
COMPARISON_GRID = 64  # largest number of cells along a side of the grid on which a tile is compared with the base
OFFSET_BLUR = 0.1  # share of a tile's side over which the offset is blurred: slower changes come from the base
LEAST_CORRELATION = 0.2  # correlation with the base below which a tile contradicts it
FLAT_SPREAD = 1e-5  # spread of a tile, as a share of its values, that may be rounding alone
NEAREST_METRES = 1e-3


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
    """Depth [H, W] float32 at the size of the canvas, in the units of the base, and how it was computed.

    `used` of `tiling.count` tiles agree with the base. `nonfinite_passes` counts the passes, of tiles and base, with
    values that are not finite: such a tile is left out; in such a base fill_nonfinite() replaces them.
    """

    depth: Tensor
    tiling: Tiling
    used: int
    nonfinite_passes: int


def uses_tiles(mode: TileMode, size: int, spec: ModelSpec) -> bool:
    """Return whether depth is computed in tiles where the network sees pictures at the short side `size`.

    Raises UsageError if tiles are asked for and the network does not allow them.
    """
    if mode == "on" and not spec.tiles_allowed:
        raise UsageError(f"{spec.name} does not work in tiles", "use --tile auto or off")
    return mode == "on" or (mode == "auto" and spec.tiles_allowed and size > spec.largest_pass)


def plan_tiles(
    height: int, width: int, size: int, native: int, multiple: int, rule: ResizeRule = network_size
) -> Tiling:
    """Return the tiles for a picture of height × width on a canvas whose short side is `size`, resized by `rule`.

    Tiles cover the canvas, overlap by TILE_OVERLAP of their side or more, and have sides that are multiples of
    `multiple`: `native` or, where the overlap allows, down to SMALLEST_TILE of it, which costs less time. Raises
    ValueError unless all arguments are positive.
    """
    canvas = rule(height, width, size, multiple)
    (tall, rows), (wide, columns) = (cut_axis(length, native, multiple) for length in canvas)
    return Tiling(rule(height, width, min(size, native), multiple), canvas, (tall, wide), rows, columns)


def cut_axis(length: int, native: int, multiple: int) -> tuple[int, tuple[int, ...]]:
    """Return the side of the tiles along an axis of the canvas, and where each begins; the last ends with the axis."""
    if length <= native:
        return length, (0,)
    count = max(2, math.ceil((length / native - TILE_OVERLAP) / (1 - TILE_OVERLAP)))
    needed = max(length / (count - (count - 1) * TILE_OVERLAP), SMALLEST_TILE * native)
    side = min(native, math.ceil(needed / multiple) * multiple)
    return side, tuple(round(i * (length - side) / (count - 1)) for i in range(count))


def refine_with_tiles(
    rgb: ImageArray,
    base_input: Tensor,
    forward: TileForward,
    tiling: Tiling,
    *,
    batch: int = 1,
    streams: int = 1,
    quantity: Quantity = "inverse depth",
    align_corners: bool = False,
    report: TileProgress = ignore_progress,
    normalize: Normalization = (IMAGENET_MEAN, IMAGENET_STD),
) -> RefinedDepth:
    """Return the depth of an RGB picture from its base and its tiles.

    `rgb` is what shrink_to_canvas() returned, `base_input` the input of the base [3, h, w]. `forward` returns the depth
    [B, h, w], of the given quantity, of normalised pictures [B, 3, h, w]; it is called with the base, then with at most
    `batch` tiles at a time, in as many threads as there are `streams`. `report(done, of)` is called after every tile.
    """
    with contextlib.closing(predict_tiles(rgb, base_input, forward, tiling, batch, streams, normalize)) as passes:
        return assemble_tiles(passes, tiling, quantity=quantity, align_corners=align_corners, report=report)


def assemble_tiles(
    passes: Iterator[Tensor], tiling: Tiling, *, quantity: Quantity, align_corners: bool, report: TileProgress
) -> RefinedDepth:
    """Return the depth from the predictions for the base, which comes first, and for each tile."""
    raw = next(passes)
    base = resize_to_source(to_comparable(fill_nonfinite(raw, quantity), quantity), *tiling.canvas, align_corners)
    result, used, nonfinite_passes = np.zeros_like(base), 0, int(not raw.isfinite().all())
    weights = [
        blend_weights(starts, side) for starts, side in zip((tiling.rows, tiling.columns), tiling.tile, strict=True)
    ]
    for number, ((i, j), depth) in enumerate(zip(tile_indices(tiling), passes, strict=True), 1):
        window = tile_window(tiling, i, j)
        finite = bool(depth.isfinite().all())
        comparable = to_comparable(depth, quantity).numpy()
        detail = align_tile(comparable, base[window], comparison_cells(tiling)) if finite else None
        used, nonfinite_passes = used + (detail is not None), nonfinite_passes + (not finite)
        result[window] += weights[0][i][:, None] * weights[1][j] * (base[window] if detail is None else detail)
        report(number, tiling.count)
    depth = torch.from_numpy(result)
    return RefinedDepth(depth.exp_() if quantity == "metres" else depth.clamp_(min=0), tiling, used, nonfinite_passes)


def shrink_to_canvas(rgb: ImageArray, size: tuple[int, int]) -> ImageArray:
    """Return the picture averaged down to `size` (H, W) where it is larger.

    The network's own resize is cubic without antialias and would miss thin things.
    """
    height, width = min(rgb.shape[0], size[0]), min(rgb.shape[1], size[1])
    if (height, width) == rgb.shape[:2]:
        return rgb
    return cast("ImageArray", cv2.resize(np.ascontiguousarray(rgb), (width, height), interpolation=cv2.INTER_AREA))


def predict_tiles(
    rgb: ImageArray,
    base_input: Tensor,
    forward: TileForward,
    tiling: Tiling,
    batch: int,
    streams: int,
    normalize: Normalization,
) -> Generator[Tensor, None, None]:
    """Yield the network's depth [h, w] of the base and then of each tile; with several streams, threads work ahead."""

    def predict(indices: list[tuple[int, int]]) -> Tensor:
        mean, std = normalize
        windows = [tile_window(tiling, i, j) for i, j in indices]
        crops = [normalize_image(rgb, tiling.canvas, *window, mean=mean, std=std) for window in windows]
        return forward(torch.stack(crops) if crops else base_input[None])

    remaining = iter(tile_indices(tiling))
    passes = chain([[]], iter(lambda: list(islice(remaining, batch)), []))  # the empty list is the base
    ahead = Prefetch(passes, predict, lambda depths: depths.nbytes, streams)
    try:
        for depths in ahead if streams > 1 else map(predict, passes):
            yield from depths
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
    """Return the cells (down, across) on which a tile is compared with the base: at most the base's pixels there."""
    tall, wide = (
        max(1, min(COMPARISON_GRID, side * small // large))
        for side, small, large in zip(tiling.tile, tiling.base, tiling.canvas, strict=True)
    )
    return tall, wide


def align_tile(tile: DepthArray, base: DepthArray, grid: tuple[int, int]) -> DepthArray | None:
    """Return the tile [h, w] with the base's contrast and slow variation; None if it is flat or contradicts the base.

    The offset is the difference of both, blurred with a Gaussian, which removes any scale, shift or slow error of the
    tile. The contrast is matched by the standard deviation, because least squares would lower it by the detail that
    only the tile has. Both are averaged to a `grid` of cells (down, across), a resolution that both have.
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
    """Return weights [n, side] of n tiles along an axis: raised cosines where two overlap, with a sum of one."""
    weights = np.ones((len(starts), side))
    for i, (here, there) in enumerate(pairwise(starts)):
        shared = here + side - there
        rising = 0.5 - 0.5 * np.cos(np.pi * (np.arange(shared) + 0.5) / shared)
        weights[i + 1, :shared] *= rising
        weights[i, -shared:] *= 1 - rising
    return weights.astype(np.float32)


def to_comparable(depth: Tensor, quantity: Quantity) -> Tensor:
    """Return depth in the form in which tiles and base differ by a scale and a shift."""
    return depth.clamp_min(NEAREST_METRES).log() if quantity == "metres" else depth


def fill_nonfinite(depth: Tensor, quantity: Quantity) -> Tensor:
    """Return depth with infinity set to its largest finite value and NaN to its farthest; all 0 if none is finite."""
    known = depth[depth.isfinite()]
    low, high = (known.min().item(), known.max().item()) if known.numel() else (0.0, 0.0)
    return depth.nan_to_num(nan=low if quantity == "inverse depth" else high, posinf=high, neginf=low)
