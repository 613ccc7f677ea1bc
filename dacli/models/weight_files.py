"""A folder of transformers, or its config.json beside the weights: which file to read, and what it predicts."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacli.errors import DacliError
from dacli.models.depth_anything import ENCODERS
from dacli.paths import display_path

METRIC_RANGES = {"indoor": 20.0, "outdoor": 80.0}  # the largest depth in metres of the metric models
_FILES = ("model.safetensors", "pytorch_model.bin")  # as save_pretrained() names them
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.")
_MAX_CONFIG = 1 << 20  # bytes


@dataclass(frozen=True)
class SavedConfig:
    """What a config.json says of the weights beside it: the version by the taps, and the largest depth in metres.

    `max_depth` is None for relative depth, `version` None if it does not say its taps.
    """

    path: Path
    version: str | None
    max_depth: float | None

    @property
    def model(self) -> str:
        """Return the name of what it predicts, as outputs carry it."""
        return self.version or "v2" if self.max_depth is None else name_metric_model(self.max_depth)


def name_metric_model(max_depth: float) -> str:
    """Return the name of the model whose largest depth in metres this is, as outputs carry it."""
    names = {depth: name for name, depth in METRIC_RANGES.items()}
    return names.get(max_depth, f"metric up to {max_depth:g} m")


def find_weight_file(path: Path) -> Path:
    """Return the file of weights that a path names: itself, or the one in a folder.

    Raises DacliError for a folder without one or with several, and for one shard of several.
    """
    if not path.is_dir():
        _refuse_shard(path)
        return path
    found = [path / name for name in _FILES if (path / name).is_file()] or sorted(
        each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES and each.is_file()
    )
    for each in found:
        _refuse_shard(each)
    if len(found) > 1 and found[0].name not in _FILES:
        names = ", ".join(each.name for each in found[:3])
        raise DacliError(
            f"{display_path(path)} is a folder with several files of weights ({names})", "name one of them"
        )
    if not found:
        raise DacliError(f"{display_path(path)} is a folder without weights", "name the checkpoint file itself")
    return found[0]


def _refuse_shard(path: Path) -> None:
    if shard := _SHARD.search(path.name):
        fault = f"{path.name} is part {int(shard[1])} of {int(shard[2])} of a checkpoint"
        hint = "save it as one file: model.save_pretrained(FOLDER, max_shard_size='10GB')"
        raise DacliError(fault, hint)


def read_saved_config(weights: Path) -> SavedConfig | None:
    """Return the config.json of Depth Anything beside a file of weights; None if there is none, or of another network.

    Raises DacliError for one that contradicts itself or names taps of neither V1 nor V2.
    """
    path = weights.parent / "config.json"
    if not path.is_file() or path.stat().st_size > _MAX_CONFIG:
        return None
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(values, dict) or values.get("model_type") != "depth_anything":
        return None
    return SavedConfig(path, _version_of(values, path), _max_depth_of(values, path))


def _max_depth_of(values: dict[str, Any], path: Path) -> float | None:
    kind = values.get("depth_estimation_type", "relative")
    if kind not in ("relative", "metric"):
        raise DacliError(f"{display_path(path)}: depth_estimation_type is {kind!r}", "it is relative or metric")
    if kind == "relative":
        return None
    depth = values.get("max_depth")
    if isinstance(depth, bool) or not isinstance(depth, int | float) or not 0 < depth < 1e6:
        raise DacliError(f"{display_path(path)}: max_depth is {depth!r}", "write the largest depth in metres there")
    return float(depth)


def _version_of(values: dict[str, Any], path: Path) -> str | None:
    """Return "v1" or "v2" by the blocks whose outputs are tapped, counted from 1; None if they are not named."""
    backbone = values.get("backbone_config")
    backbone = backbone if isinstance(backbone, dict) else {}
    taps = backbone.get("out_indices")
    if not isinstance(taps, list):
        return None
    blocks = tuple(tap - 1 for tap in taps if isinstance(tap, int))
    for row in ENCODERS.values():
        if row.blocks == backbone.get("num_hidden_layers", 12):
            if blocks == row.taps_v2:
                return "v2"
            if blocks == row.taps_v1:
                return "v1"
    raise DacliError(
        f"{display_path(path)}: out_indices are {taps}", "dacli reads the taps of Depth Anything V1 and V2"
    )
