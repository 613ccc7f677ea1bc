"""The published checkpoints and the hubs that have them: the rows of weights.toml."""

import difflib
import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from dacli.errors import DacliError, UsageError

MODEL_ALIASES = {"hypersim": "indoor", "vkitti": "outdoor"}


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights: one table of weights.toml.

    `published_as` is its name in the repository, if it is not `file`, the name on this machine.
    """

    name: str
    encoder: str
    model: str
    precision: str
    repo: str
    file: str
    revision: str
    sha256: str
    licence: str
    native_size: int
    bytes: int | None = None
    max_depth: float | None = None
    space: bool = False
    folder: str = ""
    published_as: str = ""

    @property
    def non_commercial(self) -> bool:
        """Return whether its licence, or that of the model it was fine-tuned from, forbids commercial use."""
        return "-NC-" in self.licence

    @property
    def path_in_repo(self) -> str:
        """Return the file's path inside its repository."""
        name = self.published_as or self.file
        return f"{self.folder}/{name}" if self.folder else name

    @property
    def path_on_hub(self) -> str:
        """Return the file's path on a hub: what follows the hub's address and a slash."""
        return f"{'spaces/' if self.space else ''}{self.repo}/resolve/{self.revision}/{self.path_in_repo}"


@functools.cache
def read_manifest() -> tuple[Checkpoint, ...]:
    """Return every published checkpoint; raise DacliError if weights.toml cannot be read."""
    return tuple(_make_checkpoint(name, row) for name, row in _read_tables().items() if isinstance(row, dict))


def _make_checkpoint(name: str, row: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint of a table; raise DacliError if a value is missing or of another kind."""
    kinds = get_type_hints(Checkpoint)
    needed = {each.name for each in fields(Checkpoint) if each.default is MISSING} - {"name"}
    if faults := sorted((needed - row.keys()) | (row.keys() - (kinds.keys() - {"name"}))):
        raise manifest_error(f"[{name}] lacks {faults[0]}" if faults[0] in needed else f"[{name}] has {faults[0]}")
    for key, value in row.items():
        kind = kinds[key] | int if key == "max_depth" else kinds[key]
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise manifest_error(f"{key} of [{name}] is {value!r}")
    for part in (row["file"], row.get("published_as", ""), *row.get("folder", "").split("/")):
        if part in (".", "..") or "/" in part or "\\" in part:
            raise manifest_error(f"[{name}] has a file outside of its folder")
    return Checkpoint(name=name, **row)


def read_hubs() -> list[str]:
    """Return the addresses of the hubs in the order to try them, at least one.

    Raises DacliError if one is not of http(s), and as read_manifest() does.
    """
    hubs = _read_tables().get("hubs")
    if not isinstance(hubs, list) or not hubs:
        raise manifest_error("it names no hubs")
    for hub in hubs:
        if not isinstance(hub, str) or not re.match("https?://[^/]", hub):
            raise manifest_error(f"the hub {hub!r} is not an address of http or https")
    return hubs


def manifest_path() -> Path:
    """Return the file of the list of checkpoints: inside the package, or of a clone."""
    installed = Path(__file__).parents[1] / "weights.toml"
    return installed if installed.exists() else Path(__file__).parents[2] / "weights.toml"


def manifest_error(reason: str) -> DacliError:
    """Return the error for a list of checkpoints that cannot be used."""
    return DacliError(f"cannot read the list of checkpoints {manifest_path()} ({reason})", "install dacli again")


def checkpoint_named(name: str) -> Checkpoint:
    """Return the checkpoint of this name; raise UsageError, with the most similar name, if there is none."""
    rows = {row.name: row for row in read_manifest()}
    if name in rows:
        return rows[name]
    if name == "tiny":
        raise UsageError("tiny is inside the package", "there is nothing to download or to check")
    similar = difflib.get_close_matches(name.lower(), rows, n=1)
    hint = f"did you mean {similar[0]}?" if similar else "`dacli weights list` shows all names"
    raise UsageError(f"no checkpoint is called {name!r}", hint)


def matching_checkpoints(encoder: str, model: str, *, half: bool) -> tuple[Checkpoint, ...]:
    """Return the checkpoints of an encoder and a model; the first is the one to download.

    The others are used if a copy of them is on this machine. With `half`, fp16 files come first; without it they are
    left out, because their weights differ. Raises DacliError if no checkpoint of them is published.
    """
    model = MODEL_ALIASES.get(model, model)
    rows = [row for row in read_manifest() if (row.encoder, row.model) == (encoder, model)]
    if not rows:
        raise DacliError(
            f"there is no published checkpoint of {encoder} for model {model}",
            "give a file of your own with --weights FILE",
        )
    precisions = ("fp16", "fp32") if half else ("fp32",)
    return tuple(row for precision in precisions for row in rows if row.precision == precision)


@functools.cache
def _read_tables() -> dict[str, Any]:
    try:
        return tomllib.loads(manifest_path().read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise manifest_error(str(error)) from error
