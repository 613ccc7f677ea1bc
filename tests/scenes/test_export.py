"""Scenes written as files: pictures, depth, camera; read with OpenCV, Pillow and NumPy."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.errors import DacliError, UsageError
from dacli.evaluation import datasets
from dacli.io import png, records
from dacli.scenes import export, kinds, layouts, moving
from dacli.scenes.export import SceneRequest, write_scene
from tests.support.commands import SMALL, Run

STILL = SceneRequest(3, (48, 64), ("npy", "png16"))
CLIP = SceneRequest(3, (48, 64), ("npy",), "truck", 4, 2.0)


def write(folder: Path, scene_request: SceneRequest, index: int = 0, *, overwrite: bool = False) -> list[Path]:
    return list(write_scene(folder, scene_request, index, overwrite=overwrite))


def description(picture: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(picture.with_suffix(".json").read_text())
    return found


def exact_depth(picture: Path) -> NDArray[np.float64]:
    return np.asarray(np.load(picture.with_name(f"{picture.stem}_depth.npy")), np.float64)


# --- stills ---


def test_a_scene_is_a_picture_its_depth_and_its_description(tmp_path: Path) -> None:
    (picture,) = write(tmp_path / "new", STILL, 7)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        *("scene_000007.json", "scene_000007.png", "scene_000007_depth.npy", "scene_000007_depth16.png")
    ]
    rendering = layouts.render_layouts([kinds.make_scene(3, 7)], 48, 64)
    np.testing.assert_array_equal(Image.open(picture), rendering.rgb[0].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(exact_depth(picture), rendering.depth[0].numpy())


def test_both_kinds_of_depth_agree_in_metres_and_in_the_sky(tmp_path: Path) -> None:
    skies = 0
    for index in range(4):
        (picture,) = write(tmp_path, SceneRequest(1, (48, 64), ("npy", "png16")), index)
        exact = exact_depth(picture)
        values = np.asarray(Image.open(picture.with_name(f"{picture.stem}_depth16.png")))
        known = np.isfinite(exact)
        step = next(step for step in (0.001, 0.01, 0.1, 1) if exact[known].max() < 65534 * step)
        np.testing.assert_array_equal(values == 65535, ~known)
        np.testing.assert_allclose(values[known] * step, exact[known], atol=0.501 * step)
        skies += not known.all()
    assert skies > 1


@pytest.mark.parametrize(
    ("farthest", "step"), [(65.5, 0.001), (65.54, 0.01), (655.0, 0.01), (700.0, 0.1), (7000.0, 1.0), (90000.0, 1.0)]
)
def test_16_bits_use_the_finest_step_that_holds_the_depth(tmp_path: Path, farthest: float, step: float) -> None:
    depth = np.array([[1e-9, 0.5, farthest, np.inf]], np.float32)
    path = tmp_path / "a_depth16.png"
    path.write_bytes(export.encode_depth16(depth, "a.png"))
    values = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED))
    nearest = max(1, np.rint(0.5 / step))
    assert values.tolist() == [[1, nearest, min(65534, round(farthest / step)), 65535]]
    record = records.parse_record(png.read_png_text(path.read_bytes(), "a")["dacli"], "a")
    assert record.white == pytest.approx(65535 * step)
    assert (record.unit == "millimetres") == (step == 0.001)


def test_a_picture_of_sky_alone_is_all_65535() -> None:
    data = export.encode_depth16(np.full((2, 3), np.inf, np.float32), "a.png")
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.asarray(values).tolist() == [[65535] * 3] * 2


def test_a_folder_run_takes_the_pictures_of_scenes_and_not_their_depth(tmp_path: Path) -> None:
    from dacli.batch import inputs

    write(tmp_path, STILL, 1)
    assert [path.name for path in inputs.find_pictures(tmp_path)] == ["scene_000001.png"]


def test_evaluation_finds_the_pairs_of_the_folder(tmp_path: Path) -> None:
    write(tmp_path, STILL, 0), write(tmp_path, SceneRequest(3, (48, 64), ("png16",)), 1), write(tmp_path, CLIP, 2)
    pairs = datasets.find_pairs(tmp_path)
    assert [pair.picture.relative_to(tmp_path).as_posix() for pair in pairs] == [
        *("scene_000000.png", "scene_000001.png"),
        *(f"scene_000002/frame_{number:06}.png" for number in range(4)),
    ]
    for pair in pairs:
        rgb, depth = datasets.read_pair(pair)
        assert rgb.shape[:2] == depth.shape == (48, 64)


# --- the camera ---


def test_intrinsics_and_pose_are_those_of_the_rendering(tmp_path: Path) -> None:
    (picture,) = write(tmp_path, STILL, 4)
    content, layout = description(picture), kinds.make_scene(3, 4)
    matrix, pose = np.array(content["intrinsics"]), np.array(content["camera_to_world"])
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(48 / 2 / np.tan(layout.field_of_view / 2))
    assert matrix[:2, 2].tolist() == [31.5, 23.5]
    assert (content["picture"], content["size"], content["seconds"]) == ("scene_000004.png", [48, 64], 0)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 3], layout.position * [1, -1, 1])


def test_points_of_one_frame_project_into_another_as_its_camera_says(tmp_path: Path) -> None:
    """Unprojected with the camera of one frame and projected with the other, they have the depth found there."""
    first, *_, last = write(tmp_path, SceneRequest(3, (96, 128), ("npy",), "truck", 4, 2.0), 3)
    one, other = description(first), description(last)
    depth, there = exact_depth(first), exact_depth(last)
    y, x = np.nonzero(np.isfinite(depth))
    rays = np.linalg.inv(one["intrinsics"]) @ np.stack([x, y, np.ones_like(x)])
    world = np.array(one["camera_to_world"]) @ np.concatenate([rays * depth[y, x], np.ones((1, len(x)))])
    local = (np.linalg.inv(other["camera_to_world"]) @ world)[:3]
    u, v, _ = np.rint(np.array(other["intrinsics"]) @ local / local[2]).astype(int)
    inside = (local[2] > 0) & (u >= 0) & (u < 128) & (v >= 0) & (v < 96)
    expected, found = local[2][inside], there[v[inside], u[inside]]
    assert inside.mean() > 0.5
    assert (np.abs(found / expected - 1) < 0.03).mean() > 0.85
    assert np.abs(np.array(one["camera_to_world"]) - other["camera_to_world"]).max() > 0.05


def test_frames_have_their_time_and_are_those_of_the_clip(tmp_path: Path) -> None:
    frames = write(tmp_path, CLIP, 5)
    assert [path.relative_to(tmp_path).as_posix() for path in frames] == [
        f"scene_000005/frame_{number:06}.png" for number in range(4)
    ]
    assert [description(frame)["seconds"] for frame in frames] == [0, 0.5, 1, 1.5]
    rendered = moving.render_clip([kinds.make_scene(3, 5)], moving.MOTIONS["truck"], 4, (48, 64), fps=2.0, seed=5)
    for path, frame in zip(frames, rendered, strict=True):
        np.testing.assert_array_equal(exact_depth(path), frame.depth)


# --- a second run ---


def modification_times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scene_request", [STILL, CLIP])
def test_complete_scenes_are_not_rendered_again(
    tmp_path: Path, scene_request: SceneRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path, scene_request)
    before = modification_times(tmp_path)
    monkeypatch.setattr(export, "render_frames", None)
    assert write(tmp_path, scene_request) == first
    assert modification_times(tmp_path) == before


@pytest.mark.parametrize("scene_request", [STILL, CLIP])
@pytest.mark.parametrize("suffix", [".png", "_depth.npy", ".json"])
def test_missing_files_are_written_again(tmp_path: Path, scene_request: SceneRequest, suffix: str) -> None:
    *_, last = write(tmp_path, scene_request)
    lost = last.with_name(last.stem + suffix)
    data = lost.read_bytes()
    lost.unlink()
    write(tmp_path, scene_request)
    assert lost.read_bytes() == data


@pytest.mark.parametrize(
    "other",
    [SceneRequest(4, (48, 64), ("npy",)), SceneRequest(3, (32, 64), ("npy",)), SceneRequest(3, (64, 48), ("npy",))],
)
def test_files_of_other_settings_are_only_replaced_with_overwrite(tmp_path: Path, other: SceneRequest) -> None:
    write(tmp_path, STILL)
    before = modification_times(tmp_path)
    with pytest.raises(DacliError, match=r"scene_000000\.json was made with other settings"):
        write(tmp_path, other)
    assert modification_times(tmp_path) == before
    (picture,) = write(tmp_path, other, overwrite=True)
    assert exact_depth(picture).shape == other.size


def test_a_clip_of_another_length_or_motion_has_other_settings(tmp_path: Path) -> None:
    write(tmp_path, CLIP)
    with pytest.raises(DacliError, match="made with other settings"):
        write(tmp_path, SceneRequest(3, (48, 64), ("npy",), "truck", 5, 2.0))
    with pytest.raises(DacliError, match="made with other settings"):
        write(tmp_path, SceneRequest(3, (48, 64), ("npy",), "pan", 4, 2.0))


def test_scenes_of_other_kinds_are_other_settings(tmp_path: Path) -> None:
    rooms = SceneRequest(3, (48, 64), ("npy",), scene_kinds=("rooms",))
    write(tmp_path, rooms)
    before = modification_times(tmp_path)
    write(tmp_path, rooms)
    for names in ((), ("rooms", "streets"), ("streets",)):
        with pytest.raises(DacliError, match="made with other settings"):
            write(tmp_path, SceneRequest(3, (48, 64), ("npy",), scene_kinds=names))
    assert modification_times(tmp_path) == before


def test_the_order_in_which_kinds_are_named_does_not_matter(tmp_path: Path) -> None:
    (first,) = write(tmp_path / "a", SceneRequest(3, (48, 64), ("npy",), scene_kinds=("streets", "rooms")))
    (second,) = write(tmp_path / "b", SceneRequest(3, (48, 64), ("npy",), scene_kinds=("rooms", "streets")))
    for suffix in (".png", ".json", "_depth.npy"):
        one, other = (path.with_name(f"{path.stem}{suffix}").read_bytes() for path in (first, second))
        assert one == other


def test_a_damaged_description_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "scene_000000.json").write_text("mine")
    with pytest.raises(DacliError, match="made with other settings"):
        write(tmp_path, STILL)


@pytest.mark.parametrize(
    ("scene_request", "why"),
    [
        (SceneRequest(1, (15, 64), ("npy",)), "64 × 15 pixels cannot be rendered"),
        (SceneRequest(1, (64, 5000), ("npy",)), "5000 × 64 pixels"),
        (SceneRequest(1, (64, 64), ("npy", "exr")), "cannot save 'exr'"),
        (SceneRequest(1, (64, 64), ()), "names no kind"),
        (SceneRequest(1, (64, 64), ("npy",), "fly"), "no motion 'fly': choose one of still, pan"),
        (SceneRequest(1, (64, 64), ("npy",), "pan", 3, 0.0), "--fps 0 is not a rate"),
        (SceneRequest(1, (64, 64), ("npy",), "pan", 3, float("nan")), "--fps nan is not a rate"),
    ],
)
def test_requests_that_cannot_be_rendered_are_rejected(scene_request: SceneRequest, why: str) -> None:
    with pytest.raises(UsageError) as error:
        export.check_scene_request(scene_request)
    assert why in str(error.value)


# --- files that dacli did not make ---


@pytest.mark.parametrize("name", ["scene_000000.png", "scene_000000_depth.npy", "scene_000000.json"])
@pytest.mark.parametrize("content", ["mine", ""])
def test_a_file_that_dacli_did_not_make_stays(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DacliError, match="--overwrite"):
        write(tmp_path, STILL)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == content
    write(tmp_path, STILL, overwrite=True)
    assert (tmp_path / name).read_bytes() != content.encode()


def test_a_file_beside_a_scene_that_is_of_another_stays(tmp_path: Path) -> None:
    write(tmp_path, SceneRequest(3, (48, 64), ("npy",)))
    write(tmp_path / "other", SceneRequest(4, (48, 64), ("npy", "png16")))
    (tmp_path / "other/scene_000000_depth16.png").rename(tmp_path / "scene_000000_depth16.png")
    with pytest.raises(DacliError, match=r"depth16\.png exists and is not a complete output"):
        write(tmp_path, STILL)


@pytest.mark.parametrize("missing", ["scene_000000.json", "scene_000000.png", "scene_000000_depth16.png"])
def test_a_killed_run_goes_on(tmp_path: Path, missing: str) -> None:
    write(tmp_path, STILL)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / missing).unlink()
    write(tmp_path, STILL)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_kinds_may_change_from_run_to_run(tmp_path: Path) -> None:
    for kinds_ in (("npy",), ("png16",), ("npy",), ("npy", "png16")):
        write(tmp_path, SceneRequest(3, (48, 64), kinds_))
    assert len(list(tmp_path.iterdir())) == 4


def test_the_folder_of_a_clip_may_not_be_a_link_out(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms/scene_000000").symlink_to(tmp_path / "outside")
    with pytest.raises(DacliError, match="scene_000000 is a link"):
        write(tmp_path / "rooms", CLIP)
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.usefixtures("home")
def test_true_depth_is_not_replaced_by_that_of_a_network(dacli: Run) -> None:
    assert dacli("scenes", 1, "rooms", "--width", "32", "--height", "32").code == 0
    before = Path("rooms/scene_000000_depth.npy").read_bytes()
    run = dacli("image", "rooms/scene_000000.png", *SMALL, "--save", "npy")
    assert run.code == 1
    assert "scene_000000_depth.npy exists and is not a complete output of dacli" in run.errors[0]
    assert Path("rooms/scene_000000_depth.npy").read_bytes() == before
