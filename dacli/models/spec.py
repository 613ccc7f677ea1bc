"""What a depth network is to the rest of dacli: its specification, its interface and its output."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from dacli.choices import Quantity
from dacli.types import DepthArray, ImageArray

ResizeRule = Callable[[int, int, int, int], tuple[int, int]]  # the arguments and the result of network_size()

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in 0 … 1
IMAGENET_STD = (0.229, 0.224, 0.225)
LONGEST_SIDE = 8  # the network's long side is at most so many short sides


def network_size(height: int, width: int, size: int, multiple: int) -> tuple[int, int]:
    """Return (H, W) in pixels, multiples of `multiple`, at which the network sees a picture of height × width.

    The rule of Depth Anything's `infer_image`: the short side becomes `size`, the long side follows the aspect ratio,
    each is rounded to the nearest multiple (half to even), and up where that falls under `size`. Beyond 8:1, where
    the rule would ask for any amount of memory, the picture is squeezed: the long side stops at 8 short sides.
    Raises ValueError unless all arguments are positive.
    """
    if min(height, width, size, multiple) < 1:
        raise ValueError(f"cannot fit {height} × {width} to {size} in multiples of {multiple}")
    scale = max(size / height, size / width)
    rows, columns = (_multiples(side * scale, size, multiple) for side in (height, width))
    longest = LONGEST_SIDE * min(rows, columns)
    return min(rows, longest) * multiple, min(columns, longest) * multiple


def _multiples(length: float, size: int, multiple: int) -> int:
    nearest = round(length / multiple)
    return nearest if nearest * multiple >= size else math.ceil(length / multiple)


class ImageProcessing(Protocol):
    """How pictures become a network's input and its output becomes depth, where dacli's usual way is not the network's.

    Several threads may use it at the same time.
    """

    def prepare(self, rgb: ImageArray, size: int) -> Tensor:
        """Return an RGB picture [H, W, 3] as the network takes it: normalised float32 [3, h, w].

        At the network's native size the result is that of its published code; `size` is in the same units.
        """

    def restore(self, raw: Tensor, height: int, width: int, focal_px: float | None = None) -> DepthArray:
        """Return depth [height, width] of the source's size from the network's output [h, w].

        `focal_px` is the focal length in pixels of the source, for networks whose metres depend on it; None if it is
        not known.
        """


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that preprocessing, tiles, engines and outputs have to know of a network.

    `family` and `name` say which network it is, `version` which of its published variants. `quantity` is what it
    predicts, up to `max_depth` metres if that is its unit.

    Pictures are resized to what `resize_rule` returns for (height, width, short side, `multiple`), both sides multiples
    of `multiple`, and normalised with `mean` and `std` (RGB in 0 … 1). `align_corners` is how its published script
    resizes the prediction to the source.

    `native_size` is the short side in pixels that it was trained at. Up to `largest_pass` one pass keeps the structure,
    above that tiles are better; without `tiles_allowed` there is only one pass.

    With a `processing` a single pass is prepared and restored by it. Tiles follow `resize_rule`, `mean` and `std` even
    then, so they are allowed only where both ways agree but for the filter. `fixed_size`: an exported graph of the
    network is right only for the size of pictures that it was exported for. `needs_focal`: its metres depend on the
    focal length that the processing restores them with.

    `precise_layers` names the submodule that stays in float32 when the others are in half precision, so that the depth
    itself is not rounded to 8 or 11 bits. `bytes_per_pixel` is the peak memory of one pass in float32; `heads` are the
    attention heads.
    """

    family: str
    name: str
    version: str = ""
    quantity: Quantity
    max_depth: float | None = None
    native_size: int
    multiple: int
    largest_pass: int
    tiles_allowed: bool = True
    resize_rule: ResizeRule = network_size
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    align_corners: bool = False
    processing: ImageProcessing | None = None
    fixed_size: bool = False
    needs_focal: bool = False
    precise_layers: str
    heads: int
    bytes_per_pixel: int

    def input_size(self, height: int, width: int, size: int) -> tuple[int, int]:
        """Return (H, W) in pixels at which the network sees a picture of height × width at the short side `size`."""
        return self.resize_rule(height, width, size, self.multiple)


class ModelOutput(NamedTuple):
    """Depth [B, H, W] in float32, and the focal lengths in pixels [B] of a network that estimates them."""

    depth: Tensor
    focal_px: Tensor | None = None


class DepthModel(nn.Module, ABC):
    """A depth network. A network of another family is a class of this kind, and a row of dacli.models.registry.

    forward() returns the depth tensor alone, which is what training and export need; predict() returns all outputs.
    `max_depth` is the largest depth in metres that it predicts; None for relative depth.
    """

    max_depth: float | None = None

    @property
    @abstractmethod
    def spec(self) -> ModelSpec:
        """Return what the rest of dacli has to know of the network."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return depth [B, H, W] in float32 of normalised pictures [B, 3, H, W]."""

    def normalize(self, rgb: Tensor) -> Tensor:
        """Return pictures [B, 3, H, W], RGB in 0…1, with the mean and standard deviation that forward() expects."""
        mean, std = (rgb.new_tensor(each).view(1, 3, 1, 1) for each in (self.spec.mean, self.spec.std))
        return (rgb - mean) / std

    def predict(self, images: Tensor) -> ModelOutput:
        """Return the prediction for normalised pictures [B, 3, H, W], in the dtype of the network."""
        return ModelOutput(self(images))

    def export_inputs(self, _height: int, _width: int) -> tuple[Tensor, ...]:
        """Return what forward() takes besides pictures of this size, where an exported graph should not compute it."""
        return ()

    def traced_inputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return export_inputs() for pictures [B, 3, H, W] by steps that a trace records for every size.

        Raises NotImplementedError if the network has extra inputs and no such steps.
        """
        if self.export_inputs(*images.shape[2:]):
            raise NotImplementedError(f"{self.spec.name} has extra inputs that depend on the size")
        return ()

    @abstractmethod
    def feature_encoder(self) -> nn.Module:
        """Return the module whose output is the features: the encoder, or the whole network if it has none apart."""

    @abstractmethod
    def token_layer(self) -> nn.Module:
        """Return the module of the encoder that returns its last tokens [B, N, D]."""

    def encoder_blocks(self) -> Sequence[nn.Module]:
        """Return the encoder's blocks in order, whose activations fill the memory of a training; by default none."""
        return ()

    def initialize_encoder(self) -> None:
        """Draw the first weights of the encoder with torch's generator; by default they are those of its layers."""

    def load_encoder(self, _state: Mapping[str, Tensor]) -> None:
        """Load the weights of an encoder alone; raise RuntimeError for those of another one."""
        raise RuntimeError(f"{self.spec.name} has no published encoder of its own")
