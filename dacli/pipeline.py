"""The only loop over work: read, infer and write overlap in bounded queues."""

import contextlib
import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dacli import __version__, pictures, png, render
from dacli.errors import DacliError
from dacli.jobs import RECORD_KEYWORD, Job, present, shown
from dacli.predictor import Prediction, Predictor

T = TypeVar("T")
AHEAD = 256 << 20  # bytes that a stage may lie ahead of the next one


@dataclass(frozen=True)
class Style:
    """How depth is shown: colormap, which end of gray is near, what maps to black and white."""

    colormap: str = "Spectral_r"
    near: render.Near = "white"
    range: render.Range = render.AUTO


@dataclass(frozen=True)
class Task:
    """What every picture of a run has in common; `weights` identifies the file, by name and SHA-256 or size."""

    encoder: str
    model: str
    weights: str
    style: Style
    max_pixels: int
    overwrite: bool


@dataclass
class Work:
    """One picture on its way through the stages; `error` ends it, `kept` says that its outputs were there already.

    `made` is what the outputs say about themselves, without the scale of each.
    """

    job: Job
    settings: str = ""
    rgb: NDArray[np.uint8 | np.uint16] | None = None
    prediction: Prediction | None = None
    seconds: float = 0.0
    made: render.Record | None = None
    error: DacliError | None = None
    kept: bool = False

    @property
    def bytes(self) -> int:
        """What it holds in memory."""
        depth = 0 if self.prediction is None else self.prediction.depth.nbytes
        return depth + (0 if self.rgb is None else self.rgb.nbytes)


def run(jobs: Iterable[Job], predictor: Predictor, task: Task) -> Iterator[Work]:
    """Every job, done or with its error, in order; a failed one never stops the others."""
    reading = prefetch((read(job, predictor, task) for job in jobs), lambda work: work.bytes)
    inferring = prefetch((infer(work, predictor) for work in reading), lambda work: work.bytes)
    return (write(work, predictor, task) for work in inferring)


def read(job: Job, predictor: Predictor, task: Task) -> Work:
    work = Work(job)
    try:
        work.settings = fingerprint(job, predictor, task)
        work.made = None if task.overwrite else already_made(work)
        work.kept = work.made is not None
        if not work.kept:
            work.rgb = pictures.read(job.source, task.max_pixels)
    except DacliError as error:
        work.error = error
    return work


def fingerprint(job: Job, predictor: Predictor, task: Task) -> str:
    """A short hash of all that decides the outputs' pixels: source, weights, size, precision, style, version."""
    source: tuple[int, int] | None = None
    with contextlib.suppress(OSError, ValueError):
        info = job.source.stat()
        source = (info.st_size, info.st_mtime_ns)
    plan = predictor.engine.plan
    parts = [source, task.encoder, task.model, task.weights, predictor.size, plan.precision, plan.engine, __version__]
    return hashlib.sha256(json.dumps([*parts, asdict(task.style)]).encode()).hexdigest()[:16]


def already_made(work: Work) -> render.Record | None:
    """What the outputs say if all are there, made from this source with these settings, as far as their PNGs tell.

    Raises DacliError for a PNG that dacli did not make.
    """
    known = [record_in(path) for path in work.job.outputs.values() if path.suffix == ".png" and path.exists()]
    same = present(work.job) and bool(known) and all(record.settings == work.settings for record in known)
    return known[0] if same else None


def record_in(path: Path) -> render.Record:
    name = shown(path)
    try:
        return render.parse_record(png.text(pictures.contents(path), name)[RECORD_KEYWORD], name)
    except (DacliError, KeyError):
        raise DacliError(
            f"{name} is there and was not made by dacli", "move it away, or replace it with --overwrite"
        ) from None


def infer(work: Work, predictor: Predictor) -> Work:
    if work.rgb is None:
        return work
    begun = time.perf_counter()
    try:
        (work.prediction,) = predictor.predict([work.rgb])
    except DacliError as error:
        work.error = DacliError(f"{shown(work.job.source)}: {error.message}", error.hint)
    work.seconds = time.perf_counter() - begun
    return work


def write(work: Work, predictor: Predictor, task: Task) -> Work:
    """Write all outputs of a picture, each whole; those written stay when a later one fails."""
    if work.prediction is None or work.rgb is None:
        return work
    depth = work.prediction.depth
    low, high = render.limits(depth, task.style.range)
    source = work.job.source.name.encode("utf-8", "backslashreplace").decode()
    work.made = render.Record(
        low, high, task.style.near, "steps", predictor.quantity, low, high, task.encoder, task.model,
        work.prediction.network_size, (depth.shape[0], depth.shape[1]), __version__, source, work.settings,
    )  # fmt: skip
    try:
        for kind, path in work.job.outputs.items():
            pictures.write(path, encode(kind, work.rgb, depth, work.made, task.style))
    except DacliError as error:
        work.error = error
    return work


def encode(
    kind: str, rgb: NDArray[np.uint8 | np.uint16], depth: render.Depth, made: render.Record, style: Style
) -> bytes:
    """The file of one kind of output."""
    if kind == "npy":
        return pictures.npy(depth)
    low, high, quantity = made.low, made.high, made.quantity
    scale = render.scale16(low, high, quantity, style.near, auto=kind == "png16" and style.range == render.AUTO)
    text = replace(made, black=scale.black, white=scale.white, near=scale.near, unit=scale.unit).text()
    if kind == "gray":
        return png.encode(render.gray(depth, low, high, quantity, style.near), text)
    if kind == "png16":
        return png.encode(scale.encode(depth), text)
    colored = render.color(depth, low, high, quantity, style.colormap)
    return png.encode(colored if kind == "color" else render.side(rgb, colored), text)


class Shelf(Generic[T]):
    """A queue between two threads, bounded by the weight of what lies in it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: deque[tuple[T, int]] = deque()
        self.weight = 0
        self.closed = False
        self.full = False
        self.error: BaseException | None = None
        self.changed = threading.Condition()

    def put(self, item: T, weight: int) -> bool:
        """Wait for room, then add the item; False if nobody will take it any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or not self.items or self.weight + weight <= self.limit)
            if self.closed:
                return False
            self.items.append((item, weight))
            self.weight += weight
            self.changed.notify_all()
            return True

    def finish(self, error: BaseException | None = None) -> None:
        """No item will follow; `error`, if any, is what the taker gets at the end."""
        with self.changed:
            self.full, self.error = True, error
            self.changed.notify_all()

    def take(self) -> Iterator[T]:
        """The items in order, until the giver has finished."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.items or self.full)
                if not self.items:
                    break
                item, weight = self.items.popleft()
                self.weight -= weight
                self.changed.notify_all()
            yield item
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Nobody will take any more."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()


def prefetch(items: Iterator[T], weigh: Callable[[T], int], limit: int = AHEAD) -> Iterator[T]:
    """The same items in the same order, made ahead by a thread, at most `limit` bytes of them (or one) waiting.

    An exception on either side ends both: the items' is raised here once those before it are taken; leaving early
    stops the thread and closes the items.
    """
    shelf: Shelf[T] = Shelf(limit)
    thread = threading.Thread(target=fill, args=(shelf, items, weigh), daemon=True)
    thread.start()
    try:
        yield from shelf.take()
    finally:
        shelf.close()
        thread.join()


def fill(shelf: Shelf[T], items: Iterator[T], weigh: Callable[[T], int]) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not shelf.put(item, weigh(item)):
                break
    except BaseException as caught:  # noqa: BLE001 - it is raised again in the thread that takes the items
        error = caught
    finally:
        if close := getattr(items, "close", None):
            close()
        shelf.finish(error)
