"""Models in repositories of a hub: found in the caches of this machine, or downloaded and checked."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError, UsageError
from dacli.io.files import write_file
from dacli.paths import cache_folder, describe_temporary_cache, printable_text
from dacli.weights.download import DEFAULT_RETRIES, DownloadRequest, RetryPolicy, download_file, is_offline
from dacli.weights.hub import DroppedError, Origin, RefusedError, open_origin
from dacli.weights.locations import hub_origins, hugging_face_cache

PREFIX = "hf:"
DESCRIPTIONS = ("config.json", "preprocessor_config.json")
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in one file, or in parts that an index beside it lists
INDEX_SUFFIX = ".index.json"
LARGEST_ANSWER = 16 << 20  # bytes, of the list of a repository and of files that describe a model
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

DownloadOfFile = Callable[[str], AbstractContextManager[DownloadProgress]]


@dataclass(frozen=True)
class RepositoryFile:
    """A file of a repository: its size in bytes, and its SHA-256 if it is a large one, else the hash that Git has."""

    name: str
    bytes: int
    sha256: str | None
    git_hash: str | None


def repository_name(text: str) -> str:
    """Return ORG/NAME of hf:ORG/NAME; raise UsageError for any other text."""
    name = text.removeprefix(PREFIX)
    if not _NAME.fullmatch(name) or ".." in name:
        raise UsageError(f"{text!r} names no repository", "write hf:ORG/NAME, as in hf:Intel/dpt-large")
    return name


def find_repository(name: str) -> Path | None:
    """Return the folder of a repository's model on this machine, in Hugging Face's cache or dacli's; None if none."""
    repo = hugging_face_cache() / "--".join(("models", *name.split("/")))
    main = repo / "refs" / "main"
    newest = [repo / "snapshots" / main.read_text("utf-8").strip()] if main.is_file() else []
    folders = [*newest, *sorted(repo.glob("snapshots/*")), *sorted(_download_folder(name).glob("*"))]
    return next((folder for folder in folders if _is_whole(folder)), None)


def obtain_repository(name: str, log: Log, progress: DownloadOfFile, retries: RetryPolicy = DEFAULT_RETRIES) -> Path:
    """Return the folder of a repository's model, downloaded if it is not on this machine.

    Every file is checked by the hash that the hub lists. Raises DacliError if it cannot be had.
    """
    if found := find_repository(name):
        return found
    if line := describe_temporary_cache():
        log(line)
    if is_offline():
        where = hub_origins("")[0].shown_address.rstrip("/")
        hint = f"fetch the files of {where}/{name} elsewhere, and name their folder: --model FOLDER"
        raise DacliError(f"{PREFIX}{name} is not on this machine, and HF_HUB_OFFLINE is set", hint)
    return _Repository(name, log, progress, retries).download()


