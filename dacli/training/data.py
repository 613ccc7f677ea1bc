"""Training data: sources of pictures with depth, and batches of which number n is always the same."""

import multiprocessing
import multiprocessing.connection
import os
import signal
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
from dacli.scenes.layouts import Layout, render_layouts
from dacli.training.augment import augment_photometric, cut_mix, random_crop, random_number, strong_augmentation

TrainingSample = tuple[Tensor, Tensor]
AspectRatio = tuple[float, float]  # height to width

ASPECT_RATIOS = ((1.0, 1.0), (1.0, 1.0), (1.0, 4 / 3), (1.0, 1.5), (1.0, 16 / 9), (4 / 3, 1.0), (1.5, 1.0))
WHOLE_ASPECT_RATIOS = (
    (1.0, 1.0),
    (1.0, 4 / 3),
    (1.0, 16 / 9),
    (4 / 3, 1.0),
)  # of uncropped pictures, one for each lane
SIZE_STEP = 32  # sides are multiples of this, unless the network has another patch size
CACHED_SCENES = 1024  # rendered scenes that are kept for further crops
BATCH_LANES = 4  # batches n, n + 4, n + 8 … share their scenes, so that 2 or 4 workers do not render the same ones
MAX_ZOOM = 0.5  # crops are smaller than the largest that fits by up to this share
VALIDATION_SAMPLES = 16  # samples held out for validation, at most


@dataclass(frozen=True)
class TrainingStage:
    """A number of steps at one picture size and one batch size.

    `size` is the short side of pictures in pixels; `fresh` is the number of new scenes in a batch, and `canvas` the
    short side in pixels at which they are rendered. The names of the fields are recorded in checkpoints and weights.
    """

    steps: int
    size: int
    batch: int
    fresh: int
    canvas: int


