"""Tiles against one pass on rendered scenes with exact depth: python -m benchmarks.tile_quality prints the table."""

import argparse
import multiprocessing
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dacli import types
from dacli.evaluation import metrics
from dacli.inference import device, planning, tiling
from dacli.inference.engines.torch_engine import TorchEngine
from dacli.inference.preprocess import MEAN, STD, normalize_image, resize_to_source
from dacli.models import tiny
from dacli.models.spec import network_size
from dacli.scenes import kinds, layouts
from dacli.scenes.figures import add_person
from dacli.scenes.objects import add_fence
from dacli.scenes.parts import Parts

SEED, COUNT = 31, 30
FORMATS = ((3, 4), (4, 3), (1, 1))
SIZE = 1600  # short side of the pictures
NEAREST = 0.1  # metres, of what the simulated network can be shown
THIN = 100  # a structure is thin if it is narrower than this share of the short side


@dataclass(frozen=True)
class Figures:
    """Measures of one map (see metrics); NaN where nothing counts."""

    delta1: float
    abs_rel: float
    ordinal: float
    d3r: float
    boundary_f1: float
    thin: float
    seam: float


@dataclass(frozen=True)
class Subject:
    """A network under test: what it is shown of a scene, and the sizes it is asked for, in one pass and in tiles."""

    name: str
    forward: tiling.TileForward
    show: Callable[[layouts.Rendering], NDArray[np.uint8 | np.uint16]]
    native: int
    patch: int
    passes: tuple[int, ...]
    tiles: tuple[int, ...]


