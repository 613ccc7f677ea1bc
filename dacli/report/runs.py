"""What the journals below a folder say: the results of inputs, and the runs that they are from."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dacli.batch.entries import Entry
from dacli.batch.jobs import journal_key
from dacli.batch.journal import JOURNAL_FOLDER, journal_paths, read_journals
from dacli.io.files import read_bytes


@dataclass(frozen=True)
class JournalRun:
    """The start of a run: its settings, when it began in seconds since 1970, and the folder of its inputs, if known."""

    settings: dict[str, Any]
    at: float
    root: str


@dataclass
class JournalResults:
    """The last results in the journals of one output folder, by key, and the run of each."""

    folder: Path
    entries: dict[str, Entry]
    runs: dict[str, JournalRun] = field(default_factory=dict)


def read_results(out: Path, folders: Iterable[Path]) -> list[JournalResults]:
    """Return the results of each folder that has a journal: `out`, and those between it and `folders` below it.

    Raises DacliError for a journal that cannot be read.
    """
    between = {parent for folder in folders for parent in (folder, *folder.parents) if parent.is_relative_to(out)}
    found = []
    for folder in sorted({out, *between}):
        if (folder / JOURNAL_FOLDER).is_dir():
            results = JournalResults(folder, read_journals(folder))
            for path in journal_paths(folder / JOURNAL_FOLDER):
                _add_runs(path, results)
            found.append(results)
    return found


def _add_runs(path: Path, results: JournalResults) -> None:
    """Add the run of each result that is the last one: that of the line with settings before it."""
    run: JournalRun | None = None
    for line in read_bytes(path).splitlines() if path.stat().st_size else ():
        with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
            row = json.loads(line)
            if isinstance(row.get("settings"), dict):
                run = JournalRun(row["settings"], float(row["at"]), str(row.get("root", "")))
            elif run is not None and "name" in row:
                entry = results.entries.get(journal_key(row["name"], row.get("variant", "")))
                if entry is not None and entry.at == row["at"]:
                    results.runs[entry.key] = run
