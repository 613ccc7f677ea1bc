"""The one streaming primitive: threads that make things ahead of their taker, in order, within a bound of bytes."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, NoReturn, Self, TypeVar

from dacli.memory import HeapTrimmer

SourceItem = TypeVar("SourceItem")
MadeItem = TypeVar("MadeItem")
BYTES_AHEAD = (
    32 << 20
)  # bytes that may wait between two stages, for each picture of a batch: more only hold more memory
CLOSE_SECONDS = 1.5  # seconds that close() waits for threads; one in a long forward pass ends by itself with its item
_NAME = "dacli-ahead"
interrupt_event = threading.Event()  # a signal asked for the end


class Prefetch(Generic[SourceItem, MadeItem]):
    """What `make` makes of each item, in the order of the items, made ahead by threads.

    At most `limit` bytes, as `weigh` counts them, wait to be taken (or one result alone; with several threads, besides
    the next one), and each thread works on one more. An exception on either side ends both: that of the items or of
    `make` is raised when what came before it is taken. Threads start when the first thing is asked for; close() ends
    them.
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
        self.wanted = 0  # the number of the thing to be taken next
        self.end: int | None = None  # how many things there are, as soon as that is known
        self.error: BaseException | None = None  # what ended it before its time
        self.closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MadeItem:
        self.start()
        with self.changed:
            raise_if_interrupted()
            while not self.changed.wait_for(self.ready, timeout=1):
                raise_if_interrupted()  # on Windows Ctrl-C is only heard between waits
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
        """Take, make and put until the items end, the taker has gone, or something fails."""
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
            if self.closed:  # a generator may let out what it had gathered when the stage that it takes from is closed
                return None
            try:
                made = self.make(item)
                del item
                self.put(index, made, self.weigh(made))
                del made  # while this thread waits for the next item nothing of the last one stays in memory
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
        """Nothing follows after `end` things; of several ends the first one counts."""
        with self.changed:
            if self.end is None or end < self.end:
                self.end, self.error = end, error
            self.changed.notify_all()

    def stop(self) -> None:
        """Ask the threads and the thread that waits for the next thing to leave, without waiting for them."""
        with self.changed:
            self.closed = True
            self.waiting.clear()
            self.changed.notify_all()

    def close(self, patience: float = CLOSE_SECONDS) -> bool:
        """Stop, wait for the threads and then close the items; False if a thread is still busy with its last one."""
        return close_stages([self], patience)


def close_stages(stages: list[Prefetch[Any, Any]], patience: float = CLOSE_SECONDS) -> bool:
    """Stop stages that take from one another, and wait for their threads; False if one is still busy."""
    for stage in stages:
        stage.stop()
    until = time.monotonic() + patience
    threads = [thread for stage in stages for thread in stage.threads]
    for thread in threads:
        if thread.is_alive():  # an interrupt may come between the starts of two
            thread.join(max(0, until - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        return False
    for stage in stages:
        if ending := getattr(stage.items, "close", None):
            ending()
    return True


def take_and_close(stages: list[Prefetch[Any, Any]], last: Iterator[MadeItem]) -> Generator[MadeItem, None, None]:
    """Yield what comes out at the end of stages; however it ends, all of them are closed."""
    heaps = HeapTrimmer()
    try:
        for made in last:
            yield made
            heaps.give_back()
    finally:
        close_stages(stages)


def on_interrupt(*_: object) -> NoReturn:
    """Handle a signal: raise_if_interrupted() raises it again, because Python drops what is raised in a destructor."""
    interrupt_event.set()
    raise KeyboardInterrupt


def raise_if_interrupted() -> None:
    """Raise KeyboardInterrupt in the main thread if a signal asked for it."""
    if interrupt_event.is_set() and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def any_stage_alive() -> bool:
    """Return whether a thread of any stage is still alive."""
    return any(thread.name == _NAME for thread in threading.enumerate())
