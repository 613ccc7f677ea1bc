"""The one runner of stages, for pictures and for frames: read → infer → (temporal) → write, in bounded queues."""

import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from dacli.batch.outcomes import NO_SECONDS, StageSeconds
from dacli.callbacks import TileProgress, ignore_progress
from dacli.inference.device import usable_cores
from dacli.inference.predictor import Predictor, PreparedImage, RawDepth
from dacli.prefetch import BYTES_AHEAD, Prefetch, take_and_close
from dacli.types import ImageArray, PixelMask

GATHERED_BATCHES = 4  # batches that may wait to be full: with more of them, batches are fuller and take more memory

StageItem = TypeVar("StageItem")
About = TypeVar("About")


class Sized(Protocol):
    """A value that waits between two stages, with the bytes that it holds."""

    @property
    def nbytes(self) -> int: ...


StageResult = TypeVar("StageResult", bound=Sized)


@dataclass(frozen=True)
class Loaded(Generic[About]):
    """An input as the network takes it; `about` says which one it is, `image` is the picture where it is shown.

    `transparent` [H, W] marks the pixels that get no depth, if there are any.
    """

    about: About
    prepared: PreparedImage
    image: ImageArray | None = None
    transparent: PixelMask | None = None
    seconds: StageSeconds = NO_SECONDS

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds."""
        return self.prepared.nbytes + _bytes_of(self.image) + _bytes_of(self.transparent)


@dataclass(frozen=True)
class Predicted(Generic[About]):
    """The network's depth of an input, at the network's size."""

    about: About
    raw: RawDepth
    image: ImageArray | None = None
    transparent: PixelMask | None = None
    seconds: StageSeconds = NO_SECONDS

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds."""
        return self.raw.nbytes + _bytes_of(self.image) + _bytes_of(self.transparent)


def _bytes_of(pixels: ImageArray | PixelMask | None) -> int:
    return 0 if pixels is None else pixels.nbytes


@dataclass(frozen=True)
class Stages(Generic[StageItem, About, StageResult]):
    """The stages of one kind of run.

    `read` returns an input as the network takes it, or its result if nothing more has to be done. `write` returns the
    result of a prediction. `fail` returns the result of an input whose pass through the network failed; without it the
    error ends the run. `temporal` takes all that leaves the network stage, in order, before `write`.
    """

    read: Callable[[StageItem], Loaded[About] | StageResult]
    write: Callable[[Predicted[About]], StageResult]
    fail: Callable[[Loaded[About], Exception], StageResult] | None = None
    temporal: Callable[[Iterator[Any]], Iterator[Any]] = iter


def run_stages(
    items: Iterable[StageItem],
    stages: Stages[StageItem, About, StageResult],
    predictor: Predictor,
    progress: TileProgress = ignore_progress,
) -> Generator[StageResult, None, None]:
    """Yield the result of every item; inputs of one network size may overtake others of another size.

    An error of a stage ends the run, and is raised here after the results before it. Closing the generator ends all
    threads.
    `progress(done, of)` is called after every tile of a picture.
    """
    threads = max(1, min(8, usable_cores() // 2))
    byte_limit = BYTES_AHEAD * predictor.batch_size

    def infer_together(group: list[Any]) -> list[Any]:
        return infer_group(group, predictor, stages.fail, progress)

    def write(value: Any) -> Any:
        return timed_write(value, stages.write) if isinstance(value, Predicted) else value

    reading = Prefetch(items, lambda item: timed_read(item, stages.read), held_bytes, threads, byte_limit)
    groups = gather_groups(reading, lambda: predictor.batch_size)
    inferring = Prefetch(groups, infer_together, held_bytes_of_all, predictor.concurrency)
    writing = Prefetch(stages.temporal(flatten(inferring)), write, held_bytes, threads)
    yield from take_and_close([writing, inferring, reading], writing)


def held_bytes(value: Sized) -> int:
    return value.nbytes


def held_bytes_of_all(values: Iterable[Sized]) -> int:
    return sum(map(held_bytes, values))


def flatten(groups: Iterable[list[Any]]) -> Iterator[Any]:
    for group in groups:
        yield from group


def gather_groups(values: Iterable[Any], batch_size: Callable[[], int]) -> Iterator[list[Any]]:
    """Yield groups of inputs of one network size, at most `batch_size()` together; results pass alone.

    `batch_size` is called each time, since the batch shrinks where memory runs short.
    """
    waiting: dict[Hashable, list[Any]] = {}
    for value in values:
        if not isinstance(value, Loaded):
            yield [value]
            continue
        group = waiting.setdefault(value.prepared.size, [])
        group.append(value)
        if len(group) >= batch_size():
            yield waiting.pop(value.prepared.size)
        gathered = [loaded for group in waiting.values() for loaded in group]
        if len(gathered) >= GATHERED_BATCHES * batch_size() or held_bytes_of_all(gathered) > BYTES_AHEAD * batch_size():
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def infer_group(
    group: Sequence[Any],
    predictor: Predictor,
    fail: Callable[[Any, Exception], Any] | None,
    progress: TileProgress = ignore_progress,
) -> list[Any]:
    """Return the predictions for a group; if the group fails, those for each input by itself."""
    if not isinstance(group[0], Loaded):
        return list(group)
    started = time.perf_counter()
    try:
        raws = predictor.infer([loaded.prepared for loaded in group], progress)
    except Exception as error:
        if fail is None:
            raise
        if len(group) == 1:
            return [fail(group[0], error)]
        return [result for loaded in group for result in infer_group([loaded], predictor, fail, progress)]
    share = (time.perf_counter() - started) / len(group)
    return [
        Predicted(loaded.about, raw, loaded.image, loaded.transparent, loaded.seconds._replace(network=share))
        for loaded, raw in zip(group, raws, strict=True)
    ]


def timed_read(item: StageItem, read: Callable[[StageItem], Any]) -> Any:
    started = time.perf_counter()
    value = read(item)
    return replace(value, seconds=value.seconds._replace(reading=time.perf_counter() - started))


def timed_write(value: Predicted[About], write: Callable[[Predicted[About]], Any]) -> Any:
    started = time.perf_counter()
    result = write(value)
    return replace(result, seconds=value.seconds._replace(writing=time.perf_counter() - started))
