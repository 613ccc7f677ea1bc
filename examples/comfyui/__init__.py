"""A node for ComfyUI that gives the depth of pictures. See README.md beside this file."""

import logging
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch

import dacli


class DacliDepth:
    """Depth of a batch of pictures; near is white."""

    CATEGORY = "image/depth"
    FUNCTION = "predict"
    RETURN_TYPES = ("IMAGE", "MASK", "MASK")
    RETURN_NAMES = ("depth", "near_mask", "raw")
    OUTPUT_TOOLTIPS = (
        "gray, near is white",
        "the same as a mask: 1 is near",
        "what the model gives: inverse depth, or metres; not limited to 0 … 1",
    )

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 (ComfyUI asks for this name)
        """Return the inputs, as ComfyUI shows them."""
        size = {"default": 0, "min": 0, "max": 4096, "tooltip": "short side that the network sees; 0: the model's own"}
        same = {"default": True, "tooltip": "one black and one white for the whole batch, as frames of a clip need it"}
        return {
            "required": {
                "image": ("IMAGE",),
                "model": (list(dacli.available_models()), {"default": "tiny"}),
                "size": ("INT", size),
                "same_range": ("BOOLEAN", same),
            }
        }

    DESCRIPTION: ClassVar[str] = "Depth Anything V2 by dacli. tiny is inside dacli; others are downloaded at first use."

    def predict(
        self, image: torch.Tensor, model: str, size: int, same_range: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return depth [B, H, W, 3] in 0 … 1 with near = 1, the same as a mask [B, H, W], and raw depth [B, H, W].

        `image` is [B, H, W, C] of floats in 0 … 1, with C = 3, or 4 of which the last is left out.
        """
        depth = load_model(model, size)
        pictures = [picture.permute(2, 0, 1) for picture in image[..., :3].detach().cpu().clamp(0, 1)]
        raw = torch.from_numpy(np.stack([result.depth for result in depth.stream(pictures)]))
        near = scale_near(raw, same_range, metres=depth.quantity == "metres")
        return near[..., None].repeat(1, 1, 1, 3), near, raw


@lru_cache(maxsize=1)
def load_model(model: str, size: int) -> dacli.Depth:
    """Return a loaded model; the last one stays in memory."""
    return dacli.load(model, size=size or None, log=logging.info)


def scale_near(raw: torch.Tensor, same_range: bool, *, metres: bool) -> torch.Tensor:
    """Return depth [B, H, W] scaled to 0 (far) … 1 (near), over the whole batch or each picture by itself."""
    over = (0, 1, 2) if same_range else (1, 2)
    low, high = raw.amin(over, keepdim=True), raw.amax(over, keepdim=True)
    part = (raw - low) / (high - low).clamp(min=1e-6)
    return 1 - part if metres else part


NODE_CLASS_MAPPINGS = {"DacliDepth": DacliDepth}
NODE_DISPLAY_NAME_MAPPINGS = {"DacliDepth": "Depth (dacli)"}
