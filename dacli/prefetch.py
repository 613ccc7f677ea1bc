"""Pipeline stages in threads that work ahead of their consumer, in order, within a limit of bytes."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar

from dacli.memory import HeapTrimmer

SourceItem = TypeVar("SourceItem")
MadeItem = TypeVar("MadeItem")
BYTES_AHEAD = 32 << 20  # that may wait between two stages, per picture of a batch: a higher limit is not faster
CLOSE_SECONDS = 1.5  # that close() waits for threads; a thread in a long forward pass ends after its item
_NAME = "dacli-ahead"
interrupt_event = threading.Event()  # set by a signal that asks the run to end
_postponed_event = threading.Event()  # set while an interrupt has to wait


class Prefetch(Generic[SourceItem, MadeItem]):
    """The results of `make` for each item, in the order of the items, computed ahead by threads.

    At most `limit` bytes, as measured by `measure_bytes`, wait for the consumer. One result may exceed the limit if it
    waits alone; with several threads, the next result may exceed it too. In addition, each thread holds one result.
    An exception on either side stops both: an exception from the items or from `make` is raised after all results
    before it are taken. Threads start when the first result is requested; close() stops them.
    """

    def __init__(
        self,
        items: Iterable[SourceItem],
        make: Callable[[SourceItem], MadeItem],
        measure_bytes: Callable[[MadeItem], int],
        threads: int = 1,
        limit: int = BYTES_AHEAD,
    ) -> None:
        self.items, self.make, self.measure_bytes, self.limit = iter(items), make, measure_bytes, limit
        self.thread_count = threads
        self.threads: list[threading.Thread] = []
        self.source = threading.Lock()  # one thread at a time takes an item
        self.changed = threading.Condition()
        self.items_taken = 0  # number of items taken from the source, under its lock
        self.waiting: dict[int, tuple[MadeItem, int]] = {}
        self.waiting_bytes = 0
        self.next_index = 0  # index of the result that the consumer takes next
        self.end: int | None = None  # the number of results, once it is known
        self.error: BaseException | None = None  # the exception that stopped the stage early
        self.closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MadeItem:
        self.start()
        with self.changed:
            raise_if_interrupted()
            while not self.changed.wait_for(self.is_ready, timeout=1):
                raise_if_interrupted()  # on Windows Ctrl-C is only noticed between waits
            if self.next_index not in self.waiting or self.closed:
                self.raise_error_or_stop()
            made, size = self.waiting.pop(self.next_index)
            self.next_index += 1
            self.waiting_bytes -= size
            self.changed.notify_all()
            return made

    def is_ready(self) -> bool:
        return self.closed or self.next_index in self.waiting or self.next_index == self.end

    def raise_error_or_stop(self) -> None:
        error = None if self.closed else self.error
        self.closed = True
        self.changed.notify_all()
        raise StopIteration if error is None else error

    def start(self) -> None:
        if not self.threads and not self.closed:
            self.threads = [
                threading.Thread(target=self.run_thread, name=_NAME, daemon=True) for _ in range(self.thread_count)
            ]
            for thread in self.threads:
                thread.start()

    def run_thread(self) -> None:
        """Take items and store results until the items end, the stage is closed, or an error occurs."""
        while True:
            with self.source:
                index = self.items_taken
                if self.closed or self.end is not None:
                    return None
                try:
                    item = next(self.items)
                except BaseException as error:  # noqa: BLE001 - it is raised again in the thread of the consumer
                    return self.finish(index, None if isinstance(error, StopIteration) else error)
                self.items_taken += 1
            if self.closed:  # a generator may still yield collected items after the previous stage is closed
                return None
            try:
                made = self.make(item)
                del item
                self.put(index, made, self.measure_bytes(made))
                del made  # or it would stay in memory while this thread waits for the next item
            except BaseException as error:  # noqa: BLE001
                return self.finish(index, error)

    def put(self, index: int, made: MadeItem, size: int) -> None:
        with self.changed:
            self.changed.wait_for(
                lambda: (
                    self.closed
                    or index == self.next_index
                    or self.waiting_bytes + size <= self.limit
                    or self.is_past_end(index)
                )
            )
            if not self.closed and not self.is_past_end(index):
                self.waiting[index] = made, size
                self.waiting_bytes += size
                self.changed.notify_all()

    def is_past_end(self, index: int) -> bool:
        return self.end is not None and index >= self.end

    def finish(self, end: int, error: BaseException | None) -> None:
        """End after `end` results; if called several times, the smallest `end` counts."""
        with self.changed:
            if self.end is None or end < self.end:
                self.end, self.error = end, error
            self.changed.notify_all()

    def stop(self) -> None:
        """Ask the threads and waiting consumers to stop, without waiting for them."""
        with self.changed:
            self.closed = True
            self.waiting.clear()
            self.changed.notify_all()

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Stop, wait for the threads and then close the items; return False if a thread is still busy."""
        return close_stages([self], timeout)


def close_stages(stages: list[Prefetch[Any, Any]], timeout: float = CLOSE_SECONDS) -> bool:
    """Stop connected stages and wait for their threads; return False if a thread is still busy."""
    for stage in stages:
        stage.stop()
    deadline = time.monotonic() + timeout
    threads = [thread for stage in stages for thread in stage.threads]
    for thread in threads:
        if thread.is_alive():  # an interrupt may have come before all were started
            thread.join(max(0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        return False
    for stage in stages:
        if close_items := getattr(stage.items, "close", None):
            close_items()
    return True


def take_and_close(stages: list[Prefetch[Any, Any]], last: Iterator[MadeItem]) -> Generator[MadeItem, None, None]:
    """Yield the results of the last stage; close all stages at the end, also after an error."""
    heaps = HeapTrimmer()
    try:
        for made in last:
            yield made
            heaps.give_back()
    finally:
        close_stages(stages)


def on_interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt for a signal, and set interrupt_event; in postpone_interrupts() only the second raises.

    Python drops exceptions raised inside a __del__; raise_if_interrupted() raises it again.
    """
    postponed = _postponed_event.is_set() and not interrupt_event.is_set()
    interrupt_event.set()
    if not postponed:
        raise KeyboardInterrupt


@contextmanager
def postpone_interrupts() -> Iterator[None]:
    """Let an interrupt wait for the end of the block, in the main thread: a file is not left half written."""
    _postponed_event.set()
    try:
        yield
    finally:
        _postponed_event.clear()
    raise_if_interrupted()


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt in the main thread if a signal was received."""
    if interrupt_event.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def any_stage_alive() -> bool:
    """Return whether a thread of any stage is still alive."""
    return any(thread.name == _NAME for thread in threading.enumerate())
