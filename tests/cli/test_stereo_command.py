"""--save sbs, half-sbs, anaglyph and vr180: pairs of views of pictures and clips."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import footage
from tests.support.commands import SMALL, Run, photo

KINDS = ("sbs", "half-sbs", "anaglyph", "vr180")
NAMES = ("a_LRF_Full_SBS.png", "a_LR.png", "a_redcyan.png", "a_LR_180.png")


@pytest.fixture(autouse=True)
def picture(home: Path) -> Path:
    return photo(home / "a.png", shape=(48, 64))


def test_all_kinds_of_a_picture(dacli: Run) -> None:
    run = dacli("image", "a.png", *SMALL, "--save", ",".join(KINDS), "--fov", "90", "--json")
    assert (run.code, run.objects[0]["outputs"]) == (0, dict(zip(KINDS, NAMES, strict=True)))
    sizes = []
    for name in NAMES:
        with Image.open(name) as made:
            sizes.append(made.size)
    assert sizes == [(128, 48), (64, 48), (64, 48), (200, 100)]  # π · 32 pixels, the focal length
    with Image.open("a.png") as source, Image.open(NAMES[0]) as made:
        np.testing.assert_array_equal(np.asarray(made)[:, :64], np.asarray(source))
        assert (np.asarray(made)[:, 64:] != np.asarray(source)).any()
    again = dacli("image", "a.png", *SMALL, "--save", ",".join(KINDS), "--fov", "90", "--json")
    assert again.summary["skipped"] == 1
    wider = dacli("image", "a.png", *SMALL, "--save", "sbs", "--parallax", "6", "--json")
    assert wider.summary["done"] == 1


def test_a_pair_is_never_an_input(dacli: Run) -> None:
    assert dacli("image", "a.png", *SMALL, "--save", "sbs").code == 0
    run = dacli("folder", ".", "out", *SMALL, "--json")
    assert [each["input"] for each in run.objects] == ["a.png"]


def test_a_clip_is_as_wide_as_both_views(dacli: Run, home: Path) -> None:
    footage.make_clip(home / "c.mp4", *footage.H264, frames=5)
    run = dacli("video", "c.mp4", *SMALL, "--save", "sbs", "--codec", "ffv1")
    assert run.code == 0
    made = footage.decoded_frames(home / "c_LRF_Full_SBS.mkv")
    assert made.shape == (5, 64, 192, 3)
    np.testing.assert_array_equal(made[:, :, :96], footage.decoded_frames(home / "c.mp4"))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--save", "sbs", "--parallax", "0"), "--parallax 0 is not above 0 and at most 20 percent"),
        (("--save", "sbs", "--parallax", "nan"), "--parallax nan is not above 0"),
        (("--save", "anaglyph", "--convergence", "1.5"), "--convergence 1.5 is not between 0 and 1"),
        (("--save", "anaglyf"), "did you mean anaglyph?"),
    ],
)
def test_wrong_values_are_one_line(dacli: Run, options: tuple[str, ...], fault: str) -> None:
    run = dacli("image", "a.png", *SMALL, *options)
    assert (run.code, len(run.err)) == (2, 1)
    assert fault in run.err[0]
    assert not Path("a_LRF_Full_SBS.png").exists()
