"""From pictures to depth at their own size: the one Predictor."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli import render
from dacli.device import Plan
from dacli.engine import Engine
from dacli.errors import MemoryShortError
from dacli.networks import Network
from dacli.preprocess import network_size, prepare, to_source
from dacli.tiling import plan, refine

LARGEST_BATCH = 32
GAIN = 0.95  # a batch pays if a picture in it takes less than this share of its time in half the batch


@dataclass(frozen=True)
class Prepared:
    """A picture as the network sees it, normalised float32 [3, h, w], and the (H, W) it had.

    `rgb` is the picture itself where the network's input is larger than its native one: tiles of it need less memory.
    """

    tensor: Tensor
    source: tuple[int, int]
    rgb: NDArray[np.uint8 | np.uint16] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in pixels."""
        return self.tensor.shape[1], self.tensor.shape[2]

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self.tensor.nbytes + (0 if self.rgb is None else self.rgb.nbytes)


@dataclass(frozen=True)
class Raw:
    """Finite depth [h, w] at the network's size, and how it was made; `note` says what had to be done otherwise.

    Depth made of tiles has the source's size already; the network then saw a canvas of `size`.
    """

    tensor: Tensor
    source: tuple[int, int]
    precision: str
    note: str = ""
    size: tuple[int, int] | None = None
    tiles: int = 0

    @property
    def nbytes(self) -> int:
        """What it holds in memory, and will when it has the source's size."""
        return self.tensor.nbytes + 4 * self.source[0] * self.source[1]


@dataclass(frozen=True)
class Prediction:
    """Depth [H, W] float32 at the source's size, and how it was made; `note` says what had to be done otherwise."""

    depth: NDArray[np.float32]
    network_size: tuple[int, int]
    tiles: int
    precision: str
    note: str = ""


class Predictor:
    """A network, an engine, an input size (short side in pixels, None: the network's own), and how many go together.

    Its three steps may run in three threads; forward() in one at a time.
    """

    def __init__(self, network: Network, plan: Plan, size: int | None = None, batch: int = 1) -> None:
        self.patch, self.align_corners = network.patch, network.align_corners
        self.quantity: render.Quantity = "inverse depth" if network.max_depth is None else "metres"
        self.max_depth = network.max_depth
        self.native = network.native_size
        self.size = size or self.native
        self.engine = Engine(network, plan)
        self.exact: Engine | None = None
        self.batch = batch

    def predict(self, pictures: Sequence[NDArray[np.uint8 | np.uint16]]) -> list[Prediction]:
        """Depth of RGB pictures [H, W, 3] of any sizes; those of one network size go through it together."""
        seen = [self.prepare(picture) for picture in pictures]
        found: dict[int, Prediction] = {}
        for size in dict.fromkeys(one.size for one in seen):
            rows = [i for i, one in enumerate(seen) if one.size == size]
            found.update(zip(rows, map(self.finish, self.forward([seen[i] for i in rows])), strict=True))
        return [found[i] for i in range(len(pictures))]

    def prepare(self, rgb: NDArray[np.uint8 | np.uint16]) -> Prepared:
        """An RGB picture [H, W, 3] resized and normalised for the network."""
        height, width = rgb.shape[:2]
        tensor = prepare(rgb, network_size(height, width, self.size, self.patch))
        return Prepared(tensor, (height, width), rgb if self.size > self.native else None)

    def forward(self, batch: Sequence[Prepared]) -> list[Raw]:
        """What the network makes of pictures of one size, together; where memory is short, of fewer, then of tiles.

        Raises MemoryShortError if it does not suffice for a tile of one picture.
        """
        try:
            raws = self.engine.forward(torch.stack([one.tensor for one in batch]))
        except MemoryShortError:
            if len(batch) == 1 and batch[0].rgb is None:
                raise
        else:
            return [self.settle(one, raw) for one, raw in zip(batch, raws, strict=True)]
        self.free()
        if len(batch) == 1 and batch[0].rgb is not None:
            return [self.in_tiles(batch[0], batch[0].rgb)]
        half = len(batch) // 2
        self.batch = min(self.batch, half)
        return self.forward(batch[:half]) + self.forward(batch[half:])

    def in_tiles(self, picture: Prepared, rgb: NDArray[np.uint8 | np.uint16]) -> Raw:
        """Depth of a picture that is too large for one pass."""
        tiling = plan(*picture.source, self.size, self.native, self.patch)
        metres = self.quantity == "metres"
        made = refine(rgb, self.engine.forward, tiling, metres=metres, align_corners=self.align_corners)
        note = f"memory did not suffice for one pass, so it was made of {tiling.count} tiles"
        if made.unsound:
            note += f"; {made.unsound} passes gave numbers that are not finite"
        depth, precision = torch.from_numpy(made.depth), self.engine.plan.precision
        return Raw(depth, picture.source, precision, note, tiling.canvas, tiling.count)

    def free(self) -> None:
        if self.engine.plan.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def finish(self, raw: Raw) -> Prediction:
        """Depth at the size of the source."""
        depth = to_source(raw.tensor, *raw.source, align_corners=self.align_corners)
        height, width = raw.size or raw.tensor.shape
        return Prediction(depth, (height, width), raw.tiles, raw.precision, raw.note)

    def settle(self, picture: Prepared, raw: Tensor) -> Raw:
        """Finite depth of one picture, with a note if `raw` was not finite."""
        precision = self.engine.plan.precision
        if bool(raw.isfinite().all()):
            return Raw(raw, picture.source, precision)
        note = "the network gave numbers that are not finite"
        if precision != "fp32":
            self.exact = self.exact or self.engine.in_float32()
            raw, note = (
                self.exact.forward(picture.tensor[None])[0],
                f"{precision} overflowed, so it was computed in fp32",
            )
            if bool(raw.isfinite().all()):
                return Raw(raw, picture.source, "fp32", note)
            note += ", which overflowed too"
        return Raw(self.filled(raw), picture.source, "fp32", f"{note}; its depth is not to be trusted there")

    def filled(self, raw: Tensor) -> Tensor:
        """Depth with infinity set to the largest finite value and NaN to the farthest, or all 0 if none is finite."""
        known = raw[raw.isfinite()]
        if known.numel() == 0:
            return torch.zeros_like(raw)
        low, high = known.min().item(), known.max().item()
        return raw.nan_to_num(nan=high if self.quantity == "metres" else low, posinf=high, neginf=low)


def paying_batch(engine: Engine, size: tuple[int, int], clock: Callable[[], float] = time.perf_counter) -> int:
    """The batch up to which a picture of (h, w) pixels takes less time the more go together, and that fits in memory.

    On a CPU that is 1: one picture of vits at 518 keeps all cores busy (1, 2 and 4 together took 0.54, 0.53 and 0.54 s
    each), and the last bits of a result then do not depend on what stood beside it in a run that was broken off.
    """
    if engine.plan.device == "cpu":
        return 1
    best, fastest = 1, seconds_each(engine, size, 1, clock)
    while best < LARGEST_BATCH:
        try:
            taken = seconds_each(engine, size, 2 * best, clock)
        except MemoryShortError:
            break
        if taken >= GAIN * fastest:
            break
        best, fastest = 2 * best, taken
    return best


def seconds_each(engine: Engine, size: tuple[int, int], count: int, clock: Callable[[], float]) -> float:
    """Seconds for one picture of a batch, the least of three after one to warm up."""
    pictures = torch.zeros(count, 3, *size)
    engine.forward(pictures)
    taken = []
    for _ in range(3):
        begun = clock()
        engine.forward(pictures)
        taken.append(clock() - begun)
    return min(taken) / count
