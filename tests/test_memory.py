"""The heaps of glibc by its own statistics, each time in a process of its own."""

import ctypes
import subprocess
import sys

import pytest

from dacli import memory

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")

THREADS = """
import ctypes, threading
from dacli import memory
{first}
libc, together = ctypes.CDLL(None), threading.Barrier(6)
def allocate():
    together.wait()
    kept = [bytes(10_000) for _ in range(50)]
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""
FREED = """
from dacli import memory
from dacli.memory import HeapTrimmer
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096
memory.TRIM_INTERVAL = 600
heaps = HeapTrimmer()
arrays = [bytearray(b"x") * 100_000 for _ in range(2000)]
del arrays[:-1]  # what is left lies at the end, so that nothing below it goes back by itself
before = resident()
heaps.give_back()
soon = resident()
memory.TRIM_INTERVAL = 0
heaps.give_back()
print(before, soon, resident())
"""


def output_of(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)


@pytest.mark.skipif(not GLIBC, reason="heaps are glibc's")
@pytest.mark.parametrize(("first", "low", "high"), [("memory.limit_heaps()", 1, 2), ("", 3, 7)])
def test_threads_share_few_heaps(first: str, low: int, high: int) -> None:
    assert low <= output_of(THREADS.format(first=first)).stderr.count("Arena ") <= high


@pytest.mark.skipif(not GLIBC, reason="heaps are glibc's")
def test_what_is_free_goes_back_but_not_all_the_time() -> None:
    before, soon, after = map(int, output_of(FREED).stdout.split())
    assert before - soon < 10_000_000
    assert before - after > 150_000_000


def test_with_another_c_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in (object(), TypeError("Windows takes no None")):

        def find(_: None, library: object = library) -> object:
            if isinstance(library, Exception):
                raise library
            return library

        monkeypatch.setattr(ctypes, "CDLL", find)
        memory.limit_heaps()
