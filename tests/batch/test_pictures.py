"""Runs over pictures: batches and order, one error among good pictures, and which pictures count as done."""

import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dacli import prefetch
from dacli.batch import pictures, stages
from dacli.batch import settings as settings_module
from dacli.batch.jobs import Job, plan_jobs
from dacli.batch.journal import Journal
from dacli.batch.outcomes import Done, Failed, Outcome, Skipped
from dacli.batch.pictures import PictureRun, process_one, run_pictures
from dacli.batch.settings import RunSettings
from dacli.batch.stages import Loaded, gather_groups
from dacli.callbacks import TileProgress, ignore_progress
from dacli.errors import DacliError, MemoryShortError, StopError
from dacli.inference.device import ExecutionPlan
from dacli.inference.predictor import Prediction, PreparedImage, RawDepth
from dacli.io import depth_files, files, images, npy, png, records
from dacli.io.camera import CameraChoice, PinholeCamera
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.calibration import Calibration, KnownPoint
from dacli.outputs.export import ExportOptions
from dacli.outputs.formats import FORMATS
from dacli.outputs.style import DepthRange, DepthStyle
from tests.support.hanging import in_time
from tests.test_prefetch import FaultError, no_thread_is_left, until  # noqa: F401 - the fixture outcomes by its name

PATIENCE = 20.0  # seconds after which a test calls something hung
CPU = ExecutionPlan("cpu", "torch", "fp32", half_weights=False, reason="")


@pytest.fixture(autouse=True)
def three_threads_read_and_three_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "usable_cores", lambda: 6)


@dataclass
class Model:
    """A predictor whose depth is the red channel plus 1, times `scale`; the network's size is the picture's own.

    It fails where the first pixel's blue says so; `batches` has the first pixels that went through it together.
    """

    batch_size: int = 1
    concurrency: int = 1
    faults: dict[int, Exception] = field(default_factory=dict)
    scale: float = 1.0
    batches: list[list[int]] = field(default_factory=list)
    one_at_a_time: Any = field(default_factory=threading.Lock)

    @property
    def seen(self) -> int:
        return sum(map(len, self.batches))

    def prepare(self, rgb: NDArray[np.uint8]) -> PreparedImage:
        height, width = rgb.shape[:2]
        return PreparedImage(torch.tensor(rgb.transpose(2, 0, 1).astype(np.float32)), (height, width))

    def infer(self, batch: Sequence[PreparedImage], progress: TileProgress = ignore_progress) -> list[RawDepth]:  # noqa: ARG002
        assert self.one_at_a_time.acquire(blocking=False), "one pass at a time"
        try:
            marks = [int(one.tensor[2, 0, 0]) for one in batch]
            self.batches.append(marks)
            for mark in marks:
                if fault := self.faults.get(mark):
                    raise fault
            together = (torch.stack([one.tensor for one in batch])[:, 0] + 1) * self.scale
            return [RawDepth(raw, one.source, "fp32") for one, raw in zip(batch, together, strict=True)]
        finally:
            self.one_at_a_time.release()

    def finish(self, raw: RawDepth, _focal_px: float | None = None) -> Prediction:
        height, width = raw.tensor.shape
        return Prediction(raw.tensor.numpy(), (height, width), 0, raw.precision, raw.note)


SETTINGS = RunSettings(
    encoder="tiny",
    model="v2",
    weights="tiny.safetensors 1",
    quantity="inverse depth",
    size=28,
    plan=CPU,
    max_pixels=10**6,
)
ALL = ("color", "gray", "png16", "npy", "side")


def photo(path: Path, mark: int = 0, seed: int = 0, shape: tuple[int, int] = (20, 30)) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels[0, 0] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png.encode_png(pixels))
    return path


def photos(folder: Path, count: int, shapes: Sequence[tuple[int, int]] = ((20, 30),)) -> list[Path]:
    """Pictures whose first pixel is their number, of these shapes in turn."""
    return [photo(folder / f"{n:02}.png", n, n, shapes[n % len(shapes)]) for n in range(count)]


def run(
    sources: list[Path],
    kinds: tuple[str, ...] = ("color",),
    settings: RunSettings = SETTINGS,
    model: Any = None,
    out: Path | None = None,
) -> list[Outcome]:
    jobs = plan_jobs(sources, out, [FORMATS[kind] for kind in kinds])
    predictor: Any = Model() if model is None else model
    picture_run = PictureRun(predictor, settings)
    return list(in_time(lambda: list(run_pictures(jobs, picture_run))))


