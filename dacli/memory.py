"""Lower memory use with glibc: fewer heaps, and free memory returned to the system. Without glibc, nothing happens.

In glibc every thread has its own heap, and a heap does not return free memory below its last array.
"""

import ctypes
import time

HEAP_COUNT = 2
M_ARENA_MAX = -8  # malloc.h
TRIM_INTERVAL = 0.25  # seconds


class HeapTrimmer:
    """Returns free memory to the system, at most once per TRIM_INTERVAL, because this walks through all heaps."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def give_back(self) -> None:
        """Return free memory to the system if the interval has passed."""
        if time.monotonic() - self.last >= TRIM_INTERVAL:
            trim_heaps()
            self.last = time.monotonic()


def trim_heaps() -> None:
    """Return free memory to the system."""
    call_glibc("malloc_trim", 0)


def limit_heaps() -> None:
    """Make threads that start after this call share HEAP_COUNT heaps."""
    call_glibc("mallopt", M_ARENA_MAX, HEAP_COUNT)


def call_glibc(function: str, *arguments: int) -> None:
    """Call a function of the C library if it is glibc, the only one with malloc_trim."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim  # noqa: B018 - raises AttributeError if it does not exist
    except (AttributeError, OSError, TypeError):
        return
    getattr(library, function)(*arguments)
