"""Whether the outputs of an input exist already, made from it with the same settings."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from dacli.batch.fingerprint import (
    Fingerprint,
    depth_checksum_of_file,
    fingerprint_picture,
    stamp_file,
)
from dacli.batch.jobs import Job
from dacli.batch.journal import Entry
from dacli.batch.outcomes import Skipped
from dacli.batch.settings import RunSettings
from dacli.errors import DacliError
from dacli.io import files, png, records
from dacli.io.names import RECORD_KEYWORD
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
        if entry.outputs.get(kind) != (info.st_size, info.st_mtime_ns):
            return None
    return Skipped(job, index, entry.network_size, entry.range, entry.source_size)


def read_output_records(job: Job) -> dict[Path, Record]:
    """Return the records of the outputs that exist and carry one.

    Raises DacliError for a file that dacli did not make, or that it made from a picture of another name.
    """
    paths = [path for kind, path in job.outputs.items() if job.formats[kind].has_record and path.exists()]
    return {path: read_own_record(path, job, _png_text) for path in paths}


def find_on_disk(job: Job, index: int, wanted: Fingerprint, existing: Mapping[Path, Record]) -> Skipped | None:
    """Return the outcome by the records of `existing` outputs if all exist with the wanted fingerprint; else None."""
    outputs = job.outputs
    if not existing or not job.is_present():
        return None
    if "npy" in outputs:
        wanted = replace(wanted, depth_crc=depth_checksum_of_file(outputs["npy"]))
    if not all(Fingerprint.parse(record.settings).covers(wanted) for record in existing.values()):
        return None
    first = next(iter(existing.values()))
    return Skipped(job, index, first.network_size, (first.low, first.high), first.source_size)


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
        fault = f"{name} exists and is not a complete output of dacli"
        raise DacliError(fault, "move it away, or replace it with --overwrite") from None
    if record.source != job.source_name:
        fault = f"{name} exists and was made from {display_path(Path(record.source))}"
        raise DacliError(fault, "choose another output folder, or replace it with --overwrite")
    return record


def _png_text(path: Path) -> Mapping[str, str]:
    return png.read_png_text(files.read_bytes(path), display_path(path))
