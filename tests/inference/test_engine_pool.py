"""The pool gives engines to as many threads as may use them, and keeps what threads share."""

import threading
from dataclasses import dataclass, field
from typing import Any

from dacli.inference.device import ExecutionPlan
from dacli.inference.engine_pool import EnginePool, PooledEngine
from tests.support.hanging import in_time

PLAN = ExecutionPlan("cpu", "torch", "fp16", half_weights=False, reason="")


@dataclass(eq=False)
class Copied:
    """An engine that counts how many float32 copies were made of it."""

    plan: ExecutionPlan = PLAN
    streams: int = 1
    copies: list["Copied"] = field(default_factory=list)

    def forward(self, images: Any) -> Any:
        raise NotImplementedError

    def free(self) -> None:
        pass

    def in_float32(self) -> "Copied":
        self.copies.append(Copied())
        return self.copies[-1]


def test_each_engine_is_used_by_as_many_threads_as_its_width() -> None:
    wide, narrow = Copied(), Copied()
    pool = EnginePool([PooledEngine(wide, 3), PooledEngine(narrow, 1)], 1)
    assert (pool.concurrency, pool.first) == (4, wide)
    together, taken = threading.Barrier(5), []

    def use() -> None:
        with pool.take() as engine:
            taken.append(engine)
            together.wait(20)  # broken if fewer than four are in here at the same time

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    together.wait(20)
    for thread in threads:
        thread.join(20)
    assert sorted(taken, key=id) == sorted([wide, wide, wide, narrow], key=id)


def test_a_thread_waits_for_a_free_engine_and_gets_it_after_a_failure_too() -> None:
    pool, waiting, got = EnginePool([PooledEngine(Copied(), 1)], 1), threading.Event(), threading.Event()

    def use() -> None:
        waiting.set()
        with pool.take():
            got.set()

    try:
        with pool.take():
            thread = threading.Thread(target=use)
            thread.start()
            waiting.wait(20)
            assert not got.wait(0.05)
            raise MemoryError
    except MemoryError:
        in_time(thread.join)
    assert got.is_set()


def test_one_float32_engine_serves_all_threads_of_an_engine_and_only_those() -> None:
    first, second = Copied(), Copied()
    pool = EnginePool([PooledEngine(first, 4), PooledEngine(second, 1)], 1)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(pool.in_float32(first))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(first.copies) == 1
    assert found == 4 * first.copies
    assert pool.in_float32(second) is second.copies[0]


def test_a_batch_never_grows_again() -> None:
    pool = EnginePool([PooledEngine(Copied(), 1)], 8)
    for most, expected in ((4, 4), (6, 4), (1, 1)):
        pool.shrink_batch(most)
        assert pool.batch_size == expected
