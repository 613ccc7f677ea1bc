"""Stages that work ahead in threads: every way they can end, their order, and what they hold."""

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

import dacli.prefetch as streams
from dacli.prefetch import Prefetch, any_stage_alive, close_stages, take_and_close
from tests.support.hanging import TIME_LIMIT, in_time

SOON = 0.05  # seconds to wait for a thread that is known not to come
FEW_AND_MANY = pytest.mark.parametrize("threads", [1, 3])


class FaultError(Exception):
    """What a stage of these tests raises."""


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(TIME_LIMIT)  # one that is about to end may do so; one that hangs is a fault
    assert not any(thread.is_alive() for thread in left)


def wait(event: threading.Event) -> None:
    assert event.wait(TIME_LIMIT), "it hangs"


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + TIME_LIMIT
    while not holds():
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.001)


def same(number: int) -> int:
    return number


def one(_: object) -> int:
    return 1


def noting(made: list[int]) -> Callable[[int], int]:
    def make(number: int) -> int:
        made.append(number)
        return number

    return make


@dataclass
class Source:
    """Numbers from 0 on; knows what was taken from it and whether it was closed; may raise in the end."""

    count: int = 5
    error: BaseException | None = None
    made: list[int] = field(default_factory=list)
    closed: bool = False

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self.count):
                self.made.append(number)
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def ahead(source: Source, threads: int = 1, limit: int = 3) -> Prefetch[int, int]:
    return Prefetch(iter(source), same, one, threads, limit)


def chained(source: Source, model: Callable[[int], int], threads: int) -> Generator[int, None, None]:
    """Read, then infer, each in threads of its own; the caller writes."""
    reading = ahead(source, threads)
    inferring = Prefetch(reading, model, one, threads, 3)
    return take_and_close([inferring, reading], inferring)


def most_taken(threads: int) -> int:
    """What two stages with three waiting in each may have taken from the source when nothing was taken from them."""
    return 2 * (3 + 1 + threads)


def taken_until_it_fails(stream: Iterator[int], error: type[BaseException]) -> tuple[list[int], BaseException]:
    taken: list[int] = []

    def take() -> None:
        for number in stream:
            taken.append(number)

    with pytest.raises(error) as caught:
        in_time(take)
    return taken, caught.value


# --- the endings ---


@FEW_AND_MANY
def test_normal_ending_gives_every_item_once_in_order(threads: int) -> None:
    source = Source(100)
    assert in_time(lambda: list(chained(source, lambda number: 10 * number, threads))) == list(range(0, 1000, 10))
    assert source.closed
    assert not any_stage_alive()


@FEW_AND_MANY
def test_no_items_are_an_ending_too(threads: int) -> None:
    assert in_time(lambda: list(chained(Source(0), same, threads))) == []
    assert not any_stage_alive()


@FEW_AND_MANY
def test_slow_writer_gets_all_in_order_and_no_more_than_the_limit_lies_ahead(threads: int) -> None:
    source, leads = Source(60), []
    hands = threads + (threads > 1)  # the next one may come when the limit is reached already

    def numbers() -> Iterator[int]:
        for number in source:
            leads.append(number - stream.next_index)
            yield number

    stream = Prefetch(numbers(), same, one, threads, 3)

    def take() -> list[int]:
        taken = []
        for number in stream:
            taken.append(number)
            until(lambda: len(source.made) >= min(60, len(taken) + 3 + threads))
        return taken

    assert in_time(take) == list(range(60))
    assert max(leads) <= 3 + hands - 1
    assert stream.close()


@FEW_AND_MANY
def test_reader_fails_after_its_good_items(threads: int) -> None:
    fault = FaultError("reader")
    source = Source(7, fault)
    taken, error = taken_until_it_fails(chained(source, same, threads), FaultError)
    assert error is fault
    assert taken == list(range(7))
    assert not any_stage_alive()


