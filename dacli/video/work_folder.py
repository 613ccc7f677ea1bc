"""The hidden folder of a clip's segments: which one is dacli's own, and the notes of a segment in it."""

import json
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from dacli.errors import DacliError
from dacli.io import ownership
from dacli.paths import display_path

LOCK_FILE = "lock"  # open and locked while a run writes segments; its content says that the folder is dacli's
_LOCK_MARK = b"dacli\n"
_HINT = "move it away, or choose another folder with -o"


class SegmentNotes(NamedTuple):
    """What is noted of a finished segment: the times of its frames, and the state after the last one."""

    pts: list[int]
    state: str


def open_work_folder(folder: Path) -> BinaryIO:
    """Return the open lock file of a hidden folder, which is created if it is missing.

    Raises DacliError if a file or folder of this name is not one that dacli made for segments, OSError if it cannot be
    created.
    """
    ownership.refuse_foreign_files([folder], is_work_folder, _HINT)
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / LOCK_FILE).open("ab")
    if not lock.tell():
        lock.write(_LOCK_MARK)
        lock.flush()
    return lock


def is_work_folder(folder: Path) -> bool:
    """Return whether a path is a folder that dacli made for segments; one where a killed run wrote nothing yet is."""
    lock = folder / LOCK_FILE
    if folder.is_symlink() or not folder.is_dir():
        return False
    if lock.is_symlink() or not lock.is_file():
        return not any(folder.iterdir())
    content = lock.read_bytes()
    marked = content.startswith(_LOCK_MARK) and not content.replace(_LOCK_MARK, b"")  # runs at once may both mark it
    return marked or (not content and len(list(folder.iterdir())) == 1)


def encode_segment_notes(notes: SegmentNotes) -> bytes:
    """Return the file of notes, with a checksum: a kill or a full disk may damage it."""
    return json.dumps({"crc": _notes_checksum(*notes), **notes._asdict()}).encode()


def read_segment_notes(path: Path) -> SegmentNotes | None:
    """Return the notes in a file, None if there is no file; raise DacliError, with the reason, for damaged ones."""
    if not path.is_file():
        return None
    try:
        row = json.loads(path.read_bytes())
        if row["crc"] == _notes_checksum(row["pts"], row["state"]) and row["pts"]:
            return SegmentNotes(row["pts"], row["state"])
    except (ValueError, TypeError, LookupError, RecursionError):
        pass
    raise DacliError(f"{display_path(path)} is damaged", "the frames from there on are made again")


def _notes_checksum(pts: Any, state: Any) -> int:
    return zlib.crc32(json.dumps([pts, state]).encode())
