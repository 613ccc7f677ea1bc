"""One process at a time: locks on files, which end with the process that holds them."""

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # a locked byte cannot be read by others there, so it is one that no file has

    def lock_file(file: IO[bytes], *, wait: bool = False) -> bool | None:
        """Lock an open file; False if another process holds it, None where the file system has no locks."""
        place = file.tell()
        file.seek(_FAR)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            file.seek(place)
        return True

else:
    import fcntl

    def lock_file(file: IO[bytes], *, wait: bool = False) -> bool | None:
        """Lock an open file; False if another process holds it, None where the file system has no locks."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError:
            return None
        return True
