"""Engines of one or several devices, handed out to the threads that need one."""

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from dacli.inference.engines.table import Engine


@dataclass(frozen=True)
class PooledEngine:
    """An engine, and how many threads may use it at the same time."""

    engine: Engine
    threads: int


class EnginePool:
    """Engines for threads, one or several on each device.

    `batch_size` is how many pictures go together; if memory runs short, it shrinks for all later batches.
    """

    def __init__(self, engines: Sequence[PooledEngine], batch_size: int) -> None:
        self.first = engines[0].engine
        self.concurrency = sum(pooled.threads for pooled in engines)
        self._free: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        for pooled in engines:
            for _ in range(pooled.threads):
                self._free.put(pooled.engine)
        self._batch_lock = threading.Lock()
        self._batch_size = batch_size
        self._float32: dict[int, Engine] = {}
        self._float32_locks = {id(pooled.engine): threading.Lock() for pooled in engines}

    @contextmanager
    def take(self) -> Iterator[Engine]:
        """Yield an engine as soon as one is free."""
        engine = self._free.get()
        try:
            yield engine
        finally:
            self._free.put(engine)

    @property
    def batch_size(self) -> int:
        """Return how many pictures of one size go together."""
        return self._batch_size

    def shrink_batch(self, largest: int) -> None:
        """Limit all later batches to at most `largest` pictures."""
        with self._batch_lock:
            self._batch_size = min(self._batch_size, largest)

    def in_float32(self, engine: Engine) -> Engine:
        """Return the engine that computes in float32 with the same weights; it is created when it is first needed."""
        with self._float32_locks[id(engine)]:
            if id(engine) not in self._float32:
                self._float32[id(engine)] = engine.in_float32()
            return self._float32[id(engine)]
