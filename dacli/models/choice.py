"""What options name: an encoder and a model, a file of your own, or a model of Transformers; what is opened of it."""

import difflib
import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dacli.errors import UsageError
from dacli.models.spec import DepthModel
from dacli.models.weight_files import METRIC_RANGES
from dacli.paths import printable_text
from dacli.weights import manifest, repositories

MODELS: Mapping[str, float | None] = {  # the largest depth in metres, None if they are relative
    "v2": None,
    "v1": None,
    **METRIC_RANGES,
    "da3": None,
    "da3-metric": math.inf,
}
OF_DEPTH_ANYTHING = ("v2", "v1", *METRIC_RANGES)


@dataclass(frozen=True)
class ModelChoice:
    """The network that options name: encoder, model (relative v2 or v1, metric indoor or outdoor), a file of your own.

    Without a file `encoder` is the name of a network; with one it may be None: the file says which it is. A model of
    Transformers is named by `model` alone: hf:ORG/NAME, or a folder.
    """

    encoder: str | None
    model: str
    weights: Path | None = None

    @property
    def in_transformers(self) -> bool:
        """Return whether it is a model of Transformers."""
        return self.model not in MODELS

    @property
    def network_name(self) -> str:
        """Return the name of the network before it is loaded; "" if only a file says it."""
        return Path(self.model).name if self.in_transformers else self.encoder or ""


@dataclass(frozen=True)
class OpenModel:
    """A network with its weights, and the names that outputs carry; `weights` tells one file from another."""

    network: DepthModel
    encoder: str
    model: str
    weights: str


def resolve_model(name: str) -> str:
    """Return the model that a name or its alias means; raise UsageError, with the nearest name, for any other."""
    model = manifest.MODEL_ALIASES.get(name, name)
    if model not in MODELS:
        hint = f"{suggest(name, MODELS)}choose {', '.join(MODELS)}, hf:ORG/NAME or a folder of a Transformers model"
        raise UsageError(f"unknown model {name!r}", hint)
    return model


def is_in_transformers(name: str) -> bool:
    """Return whether a name of a model is that of a repository or a folder of Transformers.

    Raises UsageError for a path that does not exist.
    """
    if name in MODELS or name in manifest.MODEL_ALIASES:
        return False
    if name.startswith(repositories.PREFIX):
        return True
    try:
        found = Path(name).is_dir()
    except (OSError, ValueError):
        found = False
    if not found and any(mark in name for mark in (os.sep, "/")):
        raise UsageError(f"there is no folder {printable_text(name)}", "--model takes a name, hf:ORG/NAME or a folder")
    return found


def choose_in_transformers(encoder: str | None, model: str, weights: Path | None) -> ModelChoice:
    """Return the choice of a repository or a folder; raise UsageError if other options name a network too."""
    if weights is not None or encoder is not None:
        other = "--weights" if weights is not None else f"--encoder {encoder}"
        raise UsageError(f"--model {printable_text(model)} and {other} contradict each other", f"leave {other} out")
    if not model.startswith(repositories.PREFIX):
        return ModelChoice(None, str(Path(model).absolute()))
    name = repositories.repository_name(model)
    published = next((row for row in manifest.read_manifest() if row.repo.lower() == name.lower()), None)
    if published is not None:  # dacli has this network itself
        return ModelChoice(published.encoder, published.model)
    return ModelChoice(None, repositories.PREFIX + name)


def suggest(name: str, names: Collection[str]) -> str:
    """Return "did you mean …? " with the nearest of some names, or nothing."""
    near = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.4)
    return f"did you mean {near[0]}? " if near else ""


def identify_file(path: Path) -> str:
    """Return the identity of a user's own file of weights: its name, size and time of change."""
    info = path.stat()
    return f"{path.name} {info.st_size} {info.st_mtime_ns}"
