"""The batch size: how many pictures go through the network together."""

import time
from collections.abc import Callable

import torch

from dacli.errors import MemoryShortError
from dacli.inference.engines.table import Engine

LARGEST_BATCH = 32
WORTHWHILE_SHARE = 0.95  # a batch is used if a picture in it takes less than this share of its time in half the batch


def measure_batch_size(engine: Engine, size: tuple[int, int], clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the batch size, doubled as long as it fits into memory and a picture of (h, w) pixels takes less time.

    On a CPU it is 1: one picture of vits at 518 keeps all cores busy (in batches of 1, 2 and 4 it took 0.54, 0.53 and
    0.54 s), and the last bits of a result then do not depend on the other pictures of the batch, so that a run that was
    interrupted gives the same outputs.
    """
    if engine.plan.device == "cpu":
        return 1
    best, fastest = 1, seconds_each(engine, size, 1, clock)
    while best < LARGEST_BATCH:
        try:
            seconds = seconds_each(engine, size, 2 * best, clock)
        except MemoryShortError:
            break
        if seconds >= WORTHWHILE_SHARE * fastest:
            break
        best, fastest = 2 * best, seconds
    return best


def seconds_each(engine: Engine, size: tuple[int, int], count: int, clock: Callable[[], float]) -> float:
    """Return the seconds for one picture of a batch: the least of three passes, after one to warm up."""
    pictures = torch.zeros(count, 3, *size)
    engine.forward(pictures)
    seconds = []
    for _ in range(3):
        started = clock()
        engine.forward(pictures)
        seconds.append(clock() - started)
    return min(seconds) / count
