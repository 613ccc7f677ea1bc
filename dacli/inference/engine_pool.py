"""Engines of one or several devices, handed out to the threads that need one."""

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dacli.inference.engines.table import Engine


class EnginePool:
    """Engines for threads: each engine is used by at most `width` threads at the same time.

    `batch_size` is how many pictures go together; where memory runs short it shrinks for what follows.
    """

    def __init__(self, engines: Sequence[Engine], width: int, batch_size: int) -> None:
        self.concurrency = width * len(engines)
        self.first = engines[0]
        self._free: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        for engine in engines:
            for _ in range(width):
                self._free.put(engine)
        self._lock = threading.Lock()
        self._batch_size = batch_size
        self._float32: dict[int, Engine] = {}

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

    def shrink_batch(self, most: int) -> None:
        """Let at most so many pictures go together from now on."""
        with self._lock:
            self._batch_size = min(self._batch_size, most)

    def in_float32(self, engine: Engine) -> Engine:
        """Return the engine that computes in float32 with the same weights, made when it is first needed."""
        with self._lock:
            if id(engine) not in self._float32:
                self._float32[id(engine)] = engine.in_float32()
            return self._float32[id(engine)]
