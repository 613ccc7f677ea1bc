"""SHA-256 of files, computed once: dacli's cache folder keeps it until a file's size or a time of it differs.

Of the times, that of the last change to the file's entry (ctime) cannot be set by a program: bytes that were replaced
behind an unchanged size and time are hashed again. Windows has no such time.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from dacli.paths import cache_folder


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raise OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_or_new_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, from an earlier run if the file is unchanged; raise OSError as sha256_of() does."""
    return cached_sha256(path) or new_sha256(path)


def new_sha256(path: Path) -> str:
    """Return the SHA-256 of a file after reading all of it, and keep it; raise OSError as sha256_of() does."""
    digest = sha256_of(path)
    keep_sha256(path, digest)
    return digest


def cached_sha256(path: Path) -> str | None:
    """Return the kept SHA-256 of a file with this path, size and times of change; None if there is none."""
    entry = _read_cache().get(str(path))
    return str(entry[-1]) if isinstance(entry, list) and entry[:-1] == _size_and_time(path) else None


def keep_sha256(path: Path, sha256: str) -> None:
    """Keep the SHA-256 of a file for later runs; a cache that cannot be written is left as it is."""
    entries = _read_cache() | {str(path): [*_size_and_time(path), sha256]}
    cache = _cache_path()
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(entries, indent=1), "utf-8")
        temporary.replace(cache)


def _read_cache() -> dict[str, object]:
    try:
        entries = json.loads(_cache_path().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def _cache_path() -> Path:
    return cache_folder() / "sha256.json"


def _size_and_time(path: Path) -> list[int]:
    info = path.stat()
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
