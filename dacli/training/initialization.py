"""What a training starts from: a network of its own first weights, or of a file's."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models import checkpoint_files, registry
from dacli.models.registry import ModelChoice
from dacli.models.spec import DepthModel

DINOV2_KEY = "patch_embed.proj.weight"  # a key of DINOv2's own files, which hold an encoder and nothing else


def untrained_network(encoder: str, max_depth: float | None) -> DepthModel:
    """Return a network of random weights, as torch's generator draws them."""
    network = registry.build_untrained(encoder, max_depth)
    network.initialize_encoder()
    return network


def network_from_file(path: Path, encoder: str | None, max_depth: float | None) -> DepthModel:
    """Return the network of a checkpoint, or a random decoder on the encoder of a DINOv2 file.

    A relative checkpoint that is to give metres starts with its order of depths: the last convolution is negated, as
    near was large. Raises DacliError for other files, and if the file holds another encoder.
    """
    network = network_on_dinov2(path, encoder, max_depth) or network_from_checkpoint(path, encoder, max_depth)
    return network.train().requires_grad_()


def network_on_dinov2(path: Path, encoder: str | None, max_depth: float | None) -> DepthModel | None:
    if registry.is_tiny_file(path):
        return None
    state = checkpoint_files.read_weights(path)
    if not isinstance(state, dict) or DINOV2_KEY not in state:
        return None
    found = checkpoint_files.ENCODER_WIDTHS.get(state[DINOV2_KEY].shape[0])
    if found is None or encoder not in (None, found):
        fault = f"{path.name} holds the encoder {found or 'of an unknown width'}, not {encoder}"
        raise DacliError(fault, f"use --encoder {found}" if found else "give DINOv2 vits14, vitb14, vitl14 or vitg14")
    network = untrained_network(found, max_depth)
    try:
        network.load_encoder(state)
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise DacliError(
            f"{path.name} is not a DINOv2 encoder without registers ({reason})", "give another file"
        ) from error
    return network


def network_from_checkpoint(path: Path, encoder: str | None, max_depth: float | None) -> DepthModel:
    network = registry.open_own_file(path, ModelChoice(encoder, "v2", path)).network
    if network.spec.max_depth == max_depth:
        return network
    if network.spec.max_depth is not None:
        raise DacliError(f"{path.name} predicts metres", "start from a relative checkpoint")
    network.max_depth = max_depth
    last = last_convolution(network)
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.neg_()
    return network


def last_convolution(network: DepthModel) -> nn.Conv2d:
    """Return the convolution that the depth comes out of."""
    found = network.get_submodule(network.spec.precise_layers)
    return [module for module in found.modules() if isinstance(module, nn.Conv2d)][-1]


def is_encoder_parameter(name: str) -> bool:
    """Return whether a parameter belongs to the encoder."""
    return name.startswith(("pretrained.", "stem.", "stages.", "attention."))


class TokenRecorder:
    """The last tokens [B, N, D] of an encoder, from the latest call of the layer that returns them."""

    tokens: Tensor

    def __init__(self, layer: nn.Module) -> None:
        layer.register_forward_hook(self.listen)

    def listen(self, _module: nn.Module, _inputs: object, tokens: Tensor) -> None:
        self.tokens = tokens
