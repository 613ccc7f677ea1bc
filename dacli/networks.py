"""Which network a run uses, and the weights it is filled with."""

import difflib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from dacli import checkpoints, loading, tiny
from dacli.depth_anything import ENCODERS, DepthAnything
from dacli.download import Progress, Say
from dacli.errors import UsageError

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
        raise UsageError(f"tiny has no {model} model, it gives relative depth only", "leave --model out")
    return Choice(encoder, model, weights)


def nearest(name: str, names: "dict[str, float | None] | tuple[str, ...]") -> str:
    near = difflib.get_close_matches(name.lower(), list(names), n=1, cutoff=0.4)
    return f"did you mean {near[0]}? " if near else ""


def open_network(
    choice: Choice, *, half: bool, say: Say, progress: Callable[[str], AbstractContextManager[Progress]]
) -> Opened:
    """The network in float32 on the CPU, its checkpoint downloaded if need be; raises DacliError if it cannot be had.

    `half` welcomes a half-size file; `progress(file)` is what shows a download.
    """
    if choice.encoder == "tiny":
        network = tiny.load(choice.weights or tiny.BUNDLED)
        return Opened(network, "tiny", "tiny", identity(choice.weights or tiny.BUNDLED))
    depth = MODELS[choice.model]
    version = "v1" if choice.model == "v1" else "v2"
    if choice.weights is not None:
        own = loading.load(choice.weights, choice.encoder, version, depth)
        return Opened(own, own.encoder, choice.model, identity(choice.weights))
    rows = checkpoints.fitting(str(choice.encoder), choice.model, half=half)
    row = next((row for row in rows if checkpoints.find(row, lambda _: None)), rows[0])
    with progress(row.file) as shown:
        path = checkpoints.obtain(row, say, shown)
    return Opened(loading.load(path, choice.encoder, version, depth), str(choice.encoder), choice.model, path.name)


def identity(path: Path) -> str:
    """What tells an own file of weights from others: name, size, time of change."""
    info = path.stat()
    return f"{path.name} {info.st_size} {info.st_mtime_ns}"
