import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dacli.errors import DacliError, UsageError
from dacli.evaluation import datasets
from dacli.io import depth_files, images, png, records
from dacli.scenes import export, layouts, moving
from dacli.scenes.export import SceneRequest, write_scene

STILL = SceneRequest(3, (48, 64), ("npy", "png16"))
CLIP = SceneRequest(3, (48, 64), ("npy",), "truck", 4, 2.0)


def made(folder: Path, order: SceneRequest, index: int = 0, *, overwrite: bool = False) -> list[Path]:
    return list(write_scene(folder, order, index, overwrite=overwrite))


def told(picture: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(picture.with_suffix(".json").read_text())
    return found


def truth(picture: Path) -> NDArray[np.float64]:
    return np.asarray(np.load(picture.with_name(f"{picture.stem}_depth.npy")), np.float64)


# --- stills ---


def test_a_scene_becomes_a_picture_its_depth_and_its_description(tmp_path: Path) -> None:
    (picture,) = made(tmp_path / "new", STILL, 7)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        *("scene_000007.json", "scene_000007.png", "scene_000007_depth.npy", "scene_000007_depth16.png")
    ]
    drawn = layouts.render_layouts([layouts.make_scene(3, 7)], 48, 64)
    np.testing.assert_array_equal(images.read_image(picture), drawn.rgb[0].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(truth(picture), drawn.depth[0].numpy())


def test_both_kinds_of_depth_say_the_same_in_metres_and_where_the_sky_is(tmp_path: Path) -> None:
    skies = 0
    for index in range(4):
        (picture,) = made(tmp_path, SceneRequest(1, (48, 64), ("npy", "png16")), index)
        exact = truth(picture)
        with np.errstate(divide="ignore"):
            coarse = 1 / depth_files.read_depth_file(picture.with_name(f"{picture.stem}_depth16.png")).astype(
                np.float64
            )
        seen = np.isfinite(exact)
        step = next(step for step in (0.001, 0.01, 0.1, 1) if exact[seen].max() < 65534 * step)
        np.testing.assert_array_equal(np.isinf(coarse), ~seen)
        np.testing.assert_allclose(coarse[seen], exact[seen], atol=0.501 * step)
        skies += not seen.all()
    assert skies > 1


@pytest.mark.parametrize(
    ("farthest", "step"), [(65.5, 0.001), (65.54, 0.01), (655.0, 0.01), (700.0, 0.1), (7000.0, 1.0), (90000.0, 1.0)]
)
def test_16_bits_take_the_finest_step_that_reaches(tmp_path: Path, farthest: float, step: float) -> None:
    depth = np.array([[1e-9, 0.5, farthest, np.inf]], np.float32)
    path = tmp_path / "a_depth16.png"
    path.write_bytes(export.encode_depth16(depth, "a.png"))
    values = np.asarray(cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED))
    nearest = max(1, np.rint(0.5 / step))
    assert values.tolist() == [[1, nearest, min(65534, round(farthest / step)), 65535]]
    record = records.parse_record(png.read_png_text(path.read_bytes(), "a")["dacli"], "a")
    assert record.white == pytest.approx(65535 * step)
    assert (record.unit == "millimetres") == (step == 0.001)


def test_all_sky_has_a_picture_of_it() -> None:
    assert export.encode_depth16(np.full((2, 3), np.inf, np.float32), "a.png").startswith(png.PNG_SIGNATURE)


def test_pictures_of_a_scene_are_no_inputs_of_a_folders_run_twice(tmp_path: Path) -> None:
    from dacli.batch import inputs

    made(tmp_path, STILL, 1)
    assert [path.name for path in inputs.find_pictures(tmp_path)] == ["scene_000001.png"]


def test_the_pairs_of_the_folder_are_found_again(tmp_path: Path) -> None:
    made(tmp_path, STILL, 0), made(tmp_path, SceneRequest(3, (48, 64), ("png16",)), 1), made(tmp_path, CLIP, 2)
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
    (picture,) = made(tmp_path, STILL, 4)
    said, layout = told(picture), layouts.make_scene(3, 4)
    matrix, pose = np.array(said["intrinsics"]), np.array(said["camera_to_world"])
    assert matrix[0, 0] == matrix[1, 1] == pytest.approx(48 / 2 / np.tan(layout.field_of_view / 2))
    assert matrix[:2, 2].tolist() == [31.5, 23.5]
    assert (said["picture"], said["size"], said["seconds"]) == ("scene_000004.png", [48, 64], 0)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose[:3, 3], layout.position * [1, -1, 1])