def is_ok(outcome: Outcome) -> bool:
    return not isinstance(outcome, Failed)


def is_skipped(outcome: Outcome) -> bool:
    return isinstance(outcome, Skipped)


def error_of(outcome: Outcome) -> str:
    return str(outcome.error) if isinstance(outcome, Failed) else ""


def errors(outcomes: list[Outcome]) -> list[str]:
    return [error_of(outcome) for outcome in outcomes]


def facts(outcomes: list[Outcome]) -> list[Any]:
    """Return the network size and the range of outcomes that did not fail."""
    return [(one.network_size, one.range) for one in outcomes if not isinstance(one, Failed)]


def stamps(outcomes: list[Outcome]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for outcome in outcomes for path in outcome.job.outputs.values()}


def scraps(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(files.PART_SUFFIX)]


def outcomes_until(
    stops: type[BaseException],
    sources: list[Path],
    model: Any = None,
    out: Path | None = None,
) -> list[Outcome]:
    """What a run gives before it is stopped."""
    done: list[Outcome] = []
    jobs = plan_jobs(sources, out, [FORMATS["color"], FORMATS["gray"]])
    predictor: Any = Model() if model is None else model
    picture_run = PictureRun(predictor, SETTINGS, out=out)

    def take() -> None:
        for outcome in run_pictures(jobs, picture_run):
            done.append(outcome)

    with pytest.raises(stops):
        in_time(take)
    return done


def test_every_kind_comes_out_of_one_pass(tmp_path: Path) -> None:
    model = Model()
    (outcome,) = run([photo(tmp_path / "a.png")], ALL, model=model)
    assert is_ok(outcome)
    assert model.seen == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["a.png", "a_color.png", "a_gray.png", "a_depth16.png", "a_depth.npy", "a_side.png"]
    )
    depth = np.load(tmp_path / "a_depth.npy")
    assert np.array_equal(depth, images.read_image(tmp_path / "a.png")[..., 0].astype(np.float32) + 1)
    assert isinstance(outcome, Done)
    assert outcome.range == (depth.min(), depth.max())


def test_side_has_the_picture_and_color_beside_each_other(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("side", "color"))
    side = images.read_image(tmp_path / "a_side.png")
    assert np.array_equal(side[:, :30], images.read_image(source))
    assert np.array_equal(side[:, 30:], images.read_image(tmp_path / "a_color.png"))


def test_pictures_are_released_as_soon_as_nothing_needs_them(tmp_path: Path) -> None:
    model: Any = Model()
    picture_run = PictureRun(model, SETTINGS)
    photo(tmp_path / "a.png")
    for kind, picture in (("color", 0), ("side", 20 * 30 * 3)):
        (job,) = plan_jobs([tmp_path / "a.png"], None, [FORMATS[kind]])
        loaded = pictures.read_picture((0, job), picture_run)
        assert loaded.nbytes == picture + 20 * 30 * 3 * 4
        (predicted,) = stages.infer_group([loaded], model, pictures.fail_picture)
        assert predicted.nbytes == picture + 20 * 30 * 4 * 2  # at the network's size, and what it will be at its own
        assert pictures.write_outputs(predicted, picture_run).nbytes == 0


