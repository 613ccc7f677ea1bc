"""dacli eval, compare and scenes as users type them."""

import csv
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dacli.cli.main import main
from dacli.evaluation import scoring, sweeps
from dacli.inference import loading, planning
from dacli.inference.device import ExecutionPlan
from dacli.inference.loading import LoadedPredictor, build_predictor
from dacli.inference.predictor import Prediction
from dacli.io import images, png
from dacli.models import tiny
from dacli.models.choice import ModelChoice
from dacli.models.tiny import Tiny
from dacli.scenes import kinds, metric_places
from dacli.scenes.layouts import render_layouts
from dacli.scenes.raycast import ROOM
from tests.support.commands import SMALL, Run, files_below, photo, read_bgr

EVALUATION_FILES = ("eval.csv", "eval.json", "eval.png", "per_picture.csv", "worst.png")
SCORES = [
    *("ordinal", "ramp", "delta1", "delta2", "delta3", "abs_rel", "rmse", "log10", "silog", "boundary_f1"),
]


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def few_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes are rendered small."""
    monkeypatch.setattr(scoring, "SCENE_FORMATS", ((48, 64), (64, 48)))


# --- eval ---


def test_eval_of_rendered_scenes_is_a_table_or_json(dacli: Run) -> None:
    run = dacli("eval", *SMALL, "--scenes", 2, "--json", "-q")
    (found,) = run.objects
    assert (run.code, run.err) == (0, [])
    assert list(found)[:12] == [
        *("encoder", "model", "weights", "size", "precision", "engine", "device", "align", "pictures", "failed"),
        *("seconds", "ordinal"),
    ]
    assert set(SCORES) <= set(found)
    assert (found["pictures"], found["failed"], found["align"], found["size"]) == (2, 0, "affine", 32)
    table = dacli("eval", *SMALL, "--scenes", 2, "-q").out
    assert "2 rendered scenes of stream 4242" in table
    assert "a fit of inverse depth (affine)" in table
    assert f"{100 * found['ordinal']:.1f} %" in table
    assert f"{found['abs_rel']:.3f}" in table


def test_several_networks_sizes_and_precisions_make_a_row_each_and_five_files(dacli: Run, home: Path) -> None:
    (home / "other").mkdir()
    second = home / "other" / "tiny.safetensors"
    torch.manual_seed(1)
    second.write_bytes(tiny.encode_weights(Tiny(), {}))
    options = ("--size", "32,64", "--precision", "fp32,bf16", "--device", "cpu", "--engine", "torch", "--scenes", 1)
    run = dacli("eval", "--weights", tiny.BUNDLED_WEIGHTS, "--weights", second, *options, "-o", "out", "--json")
    assert run.code == 0
    setups = [(row["weights"], row["size"], row["precision"]) for row in run.objects]
    assert setups == [
        (name, size, how)
        for name in ("tiny.safetensors", "tiny.safetensors")
        for size in (32, 64)
        for how in ("fp32", "bf16")
    ]
    assert len({row["abs_rel"] for row in run.objects}) == 8
    assert files_below(home / "out") == list(EVALUATION_FILES)
    assert [json.loads(line) for line in (home / "out/eval.json").read_text().splitlines()] == run.objects
    rows = list(csv.DictReader((home / "out/eval.csv").read_text().splitlines()))
    assert [float(row["delta1"]) for row in rows] == [row["delta1"] for row in run.objects]
    assert min(read_bgr(home / "out/eval.png").shape[:2]) > 300
    assert run.err[-5:] == [f"wrote out/{name}" for name in EVALUATION_FILES]


def test_a_list_may_have_a_header_and_each_picture_has_its_scores(dacli: Run, home: Path) -> None:
    assert dacli("scenes", 2, "s", "--seed", 9, "--width", 64, "--height", 48, "-q").code == 0
    rows = "".join(f"s/scene_{number:06d}.png,s/scene_{number:06d}_depth.npy\n" for number in range(2))
    (home / "list.csv").write_text(f"image,depth\n{rows}")
    run = dacli(
        "eval", "list.csv", "--unit", "m", "--max-depth", 30, *SMALL, "--precision", "fp32", "-o", "o", "--json"
    )
    (record,) = run.objects
    with (home / "o/per_picture.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["picture"] for row in found] == ["s/scene_000000.png", "s/scene_000001.png"]
    assert np.mean([float(row["abs_rel"]) for row in found]) == pytest.approx(record["abs_rel"])
    assert {row["encoder"] for row in found} == {"tiny"}
    (whole,) = dacli("eval", "list.csv", "--unit", "m", *SMALL, "--precision", "fp32", "--json").objects
    assert whole["rmse"] != record["rmse"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--max-depth", "80"), "--min-depth, --max-depth and --crop need pictures with depth in files: name them"),
        (("da2k", "--crop", "garg"), "--min-depth, --max-depth and --crop need pictures with depth in files"),
        (("x.csv", "--min-depth", "9", "--max-depth", "9"), "no depth is from 9 to 9 m: give --min-depth below"),
        (("x.csv", "--min-depth", "-1"), "no depth is from -1 to inf m"),
        (("x.csv", "--unit", "1/m", "--max-depth", "9"), "--min-depth and --max-depth need metres, not inverse depth"),
        (("x.csv", "--crop", "kitti"), "unknown crop 'kitti': choose none, garg or eigen"),
    ],
)
def test_a_range_that_cannot_be_is_one_line(dacli: Run, home: Path, arguments: tuple[str, ...], why: str) -> None:
    run = dacli("eval", *arguments, "--encoder", "tiny", "-o", "out")
    assert (run.code, run.out, len(run.err)) == (2, "", 1)
    assert run.errors[0].startswith(f"error: {why}")
    assert not (home / "out").exists()


def test_scenes_that_were_written_score_as_those_that_were_not(dacli: Run, home: Path) -> None:
    """The stream of eval is in four formats by turns; its first has the size that is written here."""
    assert dacli("scenes", 1, "s", "--seed", 9, "--width", 64, "--height", 48, "-q").code == 0
    (home / "list.txt").write_text("s/scene_000000.png s/scene_000000_depth.npy\n")
    options = (*SMALL, "--precision", "fp32", "--json", "-q")
    (drawn,) = dacli("eval", "--seed", 9, "--scenes", 1, *options).objects
    (folder,) = dacli("eval", "s", *options).objects
    (listed,) = dacli("eval", "list.txt", "--unit", "m", *options).objects
    errors = [name for name in SCORES if name not in ("ordinal", "ramp")]  # those take points at random
    for found in (folder, listed):
        assert [found[name] for name in errors] == pytest.approx([drawn[name] for name in errors], rel=1e-6)
    (scaled,) = dacli("eval", "list.txt", "--unit", "cm", *options).objects
    assert scaled["rmse"] == pytest.approx(drawn["rmse"] / 100, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "alias", "reach"),
    [("indoor", "hypersim", 20), pytest.param("outdoor", "vkitti", 80, marks=pytest.mark.slow)],
)
def test_models_in_metres_are_judged_without_a_fit_on_what_metres_are_learned_with(
    dacli: Run, home: Path, model: str, alias: str, reach: int
) -> None:
    torch.manual_seed(reach)
    (home / "own.safetensors").write_bytes(tiny.encode_weights(Tiny(reach), {"max_depth": str(reach)}))
    options = ("--weights", "own.safetensors", "--size", 32, "--precision", "fp32", "--scenes", 2, "--seed", 9, "-q")
    run = dacli("eval", "--model", model, *options, "--json")
    (found,) = run.objects
    assert (run.code, found["align"], found["pictures"]) == (0, "none", 2)
    predictor = build_predictor(tiny.load_tiny(home / "own.safetensors"), planning.resolve_plan("cpu", "fp32"), 32)
    expected = []
    for index, size in enumerate(scoring.SCENE_FORMATS):
        drawn = render_layouts([metric_places.METRIC_PLACES[model](9, index)], *size)
        depth, truth = predictor.predict([drawn.rgb[0].permute(1, 2, 0).numpy()])[0].depth, drawn.depth[0].numpy()
        expected.append(np.abs(depth / truth - 1)[truth <= reach].mean())
    assert found["abs_rel"] == pytest.approx(np.mean(expected), rel=1e-4)
    title = f"2 rendered {model} scenes of stream 9; δ1 and all after it without an alignment"
    assert title in dacli("eval", "--model", alias, *options).out


class Red:
    """A predictor that sees in a pixel's red how near it is."""

    spec, size = Tiny().spec, 32

    @property
    def plan(self) -> ExecutionPlan:
        return planning.resolve_plan("cpu", "fp32")

    def predict(self, pictures: Any) -> list[Prediction]:
        return [Prediction(pictures[0][..., 0].astype(np.float32), (1, 1), 0, "fp32")]


