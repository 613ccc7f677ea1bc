"""Depth Anything 3 for single pictures: the network of Depth Anything V2 with depth and sky as its two heads.

Lin et al. 2025, arXiv 2511.10647; the sizes, thresholds and the scale of metres are those of its published code.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.io import files
from dacli.io.camera import ASSUMED_FOV, focal_of_fov
from dacli.models import checkpoint_files
from dacli.models.depth_anything import DepthAnything
from dacli.models.dinov2 import PATCH
from dacli.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from dacli.types import DepthArray, ImageArray

ENCODER = "vitl"
DA3_MODELS = ("da3", "da3-metric")  # relative depth, and metres
NATIVE_LONG_SIDE = 504
SKY_MARK = "sky_output_conv2"  # in the keys of the networks for single pictures
SEVERAL_VIEWS = re.compile(r"camera_token|cam_dec|cam_enc|output_conv2_aux|gs_head|^model\.da3")
SKY_THRESHOLD = 0.3
SKY_QUANTILE = 0.99  # of the depth of the rest: the depth of the sky
FEWEST_PIXELS = 10  # with fewer of sky, or of the rest, depth stays as it is
CANONICAL_FOCAL = 300.0  # pixels of the network's input, at which the metric network predicts metres

_RENAMES = ((r"^(model\.)?backbone\.", ""), (r"^(model\.)?head\.", "depth_head."))


class DepthAnything3(DepthAnything):
    """Depth Anything 3 with ViT-L for one picture: depth up to scale and shift, or in metres; far = large.

    forward() returns depth with a minus sign where the picture shows sky, which restore() of its processing reads.
    """

    def __init__(self, *, metric: bool = False) -> None:
        super().__init__(ENCODER)
        self.metric = metric
        scratch = self.depth_head.scratch
        width = scratch.output_conv1.out_channels
        sky = nn.Sequential(nn.Conv2d(width, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1))
        scratch.add_module(SKY_MARK, sky)
        del scratch.refinenet4.resConfUnit1, self.pretrained.mask_token  # which are not used, nor in its files

    @property
    def spec(self) -> ModelSpec:
        """Return what the rest of dacli has to know of the network; its sizes are long sides."""
        return ModelSpec(
            family="Depth Anything 3",
            name=ENCODER,
            version=DA3_MODELS[self.metric],
            quantity="metres" if self.metric else "depth",
            native_size=NATIVE_LONG_SIDE,
            multiple=PATCH,
            largest_pass=2 * NATIVE_LONG_SIDE,
            tiles_allowed=False,  # the sign of sky is no depth that tiles could be compared by
            resize_rule=long_side_size,
            processing=SkyProcessing(metric=self.metric),
            needs_focal=self.metric,
            precise_layers="depth_head.scratch.output_conv2",
            heads=16,
            bytes_per_pixel=2404,
        )

    def forward(self, images: Tensor, position: Tensor | None = None) -> Tensor:
        """Return depth [B, H, W] > 0 in float32, with a minus sign where there is sky."""
        features = self.depth_head.features(self.pretrained(images, position), images.shape[-2:])
        scratch = self.depth_head.scratch
        sky_head = scratch.get_submodule(SKY_MARK)
        sky = sky_head(features.to(next(sky_head.parameters()).dtype))[:, 0].float()
        depth = scratch.output_conv2(features)[:, 0].float().exp()
        return torch.where(sky >= SKY_THRESHOLD, -depth, depth)


@dataclass(frozen=True)
class SkyProcessing:
    """Pictures by their long side, and depth of sky as that of the farthest of the rest; metres with `metric`."""

    metric: bool

    def prepare(self, rgb: ImageArray, size: int) -> Tensor:
        """Return an RGB picture [H, W, 3] normalised, [3, h, w], resized in the two steps of the published code."""
        height, width = rgb.shape[:2]
        scale = size / max(height, width)
        whole = (max(1, round(height * scale)), max(1, round(width * scale)))
        resized = resize_like_opencv(rgb, whole, enlarge=scale > 1)
        target = long_side_size(height, width, size)
        resized = resize_like_opencv(resized, target, enlarge=target[0] > whole[0] or target[1] > whole[1])
        planes = torch.from_numpy(resized / np.float32(np.iinfo(rgb.dtype).max)).permute(2, 0, 1)
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
        return (planes - mean) / std

    def restore(self, raw: Tensor, height: int, width: int, focal_px: float | None = None) -> DepthArray:
        """Return depth [height, width] of the source's size; metres are those of its focal length, or of 55°."""
        depth = fill_sky(raw)
        if self.metric:
            focal = focal_px or focal_of_fov(ASSUMED_FOV, width)
            depth = depth * metres_per_unit(focal, (height, width), (raw.shape[0], raw.shape[1]))
        planes = F.interpolate(depth[None, None], (height, width), mode="bilinear", align_corners=False)
        return planes[0, 0].numpy()


