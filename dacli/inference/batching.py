"""How many pictures go through the network together."""

import time
from collections.abc import Callable

import torch

from dacli.errors import MemoryShortError
from dacli.inference.engines.table import Engine

LARGEST_BATCH = 32
WORTHWHILE = 0.95  # a batch pays if a picture in it takes less than this share of its time in half the batch


def measure_batch_size(engine: Engine, size: tuple[int, int], clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the batch up to which a picture of (h, w) pixels takes less time the more go together, and that fits.

    On a CPU that is 1: one picture of vits at 518 keeps all cores busy (1, 2 and 4 together took 0.54, 0.53 and 0.54 s
    each), and the last bits of a result then do not depend on what stood beside it in a run that was broken off.
    """
    if engine.plan.device == "cpu":
        return 1
    best, fastest = 1, seconds_each(engine, size, 1, clock)
    while best < LARGEST_BATCH:
        try:
            taken = seconds_each(engine, size, 2 * best, clock)
        except MemoryShortError:
            break
        if taken >= WORTHWHILE * fastest:
            break
        best, fastest = 2 * best, taken
    return best


def seconds_each(engine: Engine, size: tuple[int, int], count: int, clock: Callable[[], float]) -> float:
    """Return the seconds for one picture of a batch, the least of three after one to warm up."""
    pictures = torch.zeros(count, 3, *size)
    engine.forward(pictures)
    taken = []
    for _ in range(3):
        started = clock()
        engine.forward(pictures)
        taken.append(clock() - started)
    return min(taken) / count
