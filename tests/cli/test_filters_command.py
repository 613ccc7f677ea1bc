"""--post: depth is filtered between the network and all outputs, and a second run knows it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import dacli as api
from dacli.models import tiny
from tests.support import footage
from tests.support.commands import SMALL, Run, photo


@pytest.fixture(autouse=True)
def picture(home: Path) -> Path:
    return photo(home / "a.png", shape=(48, 64))


def test_all_outputs_are_of_filtered_depth(dacli: Run) -> None:
    assert dacli("image", "a.png", *SMALL, "--save", "npy", "-o", "plain").code == 0
    plain = np.load("plain/a_depth.npy")
    run = dacli("image", "a.png", *SMALL, "--save", "npy,gray", "--post", "median:3,normalize", "--json")
    assert run.code == 0
    median = ndimage.median_filter(plain, 3, mode="nearest")
    want = (median - median.min()) / (median.max() - median.min())
    np.testing.assert_allclose(np.load("a_depth.npy"), want, atol=1e-6)
    with Image.open("a_gray.png") as gray:
        assert np.abs(np.asarray(gray, float) - 255 * want).max() <= 0.51
        assert json.loads(gray.info["dacli"])["post"] == "median:3,normalize"
    assert run.objects[0]["range"] == [0, 1]


def test_another_chain_makes_a_folder_again_and_the_same_one_does_not(dacli: Run) -> None:
    Path("in").mkdir()
    photo(Path("in/b.png"))
    ask = ("folder", "in", "out", *SMALL, "--json")
    assert dacli(*ask, "--post", "sharpen").summary["done"] == 1
    assert dacli(*ask, "--post", "sharpen").summary["skipped"] == 1
    assert dacli(*ask, "--post", "sharpen:3").summary["done"] == 1
    assert dacli(*ask).summary["done"] == 1


def test_frames_of_a_clip_are_filtered(dacli: Run, home: Path) -> None:
    footage.make_clip(home / "c.mp4", *footage.H264, frames=4)
    ask = ("video", "c.mp4", *SMALL, "--save", "npy", "--steady", "off", "--precision", "fp32")
    assert dacli(*ask, "-o", "plain").code == 0
    assert dacli(*ask, "-o", "out", "--post", "median:3").code == 0
    for path in sorted(Path("plain/c_depth").glob("*.npy")):
        want = ndimage.median_filter(np.load(path), 3, mode="nearest")
        np.testing.assert_array_equal(np.load(Path("out/c_depth") / path.name), want)


def test_python_filters_too(picture: Path) -> None:
    plain, made = (api.load("tiny", size=32, engine="torch", post=post)(picture).depth for post in ("", "median:3"))
    np.testing.assert_array_equal(made, ndimage.median_filter(plain, 3, mode="nearest"))
    with pytest.raises(ValueError, match="did you mean median"):
        api.load("tiny", post="medan")


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        (("image", "a.png", "--post", "blur"), "there is no filter 'blur'"),
        (("folder", "in", "out", "--post", "median:9"), "--post median:9 is not possible"),
        (("video", "c.mp4", "--post", "sharpen,equalize"), "--post equalize depends on the range of each frame"),
    ],
)
def test_wrong_filters_are_one_line_before_anything_is_made(
    dacli: Run, home: Path, command: tuple[str, ...], fault: str
) -> None:
    (home / "in").mkdir()
    photo(home / "in/b.png")
    footage.make_clip(home / "c.mp4", *footage.H264, frames=2)
    run = dacli(*command, *SMALL)
    assert (run.code, len(run.errors)) == (2, 1)
    assert fault in run.errors[0]
    assert not (home / "out").exists()


def test_metres_are_not_stretched(dacli: Run, home: Path) -> None:
    metric_weights = home / "metres.safetensors"
    metric_weights.write_bytes(tiny.encode_weights(tiny.Tiny(20.0), {"max_depth": "20.0"}))
    run = dacli("image", "a.png", "--weights", metric_weights, "--size", "32", "--post", "normalize")
    assert (run.code, run.errors) == (
        2,
        ["error: --post normalize would turn metres into other numbers: use a relative model"],
    )
