"""The journal of an output folder: a line for each input that was done or failed, written as soon as it ends."""

import contextlib
import hashlib
import json
import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Self

from dacli.batch.entries import FAILURES_KEY, Entry, JournalContents, read_journal_file
from dacli.errors import DacliError
from dacli.io import files, ownership
from dacli.io.locks import lock_file
from dacli.paths import display_path

JOURNAL_FOLDER = ".dacli"
FAILURES_FILE = "failures.jsonl"
_JOURNAL_START = "journal-"  # of the names of journal files
_KEEP_FAILURES_HINT = "move it away, and the next run writes the list of failures; --overwrite replaces it"


class Journal:
    """The journals below `out`: all of them are read, one of them is open for writing; end with close().

    Every process that works in the folder has a journal file of its own, locked as long as the process lives. Files
    that no process has locked are taken over; temporary files of their last processes begin with one of `prefixes`.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        folder = out / JOURNAL_FOLDER
        journal_paths(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.locked = list(_lock_unused_journals(folder)) or [_create_journal(folder)]
        except OSError as error:
            raise files.write_error(folder, error) from error
        self.file = self.locked[0]
        self.prefixes = [_prefix_of(file) for file in self.locked]
        contents = read_journal_contents(out)
        self.entries, self.damaged_lines = contents.entries, contents.damaged
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
            if files.find_link_out(folder, self.out) is not None:
                continue
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                names = [entry.name for entry in entries]
                for name in names:
                    if name.startswith(starts) and name.endswith(files.PART_SUFFIX):
                        (folder / name).unlink(missing_ok=True)

    def add(self, entry: Entry) -> None:
        """Append the result of an input in one write; raise DacliError if it cannot be written.

        Its time is that of the clock, but later than that of the result before, which another clock may have written.
        """
        before = self.entries.get(entry.key)
        later = 0.0 if before is None else math.nextafter(before.at, math.inf)
        entry = replace(entry, at=max(time.time(), later))
        optional = ("error", "error_kind", "variant", "camera")
        row = {name: getattr(entry, name) for name in Entry.__slots__ if name not in optional or getattr(entry, name)}
        self.append(row | ({"camera": asdict(entry.camera)} if entry.camera else {}))
        self.entries[entry.key] = entry

    def begin(self, settings: Mapping[str, object], root: Path) -> None:
        """Append a line with the settings of the inputs after it, and the folder that their names are paths below."""
        self.append({"settings": settings, "root": str(root), "at": time.time()})

    def append(self, row: Mapping[str, object]) -> None:
        try:
            os.write(self.file.fileno(), (json.dumps(row) + "\n").encode())
        except OSError as error:
            raise files.write_error(Path(self.file.name), error) from error

    def write_failures(self, sources: Mapping[str, Path], *, overwrite: bool = False) -> Path | None:
        """Write failures.jsonl: those of the jobs, sources by key, that failed last; return its path, None if none.

        Raises DacliError for a file of this name that is not a list which the journals know, unless `overwrite`.
        """
        contents, path = read_journal_contents(self.out), self.out / FAILURES_FILE
        known = self.entries | contents.entries
        rows = [(path, known[key]) for key, path in sources.items() if key in known and known[key].error]

        def is_own(list_path: Path) -> bool:
            return not list_path.is_symlink() and failures_digest(files.read_bytes(list_path)) in contents.failures

        if not rows:
            if ownership.accepts_file(path, is_own):
                path.unlink(missing_ok=True)
            return None
        if not overwrite:
            ownership.refuse_foreign_files([path], is_own, _KEEP_FAILURES_HINT)
        lines = [
            json.dumps({"input": str(path), "error": row.error, "error_kind": row.error_kind or "other"}) + "\n"
            for path, row in rows
        ]
        data = "".join(lines).encode()
        self.append({FAILURES_KEY: failures_digest(data), "at": time.time()})
        files.write_file(path, data, below=self.out, prefix=self.prefix)
        return path


def failures_digest(data: bytes) -> str:
    """Return what journals know a list of failures by."""
    return hashlib.sha256(data).hexdigest()


def read_journals(out: Path) -> dict[str, Entry]:
    """Return the last entry of every job in all journals below `out`, by key; lines that are none are left out."""
    return read_journal_contents(out).entries


def read_journal_contents(out: Path) -> JournalContents:
    """Return what all journals below `out` say; raise DacliError for one that is a link, or cannot be read.

    In one journal the order of the lines decides which result is the last, among several journals their times.
    """
    found = JournalContents({}, set())
    for path in journal_paths(out / JOURNAL_FOLDER):
        one = read_journal_file(path)
        for key, entry in one.entries.items():
            if key not in found.entries or found.entries[key].at <= entry.at:
                found.entries[key] = entry
        found = JournalContents(found.entries, found.failures | one.failures, found.damaged + one.damaged)
    return found


def journal_paths(folder: Path) -> list[Path]:
    """Return the journals of a folder; raise DacliError if it or one of them is a link, which may lead elsewhere."""
    paths = [] if folder.is_symlink() else sorted(folder.glob(f"{_JOURNAL_START}*.jsonl"))
    for path in (folder, *paths):
        if path.is_symlink():
            fault = f"{display_path(path)} is a link, and dacli writes nothing outside {display_path(folder.parent)}"
            raise DacliError(fault, "remove the link, or choose another output folder")
    return [path for path in paths if path.is_file()]


def _lock_unused_journals(folder: Path) -> Iterator[IO[bytes]]:
    """Yield the journals that no process has locked, after locking them.

    One with a second name is only read: its other name may be in a copy of the folder made of hard links.
    """
    for path in journal_paths(folder):
        if path.stat().st_nlink > 1:
            continue
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
