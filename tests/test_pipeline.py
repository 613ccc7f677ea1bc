"""The loop over work: every way a stream can end, one fault among good pictures, and what counts as done."""

import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dacli import files, jobs, pictures, pipeline, png, render
from dacli.device import Plan
from dacli.errors import DacliError
from dacli.jobs import RECORD_KEYWORD
from dacli.pipeline import Style, Task, Work, prefetch
from dacli.predictor import Prediction

PATIENCE = 20.0  # seconds after which a test calls something hung


class FaultError(Exception):
    """What a stage of these tests raises."""


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before


def in_time(action: Callable[[], Any]) -> Any:
    """What the action returns or raises; a failed test, and not a hung one, if it takes too long."""
    found: list[Any] = []

    def act() -> None:
        try:
            found.append((action(), None))
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt is one of the endings
            found.append((None, error))

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "it hangs"
    result, error = found[0]
    if error is not None:
        raise error
    return result


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


def ahead(source: Source, limit: int = 3) -> Generator[int, None, None]:
    return prefetch(iter(source), lambda _: 1, limit)


def chained(source: Source, model: Callable[[int], int], limit: int = 3) -> Generator[int, None, None]:
    """Read → infer as run() chains them; the caller writes."""
    return prefetch(pipeline.each(ahead(source, limit), model), lambda _: 1, limit)


def test_normal_ending_gives_every_item_once_in_order() -> None:
    source = Source(100)
    assert in_time(lambda: list(chained(source, lambda number: 10 * number))) == list(range(0, 1000, 10))
    assert source.closed


def test_no_items_are_an_ending_too() -> None:
    assert in_time(lambda: list(chained(Source(0), lambda number: number))) == []


def test_slow_writer_gets_all_in_order_and_never_more_than_the_limit_lies_ahead() -> None:
    source = Source(12)

    def take() -> list[int]:
        taken = []
        for number in ahead(source, limit=3):
            taken.append(number)
            furthest = min(12, len(taken) + 3 + 1)  # three wait, one is in the reader's hands
            while len(source.made) < furthest:
                time.sleep(0.001)
            time.sleep(0.005)
            assert len(source.made) == furthest
        return taken

    assert in_time(take) == list(range(12))


def test_reader_fails_after_its_good_items() -> None:
    fault = FaultError("reader")
    taken: list[int] = []
    with pytest.raises(FaultError) as caught:
        in_time(lambda: taken.extend(chained(Source(4, fault), lambda number: number)))
    assert caught.value is fault


def test_items_before_the_readers_failure_arrive() -> None:
    taken = []

    def take() -> None:
        for number in ahead(Source(4, FaultError())):
            taken.append(number)

    with pytest.raises(FaultError):
        in_time(take)
    assert taken == [0, 1, 2, 3]


def test_model_fails_and_the_reader_is_stopped_at_once() -> None:
    fault, source = FaultError("model"), Source(10_000)

    def model(number: int) -> int:
        if number == 3:
            raise fault
        return number

    with pytest.raises(FaultError) as caught:
        in_time(lambda: list(chained(source, model)))
    assert caught.value is fault
    assert source.closed  # although the traceback still holds every frame
    assert len(source.made) < 20


@pytest.mark.parametrize("fault", [FaultError("writer"), KeyboardInterrupt(), SystemExit(3)])
def test_writer_fails_or_is_interrupted(fault: BaseException) -> None:
    source = Source(10_000)

    def write() -> None:
        stream = chained(source, lambda number: number)
        with contextlib.closing(pipeline.each(stream, lambda number: number)) as numbers:
            for number in numbers:
                if number == 3:
                    raise fault

    with pytest.raises(type(fault)) as caught:
        in_time(write)
    assert caught.value is fault
    assert source.closed
    assert len(source.made) < 20


def test_interrupt_in_the_reader_reaches_the_writer() -> None:
    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: list(chained(Source(2, KeyboardInterrupt()), lambda number: number)))


