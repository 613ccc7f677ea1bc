"""The DPT decoder (Ranftl et al. 2021) as Depth Anything uses it."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class DPT(nn.Module):
    """The dense prediction decoder (Ranftl et al. 2021, section 3) on four maps of a ViT encoder.

    `dim` is the encoder's width, `channels` the width of each reassembled map, `features` that of the fusion.
    Parameters have the names of the published checkpoints.
    """

    def __init__(self, dim: int, features: int, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, _, last = channels
        self.projects = nn.ModuleList(nn.Conv2d(dim, width, 1) for width in channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(first, first, kernel_size=4, stride=4),
                nn.ConvTranspose2d(second, second, kernel_size=2, stride=2),
                nn.Identity(),
                nn.Conv2d(last, last, kernel_size=3, stride=2, padding=1),
            ]
        )
        self.scratch = Fusion(features, channels)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the raw depth [B, 1, H, W], before the last activation, of what features() takes."""
        depth: Tensor = self.scratch.output_conv2(self.features(maps, size))
        return depth

    def features(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the features [B, C, H, W] that depth is read off.

        `maps` are the four tapped maps [B, D, h, w], shallow first; `size` is (H, W) = (14 h, 14 w).
        """
        stages = zip(maps, self.projects, self.resize_layers, strict=True)
        # The maps now stand at 4, 2, 1 and 1/2 of the patch grid.
        pyramid = [resize(project(tokens)) for tokens, project, resize in stages]
        features: Tensor = self.scratch(pyramid, size)
        return features


class Fusion(nn.Module):
    """Merges the pyramid from coarse to fine; `output_conv2` reads the depth off the result."""

    def __init__(self, features: int, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, third, last = channels
        self.layer1_rn = nn.Conv2d(first, features, 3, padding=1, bias=False)
        self.layer2_rn = nn.Conv2d(second, features, 3, padding=1, bias=False)
        self.layer3_rn = nn.Conv2d(third, features, 3, padding=1, bias=False)
        self.layer4_rn = nn.Conv2d(last, features, 3, padding=1, bias=False)
        self.refinenet1 = RefineNet(features)
        self.refinenet2 = RefineNet(features)
        self.refinenet3 = RefineNet(features)
        self.refinenet4 = RefineNet(features)
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1))

    def forward(self, pyramid: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the features [B, C, *size] of four maps at 4, 2, 1 and 1/2 of the patch grid."""
        map1, map2, map3, map4 = pyramid
        skip1, skip2, skip3 = self.layer1_rn(map1), self.layer2_rn(map2), self.layer3_rn(map3)
        path = upsample_features(self.refinenet4(self.layer4_rn(map4)), skip3.shape[-2:])
        path = upsample_features(self.refinenet3(path, skip3), skip2.shape[-2:])
        path = upsample_features(self.refinenet2(path, skip2), skip1.shape[-2:])
        path = F.interpolate(self.refinenet1(path, skip1), scale_factor=2.0, mode="bilinear", align_corners=True)
        # A half-precision network may keep its last layers in float32: the dtype changes before the resize, so that
        # the rounding is smoothed with the map.
        features = self.output_conv1(path).to(next(self.output_conv2.parameters()).dtype)
        return upsample_features(features, size)


class RefineNet(nn.Module):
    """One fusion step before its resize, [B, C, h, w] to [B, C, h, w].

    The paper's step resizes, then applies the 1×1 `out_conv`. Both are linear and the weights of a bilinear sample add
    up to one, so they commute: applied first, the convolution costs a quarter.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = ResidualConvUnit(features)
        self.resConfUnit2 = ResidualConvUnit(features)

    def forward(self, path: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return the fusion of the coarser path and, except at the coarsest step, this scale's own map."""
        if skip is not None:
            path = path + self.resConfUnit1(skip)
        fused: Tensor = self.out_conv(self.resConfUnit2(path))
        return fused


class ResidualConvUnit(nn.Module):
    """Two 3×3 convolutions, each after a ReLU, added to their input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the refined map, same shape."""
        refined: Tensor = self.conv2(F.relu(self.conv1(F.relu(features))))
        return refined + features


def upsample_features(features: Tensor, size: Sequence[int]) -> Tensor:
    """Return the map resized bilinearly to `size` (height, width), corners aligned."""
    return F.interpolate(features, size=tuple(size), mode="bilinear", align_corners=True)
