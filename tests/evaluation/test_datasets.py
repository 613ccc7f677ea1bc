import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from dacli.batch import jobs
from dacli.errors import DacliError, UsageError
from dacli.evaluation import datasets
from dacli.evaluation.datasets import DepthPair, find_labelled_pairs, find_pairs, find_training_pairs, read_pair
from dacli.outputs import formats


def picture(path: Path, height: int = 4, width: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)).save(path)
    return path


def depth(path: Path, height: int = 4, width: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.arange(1, height * width + 1, dtype=np.float16).reshape(height, width))
    return path


def listed(folder: Path, lines: str | bytes, count: int = 3) -> Path:
    for number in range(count):
        picture(folder / f"rgb/{number}.png")
        depth(folder / f"depth/{number}.npy")
    (folder / "list.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return folder / "list.txt"


# --- pairs ---


def test_depth_of_another_size_names_both_files_and_sizes(tmp_path: Path) -> None:
    pair = DepthPair(picture(tmp_path / "a.png", 4, 6), depth(tmp_path / "b.npy", 6, 4))
    with pytest.raises(DacliError, match=r"a\.png has 6 × 4 pixels, its depth .*b\.npy 4 × 6"):
        read_pair(pair)


def test_a_digest_tells_pairs_apart_wherever_they_lie(tmp_path: Path) -> None:
    def digest(root: Path, names: str, unit: float = 1.0) -> str:
        return datasets.digest_pairs([DepthPair(root / f"{n}.png", root / f"{n}.npy", unit) for n in names], root)

    first = digest(tmp_path / "x", "abc")
    assert first.startswith("3 pairs ")
    assert digest(tmp_path / "y", "abc") == first
    assert len({first, digest(tmp_path, "acb"), digest(tmp_path, "abd"), digest(tmp_path, "abc", 0.01)}) == 4


# --- lists ---


@pytest.mark.parametrize("between", ["\t", ",", " ", "  ", ", ", " , "])
def test_a_list_names_pairs_from_its_own_folder(between: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["# rgb, depth", f"rgb/0.png{between}depth/0.npy", "", f"rgb/1.png{between}{tmp_path / 'data/depth/1.npy'}"]
    path = listed(tmp_path / "data", b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    monkeypatch.chdir(tmp_path)
    pairs = find_pairs(path, 0.5)
    assert pairs == tuple(
        DepthPair(tmp_path / f"data/rgb/{n}.png", tmp_path / f"data/depth/{n}.npy", 0.5) for n in (0, 1)
    )
    assert read_pair(pairs[1])[1].ravel().tolist() == pytest.approx([2 / (n + 1) for n in range(24)])


def test_names_may_hold_spaces_and_commas_where_tabs_divide(tmp_path: Path) -> None:
    path = listed(tmp_path, "a b, c.png\td e, f.npy\nrgb/0.png\tdepth/0.npy\n")
    picture(tmp_path / "a b, c.png")
    depth(tmp_path / "d e, f.npy")
    assert find_pairs(path)[0] == DepthPair(tmp_path / "a b, c.png", tmp_path / "d e, f.npy")
    picture(tmp_path / "a b.png")
    path.write_text("a b.png,depth/0.npy\n")
    assert find_pairs(path)[0].picture == tmp_path / "a b.png"


def test_missing_files_are_named_up_to_ten(tmp_path: Path) -> None:
    lines = [f"rgb/{n}.png\tdepth/{n}.npy" for n in range(12)]
    path = listed(tmp_path, "\n".join(lines))
    with pytest.raises(DacliError) as error:
        find_pairs(path)
    told = str(error.value)
    assert "18 files of" in told
    assert all(f"rgb/{n}.png" in told and f"depth/{n}.npy" in told for n in range(3, 8))
    assert "rgb/8.png" not in told
    assert "depth/7.npy and 8 more" in told
    path.write_text("rgb/0.png\tdepth/0.npy\nrgb/1.png\tdepth/9.npy")
    with pytest.raises(DacliError, match=r"1 files of .*list\.txt are missing: .*depth/9\.npy: put"):
        find_pairs(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"rgb/0.png depth/0.npy extra", r"line 1 of .*list\.txt holds 3 names instead of 2"),
        (b"a b.png a b.npy", "line 1 .* 4 names"),
        (b"rgb/0.png\tdepth/0.npy\nrgb/1.png", "line 2 .* 1 names"),
        (b"rgb/0.png\t", "line 1 .* 2 names"),
        (b"", "is empty"),
        (b"\n# nothing\n", "no pictures with depth in"),
        (b"\xff\xfe\x00", "is not a list of pairs"),
    ],
)
def test_lists_that_are_none(text: bytes, fault: str, tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=fault):
        find_pairs(listed(tmp_path, text))


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match=r"none\.txt does not exist"):
        find_pairs(tmp_path / "none.txt")


# --- trainings ---


def test_a_training_demands_the_unit_of_a_list(tmp_path: Path) -> None:
    path = listed(tmp_path, "rgb/0.png depth/0.npy\nrgb/1.png depth/1.npy")
    with pytest.raises(UsageError, match=r"list\.txt needs the unit of its depth: --unit takes m, cm, mm, 1/m or"):
        find_training_pairs(path, None)
    assert find_training_pairs(path, 0.001) == find_pairs(path, 0.001)


def test_a_training_takes_two_pairs_at_least(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match="names 1 pairs: training needs 2"):
        find_training_pairs(listed(tmp_path, "rgb/0.png depth/0.npy"), "1/m")


def test_a_training_takes_folders_as_they_are(tmp_path: Path) -> None:
    described(tmp_path, "a")
    described(tmp_path, "b")
    assert find_training_pairs(tmp_path, None) == find_pairs(tmp_path)
    assert len(find_pairs(tmp_path)) == 2