@FEW_AND_MANY
def test_model_fails_at_its_turn_and_the_reader_is_stopped(threads: int) -> None:
    fault, source = FaultError("model"), Source(10_000)

    def model(number: int) -> int:
        if number == 3:
            raise fault
        return number

    taken, error = taken_until_it_fails(chained(source, model, threads), FaultError)
    assert error is fault
    assert taken == [0, 1, 2]
    assert source.closed  # although the traceback still holds every frame
    assert len(source.made) <= 3 + most_taken(threads)
    assert not any_stage_alive()


@FEW_AND_MANY
@pytest.mark.parametrize("fault", [FaultError("writer"), KeyboardInterrupt(), SystemExit(3)])
def test_writer_fails_or_is_interrupted(fault: BaseException, threads: int) -> None:
    source = Source(10_000)

    def write() -> None:
        with contextlib.closing(chained(source, same, threads)) as numbers:
            for number in numbers:
                if number == 3:
                    raise fault

    with pytest.raises(type(fault)) as caught:
        in_time(write)
    assert caught.value is fault
    assert source.closed
    assert len(source.made) <= 4 + most_taken(threads)
    assert not any_stage_alive()


@FEW_AND_MANY
def test_interrupt_in_the_reader_reaches_the_writer(threads: int) -> None:
    taken, _ = taken_until_it_fails(chained(Source(2, KeyboardInterrupt()), same, threads), KeyboardInterrupt)
    assert taken == [0, 1]


