"""Stages in threads that work ahead of their consumer, in order, within a limit of bytes."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, NoReturn, Self, TypeVar

from dacli.memory import HeapTrimmer

SourceItem = TypeVar("SourceItem")
MadeItem = TypeVar("MadeItem")
BYTES_AHEAD = 32 << 20  # that may wait between two stages, for each picture of a batch: more is no faster
CLOSE_SECONDS = 1.5  # that close() waits for threads; a thread in a long forward pass ends by itself with its item
_NAME = "dacli-ahead"
interrupt_event = threading.Event()  # set by a signal that asks the run to end


class Prefetch(Generic[SourceItem, MadeItem]):
    """The results of `make` for each item, in the order of the items, computed ahead by threads.

    At most `limit` bytes, as measured by `weigh`, wait to be taken (or one result alone; with several threads the next
    result comes on top), and each thread holds one more. An exception on either side ends both: one of the items or of
    `make` is raised after all results before it are taken. Threads start when the first result is asked for; close()
    ends them.
    """

    def __init__(
        self,
        items: Iterable[SourceItem],
        make: Callable[[SourceItem], MadeItem],
        weigh: Callable[[MadeItem], int],
        threads: int = 1,
        limit: int = BYTES_AHEAD,
    ) -> None:
        self.items, self.make, self.weigh, self.limit = iter(items), make, weigh, limit
        self.count = threads
        self.threads: list[threading.Thread] = []
        self.source = threading.Lock()  # one thread at a time takes an item
        self.changed = threading.Condition()
        self.given = 0  # items taken from the source, under its lock
        self.waiting: dict[int, tuple[MadeItem, int]] = {}
        self.weight = 0
        self.wanted = 0  # the number of the result to be taken next
        self.end: int | None = None  # how many results there are, as soon as that is known
        self.error: BaseException | None = None  # what ended it early
        self.closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MadeItem:
        self.start()
        with self.changed:
            raise_if_interrupted()
            while not self.changed.wait_for(self.ready, timeout=1):
                raise_if_interrupted()  # on Windows Ctrl-C is only noticed between waits
            if self.wanted not in self.waiting or self.closed:
                self.give_up()
            made, weight = self.waiting.pop(self.wanted)
            self.wanted += 1
            self.weight -= weight
            self.changed.notify_all()
            return made

    def ready(self) -> bool:
        return self.closed or self.wanted in self.waiting or self.wanted == self.end

    def give_up(self) -> None:
        error = None if self.closed else self.error
        self.closed = True
        self.changed.notify_all()
        raise StopIteration if error is None else error

    def start(self) -> None:
        if not self.threads and not self.closed:
            self.threads = [threading.Thread(target=self.fill, name=_NAME, daemon=True) for _ in range(self.count)]
            for thread in self.threads:
                thread.start()

    def fill(self) -> None:
        """Take items and put results until the items end, the stage is closed, or something fails."""
        while True:
            with self.source:
                index = self.given
                if self.closed or self.end is not None:
                    return None
                try:
                    item = next(self.items)
                except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that takes
                    return self.finish(index, None if isinstance(error, StopIteration) else error)
                self.given += 1
            if self.closed:  # a generator may yield what it has gathered when the stage before it is closed
                return None
            try:
                made = self.make(item)
                del item
                self.put(index, made, self.weigh(made))
                del made  # or it would stay in memory while this thread waits for the next item
            except BaseException as error:  # noqa: BLE001
                return self.finish(index, error)

    def put(self, index: int, made: MadeItem, weight: int) -> None:
        with self.changed:
            self.changed.wait_for(
                lambda: self.closed or index == self.wanted or self.weight + weight <= self.limit or self.passed(index)
            )
            if not self.closed and not self.passed(index):
                self.waiting[index] = made, weight
                self.weight += weight
                self.changed.notify_all()

    def passed(self, index: int) -> bool:
        return self.end is not None and index >= self.end

    def finish(self, end: int, error: BaseException | None) -> None:
        """End after `end` results; of several ends the first one counts."""
        with self.changed:
            if self.end is None or end < self.end:
                self.end, self.error = end, error
            self.changed.notify_all()

    def stop(self) -> None:
        """Ask the threads, and those who wait for a result, to stop, without waiting for them."""
        with self.changed:
            self.closed = True
            self.waiting.clear()
            self.changed.notify_all()

    def close(self, patience: float = CLOSE_SECONDS) -> bool:
        """Stop, wait for the threads and then close the items; return False if a thread is still busy."""
        return close_stages([self], patience)


def close_stages(stages: list[Prefetch[Any, Any]], patience: float = CLOSE_SECONDS) -> bool:
    """Stop stages that take from one another, and wait for their threads; return False if one is still busy."""
    for stage in stages:
        stage.stop()
    until = time.monotonic() + patience
    threads = [thread for stage in stages for thread in stage.threads]
    for thread in threads:
        if thread.is_alive():  # an interrupt may have come before all were started
            thread.join(max(0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        return False
    for stage in stages:
        if ending := getattr(stage.items, "close", None):
            ending()
    return True


def take_and_close(stages: list[Prefetch[Any, Any]], last: Iterator[MadeItem]) -> Generator[MadeItem, None, None]:
    """Yield the results of the last stage; however it ends, all stages are closed."""
    heaps = HeapTrimmer()
    try:
        for made in last:
            yield made
            heaps.give_back()
    finally:
        close_stages(stages)


def on_interrupt(*_: object) -> NoReturn:
    """Raise KeyboardInterrupt for a signal, and remember it.

    Python drops exceptions raised inside a __del__; raise_if_interrupted() raises it again.
    """
    interrupt_event.set()
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt in the main thread if a signal came."""
    if interrupt_event.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def any_stage_alive() -> bool:
    """Return whether a thread of any stage is still alive."""
    return any(thread.name == _NAME for thread in threading.enumerate())