@dataclass(frozen=True)
class SceneSource:
    """Rendered scenes: some new ones in each batch; its other samples are new crops of scenes of recent batches.

    `make` returns the layout of a stream and a number. `whole` scenes are rendered in the aspect ratio of their batch,
    so that pictures show all that the lens sees. A training that resumes renders recent scenes again when needed.
    """

    seed: int
    make: Callable[[int, int], Layout]
    whole: bool = False

    def choose_item(self, stage: TrainingStage, past: int, number: int, slot: int, random: Generator) -> int:
        """Return the number of the scene in a slot of batch `number`, the batch after the first `past` of the stage."""
        reach = min(past // BATCH_LANES, CACHED_SCENES // (BATCH_LANES * stage.fresh))
        back = int(torch.randint(reach + 1, (), generator=random)) if slot >= stage.fresh else 0
        # The first batch of a lane has no earlier ones: all of its samples are new scenes.
        first = past - BATCH_LANES * back < BATCH_LANES
        return (number - BATCH_LANES * back) * 1000 + (slot if first else slot % stage.fresh)

    def canvas(self, item: int, stage: TrainingStage) -> TrainingSample:
        """Return RGB [3, h, w] uint8 and inverse depth [h, w] float16 of a scene, to take crops from."""
        rendering = render_layouts([self.make(self.seed, item)], *self.canvas_size(item // 1000, stage))
        return rendering.rgb[0], rendering.inverse_depth[0].half()

    def canvas_size(self, number: int, stage: TrainingStage) -> tuple[int, int]:
        """Return the height and width in pixels at which the scenes of batch `number` are rendered."""
        rows, columns = self.aspect_ratio(number)
        return round(rows * stage.canvas), round(columns * stage.canvas)

    def aspect_ratio(self, number: int) -> AspectRatio:
        """Return the height and width of the canvases of batch `number`, in units of the shorter side."""
        return WHOLE_ASPECT_RATIOS[number % BATCH_LANES] if self.whole else WHOLE_ASPECT_RATIOS[0]

    def held_out(self) -> list[tuple["SceneSource", int]]:
        """Return the source and number of each scene for validation; they come from another stream."""
        return [(replace(self, seed=self.seed + 1_000_000), index) for index in range(VALIDATION_SAMPLES)]


@dataclass(frozen=True)
class PairSource:
    """Pictures with depth in files, shuffled in every epoch."""

    seed: int
    pairs: tuple[DepthPair, ...]

    @property
    def held_out_count(self) -> int:
        """Return how many pairs at the end of the list are held out for validation."""
        return min(VALIDATION_SAMPLES, max(1, len(self.pairs) // 50))

    def choose_item(self, stage: TrainingStage, _past: int, number: int, slot: int, random: Generator) -> int:  # noqa: ARG002
        """Return the number of the pair in a slot of batch `number`."""
        count = len(self.pairs) - self.held_out_count
        epoch, place = divmod(number * stage.batch + slot, count)
        return int(epoch_order(self.seed, epoch, count)[place])

    def canvas(self, item: int, _stage: TrainingStage) -> TrainingSample:
        """Return RGB [3, h, w] uint8 and inverse depth [h, w] float32, NaN where it is unknown, to take crops from."""
        rgb, depth = datasets.read_pair(self.pairs[item])
        eight = rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
        return torch.from_numpy(eight).permute(2, 0, 1), torch.from_numpy(depth)

    def aspect_ratio(self, _number: int) -> AspectRatio:
        """Return that of the square, which contains the whole shorter side of any picture."""
        return WHOLE_ASPECT_RATIOS[0]

    def held_out(self) -> list[tuple["PairSource", int]]:
        """Return the source and number of each pair for validation."""
        return [(self, len(self.pairs) - 1 - index) for index in range(self.held_out_count)]


TrainingSource = SceneSource | PairSource


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, count: int) -> Tensor:
    """Return the numbers 0 … count - 1 in the order of an epoch."""
    return torch.randperm(count, generator=seeded_generator(seed, epoch))


def seeded_generator(*numbers: int) -> Generator:
    """Return a generator whose seed depends on all of the non-negative numbers, their order and their count."""
    state = np.random.SeedSequence([len(numbers), *numbers]).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0] >> 1))


@dataclass(frozen=True)
class BatchSettings:
    """How the batches of a stage are made; the sides of pictures are multiples of `patch`.

    `strong` adds the strong augmentation of students. `metric` pictures are not zoomed, because the lens defines the
    scale, and are only mirrored, as in the fine-tuning of Depth Anything V2.
    """

    stage: TrainingStage
    source: TrainingSource
    seed: int
    patch: int = SIZE_STEP
    strong: bool = False
    metric: bool = False

    def picture_size(self, number: int) -> tuple[int, int]:
        """Return the height and width of the pictures of batch `number`."""
        if self.metric:
            return whole_picture_size(self.stage.size, self.source.aspect_ratio(number), self.patch)
        return random_picture_size(self.stage.size, seeded_generator(self.seed, number), self.patch)

    def crop(self, canvas: TrainingSample, height: int, width: int, random: Generator) -> TrainingSample:
        """Return a random crop of a canvas, resized: RGB [3, height, width] in 0…1 and inverse depth."""
        return random_crop(*canvas, height, width, random, zoom=0 if self.metric else MAX_ZOOM)


@dataclass
class BatchStream(IterableDataset[TrainingSample | DacliError]):
    """Batches `first` to `last` (exclusive) of a stage that starts at batch `begin`.

    Batch number n depends only on the settings and n, so a training that is interrupted resumes exactly. Each of W
    workers makes every W-th batch. Of several processes (`ranks`) each makes its own slots of every batch. If a file is
    faulty, its DacliError takes the place of the batch, and load_batches() raises it.
    """

    settings: BatchSettings
    begin: int
    first: int
    last: int
    rank: int = 0
    ranks: int = 1
    canvases: OrderedDict[int, TrainingSample] = field(default_factory=OrderedDict)

    def __iter__(self) -> Iterator[TrainingSample | DacliError]:
        """Yield pictures [B, 3, H, W] in 0…1 and inverse depth [B, R, H, W] of R regions each; NaN is unknown."""
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
        """Return batch `number`, or the part of it that belongs to the rank."""
        height, width = self.settings.picture_size(number)
        slots = range(self.rank, self.settings.stage.batch, self.ranks)
        rgb, truth = zip(*(self.sample(number, slot, height, width) for slot in slots), strict=True)
        return torch.stack(rgb), torch.stack(truth)

    def sample(self, number: int, slot: int, height: int, width: int) -> TrainingSample:
        """Return augmented RGB [3, height, width] in 0…1 and inverse depth [R, height, width] of one slot."""
        settings = self.settings
        random = seeded_generator(settings.seed, number, slot)
        rgb, truth = self.random_view(number, slot, height, width, random)
        if settings.metric:
            return rgb, truth[None]
        rgb = augment_photometric(rgb[None], truth.nan_to_num(0)[None], random)[0]
        if not settings.strong:
            return rgb, truth[None]
        rgb = strong_augmentation(rgb[None], random)[0]
        if random_number(random) < 0.5:
            next_slot = (slot + 1) % settings.stage.batch
            other, other_truth = self.random_view(number, next_slot, height, width, random)
            return cut_mix((rgb, truth), (strong_augmentation(other[None], random)[0], other_truth), random)
        return rgb, torch.stack([truth, torch.full_like(truth, torch.nan)])

    def random_view(self, number: int, slot: int, height: int, width: int, random: Generator) -> TrainingSample:
        """Return a random crop of the scene or picture in a slot of batch `number`."""
        settings = self.settings
        item = settings.source.choose_item(settings.stage, number - self.begin, number, slot, random)
        return settings.crop(self.canvas(item), height, width, random)

    def canvas(self, item: int) -> TrainingSample:
        """Return the canvas of a scene or picture; rendered ones are kept for later crops."""
        source, stage = self.settings.source, self.settings.stage
        if isinstance(source, PairSource):
            return source.canvas(item, stage)
        if item not in self.canvases:
            self.canvases[item] = source.canvas(item, stage)
            if len(self.canvases) > CACHED_SCENES + BATCH_LANES * stage.batch:
                self.canvases.popitem(last=False)
        return self.canvases[item]


def validation_samples(settings: BatchSettings) -> TrainingSample:
    """Return held-out samples, not augmented: pictures [B, 3, S, S] in 0…1 and inverse depth [B, 1, S, S]."""
    height, width = whole_picture_size(settings.stage.size, WHOLE_ASPECT_RATIOS[0], settings.patch)
    samples = [
        settings.crop(source.canvas(item, settings.stage), height, width, seeded_generator(0, item))
        for source, item in settings.source.held_out()
    ]
    rgb, truth = zip(*samples, strict=True)
    return torch.stack(rgb), torch.stack(truth)[:, None]


def random_picture_size(size: int, random: Generator, patch: int = SIZE_STEP) -> tuple[int, int]:
    """Return a random height and width with about the area of size × size, in multiples of the patch."""
    rows, columns = ASPECT_RATIOS[int(torch.randint(0, len(ASPECT_RATIOS), (), generator=random))]
    return whole_picture_size(size / (rows * columns) ** 0.5, (rows, columns), patch)


def whole_picture_size(size: float, ratio: AspectRatio, patch: int = SIZE_STEP) -> tuple[int, int]:
    """Return the height and width of an aspect ratio whose side of 1 is `size` pixels, in multiples of the patch."""
    height, width = (max(1, round(side * size / patch)) * patch for side in ratio)
    return height, width


def end_with_parent(_worker: int) -> None:
    """End this worker as soon as the process of the training ends, even if that is killed, and not by Ctrl-C.

    The workers of PyTorch only watch the process that forked them: the fork server, which in turn waits for them. A
    terminal sends Ctrl-C to all of them, and the training needs its batch to end the step.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def load_batches(stream: BatchStream, workers: int) -> Iterator[TrainingSample]:
    """Yield the batches of the stream, made ahead of time by `workers` processes, or by this one if there are none.

    Raises the DacliError of a file that cannot be read.
    """
    for item in load_items(stream, workers):
        if isinstance(item, DacliError):
            raise item
        yield item


def load_items(stream: IterableDataset[Any], workers: int) -> Iterator[Any]:
    """Yield the items of the stream, made ahead of time by `workers` processes, or by this one if there are none."""
    ahead: dict[str, Any] = {}
    if workers:
        ahead = {"prefetch_factor": 6, "multiprocessing_context": "forkserver", "worker_init_fn": end_with_parent}
    yield from DataLoader(stream, batch_size=None, num_workers=workers, **ahead)
