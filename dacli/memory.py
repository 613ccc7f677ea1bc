"""Less memory in the heaps of glibc: few heaps, and free memory returned to the system. Elsewhere nothing happens.

In glibc every thread has a heap of its own, and none returns the free memory below its last array.
"""

import ctypes
import time

HEAP_COUNT = 2
M_ARENA_MAX = -8  # malloc.h
TRIM_INTERVAL = 0.25  # seconds


class HeapTrimmer:
    """Returns free memory to the system, at most every TRIM_INTERVAL, because that walks through all heaps."""

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
    """Make threads that start from now on share HEAP_COUNT heaps."""
    call_glibc("mallopt", M_ARENA_MAX, HEAP_COUNT)


def call_glibc(function: str, *arguments: int) -> None:
    """Call the C library if it is glibc, the only one with malloc_trim."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim  # noqa: B018 - raises if there is none
    except (AttributeError, OSError, TypeError):
        return
    getattr(library, function)(*arguments)
