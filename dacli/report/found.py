"""The outputs of dacli below a folder, found by their names and the records inside them."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dacli.batch.fingerprint import stamp_file
from dacli.batch.inputs import walk_files
from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD, RECORD_START
from dacli.io.ownership import read_output_text
from dacli.io.records import Record, parse_record
from dacli.outputs.formats import FORMATS, VIDEO_SUFFIXES, is_video_file
from dacli.paths import display_path

_END_BYTES = 1 << 16  # at either end of a file, in which a record begins: at the end of an NPY, else near the start
_KINDS = {
    suffix: row.name
    for row in reversed(tuple(FORMATS.values()))
    for suffix in (row.suffix, *(row.suffix_for("clip", video) for video in VIDEO_SUFFIXES))
    if "." in suffix
}


@dataclass(frozen=True, slots=True)
class OutputFile:
    """An output and its record; `stem` is its path without the end that its kind gives it."""

    path: Path
    kind: str
    stem: str
    size: int
    mtime_ns: int
    record: Record

    @property
    def is_clip(self) -> bool:
        """Return whether it is the video file of a clip."""
        return is_video_file(self.path)


def find_outputs(out: Path) -> Iterator[OutputFile]:
    """Yield the outputs below a folder; raise DacliError if it cannot be listed."""
    for path, is_folder in walk_files(str(out), None):
        suffix = "" if is_folder else _suffix_of(path)
        if suffix and (record := find_record(path)):
            stamp = stamp_file(Path(path))
            yield OutputFile(Path(path), _KINDS[suffix], path.removesuffix(suffix), *stamp, record)


def _suffix_of(path: str) -> str:
    """Return the longest suffix of a kind of output that a path ends in; "" if there is none."""
    return max((suffix for suffix in _KINDS if path.endswith(suffix)), key=len, default="")


def find_record(path: str) -> Record | None:
    """Return the record in an output; None for a file without one.

    Only the first and last bytes are read, but a PLY and an NPZ, whose records are in pieces, as a whole.
    """
    if path.endswith((".ply", ".npz")):
        return _read_whole(Path(path))
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - half the time, for each file of a folder
            data = file.read(_END_BYTES)
            if RECORD_START not in data:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _END_BYTES))
                data = file.read(_END_BYTES)
    except OSError:
        return None
    start = data.find(RECORD_START)
    try:
        values, _ = json.JSONDecoder().raw_decode(data[start:].decode("latin-1")) if start >= 0 else ({}, 0)
        return parse_record(json.dumps(values), display_path(Path(path)))
    except (DacliError, ValueError, RecursionError):
        return None


def _read_whole(path: Path) -> Record | None:
    try:
        return parse_record(read_output_text(path)[RECORD_KEYWORD], display_path(path))
    except (DacliError, KeyError):
        return None
