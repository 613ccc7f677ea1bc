"""The batches of a training: an endless sequence in which number n is always the same, whichever process makes it."""

import multiprocessing
import multiprocessing.connection
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from dacli.errors import DacliError
from dacli.evaluation import datasets
from dacli.evaluation.datasets import DepthPair
from dacli.inference.preprocess import MEAN, STD
from dacli.scenes.layouts import Layout, render_layouts
from dacli.training.augment import augment_photometric, cut_mix, random_crop, random_number, strong_augmentation

TrainingSample = tuple[Tensor, Tensor]
AspectRatio = tuple[float, float]  # rows to columns

ASPECT_RATIOS = ((1.0, 1.0), (1.0, 1.0), (1.0, 4 / 3), (1.0, 1.5), (1.0, 16 / 9), (4 / 3, 1.0), (1.5, 1.0))
WHOLE_ASPECT_RATIOS = (
    (1.0, 1.0),
    (1.0, 4 / 3),
    (1.0, 16 / 9),
    (4 / 3, 1.0),
)  # of pictures that are shown whole, one for each lane
SIZE_STEP = 32  # sides are multiples of this, or of the network's patch
CACHED_SCENES = 1024  # rendered scenes that new views are taken of
BATCH_LANES = 4  # batches of one lane share their scenes, so that 2 or 4 workers need not render those of each other
MAX_ZOOM = 0.5  # views show down to this share of what fits
VALIDATION_SAMPLES = 16  # samples that are held out to watch the training by


@dataclass(frozen=True)
class TrainingStage:
    """So many steps at one size: short side in pixels, batch size, new scenes a batch, canvas they are rendered on."""

    steps: int
    size: int
    batch: int
    fresh: int
    canvas: int