def da2k(folder: Path, *closer: str) -> Path:
    """One picture of each scene; at [1, 5] it is nearer than at [4, 0], which column 1, row 5 would not be."""
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[1, 5, 0], rgb[4, 0, 0] = 200, 100
    said = {}
    for number, point in enumerate(closer):
        name = f"images/scene{number}/a.png"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(png.encode_png(rgb))
        said[name] = [{"point1": [1, 5], "point2": [4, 0], "closer_point": point}]
    (folder / "annotations.json").write_text(json.dumps(said))
    return folder


def test_da2k_has_a_column_for_each_scene(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(choice: ModelChoice, **_: object) -> LoadedPredictor:
        red: Any = Red()
        return LoadedPredictor(red, str(choice.encoder), "v2", "red 1 2")

    monkeypatch.setattr(loading, "load_predictor", opened)
    da2k(home / "da", "point1", "point2", "point1")
    run = dacli("eval", "da", "--encoder", "tiny,vits", "--json", "-q", "-o", "out")
    for row, name in zip(run.objects, ("tiny", "vits"), strict=True):
        assert {key: row[key] for key in list(row)[11:]} == {"all": 2 / 3, "scene0": 1, "scene1": 0, "scene2": 1}
        assert (row["encoder"], row["pictures"]) == (name, 3)
    table = dacli("eval", "da", "--encoder", "tiny,vits", "-q").out
    assert re.search(r"encoder +all +scene0 +scene1 +scene2", table)
    assert re.search(r"vits +66\.7 % +100\.0 % +0\.0 % +100\.0 %", table)
    assert "3 pictures and 3 pairs of da: pairs in the right order" in table
    assert min(read_bgr(home / "out/eval.png").shape[:2]) > 300


def test_a_point_outside_is_told_once_and_the_exit_code_is_1(dacli: Run, home: Path) -> None:
    da2k(home / "da", "point1", "point2")
    said = json.loads((home / "da/annotations.json").read_text())
    said["images/scene1/a.png"][0]["point1"] = [5, 8]
    (home / "da/annotations.json").write_text(json.dumps(said))
    run = dacli("eval", "da", "--encoder", "tiny", "--size", "32,64", "--json")
    assert run.code == 1
    assert [(row["pictures"], row["failed"]) for row in run.objects] == [(1, 1), (1, 1)]
    assert run.errors == [
        "error: the point [5, 8] lies outside da/images/scene1/a.png, which has 6 rows and 8 columns: "
        "points are [row, column], from 0"
    ]


def test_one_bad_pair_of_a_list_is_named_and_the_others_count(dacli: Run, home: Path) -> None:
    dacli("scenes", 2, "s", "--width", 64, "--height", 48, "-q")
    np.save(home / "s/scene_000001_depth.npy", np.zeros((48, 64)))
    run = dacli("eval", "s", *SMALL, "--json", "-o", "out")
    assert (run.code, run.objects[0]["pictures"]) == (1, 1)
    assert run.errors == [
        "error: s/scene_000001_depth.npy holds no depth: all of it is 0, infinite or not a number: "
        "check what made it, or leave it out"
    ]
    assert files_below(home / "out") == list(EVALUATION_FILES)


def test_if_nothing_can_be_judged_there_is_no_table(dacli: Run, home: Path) -> None:
    dacli("scenes", 1, "s", "--width", 64, "--height", 48, "-q")
    (home / "s/scene_000000.png").write_bytes(b"")
    run = dacli("eval", "s", *SMALL, "-o", "out", "-q")
    assert (run.code, run.out) == (1, "")
    assert run.errors[0] == "error: s/scene_000000.png is empty: check what made it"
    assert run.errors[1].startswith("error: none of the 1 pictures of s could be evaluated")
    assert not (home / "out").exists()


def test_results_that_are_there_are_not_replaced_unless_asked(dacli: Run, home: Path) -> None:
    (home / "out").mkdir()
    (home / "out/eval.json").write_text("mine")
    run = dacli("eval", *SMALL, "--scenes", 1, "-o", "out")
    assert (run.code, run.out) == (1, "")
    assert run.err == ["error: out/eval.json exists already: --overwrite replaces it"]
    assert dacli("eval", *SMALL, "--scenes", 1, "-o", "out", "--overwrite").code == 0
    assert "mine" not in (home / "out/eval.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--encoder", "tiny,vitz"], 2, "unknown encoder 'vitz'"),
        (["--encoder", "tiny,vits", "--weights", "a.pth"], 2, "several encoders and --weights contradict"),
        (["--encoder", "tiny", "--model", "indoor"], 2, "there is no indoor model of tiny"),
        (["--encoder", "tiny", "--align", "least"], 2, "unknown align 'least': choose none, median"),
        (["--encoder", "tiny", "--align", "none"], 2, "--align none needs metres, and relative depth has no scale"),
        (["--encoder", "tiny", "--size", "256,big"], 2, "--size big is not a number of pixels"),
        (["--encoder", "tiny", "--size", "256,9"], 2, "--size 9 is not between 14 and 10000"),
        (["--encoder", "tiny", "--precision", "fp32,fp8"], 2, "unknown precision 'fp8'"),
        (["--encoder", "tiny", "--device", "tpu"], 2, "unknown device 'tpu'"),
        (
            ["--encoder", "tiny", "--unit", "yards"],
            2,
            "--unit yards is not a unit of depth: give m, cm, mm, 1/m or the metres",
        ),
        (["nowhere", "--encoder", "tiny"], 1, "nowhere does not exist: give a folder, a list of pairs, DA-2K.zip"),
        (["empty", "--encoder", "tiny"], 1, "no pictures with depth in empty"),
        (["text.zip", "--encoder", "tiny"], 1, "text.zip is not a complete ZIP archive"),
        (["list.txt", "--encoder", "tiny"], 1, "2 files of list.txt are missing: a.png, a.npy: put them there"),
        (
            ["list.txt", "--model", "indoor", "--unit", "1/m"],
            2,
            "--align none needs metres, and inverse depth of unknown",
        ),
        (["da2k", "--encoder", "tiny"], 1, "cannot download DA-2K.zip (HF_HUB_OFFLINE is set): fetch https://"),
        (["--encoder", "tiny", "-o", "text.zip"], 1, "cannot write text.zip/eval.csv"),
    ],
)
def test_what_eval_cannot_do_is_one_line(dacli: Run, home: Path, arguments: list[str], code: int, why: str) -> None:
    (home / "empty").mkdir()
    (home / "text.zip").write_text("text")
    (home / "list.txt").write_text("a.png a.npy\n")
    run = dacli("eval", *arguments, *(() if "--size" in arguments else ("--size", "32")), "--scenes", 1)
    assert run.code == code
    assert len(run.errors) == 1
    assert run.errors[0].startswith(f"error: {why}")


