"""Regular files in, whole files out, and the reason when not."""

import contextlib
import errno
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from dacli.errors import DacliError, StopError
from dacli.paths import display_path

MAX_BYTES = 2 << 30
PART_SUFFIX = ".part"
unfinished_files: set[Path] = set()  # what a process that ends in the middle of a write must delete
_FOLDER = ("a folder stands there", "move it away or choose another folder")
_FILE = ("a file stands where its folder should be", "move it away or choose another folder")
_FULL = ("the disk is full", "make room or choose another folder")
_DENIED = ("no permission", "choose another folder with -o")
_STOPPING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EIO}
_WRITE_FAULTS = {
    errno.EISDIR: _FOLDER,
    errno.EEXIST: _FILE,
    errno.ENOTDIR: _FILE,
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: ("the disk is read-only", "choose another folder with -o"),
    errno.ENAMETOOLONG: ("the name is too long", "rename the picture"),
}


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a regular file; raise DacliError with the reason for anything else."""
    name = display_path(path)
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise DacliError(f"{name} is a folder", "name the pictures in it")
        if not stat.S_ISREG(info.st_mode):
            raise DacliError(f"{name} is a pipe, socket or device, not a file", "save it as a file first")
        if not 0 < info.st_size <= MAX_BYTES:
            fault = "is too large (over 2 GiB)" if info.st_size else "is empty"
            raise DacliError(f"{name} {fault}", "check what made it")
        return path.read_bytes()
    except FileNotFoundError:
        raise DacliError(f"{name} does not exist", "check the path") from None
    except PermissionError:
        raise DacliError(f"no permission to read {name}", "check its permissions") from None
    except (OSError, ValueError) as error:
        raise DacliError(f"{name} cannot be read ({os_reason(error)})", "check the path and the disk") from error


def write_file(path: Path, data: bytes | Iterable[bytes], *, below: Path | None = None, mark: str = "") -> None:
    """Write a whole file or none, from bytes or pieces of them, through a temporary one beside it.

    Makes the folder and replaces what is there. `below` is a folder above it that must be there still; `mark` begins
    the temporary name. Raises DacliError that says why not: no permission, a folder in the way and the like; StopError
    for a full disk or one that is gone.
    """
    temporary = path.with_name(f".{mark}{secrets.token_hex(8)}{PART_SUFFIX}")
    try:
        make_folder(path.parent, below)
        try:
            unfinished_files.add(temporary)
            with temporary.open("xb") as file:
                for piece in [data] if isinstance(data, bytes) else data:
                    file.write(piece)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            unfinished_files.discard(temporary)
    except OSError as error:
        if below is not None and not below.is_dir():
            fault = f"the output folder {display_path(below)} is gone"
            raise StopError(fault, "bring it back; the same command then goes on") from error
        raise write_error(path, error) from error


def make_folder(folder: Path, below: Path | None) -> None:
    """Make a folder and what is missing above it, but not `below`: where that is gone, a disk may be."""
    if below is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    depth = len(folder.relative_to(below).parts)
    for each in reversed([folder, *folder.parents][:depth]):
        each.mkdir(exist_ok=True)


def remove_unfinished() -> None:
    """Delete what is written just now: the process is about to end without waiting for its threads."""
    for path in list(unfinished_files):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def os_reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def write_error(path: Path, error: OSError) -> DacliError:
    """Return what an error of writing means to the user; StopError if nothing else can be written there either."""
    fault, hint = _WRITE_FAULTS.get(error.errno or 0, (os_reason(error), "check the disk"))
    kind = StopError if error.errno in _STOPPING else DacliError
    return kind(f"cannot write {display_path(path)} ({fault})", hint)