@dataclass(frozen=True)
class _Repository:
    name: str
    log: Log
    progress: DownloadOfFile
    retries: RetryPolicy

    def download(self) -> Path:
        """Return the folder with the files of the model, each downloaded if it is not there."""
        commit, files = self.listed()
        folder = _download_folder(self.name) / commit
        for name in DESCRIPTIONS:
            self.fetch_small(files, name, commit, folder)
        whole = next((each for each in WEIGHT_FILES if each in files), None)
        if whole is not None:
            self.fetch_weights(files[whole], commit, folder)
            return folder
        index = next((each for name in WEIGHT_FILES if (each := name + INDEX_SUFFIX) in files), None)
        if index is None:
            raise self.no_model("model.safetensors")
        self.fetch_small(files, index, commit, folder)
        for part in parts_of_index(folder / index):
            if part not in files:
                raise self.no_model(part)
            self.fetch_weights(files[part], commit, folder)
        return folder

    def listed(self) -> tuple[str, Mapping[str, RepositoryFile]]:
        """Return the commit that the hub has as newest, and its files by name."""
        answer = self.fetch(f"api/models/{self.name}/revision/main?blobs=true")
        try:
            listed = json.loads(answer)
            if licence := (listed.get("cardData") or {}).get("license"):
                self.log(f"{PREFIX}{self.name}: its repository states the licence {printable_text(str(licence))}")
            files = [_listed_file(each) for each in listed["siblings"]]
            commit = listed["sha"]
            if not re.fullmatch("[0-9a-f]{40}", commit):
                raise ValueError("its commit is none")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DacliError(f"the hub's list of {PREFIX}{self.name} cannot be read ({error})", "try again") from error
        return commit, {each.name: each for each in files}

    def fetch_small(self, files: Mapping[str, RepositoryFile], name: str, commit: str, folder: Path) -> None:
        """Save a file that describes the model, checked by its hash."""
        if name not in files:
            raise self.no_model(name)
        listed, path = files[name], folder / name
        if path.is_file() and _has_hash(path.read_bytes(), listed):
            return
        content = self.fetch(f"{self.name}/resolve/{commit}/{name}")
        if not _has_hash(content, listed):
            raise DacliError(f"the hub sent another {name} of {PREFIX}{self.name} than it lists", "try again")
        write_file(path, content)

    def fetch_weights(self, listed: RepositoryFile, commit: str, folder: Path) -> None:
        """Download a file of weights, checked by its SHA-256."""
        if listed.sha256 is None:
            fault = f"the hub lists no SHA-256 of {listed.name} of {PREFIX}{self.name}"
            raise DacliError(fault, "download it yourself, and name the folder: --model FOLDER")
        origins = hub_origins(f"{self.name}/resolve/{commit}/{listed.name}")
        request = DownloadRequest(origins, listed.sha256, listed.bytes, folder / listed.name)
        with self.progress(f"{self.name} {listed.name}") as shown:
            download_file(request, self.log, shown, self.retries)

    def fetch(self, path: str) -> bytes:
        """Return what the first hub that has it answers; raise DacliError if none does."""
        reasons = []
        for origin in hub_origins(path):
            try:
                return self.fetch_from(origin)
            except (RefusedError, DroppedError) as error:
                reasons.append(f"{origin.host}: {error}")
        raise self.refused(path, reasons)

    def fetch_from(self, origin: Origin) -> bytes:
        """Return an answer of a hub; asked again if it is busy or the connection broke."""
        for attempt in range(1, self.retries.attempts + 1):
            try:
                with open_origin(origin, {"User-Agent": "dacli"}, self.retries.timeout) as response:
                    content = b"" if response is None else response.read(LARGEST_ANSWER + 1)
                if len(content) > LARGEST_ANSWER:
                    raise RefusedError(f"sent more than {LARGEST_ANSWER} bytes")
                return content
            except OSError as error:
                reason = DroppedError(str(error))
            except DroppedError as error:
                reason = error
            if attempt == self.retries.attempts or reason.unreachable:
                raise reason
            self.retries.sleep(min(reason.wait or 2.0 ** (attempt - 1), 60.0))
        raise AssertionError

    def refused(self, path: str, reasons: Sequence[str]) -> DacliError:
        """Return the error for what no hub sent: a repository that is gated, private or missing, or no connection."""
        model, first = f"{PREFIX}{self.name}", reasons[0]
        denied = any(f"HTTP {code.value}" in first for code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN))
        if denied and "/resolve/" in path:
            where = hub_origins(self.name)[0].shown_address
            return DacliError(f"{model} is gated ({first})", f"accept its terms at {where}, then {LOGIN}")
        if denied or f"HTTP {HTTPStatus.NOT_FOUND.value}" in first:
            return DacliError(f"there is no public {model} ({first})", f"check the name; for a private one {LOGIN}")
        hint = "try again, or name a folder with its files: --model FOLDER"
        return DacliError(f"cannot download {model} ({'; '.join(reasons)})", hint)

    def no_model(self, lacking: str) -> DacliError:
        """Return the error for a repository without a file that a model of Transformers has."""
        hint = "choose a repository of a depth model for Transformers"
        return DacliError(f"{PREFIX}{self.name} has no {lacking}, so it is no model of Transformers", hint)


def parts_of_index(path: Path) -> Iterator[str]:
    """Yield the names of the files that an index of weights lists; raise DacliError for one that cannot be read."""
    try:
        parts = sorted(set(json.loads(path.read_bytes())["weight_map"].values()))
        if any("/" in part or "\\" in part or part.startswith(".") for part in parts):
            raise ValueError("a part outside of the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DacliError(f"{path} lists no weights ({error})", "download it again") from error
    yield from parts


def _listed_file(row: Mapping[str, Any]) -> RepositoryFile:
    large = row.get("lfs") or {}
    return RepositoryFile(str(row["rfilename"]), int(row["size"]), large.get("sha256"), row.get("blobId"))


def _has_hash(content: bytes, listed: RepositoryFile) -> bool:
    if listed.sha256 is not None:
        return hashlib.sha256(content).hexdigest() == listed.sha256
    header = f"blob {len(content)}\0".encode()  # Git's hash of a file is that of this and its bytes
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == listed.git_hash


def _is_whole(folder: Path) -> bool:
    if not all((folder / name).is_file() for name in DESCRIPTIONS):
        return False
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return True
        index = folder / (name + INDEX_SUFFIX)
        if index.is_file():
            try:
                return all((folder / part).is_file() for part in parts_of_index(index))
            except DacliError:
                return False
    return False


def _download_folder(name: str) -> Path:
    return cache_folder() / "weights" / "hub" / name.replace("/", "--")
