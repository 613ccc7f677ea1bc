"""A file from a hub: resumed, checked by its hash, and put in its place as a whole."""

import contextlib
import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError
from dacli.io.locks import lock_file
from dacli.weights.hub import DroppedError, Origin, RefusedError, connection_reason, open_origin

CHUNK = 1 << 20
LARGEST_DOWNLOAD = 8 << 30  # bytes; for a file of unknown size
LONGEST_WAIT = 60.0  # seconds; above it a server's Retry-After is cut


@dataclass(frozen=True)
class DownloadRequest:
    """A file to download: where from, in this order, what it must be, and where it shall stand."""

    origins: tuple[Origin, ...]
    sha256: str
    bytes: int | None
    path: Path

    @property
    def part(self) -> Path:
        """Return where the bytes gather until all are there and right."""
        return self.path.with_name(self.path.name + ".part")

    @property
    def etag(self) -> Path:
        """Return where the ETag of the gathered bytes is kept, for resuming in a later run."""
        return self.path.with_name(self.path.name + ".part.etag")


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a silent server (seconds), and how often to try one that drops the connection."""

    timeout: float = 30.0
    attempts: int = 5
    sleep: Callable[[float], None] = time.sleep


DEFAULT_RETRIES = RetryPolicy()


class _WrongBytesError(Exception):
    """What has gathered is not the file, or not a part of it."""


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def download_file(
    wanted: DownloadRequest, say: Log, progress: DownloadProgress, patience: RetryPolicy = DEFAULT_RETRIES
) -> Path:
    """Return the path of the file, downloaded and checked: whole and right, or not there at all.

    `progress` is called with the bytes that are there and the bytes in all (None: unknown). Raises DacliError if no
    origin gives the file, HF_HUB_OFFLINE is set, or the disk is full or not writable.
    """
    if is_offline():
        raise _unobtainable(wanted, ["HF_HUB_OFFLINE is set"])
    try:
        wanted.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(wanted.path, say):
            if not _is_whole(wanted):
                _download(wanted, say, progress, patience)
    except OSError as error:
        raise _unwritable(wanted.path, error) from error
    return wanted.path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raise OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(wanted: DownloadRequest, say: Log, progress: DownloadProgress, patience: RetryPolicy) -> None:
    reasons: list[str] = []
    for origin in wanted.origins:
        if reasons:
            say(f"{reasons[-1]}; trying {origin.address}")
        try:
            return _download_from(origin, wanted, say, progress, patience)
        except RefusedError as error:
            reasons.append(f"{origin.address}: {error}")
    raise _unobtainable(wanted, reasons)


def _download_from(
    origin: Origin, wanted: DownloadRequest, say: Log, progress: DownloadProgress, patience: RetryPolicy
) -> None:
    failures, may_start_over, reached = 0, True, False
    while True:
        before = _size(wanted.part)
        try:
            _transfer(origin, wanted, progress, patience.timeout)
            return _settle(wanted)
        except _WrongBytesError as error:
            _discard(wanted)
            if before == 0 or not may_start_over:
                raise RefusedError(str(error)) from error
            may_start_over = False
        except DroppedError as error:
            gained = _size(wanted.part) - before
            reached = reached or gained > 0
            failures = 1 if gained >= CHUNK else failures + 1
            if failures >= patience.attempts or (error.unreachable and not reached):
                raise RefusedError(str(error)) from error
            pause = min(error.wait or 2.0 ** (failures - 1), LONGEST_WAIT)
            say(f"{wanted.path.name}: {error}; trying again in {pause:.0f} s")
            patience.sleep(pause)


def _transfer(origin: Origin, wanted: DownloadRequest, progress: DownloadProgress, timeout: float) -> None:
    have = _size(wanted.part)
    if wanted.bytes is not None and have >= wanted.bytes:
        return
    headers = {"User-Agent": "dacli", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if etag := _kept_etag(wanted):
            headers["If-Range"] = etag
    with open_origin(origin, headers, timeout) as given:
        if given is not None:
            _receive(given, wanted, have, progress)


def _receive(answer: HTTPResponse, wanted: DownloadRequest, have: int, progress: DownloadProgress) -> None:
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        _check_continues(answer.headers, wanted, have)
        offset, total = have, _range_total(answer.headers)
    else:
        offset, total = 0, answer.length
        _keep_etag(answer.headers, wanted)
    if None not in (total, wanted.bytes) and total != wanted.bytes:
        raise RefusedError(f"offers {total} bytes, {wanted.bytes} expected")
    total = total or wanted.bytes
    _check_room(wanted.path, (total or 0) - have)
    _append(answer, wanted.part, offset, total, progress)


def _append(answer: HTTPResponse, part: Path, offset: int, total: int | None, progress: DownloadProgress) -> None:
    limit = LARGEST_DOWNLOAD if total is None else total
    done = offset
    with part.open("ab" if offset else "wb") as file:
        progress(done, total)
        while chunk := _read(answer, min(CHUNK, limit - done)):
            file.write(chunk)
            done += len(chunk)
            progress(done, total)
    if total is None and done == limit:
        raise _WrongBytesError(f"sends more than {limit} bytes")
    if total is not None and done < total:
        raise DroppedError(f"connection closed after {done} of {total} bytes")


def _read(answer: HTTPResponse, at_most: int) -> bytes:
    try:
        return answer.read1(at_most) if at_most > 0 else b""
    except (OSError, HTTPException) as error:
        raise DroppedError(connection_reason(error)) from error


def _settle(wanted: DownloadRequest) -> None:
    with wanted.part.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if digest != wanted.sha256:
        raise _WrongBytesError("sent bytes that are not the published file (SHA-256 differs)")
    wanted.part.replace(wanted.path)
    wanted.etag.unlink(missing_ok=True)


def _discard(wanted: DownloadRequest) -> None:
    wanted.part.unlink(missing_ok=True)
    wanted.etag.unlink(missing_ok=True)


def _is_whole(wanted: DownloadRequest) -> bool:
    return wanted.path.exists() and sha256_of(wanted.path) == wanted.sha256


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_continues(headers: HTTPMessage, wanted: DownloadRequest, have: int) -> None:
    etag, kept = headers.get("ETag"), _kept_etag(wanted)
    if not headers.get("Content-Range", "").startswith(f"bytes {have}-") or (etag and kept and etag != kept):
        raise _WrongBytesError("answers with another part than asked for")


def _range_total(headers: HTTPMessage) -> int | None:
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _kept_etag(wanted: DownloadRequest) -> str:
    return wanted.etag.read_text("latin-1") if wanted.etag.exists() else ""


def _keep_etag(headers: HTTPMessage, wanted: DownloadRequest) -> None:
    etag = headers.get("ETag", "")
    if etag.startswith('"'):  # If-Range takes no weak one: RFC 9110, 13.1.5
        wanted.etag.write_text(etag, "latin-1")
    else:
        wanted.etag.unlink(missing_ok=True)


def _check_room(path: Path, needed: int) -> None:
    if needed > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, f"no room for {needed} bytes on the disk")


def _unobtainable(wanted: DownloadRequest, reasons: list[str]) -> DacliError:
    return DacliError(
        f"cannot download {wanted.path.name} ({'; '.join(reasons)})",
        f"fetch {wanted.origins[0].address} elsewhere and save it as {wanted.path}, or use --encoder tiny",
    )


def _unwritable(path: Path, error: OSError) -> DacliError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DacliError(
            f"cannot save {path}: {connection_reason(error)}", "free some room, or set DACLI_CACHE to another disk"
        )
    return DacliError(
        f"cannot save {path}: {connection_reason(error)}", "set DACLI_CACHE to a folder that can be written"
    )


@contextlib.contextmanager
def _locked(path: Path, say: Log) -> Iterator[None]:
    with path.with_name(path.name + ".lock").open("ab") as file:
        if lock_file(file) is False:  # where there are no locks the SHA-256 still guards
            say(f"another dacli is downloading {path.name}; waiting for it")
            while lock_file(file, wait=True) is False:
                pass
        yield
