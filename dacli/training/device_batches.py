"""Batches of rendered scenes made on the training device: worker processes only make the layouts of new scenes.

Rendering, views and augmentation run in a thread beside the training loop, on a CUDA stream of their own.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import IterableDataset, get_worker_info

from dacli.prefetch import Prefetch
from dacli.scenes.layouts import Layout, render_layouts
from dacli.training.augment import augment_photometric
from dacli.training.data import (
    CACHED_SCENES,
    MAX_ZOOM,
    BatchSettings,
    SceneSource,
    TrainingSample,
    load_items,
    seeded_generator,
)

DEVICE_BYTES_AHEAD = 256 << 20  # of batches that wait on the device


@dataclass(frozen=True)
class LayoutStream(IterableDataset[list[Layout]]):
    """The layouts of the new scenes of batches `first` to `last` (exclusive); each of W workers makes every W-th list.

    Of several processes (`ranks`) each makes its own slots of every batch.
    """

    source: SceneSource
    fresh: int
    first: int
    last: int
    rank: int = 0
    ranks: int = 1

    def __iter__(self) -> Iterator[list[Layout]]:
        worker = get_worker_info()
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        slots = range(self.rank, max(self.fresh, self.ranks), self.ranks)
        for number in range(self.first + offset, self.last, stride):
            yield [self.source.make(self.source.seed, number * 1000 + slot) for slot in slots]


@dataclass
class ScenePool:
    """The last rendered scenes of one picture size, on a device: RGB uint8 [N, 3, h, w], inverse depth [N, h, w]."""

    capacity: int
    rgb: Tensor = field(default_factory=lambda: torch.empty(0))
    inverse_depth: Tensor = field(default_factory=lambda: torch.empty(0))
    added: int = 0

    @property
    def count(self) -> int:
        """Return the number of scenes in the pool."""
        return min(self.added, self.capacity)

    def add(self, rgb: Tensor, inverse_depth: Tensor) -> Tensor:
        """Put scenes in the place of the oldest ones; return their places [n]."""
        if self.added == 0:
            self.rgb = rgb.new_empty(self.capacity, *rgb.shape[1:])
            self.inverse_depth = inverse_depth.new_empty(self.capacity, *inverse_depth.shape[1:])
        places = (self.added + torch.arange(len(rgb))) % self.capacity
        self.rgb[places.to(rgb.device)] = rgb
        self.inverse_depth[places.to(rgb.device)] = inverse_depth
        self.added += len(rgb)
        return places


@dataclass(frozen=True)
class Views:
    """V rectangles of canvases in pixels: place in the pool, top, left, height, width, mirrored or not, [V] each."""

    place: Tensor
    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirrored: Tensor


class DeviceBatches:
    """Renders the new scenes of each batch on a device; the batch has views of them and of earlier ones.

    Batch n depends on the settings, n, and the batches since the training was started or resumed.
    """

    def __init__(
        self,
        settings: BatchSettings,
        source: SceneSource,
        device: torch.device | str,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.settings, self.source, self.device, self.rank = settings, source, torch.device(device), rank
        self.views = settings.stage.batch // ranks
        self.pools: dict[tuple[int, int], ScenePool] = {}
        self.stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def make(self, numbered: tuple[int, list[Layout]]) -> tuple[TrainingSample, "torch.cuda.Event | None"]:
        """Return batch `number` from its new layouts, and the event after which it is complete."""
        with torch.no_grad(), torch.cuda.stream(self.stream) if self.stream else contextlib.nullcontext():
            sample = self.batch(*numbered)
        return sample, self.stream.record_event() if self.stream else None

    def batch(self, number: int, layouts: list[Layout]) -> TrainingSample:
        """Return pictures [V, 3, H, W] in 0…1 and inverse depth [V, 1, H, W] of batch `number`."""
        settings = self.settings
        random = seeded_generator(settings.seed, number, self.rank, 0)
        size = self.source.canvas_size(number, settings.stage)
        rendering = render_layouts(layouts, *size, device=self.device)
        pool = self.pools.setdefault(size, ScenePool(CACHED_SCENES))
        fresh = pool.add(rendering.rgb, rendering.inverse_depth.half())
        height, width = settings.picture_size(number)
        views = self.choose_views(fresh, pool.count, size, (height, width), random)
        rgb, truth = crop_views(pool.rgb, pool.inverse_depth, views, height, width)
        if not settings.metric:
            rgb = augment_photometric(rgb, truth, random)
        return rgb, truth[:, None]

    def choose_views(
        self, fresh: Tensor, count: int, canvas: tuple[int, int], size: tuple[int, int], random: Generator
    ) -> Views:
        """Return random views: one of each new scene, then of any scene of the pool, as random_crop takes them."""
        earlier = torch.randint(count, (max(0, self.views - len(fresh)),), generator=random)
        place = torch.cat([fresh[: self.views], earlier])
        whole = min(canvas[0] / size[0], canvas[1] / size[1])
        zoom = 0.0 if self.settings.metric else MAX_ZOOM
        part = whole * (1 - zoom * torch.rand(len(place), generator=random) ** 2)
        height, width = ((side * part).int().clamp_min(8) for side in size)
        top, left = (
            (torch.rand(len(place), generator=random) * (full - side + 1)).floor()
            for full, side in zip(canvas, (height, width), strict=True)
        )
        mirrored = torch.rand(len(place), generator=random) < 0.5
        moved = (v.to(self.device, non_blocking=True) for v in (place, top, left, height, width, mirrored))
        return Views(*moved)


def crop_views(rgb: Tensor, inverse_depth: Tensor, views: Views, height: int, width: int) -> TrainingSample:
    """Return the views resized: RGB [V, 3, height, width] in 0…1, and inverse depth [V, height, width].

    Each pixel of the picture is the mean of four bilinear samples, against aliasing; a view of up to twice the size of
    the picture misses no pixel.
    """
    h, w = inverse_depth.shape[1:]
    sign = torch.where(views.mirrored, -1.0, 1.0)
    zero = torch.zeros_like(sign)
    share_x, share_y = views.width / w, views.height / h
    row_x = torch.stack([sign * share_x, zero, 2 * views.left / w + share_x - 1], 1)
    row_y = torch.stack([zero, share_y, 2 * views.top / h + share_y - 1], 1)
    theta = torch.stack([row_x, row_y], 1)
    fine = F.affine_grid(theta, [len(theta), 1, 2 * height, 2 * width], align_corners=False)
    pictures = F.grid_sample(
        rgb[views.place].float() / 255, fine, mode="bilinear", padding_mode="border", align_corners=False
    )
    coarse = F.affine_grid(theta, [len(theta), 1, height, width], align_corners=False)
    depth = F.grid_sample(
        inverse_depth[views.place, None].float(), coarse, mode="nearest", padding_mode="border", align_corners=False
    )
    return F.avg_pool2d(pictures, 2), depth[:, 0]


def batches_on_device(
    settings: BatchSettings,
    source: SceneSource,
    first: int,
    last: int,
    workers: int,
    device: torch.device | str,
    rank: int = 0,
    ranks: int = 1,
) -> Iterator[TrainingSample]:
    """Yield batches `first` to `last` (exclusive) on the device, made ahead of the loop that takes them."""
    layouts = load_items(LayoutStream(source, settings.stage.fresh, first, last, rank, ranks), workers)
    maker = DeviceBatches(settings, source, device, rank, ranks)
    ahead = Prefetch(
        enumerate(layouts, first),
        maker.make,
        lambda made: sum(tensor.nbytes for tensor in made[0]),
        limit=DEVICE_BYTES_AHEAD,
    )
    with contextlib.closing(ahead):
        for sample, complete in ahead:
            if complete is not None:
                torch.cuda.current_stream(maker.device).wait_event(complete)
                for tensor in sample:
                    tensor.record_stream(torch.cuda.current_stream(maker.device))
            yield sample
