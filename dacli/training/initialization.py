"""Networks at the start of a training: with random weights, or with those of a file."""

from pathlib import Path

import torch
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models import checkpoint_files, registry
from dacli.models.choice import ModelChoice
from dacli.models.spec import DepthModel


def untrained_network(encoder: str, max_depth: float | None) -> DepthModel:
    """Return a network with random weights, drawn by the default generator of torch."""
    network = registry.build_untrained(encoder, max_depth)
    network.initialize_encoder()
    return network


def network_from_file(path: Path, encoder: str | None, max_depth: float | None) -> DepthModel:
    """Return the network of a checkpoint, or that of an encoder's file with a random decoder.

    A relative checkpoint that is trained for metres keeps its order of depths: its last convolution is negated, since
    near is large in inverse depth and small in metres. Raises DacliError for other files, and if the file holds another
    encoder.
    """
    network = network_on_encoder(path, encoder, max_depth) or network_from_checkpoint(path, encoder, max_depth)
    return network.train().requires_grad_()


def network_on_encoder(path: Path, encoder: str | None, max_depth: float | None) -> DepthModel | None:
    """Return a network with the encoder that is alone in a file and a random decoder; None for other files."""
    found = registry.encoder_in_file(path)
    if found is None:
        return None
    if found not in registry.model_names() or encoder not in (None, found):
        fault = f"{path.name} holds the encoder {found}, not {encoder or 'a known one'}"
        known = found in registry.model_names()
        raise DacliError(fault, f"use --encoder {found}" if known else "give DINOv2 vits14, vitb14, vitl14 or vitg14")
    network = untrained_network(found, max_depth)
    try:
        network.load_encoder(checkpoint_files.read_weights(path))
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise DacliError(
            f"{path.name} does not hold the encoder of {found} ({reason})",
            "give DINOv2 without registers, or MobileNetV2 1.4 for tiny",
        ) from error
    return network


def network_from_checkpoint(path: Path, encoder: str | None, max_depth: float | None) -> DepthModel:
    """Return the network of a checkpoint, relative or in metres up to `max_depth`."""
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
    """Return the convolution whose output is the depth."""
    head = network.get_submodule(network.spec.precise_layers)
    return [module for module in head.modules() if isinstance(module, nn.Conv2d)][-1]


def is_encoder_parameter(name: str) -> bool:
    """Return whether a parameter belongs to the encoder."""
    return name.startswith(("pretrained.", "encoder."))


class TokenRecorder:
    """Records the last tokens [B, N, D] of an encoder at each call of the layer that returns them."""

    tokens: Tensor

    def __init__(self, layer: nn.Module) -> None:
        layer.register_forward_hook(self.record)

    def record(self, _module: nn.Module, _inputs: object, tokens: Tensor) -> None:
        self.tokens = tokens
