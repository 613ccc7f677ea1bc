"""The examples run with the model inside the package, and do what they say."""

import importlib.util
import inspect
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import imageio_ffmpeg
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

import dacli
from dacli.models import tiny

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted((EXAMPLES / "python").glob("*.py"))
BUNDLED = tiny.BUNDLED_WEIGHTS  # before a fixture replaces it
RANDOM = np.random.default_rng(0)


@pytest.fixture
def desk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small photo, for which dacli has the real weights of tiny."""
    monkeypatch.setattr(tiny, "BUNDLED_WEIGHTS", BUNDLED)
    with Image.open(Path(dacli.__file__).with_name("assets") / "demo.jpg") as demo:
        demo.resize((96, 72)).save(home / "photo.png")
    return home


def load_module(path: Path) -> ModuleType:
    """Return a module from its file, as ComfyUI loads its nodes."""
    spec = importlib.util.spec_from_file_location(f"example_{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_script(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    """Run an example script in this process."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(EXAMPLES / "python" / name), run_name="__main__")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_short_and_listed(script: Path) -> None:
    assert len([line for line in script.read_text("utf-8").splitlines() if line]) <= 60
    assert f"python/{script.name}" in (EXAMPLES / "README.md").read_text("utf-8")


def test_the_blur_script_keeps_the_size(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_script(monkeypatch, "blur_background.py", "photo.png", "blurred.png")
    with Image.open(desk / "photo.png") as before, Image.open(desk / "blurred.png") as after:
        assert after.size == before.size
        assert after.convert("RGB").tobytes() != before.convert("RGB").tobytes()


def test_blur_leaves_what_is_near_and_takes_no_color_from_it() -> None:
    blur = load_module(EXAMPLES / "python" / "blur_background.py").blur_background
    rgb = RANDOM.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    rgb[:, :40] = (255, 0, 0)
    nearness = np.zeros((60, 80), np.float32)
    nearness[:, :40] = 1
    blurred = blur(rgb, nearness, focus=0.7, strength=8)
    assert np.array_equal(blurred[:, :40], rgb[:, :40])
    far = blurred[:, 40:].astype(float)
    assert far.std() < rgb[:, 40:].std() / 5
    assert np.abs(far[:, :3].mean(axis=(0, 1)) - 127.5).max() < 25  # the red of the subject would give 191 and 64


@pytest.mark.parametrize("name", ["loop.gif", "loop.mp4"])
def test_the_parallax_script_writes_a_loop(desk: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    run_script(monkeypatch, "parallax.py", "photo.png", name, "--width", "65")
    if name.endswith(".mp4"):
        assert imageio_ffmpeg.count_frames_and_secs(str(desk / name))[0] == 3 * 36
        return
    with Image.open(desk / name) as loop:
        assert loop.size == (64, 48)
        assert getattr(loop, "n_frames", 1) == 36


def test_parallax_moves_near_and_far_in_opposite_ways() -> None:
    move = load_module(EXAMPLES / "python" / "parallax.py").move_camera
    rgb, nearness = np.zeros((60, 100, 3), np.uint8), np.zeros((60, 100), np.float32)
    rgb[20:40, 20:40, 0], nearness[20:40, 20:40] = 255, 1
    rgb[20:40, 70:75, 1] = 255  # far
    moved = move(rgb, nearness, 0.04, 0.0)  # 4 pixels to the right, and far things 4 to the left
    for channel, expected in ((0, 29.5 + 4), (1, 72 - 4)):
        columns = np.flatnonzero(moved[30, :, channel] > 127)
        assert abs(columns.mean() - expected) <= 1
    assert abs(np.count_nonzero(moved[30, :, 0] > 127) - 20) <= 2


def test_the_points_project_onto_their_pixels(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_script(monkeypatch, "point_cloud.py", "photo.png", "points.ply", "--view", "90", "--near", "2", "--far", "6")
    cloud: Any = trimesh.load(desk / "points.ply")
    assert cloud.vertices.shape == (72 * 96, 3)
    with Image.open(desk / "photo.png") as picture:
        assert np.array_equal(cloud.colors[:, :3], np.asarray(picture.convert("RGB")).reshape(-1, 3))
    x, y, z = np.asarray(cloud.vertices).T
    assert (round(-z.max(), 4), round(-z.min(), 4)) == (2, 6)
    # At 90 degrees the focal length is half the width, 48 pixels.
    np.testing.assert_allclose((48 + 48 * x / -z).reshape(72, 96)[5], np.arange(96) + 0.5, atol=1e-3)
    np.testing.assert_allclose((36 - 48 * y / -z).reshape(72, 96)[:, 5], np.arange(72) + 0.5, atol=1e-3)


@pytest.fixture
def node() -> ModuleType:
    return load_module(EXAMPLES / "comfyui" / "__init__.py")


def test_comfyui_finds_the_node_and_its_inputs(node: ModuleType) -> None:
    for key, kind in node.NODE_CLASS_MAPPINGS.items():
        assert key in node.NODE_DISPLAY_NAME_MAPPINGS
        parameters = list(inspect.signature(getattr(kind, kind.FUNCTION)).parameters)
        assert parameters == ["self", *kind.INPUT_TYPES()["required"]]
        assert len(kind.RETURN_TYPES) == len(kind.RETURN_NAMES) == len(kind.OUTPUT_TOOLTIPS)


@pytest.mark.parametrize("same_range", [True, False])
def test_the_node_gives_what_dacli_gives(desk: Path, node: ModuleType, same_range: bool) -> None:
    with Image.open(desk / "photo.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    batch = np.stack([pixels, pixels[:, ::-1] // 2])
    kind = node.NODE_CLASS_MAPPINGS["DacliDepth"]
    with torch.inference_mode():  # as ComfyUI runs its nodes
        image = torch.from_numpy(batch.astype(np.float32) / 255)
        depth, mask, raw = getattr(kind(), kind.FUNCTION)(image=image, model="tiny", size=0, same_range=same_range)
    assert depth.shape == (2, 72, 96, 3)
    assert mask.shape == raw.shape == (2, 72, 96)
    expected = np.stack([each.depth for each in dacli.load("tiny")(list(batch))])
    span = np.ptp(expected)
    assert np.abs(raw.numpy() - expected).max() < 0.02 * span  # its pictures have 16 bits, these have 8
    ends = [(0.0, 1.0)] if same_range else [(0.0, 1.0)] * 2
    groups = [mask] if same_range else list(mask)
    assert [(float(group.min()), float(group.max())) for group in groups] == ends
    assert np.corrcoef(depth[0, ..., 1].numpy().ravel(), expected[0].ravel())[0, 1] > 0.999


def test_the_node_shows_near_metres_bright(node: ModuleType) -> None:
    near = node.scale_near(torch.tensor([[[1.0, 2.0, 5.0]]]), same_range=True, metres=True)
    assert near.flatten().tolist() == [1.0, 0.75, 0.0]


def test_the_notebook_runs_and_has_no_outputs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("agg")
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text("utf-8"))["cells"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert (names["summary"].done, names["again"].skipped) == (2, 2)
    with Image.open(desk / "depth" / "left_depth16.png") as depth:
        assert depth.size == (300, 512)


def blender_command() -> list[str]:
    """Return the command that runs a script in Blender, or in a Python with bpy; empty if there is neither."""
    if shutil.which("blender"):
        return ["blender", "--background", "--python-exit-code", "1", "--python"]
    return [sys.executable] if importlib.util.find_spec("bpy") else []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "npy"])
def test_the_mesh_in_blender_looks_like_the_photo(desk: Path, kind: str) -> None:
    command = blender_command()
    if not command:
        pytest.skip("neither blender nor bpy is installed")
    depth = dacli.load("tiny")("photo.png").save(f"depth.{kind}")
    script = str(EXAMPLES / "blender" / "depth_to_mesh.py")
    arguments = ["--", "photo.png", str(depth), "photo.blend", "--render", "preview.png", "--columns", "200"]
    subprocess.run([*command, script, *arguments], check=True, timeout=300, env=dict(os.environ))
    assert (desk / "photo.blend").stat().st_size > 100_000
    with Image.open(desk / "photo.png") as before, Image.open(desk / "preview.png") as after:
        assert after.size == (640, 480)
        small = np.asarray(after.convert("RGB").resize(before.size, Image.Resampling.BOX), float)
        assert np.abs(small - np.asarray(before.convert("RGB"), float)).mean() < 8
