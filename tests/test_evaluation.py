import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from dacli import demonstration, device, diagnosis, evaluation, scenes, tiny
from dacli.cli import main
from dacli.evaluation import FORMATS, HELD_OUT, on_scenes, score
from dacli.predictor import Prediction, Predictor
from dacli.train import teacher


class Oracle(Predictor):
    """Knows the scenes' depth, up to a scale and a shift."""

    def __init__(self) -> None:
        self.asked = 0

    def predict(self, pictures: object) -> list[Prediction]:  # noqa: ARG002
        size = FORMATS[self.asked % len(FORMATS)]
        truth = scenes.draw([scenes.scene(7, self.asked)], *size).inverse_depth[0].numpy()
        self.asked += 1
        return [Prediction(3 * truth + 2, size, 0, "fp32")]


def test_who_knows_the_depth_scores_best() -> None:
    shown: list[int] = []
    scores = on_scenes(Oracle(), 4, 7, shown.append)
    assert (scores.ordinal, shown) == (1, [1, 2, 3, 4])
    assert scores.delta1 == pytest.approx(1, abs=1e-3)
    assert scores.abs_rel == pytest.approx(0, abs=1e-3)


def test_the_bundled_model_sees_more_than_that_below_is_near() -> None:
    predictor = Predictor(tiny.load(), device.resolve("cpu", "fp32"))
    rng = np.random.default_rng(0)
    found = []
    for index in range(12):
        picture = scenes.draw([scenes.scene(HELD_OUT, index)], 256, 256)
        (prediction,) = predictor.predict([picture.rgb[0].permute(1, 2, 0).numpy()])
        found.append(score(prediction.depth, picture.inverse_depth[0].numpy(), rng))
    assert np.nanmean([s.ordinal for s in found]) > 0.85 > np.nanmean([s.ramp for s in found]) + 0.05


def test_the_ramp_is_right_where_lower_is_nearer_and_wrong_where_higher_is() -> None:
    floor = np.repeat(1.0 + np.arange(64)[:, None], 48, 1)
    rng = np.random.default_rng(0)
    assert score(floor, floor, rng).ramp == 1
    assert score(floor, floor[::-1].copy(), rng).ramp == 0


def test_the_bundled_file_is_small_half_precision_and_says_what_made_it() -> None:
    assert tiny.BUNDLED.stat().st_size < 15e6
    with safe_open(tiny.BUNDLED, "np") as file:
        made, kinds = file.metadata(), {str(file.get_tensor(key).dtype) for key in file.keys()}  # noqa: SIM118
    assert kinds == {"float16"}
    assert json.loads(made["cycles"]) == teacher.plain(teacher.CYCLES)
    assert made["seed"].isdecimal()


def size_of(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_demo_writes_pictures_of_one_scene_and_tells_the_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "HEIGHT", 64)
    monkeypatch.setattr(demonstration, "WIDTH", 96)
    with pytest.raises(SystemExit) as end:
        main(["demo", "-o", str(tmp_path / "out"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert end.value.code == 0
    sizes = {what: size_of(path) for what, path in found["outputs"].items()}
    assert sizes == {"scene": (96, 64), "depth": (96, 64), "truth": (96, 64), "side": (288, 64)}
    assert 0 <= found["ordinal"] <= 1


def test_demo_into_a_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("here first")
    with pytest.raises(SystemExit) as end:
        main(["demo", "-o", str(tmp_path / "out")])
    (line,) = capsys.readouterr().err.splitlines()
    assert (end.value.code, line.startswith("error: cannot write")) == (1, True)
    assert (tmp_path / "out").read_text() == "here first"


def test_eval_prints_what_it_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "FORMATS", ((64, 64),))
    with pytest.raises(SystemExit) as end:
        main(["eval", "--encoder", "tiny", "--size", "64", "--scenes", "2", "--json", "-q"])
    assert end.value.code == 0
    assert set(json.loads(capsys.readouterr().out)) == {"ordinal", "ramp", "delta1", "abs_rel", "boundary_f1"}


def test_eval_of_metres_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["eval", "--encoder", "tiny", "--model", "indoor"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: tiny has no indoor model")


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


def test_doctor_tells_of_an_ffmpeg_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    assert diagnosis.ffmpeg().startswith("does not work (")


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
    assert "checkpoint.pt is no checkpoint" in line
