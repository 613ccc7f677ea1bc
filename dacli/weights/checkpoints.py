"""The published checkpoints of weights.toml: where they are on this machine, and how they are obtained and verified."""

import contextlib
import difflib
import functools
import json
import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError, UsageError
from dacli.paths import cache_folder
from dacli.weights.download import DEFAULT_RETRIES, DownloadRequest, RetryPolicy, download_file, sha256_of
from dacli.weights.hub import Origin

MODEL_ALIASES = {"hypersim": "indoor", "vkitti": "outdoor"}

CheckpointState = Literal["ok", "present, not verified", "damaged", "missing"]
CHECKPOINT_STATES: tuple[CheckpointState, ...] = ("ok", "present, not verified", "damaged", "missing")


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights: one table of weights.toml."""

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

    @property
    def non_commercial(self) -> bool:
        """Return whether the licence, or that of the model it was fine-tuned from, forbids commercial use."""
        return "-NC-" in self.licence

    @property
    def path_in_repo(self) -> str:
        """Return the file's path inside its repository."""
        return f"{self.folder}/{self.file}" if self.folder else self.file

    @property
    def path_on_hub(self) -> str:
        """Return the file's path on a hub, to be put after the hub's address and a slash."""
        return f"{'spaces/' if self.space else ''}{self.repo}/resolve/{self.revision}/{self.path_in_repo}"


@dataclass(frozen=True)
class CheckpointStatus:
    """How a checkpoint stands here: its state, the file (missing: where a download would put it), what is wrong."""

    state: CheckpointState
    path: Path
    fault: str = ""


@functools.cache
def read_manifest() -> tuple[Checkpoint, ...]:
    """Return every published checkpoint; raise DacliError if weights.toml cannot be read."""
    return tuple(Checkpoint(name=name, **row) for name, row in _tables().items() if isinstance(row, dict))


def checkpoint_named(name: str) -> Checkpoint:
    """Return the checkpoint of this name; raise UsageError, with the nearest name, if there is none."""
    rows = {row.name: row for row in read_manifest()}
    if name in rows:
        return rows[name]
    near = difflib.get_close_matches(name.lower(), rows, n=1)
    hint = f"did you mean {near[0]}?" if near else "`dacli weights list` shows all names"
    raise UsageError(f"no checkpoint is called {name!r}", hint)


def matching_checkpoints(encoder: str, model: str, *, half: bool) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that hold this encoder and model, the one to download first, fp16 files first if half.

    The others serve where a copy of them is here already. Without half, fp16 files do not count: their weights differ.
    Raises DacliError if none was published.
    """
    model = MODEL_ALIASES.get(model, model)
    rows = [row for row in read_manifest() if (row.encoder, row.model) == (encoder, model)]
    if not rows:
        raise DacliError(
            f"there is no published checkpoint of {encoder} for model {model}",
            "give a file of your own with --weights FILE",
        )
    wanted = ("fp16", "fp32") if half else ("fp32",)
    return tuple(row for precision in wanted for row in rows if row.precision == precision)


def download_path(checkpoint: Checkpoint) -> Path:
    """Return where a download puts the checkpoint, and where a file fetched by hand belongs."""
    return cache_folder() / "weights" / checkpoint.file


def download_origins(checkpoint: Checkpoint) -> tuple[Origin, ...]:
    """Return where the checkpoint can be downloaded, in the order to ask; only the first may see HF_TOKEN.

    HF_ENDPOINT, where set, stands alone: who names an own hub wants no other. Else DACLI_MIRRORS (addresses with commas
    or spaces between; set but empty: none) stands in for the hubs of weights.toml after the first.
    Raises DacliError if an address is not http or https.
    """
    endpoint, mirrors = os.environ.get("HF_ENDPOINT", "").strip(), os.environ.get("DACLI_MIRRORS")
    hub, *others = _tables()["hubs"]
    if mirrors is not None:
        others = mirrors.replace(",", " ").split()
    first, *rest = [endpoint] if endpoint else [hub, *others]
    path = checkpoint.path_on_hub
    return (Origin(_address(first, path), _token()), *(Origin(_address(each, path)) for each in rest))


def find_checkpoint(checkpoint: Checkpoint, say: Log) -> Path | None:
    """Return a file of this checkpoint that is here already and has the right SHA-256; other people's are only read.

    Looks in the folders of DACLI_WEIGHTS_DIR and their `depthanything` (ComfyUI), in dacli's cache, in Hugging Face's.
    """
    for path in _candidates(checkpoint):
        standing = _judge(checkpoint, path, _sha256_once)
        if standing.state == "ok":
            return path
        say(f"passed over {path}: {standing.fault}")
    return None


def obtain_checkpoint(
    checkpoint: Checkpoint, say: Log, progress: DownloadProgress, patience: RetryPolicy = DEFAULT_RETRIES
) -> Path:
    """Return a checked file of this checkpoint, downloaded if it is not here; raise DacliError if that fails.

    Before its first use, a licence that forbids commercial use is said.
    """
    path = find_checkpoint(checkpoint, say)
    notice = cache_folder() / "licences-said" / checkpoint.name
    if checkpoint.non_commercial and not notice.exists():
        say(f"{checkpoint.name}: licence {checkpoint.licence}; not for commercial use")
    if path is None:
        path = download_file(_wanted(checkpoint), say, progress, patience)
        _remember(path, checkpoint.sha256)
    if checkpoint.non_commercial:
        _touch(notice)
    return path


def verify_checkpoint(checkpoint: Checkpoint) -> CheckpointStatus:
    """Return the state of a checkpoint after reading every byte of it again: ok, damaged or missing."""
    return _standing(checkpoint, _sha256_anew)


def checkpoint_state(checkpoint: Checkpoint) -> CheckpointStatus:
    """Return how the checkpoint stands as far as sizes and earlier checks tell: no file is read."""
    return _standing(checkpoint, _remembered)


@functools.cache
def _tables() -> dict[str, Any]:
    installed = Path(__file__).parents[1] / "weights.toml"
    path = installed if installed.exists() else Path(__file__).parents[2] / "weights.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DacliError(f"cannot read the list of checkpoints {path}: {error}", "install dacli again") from error


def _wanted(checkpoint: Checkpoint) -> DownloadRequest:
    return DownloadRequest(download_origins(checkpoint), checkpoint.sha256, checkpoint.bytes, download_path(checkpoint))


def _address(hub: str, path: str) -> str:
    try:
        good = urlsplit(hub).scheme in {"http", "https"} and bool(urlsplit(hub).netloc)
    except ValueError:
        good = False
    if not good:
        raise DacliError(f"{hub!r} is not the address of a hub", "HF_ENDPOINT and DACLI_MIRRORS take https://HOST")
    return f"{hub.rstrip('/')}/{path}"


def _token() -> str | None:
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    kept = Path(os.environ.get("HF_TOKEN_PATH") or _hugging_face_home() / "token").expanduser()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return kept.read_text("utf-8").strip() or None
    return None


def _candidates(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield every file here that by its name and place may be the checkpoint."""
    for path in (*_own_files(checkpoint), download_path(checkpoint), *_hugging_face_files(checkpoint)):
        if _is_file(path):
            yield path


