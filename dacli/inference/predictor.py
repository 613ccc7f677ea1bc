"""The predictor: from pictures to depth at their own size, by prepare → infer → finish."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli.callbacks import TileProgress, ignore_progress
from dacli.errors import MemoryShortError
from dacli.inference.device import ExecutionPlan, free_memory
from dacli.inference.engine_pool import EnginePool
from dacli.inference.engines.table import Engine
from dacli.inference.preprocess import normalize_image, resize_to_source
from dacli.inference.tiling import Tiling, fill_nonfinite, plan_tiles, refine_with_tiles, shrink_to_canvas
from dacli.models.spec import ModelSpec
from dacli.types import ImageArray

TILES_TOGETHER = 8  # tiles of one picture in a batch on a GPU


@dataclass(frozen=True)
class PreparedImage:
    """A picture as the network sees it, normalised float32 [3, h, w], and its own size (H, W).

    Above the native size of the network, `rgb` is the picture itself, not larger than `size`: tiles are cut from it.
    With a `tiling` the depth is computed in tiles, and `tensor` is the input of the base. `larger` is the same picture
    for the second size of an ensemble.
    """

    tensor: Tensor
    source: tuple[int, int]
    rgb: NDArray[np.uint8 | np.uint16] | None = None
    tiling: Tiling | None = None
    larger: "PreparedImage | None" = None

    @property
    def size(self) -> tuple[int, int]:
        """Return the size (h, w) in pixels at which the network sees the picture, in one pass or in tiles."""
        return self.tiling.canvas if self.tiling else (self.tensor.shape[1], self.tensor.shape[2])

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds."""
        further = 0 if self.larger is None else self.larger.nbytes
        return self.tensor.nbytes + (0 if self.rgb is None else self.rgb.nbytes) + further


@dataclass(frozen=True)
class RawDepth:
    """Finite depth [h, w] at the network's size, and how it was computed; `note` says what differs from the plan.

    `spread` [h, w] is how far the members of an ensemble are apart, in shares of the depth's whole range.
    """

    tensor: Tensor
    source: tuple[int, int]
    precision: str
    note: str = ""
    tiles: int = 0
    spread: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds, plus those of the depth at the source's size that finish() adds."""
        maps = 1 if self.spread is None else 2
        return maps * (self.tensor.nbytes + 4 * self.source[0] * self.source[1])


@dataclass(frozen=True)
class Prediction:
    """Depth [H, W] float32 at the source's size, and how it was computed; `note` says what differs from the plan.

    `spread` [H, W] is how far the members of an ensemble are apart, in shares of the depth's whole range.
    """

    depth: NDArray[np.float32]
    network_size: tuple[int, int]
    tiles: int
    precision: str
    note: str = ""
    spread: NDArray[np.float32] | None = None


