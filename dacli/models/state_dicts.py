"""The weights of Depth Anything among what a checkpoint file holds: in which mapping, and under which prefix."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from dacli.errors import DacliError

ANCHOR_KEYS = ("pretrained.cls_token", "backbone.embeddings.cls_token")  # of the official and the transformers layout
ROOTS = ("pretrained.", "depth_head.", "backbone.", "neck.", "head.")  # of their keys
WRAPPER_KEYS = ("model", "state_dict", "teacher")  # under which most training scripts put the weights: looked at first
DEEPEST = 3  # mappings inside one another
COMPILED = "_orig_mod."  # which torch.compile puts into keys


def find_state(content: Any, name: str) -> dict[str, Tensor]:
    """Return the weights inside what a file holds, out of its wrappers and without a prefix common to the keys.

    Tensors of other networks beside them are left out. Of a file without the network, all tensors are returned. Raises
    DacliError for what is no mapping.
    """
    if not isinstance(content, Mapping):
        raise DacliError(f"{name} holds no state dict but a {type(content).__name__}", "save model.state_dict()")
    mappings = list(_mappings_in(content, DEEPEST))
    states = [_tensors_of(mapping) for mapping in mappings]
    return next((found for state in states if (found := _network_of(state))), next(filter(None, states), {}))


def _mappings_in(content: Mapping[Any, Any], depth: int) -> Iterator[Mapping[Any, Any]]:
    """Yield a mapping and those among its values, the usual wrappers first."""
    yield content
    if depth:
        usual = [content[key] for key in WRAPPER_KEYS if key in content]
        others = [value for key, value in content.items() if key not in WRAPPER_KEYS]
        for value in usual + others:
            if isinstance(value, Mapping):
                yield from _mappings_in(value, depth - 1)


def _tensors_of(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    items = ((str(key), value) for key, value in mapping.items() if isinstance(value, Tensor))
    return {key.replace(COMPILED, ""): value.detach() for key, value in items}


def _network_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the network among tensors, without their prefix; {} if there is none."""
    ends = ((key, anchor) for key in state for anchor in ANCHOR_KEYS if key.endswith(anchor))
    prefix = next((key.removesuffix(anchor) for key, anchor in ends), None)
    if prefix is None:
        return {}
    inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    return {key: value for key, value in inside.items() if key.startswith(ROOTS)}
