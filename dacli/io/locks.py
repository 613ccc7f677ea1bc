"""Locks on open files, which the system releases when their process ends.

The package filelock cannot replace them: it locks a path instead of the open journal; on Windows it locks the first
byte, so that no other process could read a journal while it is written; and on a file system without locks it leaves a
marker file that a killed process never removes.
"""

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30  # beyond the end of every file: other processes cannot read a byte that is locked

    def lock_file(file: IO[bytes], *, wait: bool = False) -> bool | None:
        """Lock an open file; return False if another process holds it, here also after a wait of ten seconds."""
        position = file.tell()
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(position)
        return True

else:
    import fcntl

    def lock_file(file: IO[bytes], *, wait: bool = False) -> bool | None:
        """Lock an open file; return False if another process holds it, None if the file system has no locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
