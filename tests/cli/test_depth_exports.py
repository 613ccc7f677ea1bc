"""Camera, known distances, floats and 3D as users ask for them, for pictures, folders and clips."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
import trimesh
from PIL import ExifTags, Image

from tests.support.commands import SMALL, Run, files_below, photo

pytestmark = pytest.mark.usefixtures("home")
METRES = (*SMALL, "--near-far", "0.5,8")


@pytest.fixture
def frames(home: Path) -> Path:
    (home / "frames").mkdir()
    for number in range(4):
        photo(home / "frames" / f"f{number}.png", number)
    return home / "frames"


def open_exr(path: Path) -> tuple[dict[str, object], np.ndarray]:
    with OpenEXR.File(str(path), separate_channels=True) as found:
        (channel,) = found.channels().values()
        return dict(found.header()), np.array(channel.pixels)


def test_json_has_the_camera_by_exif_also_when_nothing_is_done(dacli: Run, home: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.FocalLengthIn35mmFilm: 36}
    (home / "in").mkdir()
    Image.new("RGB", (36, 24)).save(home / "in" / "a.jpg", exif=exif)
    wanted = {"fx": 36, "fy": 36, "cx": 18, "cy": 12, "source": "EXIF"}
    for command in (("image", "in/a.jpg", "-o", "out"), ("folder", "in", "out2"), ("folder", "in", "out2")):
        (row,) = dacli(*command, *SMALL, "--json", "--save", "gray").objects
        assert row["camera"] == pytest.approx(wanted)
    assert row["kept"]
    (row,) = dacli("image", "in/a.jpg", "-o", "out", *SMALL, "--json", "--save", "gray", "--focal-px", "99").objects
    assert (row["camera"]["fx"], row["camera"]["source"], row["kept"]) == (99, "--focal-px", False)


def test_known_distances_give_metres_to_every_kind(dacli: Run, home: Path) -> None:
    photo(home / "a.png")
    run = dacli("image", "a.png", *METRES, "--json", "--save", "npy,exr,npz,png16,ply,glb,normal")
    (row,) = run.objects
    assert (row["quantity"], row["range"]) == ("metres", [0.5, 8])
    metres = np.load("a_depth.npy")
    np.testing.assert_array_equal(open_exr(Path("a_depth.exr"))[1], metres)
    assert np.abs(np.asarray(Image.open("a_depth16.png")).astype(int) - metres * 1000).max() <= 0.51
    points = trimesh.load("a_points.ply")
    assert -points.bounds[0][2] <= 8.0001
    assert sum("assumed to be 55 degrees" in line for line in run.err) == 1
    x, y = 7, 11
    assert dacli("image", "a.png", *SMALL, "--save", "npy", "--calibrate", f"{x},{y}=3.5").code == 0
    assert np.load("a_depth.npy")[y, x] == pytest.approx(3.5, rel=1e-5)


def test_the_assumed_camera_is_mentioned_once_and_only_where_it_counts(dacli: Run, home: Path) -> None:
    for number in range(3):
        photo(home / f"{number}.png", number)
    names = [f"{number}.png" for number in range(3)]
    mentions = [
        sum("--fov or --focal-px" in line for line in dacli("image", *names, *METRES, "--save", *options).err)
        for options in (["normal"], ["exr"], ["normal", "--fov", "50"])
    ]
    assert mentions == [1, 0, 0]


def test_a_clip_becomes_folders_of_floats_and_points_with_fixed_ends(dacli: Run, home: Path, frames: Path) -> None:
    ask = ("video", frames.name, *METRES, "--save", "exr,npy,png16,ply,normal", "--fov", "60")
    assert dacli(*ask).code == 0
    labels = [f"f{number}" for number in range(4)]
    assert files_below(home / "frames_exr") == ["frames.json", *(f"frames_exr_{label[1:]}.exr" for label in labels)]
    found = [open_exr(path) for path in sorted((home / "frames_exr").glob("*.exr"))]
    floats = np.stack([np.load(path) for path in sorted((home / "frames_depth").glob("*.npy"))])
    np.testing.assert_array_equal(np.stack([pixels for _, pixels in found]), floats)
    assert 0.5 <= floats.min() < 0.8 < 4 < floats.max() <= 8
    record = json.loads((home / "frames_exr" / "frames.json").read_text())["dacli"]
    assert (record["quantity"], record["low"], record["high"]) == ("metres", 0.5, 8)
    assert record["camera"]["fx"] == pytest.approx(18 / np.tan(np.radians(30)))
    assert (record["black"], record["unit"]) == (0, "millimetres")
    assert dacli("decode", "frames_depth16.mkv").code == 0
    assert np.abs(np.load("frames_depth16.npy") - floats).max() <= 0.00051
    clouds: list[Any] = [trimesh.load(path) for path in (home / "frames_ply").glob("*.ply")]
    assert all(len(cloud.vertices) > 100 for cloud in clouds)
    assert len(clouds) == 4
    assert dacli(*ask, "--json").objects[0]["kept"]
    assert dacli("video", frames.name, *ask[2:], "--steady", "off").code == 0
    flickering = np.stack([np.load(path) for path in sorted((home / "frames_depth").glob("*.npy"))])
    np.testing.assert_allclose(flickering.min(axis=(1, 2)), 0.5, rtol=1e-5)
    np.testing.assert_allclose(flickering.max(axis=(1, 2)), 8, rtol=1e-5)


@pytest.mark.parametrize(
    ("command", "options", "code", "words"),
    [
        ("image", ("--near-far", "8,0.5"), 2, "--near-far 8,0.5 is the wrong way round: the nearest point comes first"),
        ("image", ("--calibrate", "99,2=1"), 1, "--calibrate 99,2=1 is outside of the picture, which has 36 × 24"),
        ("image", ("--save", "glb"), 2, "--save glb needs metres, and this network gives relative depth"),
        ("folder", ("--save", "color,ply"), 2, "or --calibrate X,Y=METRES"),
        ("video", ("--save", "normal"), 2, "--save normal needs metres"),
        ("video", ("--calibrate", "1,2=1"), 2, "--calibrate is for pictures"),
        ("image", ("--fov", "50", "--focal-px", "9"), 2, "--fov and --focal-px contradict each other"),
        ("image", ("--fov", "200"), 2, "--fov 200 is not between"),
        ("image", ("--edge", "0"), 2, "--edge 0 is not above 0"),
        ("image", ("--max-points", "5"), 2, "--max-points 5 is not between"),
        ("image", ("--exr-z", "2/z"), 2, "choose z or 1/z"),
        ("image", ("--save", "gbl"), 2, "did you mean glb?"),
    ],
)
def test_what_cannot_be_is_one_line(
    dacli: Run, frames: Path, command: str, options: tuple[str, ...], code: int, words: str
) -> None:
    inputs = {"image": ("frames/f0.png",), "folder": (frames.name, "out"), "video": (frames.name,)}[command]
    run = dacli(command, *inputs, *SMALL, *options)
    assert run.code == code
    assert len(run.errors) == 1
    assert words in run.errors[0]
    assert not [name for name in files_below(frames.parent) if name.endswith((".png", ".glb", ".ply")) and "_" in name]


def test_known_distances_are_not_for_networks_that_give_metres(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dacli.inference import loading
    from dacli.models import choice
    from dacli.models.tiny import Tiny

    photo(home / "a.png")
    opened = choice.OpenModel(Tiny(80.0), "tiny", "outdoor", "x")
    monkeypatch.setattr(loading, "open_model", lambda *_, **__: opened)
    run = dacli("image", "a.png", *METRES, "--engine", "torch")
    assert (run.code, run.errors[0][:60]) == (2, "error: --near-far 0.5,8 is for relative depth, and this netw")
    assert dacli("image", "a.png", *SMALL, "--engine", "torch", "--save", "png16,npy").code == 0
    values = np.asarray(Image.open("a_depth16.png")).astype(int)
    assert np.abs(values - np.load("a_depth.npy") * 256).max() <= 0.51  # 80 m do not fit in millimetres