def test_interrupt_of_a_waiting_writer_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives where the main thread mostly is: waiting for the next item."""
    release = threading.Event()

    def slow() -> Iterator[int]:
        yield 0
        release.wait(PATIENCE)
        yield 1

    def wait_for(self: threading.Condition, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        if timeout is not None and not predicate():
            release.set()
            raise KeyboardInterrupt
        return original(self, predicate, timeout)

    original = threading.Condition.wait_for
    monkeypatch.setattr(threading.Condition, "wait_for", wait_for)
    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: list(prefetch(slow(), lambda _: 1)))


def test_early_break_stops_the_reader_and_closes_it() -> None:
    source = Source(10_000)

    def take() -> int:
        with contextlib.closing(chained(source, lambda number: number)) as numbers:
            return next(number for number in numbers if number == 5)

    assert in_time(take) == 5
    assert source.closed
    assert len(source.made) < 25


def test_a_stream_that_nobody_takes_from_starts_nothing() -> None:
    source = Source()
    stream = chained(source, lambda number: number)
    stream.close()
    assert source.made == []


def test_a_reader_that_fails_while_it_is_closed_does_not_hang() -> None:
    def sore() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            raise FaultError("closing")

    def take() -> None:
        with contextlib.closing(prefetch(sore(), lambda _: 1, 2)) as numbers:
            next(numbers)

    in_time(take)
    with pytest.raises(FaultError, match="closing"):
        in_time(lambda: list(prefetch(sore(), lambda _: 1)))


def test_a_fault_in_weighing_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_time(lambda: list(prefetch(iter([1, 0, 2]), lambda number: 1 // number)))


def test_items_need_not_come_from_a_generator() -> None:
    assert in_time(lambda: list(prefetch(iter([3, 1, 2]), lambda _: 1))) == [3, 1, 2]


@pytest.mark.parametrize("weights", [[4, 4, 4, 4], [1] * 30, [25, 1, 25, 1, 1, 25], [10, 1, 9, 5, 5, 5], [0] * 9])
def test_bytes_that_wait_stay_within_the_limit_except_for_one_item_alone(weights: list[int]) -> None:
    shelf: pipeline.Shelf[int] = pipeline.Shelf(10)
    waiting: list[tuple[int, int]] = []

    def take() -> list[int]:
        worker = threading.Thread(target=pipeline.fill, args=(shelf, iter(weights), lambda weight: weight))
        worker.start()
        taken = []
        for weight in shelf.take():
            time.sleep(0.002)
            with shelf.changed:
                assert shelf.weight == sum(each for _, each in shelf.items)
                waiting.append((shelf.weight, len(shelf.items)))
            taken.append(weight)
        worker.join()
        return taken

    assert in_time(take) == weights
    assert all(weight <= 10 or count == 1 for weight, count in waiting)


# --- pictures through run() ---


@dataclass(frozen=True)
class StubEngine:
    plan: Plan = Plan("cpu", "torch", "fp32", False, "")  # noqa: RUF009, FBT003 - it is frozen


@dataclass
class Model:
    """A predictor whose depth is the red channel plus 1, times `scale`; it fails where the first pixel says so."""

    size: int = 28
    quantity: render.Quantity = "inverse depth"
    engine: StubEngine = field(default_factory=StubEngine)
    faults: dict[int, Exception] = field(default_factory=dict)
    scale: float = 1.0
    seen: int = 0

    def predict(self, batch: list[NDArray[np.uint8]]) -> list[Prediction]:
        self.seen += len(batch)
        for rgb in batch:
            if fault := self.faults.get(int(rgb[0, 0, 2])):
                raise fault
        return [
            Prediction((rgb[..., 0] + np.float32(1)) * np.float32(self.scale), (28, 42), 0, "fp32") for rgb in batch
        ]


TASK = Task("tiny", "v2", "tiny.safetensors 1", Style(), 10**6, overwrite=False)
ALL = ("color", "gray", "png16", "npy", "side")


def photo(path: Path, mark: int = 0, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    pixels[0, 0] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png.encode(pixels))
    return path


def run(sources: list[Path], kinds: tuple[str, ...] = ("color",), task: Task = TASK, model: Any = None) -> list[Work]:
    model = Model() if model is None else model
    work = jobs.plan(sources, None, kinds)
    return list(in_time(lambda: list(pipeline.run(work, model, task))))


def errors(works: list[Work]) -> list[str]:
    return [str(work.error or "") for work in works]


def stamps(works: list[Work]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for work in works for path in work.job.outputs.values()}


def test_every_kind_comes_out_of_one_pass(tmp_path: Path) -> None:
    model = Model()
    (work,) = run([photo(tmp_path / "a.png")], ALL, model=model)
    assert work.error is None
    assert model.seen == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["a.png", "a_color.png", "a_gray.png", "a_depth16.png", "a_depth.npy", "a_side.png"]
    )
    depth = np.load(tmp_path / "a_depth.npy")
    assert np.array_equal(depth, pictures.read(tmp_path / "a.png")[..., 0].astype(np.float32) + 1)
    assert work.made is not None
    assert (work.made.low, work.made.high) == (depth.min(), depth.max())


def test_side_has_the_picture_and_color_beside_each_other(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("side", "color"))
    side = pictures.read(tmp_path / "a_side.png")
    assert np.array_equal(side[:, :30], pictures.read(source))
    assert np.array_equal(side[:, 30:], pictures.read(tmp_path / "a_color.png"))


def test_pictures_are_let_go_as_soon_as_nothing_needs_them(tmp_path: Path) -> None:
    model: Any = Model()
    (job,) = jobs.plan([photo(tmp_path / "a.png")], None, ("color",))
    work = pipeline.read(job, model, TASK)
    assert work.bytes == 20 * 30 * 3
    assert pipeline.infer(work, model).bytes == 20 * 30 * 4
    (job,) = jobs.plan([tmp_path / "a.png"], None, ("side",))
    work = pipeline.infer(pipeline.read(job, model, TASK), model)
    assert work.bytes == 20 * 30 * (3 + 4)
    assert pipeline.write(work, model, TASK).rgb is None


def test_bad_files_among_good_ones_are_named_and_the_others_done_in_order(tmp_path: Path) -> None:
    sources = [photo(tmp_path / f"{name}.png", seed=seed) for seed, name in enumerate("abcde")]
    sources[1].write_bytes(sources[1].read_bytes()[:-2])
    sources[3].unlink()
    works = run(sources)
    assert [work.job.source for work in works] == sources
    assert [work.error is None for work in works] == [True, False, True, False, True]
    assert "b.png is truncated" in errors(works)[1]
    assert "d.png does not exist" in errors(works)[3]
    assert sorted(path.name for path in tmp_path.glob("*_color.png")) == ["a_color.png", "c_color.png", "e_color.png"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            DacliError("not enough memory on cpu", "try a smaller --size"),
            "not enough memory on cpu: try a smaller --size",
        ),
        (MemoryError(), "not enough memory: make the picture smaller"),
        (ValueError("odd\nshape"), "ValueError: odd shape: this is a fault of dacli's"),
        (RuntimeError("CUDA error"), "RuntimeError: CUDA error"),
    ],
)
def test_a_fault_of_the_model_costs_only_its_picture(tmp_path: Path, fault: Exception, said: str) -> None:
    sources = [photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2), photo(tmp_path / "c.png", 3)]
    works = run(sources, model=Model(faults={2: fault}))
    assert [work.error is None for work in works] == [True, False, True]
    assert errors(works)[1].startswith(f"{sources[1]}: ")
    assert said in errors(works)[1]
    assert not (tmp_path / "b_color.png").exists()


def test_a_fault_that_is_dacli_s_own_is_shown_whole_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DACLI_DEBUG", "1")
    fault = ValueError("odd shape")
    with pytest.raises(ValueError, match="odd shape") as caught:
        run([photo(tmp_path / "a.png", 1)], model=Model(faults={1: fault}))
    assert caught.value is fault


def test_leaving_a_run_early_leaves_no_thread_and_no_half_file(tmp_path: Path) -> None:
    sources = [photo(tmp_path / f"{number}.png", seed=number) for number in range(30)]
    model: Any = Model()
    works = pipeline.run(jobs.plan(sources, None, ("color",)), model, TASK)
    in_time(lambda: next(works))
    in_time(works.close)
    assert [path.name for path in tmp_path.iterdir() if path not in sources] == ["0_color.png"]


def test_an_interrupt_in_writing_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write", write)
    with pytest.raises(KeyboardInterrupt):
        run([photo(tmp_path / f"{number}.png") for number in range(5)])


# --- what counts as done ---


def test_a_second_run_with_the_same_settings_keeps_all(tmp_path: Path) -> None:
    sources = [photo(tmp_path / "a.png"), photo(tmp_path / "b.png", seed=1)]
    first = run(sources, ALL)
    before, model = stamps(first), Model()
    again = run(sources, ALL, model=model)
    assert [work.kept for work in again] == [True, True]
    assert [work.error for work in again] == [None, None]
    assert stamps(again) == before
    assert model.seen == 0
    assert again[0].made is not None
    assert again[0].made.source == "a.png"


CHANGED: list[tuple[Task, Model]] = [
    (replace(TASK, style=Style("viridis")), Model()),
    (replace(TASK, style=Style(near="black")), Model()),
    (replace(TASK, style=Style(range=render.Range(1, 2))), Model()),
    (replace(TASK, encoder="vits"), Model()),
    (replace(TASK, model="v1"), Model()),
    (replace(TASK, weights="tiny.safetensors 2"), Model()),
    (TASK, Model(size=56)),
    (TASK, Model(engine=StubEngine(Plan("cpu", "torch", "bf16", half_weights=False, reason="")))),
    (TASK, Model(engine=StubEngine(Plan("cpu", "openvino", "fp32", half_weights=False, reason="")))),
]


@pytest.mark.parametrize(("task", "model"), CHANGED)
def test_other_settings_are_done_anew(tmp_path: Path, task: Task, model: Model) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    (work,) = run([source], task=task, model=model)
    assert not work.kept
    assert work.error is None
    assert run([source], task=task, model=model)[0].kept


def test_a_source_that_changed_is_done_anew(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    os.utime(photo(source, seed=5), ns=(1, 1))
    assert not run([source])[0].kept
    assert run([source])[0].kept


def test_a_version_of_dacli_that_changed_does_all_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    monkeypatch.setattr(pipeline, "__version__", "9.9")
    assert not run([source])[0].kept


def test_a_missing_output_is_made_although_another_is_there(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    assert not run([source], ("color", "gray"))[0].kept
    assert run([source], ("color", "gray"))[0].kept
    (tmp_path / "a_color.png").unlink()
    assert not run([source], ("color", "gray"))[0].kept
    assert (tmp_path / "a_color.png").exists()


def test_npy_alone_says_nothing_of_its_making_and_is_done_anew(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("npy",))
    assert not run([source], ("npy",))[0].kept


def test_npy_of_other_settings_beside_a_picture_of_these_is_done_anew(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("npy", "color"))
    assert run([source], ("npy", "color"))[0].kept
    assert run([source], ("color",))[0].kept
    other = np.zeros((20, 30), np.float32)
    files.write(tmp_path / "a_depth.npy", pictures.npy(other))
    assert run([source], ("color",))[0].kept
    assert not run([source], ("npy", "color"))[0].kept
    assert np.load(tmp_path / "a_depth.npy").any()


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00", b"\x80\x04N."])
def test_npy_that_is_none_is_done_anew(tmp_path: Path, content: bytes) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("npy", "color"))
    (tmp_path / "a_depth.npy").write_bytes(content)
    assert not run([source], ("npy", "color"))[0].kept
    assert np.load(tmp_path / "a_depth.npy").shape == (20, 30)


def foreign_pngs() -> list[bytes]:
    gray = np.zeros((4, 4), np.uint8)
    whole = png.encode(gray, {RECORD_KEYWORD: "{}"})
    return [png.encode(gray), b"", b"no picture", whole, whole[:-2]]


@pytest.mark.parametrize("content", foreign_pngs())
def test_a_picture_that_dacli_did_not_make_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    source, other = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    (tmp_path / "a_gray.png").write_bytes(content)
    refused, done = run([source, other], ("color", "gray"))
    assert str(refused.error).startswith(f"{source}: {tmp_path / 'a_gray.png'} is there and")
    assert "--overwrite" in str(refused.error)
    assert (tmp_path / "a_gray.png").read_bytes() == content
    assert not (tmp_path / "a_color.png").exists()
    assert done.error is None


def test_a_folder_in_the_way_is_named_and_left_alone(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    (tmp_path / "a_color.png").mkdir()
    for task in (TASK, replace(TASK, overwrite=True)):
        (work,) = run([source], task=task)
        assert "a_color.png" in str(work.error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a_color.png"]


def test_depth_of_a_picture_of_another_name_is_not_overwritten(tmp_path: Path) -> None:
    run([photo(tmp_path / "a.png")])
    before = (tmp_path / "a_color.png").read_bytes()
    bitmap = cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    (tmp_path / "a.bmp").write_bytes(bitmap)
    (work,) = run([tmp_path / "a.bmp"])
    assert "a_color.png is there and was made from a.png" in str(work.error)
    assert (tmp_path / "a_color.png").read_bytes() == before


def test_overwrite_redoes_what_is_there_whoever_made_it(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    before = stamps(run([source]))
    (tmp_path / "a_gray.png").write_bytes(b"no picture")
    (work,) = run([source], ("color", "gray"), replace(TASK, overwrite=True))
    assert (work.error, work.kept) == (None, False)
    assert stamps([work])[tmp_path / "a_color.png"] > before[tmp_path / "a_color.png"]
    assert png.text((tmp_path / "a_gray.png").read_bytes(), "a")


def test_a_source_of_a_name_that_is_no_text_is_recorded_and_kept(tmp_path: Path) -> None:
    source = photo(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert run([source], ALL)[0].error is None
    (again,) = run([source], ALL)
    assert again.kept
    assert again.made is not None
    assert again.made.source == "caf\\udce9.png"


# --- writing fails ---


def test_a_disk_full_at_the_second_output_leaves_the_first_whole_and_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, opened = Path.replace, []

    def replace_until_full(self: Path, target: Path) -> Path:
        opened.append(target)
        if len(opened) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace_until_full)
    first, second = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    full, done = run([first, second], ("color", "gray"))
    assert str(full.error).startswith(f"{first}: cannot write {tmp_path / 'a_gray.png'} (the disk is full)")
    assert done.error is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("a.png", "a_color.png", "b.png", "b_color.png", "b_gray.png")
    ]
    assert png.text((tmp_path / "a_color.png").read_bytes(), "a")
    assert not run([first], ("color", "gray"))[0].kept


def test_metres_are_recorded_as_metres_and_as_millimetres_in_png16(tmp_path: Path) -> None:
    (work,) = run([photo(tmp_path / "a.png")], ("png16", "npy"), model=Model(quantity="metres", scale=0.1))
    values, text = pictures.read_depth16(tmp_path / "a_depth16.png")
    depth, record = render.decode(values, text, "a")
    assert (record.quantity, record.unit, record.near) == ("metres", "millimetres", "black")
    assert np.abs(depth - np.load(tmp_path / "a_depth.npy")).max() <= 0.0005
    assert work.made is not None
    assert work.made.quantity == "metres"
