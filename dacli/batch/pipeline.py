"""The only loop over work: read, infer and write overlap in bounded queues."""

import queue
import time
import zlib
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dacli import __version__, types
from dacli.batch.jobs import Job
from dacli.batch.journal import Entry
from dacli.batch.settings import (
    Made,
    Style,
    Task,
    entry,
    fingerprint,
    identity,
    in_journal,
    recorded,
    recorded_name,
    settings_with,
)
from dacli.errors import DacliError, StopError, unforeseen
from dacli.inference.device import cores
from dacli.inference.predictor import Predictor, Prepared, Raw
from dacli.io import files, images, png, records
from dacli.outputs import drawing
from dacli.paths import display_path
from dacli.prefetch import AHEAD, Prefetch, taking

WINDOW = 4  # batches that may be gathered at once: more find more pictures of one size, and hold more memory


@dataclass
class Work:
    """One picture on its way through the stages; `error` ends it, `kept` says that its outputs were there already.

    `reading`, `network` and `writing` are seconds; `note` says what had to be done otherwise.
    """

    job: Job
    index: int = 0
    source: tuple[int, int] = (-1, -1)
    settings: str = ""
    rgb: NDArray[np.uint8 | np.uint16] | None = None
    prepared: Prepared | None = None
    raw: Raw | None = None
    made: Made | None = None
    tiles: int = 0
    precision: str = ""
    note: str = ""
    reading: float = 0.0
    network: float = 0.0
    writing: float = 0.0
    error: DacliError | None = None
    kept: bool = False

    @property
    def bytes(self) -> int:
        """What it holds in memory."""
        return sum(each.nbytes for each in (self.rgb, self.prepared, self.raw) if each is not None)


