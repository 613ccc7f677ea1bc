"""Ensembles: several passes over one picture, mirrored and larger, whose mean is its depth."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dacli.callbacks import TileProgress, ignore_progress
from dacli.choices import EnsembleName
from dacli.errors import UsageError
from dacli.inference.engine_pool import EnginePool
from dacli.inference.predictor import Predictor, PreparedImage, RawDepth
from dacli.models.spec import ModelSpec
from dacli.types import ImageArray

ENLARGEMENT = 1.5  # of the second size
ROUNDING = 1e-5  # share of depth below which a range is no more than rounding


def parse_ensemble(text: str) -> tuple[EnsembleName, ...]:
    """Return the members that a list such as `flip,sizes` adds, each once; none for "".

    Raises UsageError for a name that is not one of these.
    """
    known: tuple[EnsembleName, ...] = get_args(EnsembleName)
    names = [part.strip().lower() for part in text.split(",")] if text.strip() else []
    for name in names:
        if name not in known:
            raise UsageError(f"there is no ensemble {name!r}", f"--ensemble takes {' or '.join(known)}, or both")
    return tuple(name for name in known if name in names)


def check_ensemble(spec: ModelSpec) -> None:
    """Raise UsageError for a network whose output cannot be averaged before it is restored to the picture's size."""
    if not spec.tiles_allowed:
        raise UsageError(f"{spec.name} does not work in an ensemble", "leave --ensemble out")


def larger_size(spec: ModelSpec, size: int) -> int:
    """Return the short side in pixels of the second size: 1.5 times the first, down to the network's multiple."""
    return int(ENLARGEMENT * size) // spec.multiple * spec.multiple


class EnsemblePredictor(Predictor):
    """A predictor that computes each picture several times, and averages the results at the network's size.

    With `mirrored` every pass is done for the mirror image too; with `larger`, a predictor of the same network at a
    larger size, for both sizes. Relative depth is aligned in scale and shift to that of the first pass before.
    """

    def __init__(
        self, spec: ModelSpec, pool: EnginePool, *, size: int, tiled: bool, mirrored: bool, larger: Predictor | None
    ) -> None:
        super().__init__(spec, pool, size=size, tiled=tiled)
        self._mirrored, self._larger = mirrored, larger

    def prepare(self, rgb: ImageArray) -> PreparedImage:
        """Return an RGB picture [H, W, 3] as the network takes it, with the larger one if there are two sizes."""
        image = super().prepare(rgb)
        return image if self._larger is None else replace(image, larger=self._larger.prepare(rgb))

    def infer(self, batch: Sequence[PreparedImage], progress: TileProgress = ignore_progress) -> list[RawDepth]:
        """Return the mean depth of pictures of one size, and how far the members are apart.

        `progress(done, of)` is called after every tile of every member. Errors are those of Predictor.infer().
        """
        passes = self._infer_sizes(batch, progress)
        if self._mirrored:
            mirrored = self._infer_sizes([mirror_image(image) for image in batch], progress)
            passes += [[replace(raw, tensor=raw.tensor.flip(-1)) for raw in raws] for raws in mirrored]
        return [average_members(members, self.spec) for members in zip(*passes, strict=True)]

    def _infer_sizes(self, batch: Sequence[PreparedImage], progress: TileProgress) -> list[list[RawDepth]]:
        """Return the depth of all pictures at the first size, and at the larger one if there is one."""
        passes = [super().infer(batch, progress)]
        if self._larger is not None:
            passes.append(self._larger.infer_any_sizes([each.larger for each in batch if each.larger], progress))
        return passes


def mirror_image(image: PreparedImage) -> PreparedImage:
    """Return a prepared picture with left and right exchanged, at all its sizes."""
    return replace(
        image,
        tensor=image.tensor.flip(-1),
        rgb=None if image.rgb is None else np.ascontiguousarray(image.rgb[:, ::-1]),
        larger=None if image.larger is None else mirror_image(image.larger),
    )


def average_members(members: Sequence[RawDepth], spec: ModelSpec) -> RawDepth:
    """Return the mean of depths of one picture, at the largest of their sizes, with their spread.

    The spread of a pixel is the difference between its largest and its smallest depth, in shares of the whole range.
    """
    size = max((raw.tensor.shape for raw in members), key=lambda shape: shape.numel())
    depths = [_resize(raw.tensor.float(), size, align_corners=spec.align_corners) for raw in members]
    first = depths[0]
    if spec.quantity != "metres":
        depths = [first, *(align_depth(depth, first) for depth in depths[1:])]
    stack = torch.stack(depths)
    mean = stack.mean(0).clamp(min=min(0.0, float(first.min())))
    span = max(float(mean.max() - mean.min()), ROUNDING * float(mean.abs().max()), ROUNDING)
    return replace(
        members[0],
        tensor=mean,
        spread=(stack.amax(0) - stack.amin(0)) / span,
        note="; ".join(dict.fromkeys(raw.note for raw in members if raw.note)),
        tiles=max(raw.tiles for raw in members),
    )


def align_depth(depth: Tensor, reference: Tensor) -> Tensor:
    """Return depth [h, w] with the scale and shift that bring it nearest to a reference, by least squares.

    Depth that contradicts the reference gets the scale 0, since a negative one would exchange near and far.
    """
    values, wanted = depth.double(), reference.double()
    deviation = values - values.mean()
    variance = deviation.square().mean()
    scale = (deviation * (wanted - wanted.mean())).mean() / variance if variance > 0 else variance
    return (wanted.mean() + scale.clamp(min=0) * deviation).float()


def _resize(depth: Tensor, size: tuple[int, ...], *, align_corners: bool) -> Tensor:
    if depth.shape == size:
        return depth
    return F.interpolate(depth[None, None], size=size, mode="bilinear", align_corners=align_corners)[0, 0]