@dataclass(frozen=True)
class Simulated:
    """A network without weights that knows the depth and errs as users of large inputs describe; see encoded().

    Of a picture it loses what is narrower than two pixels. It says depth up to a scale and a shift that depend on the
    picture's own range, with a contrast curve, a tilt, relief where the picture has texture,
    and errors that vary over half its native size and from one depth to another, so that whole objects are misplaced:
    by 4 % of the range (standard deviation) at the native size, and by 12 % more for each native size beyond. The same
    picture gives the same depth.
    """

    native: int

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return inverse depth [B, H, W] of encoded pictures [B, 3, H, W]."""
        return torch.stack([self.one(picture.double().numpy()) for picture in pictures])

    def one(self, picture: NDArray[np.float64]) -> Tensor:
        """Return inverse depth [H, W] of one picture [3, H, W]."""
        rng = np.random.default_rng(zlib.crc32(np.float32(picture).tobytes()))
        truth, gray = ((picture[c] * STD[c] + MEAN[c]).astype(np.float32) for c in (0, 1))
        seen = cv2.GaussianBlur(cv2.medianBlur(truth, 3), (0, 0), 0.6)
        low, high = np.percentile(seen[::4, ::4], [2, 98])
        spread = max(high - low, 1e-4)
        depth = (seen - low) / spread
        placed = misplacement(rng, depth, self.native)
        curve = np.exp(rng.uniform(np.log(0.85), np.log(1.2)))
        depth = np.sign(depth) * np.abs(depth) ** curve + placed + tilt(rng, depth.shape) + relief(gray)
        return torch.from_numpy(np.float32(rng.uniform(0.5, 2) * (depth + 1) + rng.uniform(0, 1))).clamp_min(0)


def misplacement(rng: np.random.Generator, depth: types.FloatArray, native: int) -> types.FloatArray:
    """Return smooth random offsets [H, W] for depth in 0 … 1, larger in pictures beyond `native`."""
    height, width = depth.shape
    beyond = max(0.0, min(height, width) / native - 1)
    nodes = [int(np.ceil(2 * side / native)) + 1 for side in (height, width)]
    lattice = torch.from_numpy(rng.normal(0, 0.04 + 0.12 * beyond, (1, 1, 5, *nodes)).astype(np.float32))
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    z = torch.from_numpy(np.float32(depth.clip(0, 1) * 2 - 1))
    offsets = F.grid_sample(lattice, torch.stack([x, y, z], -1)[None, None], align_corners=True)
    return np.asarray(offsets[0, 0, 0].numpy())


def tilt(rng: np.random.Generator, shape: tuple[int, ...]) -> types.FloatArray:
    rows, columns = (np.linspace(-0.5, 0.5, side) for side in shape)
    return np.asarray(0.05 * (rng.normal() * rows[:, None] + rng.normal() * columns))


def relief(gray: types.FloatArray) -> types.FloatArray:
    texture = cv2.GaussianBlur(gray, (0, 0), 2) - cv2.GaussianBlur(gray, (0, 0), 8)
    return np.asarray(0.03 * texture / (texture.std() + 0.05))


def encoded(rendering: layouts.Rendering) -> NDArray[np.uint16]:
    """Return what a simulated network is shown.

    Inverse depth in the first channel, NEAREST at full scale, and gray twice.
    """
    inverse = (rendering.inverse_depth[0].numpy() * NEAREST).clip(0, 1)
    gray = cv2.cvtColor(colors(rendering), cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257
    return np.stack([np.rint(inverse * 65535).astype(np.uint16), gray, gray], -1)


def colors(rendering: layouts.Rendering) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rendering.rgb[0].permute(1, 2, 0).numpy())


def layout(index: int) -> layouts.Layout:
    """Return scene number `index`: a room, a street or a landscape with a railing and three people in it."""
    rng = np.random.default_rng([SEED, index])
    made = (kinds.make_room, kinds.make_street, kinds.make_landscape)[index % 3](rng)
    parts = Parts(rng)
    add_fence(parts, np.array([rng.normal(0, 0.4), 0, rng.uniform(2.5, 5)]), 1.0)
    for z in rng.uniform(2.5, 8, 3):
        add_person(parts, np.array([rng.uniform(-0.4, 0.4) * z, 0, z]), 2.0)
    added = parts.solids()
    return replace(made, solids={name: np.concatenate([rows, added[name]]) for name, rows in made.solids.items()})


def drawn(index: int, size: int) -> layouts.Rendering:
    """Return scene number `index` with a short side of `size`, in three formats by turns of three."""
    tall, wide = FORMATS[index // 3 % len(FORMATS)]
    short = min(tall, wide)
    return layouts.render_layouts([layout(index)], size * tall // short, size * wide // short)


def measured(prediction: types.FloatArray, truth: types.FloatArray, plan: tiling.Tiling) -> Figures:
    """Return the measures of inverse depth [H, W], as it is; `plan` tells where seams would be."""
    rows, columns = (
        [round(border * side / length) for start in starts for border in (start, start + tile) if 0 < border < length]
        for starts, tile, length, side in zip(
            (plan.rows, plan.columns), plan.tile, plan.canvas, truth.shape, strict=True
        )
    )
    return Figures(
        metrics.delta1(prediction, truth),
        metrics.abs_rel(prediction, truth),
        metrics.ordinal(prediction, truth, np.random.default_rng(0)),
        metrics.d3r(prediction, truth),
        metrics.boundary_f1(prediction, truth),
        metrics.thin_contrast(prediction, truth, min(truth.shape) // THIN | 1),
        metrics.seam_index(prediction, truth, rows, columns),
    )


def ways(subject: Subject, rendering: layouts.Rendering) -> Iterator[tuple[str, Figures]]:
    """Yield the measures of every pass and of all tiles on one scene."""
    picture, truth = subject.show(rendering), rendering.inverse_depth[0].numpy().astype(np.float64)
    height, width = truth.shape
    plans = {size: tiling.plan_tiles(height, width, size, subject.native, subject.patch) for size in subject.tiles}

    def figures(raw: Tensor, plan: tiling.Tiling) -> Figures:
        depth = resize_to_source(raw, height, width, align_corners=False)
        return measured(metrics.align_affine(depth, truth), truth, plan)

    for size in subject.passes:
        seen = normalize_image(picture, network_size(height, width, size, subject.patch))
        yield f"one pass, {size}", figures(subject.forward(seen[None])[0], plans.get(size, plans[subject.tiles[-1]]))
    for size, plan in plans.items():
        small = tiling.shrink_to_canvas(picture, plan.canvas)
        tiled = tiling.refine_with_tiles(small, normalize_image(small, plan.base), subject.forward, plan, batch=4)
        yield f"tiles, {size}", figures(tiled.depth, plan)


def subjects() -> list[Subject]:
    small = TorchEngine(tiny.load_tiny(), planning.resolve_plan("cpu", "fp32")).forward
    own = tiny.NATIVE_SIZE
    return [
        Subject("simulated", Simulated(518), encoded, 518, 14, (518, SIZE), (SIZE,)),
        Subject("tiny", small, colors, own, tiny.STRIDE, (own, 518, 800, SIZE), (800, SIZE)),
    ]


def on_scene(index: int) -> dict[tuple[str, str], Figures]:
    """Return the measures of all subjects on one scene, by their name and the way that was gone."""
    rendering = drawn(index, SIZE)
    return {(each.name, way): figures for each in subjects() for way, figures in ways(each, rendering)}


def table(found: list[dict[tuple[str, str], Figures]]) -> Iterator[str]:
    """Yield the rows of a Markdown table: mean measures of each subject and way over the scenes."""
    names = [f.name for f in fields(Figures)]
    yield "| network | input | δ1 | AbsRel | ordinal | D3R | boundary F1 | thin contrast | seam index |"
    yield "|---|---|" + "---|" * len(names)
    for name, way in found[0]:
        means = [np.nanmean([getattr(one[name, way], measure) for one in found]) for measure in names]
        yield f"| {name} | {way} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |"


def main() -> None:
    """Print the table; what is being measured goes to stderr."""
    found = []
    os.environ["OMP_NUM_THREADS"] = "1"  # of each process: more would wait for each other's cores
    with ProcessPoolExecutor(max(1, device.usable_cores() - 1), multiprocessing.get_context("spawn")) as pool:
        for figures in pool.map(on_scene, range(COUNT)):
            found.append(figures)
            sys.stderr.write(f"scene {len(found)} of {COUNT}\n")
    for row in table(found):
        sys.stdout.write(row + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser("python -m benchmarks.tile_quality", description=__doc__).parse_args()
    main()
