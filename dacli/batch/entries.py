"""The lines of a journal, and what is left out of a journal that is damaged or not true."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from dacli.batch.jobs import journal_key
from dacli.errors import DacliError
from dacli.io import files
from dacli.io.camera import PinholeCamera, parse_camera
from dacli.paths import display_path

FAILURES_KEY = "failures"  # of a line that says which list of failures a run has written
_LATEST = 1e12  # seconds since 1970: a later time is not one


@dataclass(frozen=True, slots=True)
class Entry:
    """The result of one input: its outputs, or its error.

    `variant` tells its outputs from those of other networks or sizes. `settings` is the fingerprint of the input and of
    all that decides the outputs; `outputs` has size in bytes and time of change in nanoseconds by kind; `network_size`,
    `source_size`, `range` and `camera` are as in the outcome; `at` is in seconds since 1970.
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
    camera: PinholeCamera | None = None

    @property
    def key(self) -> str:
        """Return the key of the job that this is the result of."""
        return journal_key(self.name, self.variant)


class JournalContents(NamedTuple):
    """What journals say: the last entry of every job by key, the digests of lists of failures, and damaged lines."""

    entries: dict[str, Entry]
    failures: set[str]
    damaged: int = 0


def read_journal_file(path: Path) -> JournalContents:
    """Return what one journal says: of a job's lines the last one counts, also if its clock was behind.

    Lines that are not true entries are left out and counted, but not those that a killed process cut short. Raises
    DacliError if the journal cannot be read.
    """
    entries: dict[str, Entry] = {}
    failures: set[str] = set()
    damaged = 0
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    read_journal_line(line, entries, failures)
                except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                    was_cut = isinstance(error, json.JSONDecodeError) and line.startswith(b"{")
                    damaged += not was_cut
    except OSError as error:
        fault = f"the journal {display_path(path)} cannot be read ({files.os_reason(error)})"
        raise DacliError(fault, "check its permissions, or move it away") from error
    return JournalContents(entries, failures, damaged)


def read_journal_line(line: bytes, entries: dict[str, Entry], failures: set[str]) -> None:
    """Add what a line says to the entries or to the digests; raise TypeError or ValueError for any other line."""
    row = json.loads(line)
    if "name" in row:
        entry = parse_entry(row)
        before = entries.get(entry.key)
        entries[entry.key] = entry if before is None or before.at <= entry.at else replace(entry, at=before.at)
    elif FAILURES_KEY in row:
        failures.add(str(row[FAILURES_KEY]))
    elif "settings" not in row:
        raise ValueError("neither a result nor settings")


def parse_entry(row: dict[str, Any]) -> Entry:
    """Return the entry of a line; raise TypeError or ValueError if a value is not of its kind."""
    for name in ("network_size", "source_size"):
        if name in row:
            height, width = row[name]
            row[name] = (int(height), int(width))
    low, high = map(float, row.pop("range", (0.0, 0.0)))
    outputs = {kind: (int(size), int(time)) for kind, (size, time) in row.pop("outputs", {}).items()}
    camera = parse_camera(row.pop("camera", None))
    entry = Entry(outputs=outputs, range=(low, high), at=float(row.pop("at", 0.0)), camera=camera, **row)
    texts = (entry.name, entry.settings, entry.error, entry.variant, entry.error_kind)
    if not all(isinstance(text, str) for text in texts) or {type(entry.size), type(entry.mtime_ns)} != {int}:
        raise TypeError("a value is of another kind")
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= entry.at < _LATEST):
        raise ValueError("a number is not finite, or a time is not possible")
    return entry
