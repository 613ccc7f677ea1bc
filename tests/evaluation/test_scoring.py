import json
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from dacli.bench import diagnosis
from dacli.cli.main import main
from dacli.errors import DacliError
from dacli.evaluation import demonstration, scoring
from dacli.evaluation.datasets import DepthPair
from dacli.evaluation.scoring import (
    HELD_OUT,
    SCENE_FORMATS,
    EvaluationData,
    EvaluationSample,
    ValidArea,
    rendered_scenes,
    score_prediction,
)
from dacli.inference import device, planning
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Prediction, Predictor
from dacli.io import png
from dacli.io.depth_files import UNITS
from dacli.models import tiny
from dacli.models.tiny import Tiny
from dacli.scenes import kinds, layouts
from dacli.training.recipes import SCHEDULES


@cache
def rendered(seed: int, index: int) -> layouts.Rendering:
    return layouts.render_layouts([kinds.make_scene(seed, index)], *SCENE_FORMATS[index % len(SCENE_FORMATS)])


class Oracle(Predictor):
    """Knows the depth of scenes by their pictures, up to a scale and a shift, or in metres up to 100."""

    def __init__(self, seed: int, count: int, *, metres: bool = False) -> None:
        self._spec = replace(Tiny().spec, quantity="metres" if metres else "inverse depth")
        self.known = {}
        for index in range(count):
            picture = rendered(seed, index)
            self.known[picture.rgb[0].permute(1, 2, 0).numpy().tobytes()] = picture.depth[0].numpy()

    def predict(self, pictures: Any) -> list[Prediction]:
        depth: Any = self.known[pictures[0].tobytes()]
        given: Any = np.minimum(depth, 100) if self.spec.quantity == "metres" else 3 / depth + 2
        return [Prediction(given, (1, 1), 0, "fp32")]


def test_who_knows_the_depth_scores_best() -> None:
    shown: list[int] = []
    found = scoring.evaluate_predictor(Oracle(7, 2), rendered_scenes(2, 7, "affine"), shown.append)
    assert (found.scores["ordinal"], found.pictures, shown) == (1, 2, [1, 2])
    assert [found.scores[f"delta{n}"] for n in (1, 2, 3)] == pytest.approx([1, 1, 1], abs=1e-3)
    assert [found.scores[name] for name in ("abs_rel", "log10")] == pytest.approx([0, 0], abs=1e-3)
    assert found.seconds > 0


def test_metres_need_no_fit_and_relative_depth_does() -> None:
    metric = scoring.evaluate_predictor(Oracle(7, 1, metres=True), rendered_scenes(1, 7, "none"), lambda _: None).scores
    assert metric["delta1"] > 0.95
    assert metric["abs_rel"] < 0.05
    assert metric["ordinal"] > 0.98
    relative = scoring.evaluate_predictor(Oracle(7, 2), rendered_scenes(2, 7, "median"), lambda _: None).scores
    assert relative["delta1"] < 0.85
    assert relative["ordinal"] == 1


def test_scores_are_means_over_pictures_and_what_is_unknown_is_left_out() -> None:
    marks = [{"a": (1.0, 1.0)}, {"a": (0.0, 1.0), "b": (3.0, 4.0)}, {"b": (1.0, 4.0)}]
    data = EvaluationData(
        "three", "xyz", lambda index: EvaluationSample(np.zeros((2, 2, 3), np.uint8), lambda _: marks[index])
    )
    found = scoring.evaluate_predictor(Flat(), data, lambda _: None)
    assert found.scores == {"a": 0.5, "b": 0.5}


class Flat(Predictor):
    def __init__(self) -> None:
        self._spec = Tiny().spec

    def predict(self, pictures: Any) -> list[Prediction]:
        return [Prediction(np.ones(pictures[0].shape[:2], np.float32), (1, 1), 0, "fp32")]


def test_of_a_sky_nothing_is_known_and_that_is_no_score() -> None:
    marks = scoring.KnownDepth(np.zeros((20, 20)), 0).score(np.ones((20, 20)))
    assert set(marks) == {"boundary_f1"}


