"""The rule for files that exist already: what dacli did not make for the same purpose, by a record of it, stays."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dacli.errors import DacliError
from dacli.io import files, float_files, npy, ply, png, sealed
from dacli.io.names import RECORD_KEYWORD
from dacli.paths import display_path

_TEXT_READERS: dict[str, Callable[[bytes, str], dict[str, str]]] = {
    ".png": png.read_png_text,
    ".npy": npy.read_npy_text,
    ".pfm": float_files.read_pfm_text,
    ".ply": ply.read_ply_text,
    ".npz": float_files.read_npz_text,
}  # by extension; other outputs are sealed
REPLACE_HINT = "move it away, or replace it with --overwrite"


def foreign_file_error(path: Path, hint: str = REPLACE_HINT) -> DacliError:
    """Return the error for a file in the way that has no record of dacli."""
    return DacliError(f"{display_path(path)} exists and is not a complete output of dacli", hint)


def refuse_foreign_files(paths: Iterable[Path], is_own: Callable[[Path], bool], hint: str = REPLACE_HINT) -> None:
    """Raise DacliError for the first path that exists, also as a broken link, and that `is_own` does not accept.

    `is_own` may raise DacliError for a file that it cannot read.
    """
    for path in paths:
        if os.path.lexists(path) and not accepts_file(path, is_own):
            raise foreign_file_error(path, hint)


def accepts_file(path: Path, is_own: Callable[[Path], bool]) -> bool:
    """Return whether `is_own` accepts a file; one that it cannot read is not accepted."""
    try:
        return is_own(path)
    except DacliError:
        return False


def read_output_text(path: Path) -> Mapping[str, str]:
    """Return the text of an output by keyword; raise DacliError if it is damaged or of another kind."""
    return _TEXT_READERS.get(path.suffix, sealed.read_sealed_text)(files.read_bytes(path), display_path(path))


def purpose_text(purpose: object) -> dict[str, str]:
    """Return the text of a file that is no output of a run, by which has_purpose() knows it: a digest of plain values.

    A whole Record is also known by its field `settings`.
    """
    return {RECORD_KEYWORD: json.dumps({"settings": purpose_digest(purpose)})}


def purpose_digest(purpose: object) -> str:
    """Return the digest of what a file was made for, as plain values for JSON."""
    return hashlib.sha256(json.dumps(purpose, sort_keys=True).encode()).hexdigest()[:16]


def has_purpose(path: Path, purpose: object) -> bool:
    """Return whether a PNG or NPY was made for this purpose; raise DacliError if it is damaged or no such file."""
    with contextlib.suppress(KeyError, ValueError, TypeError, RecursionError):
        found = json.loads(read_output_text(path)[RECORD_KEYWORD])["settings"]
        return bool(found == purpose_digest(purpose))
    return False
