from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dacli import jobs
from dacli.errors import DacliError, UsageError
from dacli.train import pairs
from dacli.train.pairs import Pair


def picture(path: Path, height: int = 4, width: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)).save(path)
    return path


def depth(path: Path, height: int = 4, width: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.arange(1, height * width + 1, dtype=np.float16).reshape(height, width))
    return path


def listed(folder: Path, lines: str, count: int = 3) -> Path:
    for number in range(count):
        picture(folder / f"rgb/{number}.png")
        depth(folder / f"depth/{number}.npy")
    (folder / "list.txt").write_text(lines)
    return folder / "list.txt"


@pytest.mark.parametrize("mark", ["\t", ",", " ", " , ", "   "])
def test_a_list_names_pairs_from_its_own_folder(mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"# rgb, depth\nrgb/0.png{mark}depth/0.npy\n\nrgb/1.png{mark}depth/1.npy\n"
    path = listed(tmp_path / "data", text)
    monkeypatch.chdir(tmp_path)
    assert pairs.find(path, "mm") == [
        Pair(tmp_path / f"data/rgb/{n}.png", tmp_path / f"data/depth/{n}.npy", "mm") for n in (0, 1)
    ]


def test_names_may_hold_spaces_and_commas_where_tabs_divide(tmp_path: Path) -> None:
    path = listed(tmp_path, "a b, c.png\td e, f.npy\nrgb/0.png\tdepth/0.npy\n")
    picture(tmp_path / "a b, c.png")
    depth(tmp_path / "d e, f.npy")
    assert pairs.find(path, "m")[0] == Pair(tmp_path / "a b, c.png", tmp_path / "d e, f.npy", "m")


def test_missing_files_are_all_named_up_to_ten(tmp_path: Path) -> None:
    lines = [f"rgb/{n}.png\tdepth/{n}.npy" for n in range(12)]
    path = listed(tmp_path, "\n".join(lines))
    with pytest.raises(DacliError) as error:
        pairs.find(path, "m")
    told = str(error.value)
    assert "18 files" in told
    assert all(f"rgb/{n}.png" in told and f"depth/{n}.npy" in told for n in range(3, 8))
    assert "rgb/8.png" not in told
    assert "and 8 more" in told
    path.write_text("rgb/0.png\tdepth/0.npy\nrgb/1.png\tdepth/9.npy")
    with pytest.raises(DacliError, match=r"1 files of .*list\.txt are missing: .*depth/9\.npy: put"):
        pairs.find(path, "m")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rgb/0.png depth/0.npy extra", "line 1 .* 3 names"),
        ("rgb/0.png\tdepth/0.npy\nrgb/1.png", "line 2 .* 1 names"),
        ("", "names 0 pairs"),
        ("rgb/0.png depth/0.npy", "names 1 pairs"),
    ],
)
def test_lists_that_are_none(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=fault):
        pairs.find(listed(tmp_path, text), "m")


def test_a_list_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match="cannot be read"):
        pairs.find(tmp_path / "none.txt", "m")
    with pytest.raises(DacliError, match="cannot be read"):
        pairs.find(picture(tmp_path / "a.png"), "m")