def test_a_picture_that_cannot_be_judged_is_named_and_the_others_go_on() -> None:
    def read(index: int) -> EvaluationSample:
        if index == 1:
            raise DacliError("b is empty", "check it")
        return EvaluationSample(np.zeros((2, 2, 3), np.uint8), lambda _: {"a": (1.0, 1.0)})

    found = scoring.evaluate_predictor(Flat(), EvaluationData("three", "abc", read), lambda _: None)
    assert (found.pictures, found.scores) == (2, {"a": 1})
    assert {name: str(fault) for name, fault in found.errors.items()} == {"b": "b is empty: check it"}


def test_pictures_with_depth_in_files_score_as_their_depth_says(tmp_path: Path) -> None:
    rgb, depth = np.zeros((30, 40, 3), np.uint8), np.random.default_rng(0).uniform(1, 9, (30, 40))
    (tmp_path / "a.png").write_bytes(png.encode_png(rgb))
    np.save(tmp_path / "a.npy", depth)
    pairs = [DepthPair(tmp_path / "a.png", tmp_path / "a.npy")]
    scores = scoring.evaluate_predictor(Flat(), scoring.data_of_pairs("x", pairs, "affine"), lambda _: None).scores
    far = 1 / (1 / depth).mean()
    assert scores["rmse"] == pytest.approx(np.sqrt(((far - depth) ** 2).mean()))
    assert scores["abs_rel"] == pytest.approx((np.abs(far - depth) / depth).mean())
    assert scores["delta2"] == pytest.approx((np.maximum(far / depth, depth / far) < 1.25**2).mean())
    assert scores["ordinal"] == 0.5
    assert scores["boundary_f1"] == 0


def test_a_range_and_a_crop_leave_out_what_lies_outside_and_cut_predictions(tmp_path: Path) -> None:
    rgb, depth = np.zeros((375, 1242, 3), np.uint8), np.random.default_rng(0).uniform(1, 120, (375, 1242))
    (tmp_path / "a.png").write_bytes(png.encode_png(rgb))
    np.save(tmp_path / "a.npy", depth)
    pairs = [DepthPair(tmp_path / "a.png", tmp_path / "a.npy", UNITS["m"])]
    area = ValidArea(2.0, 80.0, "garg")
    data = scoring.data_of_pairs("x", pairs, "none", area)
    inside = np.zeros(depth.shape, bool)
    inside[153:371, 44:1197] = True  # the pixels that monocular depth papers name for 375 × 1242
    inside &= (depth >= 2) & (depth <= 80)
    found = data.read(0).score(np.full(depth.shape, 1 / 100.0))  # 100 m, cut to 80
    assert found["abs_rel"][0] == pytest.approx((np.abs(80 - depth[inside]) / depth[inside]).mean())
    assert found["rmse"][0] == pytest.approx(np.sqrt(((80 - depth[inside]) ** 2).mean()))


def test_what_lies_beyond_the_reach_counts_for_nothing() -> None:
    depth = layouts.render_layouts([kinds.make_scene(2, 0)], *SCENE_FORMATS[0]).depth[0].numpy()
    reach = float(np.median(depth))
    wrong_far: Any = np.where(depth <= reach, 1 / depth, 1)
    for beyond, error in ((reach, 0), (np.inf, 1)):
        marks = rendered_scenes(1, 2, "none", reach=beyond).read(0).score(wrong_far)
        assert (marks["abs_rel"][0] > 0.1) == error
        assert (marks["ordinal"][0] < 1) == error


def test_the_bundled_model_sees_more_than_that_below_is_near() -> None:
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan("cpu", "fp32"))
    found = []
    for index in range(12):
        picture = layouts.render_layouts([kinds.make_scene(HELD_OUT, index)], 256, 256)
        (prediction,) = predictor.predict([picture.rgb[0].permute(1, 2, 0).numpy()])
        found.append(score_prediction(prediction.depth, picture.inverse_depth[0].numpy(), index))
    assert np.nanmean([s.ordinal for s in found]) > 0.85 > np.nanmean([s.ramp for s in found]) + 0.05


