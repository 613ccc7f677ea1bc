"""From pictures to depth at their own size: the one Predictor."""

import copy
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli import types
from dacli.callbacks import Log
from dacli.errors import DacliError, MemoryShortError
from dacli.inference.device import Plan, free_memory, streams
from dacli.inference.engines.torch_engine import Engine
from dacli.inference.preprocess import network_size, prepare, to_source
from dacli.inference.tiling import Report, Tiling, filled, plan, refine, shrunk, unheard, wanted
from dacli.models.registry import Network
from dacli.types import TileMode

if TYPE_CHECKING:
    from dacli.inference.engines.openvino_engine import OpenVINOEngine

    AnyEngine = Engine | OpenVINOEngine

LARGEST_BATCH = 32
TILES_TOGETHER = 8  # of one picture, on a GPU
MOST = 64  # tiles of one picture at a time
GAIN = 0.95  # a batch pays if a picture in it takes less than this share of its time in half the batch


@dataclass(frozen=True)
class Prepared:
    """A picture as the network sees it, normalised float32 [3, h, w], and the (H, W) it had.

    `rgb` is the picture itself, not larger than `size`, where that is above the network's own: tiles are cut from it.
    With a `tiling` it is made of tiles, and the tensor is the base's.
    """

    tensor: Tensor
    source: tuple[int, int]
    rgb: NDArray[np.uint8 | np.uint16] | None = None
    tiling: Tiling | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) in pixels of all that the network sees, in one pass or in tiles."""
        return self.tiling.canvas if self.tiling else (self.tensor.shape[1], self.tensor.shape[2])

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return self.tensor.nbytes + (0 if self.rgb is None else self.rgb.nbytes)


@dataclass(frozen=True)
class Raw:
    """Finite depth [h, w] at the network's size, and how it was made; `note` says what had to be done otherwise."""

    tensor: Tensor
    source: tuple[int, int]
    precision: str
    note: str = ""
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

    `tile` says whether pictures are made of tiles: auto is where that is better than one pass. `report(done, of)` is
    called after every tile. Its three steps may run in three threads; forward() in one at a time. So many `pictures`
    are to come, of which the engine takes several at a time where that pays: by the predictors shared(). `say` is told
    what takes long before the first.
    """

    def __init__(
        self, network: Network, plan: Plan, size: int | None = None, batch: int = 1, pictures: int = 1,
        tile: TileMode = "auto", say: Log = lambda _: None,
    ) -> None:  # fmt: skip
        self.patch, self.align_corners = network.patch, network.align_corners
        self.quantity: types.Quantity = "inverse depth" if network.max_depth is None else "metres"
        self.native, self.max_depth = network.native_size, network.max_depth
        self.heads, self.bytes_per_pixel = network.heads, network.bytes_per_pixel
        self.size = size or self.native
        self.largest_pass = network.largest_pass
        self.tiled = wanted(tile, self.size, self.largest_pass)
        self.cut = self.tiled and self.size > self.native
        self.workers = streams(plan, pictures)
        self.engine = start(network, plan, streams(plan, MOST) if self.cut else self.workers, say)
        self.exact: list[AnyEngine] = []
        self.making = threading.Lock()
        self.batch = batch
        self.report: Report = unheard

    @property
    def plan(self):
        return self.engine.plan

    @property
    def batch_size(self):
        return self.batch

    @property
    def concurrency(self):
        return min(2, self.workers) if self.cut else self.workers

    def infer(self, batch, progress=unheard):
        c = copy.copy(self)
        c.report = progress
        return c.forward(batch)

    def shared(self) -> list["Predictor"]:
        """The same predictor for each of so many threads as keep the engine busy with pictures of their own.

        They share the engines, also the one in float32, which the first to need it makes. Where all streams work on the
        tiles of one picture, a second one fills the gaps.
        """
        return [copy.copy(self) for _ in range(min(2, self.workers) if self.cut else self.workers)]

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
        if not self.tiled and self.size <= self.native:
            return Prepared(prepare(rgb, network_size(height, width, self.size, self.patch)), (height, width))
        tiling = plan(height, width, self.size, self.native, self.patch)
        small = shrunk(rgb, tiling.canvas)
        if self.tiled and tiling.count > 1:
            return Prepared(prepare(small, tiling.base), (height, width), small, tiling)
        return Prepared(prepare(rgb, tiling.canvas), (height, width), small)

    def forward(self, batch: Sequence[Prepared]) -> list[Raw]:
        """What the network makes of pictures of one size, together; where memory is short, of fewer, then of tiles.

        Raises MemoryShortError if it does not suffice for a tile of one picture.
        """
        cut = [(one, one.rgb) for one in batch if one.rgb is not None]
        if batch[0].tiling is not None:
            return [self.in_tiles(one, rgb) for one, rgb in cut]
        try:
            if cut:
                self.check_memory(*batch[0].size)
            raws = self.passes(torch.stack([one.tensor for one in batch]))
        except MemoryShortError as error:
            if not cut:
                raise
            return [self.in_tiles(one, rgb, error.message) for one, rgb in cut]
        return [self.settle(one, raw) for one, raw in zip(batch, raws, strict=True)]

    def check_memory(self, height: int, width: int) -> None:
        """Raises MemoryShortError if one pass would take more memory than there is."""
        needed, free = self.needs(height, width), free_memory(self.engine.plan.device)
        if free is not None and needed > free:
            fault = f"one pass over {height} × {width} pixels takes some {needed / 1e9:.1f} GB"
            raise MemoryShortError(f"{fault} and {free / 1e9:.1f} GB are free", "try a smaller --size")

    def needs(self, height: int, width: int) -> int:
        """Bytes that one pass over a picture takes beside the weights, roughly.

        Attention is fused by torch on CPU and CUDA, so that memory grows with the pixels; on MPS and by OpenVINO all
        pairs of tokens are held.
        """
        plan, tokens = self.engine.plan, height * width / self.patch**2
        pairs = 4 * self.heads * tokens**2 if plan.device == "mps" or plan.engine == "openvino" else 0
        return round((self.bytes_per_pixel * height * width + pairs) * plan.dtype.itemsize / 4)

    def passes(self, pictures: Tensor) -> Tensor:
        """What the engine makes of pictures [B, 3, h, w], of as many together as memory allows."""
        try:
            return self.engine.forward(pictures)
        except MemoryShortError:
            self.engine.free()
            if len(pictures) == 1:
                raise
        half = len(pictures) // 2
        self.batch = min(self.batch, half)
        return torch.cat([self.passes(pictures[:half]), self.passes(pictures[half:])])

    def in_tiles(self, picture: Prepared, rgb: NDArray[np.uint8 | np.uint16], why: str = "") -> Raw:
        """Depth of a picture by its tiles, with a note that says why if it was to go in one pass."""
        tiling = picture.tiling or plan(*picture.source, self.size, self.native, self.patch)
        seen = picture.tensor if picture.tiling else prepare(rgb, tiling.base)
        redone: list[Tensor] = []

        def sound(pictures: Tensor) -> Tensor:
            raws = list(self.passes(pictures))
            for i, raw in enumerate(raws):
                if self.engine.plan.precision != "fp32" and not bool(raw.isfinite().all()):
                    raws[i] = self.in_float32(pictures[i])
                    redone.append(raws[i])
            return torch.stack(raws)

        made = refine(
            rgb, seen, sound, tiling, batch=self.batch if self.engine.plan.device == "cpu" else TILES_TOGETHER,
            streams=self.engine.streams, metres=self.quantity == "metres", align_corners=self.align_corners,
            report=self.report,
        )  # fmt: skip
        self.engine.free()  # a large picture now needs memory for its outputs
        notes = [f"{why}, so it was made of {tiling.count} tiles"] if why else []
        if redone:
            precision = self.engine.plan.precision
            notes.append(f"{precision} overflowed in {len(redone)} passes, which were computed in fp32")
        if made.unsound:
            notes.append(f"{made.unsound} of {tiling.count + 1} passes gave numbers that are not finite")
        return Raw(made.depth, picture.source, self.engine.plan.precision, "; ".join(notes), tiling.count)

    def in_float32(self, picture: Tensor) -> Tensor:
        """Depth [h, w] of one picture [3, h, w], computed in float32."""
        with self.making:
            if not self.exact:
                self.exact.append(self.engine.in_float32())
        return self.exact[0].forward(picture[None])[0]

    def finish(self, raw: Raw) -> Prediction:
        """Depth at the size of the source."""
        depth = to_source(raw.tensor, *raw.source, align_corners=self.align_corners)
        height, width = raw.tensor.shape
        return Prediction(depth, (height, width), raw.tiles, raw.precision, raw.note)

    def settle(self, picture: Prepared, raw: Tensor) -> Raw:
        """Finite depth of one picture, with a note if `raw` was not finite."""
        precision = self.engine.plan.precision
        if bool(raw.isfinite().all()):
            return Raw(raw, picture.source, precision)
        note = "the network gave numbers that are not finite"
        if precision != "fp32":
            raw, note = self.in_float32(picture.tensor), f"{precision} overflowed, so it was computed in fp32"
            if bool(raw.isfinite().all()):
                return Raw(raw, picture.source, "fp32", note)
            note += ", which overflowed too"
        finite = filled(raw, metres=self.quantity == "metres")
        return Raw(finite, picture.source, "fp32", f"{note}; its depth is not to be trusted there")


def start(network: Network, plan: Plan, streams: int, say: Log = lambda _: None) -> "AnyEngine":
    """The engine of the plan; raises DacliError if it cannot be loaded."""
    if plan.engine == "torch":
        return Engine(network, plan)
    try:
        from dacli.inference.engines.openvino_engine import OpenVINOEngine
    except ImportError as error:
        raise DacliError(f"OpenVINO cannot be loaded ({error})", "install it again, or use --engine torch") from error
    return OpenVINOEngine(network, plan, streams, say)


def paying_batch(engine: "AnyEngine", size: tuple[int, int], clock: Callable[[], float] = time.perf_counter) -> int:
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


def seconds_each(engine: "AnyEngine", size: tuple[int, int], count: int, clock: Callable[[], float]) -> float:
    """Seconds for one picture of a batch, the least of three after one to warm up."""
    pictures = torch.zeros(count, 3, *size)
    engine.forward(pictures)
    taken = []
    for _ in range(3):
        begun = clock()
        engine.forward(pictures)
        taken.append(clock() - begun)
    return min(taken) / count
