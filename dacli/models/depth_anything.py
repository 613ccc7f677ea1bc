"""Depth Anything: the DINOv2 encoder and the DPT decoder put together, and its published configurations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from dacli.errors import UsageError
from dacli.models.dinov2 import PATCH, TRAINED_GRID, DINOv2
from dacli.models.dpt import DPT
from dacli.models.spec import DepthModel, ModelSpec

FAMILY = "Depth Anything"


@dataclass(frozen=True)
class EncoderRow:
    """One row of the published configurations; `taps_*` are the 0-based blocks the decoder reads in V2 and V1."""

    dim: int
    blocks: int
    heads: int
    taps_v2: tuple[int, ...]
    taps_v1: tuple[int, ...] | None
    features: int
    channels: tuple[int, int, int, int]
    swiglu: int | None = None


ENCODERS = {
    "vits": EncoderRow(384, 12, 6, (2, 5, 8, 11), (8, 9, 10, 11), 64, (48, 96, 192, 384)),
    "vitb": EncoderRow(768, 12, 12, (2, 5, 8, 11), (8, 9, 10, 11), 128, (96, 192, 384, 768)),
    "vitl": EncoderRow(1024, 24, 16, (4, 11, 17, 23), (20, 21, 22, 23), 256, (256, 512, 1024, 1024)),
    "vitg": EncoderRow(1536, 40, 24, (9, 19, 29, 39), None, 384, (1536, 1536, 1536, 1536), swiglu=4096),
}


class DepthAnything(DepthModel):
    """Depth Anything (Yang et al. 2024, V1 and V2): DINOv2 encoder and DPT decoder, relative or metric.

    `version` is "v2" or "v1". Without `max_depth` the network predicts affine-invariant inverse depth, near = large;
    with it metres up to `max_depth`, near = small. Raises UsageError for an unknown encoder or version.
    """

    def __init__(self, encoder: str, version: str = "v2", max_depth: float | None = None) -> None:
        super().__init__()
        row, taps = encoder_configuration(encoder, version)
        self.encoder = encoder
        self.version = version
        self.max_depth = max_depth
        self.pretrained = DINOv2(row.dim, row.blocks, row.heads, taps, row.swiglu)
        self.depth_head = DPT(row.dim, row.features, row.channels)

    @property
    def spec(self) -> ModelSpec:
        """Return what the rest of dacli has to know of the network.

        `largest_pass` follows the reports of users; `bytes_per_pixel` was fitted to the resident memory of vits (673)
        and vitb (1232).
        """
        row = ENCODERS[self.encoder]
        return ModelSpec(
            family=FAMILY,
            name=self.encoder,
            version=self.version,
            quantity="inverse depth" if self.max_depth is None else "metres",
            max_depth=self.max_depth,
            native_size=PATCH * TRAINED_GRID,
            multiple=PATCH,
            largest_pass=2 * PATCH * TRAINED_GRID,
            align_corners=self.version != "v1",
            precise_layers="depth_head.scratch.output_conv2",
            heads=row.heads,
            bytes_per_pixel=100 + 9 * row.features,
        )

    def forward(self, images: Tensor, position: Tensor | None = None) -> Tensor:
        """Return depth [B, H, W] in float32: inverse depth ≥ 0, or metres from 0 to `max_depth`.

        `images` is [B, 3, H, W], normalised, H and W multiples of 14, in the dtype of the encoder. `position` is
        `pretrained.position_embedding(H / 14, W / 14)`, computed here when not given.
        """
        maps = self.pretrained(images, position)
        raw: Tensor = self.depth_head(maps, images.shape[-2:])[:, 0].float()
        if self.max_depth is None:
            return F.relu(raw)
        return raw.sigmoid() * self.max_depth

    def export_inputs(self, height: int, width: int) -> tuple[Tensor, ...]:
        """Return the position embedding for pictures of this size: its resize is torch's, so it is made by torch."""
        return (self.pretrained.position_embedding(height // PATCH, width // PATCH),)

    def traced_inputs(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the position embedding for pictures of every size."""
        return (self.pretrained.traced_position_embedding(images),)

    def feature_encoder(self) -> nn.Module:
        """Return DINOv2."""
        return self.pretrained

    def encoder_blocks(self) -> Sequence[nn.Module]:
        """Return the transformer's blocks."""
        return list(self.pretrained.blocks)

    def token_layer(self) -> nn.Module:
        """Return DINOv2's last normalisation."""
        return self.pretrained.get_submodule("norm")

    def initialize_encoder(self) -> None:
        """Draw the transformer's first weights as Touvron et al. (DeiT, 2021) do."""
        for module in self.pretrained.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pretrained.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.pretrained.cls_token, std=0.02)

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of a DINOv2 file; raise RuntimeError for those of another encoder."""
        self.pretrained.load_state_dict({key: value.float() for key, value in state.items()})


def encoder_configuration(encoder: str, version: str) -> tuple[EncoderRow, tuple[int, ...]]:
    """Return the row of an encoder and the blocks tapped in `version` ("v1" or "v2"), or raise UsageError."""
    row = ENCODERS.get(encoder)
    if row is None:
        raise UsageError(f"there is no encoder {encoder!r}", f"choose one of {', '.join(ENCODERS)}")
    taps = {"v1": row.taps_v1, "v2": row.taps_v2}.get(version)
    if taps is None:
        raise UsageError(f"there is no {version} network with {encoder}", "use v2")
    return row, taps
