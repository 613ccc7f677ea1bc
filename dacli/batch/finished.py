"""Whether the outputs of an input exist already, made from it with the same settings."""

import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from dacli.batch.entries import Entry
from dacli.batch.fingerprint import (
    Fingerprint,
    depth_checksum_of_file,
    fingerprint_picture,
    stamp_file,
)
from dacli.batch.jobs import Job
from dacli.batch.outcomes import Skipped
from dacli.batch.settings import RunSettings
from dacli.errors import DacliError
from dacli.io import records
from dacli.io.names import RECORD_KEYWORD
from dacli.io.ownership import foreign_file_error, read_output_text
from dacli.io.records import Record
from dacli.paths import display_path


def find_in_journal(entries: Mapping[str, Entry], job: Job, index: int, settings: RunSettings) -> Skipped | None:
    """Return the outcome by the journal if the outputs are unchanged since they were made from this source; else None.

    No output is opened, so this takes microseconds for each input of a large folder.
    """
    entry = entries.get(job.key)
    if settings.overwrite or entry is None or entry.error:
        return None
    if not Fingerprint.parse(entry.settings).covers(fingerprint_picture(stamp_file(job.source), settings)):
        return None
    for kind, path in job.outputs.items():
        try:
            info = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, for each file of a folder
        except OSError:
            return None
        whole = info.st_size > 0 and stat.S_ISREG(info.st_mode)
        if not whole or entry.outputs.get(kind) != (info.st_size, info.st_mtime_ns):
            return None
    return Skipped(job, index, entry.network_size, entry.range, entry.source_size, entry.camera)


def claimed_kinds(entries: Mapping[str, Entry], job: Job) -> frozenset[str]:
    """Return the kinds of output that the journal says were made for a job."""
    entry = entries.get(job.key)
    return frozenset() if entry is None or entry.error else frozenset(entry.outputs)


def read_output_records(job: Job, claimed: Collection[str] = ()) -> dict[Path, Record]:
    """Return the records of the outputs that exist.

    A damaged file of a kind that a journal claims is left out, so that it is made again. Raises DacliError for any
    other file that dacli did not make, or that it made from a picture of another name.
    """
    found: dict[Path, Record] = {}
    for kind, path in job.outputs.items():
        if os.path.lexists(path) and not (kind in claimed and is_damaged(path)):
            found[path] = read_own_record(path, job, read_output_text)
    return found


def find_on_disk(job: Job, index: int, wanted: Fingerprint, existing: Mapping[Path, Record]) -> Skipped | None:
    """Return the outcome by the records of `existing` outputs if all exist with the wanted fingerprint; else None."""
    outputs = job.outputs
    if len(existing) < len(outputs):
        return None
    if "npy" in outputs:
        wanted = replace(wanted, depth_crc=depth_checksum_of_file(outputs["npy"]))
    if not all(Fingerprint.parse(record.settings).covers(wanted) for record in existing.values()):
        return None
    first = next(iter(existing.values()))
    return Skipped(job, index, first.network_size, (first.low, first.high), first.source_size, first.camera)


def describe_replaced(existing: Mapping[Path, Record]) -> str:
    """Return which output a run replaces, with the network and size that made it; "" if there is none."""
    for path, record in existing.items():
        return f"replaces {path.name} ({record.encoder}, {min(record.network_size)} px)"
    return ""


def read_own_record(path: Path, job: Job, read_texts: Callable[[Path], Mapping[str, str]]) -> Record:
    """Return the record of an output; raise DacliError for a file that dacli did not make from this source."""
    name = display_path(path)
    try:
        record = records.parse_record(read_texts(path)[RECORD_KEYWORD], name)
    except (DacliError, KeyError):
        raise foreign_file_error(path) from None
    if record.source != job.source_name:
        fault = f"{name} exists and was made from {display_path(Path(record.source))}"
        raise DacliError(fault, "choose another output folder, or replace it with --overwrite")
    return record


def is_damaged(path: Path) -> bool:
    """Return whether a path is a file that is empty, cut short or of another kind than its name says."""
    try:
        read_output_text(path)
    except DacliError:
        return path.is_file()
    return False
