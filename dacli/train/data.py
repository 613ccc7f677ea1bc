"""An endless, seeded stream of rendered training batches."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dacli.preprocess import MEAN, STD
from dacli.scenes import draw, scene
from dacli.train.augment import augment, view

FORMATS = ((1.0, 1.0), (1.0, 1.0), (1.0, 4 / 3), (1.0, 1.5), (1.0, 16 / 9), (4 / 3, 1.0), (1.5, 1.0))
KEPT = 2500


@dataclass(frozen=True)
class Stage:
    """So many steps at one size: short side in pixels, batch size, new scenes a batch, canvas they are rendered on."""

    steps: int
    size: int
    batch: int
    fresh: int
    canvas: int


@dataclass(frozen=True)
class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches first … last of one stage. Each renders `fresh` new scenes; the rest are new views of recent ones.

    Each of W workers makes every W-th batch, from recent scenes of its own. A stream starts without any, so a run that
    was resumed sees the same new scenes as one that never stopped, but other older ones beside them.
    """

    stage: Stage
    seed: int
    first: int
    last: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised pictures [B, 3, H, W] and inverse depth [B, H, W]; the same for the same first, last and seed."""
        worker = get_worker_info()
        if worker:
            torch.set_num_threads(1)
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        recent: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT)
        for number in range(self.first + offset, self.last, stride):
            wanted = self.stage.fresh if recent else 2 * self.stage.batch
            recent.extend(self.rendered(number, wanted))
            yield self.batch(number, recent)

    def rendered(self, number: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """New scenes of batch `number`: RGB [3, h, w] uint8 and inverse depth [h, w] float16."""
        for k in range(count):
            picture = draw([scene(self.seed, number * 1000 + k)], self.stage.canvas, self.stage.canvas)
            yield picture.rgb[0], picture.inverse_depth[0].half()

    def batch(self, number: int, recent: deque[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Batch `number`: the newest scenes, and random older ones."""
        random = Generator().manual_seed(self.seed * 1_000_003 + number)
        height, width = picture_size(self.stage.size, random)
        older = torch.randint(0, len(recent), (self.stage.batch - self.stage.fresh,), generator=random).tolist()
        newest = range(len(recent) - self.stage.fresh, len(recent))
        views = [view(*recent[i], height, width, random) for i in (*newest, *older)]
        rgb, truth = (torch.stack(part) for part in zip(*views, strict=True))
        rgb = augment(rgb, truth, random)
        mean, std = (torch.tensor(v).float().view(1, 3, 1, 1) for v in (MEAN, STD))
        return (rgb - mean) / std, truth


def picture_size(size: int, random: Generator) -> tuple[int, int]:
    """A random format about as large as size × size, with sides that are multiples of 32."""
    rows, columns = FORMATS[int(torch.randint(0, len(FORMATS), (), generator=random))]
    scale = size / (rows * columns) ** 0.5
    return round(rows * scale / 32) * 32, round(columns * scale / 32) * 32


def loader(stage: Stage, seed: int, first: int, last: int, workers: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """The stream's batches, made by `workers` processes ahead of need (0: in this process)."""
    ahead: dict[str, Any] = {"prefetch_factor": 6, "multiprocessing_context": "forkserver"} if workers else {}
    return DataLoader(Stream(stage, seed, first, last), batch_size=None, num_workers=workers, **ahead)
