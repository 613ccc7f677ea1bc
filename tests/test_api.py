"""The Python interface: what it takes, what it returns, and what it raises."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import matplotlib as mpl
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import dacli
from dacli import Depth, DepthMap, prefetch
from dacli.batch.outcomes import Failed
from tests.support.commands import Run, files_below, photo
from tests.support.hanging import in_time

TORCH: dict[str, Any] = {"device": "cpu", "engine": "torch", "size": 32}


@pytest.fixture
def depth(home: Path) -> Depth:  # noqa: ARG001 - the bundled model of the tests
    return dacli.load("tiny", **TORCH)


def pixels(path: Path) -> NDArray[Any]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_a_picture_gives_its_depth_at_its_own_size(depth: Depth, home: Path) -> None:
    found = depth(photo(home / "a.png"))
    assert found.depth.shape == (24, 36)
    assert found.depth.dtype == np.float32
    assert (found.quantity, found.network_size, found.tiles) == ("inverse depth", (32, 64), 0)
    assert np.isfinite(found.depth).all()


def test_the_command_gives_the_same_depth(depth: Depth, home: Path, dacli: Run) -> None:
    found = depth(str(photo(home / "a.png")))
    run = dacli("image", "a.png", "--encoder", "tiny", "--size", "32", "--engine", "torch", "--save", "npy,png16")
    assert run.code == 0
    assert np.array_equal(np.load(home / "a_depth.npy"), found.depth)
    found.save(home / "b.png")
    assert np.array_equal(np.asarray(Image.open(home / "b.png")), np.asarray(Image.open(home / "a_depth16.png")))


def test_all_ways_to_give_a_picture_give_the_same_depth(depth: Depth, home: Path) -> None:
    path = photo(home / "a.png")
    rgb = pixels(path)
    ways: list[Any] = [
        path,
        str(path),
        Image.open(path),
        rgb,
        torch.from_numpy(rgb.copy()).permute(2, 0, 1),
        rgb.astype(np.uint16) * 257,
    ]
    first, *others = [found.depth for found in depth(ways)]
    for other in others[:-1]:
        assert np.array_equal(first, other)
    np.testing.assert_allclose(first, others[-1], atol=1e-4)  # 16 bits are not rounded to 8
    floats = torch.from_numpy(rgb / np.float32(255)).permute(2, 0, 1)
    np.testing.assert_allclose(first, depth(floats).depth, atol=1e-3)


def test_transparent_pictures_of_pil_are_laid_over_white(depth: Depth) -> None:
    rgba = np.random.default_rng(3).integers(0, 256, (24, 36, 4), dtype=np.uint8)
    white = Image.new("RGBA", (36, 24), "white")
    expected = depth(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB")).depth
    np.testing.assert_allclose(depth(Image.fromarray(rgba)).depth, expected, atol=0.02)


def test_gray_pictures_are_pictures_too(depth: Depth) -> None:
    gray = np.arange(24 * 36, dtype=np.uint16).reshape(24, 36) * 70
    assert np.array_equal(depth(gray).depth, depth(np.repeat(gray[..., None], 3, axis=2)).depth)


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((8, 8, 3), np.float64), "uint8 or uint16 values, not float64"),
        (np.zeros((8, 8, 2), np.uint8), r"not \[8, 8, 2\]"),
        (np.zeros((0, 8, 3), np.uint8), r"not \[0, 8, 3\]"),
        (torch.full((3, 8, 8), 2.0), "values from 0 to 1"),
        (None, "not object"),
    ],
)
def test_what_is_not_a_picture_is_a_value_error(depth: Depth, picture: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        depth(picture)


def test_a_file_that_cannot_be_read_is_a_dacli_error(depth: Depth, home: Path) -> None:
    (home / "a.png").write_text("not a picture")
    with pytest.raises(dacli.DacliError, match=r"a\.png holds text, not a picture"):
        depth(home / "a.png")


def test_a_stream_keeps_the_order_and_ends_its_threads_when_left(depth: Depth, home: Path) -> None:
    paths = [photo(home / f"{n}.png", n, shape) for n, shape in enumerate([(24, 36), (36, 24), (30, 30)] * 3)]
    seen = in_time(lambda: list(depth.stream(paths)))
    assert [found.source for found in seen] == [path.name for path in paths]
    alone = [depth(path).depth for path in paths]
    assert all(np.array_equal(a.depth, b) for a, b in zip(seen, alone, strict=True))
    leaving = depth.stream(paths)
    next(leaving)
    in_time(leaving.close)
    assert not prefetch.any_stage_alive()


def test_several_threads_may_share_a_model(depth: Depth, home: Path) -> None:
    path = photo(home / "a.png")
    expected, found = depth(path).depth, []
    threads = [threading.Thread(target=lambda: found.append(depth(path).depth)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert all(np.array_equal(expected, one) for one in found)


@pytest.fixture
def ramp(depth: Depth) -> DepthMap:
    found = depth(np.zeros((24, 36, 3), np.uint8))
    values = np.linspace(1, 5, 24 * 36, dtype=np.float32).reshape(24, 36)
    return DepthMap(
        depth=values,
        quantity="inverse depth",
        network_size=found.network_size,
        tiles=0,
        precision="fp32",
        note="",
        settings=found.settings,
        camera=found.camera,
    )


def test_colors_are_those_of_matplotlib(ramp: DepthMap) -> None:
    share = (ramp.depth - 1) / 4
    expected = mpl.colormaps["viridis"](np.rint(share * 255).astype(np.uint8), bytes=True)[..., :3]
    assert np.abs(ramp.colorize("viridis").astype(int) - expected).max() <= 1
    gray = ramp.gray(near="black", low=1, high=5)
    assert np.abs(gray.astype(int) - np.rint((1 - share) * 255)).max() <= 1
    with pytest.raises(ValueError, match="did you mean inferno"):
        ramp.colorize("infern")


def test_saved_files_are_read_by_others(ramp: DepthMap, home: Path) -> None:
    assert ramp.save(home / "a.npy") == home / "a.npy"
    assert np.array_equal(np.load(home / "a.npy"), ramp.depth)
    ramp.save("sub/a.png")
    values = np.asarray(Image.open(home / "sub" / "a.png")).astype(np.float64)
    np.testing.assert_allclose(values / 65535 * 4 + 1, ramp.depth, atol=4 / 65535)
    ramp.save(home / "c.png", kind="color")
    assert np.array_equal(pixels(home / "c.png"), ramp.colorize())
    with pytest.raises(ValueError, match=r"\.npy, \.png, \.exr"):
        ramp.save(home / "a.dpx")
    ramp.save(home / "a.tif")
    assert np.array_equal(np.asarray(Image.open(home / "a.tif")), ramp.depth)
    with pytest.raises(dacli.DacliError, match="glb needs metres"):
        ramp.save(home / "a.glb")
    (home / "file").write_bytes(b"")
    with pytest.raises(dacli.DacliError, match="cannot write"):
        ramp.save(home / "file" / "a.npy")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "vitx"}, "there is no model 'vitx'"),
        ({"model": "hf:nothing"}, "'hf:nothing' names no repository"),
        ({"model": "tiny", "device": "gpu"}, "unknown device"),
        ({"model": "tiny", "precision": "fp8"}, "unknown precision"),
        ({"model": "tiny", "engine": "onnx"}, "unknown engine"),
    ],
)
def test_arguments_that_do_not_exist_are_value_errors(home: Path, arguments: Any, words: str) -> None:  # noqa: ARG001
    with pytest.raises(ValueError, match=words):
        dacli.load(**arguments)


def test_weights_that_cannot_be_had_are_a_dacli_error(home: Path) -> None:
    with pytest.raises(dacli.DacliError, match=r"there is no file .*none\.safetensors"):
        dacli.load(home / "none.safetensors")
    with pytest.raises(dacli.DacliError, match="depth_anything_v2_vits"):
        dacli.load("vits", device="cpu")


def test_a_name_a_file_and_a_repository_lead_to_models(home: Path, weights: Path) -> None:  # noqa: ARG001
    names = dacli.available_models()
    assert {"tiny", "vits", "vitl", "vits-indoor", "vitb-outdoor", "vitl-v1"} <= set(names)
    assert dacli.load(weights, **TORCH).settings.encoder == "tiny"
    with pytest.raises(dacli.DacliError, match="depth_anything_v2_vits"):
        dacli.load("hf:depth-anything/Depth-Anything-V2-Small", device="cpu")


def test_a_folder_is_done_skipped_and_its_failures_named(home: Path) -> None:
    (home / "in" / "sub").mkdir(parents=True)
    photo(home / "in" / "a.png"), photo(home / "in" / "sub" / "b.png", 1)
    (home / "in" / "bad.jpg").write_text("not a picture")
    seen: list[Any] = []
    how: dict[str, Any] = {"model": "tiny", "save": ["png16", "npy"], **TORCH}
    summary = dacli.process_folder(home / "in", home / "out", on_outcome=lambda one, _: seen.append(one), **how)
    assert (summary.done, summary.skipped, summary.failed) == (2, 0, 1)
    (failed,) = (one for one in seen if isinstance(one, Failed))
    assert str(failed.error).startswith(str(home / "in" / "bad.jpg"))
    assert json.loads((home / "out" / "failures.jsonl").read_text())["input"] == str(home / "in" / "bad.jpg")
    assert {"a_depth16.png", "a_depth.npy", "sub/b_depth16.png", "sub/b_depth.npy"} <= set(files_below(home / "out"))
    again = dacli.process_folder(str(home / "in"), str(home / "out"), **how)
    assert (again.done, again.skipped, again.failed) == (0, 2, 1)
    with pytest.raises(dacli.DacliError, match="no pictures"):
        dacli.process_folder(home / "in" / "sub", home / "out", exclude=["*"], **how)
    with pytest.raises(ValueError, match="cannot save 'dpx'"):
        dacli.process_folder(home / "in", home / "out", model="tiny", save=["dpx"])


def test_a_clip_becomes_a_clip(home: Path) -> None:
    source = ["-f", "lavfi", "-i", "testsrc=size=48x32:rate=12:duration=0.5"]
    run = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, "-pix_fmt", "yuv420p", str(home / "a.mp4")]
    subprocess.run(run, check=True, stdin=subprocess.DEVNULL)
    seen: list[int] = []
    how: dict[str, Any] = {"model": "tiny", "save": ["gray", "png16"], **TORCH}
    found = dacli.process_video(home / "a.mp4", home / "out", progress=lambda done, _: seen.append(done), **how)
    assert (found.frames, found.fps, found.skipped) == (6, 12.0, False)
    assert found.outputs == {"gray": home / "out" / "a_gray.mp4", "png16": home / "out" / "a_depth16.mkv"}
    assert seen == [1, 2, 3, 4, 5, 6]
    assert cv2.VideoCapture(str(found.outputs["gray"])).get(cv2.CAP_PROP_FRAME_COUNT) == 6
    assert dacli.process_video(home / "a.mp4", home / "out", **how).skipped
    with pytest.raises(dacli.DacliError, match=r"none\.mp4"):
        dacli.process_video(home / "none.mp4", **how)


def test_nothing_is_printed(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (home / "in").mkdir()
    photo(home / "in" / "a.png")
    lines: list[str] = []
    dacli.load("tiny", log=lines.append, **TORCH)(home / "in" / "a.png")
    dacli.process_folder(home / "in", home / "out", model="tiny", **TORCH)
    assert capfd.readouterr() == ("", "")
    assert [line for line in lines if line.startswith("tiny inverse depth at 32 px")]


def test_the_import_is_light_and_names_are_there() -> None:
    code = "import dacli, sys, json; print(json.dumps([sorted(sys.modules), dir(dacli), dacli.load.__name__]))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    before, names, load = json.loads(run.stdout)
    assert not {"torch", "cv2", "matplotlib", "numpy"} & set(before)
    assert {"load", "Depth", "DepthMap", "process_folder", "process_video", "available_models", "DacliError"} <= set(
        names
    )
    assert load == "load"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dacli.nothing  # noqa: B018
