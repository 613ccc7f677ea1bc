"""The journal of an output folder: a line for each input that was done or failed, appended as it happens."""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from dacli.errors import DacliError
from dacli.io import files
from dacli.io.locks import lock_file

JOURNAL_FOLDER = ".dacli"
FAILURES_FILE = "failures.jsonl"
_FILE = "journal-"


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one input: its outputs, or the error.

    `settings` is the fingerprint of the input and of all that decides the outputs; `outputs` has size in bytes and time
    of change in nanoseconds by kind; `network_size` and `range` are what the run said of it.
    """

    name: str
    size: int = -1
    mtime_ns: int = -1
    settings: str = ""
    error: str = ""
    outputs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    network_size: tuple[int, int] = (0, 0)
    range: tuple[float, float] = (0.0, 0.0)
    at: float = 0.0


class Journal:
    """The journals below `out`, read, and one of them held open to be written; end with close().

    Every process at work in the folder holds a file of its own, locked for as long as it lives. A file that nobody
    holds is taken over; what its last holder left half-written is known by `marks` and swept away.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        folder = out / JOURNAL_FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.held = list(_lock_free_journals(folder)) or [_create_journal(folder)]
        except OSError as error:
            raise files.write_error(folder, error) from error
        self.file = self.held[0]
        self.marks = [_mark_of(file) for file in self.held]
        self.entries = read_journals(out)
        _end_last_line(self.file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the journal files."""
        for file in self.held:
            file.close()

    @property
    def mark(self) -> str:
        """Return what the names of this process's temporary files start with."""
        return self.marks[0]

    def sweep(self, folders: Iterable[Path]) -> None:
        """Delete the temporary files that killed processes left in these folders."""
        starts = tuple(f".{mark}" for mark in self.marks)
        for folder in {self.out, *folders}:
            with contextlib.suppress(OSError), os.scandir(folder) as found:
                for name in [e.name for e in found if e.name.startswith(starts) and e.name.endswith(files.PART_SUFFIX)]:
                    (folder / name).unlink(missing_ok=True)

    def add(self, entry: Entry) -> None:
        """Append what became of an input, in one write; raises DacliError if the disk does not take it."""
        row = {name: getattr(entry, name) for name in Entry.__slots__ if name != "error" or entry.error}
        self.append(row | {"at": time.time()})
        self.entries[entry.name] = entry

    def begin(self, settings: Mapping[str, object]) -> None:
        """Append a line that says how the inputs after it are done."""
        self.append({"settings": settings, "at": time.time()})

    def append(self, row: Mapping[str, object]) -> None:
        try:
            os.write(self.file.fileno(), (json.dumps(row) + "\n").encode())
        except OSError as error:
            raise files.write_error(Path(self.file.name), error) from error

    def write_failures(self, names: Iterable[str]) -> Path | None:
        """Write failures.jsonl again: which of `names` failed last, in any run; None if there are none."""
        known, path = read_journals(self.out) | self.entries, self.out / FAILURES_FILE
        rows = [known[name] for name in names if name in known and known[name].error]
        if not rows:
            path.unlink(missing_ok=True)
            return None
        lines = [json.dumps({"input": row.name, "error": row.error}) + "\n" for row in rows]
        files.write_file(path, "".join(lines).encode(), below=self.out, mark=self.mark)
        return path


def read_journals(out: Path) -> dict[str, Entry]:
    """Return the last entry of every input in all journals below `out`; lines that a kill cut short are left out."""
    entries: dict[str, Entry] = {}
    for path in sorted((out / JOURNAL_FOLDER).glob(f"{_FILE}*.jsonl")):
        for entry in _read_entries(path):
            known = entries.get(entry.name)
            if known is None or known.at <= entry.at:
                entries[entry.name] = entry
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
    for name in ("network_size", "range"):
        if name in row:
            row[name] = tuple(row[name])
    return Entry(outputs=outputs, **row)


def _lock_free_journals(folder: Path) -> Iterator[IO[bytes]]:
    """Yield the journals that no living process holds, locked."""
    for path in sorted(folder.glob(f"{_FILE}*.jsonl")):
        file = path.open("ab", buffering=0)
        if lock_file(file):
            yield file
        else:
            file.close()


def _create_journal(folder: Path) -> IO[bytes]:
    file = (folder / f"{_FILE}{secrets.token_hex(4)}.jsonl").open("xb", buffering=0)
    lock_file(file)
    return file


def _mark_of(file: IO[bytes]) -> str:
    return Path(file.name).stem.removeprefix(_FILE) + "-"


def _end_last_line(file: IO[bytes]) -> None:
    """End a line that a kill cut short, so that the next one stands alone."""
    path = Path(file.name)
    if path.stat().st_size:
        with path.open("rb") as reading:
            reading.seek(-1, os.SEEK_END)
            if reading.read(1) != b"\n":
                os.write(file.fileno(), b"\n")