class Predictor:
    """Depth of pictures by one model, on one device or several. It does not change, and threads may share it.

    `size` is the short side of the network's input in pixels, `tiled` whether depth is computed in tiles. infer() may
    run in `concurrency` threads at the same time, prepare() and finish() in any number.
    """

    def __init__(self, spec: ModelSpec, pool: EnginePool, *, size: int, tiled: bool) -> None:
        self._spec, self._pool, self._size, self._tiled = spec, pool, size, tiled

    @property
    def spec(self) -> ModelSpec:
        """Return the specification of the network."""
        return self._spec

    @property
    def plan(self) -> ExecutionPlan:
        """Return where the network runs; with several devices, on the first."""
        return self._pool.first.plan

    @property
    def size(self) -> int:
        """Return the short side in pixels at which the network sees pictures, in one pass or in tiles."""
        return self._size

    @property
    def tiled(self) -> bool:
        """Return whether depth is computed in tiles."""
        return self._tiled

    @property
    def batch_size(self) -> int:
        """Return how many pictures of one network size go together; it shrinks where memory runs short."""
        return self._pool.batch_size

    @property
    def concurrency(self) -> int:
        """Return how many threads may be in infer() at the same time."""
        return self._pool.concurrency

    def predict(self, pictures: Sequence[ImageArray]) -> list[Prediction]:
        """Return the depth of RGB pictures [H, W, 3] of any sizes; those of one network size go together."""
        return [self.finish(raw) for raw in self.infer_any_sizes([self.prepare(picture) for picture in pictures])]

    def prepare(self, rgb: ImageArray) -> PreparedImage:
        """Return an RGB picture [H, W, 3] as the network takes it: resized and normalised."""
        height, width = rgb.shape[:2]
        spec, size = self._spec, self._size
        if not self._tiled and (size <= spec.native_size or not spec.tiles_allowed):
            return PreparedImage(self._one_pass_input(rgb), (height, width))
        tiling = self._plan_tiles(height, width)
        small = shrink_to_canvas(rgb, tiling.canvas)
        if self._tiled and tiling.count > 1:
            return PreparedImage(self._normalize(small, tiling.base), (height, width), small, tiling)
        return PreparedImage(self._one_pass_input(rgb), (height, width), small)

    def infer(self, batch: Sequence[PreparedImage], progress: TileProgress = ignore_progress) -> list[RawDepth]:
        """Return the network's depth of pictures of one size, as soon as an engine is free.

        If memory is short, batches get smaller, and then tiles are used. `progress(done, of)` is called after every
        tile. Raises MemoryShortError if memory does not suffice for a tile of one picture.
        """
        with self._pool.take() as engine:
            with_rgb = [(image, image.rgb) for image in batch if image.rgb is not None]
            if batch[0].tiling is not None:
                return [self._in_tiles(engine, image, rgb, progress) for image, rgb in with_rgb]
            try:
                if with_rgb or self._size > self._spec.native_size:
                    self._check_memory(engine.plan, *batch[0].size)
                raws = self._passes(engine, torch.stack([image.tensor for image in batch]))
            except MemoryShortError as error:
                if not with_rgb:
                    raise
                return [self._in_tiles(engine, image, rgb, progress, error.message) for image, rgb in with_rgb]
            return [self._checked(engine, image, raw) for image, raw in zip(batch, raws, strict=True)]

    def infer_any_sizes(
        self, images: Sequence[PreparedImage], progress: TileProgress = ignore_progress
    ) -> list[RawDepth]:
        """Return the network's depth of pictures of any sizes; those of one size go together."""
        found: dict[int, RawDepth] = {}
        for size in dict.fromkeys(image.size for image in images):
            indices = [i for i, image in enumerate(images) if image.size == size]
            found.update(zip(indices, self.infer([images[i] for i in indices], progress), strict=True))
        return [found[i] for i in range(len(images))]

    def finish(self, raw: RawDepth, focal_px: float | None = None) -> Prediction:
        """Return depth at the size of the source; `focal_px` is its focal length in pixels, if that is known."""
        processing = self._spec.processing
        if processing is None or raw.tiles:
            depth = resize_to_source(raw.tensor, *raw.source, align_corners=self._spec.align_corners)
        else:
            depth = processing.restore(raw.tensor, *raw.source, focal_px)
        height, width = raw.tensor.shape
        spread = None if raw.spread is None else resize_to_source(raw.spread, *raw.source, align_corners=False)
        return Prediction(depth, (height, width), raw.tiles, raw.precision, raw.note, spread)

    def _plan_tiles(self, height: int, width: int) -> Tiling:
        spec = self._spec
        return plan_tiles(height, width, self._size, spec.native_size, spec.multiple, spec.resize_rule)

    def _one_pass_input(self, rgb: ImageArray) -> Tensor:
        spec = self._spec
        if spec.processing is not None:
            return spec.processing.prepare(rgb, self._size)
        height, width = rgb.shape[:2]
        return self._normalize(rgb, spec.input_size(height, width, self._size))

    def _normalize(self, rgb: ImageArray, size: tuple[int, int]) -> Tensor:
        return normalize_image(rgb, size, mean=self._spec.mean, std=self._spec.std)

    def _check_memory(self, where: ExecutionPlan, height: int, width: int) -> None:
        """Raise MemoryShortError if one pass would take more memory than is free."""
        needed, free = pass_bytes(self._spec, where, height, width), free_memory(where.device)
        if free is not None and needed > free:
            message = f"one pass over {height} × {width} pixels takes about {needed / 1e9:.1f} GB"
            raise MemoryShortError(f"{message} and {free / 1e9:.1f} GB are free", "try a smaller --size")

    def _passes(self, engine: Engine, pictures: Tensor) -> Tensor:
        """Return the depth [B, h, w] of pictures [B, 3, h, w], in batches as large as memory allows."""
        try:
            return engine.forward(pictures)
        except MemoryShortError:
            engine.free()
            if len(pictures) == 1:
                raise
        half = len(pictures) // 2
        self._pool.shrink_batch(half)
        return torch.cat([self._passes(engine, pictures[:half]), self._passes(engine, pictures[half:])])

    def _in_tiles(
        self, engine: Engine, picture: PreparedImage, rgb: ImageArray, progress: TileProgress, reason: str = ""
    ) -> RawDepth:
        """Return the depth of a picture by its tiles; its note begins with the `reason` why one pass did not work."""
        spec = self._spec
        tiling = picture.tiling or self._plan_tiles(*picture.source)
        base_input = picture.tensor if picture.tiling else self._normalize(rgb, tiling.base)
        recomputed: list[Tensor] = []

        def forward_finite(pictures: Tensor) -> Tensor:
            raws = list(self._passes(engine, pictures))
            for i, raw in enumerate(raws):
                if engine.plan.precision != "fp32" and not bool(raw.isfinite().all()):
                    raws[i] = self._in_float32(engine, pictures[i])
                    recomputed.append(raws[i])
            return torch.stack(raws)

        refined = refine_with_tiles(
            rgb,
            base_input,
            forward_finite,
            tiling,
            batch=self.batch_size if engine.plan.device == "cpu" else TILES_TOGETHER,
            streams=engine.streams,
            quantity=spec.quantity,
            align_corners=spec.align_corners,
            report=progress,
            normalize=(spec.mean, spec.std),
        )
        engine.free()  # a large picture now needs memory for its outputs
        notes = [f"{reason}, so it was computed in {tiling.count} tiles"] if reason else []
        if recomputed:
            notes.append(f"{engine.plan.precision} overflowed in {len(recomputed)} passes, which were computed in fp32")
        if refined.nonfinite_passes:
            notes.append(f"{refined.nonfinite_passes} of {tiling.count + 1} passes gave numbers that are not finite")
        return RawDepth(refined.depth, picture.source, engine.plan.precision, "; ".join(notes), tiling.count)

    def _in_float32(self, engine: Engine, picture: Tensor) -> Tensor:
        """Return the depth [h, w] of one picture [3, h, w], computed in float32."""
        return self._pool.in_float32(engine).forward(picture[None])[0]

    def _checked(self, engine: Engine, picture: PreparedImage, raw: Tensor) -> RawDepth:
        """Return finite depth of one picture, with a note if `raw` was not finite."""
        precision = engine.plan.precision
        if bool(raw.isfinite().all()):
            return RawDepth(raw, picture.source, precision)
        note = "the network gave numbers that are not finite"
        if precision != "fp32":
            raw, note = self._in_float32(engine, picture.tensor), f"{precision} overflowed, so it was computed in fp32"
            if bool(raw.isfinite().all()):
                return RawDepth(raw, picture.source, "fp32", note)
            note += ", which overflowed too"
        finite = fill_nonfinite(raw, self._spec.quantity)
        return RawDepth(finite, picture.source, "fp32", f"{note}; its depth is unreliable there")


def pass_bytes(spec: ModelSpec, where: ExecutionPlan, height: int, width: int) -> int:
    """Return about how many bytes one pass over a picture takes besides the weights.

    On CPU and CUDA torch fuses attention, so that memory grows with the pixels; on MPS and with other engines the
    attention of all pairs of tokens is kept in memory.
    """
    tokens = height * width / spec.multiple**2
    pairs = 4 * spec.heads * tokens**2 if where.device == "mps" or where.engine != "torch" else 0
    return round((spec.bytes_per_pixel * height * width + pairs) * where.dtype.itemsize / 4)
