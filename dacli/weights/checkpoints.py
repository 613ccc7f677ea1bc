"""Published checkpoints on this machine: found, downloaded and verified."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dacli.callbacks import DownloadProgress, Log
from dacli.paths import cache_folder, describe_temporary_cache
from dacli.weights import hashes
from dacli.weights.download import DEFAULT_RETRIES, DownloadRequest, RetryPolicy, download_file
from dacli.weights.locations import download_origins, download_path, local_copies
from dacli.weights.manifest import Checkpoint

CheckpointState = Literal["ok", "present, not verified", "damaged", "missing"]
CHECKPOINT_STATES: tuple[CheckpointState, ...] = ("ok", "present, not verified", "damaged", "missing")  # best first


@dataclass(frozen=True)
class CheckpointStatus:
    """The state of a checkpoint on this machine, its file (if missing: where a download saves it), and its fault."""

    state: CheckpointState
    path: Path
    fault: str = ""


def find_checkpoint(checkpoint: Checkpoint, log: Log) -> Path | None:
    """Return a local file of this checkpoint with the right SHA-256, or None; files with another SHA-256 are logged."""
    for path in local_copies(checkpoint):
        status = _copy_status(checkpoint, path, hashes.cached_or_new_sha256)
        if status.state == "ok":
            return path
        log(f"skipped {path}: {status.fault}")
    return None


def obtain_checkpoint(
    checkpoint: Checkpoint, log: Log, progress: DownloadProgress, retries: RetryPolicy = DEFAULT_RETRIES
) -> Path:
    """Return a verified file of this checkpoint, downloaded if it is not here; raise DacliError if that fails.

    A licence that forbids commercial use is logged before the first use.
    """
    path = find_checkpoint(checkpoint, log)
    notice = cache_folder() / "licences-said" / checkpoint.name
    if checkpoint.non_commercial and not notice.exists():
        log(f"{checkpoint.name}: licence {checkpoint.licence}; not for commercial use")
    if path is None:
        if line := describe_temporary_cache():
            log(line)
        path = download_file(_download_request(checkpoint), log, progress, retries)
        hashes.keep_sha256(path, checkpoint.sha256)
    if checkpoint.non_commercial:
        _touch(notice)
    return path


def verify_checkpoint(checkpoint: Checkpoint) -> CheckpointStatus:
    """Return the status of a checkpoint after reading every byte of it: ok, damaged or missing."""
    return _best_status(checkpoint, hashes.new_sha256)


def checkpoint_status(checkpoint: Checkpoint) -> CheckpointStatus:
    """Return the status of a checkpoint by its size and earlier checks, without reading the file."""
    return _best_status(checkpoint, hashes.cached_sha256)


def _download_request(checkpoint: Checkpoint) -> DownloadRequest:
    return DownloadRequest(
        origins=download_origins(checkpoint),
        sha256=checkpoint.sha256,
        bytes=checkpoint.bytes,
        path=download_path(checkpoint),
        instead="--encoder tiny needs none" if checkpoint.model in ("v1", "v2") else "",
    )


def _best_status(checkpoint: Checkpoint, sha256: Callable[[Path], str | None]) -> CheckpointStatus:
    best = CheckpointStatus("missing", download_path(checkpoint))
    for path in local_copies(checkpoint):
        status = _copy_status(checkpoint, path, sha256)
        best = min(best, status, key=lambda candidate: CHECKPOINT_STATES.index(candidate.state))
        if best.state == "ok":
            break
    return best


def _copy_status(checkpoint: Checkpoint, path: Path, sha256: Callable[[Path], str | None]) -> CheckpointStatus:
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


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
