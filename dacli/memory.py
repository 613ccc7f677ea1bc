"""The C library's heaps: as few as are needed, and what lies free in them goes back to the system; elsewhere nothing.

Of glibc alone. Every thread has a heap of its own there, and none gives back what is free below its last array.
"""

import ctypes
import time

HEAP_COUNT = 2
M_ARENA_MAX = -8  # malloc.h
TRIM_INTERVAL = 0.25  # seconds between two times of giving back


class HeapTrimmer:
    """Gives back at most every quarter of a second, for that looks through all of the heaps."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def give_back(self) -> None:
        """Give back what is free, if it is time."""
        if time.monotonic() - self.last >= TRIM_INTERVAL:
            trim_heaps()
            self.last = time.monotonic()


def trim_heaps() -> None:
    """Give back what is free."""
    call_glibc("malloc_trim", 0)


def limit_heaps() -> None:
    """Share heaps among the threads that start from now on."""
    call_glibc("mallopt", M_ARENA_MAX, HEAP_COUNT)


def call_glibc(function: str, *arguments: int) -> None:
    """Call the C library, if it is glibc: malloc_trim is of no other."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim  # noqa: B018 - raises where there is none
    except (AttributeError, OSError, TypeError):
        return
    getattr(library, function)(*arguments)
