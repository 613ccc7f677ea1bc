"""What a depth network is to the rest of dacli: its specification, its interface and its output."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from dacli.choices import Quantity

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in 0 … 1
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that preprocessing, tiles, engines and outputs have to know of a network.

    `family` and `name` say which network it is, `version` which of its published variants. `quantity` is what it
    predicts, up to `max_depth` metres if that is its unit. Input sides are multiples of `multiple`, resized by Depth
    Anything's rule (dacli.inference.preprocess.network_size) and normalised with `mean` and `std` (RGB in 0 … 1).
    `native_size` is the short side in pixels that it was trained at; up to `largest_pass` one pass keeps the structure,
    above that tiles are better, where `tiles_allowed`. `align_corners` is how its published script resizes the
    prediction to the source. `precise_layers` names the submodule that stays in float32 when the others are in half
    precision, so that the depth itself is not rounded to 8 or 11 bits. `bytes_per_pixel` is what one pass holds at its
    peak in float32; `heads` are its attention heads.
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
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    align_corners: bool = False
    precise_layers: str
    heads: int
    bytes_per_pixel: int


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

    def predict(self, images: Tensor) -> ModelOutput:
        """Return the prediction for normalised pictures [B, 3, H, W], in the dtype of the network."""
        return ModelOutput(self(images))

    def export_inputs(self, _height: int, _width: int) -> tuple[Tensor, ...]:
        """Return what forward() takes besides pictures of this size, where an exported graph should not compute it."""
        return ()

    @abstractmethod
    def feature_encoder(self) -> nn.Module:
        """Return the module whose call makes the features: the encoder, or all of a network that has none apart."""

    @abstractmethod
    def token_layer(self) -> nn.Module:
        """Return the module of the encoder that returns its last tokens [B, N, D]."""

    def initialize_encoder(self) -> None:
        """Draw the first weights of the encoder with torch's generator; by default they are those of its layers."""

    def load_encoder(self, _state: Mapping[str, Tensor]) -> None:
        """Load the weights of an encoder alone; raise RuntimeError for those of another one."""
        raise RuntimeError(f"{self.spec.name} has no published encoder of its own")
