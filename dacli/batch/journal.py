"""The journal of an output folder: a line for each input that was done or failed, written as soon as it ends."""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from dacli.batch.jobs import journal_key
from dacli.errors import DacliError
from dacli.io import files
from dacli.io.locks import lock_file

JOURNAL_FOLDER = ".dacli"
FAILURES_FILE = "failures.jsonl"
_JOURNAL_START = "journal-"  # of the names of journal files


@dataclass(frozen=True, slots=True)
class Entry:
    """The result of one input: its outputs, or its error.

    `variant` tells its outputs from those of other networks or sizes. `settings` is the fingerprint of the input and of
    all that decides the outputs; `outputs` has size in bytes and time of change in nanoseconds by kind; `network_size`,
    `source_size` and `range` are as in the outcome; `at` is in seconds since 1970.
    """

    name: str
    size: int = -1
    mtime_ns: int = -1
    settings: str = ""
    error: str = ""
    outputs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    network_size: tuple[int, int] = (0, 0)
    range: tuple[float, float] = (0.0, 0.0)
    source_size: tuple[int, int] = (0, 0)
    at: float = 0.0
    variant: str = ""
    error_kind: str = ""

    @property
    def key(self) -> str:
        """Return the key of the job that this is the result of."""
        return journal_key(self.name, self.variant)


class Journal:
    """The journals below `out`: all of them are read, one of them is open for writing; end with close().

    Every process that works in the folder has a journal file of its own, locked as long as the process lives. Files
    that no process has locked are taken over; temporary files of their last processes begin with one of `prefixes`.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        folder = out / JOURNAL_FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.locked = list(_lock_unused_journals(folder)) or [_create_journal(folder)]
        except OSError as error:
            raise files.write_error(folder, error) from error
        self.file = self.locked[0]
        self.prefixes = [_prefix_of(file) for file in self.locked]
        self.entries = read_journals(out)
        _end_last_line(self.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal files, which releases their locks."""
        for file in self.locked:
            file.close()

    @property
    def prefix(self) -> str:
        """Return the prefix of the names of this process's temporary files."""
        return self.prefixes[0]

    def delete_leftovers(self, folders: Iterable[Path]) -> None:
        """Delete the temporary files that killed processes left in these folders."""
        starts = tuple(f".{prefix}" for prefix in self.prefixes)
        for folder in {self.out, *folders}:
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
                for name in names:
                    if name.startswith(starts) and name.endswith(files.PART_SUFFIX):
                        (folder / name).unlink(missing_ok=True)

    def add(self, entry: Entry) -> None:
        """Append the result of an input in one write; raise DacliError if it cannot be written."""
        optional = ("error", "error_kind", "variant")
        row = {name: getattr(entry, name) for name in Entry.__slots__ if name not in optional or getattr(entry, name)}
        self.append(row | {"at": time.time()})
        self.entries[entry.key] = entry

    def begin(self, settings: Mapping[str, object]) -> None:
        """Append a line with the settings of the inputs after it."""
        self.append({"settings": settings, "at": time.time()})

    def append(self, row: Mapping[str, object]) -> None:
        try:
            os.write(self.file.fileno(), (json.dumps(row) + "\n").encode())
        except OSError as error:
            raise files.write_error(Path(self.file.name), error) from error

    def write_failures(self, sources: Mapping[str, Path]) -> Path | None:
        """Write failures.jsonl: those of the jobs, sources by key, that failed last; return its path, None if none."""
        known, path = read_journals(self.out) | self.entries, self.out / FAILURES_FILE
        rows = [(path, known[key]) for key, path in sources.items() if key in known and known[key].error]
        if not rows:
            path.unlink(missing_ok=True)
            return None
        lines = [
            json.dumps({"input": str(path), "error": row.error, "error_kind": row.error_kind or "other"}) + "\n"
            for path, row in rows
        ]
        files.write_file(path, "".join(lines).encode(), below=self.out, prefix=self.prefix)
        return path


def read_journals(out: Path) -> dict[str, Entry]:
    """Return the last entry of every job in all journals below `out`, by key; lines that are cut short are left out."""
    entries: dict[str, Entry] = {}
    for path in sorted((out / JOURNAL_FOLDER).glob(f"{_JOURNAL_START}*.jsonl")):
        for entry in _read_entries(path):
            known = entries.get(entry.key)
            if known is None or known.at <= entry.at:
                entries[entry.key] = entry
    return entries


def _read_entries(path: Path) -> Iterator[Entry]:
    try:
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError, TypeError, AttributeError):
                    yield _parse_entry(json.loads(line))
    except OSError as error:
        fault = f"the journal {path} cannot be read ({files.os_reason(error)})"
        raise DacliError(fault, "check its permissions, or move it away") from error


def _parse_entry(row: dict[str, Any]) -> Entry:
    outputs = {kind: (int(size), int(time)) for kind, (size, time) in row.pop("outputs", {}).items()}
    for name in ("network_size", "source_size", "range"):
        if name in row:
            row[name] = tuple(row[name])
    return Entry(outputs=outputs, **row)


def _lock_unused_journals(folder: Path) -> Iterator[IO[bytes]]:
    """Yield the journals that no process has locked, after locking them."""
    for path in sorted(folder.glob(f"{_JOURNAL_START}*.jsonl")):
        file = path.open("ab", buffering=0)
        if lock_file(file):
            yield file
        else:
            file.close()


def _create_journal(folder: Path) -> IO[bytes]:
    file = (folder / f"{_JOURNAL_START}{secrets.token_hex(4)}.jsonl").open("xb", buffering=0)
    lock_file(file)
    return file


def _prefix_of(file: IO[bytes]) -> str:
    return Path(file.name).stem.removeprefix(_JOURNAL_START) + "-"


def _end_last_line(file: IO[bytes]) -> None:
    """End a line that a killed process cut short, so that the next entry is on a line of its own."""
    path = Path(file.name)
    if path.stat().st_size:
        with path.open("rb") as written:
            written.seek(-1, os.SEEK_END)
            if written.read(1) != b"\n":
                os.write(file.fileno(), b"\n")
