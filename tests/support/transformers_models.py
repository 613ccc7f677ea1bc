"""Folders of small depth models of Transformers with seeded weights, one for each architecture."""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

transformers: Any = importlib.import_module("transformers")  # it has no types of its own

KEPT = {"size": {"height": 70, "width": 70}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
NECK: dict[str, Any] = {"neck_hidden_sizes": [8, 8, 16, 16], "fusion_hidden_size": 8}


@dataclass(frozen=True)
class SmallArchitecture:
    """The configuration of a small network, the values of its image processor, and the library's class of that."""

    config: Any
    values: Mapping[str, Any] = field(default_factory=dict)
    processor: str = ""

    def untrained(self) -> Any:
        """Return the library's own network with the weights that it draws."""
        return transformers.AutoModelForDepthEstimation.from_config(self.config).eval()

    def model(self) -> Any:
        """Return the library's own network with seeded weights whose depth varies."""
        model = self.untrained()
        return fill_with_varied_weights(model)

    def save(self, folder: Path) -> Any:
        """Write the folder as a repository has it, and return the network."""
        model = self.model()
        model.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(dict(self.values)))
        return model


def fill_with_varied_weights(model: nn.Module) -> nn.Module:
    """Return a network with seeded random weights that keep values large: at the start of a training depth is flat."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if "embedding" in name or "token" in name:
                value.copy_(noise / 2)
            elif value.ndim > 1:
                value.copy_(noise / value[0].numel() ** 0.5)
            elif "lambda" in name or "layer_scale" in name:
                value.copy_(0.5 + 0.1 * noise)
            else:
                value.copy_(("norm" in name and name.endswith("weight")) + 0.1 * noise)
    return model


def dinov2(size: int, patch: int, **options: Any) -> Any:
    return transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=size,
        patch_size=patch,
        **options,
    )


def tapped(size: int = 70) -> Any:
    return dinov2(size, 14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True)


def depth_anything(kind: str = "relative") -> SmallArchitecture:
    head = {"reassemble_hidden_size": 32, "head_hidden_size": 4, **NECK}
    config = transformers.DepthAnythingConfig(
        backbone_config=tapped(), depth_estimation_type=kind, max_depth=80 if kind == "metric" else 1, **head
    )
    return SmallArchitecture(config, KEPT, "DPTImageProcessorPil")


def prompt_depth_anything() -> SmallArchitecture:
    head = {"reassemble_hidden_size": 32, "head_hidden_size": 4, **NECK}
    config = transformers.PromptDepthAnythingConfig(backbone_config=tapped(), **head)
    return SmallArchitecture(config, KEPT, "PromptDepthAnythingImageProcessorPil")


def dpt(**options: Any) -> SmallArchitecture:
    """MiDaS's DPT, which sees every picture as a square."""
    config = transformers.DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        is_hybrid=False,
        **NECK,
        **options,
    )
    return SmallArchitecture(config, {"size": 64}, "DPTImageProcessorPil")


def dpt_of_dinov2() -> SmallArchitecture:
    """DINOv2's own DPT in metres; its projection has a fixed width."""
    config = transformers.DPTConfig(
        backbone_config=tapped(),
        is_hybrid=False,
        hidden_size=32,
        add_projection=True,
        **NECK | {"fusion_hidden_size": 256},
    )
    return SmallArchitecture(config, KEPT, "DPTImageProcessorPil")


def glpn() -> SmallArchitecture:
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    )
    return SmallArchitecture(config, {}, "GLPNImageProcessorPil")


def zoedepth() -> SmallArchitecture:
    beit = transformers.BeitConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=64,
        patch_size=16,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        use_relative_position_bias=True,
    )
    config = transformers.ZoeDepthConfig(
        backbone_config=beit,
        bottleneck_features=8,
        num_relative_features=4,
        bin_embedding_dim=8,
        num_attractors=[4, 2, 2, 1],
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0}],
        **NECK,
    )
    return SmallArchitecture(config, {"size": {"height": 64, "width": 96}, "ensure_multiple_of": 32})


def depth_pro() -> SmallArchitecture:
    config = transformers.DepthProConfig(
        patch_size=32,
        image_model_config=dinov2(32, 16),
        patch_model_config=dinov2(32, 16),
        fov_model_config=dinov2(32, 16),
        fusion_hidden_size=8,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.25, 0.5, 1.0],
        scaled_images_overlap_ratios=[0.0, 0.5, 0.25],
        scaled_images_feature_dims=[16, 8, 8],
        use_fov_model=True,
    )
    return SmallArchitecture(config, {"size": {"height": 128, "width": 128}})


def chmv2() -> SmallArchitecture:
    backbone = transformers.DINOv3ViTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=64,
        patch_size=16,
        num_register_tokens=1,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=True,
        apply_layernorm=True,
        return_class_token=True,
    )
    config = transformers.CHMv2Config(
        backbone_config=backbone,
        post_process_channels=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=4,
        number_output_channels=8,
    )
    return SmallArchitecture(config)


def tipsv2_dpt() -> SmallArchitecture:
    backbone = transformers.Tipsv2VisionConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = transformers.Tipsv2DptConfig(backbone_config=backbone, num_depth_bins=8, **NECK)
    return SmallArchitecture(config, {"size": {"height": 56, "width": 56}})