def test_points_of_one_frame_lie_in_the_next_where_the_description_says(tmp_path: Path) -> None:
    """Unprojected with one frame's camera and projected with the other's they have the depth that stands there."""
    first, *_, last = made(tmp_path, SceneRequest(3, (96, 128), ("npy",), "truck", 4, 2.0), 1)
    one, other = told(first), told(last)
    depth, there = truth(first), truth(last)
    y, x = np.nonzero(np.isfinite(depth))
    rays = np.linalg.inv(one["intrinsics"]) @ np.stack([x, y, np.ones_like(x)])
    world = np.array(one["camera_to_world"]) @ np.concatenate([rays * depth[y, x], np.ones((1, len(x)))])
    seen = (np.linalg.inv(other["camera_to_world"]) @ world)[:3]
    u, v, _ = np.rint(np.array(other["intrinsics"]) @ seen / seen[2]).astype(int)
    inside = (seen[2] > 0) & (u >= 0) & (u < 128) & (v >= 0) & (v < 96)
    expected, found = seen[2][inside], there[v[inside], u[inside]]
    assert inside.mean() > 0.5
    assert (np.abs(found / expected - 1) < 0.03).mean() > 0.85
    assert np.abs(np.array(one["camera_to_world"]) - other["camera_to_world"]).max() > 0.05


def test_frames_know_their_time_and_are_those_of_the_clip(tmp_path: Path) -> None:
    frames = made(tmp_path, CLIP, 5)
    assert [path.relative_to(tmp_path).as_posix() for path in frames] == [
        f"scene_000005/frame_{number:06}.png" for number in range(4)
    ]
    assert [told(frame)["seconds"] for frame in frames] == [0, 0.5, 1, 1.5]
    drawn = moving.render_clip([layouts.make_scene(3, 5)], moving.MOTIONS["truck"], 4, (48, 64), fps=2.0, seed=5)
    for path, frame in zip(frames, drawn, strict=True):
        np.testing.assert_array_equal(truth(path), frame.depth)


# --- again ---


def stamps(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("order", [STILL, CLIP])
def test_what_is_there_is_not_made_again(tmp_path: Path, order: SceneRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(tmp_path, order)
    before = stamps(tmp_path)
    monkeypatch.setattr(export, "render_frames", None)
    assert made(tmp_path, order) == first
    assert stamps(tmp_path) == before


@pytest.mark.parametrize("order", [STILL, CLIP])
@pytest.mark.parametrize("suffix", [".png", "_depth.npy", ".json"])
def test_what_was_broken_off_is_made_whole(tmp_path: Path, order: SceneRequest, suffix: str) -> None:
    *_, last = made(tmp_path, order)
    lost = last.with_name(last.stem + suffix)
    data = lost.read_bytes()
    lost.unlink()
    made(tmp_path, order)
    assert lost.read_bytes() == data


@pytest.mark.parametrize(
    "other",
    [SceneRequest(4, (48, 64), ("npy",)), SceneRequest(3, (32, 64), ("npy",)), SceneRequest(3, (64, 48), ("npy",))],
)
def test_files_of_another_order_are_not_replaced_unless_asked(tmp_path: Path, other: SceneRequest) -> None:
    made(tmp_path, STILL)
    before = stamps(tmp_path)
    with pytest.raises(DacliError, match=r"scene_000000\.json was made with other settings"):
        made(tmp_path, other)
    assert stamps(tmp_path) == before
    (picture,) = made(tmp_path, other, overwrite=True)
    assert truth(picture).shape == other.size


def test_a_clip_of_another_length_is_another_order(tmp_path: Path) -> None:
    made(tmp_path, CLIP)
    with pytest.raises(DacliError, match="made with other settings"):
        made(tmp_path, SceneRequest(3, (48, 64), ("npy",), "truck", 5, 2.0))
    with pytest.raises(DacliError, match="made with other settings"):
        made(tmp_path, SceneRequest(3, (48, 64), ("npy",), "pan", 4, 2.0))


def test_a_description_that_is_none_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "scene_000000.json").write_text("mine")
    with pytest.raises(DacliError, match="made with other settings"):
        made(tmp_path, STILL)


@pytest.mark.parametrize(
    ("order", "why"),
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
def test_what_cannot_be_rendered_is_told_first(order: SceneRequest, why: str) -> None:
    with pytest.raises(UsageError) as error:
        export.check_scene_request(order)
    assert why in str(error.value)