def test_one_picture_without_threads_gives_what_a_run_gives(tmp_path: Path) -> None:
    sources = photos(tmp_path / "in", 2)
    sources[1].write_bytes(b"not a picture")
    for source, expected in zip(sources, run(sources, ALL, out=tmp_path / "a"), strict=True):
        before = threading.active_count()
        (job,) = plan_jobs([source], tmp_path / "b", [FORMATS[kind] for kind in ALL])
        model: Any = Model()
        found = process_one(job, model, SETTINGS)
        assert threading.active_count() == before
        assert (type(found), error_of(found)) == (type(expected), error_of(expected))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_bad_files_among_good_ones_are_named_and_the_others_done_in_order(tmp_path: Path) -> None:
    sources = [photo(tmp_path / f"{name}.png", seed=seed) for seed, name in enumerate("abcde")]
    sources[1].write_bytes(sources[1].read_bytes()[:-2])
    sources[3].unlink()
    outcomes = run(sources)
    assert [outcome.job.source for outcome in outcomes] == sources
    assert [is_ok(outcome) for outcome in outcomes] == [True, False, True, False, True]
    assert "b.png is truncated" in errors(outcomes)[1]
    assert "d.png does not exist" in errors(outcomes)[3]
    assert sorted(path.name for path in tmp_path.glob("*_color.png")) == ["a_color.png", "c_color.png", "e_color.png"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            DacliError("not enough memory on cpu", "try a smaller --size"),
            "not enough memory on cpu: try a smaller --size",
        ),
        (MemoryError(), "not enough memory: make the picture smaller"),
        (ValueError("odd\nshape"), "ValueError: odd shape: this is a fault of dacli"),
        (RuntimeError("CUDA error"), "RuntimeError: CUDA error"),
    ],
)
def test_a_fault_of_the_model_costs_only_its_picture(tmp_path: Path, fault: Exception, said: str) -> None:
    sources = [photo(tmp_path / "a.png", 1), photo(tmp_path / "b.png", 2), photo(tmp_path / "c.png", 3)]
    outcomes = run(sources, model=Model(faults={2: fault}))
    assert [is_ok(outcome) for outcome in outcomes] == [True, False, True]
    assert errors(outcomes)[1].startswith(f"{sources[1]}: ")
    assert said in errors(outcomes)[1]
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
    sources = photos(tmp_path, 30)
    model: Any = Model(batch_size=2)
    outcomes = run_pictures(plan_jobs(sources, None, [FORMATS["color"]]), PictureRun(model, SETTINGS))
    assert in_time(lambda: next(outcomes)).job.source == sources[0]
    in_time(outcomes.close)
    assert not prefetch.any_stage_alive()
    assert (tmp_path / "00_color.png").exists()
    assert not scraps(tmp_path)
    for path in tmp_path.glob("*_color.png"):
        assert images.read_image(path).shape == (20, 30, 3)


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), StopError("the disk is gone")])
def test_what_stops_writing_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    def write(path: Path, data: bytes, **_: object) -> None:  # noqa: ARG001
        raise fault

    monkeypatch.setattr(files, "write_file", write)
    assert outcomes_until(type(fault), photos(tmp_path, 5)) == []
    assert not prefetch.any_stage_alive()


def test_jobs_that_fail_to_come_end_the_run_after_those_that_came(tmp_path: Path) -> None:
    planned = plan_jobs(photos(tmp_path, 3), None, [FORMATS["color"]])

    def coming() -> Iterator[Job]:
        yield from planned
        raise FaultError

    done: list[Outcome] = []
    model: Any = Model()

    def take() -> None:
        for outcome in run_pictures(coming(), PictureRun(model, SETTINGS)):
            done.append(outcome)

    with pytest.raises(FaultError):
        in_time(take)
    assert [outcome.job for outcome in done] == list(planned)


# --- what counts as done ---


def test_a_second_run_with_the_same_settings_keeps_all(tmp_path: Path) -> None:
    sources = [photo(tmp_path / "a.png"), photo(tmp_path / "b.png", seed=1)]
    first = run(sources, ALL)
    before, model = stamps(first), Model()
    again = run(sources, ALL, model=model)
    assert [is_skipped(outcome) for outcome in again] == [True, True]
    assert errors(again) == ["", ""]
    assert stamps(again) == before
    assert model.seen == 0
    assert facts(again) == facts(first)


CHANGED = [
    replace(SETTINGS, style=DepthStyle("viridis")),
    replace(SETTINGS, style=DepthStyle(near="black")),
    replace(SETTINGS, style=DepthStyle(range=DepthRange(1, 2))),
    replace(SETTINGS, encoder="vits"),
    replace(SETTINGS, model="v1"),
    replace(SETTINGS, weights="tiny.safetensors 2"),
    replace(SETTINGS, size=56),
    replace(SETTINGS, plan=replace(CPU, precision="bf16")),
    replace(SETTINGS, plan=replace(CPU, engine="openvino")),
    replace(SETTINGS, camera=CameraChoice(fov=40)),
    replace(SETTINGS, calibration=Calibration(near_far=(1, 9))),
    replace(SETTINGS, export=ExportOptions(edge=0.1)),
]


@pytest.mark.parametrize("settings", CHANGED)
def test_other_settings_are_done_anew(tmp_path: Path, settings: RunSettings) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    (outcome,) = run([source], settings=settings)
    assert isinstance(outcome, Done)
    assert is_skipped(run([source], settings=settings)[0])


@pytest.mark.parametrize(
    "settings", [replace(SETTINGS, plan=replace(CPU, device="cuda")), replace(SETTINGS, max_pixels=10**7)]
)
def test_settings_that_do_not_change_the_pixels_keep_all(tmp_path: Path, settings: RunSettings) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    assert is_skipped(run([source], settings=settings)[0])


