"""dacli video --cfr: the frames are those of ffmpeg's filter fps, and sound stays with them."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.video.rendering import ClipRenderer
from tests.support import footage
from tests.support.commands import SMALL, Run, files_below
from tests.support.footage import H264, VARY, ffmpeg, make_clip

pytestmark = pytest.mark.usefixtures("home")
GAPS = "select='not(between(n,6,15))*not(eq(n,20))'"  # a clip at 24 frames per second with frames left out
FORMS: dict[str, tuple[str, ...]] = {"gaps.mp4": ("-vf", GAPS), "varied.mkv": ("-vf", VARY)}


def variable_clip(path: Path) -> Path:
    return make_clip(path, *FORMS[path.name], "-fps_mode", "passthrough", *H264)


def frames_of_ffmpeg(path: Path, rate: str) -> NDArray[Any]:
    """Return the frames [N, 64, 96, 3] that ffmpeg's filter gives."""
    raw = ("-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    frames = ffmpeg("-i", path, "-vf", f"fps={rate}", *raw)
    return np.frombuffer(frames, np.uint8).reshape(-1, 64, 96, 3)


def sources_shown(folder: Path) -> NDArray[Any]:
    """Return the pictures of the source in the frames of side."""
    frames = []
    for path in sorted(folder.glob("*.png")):
        with Image.open(path) as image:
            frames.append(np.asarray(image)[:, :96])
    return np.stack(frames)


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("gaps.mp4", (), "24"),
        pytest.param("varied.mkv", ("--max-fps", "12"), "12", marks=pytest.mark.slow),
        pytest.param("gaps.mp4", ("--max-fps", "10"), "10", marks=pytest.mark.slow),
        pytest.param("varied.mkv", ("--max-fps", "15"), "15", marks=pytest.mark.slow),
    ],
)
def test_frames_are_those_of_ffmpegs_filter(
    dacli: Run, home: Path, name: str, options: tuple[str, ...], rate: str
) -> None:
    path = variable_clip(home / name)
    row = dacli("video", name, *SMALL, "--cfr", *options, "--save", "side", "--frames", "--json").objects[0]
    expected = frames_of_ffmpeg(path, rate)
    assert (row["fps"], row["frames"]) == (float(rate), len(expected))
    np.testing.assert_array_equal(sources_shown(home / f"{path.stem}_side"), expected)


def test_times_are_even_and_each_frame_is_computed_once(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = variable_clip(home / "gaps.mp4")
    computed: list[int] = []
    draw = ClipRenderer.draw

    def count(self: Any, frame: Any) -> Any:
        computed.append(frame.about.pts)
        return draw(self, frame)

    monkeypatch.setattr(ClipRenderer, "draw", count)
    assert dacli("video", path.name, *SMALL, "--cfr", "--save", "gray,png16").code == 0
    assert len(computed) == len(footage.packet_times(path)) == 30
    for name in ("gaps_gray.mp4", "gaps_depth16.mkv"):
        times = footage.packet_times(home / name)
        assert len(times) == 41
        assert all(abs(time - Fraction(n, 24)) < Fraction(1, 1000) for n, time in enumerate(times))


def test_flash_and_beep_stay_together(dacli: Run, home: Path) -> None:
    flash = "drawbox=t=fill:c=white:enable='between(t,0.99,1.05)',select='not(between(n,4,27))'"
    picture = f"color=black:s=96x64:r=30:d=2,{flash}"
    beep = "aevalsrc='if(between(t,1,1.1),0.8*sin(2*PI*1000*t),0)':d=2:s=48000"
    sources = ("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", beep, "-fps_mode", "passthrough")
    ffmpeg(*sources, *H264, "-c:a", "pcm_s16le", home / "fb.mov")
    assert dacli("video", "fb.mov", *SMALL, "--cfr", "--save", "side", "--codec", "prores", "--start", "0.1").code == 0
    bright = footage.decoded_frames(home / "fb_side.mov")[:, :, :80].mean(axis=(1, 2, 3))
    seen = footage.packet_times(home / "fb_side.mov")[int(np.argmax(bright > 128))]
    sound = np.frombuffer(ffmpeg("-i", home / "fb_side.mov", "-f", "s16le", "-"), np.int16)
    assert abs(float(seen) - np.argmax(np.abs(sound) > 3000) / 48000) < 0.5 / 30 + 0.001


@pytest.mark.slow
def test_a_constant_clip_stays_as_it_is(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=5)
    assert dacli("video", "a.mp4", *SMALL, "--cfr", "--save", "gray").code == 0
    assert footage.packet_times(home / "a_gray.mp4") == footage.packet_times(home / "a.mp4")


@pytest.mark.slow
def test_with_cfr_outputs_are_made_again_and_then_kept(dacli: Run, home: Path) -> None:
    path = variable_clip(home / "gaps.mp4")
    ask = ("video", path.name, *SMALL, "--save", "npy", "--json")
    assert (dacli(*ask).objects[0]["frames"], len(files_below(home / "gaps_depth"))) == (30, 31)
    assert (dacli(*ask, "--cfr").objects[0]["kept"], len(files_below(home / "gaps_depth"))) == (False, 42)
    assert dacli(*ask, "--cfr").objects[0]["kept"] is True


@pytest.mark.parametrize("steady", ["on", pytest.param("two-pass", marks=pytest.mark.slow)])
def test_a_run_that_fails_half_way_goes_on_with_the_same_result(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, steady: str
) -> None:
    path = variable_clip(home / "gaps.mp4")
    ask = ("video", path.name, *SMALL, "--cfr", "--steady", steady, "--save", "npy,gray", "--json")
    assert dacli(*ask, "-o", "whole").code == 0
    monkeypatch.setattr("dacli.video.segments.SEGMENT_SECONDS", 0)
    real, drawn = ClipRenderer.draw, []

    def fail_late(self: Any, frame: Any) -> Any:
        drawn.append(frame)
        if len(drawn) == 9:
            raise KeyboardInterrupt
        return real(self, frame)

    monkeypatch.setattr(ClipRenderer, "draw", fail_late)
    assert dacli(*ask, "-o", "part").code == 130
    monkeypatch.setattr(ClipRenderer, "draw", real)
    assert dacli(*ask, "-o", "part").code == 0
    for number in range(41):
        name = f"gaps_depth/gaps_depth_{number:06d}.npy"
        np.testing.assert_array_equal(np.load(home / "part" / name), np.load(home / "whole" / name))


def test_a_damaged_clip_is_refused_as_without_it(dacli: Run, home: Path) -> None:
    path = variable_clip(home / "varied.mkv")
    path.write_bytes(path.read_bytes()[:-4000])
    run = dacli("video", path.name, *SMALL, "--cfr")
    assert run.code == 1
    assert "frames of varied.mkv" in run.errors[0]
