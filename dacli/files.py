"""Regular files in, whole files out, and the reason when not."""

import contextlib
import errno
import secrets
import stat
from pathlib import Path

from dacli.errors import DacliError
from dacli.jobs import shown

MAX_BYTES = 2 << 30
_FOLDER = ("a folder stands there", "move it away or choose another folder")
_FILE = ("a file stands where its folder should be", "move it away or choose another folder")
_FULL = ("the disk is full", "make room or choose another folder")
_DENIED = ("no permission", "choose another folder with -o")
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


def contents(path: Path) -> bytes:
    """Return the bytes of a regular file; raises DacliError with the reason for anything else."""
    name = shown(path)
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
        raise DacliError(f"{name} cannot be read ({reason(error)})", "check the path and the disk") from error


def write(path: Path, data: bytes) -> None:
    """Write a whole file or none, through a temporary one beside it; makes the folder and replaces what is there.

    Raises DacliError that says why not: no permission, a full disk, a folder in the way and the like.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritten(path, error) from error


def reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _unwritten(path: Path, error: OSError) -> DacliError:
    fault, hint = _WRITE_FAULTS.get(error.errno or 0, (reason(error), "check the disk"))
    return DacliError(f"cannot write {shown(path)} ({fault})", hint)
