"""The only loop over work: read, infer and write overlap in bounded queues."""

import contextlib
import hashlib
import json
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dacli import __version__, files, pictures, png, render
from dacli.errors import DacliError
from dacli.jobs import RECORD_KEYWORD, Job, present, shown
from dacli.predictor import Prediction, Predictor

T = TypeVar("T")
Made = TypeVar("Made")
AHEAD = 128 << 20  # bytes that a stage may lie ahead of the next one


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


def run(jobs: Iterable[Job], predictor: Predictor, task: Task) -> Generator[Work, None, None]:
    """Every job, done or with its error, in order; a failed one never stops the others."""

    def weigh(work: Work) -> int:
        return work.bytes

    reading = prefetch((read(job, predictor, task) for job in jobs), weigh)
    inferring = prefetch(each(reading, lambda work: infer(work, predictor)), weigh)
    yield from each(inferring, lambda work: write(work, predictor, task))


def each(items: Iterator[T], make: Callable[[T], Made]) -> Generator[Made, None, None]:
    """What `make` makes of each item; however it ends, the items are closed at once and not when memory is tidied."""
    try:
        for item in items:
            yield make(item)
    finally:
        close(items)


def close(items: Iterator[T]) -> None:
    if ending := getattr(items, "close", None):
        ending()


@contextmanager
def own_fault(work: Work) -> Iterator[None]:
    """Keep what goes wrong with one picture as its error, in one line with its name, so that the others go on."""
    name = shown(work.job.source)
    try:
        yield
    except DacliError as error:
        message = error.message if name in error.message else f"{name}: {error.message}"
        work.error = DacliError(message, error.hint)
    except MemoryError:
        work.error = DacliError(f"{name}: not enough memory", "make the picture smaller, or save fewer kinds at once")
    except Exception as error:
        if os.environ.get("DACLI_DEBUG") == "1":
            raise
        fault = f"{name}: {type(error).__name__}: {error}"
        work.error = DacliError(fault, "this is a fault of dacli's; DACLI_DEBUG=1 shows where")


def read(job: Job, predictor: Predictor, task: Task) -> Work:
    work = Work(job)
    with own_fault(work):
        work.settings = fingerprint(job, predictor, task)
        work.made = None if task.overwrite else already_made(work)
        work.kept = work.made is not None
        if not work.kept:
            work.rgb = pictures.read(job.source, task.max_pixels)
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
    """What the outputs say if all are there, made from this source with these settings.

    PNGs carry a record; an .npy cannot, so the PNGs beside it know its checksum. Raises DacliError for a PNG that dacli
    did not make, or made from a picture of another name.
    """
    outputs = work.job.outputs
    known = [record_in(path, work.job) for path in outputs.values() if path.suffix == ".png" and path.exists()]
    if not known or not present(work.job):
        return None
    wanted = settings_with(work.settings, checksum_in(outputs["npy"])) if "npy" in outputs else work.settings
    return known[0] if all(f"{record.settings}+".startswith(f"{wanted}+") for record in known) else None


def record_in(path: Path, job: Job) -> render.Record:
    name = shown(path)
    try:
        record = render.parse_record(png.text(files.contents(path), name)[RECORD_KEYWORD], name)
    except (DacliError, KeyError):
        fault = f"{name} is there and is no whole picture that dacli made"
        raise DacliError(fault, "move it away, or replace it with --overwrite") from None
    if record.source != recorded_name(job):
        fault = f"{name} is there and was made from {shown(Path(record.source))}"
        raise DacliError(fault, "choose another folder with -o, or replace it with --overwrite")
    return record


def recorded_name(job: Job) -> str:
    return job.source.name.encode("utf-8", "backslashreplace").decode()


def settings_with(settings: str, checksum: int | None) -> str:
    """Settings as a picture beside an .npy records them: with the checksum of the depth in it."""
    return settings if checksum is None else f"{settings}+{checksum:08x}"


def checksum_in(path: Path) -> int:
    """The checksum of the depth in an .npy; -1, which none has, if it holds none."""
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
        return zlib.crc32(np.ascontiguousarray(np.load(path)).data)
    return -1


def infer(work: Work, predictor: Predictor) -> Work:
    if work.rgb is None:
        return work
    begun = time.perf_counter()
    with own_fault(work):
        (work.prediction,) = predictor.predict([work.rgb])
    work.seconds = time.perf_counter() - begun
    if "side" not in work.job.outputs:
        work.rgb = None
    return work


def write(work: Work, predictor: Predictor, task: Task) -> Work:
    """Write all outputs of a picture, each whole; those written stay when a later one fails."""
    if work.prediction is not None:
        with own_fault(work):
            work.made = describe(work, work.prediction, predictor.quantity, task)
            for kind, path in work.job.outputs.items():
                files.write(path, encode(kind, work.rgb, work.prediction.depth, work.made, task.style))
    work.rgb = None
    return work


def describe(work: Work, prediction: Prediction, quantity: render.Quantity, task: Task) -> render.Record:
    """What the outputs say about themselves, without the scale of each."""
    depth, near = prediction.depth, task.style.near
    low, high = render.limits(depth, task.style.range)
    checksum = zlib.crc32(np.ascontiguousarray(depth).data) if "npy" in work.job.outputs else None
    return render.Record(
        low, high, near, "steps", quantity, low, high, task.encoder, task.model, prediction.network_size,
        (depth.shape[0], depth.shape[1]), __version__, recorded_name(work.job), settings_with(work.settings, checksum),
    )  # fmt: skip


def encode(
    kind: str, rgb: NDArray[np.uint8 | np.uint16] | None, depth: render.Depth, made: render.Record, style: Style
) -> bytes:
    """The file of one kind of output; only side needs the picture itself."""
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
    return png.encode(colored if rgb is None or kind == "color" else render.side(rgb, colored), text)


class Shelf(Generic[T]):
    """A queue between two threads, bounded by the weight of what lies in it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: deque[tuple[T, int]] = deque()
        self.weight = 0
        self.closed = False
        self.finished = False
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
            self.finished, self.error = True, error
            self.changed.notify_all()

    def take(self) -> Iterator[T]:
        """The items in order, until the giver has finished."""
        while True:
            with self.changed:
                while not self.changed.wait_for(lambda: self.items or self.finished, timeout=1):
                    pass  # on Windows Ctrl-C is only heard between waits
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
            self.items.clear()
            self.changed.notify_all()


def prefetch(items: Iterator[T], weigh: Callable[[T], int], limit: int = AHEAD) -> Generator[T, None, None]:
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
        try:
            for item in items:
                if not shelf.put(item, weigh(item)):
                    break
        finally:
            close(items)
    except BaseException as caught:  # noqa: BLE001 - it is raised again in the thread that takes the items
        error = caught
    shelf.finish(error)