def test_what_suits_the_model_is_aligned_unless_asked() -> None:
    assert [sweeps.choose_alignment(None, model) for model in ("v1", "v2", "indoor", "outdoor")] == [
        *("affine", "affine", "none", "none")
    ]
    assert [sweeps.choose_alignment(how, "indoor") for how in ("none", "median", "affine")] == [
        "none",
        "median",
        "affine",
    ]


# --- compare ---


@pytest.fixture(scope="session")
def finished(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs over three pictures, of two sizes of the network, and one of them a second time."""
    home = tmp_path_factory.mktemp("runs")
    (home / "in/sub").mkdir(parents=True)
    for number, name in enumerate(("a", "b", "sub/c")):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 36, 3), dtype=np.uint8)
        (home / f"in/{name}.png").write_bytes(png.encode_png(pixels))
    for out, size, save in (("A", "32", "npy"), ("B", "64", "png16"), ("same", "32", "npy")):
        options = ("--weights", str(weights), "--size", size, "--precision", "fp32", "--save", save, "-q")
        with pytest.raises(SystemExit) as ended:
            main(["folder", str(home / "in"), str(home / out), *options])
        assert ended.value.code == 0
    return home


@pytest.fixture
def runs(finished: Path, home: Path) -> None:
    """A copy of them where the command runs."""
    shutil.copytree(finished, home, dirs_exist_ok=True)


@pytest.mark.usefixtures("runs")
def test_compare_tells_how_much_and_where_and_draws_it(dacli: Run, home: Path) -> None:
    run = dacli("compare", "A", "B", "--json", "-o", "out")
    whole, *each = run.objects
    assert run.code == 0
    assert [row["picture"] for row in each] == [
        row["picture"] for row in sorted(each, key=lambda row: -float(row["mean"]))
    ]
    assert sorted(row["picture"] for row in each) == ["a", "b", "sub/c"]
    assert whole["mean"] == pytest.approx(np.mean([row["mean"] for row in each]))
    a, b = np.load("A/a_depth.npy").ravel().astype(float), decoded(dacli, "B/a_depth16.png")
    scale, shift = np.polyfit(b, a, 1)
    span = np.subtract(*np.percentile(a, (98, 2)))
    expected = np.abs(scale * b + shift - a).mean() / span
    assert next(row["mean"] for row in each if row["picture"] == "a") == pytest.approx(expected, rel=1e-4)
    assert files_below(home / "out") == ["compare.csv", "compare.json", "compare.png"]
    rows = list(csv.DictReader((home / "out/compare.csv").read_text().splitlines()))
    assert [row["picture"] for row in rows] == ["all 3", *(row["picture"] for row in each)]
    assert read_bgr(home / "out/compare.png").shape[0] > 900
    table = dacli("compare", "A", "B").out
    assert "after B is aligned to A (affine, in inverse depth)" in table
    assert re.search(rf"all 3 +0 of 3 +x, y +{100 * whole['mean']:.3g} %", table)
    off = np.abs(scale * b + shift - a).reshape(24, 36)
    y, x = np.unravel_index(off.argmax(), off.shape)
    assert next((row["x"], row["y"]) for row in each if row["picture"] == "a") == (x, y)


@pytest.mark.slow
@pytest.mark.usefixtures("runs")
def test_photos_make_the_sheet_wider_and_their_lack_is_noted(dacli: Run, home: Path) -> None:
    hint = "the sheet has no photos: --photos DIR names the folder that both runs took"
    assert dacli("compare", "A", "B", "-o", "plain").err[-1] == hint
    assert hint not in dacli("compare", "A", "B", "-o", "photos", "--photos", "in").err
    plain, photos = (read_bgr(home / name / "compare.png") for name in ("plain", "photos"))
    assert photos.shape[1] > 1.2 * plain.shape[1]


def decoded(dacli: Run, path: str) -> Any:
    assert dacli("decode", path, "-o", "decoded.npy", "--overwrite").code == 0
    return np.load("decoded.npy").ravel().astype(float)


@pytest.mark.usefixtures("runs")
def test_the_same_run_twice_is_the_same(dacli: Run) -> None:
    run = dacli("compare", "A", "same", "--align", "none", "--json")
    assert run.code == 0
    assert run.objects[0] == {"picture": "all 3", "mean": 0, "p99": 0, "largest": 0, "order": 1, "same": 3}


@pytest.mark.usefixtures("runs")
def test_what_only_one_run_has_is_named_and_the_exit_code_is_1(dacli: Run, home: Path) -> None:
    (home / "A/a_depth.npy").unlink()
    (home / "B/b_depth16.png").unlink()
    run = dacli("compare", "A", "B", "--json")
    assert (run.code, len(run.objects)) == (1, 2)
    assert run.err == ["only in A: b", "only in B: a"]


@pytest.mark.usefixtures("runs")
def test_damaged_outputs_are_named_and_the_rest_is_compared(dacli: Run, home: Path) -> None:
    (home / "B/b_depth16.png").write_bytes((home / "B/b_depth16.png").read_bytes()[:-40])
    np.save(home / "A/a_depth.npy", np.ones((3, 3), np.float32))
    run = dacli("compare", "A", "B", "--json")
    assert (run.code, len(run.objects)) == (1, 2)
    assert run.errors[0].startswith("error: a: 3 × 3 pixels in A, 36 × 24 in B")
    assert run.errors[1].startswith("error: B/b_depth16.png is truncated")
    (home / "B/sub/c_depth16.png").write_bytes(b"")
    run = dacli("compare", "A", "B")
    assert (run.code, run.out) == (1, "")
    assert run.errors[-1] == "error: no picture could be compared: the lines above say why"


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["A", "nowhere"], 1, "nowhere is not a folder: name two output folders of dacli"),
        (["in", "A"], 1, "in holds no depth: run dacli with --save npy or png16"),
        (["A/sub", "B"], 1, "A and B have no picture in common"),
        (["A", "B", "--align", "best"], 2, "unknown align 'best'"),
        (["A", "B", "--photos", "in"], 2, "--photos is for the sheet, which only -o writes: give -o DIR, or leave"),
        (["A", "B", "-o", "out", "--photos", "in/sub"], 1, "in/sub holds no photo of a: name the folder that the runs"),
        (["A", "B", "-o", "out", "--photos", "none"], 1, "none does not exist"),
        (["A", "B", "-o", "A/a_depth.npy"], 1, "cannot write A/a_depth.npy/compare.csv"),
    ],
)
def test_what_compare_cannot_do_is_one_line(dacli: Run, arguments: list[str], code: int, why: str) -> None:
    run = dacli("compare", *arguments)
    assert run.code == code
    assert len(run.err) == 1
    assert run.err[0].startswith(f"error: {why}")


# --- scenes ---


def test_scenes_are_pictures_that_other_commands_take(dacli: Run, home: Path) -> None:
    run = dacli("scenes", 2, "s", "--seed", 5, "--width", 64, "--height", 48, "--save", "png16,npy")
    assert (run.code, run.out.split()) == (0, ["s/scene_000000.png", "s/scene_000001.png"])
    assert len(files_below(home / "s")) == 8
    assert images.read_image(home / "s/scene_000000.png").shape == (48, 64, 3)
    assert dacli("decode", "s/scene_000000_depth16.png", "-o", "d.npy").code == 0
    exact = np.load("s/scene_000000_depth.npy")
    seen = np.isfinite(exact)
    np.testing.assert_allclose(np.load("d.npy")[seen], exact[seen], rtol=0.02)
    assert dacli("folder", "s", "out", *SMALL, "--json", "-q").out.count('"ok": true') == 2


def test_a_clip_is_a_folder_of_frames(dacli: Run, home: Path) -> None:
    run = dacli("scenes", 1, "c", "--clip", "pan", "--frames", 3, "--fps", 2, "--width", 32, "--height", 32)
    assert run.code == 0
    assert run.out.split() == [f"c/scene_000000/frame_{number:06}.png" for number in range(3)]
    assert json.loads((home / "c/scene_000000/frame_000002.json").read_text())["seconds"] == 1


def test_scenes_may_be_of_some_kinds_only(dacli: Run, home: Path) -> None:
    size = ("--width", 32, "--height", 32)
    run = dacli("scenes", 6, "s", "--seed", 0, "--kind", "streets, rooms", *size, "--json")
    assert (run.code, run.err) == (0, [])
    assert {row["kind"] for row in run.objects} == {"rooms", "streets"}
    for row in run.objects:
        layout = kinds.make_scene(0, row["scene"], ["rooms", "streets"])
        assert (layout.solids["kind"] == ROOM).any() == (row["kind"] == "rooms")
        drawn = render_layouts([layout], 32, 32).rgb[0].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(images.read_image(home / row["pictures"][0]), drawn)
    assert dacli("scenes", 7, "s", "--seed", 0, "--kind", "rooms,streets", *size, "-q").code == 0
    again = dacli("scenes", 7, "s", "--seed", 0, "--kind", "rooms", *size)
    assert (again.code, again.out) == (1, "")
    assert again.errors == [
        "error: s/scene_000000.json was made with other settings: choose another folder, or replace it with --overwrite"
    ]


@pytest.mark.usefixtures("home")
def test_a_folder_named_as_a_kind_is_no_choice_of_the_kind(dacli: Run) -> None:
    size = ("--width", 32, "--height", 32)
    run = dacli("scenes", 1, "rooms", *size)
    assert run.err == ["rooms is the output folder, scenes are of all kinds: --kind rooms renders only rooms"]
    assert dacli("scenes", 1, "streets", "--kind", "rooms", *size).err == []


def test_the_help_names_every_kind_of_scene(dacli: Run) -> None:
    text = re.sub(r"[\s│]", "", dacli("scenes", "--help").out)
    for name in kinds.SCENE_KINDS:
        assert name in text


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ([1, "s", "--kind", "room"], 2, "unknown kind 'room': did you mean rooms? choose rooms, streets, landscapes,"),
        ([1, "s", "--kind", "rooms,sea"], 2, "unknown kind 'sea': choose rooms, streets"),
        ([1, "s", "--kind", ","], 2, "--kind names no kind of scene: give any of rooms,streets,"),
        ([0, "s"], 2, None),
        (["many", "s"], 2, None),
        ([1, "s", "--seed", -1], 2, None),
        ([1, "s", "--width", 5], 2, "5 × 48 pixels cannot be rendered"),
        ([1, "s", "--save", "png8"], 2, "cannot save 'png8': --save takes any of npy,png16"),
        ([1, "s", "--save", ","], 2, "--save names no kind of depth"),
        ([1, "s", "--clip", "zoom"], 2, "there is no motion 'zoom'"),
        ([1, "s", "--clip", "pan", "--fps", 0], 2, "--fps 0 is not a rate"),
        ([1, "file"], 1, "cannot write file/scene_000000.png"),
        ([1, "other"], 1, "other/scene_000000.json was made with other settings"),
    ],
)
def test_what_scenes_cannot_do_is_one_line(
    dacli: Run, home: Path, arguments: list[object], code: int, why: str | None
) -> None:
    (home / "file").write_text("here first")
    (home / "other").mkdir()
    (home / "other/scene_000000.json").write_text('{"made_of": {"seed": 2}}')
    run = dacli("scenes", *arguments, "--height", 48)
    assert (run.code, run.out) == (code, "")
    if why is not None:
        (line,) = run.err
        assert line.startswith(f"error: {why}")
    assert files_below(home) == ["file", "other", "other/scene_000000.json"]


@pytest.mark.parametrize("command", ["eval", "compare", "scenes"])
def test_each_has_help_with_an_example(dacli: Run, command: str) -> None:
    run = dacli(command, "--help")
    assert (run.code, run.err) == (0, [])
    assert f"Example: dacli {command}" in run.out
    assert command in dacli("--help").out


@pytest.mark.slow
def test_models_are_compared_on_one_photo_in_a_sheet(dacli: Run, home: Path) -> None:
    photo(home / "a.png", shape=(32, 48))
    run = dacli("compare", "a.png", "--models", "tiny", "--size", "32,64", "-o", "sheets", "--json")
    assert run.code == 0, run.err
    found = json.loads(run.out)
    assert found["sheet"] == "sheets/a_models.png"
    assert [(row["encoder"], row["size"]) for row in found["results"]] == [("tiny", 32), ("tiny", 64)]
    assert all(row["seconds"] > 0 and row["peak_gib"] > 0 for row in found["results"])
    with Image.open("sheets/a_models.png") as sheet:
        assert sheet.width > 2 * 48
    assert (home / "sheets/a_models.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.png", "--models", "tiny,vitx"), "there is no model 'vitx': choose one of tiny, vits"),
        (("a.png", "--models", ","), "--models names no model"),
        (("a.png", "b", "--models", "tiny"), "--models takes one photo: leave the second folder and --photos out"),
        (("none.png", "--models", "tiny"), "none.png"),
        (("a.png", "--models", "vits"), "depth_anything_v2_vits.pth"),
        (("a.png",), "a second folder is missing"),
        (("a", "b", "--size", "64"), "--size is for --models"),
    ],
)
def test_a_comparison_of_models_that_cannot_be_is_one_line(
    dacli: Run, home: Path, arguments: Sequence[str], message: str
) -> None:
    photo(home / "a.png")
    run = dacli("compare", *arguments)
    assert run.code in (1, 2)
    assert message in run.errors[0]
    assert not (home / "a_models.png").exists()
