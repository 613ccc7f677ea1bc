"""The networks to measure, with their weights, or with random weights if those are not on this machine."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from dacli.callbacks import Reporter
from dacli.models import registry
from dacli.models.choice import MODELS, ModelChoice
from dacli.models.depth_anything import DepthAnything
from dacli.models.depth_anything_3 import DA3_MODELS
from dacli.models.spec import DepthModel

WEIGHTS_SEED = 0
RANDOM_WEIGHTS = "random"


@dataclass(frozen=True)
class MeasuredModel:
    """A network to measure, its names, that of its weights, and the options that select it in a command."""

    network: DepthModel
    encoder: str
    model: str
    weights: str
    options: tuple[str, ...]


@contextmanager
def open_measured_model(choice: ModelChoice, folder: Path, reporter: Reporter) -> Iterator[MeasuredModel]:
    """Yield the network with its weights if they are here, else with seeded random weights, which take the same time.

    What engines make of random weights goes into `folder` and not into the user's cache.
    """
    with measured_choice(choice, folder, reporter) as usable:
        opened = registry.open_model(usable, half=False, log=reporter.note, progress=reporter.download)
        options = () if usable.in_transformers else ("--encoder", opened.encoder)
        options = options if usable.weights is None else ("--weights", str(usable.weights))
        weights = RANDOM_WEIGHTS if usable is not choice else opened.weights.rsplit(" ", 2)[0]
        more = () if choice.model == "v2" else ("--model", choice.model)
        yield MeasuredModel(opened.network, opened.encoder, opened.model, weights, (*options, *more))


@contextmanager
def measured_choice(choice: ModelChoice, folder: Path, reporter: Reporter) -> Iterator[ModelChoice]:
    """Yield the choice itself if its weights are here, else that of a file of random weights in `folder`."""
    if choice.in_transformers or choice.model in DA3_MODELS or registry.has_weights(choice, half=False):
        yield choice
        return
    name = str(choice.encoder)
    path = folder / f"{name}_{choice.model}_random.pth"
    if not path.exists():
        reporter.warn(f"the weights of {name} are not here (dacli weights get {name}): random ones take the same time")
        network = DepthAnything(name, max_depth=MODELS[choice.model]).eval()
        torch.save(fill_with_random_weights(network).state_dict(), path)
    with temporary_variable("DACLI_CACHE", str(folder / "cache")):
        yield ModelChoice(name, choice.model, path)


def fill_with_random_weights(network: DepthAnything) -> DepthAnything:
    """Return the network with random weights, the same each time, that keep values as large as trained ones do.

    With the first weights of a training its depth would be 0 everywhere, and tell nothing of precision.
    """
    generator = torch.Generator().manual_seed(WEIGHTS_SEED)
    with torch.no_grad():
        for name, value in network.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("gamma"):
                value.copy_(0.3 + 0.1 * noise)
            elif value.ndim > 1:
                value.copy_(noise / math.prod(value.shape[1:]) ** 0.5 if "pos" not in name else noise / 2)
            else:
                value.copy_(("norm" in name and name.endswith("weight")) + 0.05 * noise)
        network.get_parameter("depth_head.scratch.output_conv2.2.bias").fill_(0.5)
    return network


@contextmanager
def temporary_variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for the time of the context."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
