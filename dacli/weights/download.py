"""Downloads of one file: resumed after a break, verified by SHA-256, and given their name only when complete."""

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
from dacli.weights.hashes import sha256_of
from dacli.weights.hub import DroppedError, Origin, RefusedError, connection_reason, open_origin, parse_count

CHUNK = 1 << 20  # bytes that are read at once
WEB_PAGES = frozenset({"text/html", "application/xhtml+xml"})
LARGEST_DOWNLOAD = 8 << 30  # bytes, of a file of unknown size
LONGEST_WAIT = 60.0  # seconds; a longer Retry-After of a server is cut to this


@dataclass(frozen=True)
class DownloadRequest:
    """A file to download: its origins in the order to try, its SHA-256, its size if known, and where to save it.

    `instead` says what works without it.
    """

    origins: tuple[Origin, ...]
    sha256: str
    bytes: int | None
    path: Path
    instead: str = ""

    @property
    def part(self) -> Path:
        """Return the file that collects the bytes until all are there and verified."""
        return self.path.with_name(self.path.name + ".part")

    @property
    def etag(self) -> Path:
        """Return the file that keeps the ETag of the part, so that a later run can resume."""
        return self.path.with_name(self.path.name + ".part.etag")


@dataclass(frozen=True)
class RetryPolicy:
    """How many seconds to wait for a silent server, and how often to try an origin that drops the connection."""

    timeout: float = 30.0
    attempts: int = 5
    sleep: Callable[[float], None] = time.sleep


DEFAULT_RETRIES = RetryPolicy()


class _WrongBytesError(Exception):
    """The bytes received so far are not those of the file."""


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the use of the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def download_file(
    request: DownloadRequest, log: Log, progress: DownloadProgress, retries: RetryPolicy = DEFAULT_RETRIES
) -> Path:
    """Return the path of the file, downloaded and verified; an incomplete file never has this path.

    `progress` takes the bytes received and the bytes in all (None if unknown). Raises DacliError if no origin
    has the file, HF_HUB_OFFLINE is set, or the disk is full or not writable.
    """
    if is_offline():
        raise _download_error(request, ["HF_HUB_OFFLINE is set"])
    try:
        request.path.parent.mkdir(parents=True, exist_ok=True)
        with _one_process_at_a_time(request.path, log):
            if not _is_complete(request):
                _Download(request, log, progress, retries).run()
    except OSError as error:
        raise _save_error(request.path, error) from error
    return request.path


