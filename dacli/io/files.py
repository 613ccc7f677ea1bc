"""Files read and written as a whole, and what their errors mean to the user."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from dacli.errors import DacliError, StopError
from dacli.paths import display_path

MAX_BYTES = 2 << 30  # of a file that is read whole
PART_SUFFIX = ".part"
unfinished_files: set[Path] = set()  # temporary files of the writes in progress
_FOLDER_IN_THE_WAY = ("a folder stands there", "move it away or choose another folder")
_FILE_IN_THE_WAY = ("a file stands where its folder should be", "move it away or choose another folder")
_DISK_FULL = ("the disk is full", "free some space or choose another folder")
_NO_PERMISSION = ("no permission", "choose another output folder")
_ERRORS_THAT_STOP = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EIO}
_WRITE_ERRORS = {
    errno.EISDIR: _FOLDER_IN_THE_WAY,
    errno.EEXIST: _FILE_IN_THE_WAY,
    errno.ENOTDIR: _FILE_IN_THE_WAY,
    errno.ENOSPC: _DISK_FULL,
    errno.EDQUOT: _DISK_FULL,
    errno.EACCES: _NO_PERMISSION,
    errno.EPERM: _NO_PERMISSION,
    errno.EROFS: ("the disk is read-only", "choose another output folder"),
    errno.ENAMETOOLONG: ("the name is too long", "rename the picture"),
}


def read_bytes(path: Path, count: int | None = None) -> bytes:
    """Return the bytes of a file, or only the first `count` of them.

    Raises DacliError, with the reason, for what is missing, empty, not a regular file, above 2 GiB or not readable.
    """
    name = display_path(path)
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise DacliError(
                f"{name} is a folder", f"name the pictures in it, or use dacli folder {name} OUT", "format"
            )
        refuse_special_file(path)
        if not 0 < info.st_size <= MAX_BYTES:
            reason = "is too large (over 2 GiB)" if info.st_size else "is empty"
            raise DacliError(f"{name} {reason}", "check what made it", "too large" if info.st_size else "damaged")
        if count is None:
            return path.read_bytes()
        with path.open("rb") as file:
            return file.read(count)
    except FileNotFoundError:
        if path.parts[0] in ("http:", "https:"):
            address = str(path).replace(":/", "://", 1)
            raise DacliError(
                f"{address} is an address, not a file", "download it, and give the file", "missing"
            ) from None
        raise DacliError(f"{name} does not exist", "check the path", "missing") from None
    except PermissionError:
        raise DacliError(f"no permission to read {name}", "check its permissions", "permission") from None
    except (OSError, ValueError) as error:
        raise DacliError(f"{name} cannot be read ({os_reason(error)})", "check the path and the disk") from error


def refuse_special_file(path: Path) -> None:
    """Raise DacliError for a pipe, a socket or a device, which would be waited for without end if it were opened."""
    with contextlib.suppress(OSError, ValueError):  # what is missing is for the caller to report
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            fault = f"{display_path(path)} is a pipe, socket or device, not a file"
            raise DacliError(fault, "save it as a file first", "format")


def write_file(path: Path, data: bytes | Iterable[bytes], *, below: Path | None = None, prefix: str = "") -> None:
    """Write a file as a whole or not at all: to a temporary file beside it, which then takes its name.

    `data` is the file, or its pieces in order. Missing folders are created; a file of this name is replaced. `below` is
    a folder above the file that must still exist; `prefix` is what the temporary name starts with. Raises DacliError if
    this file cannot be written, StopError if no other file can be written either (a full disk, a lost one).
    """
    temporary = path.with_name(f".{prefix}{secrets.token_hex(8)}{PART_SUFFIX}")
    try:
        make_folder(path.parent, below)
        _write_and_rename(temporary, path, [data] if isinstance(data, bytes) else data)
    except OSError as error:
        if below is not None and not below.is_dir():
            message = f"the output folder {display_path(below)} is gone"
            raise StopError(message, "bring it back; the same command then goes on") from error
        raise write_error(path, error) from error


def _write_and_rename(temporary: Path, path: Path, pieces: Iterable[bytes]) -> None:
    try:
        unfinished_files.add(temporary)
        with temporary.open("xb") as file:
            for piece in pieces:
                file.write(piece)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        unfinished_files.discard(temporary)


def make_folder(folder: Path, below: Path | None) -> None:
    """Create a folder and all missing ones above it, but not `below`: if that is missing, its disk may be too.

    Raises DacliError if a folder between them is a link to a place that is not below `below`.
    """
    if below is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    refuse_link_out(folder, below)
    for missing in folders_between(folder, below):
        missing.mkdir(exist_ok=True)


def folder_fault(folder: Path) -> DacliError | None:
    """Return why nothing can be written to a folder, which may not exist yet; None if it can. Nothing is created."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    number = 0
    if not existing.is_dir():
        number = errno.ENOTDIR
    elif not os.access(existing, os.W_OK | os.X_OK):
        number = errno.EACCES
    return write_error(folder, OSError(number, os.strerror(number))) if number else None


def folders_between(folder: Path, below: Path) -> list[Path]:
    """Return a folder and those above it up to `below`, which is left out, the highest first."""
    depth = len(folder.relative_to(below).parts)
    return list(reversed([folder, *folder.parents][:depth]))


def find_link_out(folder: Path, below: Path) -> Path | None:
    """Return the link between a folder and `below` that leads out of `below`; None if there is none."""
    for step in folders_between(folder, below):
        if step.is_symlink():
            real, root = os.path.realpath(step), os.path.realpath(below)
            if os.path.commonpath([real, root]) != root:
                return step
    return None


def refuse_link_out(folder: Path, below: Path) -> None:
    """Raise DacliError if a folder between `folder` and `below` is a link to a place that is not below `below`."""
    if link := find_link_out(folder, below):
        fault = f"{display_path(link)} is a link, and dacli writes nothing outside {display_path(below)}"
        raise DacliError(fault, "remove the link, or choose another output folder", "output")


def remove_unfinished_files() -> None:
    """Delete the temporary files of all writes in progress, before the process ends without waiting for its threads."""
    for path in list(unfinished_files):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def os_reason(error: Exception) -> str:
    """Return the reason of an error in the system's words, or else its text or its type."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def write_error(path: Path, error: OSError) -> DacliError:
    """Return the error to raise when a file cannot be written; a StopError if no other file can be either."""
    reason, hint = _WRITE_ERRORS.get(error.errno or 0, (os_reason(error), "check the disk"))
    error_class = StopError if error.errno in _ERRORS_THAT_STOP else DacliError
    return error_class(f"cannot write {display_path(path)} ({reason})", hint, "output")