def test_a_source_that_changed_is_done_anew(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    os.utime(photo(source, seed=5), ns=(1, 1))
    assert not is_skipped(run([source])[0])
    assert is_skipped(run([source])[0])


def test_a_version_of_dacli_that_changed_does_all_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    monkeypatch.setattr(settings_module, "__version__", "9.9")
    assert not is_skipped(run([source], settings=replace(SETTINGS))[0])


def test_a_missing_output_is_made_although_another_is_there(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source])
    assert not is_skipped(run([source], ("color", "gray"))[0])
    assert is_skipped(run([source], ("color", "gray"))[0])
    (tmp_path / "a_color.png").unlink()
    assert not is_skipped(run([source], ("color", "gray"))[0])
    assert (tmp_path / "a_color.png").exists()


def test_npy_alone_says_itself_what_it_was_made_from(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("npy",))
    assert is_skipped(run([source], ("npy",))[0])
    assert not is_skipped(run([source], ("npy",), replace(SETTINGS, size=64))[0])
    photo(source, seed=9)
    assert not is_skipped(run([source], ("npy",), replace(SETTINGS, size=64))[0])


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_the_record_of_npy_is_not_in_its_array(tmp_path: Path, mmap_mode: Any) -> None:
    run([photo(tmp_path / "a.png")], ("npy",))
    depth = np.load(tmp_path / "a_depth.npy", mmap_mode=mmap_mode)
    assert (depth.shape, depth.dtype) == ((20, 30), np.float32)


@pytest.mark.parametrize("beside", [("npy",), ("npy", "color")])
@pytest.mark.parametrize("content", ["array", "", "no array", "\x93NUMPY\x01\0", "\x80\x04N."])
def test_npy_that_dacli_did_not_make_stays(tmp_path: Path, content: str, beside: tuple[str, ...]) -> None:
    source, output = photo(tmp_path / "a.png"), tmp_path / "a_depth.npy"
    run([source], beside)
    output.write_bytes(npy.encode_npy(np.zeros((20, 30), np.float32)) if content == "array" else content.encode())
    before = output.read_bytes()
    (error,) = errors(run([source], beside))
    assert error.endswith("is not a complete output of dacli: move it away, or replace it with --overwrite")
    assert output.read_bytes() == before
    assert errors(run([source], beside, replace(SETTINGS, overwrite=True))) == [""]
    assert np.load(output).any()


def test_npy_of_another_picture_stays(tmp_path: Path) -> None:
    run([photo(tmp_path / "b.png", seed=4)], ("npy",))
    (tmp_path / "b_depth.npy").rename(tmp_path / "a_depth.npy")
    before = (tmp_path / "a_depth.npy").read_bytes()
    assert "was made from b.png" in errors(run([photo(tmp_path / "a.png")], ("npy",)))[0]
    assert (tmp_path / "a_depth.npy").read_bytes() == before


def test_npy_with_other_numbers_than_its_record_says_is_done_anew(tmp_path: Path) -> None:
    source, output = photo(tmp_path / "a.png"), tmp_path / "a_depth.npy"
    run([source], ("npy",))
    whole = output.read_bytes()
    output.write_bytes(whole[:130] + bytes([whole[130] ^ 1]) + whole[131:])
    assert not is_skipped(run([source], ("npy",))[0])
    assert output.read_bytes() == whole


FOREIGN = ("no record", "empty", "no picture", "damaged record", "cut")


def foreign_pngs() -> list[bytes]:
    gray = np.zeros((4, 4), np.uint8)
    whole = png.encode_png(gray, {RECORD_KEYWORD: "{}"})
    return [png.encode_png(gray), b"", b"no picture", whole, whole[:-2]]


@pytest.mark.parametrize("content", foreign_pngs(), ids=FOREIGN)
def test_a_picture_that_dacli_did_not_make_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    source, other = photo(tmp_path / "a.png"), photo(tmp_path / "b.png")
    (tmp_path / "a_gray.png").write_bytes(content)
    refused, done = run([source, other], ("color", "gray"))
    assert error_of(refused).startswith(f"{source}: {tmp_path / 'a_gray.png'} exists and")
    assert "--overwrite" in error_of(refused)
    assert (tmp_path / "a_gray.png").read_bytes() == content
    assert not (tmp_path / "a_color.png").exists()
    assert is_ok(done)