@dataclass(frozen=True)
class _Download:
    """A download in progress; `run` tries each origin until one has sent the file."""

    request: DownloadRequest
    log: Log
    progress: DownloadProgress
    retries: RetryPolicy

    def run(self) -> None:
        reasons: list[str] = []
        for origin in self.request.origins:
            if reasons:
                self.log(f"{reasons[-1]}; trying {origin.host}")
            try:
                return self.run_from(origin)
            except RefusedError as error:
                reasons.append(f"{origin.host}: {error}")
        raise _download_error(self.request, reasons)

    def run_from(self, origin: Origin) -> None:
        """Download from one origin, again after each dropped connection, and once from the start after wrong bytes.

        Raises RefusedError when the next origin should be tried.
        """
        failures, may_start_over, reached = 0, True, False
        while True:
            before = _size(self.request.part)
            try:
                self.transfer(origin)
                return _verify_and_rename(self.request)
            except _WrongBytesError as error:
                _discard_part(self.request)
                if before == 0 or not may_start_over:
                    raise RefusedError(str(error)) from error
                may_start_over = False
            except DroppedError as error:
                gained = _size(self.request.part) - before
                reached = reached or gained > 0
                failures = 1 if gained >= CHUNK else failures + 1
                if failures >= self.retries.attempts or (error.unreachable and not reached):
                    raise RefusedError(str(error)) from error
                pause = min(error.wait or 2.0 ** (failures - 1), LONGEST_WAIT)
                self.log(f"{self.request.path.name}: {error}; trying again in {pause:.0f} s")
                self.retries.sleep(pause)

    def transfer(self, origin: Origin) -> None:
        """Request the bytes that the part lacks from an origin, and append them."""
        have = _size(self.request.part)
        if self.request.bytes is not None and have >= self.request.bytes:
            return
        headers = {"User-Agent": "dacli", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if etag := _kept_etag(self.request):
                headers["If-Range"] = etag
        with open_origin(origin, headers, self.retries.timeout) as response:
            if response is not None:
                self.receive(response, have)

    def receive(self, response: HTTPResponse, have: int) -> None:
        """Append the body of a response to the part, or start the part again if the response is the whole file.

        Raises RefusedError for a web page, _WrongBytesError for a body that ends before the file is whole, as its
        sender means it.
        """
        if response.headers.get_content_type() in WEB_PAGES:
            raise RefusedError("offers a web page, not the file")
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            _check_range(response.headers, self.request, have)
            offset, total = have, _total_of_range(response.headers)
        else:
            offset, total = 0, response.length
            _keep_etag(response.headers, self.request)
        if None not in (total, self.request.bytes) and total != self.request.bytes:
            raise RefusedError(f"offers {total} bytes, {self.request.bytes} expected")
        total = total or self.request.bytes
        _check_disk_space(self.request.path, (total or 0) - have)
        self.append(response, offset, total)

    def append(self, response: HTTPResponse, offset: int, total: int | None) -> None:
        """Write the body to the part from `offset` on; never more than `total` bytes in all, or LARGEST_DOWNLOAD."""
        limit = LARGEST_DOWNLOAD if total is None else total
        done = offset
        with self.request.part.open("ab" if offset else "wb") as file:
            self.progress(done, total)
            while chunk := _read_chunk(response, min(CHUNK, limit - done)):
                file.write(chunk)
                done += len(chunk)
                self.progress(done, total)
        if total is None and done == limit:
            raise _WrongBytesError(f"sent more than {limit} bytes")
        if total is not None and done < total:
            if response.chunked:  # the sender has said that this is the end
                raise _WrongBytesError(f"sent {done} bytes, {total} expected")
            raise DroppedError(f"connection closed after {done} of {total} bytes")


def _read_chunk(response: HTTPResponse, at_most: int) -> bytes:
    try:
        return response.read1(at_most) if at_most > 0 else b""
    except (OSError, HTTPException) as error:
        raise DroppedError(connection_reason(error)) from error


def _verify_and_rename(request: DownloadRequest) -> None:
    """Rename a part to the file once it is on the disk; raise _WrongBytesError if its SHA-256 is wrong."""
    with request.part.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if digest != request.sha256:
        raise _WrongBytesError("sent bytes that are not the published file (SHA-256 differs)")
    request.part.replace(request.path)
    request.etag.unlink(missing_ok=True)


def _discard_part(request: DownloadRequest) -> None:
    request.part.unlink(missing_ok=True)
    request.etag.unlink(missing_ok=True)


def _is_complete(request: DownloadRequest) -> bool:
    return request.path.exists() and sha256_of(request.path) == request.sha256


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_range(headers: HTTPMessage, request: DownloadRequest, have: int) -> None:
    """Raise _WrongBytesError if the response does not continue the part: it has another range, or another ETag."""
    etag, kept = headers.get("ETag"), _kept_etag(request)
    if not headers.get("Content-Range", "").startswith(f"bytes {have}-") or (etag and kept and etag != kept):
        raise _WrongBytesError("sent another part than requested")


def _total_of_range(headers: HTTPMessage) -> int | None:
    total = headers.get("Content-Range", "").rpartition("/")[2]
    return parse_count(total)


def _kept_etag(request: DownloadRequest) -> str:
    return request.etag.read_text("latin-1") if request.etag.exists() else ""


def _keep_etag(headers: HTTPMessage, request: DownloadRequest) -> None:
    etag = headers.get("ETag", "")
    if etag.startswith('"'):  # a weak ETag is not valid in If-Range: RFC 9110, 13.1.5
        request.etag.write_text(etag, "latin-1")
    else:
        request.etag.unlink(missing_ok=True)


def _check_disk_space(path: Path, needed: int) -> None:
    if needed > shutil.disk_usage(path.parent).free:
        raise OSError(errno.ENOSPC, f"no room for {needed} bytes on the disk")


def _download_error(request: DownloadRequest, reasons: list[str]) -> DacliError:
    elsewhere = f"fetch {request.origins[0].shown_address} elsewhere and save it as {request.path}"
    hint = f"without a network, {request.instead}; or {elsewhere}" if request.instead else elsewhere
    return DacliError(f"cannot download {request.path.name} ({'; '.join(reasons)})", hint)


def _save_error(path: Path, error: OSError) -> DacliError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        hint = "free some space, or set DACLI_CACHE to another disk"
    else:
        hint = "set DACLI_CACHE to a folder that can be written"
    return DacliError(f"cannot save {path}: {connection_reason(error)}", hint)


@contextlib.contextmanager
def _one_process_at_a_time(path: Path, log: Log) -> Iterator[None]:
    """Hold the lock of a download; where the file system has no locks, the SHA-256 still protects the file."""
    with path.with_name(path.name + ".lock").open("ab") as file:
        if lock_file(file) is False:
            log(f"another dacli is downloading {path.name}; waiting for it")
            while lock_file(file, wait=True) is False:
                pass
        yield