def run(jobs: Iterable[Job], predictors: Sequence[Predictor], task: Task) -> Generator[Work, None, None]:
    """Every job, done or with its error, in order; a failed one never stops the others.

    Each predictor, one for each device, has a thread of its own; what they share are the network's weights and nothing
    else. Raises StopError when no job can succeed any more.
    """
    helpers = max(1, min(8, cores() // 2))
    free: queue.SimpleQueue[Predictor] = queue.SimpleQueue()
    for predictor in predictors:
        free.put(predictor)
    first = predictors[0]
    kept, todo = sort_out(jobs, task)
    ahead = AHEAD * max(each.batch for each in predictors)
    reading = Prefetch(todo, lambda pair: read(*pair, first, task), weight, helpers, ahead)
    gathered = batches(reading, lambda: min(each.batch for each in predictors))
    inferring = Prefetch(gathered, lambda works: infer(works, free), weight_of_all, len(predictors))
    writing = Prefetch(each_of(inferring), lambda work: write(work, first, task), weight, helpers)
    yield from taking([writing, inferring, reading], note_down(in_order(writing, kept), task))


def weight(work: Work) -> int:
    return work.bytes


def weight_of_all(works: Iterable[Work]) -> int:
    return sum(map(weight, works))


def each_of(groups: Iterable[list[Work]]) -> Iterator[Work]:
    for group in groups:
        yield from group


def batches(works: Iterable[Work], count: Callable[[], int]) -> Iterator[list[Work]]:
    """Works in groups of one network size, `count()` at most; what has nothing for the network goes alone."""
    waiting: dict[Hashable, list[Work]] = {}
    for work in works:
        if work.prepared is None:
            yield [work]
            continue
        group = waiting.setdefault(work.prepared.size, [])
        group.append(work)
        if len(group) >= count():
            yield waiting.pop(work.prepared.size)
        held = [each for group in waiting.values() for each in group]
        if len(held) >= WINDOW * count() or weight_of_all(held) > AHEAD * count():
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def sort_out(jobs: Iterable[Job], task: Task) -> tuple[dict[int, Work], Iterable[tuple[int, Job]]]:
    """What the journal knows to be done, by index, and the rest: stages would cost more time than the looking up."""
    if task.overwrite or task.journal is None:
        return {}, enumerate(jobs)
    kept: dict[int, Work] = {}
    todo = []
    for index, job in enumerate(jobs):
        if made := in_journal(job, task):
            kept[index] = Work(job, index, made=made, kept=True)
        else:
            todo.append((index, job))
    return kept, todo


def in_order(works: Iterable[Work], early: dict[int, Work]) -> Iterator[Work]:
    """Works by their index; those that batches let overtake wait here, when they hold no picture any more."""
    wanted = 0
    for work in chain([None], works):
        if work is not None:
            early[work.index] = work
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1


def note_down(works: Iterable[Work], task: Task) -> Iterator[Work]:
    """The same works, each told to the journal first."""
    for work in works:
        if task.journal is not None and not work.kept:
            name, source = work.job.name, work.source
            if work.error is not None:
                task.journal.add(Entry(name, *source, work.settings, str(work.error)))
            elif work.made is not None:
                task.journal.add(entry(work.job, source, work.settings, work.made))
        yield work


@contextmanager
def own_fault(work: Work) -> Iterator[None]:
    """Keep what goes wrong with one picture as its error, in one line with its name, so that the others go on."""
    name = display_path(work.job.source)
    try:
        yield
    except StopError:
        raise
    except DacliError as error:
        message = error.message if name in error.message else f"{name}: {error.message}"
        work.error = DacliError(message, error.hint)
    except MemoryError:
        work.error = DacliError(f"{name}: not enough memory", "make the picture smaller, or save fewer kinds at once")
    except Exception as error:  # noqa: BLE001 - it is told, or raised for who looks for it
        work.error = unforeseen(error, name)


def read(index: int, job: Job, predictor: Predictor, task: Task) -> Work:
    """The picture as the network sees it, unless its outputs are there; the picture itself too if they show it."""
    begun = time.perf_counter()
    work = Work(job, index)
    with own_fault(work):
        work.source = identity(job.source)
        work.settings = fingerprint(work.source, task)
        work.made = None if task.overwrite else recorded(job, work.settings)
        work.kept = work.made is not None
        if not work.kept:
            rgb = images.read(job.source, task.max_pixels)
            work.prepared = predictor.prepare(rgb)
            work.rgb = rgb if "side" in job.suffixes else None
    work.reading = time.perf_counter() - begun
    return work


def infer(works: list[Work], free: "queue.SimpleQueue[Predictor]") -> list[Work]:
    """The network's answer to a batch; if the batch fails, to each picture by itself."""
    if works[0].prepared is None:
        return works
    predictor = free.get()
    try:
        if len(works) == 1 or not together(works, predictor):
            for work in works:
                with own_fault(work):
                    alone(work, predictor)
    finally:
        free.put(predictor)
    for work in works:
        work.prepared = None
    return works


def together(works: list[Work], predictor: Predictor) -> bool:
    begun = time.perf_counter()
    try:
        raws = predictor.forward([work.prepared for work in works if work.prepared is not None])
    except Exception:  # noqa: BLE001 - each picture then tells its own
        return False
    share = (time.perf_counter() - begun) / len(works)
    for work, raw in zip(works, raws, strict=True):
        work.raw, work.network = raw, share
    return True


def alone(work: Work, predictor: Predictor) -> None:
    begun = time.perf_counter()
    if work.prepared is not None:
        (work.raw,) = predictor.forward([work.prepared])
    work.network = time.perf_counter() - begun


def write(work: Work, predictor: Predictor, task: Task) -> Work:
    """Write all outputs of a picture, each whole; those written stay when a later one fails."""
    begun = time.perf_counter()
    if work.raw is not None:
        with own_fault(work):
            prediction = predictor.finish(work.raw)
            work.tiles, work.precision, work.note = prediction.tiles, prediction.precision, prediction.note
            record = describe(work, prediction.depth, prediction.network_size, task)
            for kind, path in work.job.outputs.items():
                data = encode(kind, work.rgb, prediction.depth, record, task.style)
                files.write(path, data, below=task.out, mark="" if task.journal is None else task.journal.mark)
            work.made = Made(prediction.network_size, (record.low, record.high))
    work.rgb = work.raw = None
    work.writing = time.perf_counter() - begun
    return work


def describe(work: Work, depth: types.DepthArray, network_size: tuple[int, int], task: Task) -> records.Record:
    """What the outputs say about themselves, without the scale of each."""
    low, high = drawing.limits(depth, task.style.range)
    checksum = zlib.crc32(np.ascontiguousarray(depth).data) if "npy" in work.job.suffixes else None
    return records.Record(
        low, high, task.style.near, "steps", task.quantity, low, high, task.encoder, task.model, network_size,
        (depth.shape[0], depth.shape[1]), __version__, recorded_name(work.job), settings_with(work.settings, checksum),
    )  # fmt: skip


def half(depth: types.DepthArray) -> NDArray[np.float16]:
    """The depth in half the bytes; raises DacliError where float16 has no such numbers."""
    if depth.max() > np.finfo(np.float16).max:
        raise DacliError(f"its depth reaches {depth.max():g}, beyond float16", "choose another network")
    return depth.astype(np.float16)


def encode(
    kind: str, rgb: NDArray[np.uint8 | np.uint16] | None, depth: types.DepthArray, made: records.Record, style: Style
) -> bytes:
    """The file of one kind of output; only side needs the picture itself."""
    if kind == "npy":
        return images.npy(depth)
    if kind == "half":
        return images.npy(half(depth))
    low, high, quantity = made.low, made.high, made.quantity
    scale = records.scale16(low, high, quantity, style.near, auto=kind == "png16" and style.range == drawing.AUTO)
    text = replace(made, black=scale.black, white=scale.white, near=scale.near, unit=scale.unit).text()
    if kind == "gray":
        return png.encode(drawing.gray(depth, low, high, quantity, style.near), text)
    if kind == "png16":
        return png.encode(scale.encode(depth), text)
    colored = drawing.color(depth, low, high, quantity, style.colormap)
    return png.encode(colored if rgb is None or kind == "color" else drawing.side(rgb, colored), text)