def test_a_folder_in_the_way_is_named_and_left_alone(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    (tmp_path / "a_color.png").mkdir()
    for settings in (SETTINGS, replace(SETTINGS, overwrite=True)):
        (outcome,) = run([source], settings=settings)
        assert "a_color.png" in error_of(outcome)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a_color.png"]


def test_depth_of_a_picture_of_another_name_is_not_overwritten(tmp_path: Path) -> None:
    run([photo(tmp_path / "a.png")])
    before = (tmp_path / "a_color.png").read_bytes()
    bitmap = cv2.imencode(".bmp", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    (tmp_path / "a.bmp").write_bytes(bitmap)
    (outcome,) = run([tmp_path / "a.bmp"])
    assert "a_color.png exists and was made from a.png" in error_of(outcome)
    assert (tmp_path / "a_color.png").read_bytes() == before


def test_overwrite_redoes_what_is_there_whoever_made_it(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    before = stamps(run([source]))
    (tmp_path / "a_gray.png").write_bytes(b"no picture")
    (outcome,) = run([source], ("color", "gray"), replace(SETTINGS, overwrite=True))
    assert isinstance(outcome, Done)
    assert stamps([outcome])[tmp_path / "a_color.png"] > before[tmp_path / "a_color.png"]
    assert png.read_png_text((tmp_path / "a_gray.png").read_bytes(), "a")


def test_a_source_of_a_name_that_is_no_text_is_recorded_and_kept(tmp_path: Path) -> None:
    source = photo(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert is_ok(run([source], ALL)[0])
    (again,) = run([source], ALL)
    assert is_skipped(again)
    text = png.read_png_text((tmp_path / os.fsdecode(b"caf\xe9_gray.png")).read_bytes(), "a")
    assert json.loads(text[RECORD_KEYWORD])["source"] == "caf\\udce9.png"


# --- writing fails ---


def failing_replace(monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    """Let the last step of writing files of this name fail."""
    original = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if target.name == name:
            raise OSError(code, os.strerror(code))
        return original(self, target)

    monkeypatch.setattr(Path, "replace", fail)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_a_disk_full_at_a_second_output_ends_the_run_and_leaves_whole_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    sources = photos(tmp_path, 4)
    with monkeypatch.context() as patched:
        failing_replace(patched, "01_gray.png", code)
        done = outcomes_until(StopError, sources)
    assert [outcome.job.source for outcome in done] == sources[:1]
    assert not scraps(tmp_path)
    assert not (tmp_path / "01_gray.png").exists()
    for name in ("00_color.png", "00_gray.png", "01_color.png"):
        assert RECORD_KEYWORD in png.read_png_text((tmp_path / name).read_bytes(), name)
    again = run(sources, ("color", "gray"))
    assert [is_skipped(outcome) for outcome in again[:2]] == [True, False]
    assert not any(errors(again))


def test_another_fault_of_writing_costs_only_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = photos(tmp_path, 3)
    failing_replace(monkeypatch, "01_gray.png", errno.EACCES)
    outcomes = run(sources, ("color", "gray"))
    assert [is_ok(outcome) for outcome in outcomes] == [True, False, True]
    assert errors(outcomes)[1].startswith(f"{sources[1]}: cannot write {tmp_path / '01_gray.png'} (no permission)")
    assert not scraps(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path not in sources) == [
        *("00_color.png", "00_gray.png", "01_color.png", "02_color.png", "02_gray.png")
    ]


@pytest.mark.parametrize(("max_depth", "unit", "step"), [(20, "millimetres", 0.001), (80, "1/256 m", 1 / 256)])
def test_metres_have_one_scale_in_all_png16_of_a_run(tmp_path: Path, max_depth: float, unit: str, step: float) -> None:
    settings = replace(SETTINGS, quantity="metres", max_depth=max_depth)
    (outcome,) = run([photo(tmp_path / "a.png")], ("png16", "npy"), settings, Model(scale=0.07))
    values, text = depth_files.read_depth16(tmp_path / "a_depth16.png")
    depth, record = records.decode_depth(values, text, "a")
    assert (record.quantity, record.unit, record.near) == ("metres", unit, "black")
    assert np.abs(depth - np.load(tmp_path / "a_depth.npy")).max() <= step / 2 + 1e-6
    assert isinstance(outcome, Done)
    assert outcome.range == (np.load(tmp_path / "a_depth.npy").min(), np.load(tmp_path / "a_depth.npy").max())


def test_known_distances_make_metres_of_all_outputs(tmp_path: Path) -> None:
    source = photo(tmp_path / "a.png")
    run([source], ("npy",))
    relative = np.load(tmp_path / "a_depth.npy").astype(np.float64)
    settings = replace(SETTINGS, calibration=Calibration(near_far=(0.5, 40)), camera=CameraChoice(focal_px=25))
    (outcome,) = run([source], ("png16", "npy", "gray"), settings)
    metres = np.load(tmp_path / "a_depth.npy")
    share = (relative - relative.min()) / (relative.max() - relative.min())
    np.testing.assert_allclose(metres, 1 / (share * (1 / 0.5 - 1 / 40) + 1 / 40), rtol=1e-4)
    values, text = depth_files.read_depth16(tmp_path / "a_depth16.png")
    assert np.abs(values - metres * 1000).max() <= 0.51
    record = records.parse_record(text[RECORD_KEYWORD], "a")
    assert (record.quantity, record.camera) == ("metres", PinholeCamera(25, 25, 15, 10, "--focal-px"))
    assert record.calibration is not None
    assert record.calibration.given == "--near-far 0.5,40"
    np.testing.assert_allclose(1 / metres, record.calibration.scale * relative + record.calibration.shift, rtol=1e-4)
    assert isinstance(outcome, Done)
    assert outcome.camera == record.camera
    assert is_skipped(run([source], ("png16", "npy", "gray"), settings)[0])


def test_a_known_point_outside_of_a_picture_is_an_error_of_that_picture(tmp_path: Path) -> None:
    sources = [photo(tmp_path / "a.png"), photo(tmp_path / "b.png", shape=(40, 60))]
    settings = replace(SETTINGS, calibration=Calibration(points=(KnownPoint(45, 2, 1.5),)))
    outcomes = run(sources, settings=settings)
    assert [is_ok(outcome) for outcome in outcomes] == [False, True]
    assert "--calibrate 45,2=1.5 is outside of the picture, which has 30 × 20 pixels" in errors(outcomes)[0]


def test_a_vanished_output_folder_ends_the_run_and_is_not_made_anew(tmp_path: Path) -> None:
    out, sources = tmp_path / "out", photos(tmp_path / "in", 5)

    class Remover(Model):
        def infer(self, batch: Sequence[PreparedImage], progress: TileProgress = ignore_progress) -> list[RawDepth]:
            if batch[0].tensor[2, 0, 0] == 1:
                until((out / "00_gray.png").exists)
                until(lambda: not scraps(out))
                out.rename(tmp_path / "gone")
            return super().infer(batch, progress)

    out.mkdir()
    done = outcomes_until(StopError, sources, Remover(), out)
    assert [outcome.job.name for outcome in done] in ([], ["00.png"])
    assert not out.exists()
    assert not scraps(tmp_path)


@pytest.mark.parametrize("made", ["sub", "sub/deep"])
def test_an_output_folder_that_vanishes_just_before_one_below_it_is_made_is_not_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    out, original = tmp_path / "out", Path.mkdir
    out.mkdir()

    def mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        if out.exists():
            out.rename(tmp_path / "gone")
        original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StopError, match=r"the output folder .*out is gone"):
        files.write_file(out / made / "a.png", b"", below=out)
    assert [path.name for path in tmp_path.rglob("*")] == ["gone"]


# --- batches ---


@dataclass
class OfSize:
    """What gather_groups() asks of a picture prepared for the network."""

    size: tuple[int, int]
    nbytes: int = 1


def loaded_of_size(about: int, size: int, nbytes: int = 1) -> Loaded[int]:
    prepared: Any = OfSize((size, 1), nbytes)
    return Loaded(about, prepared)


def gathered(sizes: str, count: int, nbytes: int = 1) -> list[str]:
    """Return the groups of letters, each a network size; a dash is an input that needs no network."""
    job = Job(Path("a.png"), "a.png", Path(), "a", {})
    values: list[Any] = [
        Skipped(job, index, (1, 1), (0, 1)) if letter == "-" else loaded_of_size(index, ord(letter), nbytes)
        for index, letter in enumerate(sizes)
    ]
    groups = gather_groups(iter(values), lambda: count)
    return ["".join("-" if isinstance(one, Skipped) else sizes[one.about] for one in group) for group in groups]


@pytest.mark.parametrize(
    ("sizes", "count", "groups"),
    [
        ("", 3, []),
        ("aaaaaaa", 3, ["aaa", "aaa", "a"]),
        ("abababab", 3, ["aaa", "bbb", "a", "b"]),
        ("aba", 1, ["a", "b", "a"]),
        ("a-a-a", 3, ["-", "-", "aaa"]),
        ("abcdefgh", 2, ["a", "b", "c", "d", "e", "f", "g", "h"]),
        ("abcdefgha", 2, ["a", "b", "c", "d", "e", "f", "g", "h", "a"]),
        ("aabcdefb", 3, ["aa", "bb", "c", "d", "e", "f"]),
    ],
)
def test_pictures_of_one_size_are_gathered(sizes: str, count: int, groups: list[str]) -> None:
    assert gathered(sizes, count) == groups


def test_no_more_than_a_window_of_pictures_is_held_back() -> None:
    taken: list[int] = []

    def values() -> Iterator[Loaded[int]]:
        for index in range(1000):
            taken.append(index)
            yield loaded_of_size(index, index)

    for number, group in enumerate(gather_groups(values(), lambda: 3)):
        assert [one.about for one in group] == [number]  # the size that waits longest goes first
        assert len(taken) <= number + stages.GATHERED_BATCHES * 3


def test_no_more_bytes_are_held_back_than_may_wait() -> None:
    half = 3 * prefetch.BYTES_AHEAD // 2  # of what three pictures of a batch may hold
    assert gathered("abcabc", 3, half) == ["a", "b", "c", "a", "b", "c"]
    assert gathered("abcabc", 3, half // 4) == ["aa", "bb", "cc"]
    assert gathered("ab", 3, 9 * half) == ["a", "b"]


def test_the_batch_may_shrink_on_the_way() -> None:
    counts = iter([4, 4, 4, 4, 4, 4, 4, 4] + [1] * 20)
    values = [loaded_of_size(index, 1) for index in range(7)]
    assert [len(group) for group in gather_groups(values, lambda: next(counts))] == [4, 1, 1, 1]


MIXED = ((20, 30), (30, 20), (25, 25))


def test_results_come_in_the_order_of_jobs_although_batches_overtake(tmp_path: Path) -> None:
    sources, model = photos(tmp_path, 12, MIXED), Model(batch_size=3)
    sources[4].unlink()
    outcomes = run(sources, model=model)
    assert [outcome.job.source for outcome in outcomes] == sources
    assert [outcome.index for outcome in outcomes] == list(range(12))
    assert [outcome.job.source for outcome in outcomes if not is_ok(outcome)] == [sources[4]]
    assert model.batches == [[0, 3, 6], [2, 5, 8], [1, 7, 10], [9], [11]]


def test_outputs_are_the_same_for_any_batch(tmp_path: Path) -> None:
    sources, made = photos(tmp_path / "in", 11, MIXED), []
    for batch in (1, 2, 5):
        out = tmp_path / str(batch)
        model = Model(batch_size=batch)
        assert not any(errors(run(sources, ALL, model=model, out=out)))
        assert max(map(len, model.batches)) == min(batch, 4)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(made[0]) == 11 * len(ALL)
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("fault", [ValueError("odd"), MemoryShortError("not enough memory on cpu")])
def test_a_batch_that_fails_is_redone_one_by_one(tmp_path: Path, fault: Exception) -> None:
    model = Model(batch_size=4, faults={2: fault})
    outcomes = run(photos(tmp_path, 4), model=model)
    assert model.batches == [[0, 1, 2, 3], [0], [1], [2], [3]]
    assert [is_ok(outcome) for outcome in outcomes] == [True, True, False, True]
    assert str(fault) in errors(outcomes)[2]
    assert sorted(path.name for path in tmp_path.glob("*_color.png")) == [f"0{n}_color.png" for n in (0, 1, 3)]


def test_so_many_pictures_are_in_the_network_at_once_as_the_predictor_allows(tmp_path: Path) -> None:
    meeting, turn = threading.Barrier(2, timeout=PATIENCE), threading.Lock()

    class Meeting(Model):
        def infer(self, batch: Sequence[PreparedImage], progress: TileProgress = ignore_progress) -> list[RawDepth]:
            meeting.wait()  # two are in a pass at the same time
            with turn:
                return super().infer(batch, progress)

    model = Meeting(concurrency=2)
    outcomes = run(photos(tmp_path, 6), model=model)
    assert [outcome.index for outcome in outcomes] == list(range(6))
    assert not any(errors(outcomes))
    assert model.seen == 6


def test_seconds_of_a_batch_are_shared_and_of_every_stage_are_known(tmp_path: Path) -> None:
    outcomes = run(photos(tmp_path, 3), model=Model(batch_size=3))
    first, second, third = (outcome.seconds for outcome in outcomes)
    assert first.network == second.network == third.network > 0
    assert all(seconds.reading > 0 and seconds.writing > 0 for seconds in (first, second, third))


# --- a folder's journal ---


def journaled(
    folder: Path, kinds: tuple[str, ...] = ("color",), style: DepthStyle | None = None
) -> tuple[list[Outcome], Model]:
    """A run over folder/in into folder/out, as a process of its own would do it."""
    out, model = folder / "out", Model()
    with Journal(out) as journal:
        settings = replace(SETTINGS, style=style or DepthStyle())
        picture_run: Any = PictureRun(model, settings, journal=journal, out=out)  # type: ignore[arg-type]
        jobs = plan_jobs(sorted((folder / "in").iterdir()), out, [FORMATS[kind] for kind in kinds])
        return list(in_time(lambda: list(run_pictures(jobs, picture_run)))), model


def no_reading(*_: object) -> None:
    raise FaultError("it was read")


def test_what_the_journal_knows_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "in", 3)
    first, _ = journaled(tmp_path, ALL)
    assert not any(errors(first))
    before = stamps(first)
    monkeypatch.setattr(images, "decode_picture", no_reading)
    monkeypatch.setattr(files, "read_bytes", no_reading)
    again, model = journaled(tmp_path, ALL)
    assert [is_skipped(outcome) for outcome in again] == [True] * 3
    assert facts(again) == facts(first)
    assert (stamps(again), model.seen) == (before, 0)


def test_npy_alone_is_kept_with_a_journal(tmp_path: Path) -> None:
    photos(tmp_path / "in", 2)
    assert not any(errors(journaled(tmp_path, ("npy",))[0]))
    again, model = journaled(tmp_path, ("npy",))
    assert [is_skipped(outcome) for outcome in again] == [True, True]
    assert model.seen == 0


@pytest.mark.parametrize(
    ("changed", "redone"),
    [("nothing", 0), ("source", 1), ("settings", 2), ("output", 1), ("no output", 1), ("kinds", 2), ("version", 2)],
)
def test_what_changed_is_done_anew_and_then_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, redone: int
) -> None:
    sources = photos(tmp_path / "in", 2)
    journaled(tmp_path, ("npy",))
    output = tmp_path / "out" / "00_depth.npy"
    if changed == "source":
        photo(sources[0], 0, seed=9, shape=(24, 30))
    elif changed == "output":
        output.write_bytes(output.read_bytes()[:-9])
    elif changed == "no output":
        output.unlink()
    elif changed == "version":
        monkeypatch.setattr(settings_module, "__version__", "9.9")
    kinds = ("npy", "gray") if changed == "kinds" else ("npy",)
    style = DepthStyle("viridis") if changed == "settings" else DepthStyle()
    outcomes, model = journaled(tmp_path, kinds, style)
    assert errors(outcomes) == ["", ""]
    assert sum(not is_skipped(outcome) for outcome in outcomes) == model.seen == redone
    assert np.array_equal(np.load(output), images.read_image(sources[0])[..., 0] + np.float32(1))
    assert [is_skipped(outcome) for outcome in journaled(tmp_path, kinds, style)[0]] == [True, True]


def test_what_failed_is_noted_and_tried_again(tmp_path: Path) -> None:
    sources = photos(tmp_path / "in", 3)
    whole = sources[1].read_bytes()
    sources[1].write_bytes(whole[:-2])
    outcomes, _ = journaled(tmp_path)
    assert "is truncated" in errors(outcomes)[1]
    rows = [
        json.loads(line) for path in (tmp_path / "out" / ".dacli").iterdir() for line in path.read_text().splitlines()
    ]
    assert [(row["name"], "is truncated" in row.get("error", "")) for row in rows] == [
        *(("00.png", False), ("01.png", True), ("02.png", False))
    ]
    again, model = journaled(tmp_path)
    assert [is_skipped(outcome) for outcome in again] == [True, False, True]
    assert "is truncated" in errors(again)[1]
    assert model.seen == 0
    sources[1].write_bytes(whole)
    assert [is_skipped(outcome) for outcome in journaled(tmp_path)[0]] == [True, False, True]
    assert [is_skipped(outcome) for outcome in journaled(tmp_path)[0]] == [True, True, True]