def test_the_ramp_is_right_where_lower_is_nearer_and_wrong_where_higher_is() -> None:
    floor = np.repeat(1.0 + np.arange(64)[:, None], 48, 1)
    assert score_prediction(floor, floor, 0).ramp == 1
    assert score_prediction(floor, floor[::-1].copy(), 0).ramp == 0


def test_the_bundled_file_is_small_half_precision_and_says_what_made_it() -> None:
    assert tiny.BUNDLED_WEIGHTS.stat().st_size < 15e6
    with safe_open(tiny.BUNDLED_WEIGHTS, "np") as file:
        made = file.metadata()
        kinds = {("running" in key, str(file.get_tensor(key).dtype)) for key in file.keys()}  # noqa: SIM118
    assert kinds == {(False, "float16"), (True, "float32")}  # weights, and the statistics, which float16 cannot hold
    schedule = SCHEDULES["tiny", "pretrained"].with_changes(steps=9000, batch=16, size=288, rate=6e-4)
    assert json.loads(made["cycles"]) == schedule.as_lists()
    assert "nsfwjs" in made["init source"]
    assert made["seed"].isdecimal()


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_demo_writes_pictures_of_one_scene_and_tells_the_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "DEMO_HEIGHT", 64)
    monkeypatch.setattr(demonstration, "DEMO_WIDTH", 96)
    with pytest.raises(SystemExit) as end:
        main(["demo", "-o", str(tmp_path / "out"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    sizes = {what: size_of(path) for what, path in found["outputs"].items()}
    photo = {"photo": (512, 512), "photo_depth": (512, 512), "photo_side": (1024, 512)}
    assert sizes == photo | {"scene": (96, 64), "depth": (96, 64), "truth": (96, 64), "side": (288, 64)}
    assert 0 <= found["ordinal"] <= 1


def test_demo_into_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("here first")
    with pytest.raises(SystemExit) as end:
        main(["demo", "-o", str(tmp_path / "out")])
    (line,) = capsys.readouterr().err.splitlines()
    assert (end.value.code, line.startswith("error: cannot write")) == (1, True)
    assert (tmp_path / "out").read_text() == "here first"


def test_doctor_names_device_reason_ffmpeg_and_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DACLI_ENCODER", "vitl")
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert end.value.code == 0
    assert lines["precision"] in {"fp32", "fp16", "bf16"}
    assert "DACLI_ENCODER=vitl" in lines["settings"]
    assert Path(lines["ffmpeg"].partition(" at ")[2]).is_file()


def test_doctor_recommends_openvino_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(diagnosis.diagnose_machine())["OpenVINO"] == version("openvino")
    monkeypatch.setattr(device, "is_installed", lambda name: name != "openvino")
    found = dict(diagnosis.diagnose_machine())
    assert "pip install openvino" in found["OpenVINO"]
    assert found["engine"] == "torch"


def test_doctor_tells_whether_int8_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dict(diagnosis.diagnose_machine())["NNCF"] == version("nncf")
    monkeypatch.setattr(device, "is_installed", lambda name: name != "nncf")
    assert dict(diagnosis.diagnose_machine())["NNCF"] == "missing: pip install nncf for --precision int8"


def test_doctor_tells_of_an_ffmpeg_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    assert diagnosis.describe_ffmpeg().startswith("does not work (")


def test_training_into_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("here first")
    with pytest.raises(SystemExit) as end:
        main(["train", "teacher", str(tmp_path / "run")])
    (line,) = capsys.readouterr().err.splitlines()
    assert (end.value.code, line.startswith("error: ")) == (1, True)


def test_training_refuses_a_damaged_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"garbage")
    with pytest.raises(SystemExit) as end:
        main(["train", "teacher", str(tmp_path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert "checkpoint.pt is not a checkpoint" in line