def _own_files(checkpoint: Checkpoint) -> Iterator[Path]:
    for folder in filter(None, os.environ.get("DACLI_WEIGHTS_DIR", "").split(os.pathsep)):
        place = Path(folder).expanduser().absolute()
        yield place / checkpoint.file
        yield place / "depthanything" / checkpoint.file


def _hugging_face_files(checkpoint: Checkpoint) -> Iterator[Path]:
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or _hugging_face_home() / "hub"
    kind = "spaces" if checkpoint.space else "models"
    repo = Path(cache).expanduser() / "--".join((kind, *checkpoint.repo.split("/")))
    pinned = repo / "snapshots" / checkpoint.revision / checkpoint.path_in_repo
    yield pinned
    yield from (path for path in sorted(repo.glob(f"snapshots/*/{checkpoint.path_in_repo}")) if path != pinned)


def _hugging_face_home() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or Path(caches, "huggingface")).expanduser()


def _standing(checkpoint: Checkpoint, sha256: Callable[[Path], str | None]) -> CheckpointStatus:
    best = CheckpointStatus("missing", download_path(checkpoint))
    for path in _candidates(checkpoint):
        standing = _judge(checkpoint, path, sha256)
        best = min(best, standing, key=lambda each: CHECKPOINT_STATES.index(each.state))
        if best.state == "ok":
            break
    return best


def _judge(checkpoint: Checkpoint, path: Path, sha256: Callable[[Path], str | None]) -> CheckpointStatus:
    try:
        size = path.stat().st_size
        if checkpoint.bytes not in (None, size):
            return CheckpointStatus("damaged", path, f"it has {size} bytes, {checkpoint.bytes} expected")
        digest = sha256(path)
    except OSError as error:
        return CheckpointStatus("damaged", path, f"it cannot be read ({error.strerror})")
    if digest is None:
        return CheckpointStatus("present, not verified", path)
    if digest != checkpoint.sha256:
        return CheckpointStatus("damaged", path, "it is not the published file (SHA-256 differs)")
    return CheckpointStatus("ok", path)


def _sha256_once(path: Path) -> str:
    return _remembered(path) or _sha256_anew(path)


def _sha256_anew(path: Path) -> str:
    digest = sha256_of(path)
    _remember(path, digest)
    return digest


def _remembered(path: Path) -> str | None:
    """Return the SHA-256 that was computed of this very file: same path, size and time of change."""
    entry = _memory().get(str(path))
    return str(entry[-1]) if isinstance(entry, list) and entry[:-1] == _identity(path) else None


def _remember(path: Path, sha256: str) -> None:
    memory = _memory() | {str(path): [*_identity(path), sha256]}
    place = _memory_path()
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(memory, indent=1), "utf-8")
        draft.replace(place)


def _memory() -> dict[str, object]:
    try:
        memory = json.loads(_memory_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def _memory_path() -> Path:
    return cache_folder() / "sha256.json"


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