@dataclass(frozen=True)
class SceneSource:
    """Rendered scenes: `fresh` new ones a batch, the other samples are new views of those of recent batches.

    A training that goes on renders the recent ones again when it comes to them. `whole`: rendered in the format of
    their batch, for views that show all that the lens sees.
    """

    seed: int
    make: Callable[[int, int], Layout]
    whole: bool = False

    def pick(self, stage: TrainingStage, past: int, number: int, slot: int, random: Generator) -> int:
        """Return which scene fills a slot of batch `number`, the stage having `past` batches before it."""
        reach = min(past // BATCH_LANES, CACHED_SCENES // (BATCH_LANES * stage.fresh))
        back = int(torch.randint(reach + 1, (), generator=random)) if slot >= stage.fresh else 0
        first = (
            past - BATCH_LANES * back < BATCH_LANES
        )  # of its lane: there are no earlier ones, so all of its samples are new
        return (number - BATCH_LANES * back) * 1000 + (slot if first else slot % stage.fresh)

    def canvas(self, item: int, stage: TrainingStage) -> TrainingSample:
        """Return RGB [3, h, w] uint8 and inverse depth [h, w] float16 of a scene."""
        rows, columns = self.format(item // 1000)
        picture = render_layouts(
            [self.make(self.seed, item)], round(rows * stage.canvas), round(columns * stage.canvas)
        )
        return picture.rgb[0], picture.inverse_depth[0].half()

    def format(self, number: int) -> AspectRatio:
        """Return of the canvases of batch `number`, the shorter side 1."""
        return WHOLE_ASPECT_RATIOS[number % BATCH_LANES] if self.whole else WHOLE_ASPECT_RATIOS[0]

    def watched(self) -> list[tuple["SceneSource", int]]:
        """Return scenes that are held out, of another stream."""
        return [(replace(self, seed=self.seed + 1_000_000), index) for index in range(VALIDATION_SAMPLES)]


@dataclass(frozen=True)
class PairSource:
    """Pictures with depth in files, in an order of its own in every epoch."""

    seed: int
    pairs: tuple[DepthPair, ...]

    @property
    def held(self) -> int:
        """Return how many pairs at the end of the list are held out."""
        return min(VALIDATION_SAMPLES, max(1, len(self.pairs) // 50))

    def pick(self, stage: TrainingStage, _past: int, number: int, slot: int, random: Generator) -> int:  # noqa: ARG002
        """Return which pair fills a slot of batch `number`."""
        count = len(self.pairs) - self.held
        epoch, place = divmod(number * stage.batch + slot, count)
        return int(epoch_order(self.seed, epoch, count)[place])

    def canvas(self, item: int, _stage: TrainingStage) -> TrainingSample:
        """Return RGB [3, h, w] uint8 and inverse depth [h, w] float32, NaN where it is not known."""
        rgb, depth = datasets.read_pair(self.pairs[item])
        eight = rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
        return torch.from_numpy(eight).permute(2, 0, 1), torch.from_numpy(depth)

    def format(self, _number: int) -> AspectRatio:
        """Return the square, which holds all of the shorter side of a picture of any format."""
        return WHOLE_ASPECT_RATIOS[0]

    def watched(self) -> list[tuple["PairSource", int]]:
        """Return the pairs that are held out."""
        return [(self, len(self.pairs) - 1 - index) for index in range(self.held)]


TrainingSource = SceneSource | PairSource


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the numbers below `count` in the order of an epoch."""
    return torch.randperm(count, generator=seeded_generator(seed, epoch))


def seeded_generator(*numbers: int) -> Generator:
    """Return a generator that depends on all of the numbers, which are not negative, and on how many there are."""
    state = np.random.SeedSequence([len(numbers), *numbers]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0] >> 1))


@dataclass(frozen=True)
class BatchSettings:
    """What a stage is taught with: sides are multiples of `patch`; `strong`: perturbed as students are (augment).

    `metric`: the shorter side stays whole, because the lens defines what a metre is, and pictures are only mirrored,
    as Depth Anything V2 fine-tunes.
    """

    stage: TrainingStage
    source: TrainingSource
    seed: int
    patch: int = SIZE_STEP
    strong: bool = False
    metric: bool = False

    def picture_size(self, number: int) -> tuple[int, int]:
        """Return height and width of the pictures of batch `number`."""
        if self.metric:
            return whole_picture_size(self.stage.size, self.source.format(number), self.patch)
        return random_picture_size(self.stage.size, seeded_generator(self.seed, number), self.patch)

    def view(self, canvas: TrainingSample, height: int, width: int, random: Generator) -> TrainingSample:
        """Return a random view of a canvas."""
        return random_crop(*canvas, height, width, random, zoom=0 if self.metric else MAX_ZOOM)


@dataclass
class BatchStream(IterableDataset[TrainingSample | DacliError]):
    """Batches first … last of a lesson whose first one is `begin`; a process of several makes the slots of its rank.

    Batch number n depends on the lesson and n alone, so a training that was broken off goes on as if nothing had been.
    Each of W workers makes every W-th batch. A fault in a file is given instead of the batch: it is reported elsewhere.
    """

    lesson: BatchSettings
    begin: int
    first: int
    last: int
    rank: int = 0
    ranks: int = 1
    canvases: OrderedDict[int, TrainingSample] = field(default_factory=OrderedDict)

    def __iter__(self) -> Iterator[TrainingSample | DacliError]:
        """Yield normalised pictures [B, 3, H, W] and inverse depth [B, R, H, W]; NaN is unknown, R regions a sample."""
        worker = get_worker_info()
        if worker:
            torch.set_num_threads(1)
        offset, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(self.first + offset, self.last, stride):
            try:
                yield self.batch(number)
            except DacliError as error:
                yield error

    def batch(self, number: int) -> TrainingSample:
        """Return batch `number`, or the part of it that falls to the rank."""
        lesson = self.lesson
        height, width = lesson.picture_size(number)
        slots = range(self.rank, lesson.stage.batch, self.ranks)
        rgb, truth = zip(*(self.sample(number, slot, height, width) for slot in slots), strict=True)
        return normalize_picture(torch.stack(rgb)), torch.stack(truth)

    def sample(self, number: int, slot: int, height: int, width: int) -> TrainingSample:
        """Return RGB [3, h, w] in 0…1 and inverse depth [R, h, w] of one slot."""
        lesson, past = self.lesson, number - self.begin
        random = seeded_generator(lesson.seed, number, slot)
        rgb, truth = self.seen(number, past, slot, height, width, random)
        if lesson.metric:
            return rgb, truth[None]
        rgb = augment_photometric(rgb[None], truth.nan_to_num(0)[None], random)[0]
        if not lesson.strong:
            return rgb, truth[None]
        rgb = strong_augmentation(rgb[None], random)[0]
        if random_number(random) < 0.5:
            other, behind = self.seen(number, past, (slot + 1) % lesson.stage.batch, height, width, random)
            return cut_mix((rgb, truth), (strong_augmentation(other[None], random)[0], behind), random)
        return rgb, torch.stack([truth, torch.full_like(truth, torch.nan)])

    def seen(self, number: int, past: int, slot: int, height: int, width: int, random: Generator) -> TrainingSample:
        """Return a random view of what fills the slot."""
        item = self.lesson.source.pick(self.lesson.stage, past, number, slot, random)
        return self.lesson.view(self.canvas(item), height, width, random)

    def canvas(self, item: int) -> TrainingSample:
        """Return what is to be seen, kept for later views if it had to be rendered."""
        source, stage = self.lesson.source, self.lesson.stage
        if isinstance(source, PairSource):
            return source.canvas(item, stage)
        if item not in self.canvases:
            self.canvases[item] = source.canvas(item, stage)
            if len(self.canvases) > CACHED_SCENES + BATCH_LANES * stage.batch:
                self.canvases.popitem(last=False)
        return self.canvases[item]


def normalize_picture(rgb: Tensor) -> Tensor:
    """Return pictures [B, 3, H, W] in 0…1 as networks see them."""
    mean, std = (torch.tensor(v).float().view(1, 3, 1, 1) for v in (MEAN, STD))
    return (rgb - mean) / std


def validation_samples(lesson: BatchSettings) -> TrainingSample:
    """Return held-out samples, square and plain: normalised pictures [B, 3, S, S] and inverse depth [B, 1, S, S]."""
    height, width = whole_picture_size(lesson.stage.size, WHOLE_ASPECT_RATIOS[0], lesson.patch)
    samples = [
        lesson.view(source.canvas(item, lesson.stage), height, width, seeded_generator(0, item))
        for source, item in lesson.source.watched()
    ]
    rgb, truth = zip(*samples, strict=True)
    return normalize_picture(torch.stack(rgb)), torch.stack(truth)[:, None]


def random_picture_size(size: int, random: Generator, patch: int = SIZE_STEP) -> tuple[int, int]:
    """Return a random format about as large as size × size, with sides that are multiples of the patch."""
    rows, columns = ASPECT_RATIOS[int(torch.randint(0, len(ASPECT_RATIOS), (), generator=random))]
    return whole_picture_size(size / (rows * columns) ** 0.5, (rows, columns), patch)


def whole_picture_size(size: float, shape: AspectRatio, patch: int = SIZE_STEP) -> tuple[int, int]:
    """Return height and width of a format whose side of 1 is as long as `size`, in multiples of the patch."""
    height, width = (max(1, round(side * size / patch)) * patch for side in shape)
    return height, width


def end_with_parent(_worker: int) -> None:
    """End this process as soon as the training does, though it be killed.

    PyTorch's workers look whether the process that forked them lives; that is the fork server, which waits for them.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def load_batches(stream: BatchStream, workers: int) -> Iterator[TrainingSample]:
    """Yield the stream's batches, made by `workers` processes ahead of need (0: in this process).

    Raises their DacliError.
    """
    ahead: dict[str, Any] = {}
    if workers:
        ahead = {"prefetch_factor": 6, "multiprocessing_context": "forkserver", "worker_init_fn": end_with_parent}
    for item in DataLoader(stream, batch_size=None, num_workers=workers, **ahead):
        if isinstance(item, DacliError):
            raise item
        yield item
