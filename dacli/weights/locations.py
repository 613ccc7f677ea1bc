"""Where a checkpoint is downloaded from, where a download is saved, and where copies may already be."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from dacli.errors import DacliError
from dacli.paths import cache_folder, expand_home
from dacli.weights.hub import Origin, hide_password
from dacli.weights.manifest import Checkpoint, read_hubs

COMFYUI_FOLDERS = ("depthanything", "geometry_estimation")


def download_path(checkpoint: Checkpoint) -> Path:
    """Return where a download saves the checkpoint, and where a file fetched by hand belongs."""
    return cache_folder() / "weights" / checkpoint.file


def download_origins(checkpoint: Checkpoint) -> tuple[Origin, ...]:
    """Return where the checkpoint can be downloaded, as hub_origins() does."""
    return hub_origins(checkpoint.path_on_hub)


def hub_origins(path: str) -> tuple[Origin, ...]:
    """Return the addresses of a path on the hubs, in the order to try; only the first is sent HF_TOKEN.

    HF_ENDPOINT is the only hub if it is set. Otherwise DACLI_MIRRORS (addresses separated by commas or spaces; empty
    for none) replaces all hubs of weights.toml but the first. Raises DacliError if an address is not http or https.
    """
    endpoint, mirrors = os.environ.get("HF_ENDPOINT", "").strip(), os.environ.get("DACLI_MIRRORS")
    main_hub, *other_hubs = read_hubs()
    if mirrors is not None:
        other_hubs = mirrors.replace(",", " ").split()
    first, *rest = [endpoint] if endpoint else [main_hub, *other_hubs]
    return (Origin(_file_address(first, path), _hub_token()), *(Origin(_file_address(hub, path)) for hub in rest))


def local_copies(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield every local file with the name and folder of the checkpoint; its content may be different.

    They are in the folders of DACLI_WEIGHTS_DIR and their subfolders as ComfyUI names them, in dacli's cache and in
    Hugging Face's.
    """
    for path in (*_user_paths(checkpoint), download_path(checkpoint), *_hugging_face_paths(checkpoint)):
        if _is_file(path):
            yield path


def _file_address(hub: str, path: str) -> str:
    try:
        valid = urlsplit(hub).scheme in {"http", "https"} and bool(urlsplit(hub).netloc)
    except ValueError:
        valid = False
    if not valid:
        fault = f"{hide_password(repr(hub))} is not the address of a hub"
        raise DacliError(fault, "HF_ENDPOINT and DACLI_MIRRORS take https://HOST")
    return f"{hub.rstrip('/')}/{path}"


def _hub_token() -> str | None:
    if token := os.environ.get("HF_TOKEN", "").strip():
        return token
    path = expand_home(Path(os.environ.get("HF_TOKEN_PATH") or _hugging_face_home() / "token"))
    with contextlib.suppress(OSError, ValueError):
        return path.read_text("utf-8").strip() or None if path.is_file() else None
    return None


def _user_paths(checkpoint: Checkpoint) -> Iterator[Path]:
    for name in filter(None, os.environ.get("DACLI_WEIGHTS_DIR", "").split(os.pathsep)):
        folder = expand_home(Path(name)).absolute()
        yield folder / checkpoint.file
        for subfolder in COMFYUI_FOLDERS:
            yield folder / subfolder / checkpoint.file


def _hugging_face_paths(checkpoint: Checkpoint) -> Iterator[Path]:
    kind = "spaces" if checkpoint.space else "models"
    repo = hugging_face_cache() / "--".join((kind, *checkpoint.repo.split("/")))
    pinned = repo / "snapshots" / checkpoint.revision / checkpoint.path_in_repo
    yield pinned
    yield from (path for path in sorted(repo.glob(f"snapshots/*/{checkpoint.path_in_repo}")) if path != pinned)


def hugging_face_cache() -> Path:
    """Return the folder in which Hugging Face's own tools keep repositories."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or _hugging_face_home() / "hub"
    return expand_home(Path(cache))


def _hugging_face_home() -> Path:
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return expand_home(Path(os.environ.get("HF_HOME") or Path(caches, "huggingface")))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
