"""--ensemble: outputs are of the mean of several passes, say so, and a second run knows it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dacli as api
from tests.support import footage
from tests.support.commands import SMALL, Run, photo


@pytest.fixture(autouse=True)
def picture(home: Path) -> Path:
    return photo(home / "a.png", shape=(48, 64))


def mean_of_mirrored(path: Path) -> np.typing.NDArray[np.floating]:
    """Return what --ensemble flip should give where network and picture are of one size, from two plain passes."""
    rgb = np.asarray(Image.open(path).convert("RGB"))
    plain = api.load("tiny", size=32, device="cpu", engine="torch", precision="fp32")
    first, mirrored = plain(rgb).depth, plain(rgb[:, ::-1].copy()).depth[:, ::-1]
    scale, shift = np.polyfit(mirrored.ravel().astype(float), first.ravel().astype(float), 1)
    return np.asarray((first + scale * mirrored + shift) / 2)


def test_outputs_are_of_the_mean_and_say_so(dacli: Run, home: Path) -> None:
    photo(home / "b.png", shape=(32, 64))
    ask = ("image", "b.png", *SMALL, "--engine", "torch", "--precision", "fp32", "--save", "npy,confidence", "--json")
    run = dacli(*ask, "--ensemble", "flip")
    assert run.code == 0
    np.testing.assert_allclose(np.load("b_depth.npy"), mean_of_mirrored(home / "b.png"), atol=2e-4)
    assert run.objects[0]["ensemble"] == ["flip"]
    with Image.open("b_confidence.png") as confidence:
        assert (confidence.mode, confidence.size) == ("L", (64, 32))
        assert json.loads(confidence.info["dacli"])["ensemble"] == "flip"
        assert np.asarray(confidence).std() > 1
    assert dacli(*ask, "--ensemble", "flip").objects[0]["kept"]
    assert not dacli(*ask, "--ensemble", "flip,sizes").objects[0]["kept"]


def test_frames_of_a_clip_have_it_too(dacli: Run, home: Path) -> None:
    footage.make_clip(home / "c.mp4", *footage.H264, frames=3)
    ask = ("--ensemble", "flip,sizes", "--save", "confidence", "--frames", "--engine", "torch", "--json")
    run = dacli("video", "c.mp4", *SMALL, *ask)
    assert run.code == 0
    assert run.objects[0]["ensemble"] == ["flip", "sizes"]
    assert len(list(Path("c_confidence").glob("*.png"))) == 3


def test_python_has_the_spread_and_saves_it(picture: Path) -> None:
    found = api.load("tiny", size=32, engine="torch", ensemble="flip")(picture)
    assert found.spread is not None
    assert found.spread.shape == found.depth.shape
    with Image.open(found.save("c.png", "confidence")) as confidence:
        assert np.abs(np.asarray(confidence) - 255 * (1 - 4 * found.spread).clip(0, 1)).max() <= 0.51
    with pytest.raises(ValueError, match="confidence shows how far several predictions"):
        api.load("tiny", size=32, engine="torch")(picture).save("d.png", "confidence")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (("image", "a.png", "--ensemble", "mirror"), "there is no ensemble 'mirror': --ensemble takes flip or sizes"),
        (("image", "a.png", "--save", "confidence"), "predictions of a picture are apart, and there is one: add"),
        (("video", "c.mp4", "--save", "confidence"), "--save confidence shows how far"),
    ],
)
def test_a_wrong_ensemble_is_one_line(dacli: Run, home: Path, command: tuple[str, ...], fault: str) -> None:
    footage.make_clip(home / "c.mp4", *footage.H264, frames=2)
    run = dacli(*command, *SMALL)
    assert (run.code, len(run.errors)) == (2, 1)
    assert fault in run.errors[0]
    assert not list(home.glob("*_*"))