def labels_of(folder: Path, out: Path, names: list[str]) -> None:
    for job in jobs.plan_jobs([folder / n for n in names], out, [formats.FORMATS["half"]], root=folder):
        depth(job.outputs["half"])


def test_pictures_find_their_labels_by_the_plan_that_made_them(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "labels"
    for name in ("a.png", "a.jpg", "deep/b.png", "deep/c.png"):
        picture(folder / name)
    labels_of(folder, out, ["a.png", "a.jpg", "deep/b.png"])
    found, without = find_labelled_pairs(str(folder), out)
    assert without == 1
    names = [(p.picture.relative_to(folder).as_posix(), p.depth.relative_to(out).as_posix()) for p in found]
    assert names == [
        ("a.jpg", "a_jpg_depth.npy"),
        ("a.png", "a_png_depth.npy"),
        ("deep/b.png", "deep/b_depth.npy"),
    ]
    assert {p.unit for p in found} == {"label"}
    np.testing.assert_allclose(read_pair(found[0])[1], np.arange(1, 25).reshape(4, 6))


def test_pictures_without_labels_are_told_how_to_get_some(tmp_path: Path) -> None:
    picture(tmp_path / "in/a.png")
    with pytest.raises(DacliError, match=r"labels of 0 of the 1 pictures .* dacli train label"):
        find_labelled_pairs(str(tmp_path / "in"), tmp_path / "labels")


# --- folders ---


def described(folder: Path, name: str, **fields: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture(folder / f"{name}.png", 2, 3)
    np.save(folder / f"{name}.npy", np.full((2, 3), 4.0))
    (folder / f"{name}.json").write_text(json.dumps({"picture": f"{name}.png", "depth": f"{name}.npy"} | fields))


def test_a_folder_has_what_its_jsons_name_at_any_depth(tmp_path: Path) -> None:
    described(tmp_path / "sub/b", "x")
    described(tmp_path, "a", depth={"npy": "a.npy", "png16": "missing.png"})
    described(tmp_path, "other", picture=3)
    for name in "dbfce":
        described(tmp_path, name)
    (tmp_path / "settings.json").write_text('{"size": 3}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "picture.json").write_text('{"picture": "a.png"}')
    pairs = find_pairs(tmp_path)
    assert [pair.picture.relative_to(tmp_path).as_posix() for pair in pairs] == [
        *(f"{n}.png" for n in "abcdef"),
        "sub/b/x.png",
    ]
    assert pairs[0].depth == tmp_path / "a.npy"
    assert (read_pair(pairs[-1])[1] == 0.25).all()


def test_the_unit_that_is_given_is_that_of_a_folder_of_descriptions(tmp_path: Path) -> None:
    described(tmp_path, "a")
    (pair,) = find_pairs(tmp_path, 0.5)
    assert (read_pair(pair)[1] == 0.5).all()


def test_a_folder_without_any_says_what_is_wanted(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(
        DacliError, match=r"no pictures with depth in .*: name a folder of dacli scenes, Hypersim or Virt"
    ):
        find_pairs(tmp_path)


@pytest.mark.parametrize(("text", "why"), [("{", "is not JSON"), ('{"picture": "a", "depth": {}}', "names no file")])
def test_a_damaged_description_is_named(tmp_path: Path, text: str, why: str) -> None:
    described(tmp_path, "a")
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DacliError, match=rf"b\.json {why}"):
        find_pairs(tmp_path)


def test_depth_that_a_description_names_and_that_is_gone_is_named(tmp_path: Path) -> None:
    described(tmp_path, "a")
    (tmp_path / "a.npy").unlink()
    with pytest.raises(DacliError, match=r"1 files of .* are missing: .*a\.npy"):
        find_pairs(tmp_path)


def test_the_layout_of_hypersim(tmp_path: Path) -> None:
    for frame in (0, 1):
        images = tmp_path / "ai_001_001/images"
        path = images / f"scene_cam_00_geometry_hdf5/frame.{frame:04}.depth_meters.hdf5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["dataset"] = np.full((6, 8), 2.0, np.float16)
        (path.parent / f"frame.{frame:04}.normal_cam.hdf5").touch()
        picture(images / f"scene_cam_00_final_preview/frame.{frame:04}.tonemap.jpg", 6, 8)
    found = find_pairs(tmp_path)
    assert [p.picture.name for p in found] == ["frame.0000.tonemap.jpg", "frame.0001.tonemap.jpg"]
    rgb, inverse = read_pair(found[1])
    assert rgb.shape == (6, 8, 3)
    assert 0.5 < inverse.min() < inverse.max() < 0.7  # a sphere around the camera: its middle is the farthest
    found[0].picture.unlink()
    with pytest.raises(DacliError, match=r"frame\.0000\.tonemap\.jpg"):
        find_pairs(tmp_path)


def test_the_layout_of_virtual_kitti(tmp_path: Path) -> None:
    frames = tmp_path / "Scene01/clone/frames"
    for camera in (0, 1):
        picture(frames / f"rgb/Camera_{camera}/rgb_00007.jpg")
        (frames / f"depth/Camera_{camera}").mkdir(parents=True)
        values = np.full((4, 6), 2500, np.uint16)
        values[0] = 65535  # the sky, and all that is as far
        Image.fromarray(values).save(frames / f"depth/Camera_{camera}/depth_00007.png")
    found = find_pairs(tmp_path)
    assert [p.picture.relative_to(frames).as_posix() for p in found] == [
        "rgb/Camera_0/rgb_00007.jpg",
        "rgb/Camera_1/rgb_00007.jpg",
    ]
    inverse = read_pair(found[0])[1]
    assert (inverse[0] == 0).all()
    np.testing.assert_allclose(inverse[1:], 1 / 25)
