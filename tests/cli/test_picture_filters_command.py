"""--pre: the network sees a filtered picture, outputs show the original, and a second run knows it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import dacli as api
from tests.support import footage
from tests.support.commands import SMALL, Run, read_bgr

EXACT = (*SMALL, "--engine", "torch", "--precision", "fp32")


@pytest.fixture(autouse=True)
def picture(home: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 60, (48, 64, 3), dtype=np.uint8)
    path = home / "a.png"
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


def brightened(path: Path, mean: float) -> Image.Image:
    """Return a picture with the gamma curve that brings the mean of its gray values to a share of white."""
    with Image.open(path) as image:
        now = np.asarray(image.convert("L")).mean() / 255
        gamma = np.log(mean) / np.log(now)
        return image.point([round(255 * (i / 255) ** gamma) for i in range(256)] * 3)


def test_the_network_sees_the_filtered_picture_and_outputs_show_the_original(dacli: Run, picture: Path) -> None:
    ask = ("image", "a.png", *EXACT, "--save", "npy,side", "--json")
    run = dacli(*ask, "--pre", "exposure:40")
    assert run.code == 0
    assert run.objects[0]["pre"] == "exposure:40"
    plain = api.load("tiny", size=32, device="cpu", engine="torch", precision="fp32")
    expected = plain(brightened(picture, 0.4)).depth
    error = np.abs(np.load("a_depth.npy") - expected).max()
    assert error < 0.05 * np.ptp(expected)
    assert error < 0.2 * np.abs(plain(picture).depth - expected).max()
    np.testing.assert_array_equal(read_bgr(Path("a_side.png"))[:, :64], read_bgr(picture))
    with Image.open("a_side.png") as side:
        assert json.loads(side.info["dacli"])["pre"] == "exposure:40"
    assert dacli(*ask, "--pre", "exposure:40").objects[0]["kept"]
    assert not dacli(*ask, "--pre", "exposure:50").objects[0]["kept"]
    assert not dacli(*ask).objects[0]["kept"]


def test_frames_of_a_clip_are_filtered(dacli: Run, home: Path) -> None:
    footage.make_clip(home / "c.mp4", *footage.H264, frames=2)
    ask = ("video", "c.mp4", *EXACT, "--save", "npy", "--steady", "off")
    assert dacli(*ask, "-o", "plain").code == 0
    assert dacli(*ask, "-o", "out", "--pre", "exposure:20").code == 0
    plain, made = (np.load(sorted(Path(f"{out}/c_depth").glob("*.npy"))[0]) for out in ("plain", "out"))
    assert np.abs(made - plain).max() > 0.01 * np.ptp(plain)


def test_python_filters_too(picture: Path) -> None:
    def depth(what: Path | Image.Image, pre: str) -> np.typing.NDArray[np.float32]:
        return api.load("tiny", size=32, engine="torch", pre=pre)(what).depth

    assert np.abs(depth(picture, "exposure:40") - depth(brightened(picture, 0.4), "")).max() < 0.2
    with pytest.raises(ValueError, match="did you mean denoise"):
        api.load("tiny", pre="denois")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (("image", "a.png", "--pre", "sharpen"), "there is no filter 'sharpen'"),
        (("folder", "in", "out", "--pre", "contrast:99"), "--pre contrast:99 is not possible"),
        (("video", "c.mp4", "--pre", "white-balance:3"), "--pre white-balance takes no number"),
    ],
)
def test_wrong_filters_are_one_line_before_anything_is_made(
    dacli: Run, home: Path, command: tuple[str, ...], fault: str
) -> None:
    (home / "in").mkdir()
    (home / "in/b.png").write_bytes((home / "a.png").read_bytes())
    footage.make_clip(home / "c.mp4", *footage.H264, frames=2)
    run = dacli(*command, *SMALL)
    assert (run.code, len(run.errors)) == (2, 1)
    assert fault in run.errors[0]
    assert not (home / "out").exists()