def long_side_size(height: int, width: int, size: int, multiple: int = PATCH) -> tuple[int, int]:
    """Return (H, W): the long side becomes `size`, then both the nearest multiple, the larger one of two as near."""
    scale = size / max(height, width)
    rows, columns = (max(1, math.floor(max(1, round(side * scale)) / multiple + 0.5)) for side in (height, width))
    return rows * multiple, columns * multiple


def resize_like_opencv(rgb: ImageArray, target: tuple[int, int], *, enlarge: bool) -> ImageArray:
    """Return a picture at the size (H, W): cubic if a side grows, else averaged."""
    if rgb.shape[:2] == target:
        return rgb
    way = cv2.INTER_CUBIC if enlarge else cv2.INTER_AREA
    return np.asarray(cv2.resize(np.ascontiguousarray(rgb), target[::-1], interpolation=way), rgb.dtype)


def fill_sky(raw: Tensor) -> Tensor:
    """Return depth [h, w] > 0 of the network's output: sky, which is negative there, as far as nearly all the rest."""
    depth, sky = raw.abs(), raw < 0
    rest = depth[~sky]
    if min(int(sky.sum()), len(rest)) <= FEWEST_PIXELS:
        return depth
    return torch.where(sky, float(np.quantile(rest.numpy(), SKY_QUANTILE)), depth)


def metres_per_unit(focal_px: float, source: tuple[int, int], network: tuple[int, int]) -> float:
    """Return metres for one unit of the metric network's output.

    `focal_px` is the focal length in pixels of the source, whose size is `source` (H, W); the network saw it at the
    size `network`.
    """
    shrunk = (network[0] / source[0] + network[1] / source[1]) / 2
    return focal_px * shrunk / CANONICAL_FOCAL


def is_depth_anything_3_file(path: Path) -> bool:
    """Return whether a safetensors file holds Depth Anything 3.

    Raises DacliError for one for several views, and for a pipe, a socket or a device.
    """
    files.refuse_special_file(path)
    try:
        with safe_open(path, "pt") as file:
            keys = list(file.keys())
    except (OSError, SafetensorError):
        return False
    if any(SEVERAL_VIEWS.search(key) for key in keys) and any("backbone.pretrained." in key for key in keys):
        hint = "use --model da3 or da3-metric, which take single pictures"
        raise DacliError(f"{path.name} is a Depth Anything 3 model of several views", hint)
    return any(SKY_MARK in key for key in keys)


def load_depth_anything_3(path: Path, *, metric: bool) -> DepthAnything3:
    """Return the network of a file in float32 on the CPU, for inference; raise DacliError for any other file.

    The files of relative depth and of metres have the same keys, so the caller says which one it is.
    """
    weights = official_weights(checkpoint_files.read_weights(path))
    with torch.device("meta"):
        network = DepthAnything3(metric=metric)
    checkpoint_files.fill_network(network, weights, "Depth Anything 3", path.name)
    return network


def official_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights under the keys of dacli's network."""
    renamed = {}
    for key, value in state.items():
        for pattern, replacement in _RENAMES:
            key = re.sub(pattern, replacement, key)  # noqa: PLW2901 - one rename after another
        renamed[key] = value
    return renamed
