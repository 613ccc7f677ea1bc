"""Which network a run uses, and the weights it is filled with."""

import difflib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError, UsageError
from dacli.models import checkpoint_files, tiny
from dacli.models.depth_anything import ENCODERS, DepthAnything
from dacli.weights import checkpoints

MODELS = {"v2": None, "v1": None, "indoor": 20.0, "outdoor": 80.0}
NAMES = (*ENCODERS, "tiny")
Network = DepthAnything | tiny.Tiny


@dataclass(frozen=True)
class Choice:
    """The network that the options name: encoder, model (relative v2 or v1, metric indoor or outdoor), an own file.

    Without an own file `encoder` is one of NAMES; with one it may be None: the file tells.
    """

    encoder: str | None
    model: str
    weights: Path | None = None


@dataclass(frozen=True)
class Opened:
    """A network with its weights, and the names that outputs carry; `weights` tells one file from another."""

    network: Network
    encoder: str
    model: str
    weights: str


def choose(encoder: str | None, model: str, weights: Path | None) -> Choice:
    """The choice that options make; raises UsageError, with the nearest name, for names that do not exist."""
    model = checkpoints.ALIASES.get(model, model)
    if model not in MODELS:
        raise UsageError(f"unknown model {model!r}", f"{nearest(model, MODELS)}choose v2, v1, indoor or outdoor")
    if encoder is None and weights is None:
        encoder = os.environ.get("DACLI_ENCODER") or "vits"
    if encoder is not None and encoder not in NAMES:
        raise UsageError(f"unknown encoder {encoder!r}", f"{nearest(encoder, NAMES)}choose one of {', '.join(NAMES)}")
    if encoder == "tiny" and model != "v2":
        raise UsageError(
            f"tiny has no {model} model, it gives relative depth only", "leave --model out, or choose --encoder vits"
        )
    return Choice(encoder, model, weights)


def nearest(name: str, names: "dict[str, float | None] | tuple[str, ...]") -> str:
    near = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.4)
    return f"did you mean {near[0]}? " if near else ""


def open_network(
    choice: Choice, *, half: bool, say: Log, progress: Callable[[str], AbstractContextManager[DownloadProgress]]
) -> Opened:
    """The network in float32 on the CPU, its checkpoint downloaded if need be; raises DacliError if it cannot be had.

    `half` welcomes a half-size file; `progress(file)` is what shows a download.
    """
    if choice.encoder == "tiny" and choice.weights is None:
        return Opened(tiny.load(tiny.BUNDLED), "tiny", "tiny", identity(tiny.BUNDLED))
    if choice.weights is not None:
        return own(choice.weights, choice)
    rows = checkpoints.fitting(str(choice.encoder), choice.model, half=half)
    row = next((row for row in rows if checkpoints.find(row, lambda _: None)), rows[0])
    with progress(row.file) as shown:
        path = checkpoints.obtain(row, say, shown)
    return Opened(load(path, choice), str(choice.encoder), choice.model, path.name)


def is_here(choice: Choice, *, half: bool) -> bool:
    """Whether open_network() would find the weights on this machine."""
    if choice.encoder == "tiny" or choice.weights is not None:
        return True
    rows = checkpoints.fitting(str(choice.encoder), choice.model, half=half)
    return any(checkpoints.find(row, lambda _: None) for row in rows)


def own(path: Path, choice: Choice) -> Opened:
    """The network of the user's own file, which tells its encoder; raises DacliError if the options say otherwise."""
    if holds_tiny(path) or choice.encoder == "tiny":
        small = tiny.load(path)
        if choice.encoder not in (None, "tiny"):
            raise DacliError(f"{path.name} holds tiny, not {choice.encoder}", "use --encoder tiny")
        if choice.model != "v2" and (small.max_depth is None or small.max_depth != MODELS[choice.model]):
            raise DacliError(f"{path.name} holds tiny, which has no {choice.model} model", "leave --model out")
        return Opened(small, "tiny", "tiny", identity(path))
    published = next((row for row in checkpoints.manifest() if row.file == path.name), None)
    if published is not None and published.model != choice.model:
        # The keys are those of every other model: nothing but the name tells, and metres read as relative look right.
        hint = f"use --model {published.model}, or rename the file if it is your own"
        raise DacliError(f"{path.name} is the name of a published {published.model} checkpoint", hint)
    network = load(path, choice)
    return Opened(network, network.encoder, choice.model, identity(path))


def load(path: Path, choice: Choice) -> DepthAnything:
    version = "v1" if choice.model == "v1" else "v2"
    return checkpoint_files.load(path, choice.encoder, version, MODELS[choice.model])


def holds_tiny(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return "stem.0.weight" in file.keys()  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError):
        return False


def identity(path: Path) -> str:
    """What tells an own file of weights from others: name, size, time of change."""
    info = path.stat()
    return f"{path.name} {info.st_size} {info.st_mtime_ns}"


RANGES = {"indoor": 20.0, "outdoor": 80.0}  # metres
