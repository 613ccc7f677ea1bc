"""dacli train as users type it."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dacli.cli import train
from dacli.cli.main import main
from dacli.models import registry, tiny
from dacli.models.tiny import Tiny
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts
from dacli.training import data
from dacli.training.initialization import untrained_network
from dacli.training.parallel import TrainingWorld
from tests.support import commands
from tests.support.hanging import in_time

Run = Callable[..., tuple[int, list[str], list[str]]]
SHORT = ("--steps", "2", "--batch", "2", "--size", "64", "--workers", "0")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WORLD_SIZE", "SLURM_ARRAY_TASK_ID", "DACLI_ENCODER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(data, "VALIDATION_SAMPLES", 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def dacli(dacli: commands.Run) -> Run:
    """Exit code and the lines of both streams of dacli train."""

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        found = dacli("train", *arguments)
        return found.code, found.out.splitlines(), found.err

    return run


@pytest.fixture
def photos(home: Path) -> Path:
    """Three rendered pictures and one broken file, with depth in millimetres and a list of pairs."""
    folder, rows = home / "photos", []
    (folder / "deep").mkdir(parents=True)
    for n, name in enumerate(("a", "b", "deep/c")):
        found = render_layouts([make_scene(9, n)], 72, 96)
        Image.fromarray(found.rgb[0].permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
        depth = (found.depth[0] * 1000).clamp(0, 65535).nan_to_num(0).numpy().astype(np.uint16)
        (home / "depth" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(depth).save(home / f"depth/{name}.png")
        rows.append(f"photos/{name}.png\tdepth/{name}.png\n")
    (home / "list.txt").write_text("".join(rows))
    return folder


def vits_file(path: Path) -> Path:
    torch.manual_seed(2)
    torch.save(untrained_network("vits", None).state_dict(), path)
    return path


def test_a_teacher_of_rendered_scenes(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LINE_INTERVAL", math.inf)  # a slow machine would print its progress
    code, out, err = dacli("teacher", "run", *SHORT)
    assert (code, out, err) == (0, ["run/tiny.safetensors"], [])
    assert tiny.load_tiny(Path("run/tiny.safetensors")).max_depth is None
    assert dacli("teacher", "run", *SHORT)[:2] == (0, ["run/tiny.safetensors"])  # nothing is left to do


@pytest.mark.slow
def test_a_teacher_that_ends_by_the_clock(dacli: Run) -> None:
    code, out, _ = dacli("teacher", "run", "--steps", "100000", "--time", "1s", *SHORT[2:])
    assert (code, out) == (0, ["run/tiny.safetensors"])
    rows = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert rows[-2]["step"] == rows[-2]["of"] == 100_000


@pytest.mark.parametrize(
    "name",
    [
        "tiny.safetensors",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("log.jsonl", "loss.png", "samples.png")),
    ],
)
def test_a_file_that_is_not_of_the_training_stays(dacli: Run, name: str) -> None:
    dacli("teacher", "other", *SHORT, "--seed", "2")
    for content in (b"mine", Path("other", name).read_bytes()):
        Path("run").mkdir(exist_ok=True)
        Path("run", name).write_bytes(content)
        code, out, err = dacli("teacher", "run", *SHORT)
        assert (code, out, len(err)) == (1, [], 1)
        assert err[0].startswith(f"error: run/{name} exists and is not a complete output of dacli: move it away, or")
        assert [(path.name, path.read_bytes()) for path in Path("run").iterdir()] == [(name, content)]


@pytest.mark.parametrize("name", ["log.jsonl", "tiny.safetensors", "checkpoint.pt"])
def test_a_pipe_where_a_training_writes_is_named_at_once(dacli: Run, name: str) -> None:
    Path("run").mkdir()
    os.mkfifo(Path("run", name))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(60)
    code, _, err = dacli("teacher", "run", *SHORT)
    signal.alarm(0)
    assert (code, len(err)) == (1, 1)
    assert f"run/{name}" in err[0]


@pytest.mark.parametrize("text", ["soon", "10", "0m", "-5m", "10 minutes"])
def test_a_time_that_is_not_one(dacli: Run, text: str) -> None:
    code, out, err = dacli("teacher", "run", *SHORT, "--time", text)
    assert (code, out, err) == (2, [], [f"error: --time {text} is not a time: use 90s, 10m or 2h"])
    assert not Path("run").exists()


def test_a_teacher_of_pictures_with_depth(dacli: Run, photos: Path) -> None:
    assert photos.is_dir()
    code, out, _ = dacli("teacher", "run", "--data", "list.txt", "--unit", "mm", *SHORT)
    assert (code, out) == (0, ["run/tiny.safetensors"])


def test_a_teacher_of_scenes_that_were_written(dacli: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scenes", "2", "rooms", "--width", "96", "--height", "72", "--save", "png16", "-q"])
    capsys.readouterr()
    assert dacli("teacher", "run", "--data", "rooms", *SHORT)[:2] == (0, ["run/tiny.safetensors"])


def test_labels_go_through_the_folder_pipeline(dacli: Run, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"no picture")
    label = ("label", "photos", "labels", "--encoder", "tiny", "--size", "64", "-q")
    code, out, err = dacli(*label)
    assert code == 1
    assert out == ["labels/a_depth.npy", "labels/b_depth.npy", "labels/deep/c_depth.npy"]
    assert any("bad.jpg" in line for line in err)
    assert "bad.jpg" in Path("labels/failures.jsonl").read_text()
    found = np.load("labels/a_depth.npy")
    assert (found.dtype, found.shape) == (np.float16, (72, 96))
    again = Path("labels/b_depth.npy")
    again.unlink()
    before = Path("labels/a_depth.npy").stat().st_mtime_ns
    dacli(*label)
    assert again.is_file()
    assert Path("labels/a_depth.npy").stat().st_mtime_ns == before
    full, predicted = tiny.load_tiny(), np.load(again).astype(np.float32)
    assert full.max_depth is None
    assert np.isfinite(predicted).all()


def test_labels_equal_the_depth_of_dacli_folder(dacli: Run, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dacli("label", "photos", "labels", "--encoder", "tiny", "--size", "64", "--precision", "fp32")
    with pytest.raises(SystemExit):
        main(
            ["folder", str(photos), "out", "--encoder", "tiny", "--size", "64", "--precision", "fp32", "--save", "npy"]
        )
    capsys.readouterr()
    for name in ("a", "b", "deep/c"):
        exact = np.load(f"out/{name}_depth.npy")
        np.testing.assert_array_equal(np.load(f"labels/{name}_depth.npy"), exact.astype(np.float16))


def test_a_shard_labels_its_part(dacli: Run, photos: Path) -> None:
    assert photos.is_dir()
    made = [
        dacli("label", "photos", "labels", "--encoder", "tiny", "--size", "64", "--shard", f"{n}/2")[1] for n in (1, 2)
    ]
    assert sorted(made[0] + made[1]) == ["labels/a_depth.npy", "labels/b_depth.npy", "labels/deep/c_depth.npy"]


@pytest.mark.slow
def test_a_student_of_another_encoder_than_its_teacher(dacli: Run, photos: Path) -> None:
    (photos / "late.png").write_bytes((photos / "a.png").read_bytes())
    dacli("label", "photos", "labels", "--encoder", "tiny", "--size", "64", "--exclude", "late.png")
    init = vits_file(Path("vits.pth"))
    code, out, err = dacli(
        "student",
        "run",
        "photos",
        "labels",
        "--init",
        init,
        "--steps",
        "1",
        "--batch",
        "2",
        "--size",
        "56",
        "--workers",
        "0",
        "--strong",
    )
    assert (code, out, err) == (0, ["run/vits.safetensors"], ["1 pictures have no label and are left out"])
    choice = registry.choose_model(None, "v2", Path("run/vits.safetensors"))
    network = registry.open_own_file(Path("run/vits.safetensors"), choice).network
    assert float(network(torch.zeros(1, 3, 56, 56)).std()) >= 0


@pytest.mark.slow
def test_a_teacher_of_another_encoder_than_its_student(dacli: Run, photos: Path) -> None:
    assert photos.is_dir()
    dacli("label", "photos", "labels", "--weights", vits_file(Path("vits.pth")), "--size", "56")
    code, out, _ = dacli("student", "run", "photos", "labels", "--encoder", "tiny", *SHORT)
    assert (code, out) == (0, ["run/tiny.safetensors"])


def test_metres_of_rendered_rooms_are_metres_to_every_command(
    dacli: Run, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = dacli("metric", "run", "--encoder", "tiny", *SHORT)
    assert (code, out) == (0, ["run/tiny.safetensors"])
    with pytest.raises(SystemExit):
        main(["image", str(photos / "a.png"), "--weights", out[0], "--save", "npy", "--json", "-q"])
    said = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (said["encoder"], said["model"], said["quantity"]) == ("tiny", "indoor", "metres")
    assert 0 < said["range"][0] < said["range"][1] < 20
    code, _, err = dacli("label", "photos", "labels", "--weights", out[0])
    assert (code, err) == (
        2,
        ["error: pseudo-labels are inverse depth, and this network predicts metres: choose a relative one"],
    )


def test_metres_of_pictures_outdoors(dacli: Run, photos: Path) -> None:
    assert photos.is_dir()
    given = ("--data", "list.txt", "--unit", "mm", "--model", "outdoor")
    assert dacli("metric", "run", *given, *SHORT)[0] == 0
    assert tiny.load_tiny(Path("run/tiny.safetensors")).max_depth == 80


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("teacher", "run", "--data", "list.txt"), 2, "needs the unit of its depth"),
        (("teacher", "run", "--data", "list.txt", "--unit", "miles"), 2, "--unit miles is not a unit of depth"),
        (("teacher", "run", "--data", "none.txt", "--unit", "m"), 1, "none.txt does not exist"),
        (("teacher", "run", "--data", "photos"), 1, "no pictures with depth in photos"),
        (("teacher", "run", "--encoder", "vitx"), 2, "unknown encoder 'vitx'"),
        (("teacher", "run", "--precision", "fp16"), 2, "unknown precision 'fp16'"),
        (("teacher", "run", "--device", "cuda:77"), 1, "cuda:77"),
        (("teacher", "run", "--init", "none.pth"), 1, "there is no file none.pth"),
        (("teacher", "run", "--init", "tiny.safetensors", "--encoder", "vits"), 1, "holds tiny, not vits"),
        (("teacher", "list.txt", *SHORT), 1, "cannot write list.txt"),
        (("label", "none", "labels"), 1, "none does not exist"),
        (("label", "empty", "labels"), 1, "no pictures in empty"),
        (("label", "photos", "labels", "--model", "indoor"), 2, "this network predicts metres"),
        (("student", "run", "photos", "labels"), 1, "labels of 0 of the 3 pictures"),
        (("metric", "run", "--model", "moon"), 2, "unknown model 'moon': choose indoor or outdoor"),
        (("metric", "run", "--encoder", "vits"), 2, "from a relative checkpoint"),
        (
            ("metric", "run", "--data", "list.txt", "--unit", "1/m"),
            2,
            "inverse depth of unknown scale cannot train metres",
        ),
    ],
)
def test_what_users_get_wrong_is_one_line(
    arguments: tuple[str, ...], code: int, fault: str, dacli: Run, photos: Path
) -> None:
    (photos.parent / "empty").mkdir()
    Path("tiny.safetensors").write_bytes(tiny.encode_weights(Tiny(), {}))
    found, out, err = dacli(*arguments)
    assert (found, out) == (code, [])
    (line,) = err
    assert line.startswith("error: ")
    assert fault in line
    assert not Path("run").exists()


def test_a_list_with_a_bad_pair_ends_in_its_line(dacli: Run, photos: Path) -> None:
    Image.fromarray(np.zeros((72, 96), np.uint16)).save(photos.parent / "depth/b.png")
    Image.fromarray(np.ones((36, 96), np.uint16)).save(photos.parent / "depth/deep/c.png")
    code, out, err = dacli("teacher", "run", "--data", "list.txt", "--unit", "mm", *SHORT)
    assert (code, out) == (1, [])
    (line,) = err
    assert "holds no depth" in line or "give depth of the picture's size" in line


def test_a_run_with_other_settings_is_named(dacli: Run) -> None:
    dacli("teacher", "run", *SHORT)
    code, _, err = dacli("teacher", "run", *SHORT, "--seed", "2", "--rate", "0.01")
    assert code == 1
    (line,) = err
    assert "seed 1 instead of 2" in line
    assert "rates 0.001 0.0003 instead of 0.01 0.01" in line


def test_a_world_that_cannot_share_a_batch_is_named(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from dacli.training import parallel

    monkeypatch.setattr(parallel.TrainingWorld.__init__, "__defaults__", ("cpu", 0, 3))
    code, _, err = dacli("teacher", "run", *SHORT)
    assert (code, Path("run").exists()) == (1, False)
    assert "a batch of 2 has no equal parts for 3 processes" in err[0]


def test_ctrl_c_saves_the_step_and_says_so() -> None:
    """The terminal sends it to all processes, also to those that make the batches."""
    options = ("--batch", "2", "--size", "32", "--workers", "1", "--steps", "100000", "-q")
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from dacli.training import run; run.LOG_EVERY = 1; from dacli.cli.main import main; main()"
    command = (sys.executable, "-c", code, "train", "teacher", "run", *options)
    log = Path("run/log.jsonl")  # has a row after a step
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as training:
        try:
            in_time(lambda: wait_until(lambda: log.exists() and log.stat().st_size > 0), limit=180)
            os.killpg(training.pid, signal.SIGINT)
            _, err = training.communicate(timeout=60)
        finally:
            if training.poll() is None:
                os.killpg(training.pid, signal.SIGKILL)
    found = re.fullmatch(r"stopped after step (\d+), which is saved; the same command goes on from there\n", err)
    assert found is not None, err
    assert training.returncode == 130
    assert torch.load("run/checkpoint.pt", weights_only=True)["done"] == int(found[1]) >= 1


def wait_until(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_the_step_and_the_second_does_not(number: signal.Signals) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, interrupt)
    try:
        with train.signals_after_step(TrainingWorld()) as is_stopping:
            assert not is_stopping()
            os.kill(os.getpid(), number)
            assert is_stopping()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt), train.signals_after_step(TrainingWorld(count=2)):
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(("saved", "said"), [(True, "from the last checkpoint"), (False, "before anything was saved")])
def test_an_interruption_promises_only_what_is_there(home: Path, *, saved: bool, said: str) -> None:
    if saved:
        (home / "checkpoint.pt").touch()
    assert said in train.describe_interruption(KeyboardInterrupt(), home)


@pytest.mark.slow
def test_a_training_that_is_killed_leaves_no_process_behind() -> None:
    code = """
from pathlib import Path
from dacli.scenes.kinds import make_scene
from dacli.training.data import BatchSettings, BatchStream, SceneSource, TrainingStage, load_batches

if __name__ == "__main__":
    stage = TrainingStage(steps=1000, size=32, batch=2, fresh=2, canvas=48)
    for _ in load_batches(BatchStream(BatchSettings(stage, SceneSource(1, make_scene), 1), 0, 0, 1000), 1):
        Path("learning").touch()
"""
    Path("learn.py").write_text(code)
    command = (sys.executable, "learn.py")
    learning = Path("learning")  # made with the first batch

    def alone() -> bool:
        try:
            os.killpg(training.pid, 0)
        except ProcessLookupError:
            return True
        return False

    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as training:
        try:
            in_time(lambda: wait_until(learning.exists), limit=180)
            training.kill()
            training.wait()
            in_time(lambda: wait_until(alone))
        finally:
            if not alone():
                os.killpg(training.pid, signal.SIGKILL)