@FEW_AND_MANY
def test_interrupt_of_a_waiting_writer_ends_the_stream(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Ctrl-C arrives where the main thread mostly is: waiting for the next item."""
    release = threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        release.wait(TIME_LIMIT)
        yield 1

    def wait_for(self: threading.Condition, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        if timeout is not None and not predicate():
            release.set()
            raise KeyboardInterrupt
        return original(self, predicate, timeout)

    original = threading.Condition.wait_for
    monkeypatch.setattr(threading.Condition, "wait_for", wait_for)
    stage = Prefetch(slow(), same, one, threads)
    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: list(take_and_close([stage], stage)))
    assert not any_stage_alive()


@FEW_AND_MANY
def test_early_break_stops_the_reader_and_closes_it(threads: int) -> None:
    source = Source(10_000)

    def take() -> int:
        with contextlib.closing(chained(source, same, threads)) as numbers:
            return next(number for number in numbers if number == 5)

    assert in_time(take) == 5
    assert source.closed
    assert len(source.made) <= 6 + most_taken(threads)
    assert not any_stage_alive()


def test_an_unused_stream_starts_nothing() -> None:
    source = Source()
    stage = ahead(source)
    assert stage.close()
    assert stage.threads == []
    assert list(stage) == []
    assert source.made == []


@FEW_AND_MANY
def test_after_its_end_a_stream_stays_at_its_end(threads: int) -> None:
    stage = ahead(Source(2, FaultError()), threads)
    taken_until_it_fails(stage, FaultError)
    assert in_time(lambda: list(stage)) == []
    assert stage.close()


def test_items_that_fail_while_they_are_closed_do_not_hang() -> None:
    def failing() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            raise FaultError("closing")

    def take() -> None:
        stage = Prefetch(failing(), same, one, 2, 2)
        with contextlib.closing(take_and_close([stage], stage)) as numbers:
            next(numbers)

    with pytest.raises(FaultError, match="closing"):
        in_time(take)
    assert not any_stage_alive()


def test_items_need_not_come_from_a_generator() -> None:
    assert in_time(lambda: list(Prefetch([3, 1, 2], same, one))) == [3, 1, 2]


# --- order, and which failure counts ---


def test_order_is_kept_when_later_items_are_made_first() -> None:
    made = [threading.Event() for _ in range(30)]

    def make(number: int) -> int:
        if number % 3 == 0:
            wait(made[number + 1])
            wait(made[number + 2])
        made[number].set()
        return number

    assert in_time(lambda: list(Prefetch(range(30), make, one, 3, 30))) == list(range(30))


def test_several_threads_make_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=TIME_LIMIT)

    def make(number: int) -> int:
        together.wait()
        return number

    assert in_time(lambda: list(Prefetch(range(9), make, one, 3))) == list(range(9))


def test_one_thread_at_a_time_takes_from_the_items() -> None:
    inside = threading.Lock()

    class Items:
        left = iter(range(200))

        def __iter__(self) -> "Items":
            return self

        def __next__(self) -> int:
            assert inside.acquire(blocking=False)
            try:
                time.sleep(0)
                return next(self.left)
            finally:
                inside.release()

    assert in_time(lambda: list(Prefetch(Items(), same, one, 4))) == list(range(200))


@FEW_AND_MANY
def test_what_fails_to_be_weighed_is_raised_at_its_turn(threads: int) -> None:
    stage = Prefetch([1, 1, 0, 1], same, lambda number: 1 // number, threads)
    taken, _ = taken_until_it_fails(stage, ZeroDivisionError)
    assert taken == [1, 1]
    assert stage.close()


def test_a_failure_waits_for_the_slower_good_item_before_it_and_drops_what_follows() -> None:
    later, failed = threading.Event(), threading.Event()

    def make(number: int) -> int:
        if number == 0:
            wait(failed)
        if number == 1:
            wait(later)
            failed.set()
            raise FaultError
        if number == 2:
            later.set()
        return number

    stage = Prefetch(range(100), make, one, 3)
    assert taken_until_it_fails(stage, FaultError)[0] == [0]
    assert stage.close()


def test_of_two_failures_the_first_in_order_is_raised_though_it_comes_last() -> None:
    first, second = FaultError("first"), FaultError("second")

    def make(number: int) -> int:
        if number == 1:
            until(lambda: stage.end == 2)
            raise first
        if number == 2:
            raise second
        return number

    stage = Prefetch(range(100), make, one, 3)
    taken, error = taken_until_it_fails(stage, FaultError)
    assert (taken, error) == ([0], first)
    assert stage.close()


def test_a_failure_counts_before_the_later_end_of_the_items() -> None:
    made = FaultError("made")

    def make(number: int) -> int:
        if number == 1:
            until(lambda: stage.end == 3)
            raise made
        return number

    stage = Prefetch(iter(Source(3, FaultError("items"))), make, one, 3)
    taken, error = taken_until_it_fails(stage, FaultError)
    assert (taken, error) == ([0], made)
    assert stage.close()


def test_a_failure_after_another_does_not_count() -> None:
    first = FaultError("first")

    def make(number: int) -> int:
        if number == 0:
            raise first
        until(lambda: stage.end == 0)
        raise FaultError("second")

    stage = Prefetch(range(100), make, one, 3)
    taken, error = taken_until_it_fails(stage, FaultError)
    assert (taken, error) == ([], first)
    assert stage.close()
    assert (stage.end, stage.error) == (0, first)


# --- what it holds ---

WEIGHTS = [[4, 4, 4, 4], [1] * 30, [25, 1, 25, 1, 1, 25], [10, 1, 9, 5, 5, 5], [0] * 9]


@FEW_AND_MANY
@pytest.mark.parametrize("weights", WEIGHTS)
def test_bytes_that_wait_stay_within_the_limit(weights: list[int], threads: int) -> None:
    """With one thread a thing above the limit waits alone; with several the next one comes on top."""
    held: list[list[int]] = []

    def weigh(weight: int) -> int:
        with stage.changed:
            hold()
        return weight

    def hold() -> None:
        assert stage.waiting_bytes == sum(weight for _, weight in stage.waiting.values())
        alone = [weight for index, (_, weight) in stage.waiting.items() if threads == 1 or index != stage.next_index]
        held.append(alone)

    def take() -> list[int]:
        taken = []
        for weight in stage:
            taken.append(weight)
            until(settled)
            with stage.changed:
                hold()
        return taken

    def settled() -> bool:
        """Nothing more moves until something is taken: all is made, or every thread has its hands full."""
        with stage.changed:
            room = 10 - stage.waiting_bytes
            following = weights[stage.next_index + len(stage.waiting) :]
            return not following or following[0] > room or any(weight > room for weight in following[:threads])

    stage = Prefetch(weights, same, weigh, threads, 10)
    assert in_time(take) == weights
    assert all(sum(alone) <= 10 or len(alone) == 1 for alone in held)
    assert stage.close()


@FEW_AND_MANY
def test_a_thread_that_waits_for_items_holds_nothing_of_its_last_one(threads: int) -> None:
    class Thing:
        pass

    release = threading.Event()
    things: list[weakref.ref[Thing]] = []

    def items() -> Iterator[Thing]:
        thing = Thing()
        things.append(weakref.ref(thing))
        yield thing
        del thing
        release.wait(TIME_LIMIT)

    stage = Prefetch(items(), lambda thing: thing, one, threads)

    def take() -> None:
        next(stage)
        gc.collect()
        until(lambda: things[0]() is None)
        release.set()

    in_time(take)
    assert stage.close(TIME_LIMIT)


# --- closing ---


@FEW_AND_MANY
def test_closing_frees_threads_that_wait_for_room(threads: int) -> None:
    source = Source(100)
    stage = ahead(source, threads, limit=1)
    assert in_time(lambda: next(stage)) == 0
    until(lambda: len(source.made) >= 2 + threads)
    assert stage.close(TIME_LIMIT)
    assert not any_stage_alive()
    assert source.closed
    assert list(stage) == []


class Gate:
    """Numbers; after the first, a thread that takes one waits until the gate opens."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self.given: list[int] = []

    def __iter__(self) -> Iterator[int]:
        for number in range(100):
            if number:
                self.hold()
            self.given.append(number)
            yield number

    def hold(self) -> None:
        self.reached.set()
        wait(self.opened)

    def pass_on(self, number: int) -> int:
        if number:
            self.hold()
        self.given.append(number)
        return number


def test_closing_while_threads_wait_for_their_turn_at_the_items_takes_no_more_of_them() -> None:
    gate = Gate()
    made: list[int] = []
    stage = Prefetch(iter(gate), noting(made), one, 3)
    assert in_time(lambda: next(stage)) == 0
    wait(gate.reached)
    assert not stage.close(SOON)
    assert any_stage_alive()
    gate.opened.set()
    assert stage.close(TIME_LIMIT)
    assert gate.given == [0, 1]
    assert made == [0]  # an item that comes after closing is not begun


@FEW_AND_MANY
def test_close_says_when_a_thread_is_busy_and_the_thread_leaves_with_its_item(threads: int) -> None:
    gate, source = Gate(), Source(100)
    stage = Prefetch(iter(source), gate.pass_on, one, threads)
    assert in_time(lambda: next(stage)) == 0
    wait(gate.reached)
    assert not stage.close(SOON)
    assert not source.closed
    assert any_stage_alive()
    gate.opened.set()
    for thread in stage.threads:
        thread.join(TIME_LIMIT)
    assert not any_stage_alive()
    assert len(gate.given) <= 1 + threads
    assert stage.close()
    assert source.closed


@FEW_AND_MANY
def test_closing_frees_threads_that_wait_for_another_stage(threads: int) -> None:
    gate, source = Gate(), Source(100)
    before = Prefetch(iter(source), gate.pass_on, one, 1)
    after = Prefetch(before, same, one, threads)
    assert in_time(lambda: next(after)) == 0
    wait(gate.reached)
    assert not close_stages([after, before], SOON)
    for thread in after.threads:
        thread.join(TIME_LIMIT)
        assert not thread.is_alive()
    assert any_stage_alive()
    gate.opened.set()
    assert close_stages([after, before], TIME_LIMIT)
    assert source.closed
    assert not any_stage_alive()


def test_what_a_closed_stage_still_lets_out_is_not_begun() -> None:
    """A generator between two stages may have gathered items that it yields when the stage before it ends."""
    gate = Gate()
    begun: list[int] = []
    before = Prefetch(range(100), gate.pass_on, one)

    def gathered() -> Iterator[int]:
        yield next(before)
        yield sum(before)

    after = Prefetch(gathered(), noting(begun), one)
    assert in_time(lambda: next(after)) == 0
    wait(gate.reached)
    assert not close_stages([after, before], SOON)
    after.threads[0].join(TIME_LIMIT)
    gate.opened.set()
    assert close_stages([after, before], TIME_LIMIT)
    assert begun == [0]


def test_closing_frees_a_taker_that_waits() -> None:
    gate = Gate()
    stage = Prefetch(range(100), gate.pass_on, one)
    assert in_time(lambda: next(stage)) == 0
    found: list[int] = []
    taker = threading.Thread(target=lambda: found.extend(stage))
    taker.start()
    wait(gate.reached)
    assert not stage.close(SOON)
    taker.join(TIME_LIMIT)
    assert not taker.is_alive()
    assert found == []
    gate.opened.set()
    assert stage.close(TIME_LIMIT)


def test_closing_twice_is_closing_once() -> None:
    source = Source()
    stage = ahead(source, 2)
    assert in_time(lambda: list(stage)) == list(range(5))
    assert stage.close()
    assert stage.close()
    assert not any_stage_alive()


@pytest.mark.parametrize("ending", ["end", "break", "fault"])
def test_taking_closes_every_stage_however_it_ends(ending: str) -> None:
    source = Source(20)
    reading = ahead(source, 2)
    inferring = Prefetch(reading, same, one, 1)
    writing = Prefetch(inferring, same, one, 3)
    stages = [writing, inferring, reading]

    def take() -> None:
        with contextlib.closing(take_and_close(stages, iter(writing))) as numbers:
            for _ in numbers:
                if ending == "break":
                    break
                if ending == "fault":
                    raise FaultError

    with pytest.raises(FaultError) if ending == "fault" else contextlib.nullcontext():
        in_time(take)
    assert all(stage.closed for stage in stages)
    assert not any(thread.is_alive() for stage in stages for thread in stage.threads)
    assert source.closed
    assert not any_stage_alive()


def test_threads_of_stages_are_distinguished_from_others() -> None:
    gate = Gate()
    other = threading.Thread(target=lambda: wait(gate.opened))
    other.start()
    assert not any_stage_alive()
    stage = Prefetch(range(2), gate.pass_on, one)
    assert not any_stage_alive()
    assert in_time(lambda: next(stage)) == 0
    assert any_stage_alive()
    gate.opened.set()
    assert in_time(lambda: list(stage)) == [1]
    assert stage.close(TIME_LIMIT)
    assert not any_stage_alive()
    other.join()


def test_an_interrupt_that_python_dropped_is_raised_at_the_next_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "interrupt_event", threading.Event())
    stage = Prefetch(iter(range(9)), lambda item: item, lambda _: 1)
    assert next(stage) == 0
    with contextlib.suppress(KeyboardInterrupt):  # as Python does in a __del__
        streams.on_interrupt()
    with pytest.raises(KeyboardInterrupt):
        next(stage)
    assert stage.close()


def test_other_threads_do_not_get_the_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "interrupt_event", threading.Event())
    streams.interrupt_event.set()
    inner = Prefetch(iter(range(3)), lambda item: item, lambda _: 1)
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(inner))
    thread.start()
    thread.join(30)
    assert found == [0, 1, 2]
    assert inner.close()


@pytest.mark.parametrize("started", [0, 1, 2])
def test_an_interrupt_between_the_starts_of_threads_is_raised(started: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = threading.Thread.start, iter(range(started))

    def start(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    stage = Prefetch(iter(range(9)), same, one, threads=3)
    with pytest.raises(KeyboardInterrupt):
        list(take_and_close([stage], stage))
    assert stage.close()
