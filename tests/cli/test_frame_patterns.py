"""Numbered pictures named by a pattern, of EXR and DPX too."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support import footage
from tests.support.commands import SMALL, Run, files_below, photo
from tests.support.footage import ffmpeg

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    ("form", "pattern"), [("exr", "shot.%04d.exr"), pytest.param("dpx", "shot.####.dpx", marks=pytest.mark.slow)]
)
def test_a_pattern_of_frames_is_a_clip(dacli: Run, home: Path, form: str, pattern: str) -> None:
    source = ("-f", "lavfi", "-i", "testsrc2=s=48x32:r=25", "-frames:v", "4")
    ffmpeg(
        *source, "-pix_fmt", "gbrpf32le" if form == "exr" else "gbrp10be", "-start_number", "998", f"shot.%04d.{form}"
    )
    (home / f"shot.{form}").write_bytes(b"not a frame")
    photo(home / "shot.1000.png")
    row = dacli("video", pattern, *SMALL, "--save", "color,npy", "--fps", "25", "--json").objects[0]
    assert (row["input"], row["frames"], row["fps"], row["source_size"]) == (pattern, 4, 25.0, [32, 48])
    assert row["outputs"] == {"color": "shot_color.mp4", "npy": "shot_depth"}
    assert len(footage.decoded_frames(home / "shot_color.mp4")) == 4
    assert files_below(home / "shot_depth") == [
        "frames.json",
        *(f"shot_depth_{number:04d}.npy" for number in (998, 999, 1000, 1001)),
    ]
    assert dacli("video", pattern, *SMALL, "--save", "color,npy", "--rate", "25", "--json").objects[0]["kept"] is True


def test_frames_without_a_name_have_that_of_their_folder(dacli: Run, home: Path) -> None:
    (home / "take7").mkdir()
    for number in (1, 2):
        photo(home / "take7" / f"{number:03d}.png")
    assert dacli("video", "take7/%03d.png", *SMALL, "--save", "gray").code == 0
    assert len(footage.decoded_frames(home / "take7" / "take7_gray.mp4")) == 2


def test_a_frame_of_another_size_ends_the_clip(dacli: Run, home: Path) -> None:
    for number, shape in ((1, (20, 30)), (2, (22, 30))):
        photo(home / f"a.{number}.png", shape=shape)
    run = dacli("video", "a.%d.png", *SMALL)
    assert (run.code, run.errors) == (
        1,
        ["error: a.2.png has 30 × 22 pixels and the first frame 30 × 20: make all frames of a folder the same size"],
    )
    assert files_below(home) == ["a.1.png", "a.2.png"]


def test_a_damaged_frame_ends_the_clip(dacli: Run, home: Path) -> None:
    pixels = np.random.default_rng(0).random((20, 30, 3), np.float32)
    whole = cv2.imencode(".hdr", pixels)[1].tobytes()
    (home / "a.1.hdr").write_bytes(whole)
    (home / "a.2.hdr").write_bytes(whole[:300])
    run = dacli("video", "a.%d.hdr", *SMALL)
    assert (run.code, run.errors) == (1, ["error: a.2.hdr is truncated (300 bytes): copy it again"])


@pytest.mark.parametrize("pattern", ["shot.%04d.exr", "nowhere/shot.####.dpx"])
def test_a_pattern_that_matches_nothing(dacli: Run, home: Path, pattern: str) -> None:
    photo(home / "shot.1.png")
    run = dacli("video", pattern, *SMALL)
    assert run.code == 1
    assert run.errors[0].startswith(("error: no picture matches shot.%04d.exr: ", "error: nowhere cannot be listed"))