@pytest.mark.parametrize("unit", [None, "miles", "hypersim"])
def test_a_list_needs_a_unit(unit: str | None, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--unit takes m, cm, mm or 1/m"):
        pairs.find(listed(tmp_path, "rgb/0.png depth/0.npy"), unit)


def test_the_layout_of_hypersim(tmp_path: Path) -> None:
    for frame in (0, 1):
        images = tmp_path / "ai_001_001/images"
        path = images / f"scene_cam_00_geometry_hdf5/frame.{frame:04}.depth_meters.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["dataset"] = np.full((6, 8), 2.0, np.float16)
        (path.parent / f"frame.{frame:04}.normal_cam.hdf5").touch()
        picture(images / f"scene_cam_00_final_preview/frame.{frame:04}.tonemap.jpg", 6, 8)
    found = pairs.find(tmp_path, None)
    assert [p.picture.name for p in found] == ["frame.0000.tonemap.jpg", "frame.0001.tonemap.jpg"]
    rgb, inverse = pairs.read(found[1])
    assert rgb.shape == (6, 8, 3)
    assert 0.5 < inverse.min() < inverse.max() < 0.7  # a sphere around the camera: its middle is the farthest
    found[0].picture.unlink()
    with pytest.raises(DacliError, match=r"frame\.0000\.tonemap\.jpg"):
        pairs.find(tmp_path, None)


def test_the_layout_of_virtual_kitti(tmp_path: Path) -> None:
    frames = tmp_path / "Scene01/clone/frames"
    for camera in (0, 1):
        picture(frames / f"rgb/Camera_{camera}/rgb_00007.jpg")
        (frames / f"depth/Camera_{camera}").mkdir(parents=True)
        values = np.full((4, 6), 2500, np.uint16)
        Image.fromarray(values).save(frames / f"depth/Camera_{camera}/depth_00007.png")
    found = pairs.find(tmp_path, None)
    assert [p.picture.relative_to(frames).as_posix() for p in found] == [
        "rgb/Camera_0/rgb_00007.jpg",
        "rgb/Camera_1/rgb_00007.jpg",
    ]
    np.testing.assert_allclose(pairs.read(found[0])[1], 1 / 25)


def test_a_folder_of_another_layout(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DacliError, match="neither Hypersim nor Virtual KITTI 2"):
        pairs.find(tmp_path, None)


def test_sizes_that_do_not_match_are_told_of_both(tmp_path: Path) -> None:
    pair = Pair(picture(tmp_path / "a.png", 4, 6), depth(tmp_path / "b.npy", 6, 4), "m")
    with pytest.raises(DacliError, match=r"a\.png has 4 × 6 pixels and its depth .*b\.npy 6 × 4"):
        pairs.read(pair)


def test_pictures_of_16_bits_lose_the_lower_eight(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2700
    Image.fromarray(values).save(tmp_path / "a.png")
    rgb, _ = pairs.read(Pair(tmp_path / "a.png", depth(tmp_path / "b.npy"), "m"))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, (values // 256)[..., None].repeat(3, 2))


def labels_of(folder: Path, out: Path, names: list[str]) -> None:
    for job in jobs.plan([folder / n for n in names], out, ("half",), root=folder, suffixes=jobs.LABELS):
        depth(job.outputs["half"])


def test_pictures_find_their_labels_by_the_plan_that_made_them(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "labels"
    for name in ("a.png", "a.jpg", "deep/b.png", "deep/c.png"):
        picture(folder / name)
    labels_of(folder, out, ["a.png", "a.jpg", "deep/b.png"])
    found, without = pairs.labelled(str(folder), out)
    assert without == 1
    names = [(p.picture.relative_to(folder).as_posix(), p.depth.relative_to(out).as_posix()) for p in found]
    assert names == [
        ("a.jpg", "a_jpg_depth.npy"),
        ("a.png", "a_png_depth.npy"),
        ("deep/b.png", "deep/b_depth.npy"),
    ]
    assert {p.unit for p in found} == {"label"}


def test_pictures_without_labels_are_told_how_to_get_some(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    with pytest.raises(DacliError, match=r"labels of 0 of the 1 pictures .* dacli train label"):
        pairs.labelled(str(tmp_path / "in"), tmp_path / "labels")


def test_a_digest_tells_pairs_apart_wherever_they_lie(tmp_path: Path) -> None:
    def digest(root: Path, names: str, unit: str = "m") -> str:
        return pairs.digest([Pair(root / f"{n}.png", root / f"{n}.npy", unit) for n in names], root)

    first = digest(tmp_path / "x", "abc")
    assert first.startswith("3 pairs ")
    assert digest(tmp_path / "y", "abc") == first
    assert len({first, digest(tmp_path, "acb"), digest(tmp_path, "abd"), digest(tmp_path, "abc", "cm")}) == 4
