"""dacli video as users type it: the source's frames, times and sound, floats that come back, and every way to fail."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dacli.inference import loading
from dacli.io import png
from dacli.models.choice import OpenModel
from dacli.models.tiny import Tiny
from dacli.video import muxing
from tests.support import footage
from tests.support.commands import SMALL, Result, Run, files_below, photo
from tests.support.footage import H264, VARY, make_clip
from tests.video.test_muxing import rich

pytestmark = pytest.mark.usefixtures("home")
HANG = 60  # seconds after which a process counts as hanging
EXACT = (*SMALL, "--precision", "fp32")
HDR = "format=yuv420p10le,setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
VARIED = ("-vf", VARY, "-fps_mode", "passthrough", "-enc_time_base", "1:24000", "-video_track_timescale", "24000")
KINDS = ("color", "gray", "side", "png16")


@pytest.fixture(autouse=True)
def nothing_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    workers = torch.get_num_threads()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, HANG)
    with footage.no_leftovers(home.parent / "temporary", monkeypatch):
        yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    torch.set_num_threads(workers)


def hangs(*_: object) -> None:
    raise AssertionError("it hangs")


def floats(folder: Path) -> NDArray[np.float32]:
    return np.stack([np.load(path) for path in sorted(folder.glob("*.npy"))])


def sidecar(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = json.loads(path.read_text())
    return found["dacli"], found["frames"]


# --- the source's frames, times and sound ---

SOURCES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "constant": ("a.mp4", H264, "testsrc2=s=96x64:r=24"),
    "NTSC": ("a.mp4", H264, "testsrc2=s=96x64:r=24000/1001"),
    "variable": ("a.mp4", (*VARIED, *H264), "testsrc2=s=96x64:r=24"),
    "odd": ("a.mkv", ("-vf", "scale=97:63", "-c:v", "ffv1"), "testsrc2=s=96x64:r=24"),
    "ten bits": ("a.mp4", ("-pix_fmt", "yuv420p10le", "-c:v", "libx264"), "testsrc2=s=96x64:r=24"),
    "HDR": ("a.mkv", ("-vf", HDR, "-c:v", "ffv1"), "testsrc2=s=96x64:r=24"),
    "interlaced": (
        "a.ts",
        ("-vf", "setfield=tff", "-flags", "+ilme+ildct", "-c:v", "mpeg2video"),
        "testsrc2=s=96x64:r=25",
    ),
}


MORE_SOURCES = ("constant", "NTSC", "ten bits")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in MORE_SOURCES else name for name in SOURCES]
)
def test_outputs_have_the_frames_and_times_of_their_source(dacli: Run, home: Path, name: str) -> None:
    file, arguments, source = SOURCES[name]
    clip = make_clip(home / file, *arguments, source=source, frames=10)
    run = dacli("video", file, *SMALL, "--save", ",".join(KINDS), "--json")
    (told,) = run.objects
    assert (run.code, told["ok"], told["frames"]) == (0, True, 10)
    want = footage.packet_times(clip)
    begin = want[0] if name == "interlaced" else 0  # a transport stream begins anywhere
    height, width = footage.decoded_frames(clip).shape[1:3]
    for kind in KINDS:
        path = Path(told["outputs"][kind])
        found = footage.packet_times(path)
        late = max(abs(got - time + begin) for got, time in zip(found, want, strict=True))
        assert late <= (Fraction(1, 2000) if "mkv" in (file[-3:], path.suffix[1:]) else 0)  # Matroska has milliseconds
        frames = footage.decoded_frames(path, "gray16le" if kind == "png16" else "rgb24")
        grown = (0, 0) if kind == "png16" else (height % 2, width % 2)
        assert frames.shape[1:3] == (
            height + grown[0],
            width * (2 if kind == "side" else 1) + (kind != "side") * grown[1],
        )
    assert files_below(home) == sorted(
        [file, *(Path(each).name for each in told["outputs"].values()), "a_depth16.json"]
    )


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_clips_come_out_upright(dacli: Run, home: Path, turn: int) -> None:
    make_clip(home / "flat.mp4", *H264, frames=3)
    footage.ffmpeg("-display_rotation", str(turn), "-i", home / "flat.mp4", "-c", "copy", home / "a.mp4")
    assert dacli("video", "a.mp4", *SMALL, "--save", "side").code == 0
    upright = footage.decoded_frames(home / "a.mp4").astype(int)  # ffmpeg turns it by itself
    side = footage.decoded_frames(home / "a_side.mp4").astype(int)
    width = upright.shape[2]
    assert side.shape == (3, upright.shape[1], 2 * width, 3)
    assert np.abs(side[:, :, :width] - upright).mean() < 12
    assert "displaymatrix" not in footage.ffmpeg_report(home / "a_side.mp4")


def test_sound_subtitles_chapters_and_tags_are_kept(dacli: Run, home: Path) -> None:
    clip = rich(home / "a.mkv", "-c:a:0", "aac", "-c:a:1", "flac", "-c:s", "copy")
    assert dacli("video", "a.mkv", *SMALL, "--save", "color,png16").code == 0
    for output in (home / "a_color.mp4", home / "a_depth16.mkv"):
        for stream in ("0:a:0", "0:a:1"):
            assert footage.stream_hash(output, stream) == footage.stream_hash(clip, stream)
        subtitles = footage.ffmpeg("-i", output, "-map", "0:s", "-f", "srt", "-").decode()
        assert subtitles.split() == footage.ffmpeg("-i", clip, "-map", "0:s", "-f", "srt", "-").decode().split()
        assert all(text in footage.ffmpeg_report(output) for text in ("My clip", "Part 0", "Part 1"))


def test_what_mp4_cannot_hold_is_told(dacli: Run, home: Path) -> None:
    sound = ("-f", "lavfi", "-i", "sine=440:d=1", "-map", "0", "-map", "1", "-c:a", "wmav2")
    make_clip(home / "a.mkv", *sound, *H264, frames=24)
    run = dacli("video", "a.mkv", *SMALL)
    assert (run.code, run.errors) == (0, [])
    assert any("wmav2" in line and "mp4 cannot hold it" in line for line in run.err)


def test_one_frame(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=1)
    assert dacli("video", "a.mp4", *SMALL, "--save", "color,png16", "-o", "out").code == 0
    assert (
        len(footage.decoded_frames(home / "out/a_color.mp4"))
        == len(footage.decoded_frames(home / "out/a_depth16.mkv", "gray16le"))
        == 1
    )


def test_a_span_of_a_clip_at_fewer_frames_a_second(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=48)
    span = ("--start", "0:00:00.5", "--end", "1.5", "--max-fps", "12")
    run = dacli("video", "a.mp4", *EXACT, "--save", "npy,color", "--steady", "off", *span)
    assert run.code == 0
    assert footage.packet_times(home / "a_color.mp4") == [Fraction(n, 12) for n in range(12)]
    dacli("video", "a.mp4", *EXACT, "--save", "npy", "--steady", "off", "-o", "whole")
    np.testing.assert_array_equal(floats(home / "a_depth"), floats(home / "whole/a_depth")[12:36:2])


# --- right depth ---


@pytest.fixture
def moving(home: Path) -> Path:
    """Twelve frames of noise that drift, then nine of other noise that stands."""
    rng = np.random.default_rng(3)
    first, second = (cv2.GaussianBlur(rng.random((80, 130, 3)), (0, 0), 4) for _ in range(2))
    first, second = ((each - each.min()) / np.ptp(each) for each in (first, second))
    shots = [first[4:68, n : 96 + n] for n in range(12)] + [second[:64, :96]] * 9
    (home / "frames").mkdir()
    for number, shot in enumerate(shots):
        noisy = np.clip(shot * 255 + rng.normal(0, 1, shot.shape), 0, 255).astype(np.uint8)
        (home / f"frames/shot{number + 5}.png").write_bytes(png.encode_png(noisy, {}))
    return home / "frames"


def alone(dacli: Run, folder: Path) -> NDArray[np.float32]:
    """The depth that dacli image gives of every frame by itself."""
    names = sorted(folder.iterdir(), key=lambda path: int(path.stem[4:]))
    assert dacli("image", *names, *EXACT, "--save", "npy", "-o", "alone").code == 0
    return np.stack([np.load(f"alone/{path.stem}_depth.npy") for path in names])


def test_without_steadying_every_frame_is_a_picture_by_itself(dacli: Run, home: Path, moving: Path) -> None:
    assert dacli("video", "frames", *EXACT, "--save", "npy,png16", "--steady", "off").code == 0
    raw = alone(dacli, moving)
    np.testing.assert_array_equal(floats(home / "frames_depth"), raw)
    low, high = raw.min((1, 2), keepdims=True), raw.max((1, 2), keepdims=True)
    deep = footage.decoded_frames(home / "frames_depth16.mkv", "gray16le")
    assert np.abs(deep - (raw - low) / (high - low) * 65535).max() <= 0.51
    assert dacli("decode", "frames_depth16.mkv").code == 0
    back = np.load("frames_depth16.npy")
    assert (back.shape, back.dtype) == (raw.shape, np.float32)
    assert (np.abs(back - raw) <= 0.51 * (high - low) / 65535 + 1.2e-7).all()


@pytest.mark.parametrize("mode", ["on", "two-pass"])
def test_the_sidecar_leads_from_steady_depth_to_the_networks_own(
    dacli: Run, home: Path, moving: Path, mode: str
) -> None:
    assert dacli("video", "frames", *EXACT, "--save", "npy,png16,gray", "--crf", 0, "--steady", mode).code == 0
    raw, steady = alone(dacli, moving), floats(home / "frames_depth")
    record, rows = sidecar(home / "frames_depth16.json")
    scale, shift = (np.array([row[key] for row in rows])[:, None, None] for key in ("scale", "shift"))
    assert (scale > 0).all()
    np.testing.assert_allclose((steady - shift) / scale, raw, atol=1e-4 * float(np.ptp(raw)))
    assert [row["scene"] for row in rows] == [0] * 12 + [1] * 9
    assert [row["seconds"] for row in rows] == pytest.approx([n / 24 for n in range(21)])
    assert (record["low"], record["high"]) == pytest.approx((steady.min(), steady.max()), rel=1e-6)
    assert sidecar(home / "frames_depth/frames.json") == (record, rows)
    straight = 0.05 + 0.9 * steady  # for depth within the range; beyond it, towards 0 and 1
    within = (steady >= 0) & (steady <= 1)
    deep = footage.decoded_frames(home / "frames_depth16.mkv", "gray16le") / 65535
    assert np.abs(deep - straight)[within].max() < 0.51 / 65535 + 1e-6
    assert ((deep > 0.95) & (deep < 1))[steady > 1.001].all()
    assert ((deep < 0.05) & (deep > 0))[steady < -0.001].all()
    gray = footage.decoded_frames(home / "frames_gray.mp4", "gray").astype(float)
    assert np.abs(gray - deep * 255).mean() < 2.5
    assert dacli("decode", "frames_depth16.mkv", "-o", "back.npy").code == 0
    assert np.abs(np.load("back.npy") - steady)[within].max() < 0.56 / 65535 / 0.9


@pytest.mark.usefixtures("moving")
def test_a_copy_without_its_tags_is_decoded_by_the_file_beside_it(dacli: Run, home: Path) -> None:
    assert dacli("video", "frames", *EXACT, "--save", "png16", "--end", "0.2").code == 0
    assert dacli("decode", "frames_depth16.mkv", "-o", "want.npy").code == 0
    copied = Path("copy/frames_depth16.mov")
    copied.parent.mkdir()
    footage.ffmpeg("-i", home / "frames_depth16.mkv", "-map_metadata", "-1", "-c", "copy", copied)
    lost = dacli("decode", copied)
    assert (lost.code, lost.errors[0].split(": ")[1:]) == (
        1,
        ["copy/frames_depth16.mov does not say what its values mean", "decode takes the 16-bit files that dacli wrote"],
    )
    (home / "frames_depth16.json").rename(copied.with_suffix(".json"))
    assert dacli("decode", copied, "-o", "found.npy").code == 0
    np.testing.assert_array_equal(np.load("found.npy"), np.load("want.npy"))


def test_folders_that_hold_no_depth_are_one_line(dacli: Run, home: Path) -> None:
    (home / "a").mkdir()
    assert dacli("decode", "a").errors == [
        "error: a has no frames.json: decode takes the folder that --save png16 --frames writes"
    ]
    (home / "a" / "frames.json").write_text('{"dacli": {}, "frames": [1, 2]}')
    assert dacli("decode", "a").errors == ["error: a has 0 PNGs of 2 frames: make the frames again with dacli"]


def test_a_cut_begins_anew_at_its_first_frame(dacli: Run, home: Path, moving: Path) -> None:
    assert dacli("video", "frames", *EXACT, "--save", "npy").code == 0
    whole = floats(home / "frames_depth")[12:]
    for path in sorted(moving.iterdir()):
        if int(path.stem[4:]) < 12 + 5:
            path.unlink()
    assert dacli("video", "frames", *EXACT, "--save", "npy", "-o", "rest").code == 0
    np.testing.assert_allclose(whole, floats(home / "rest/frames_depth"), rtol=0.02, atol=0.02)
    np.testing.assert_array_equal(whole[0], floats(home / "rest/frames_depth")[0])


@pytest.mark.usefixtures("moving")
def test_a_stated_range_is_that_of_every_frame(dacli: Run, home: Path) -> None:
    assert dacli("video", "frames", *EXACT, "--save", "png16,npy", "--range", "0.2,0.8").code == 0
    steady = floats(home / "frames_depth")
    want = np.clip((steady - 0.2) / 0.6, 0, 1) * 65535
    assert np.abs(footage.decoded_frames(home / "frames_depth16.mkv", "gray16le") - want).max() <= 0.51
    assert dacli("decode", "frames_depth16.mkv").code == 0
    assert np.abs(np.load("frames_depth16.npy") - np.clip(steady, 0.2, 0.8)).max() < 0.51 * 0.6 / 65535 + 1e-6


@pytest.mark.usefixtures("moving")
def test_black_is_near_where_that_is_asked_for(dacli: Run, home: Path) -> None:
    for near in ("white", "black"):
        assert dacli("video", "frames", *EXACT, "--save", "png16", "--near", near, "-o", near).code == 0
    white, black = (
        footage.decoded_frames(home / near / "frames_depth16.mkv", "gray16le").astype(int)
        for near in ("white", "black")
    )
    assert np.abs(white + black - 65535).max() <= 1
    for near in ("white", "black"):
        assert dacli("decode", home / near / "frames_depth16.mkv").code == 0
    back = [np.load(home / near / "frames_depth16.npy") for near in ("white", "black")]
    assert np.abs(back[0] - back[1])[(back[0] > 0) & (back[0] < 1)].max() < 1.2 / 65535 / 0.9


@pytest.mark.usefixtures("moving")
def test_numbered_pictures_instead_of_video(dacli: Run, home: Path) -> None:
    assert dacli("video", "frames", *EXACT, "--save", "png16,color,npy", "--frames").code == 0
    numbers = [f"{n:02d}" for n in range(5, 26)]  # those of the pictures, in as many digits as the longest
    for folder, suffix in (("frames_depth16", ".png"), ("frames_color", ".png"), ("frames_depth", ".npy")):
        assert files_below(home / folder) == sorted(
            [*(f"{folder}_{number}{suffix}" for number in numbers), "frames.json"]
        )
    assert dacli("decode", "frames_depth16/frames_depth16_08.png", "-o", "3.npy").code == 0
    steady = floats(home / "frames_depth")[3]
    within = (steady >= 0) & (steady <= 1)
    assert np.abs(np.load("3.npy") - steady)[within].max() < 0.56 / 65535 / 0.9
    assert dacli("decode", "frames_depth16").out == "frames_depth16.npy\n"
    whole, steady = np.load("frames_depth16.npy"), floats(home / "frames_depth")
    assert whole.shape == steady.shape
    assert np.abs(whole - steady)[(steady >= 0) & (steady <= 1)].max() < 0.56 / 65535 / 0.9
    before = (home / "frames_color").stat().st_ino
    assert dacli("video", "frames", *EXACT, "--save", "png16,color,npy", "--frames").code == 0
    assert (home / "frames_color").stat().st_ino == before
    assert dacli("video", "frames", *EXACT, "--save", "color", "--frames", "--colormap", "gray").code == 0
    assert (home / "frames_color").stat().st_ino != before


def test_metres_stay_metres(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network in metres: what it says goes as millimetres into the clip, whatever steadying does to the look."""
    make_clip(home / "a.mp4", *H264, frames=6)

    opened = OpenModel(Tiny(20.0), "tiny", "indoor", "x")
    monkeypatch.setattr(loading, "open_model", lambda *_, **__: opened)
    assert dacli("video", "a.mp4", *EXACT, "--save", "png16,npy,gray", "--engine", "torch").code == 0
    metres = floats(home / "a_depth")
    deep = footage.decoded_frames(home / "a_depth16.mkv", "gray16le")
    assert 0 < metres.min() <= metres.max() < 20
    assert np.abs(deep - metres * 1000).max() <= 0.51
    gray = footage.decoded_frames(home / "a_gray.mp4", "gray").astype(float)
    assert np.corrcoef(gray.ravel(), metres.ravel())[0, 1] < -0.9  # near is white
    assert dacli("decode", "a_depth16.mkv").code == 0
    assert np.abs(np.load("a_depth16.npy") - metres).max() < 0.00051


# --- again, further, and from a pipe ---


def test_what_is_done_is_not_done_again(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=4)
    ask = ("video", "a.mp4", *SMALL, "--save", "color,png16,npy")
    assert dacli(*ask).code == 0

    def nodes() -> list[int]:
        return [(home / name).stat().st_ino for name in ("a_color.mp4", "a_depth16.mkv", "a_depth", "a_depth16.json")]

    first = nodes()
    run = dacli(*ask, "--json")
    assert (run.code, run.objects[0]["kept"], nodes()) == (0, True, first)
    assert any("a.mp4 is done already" in line for line in run.err)
    (home / "a_depth16.json").unlink()
    assert dacli(*ask).code == 0
    second = nodes()
    assert not set(first[:3]) & set(second[:3])
    assert dacli(*ask, "--steady", "off").code == 0
    third = nodes()
    assert not set(second[:3]) & set(third[:3])
    assert dacli(*ask, "--steady", "off", "--overwrite").code == 0
    assert not set(third[:3]) & set(nodes()[:3])


def test_a_pattern_that_names_outputs_too_makes_nothing_of_them(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
    make_clip(home / "b_color.mp4", *H264, frames=2)
    assert dacli("video", "a.mp4", *SMALL).code == 0
    run = dacli("video", "a.mp4", "a_color.mp4", "b_color.mp4", *SMALL, "--json")
    assert [(run.code, each["input"], each["kept"]) for each in run.objects] == [
        *((0, "a.mp4", True), (0, "b_color.mp4", False)),
    ]
    assert "a_color.mp4 is left out: it is an output of dacli" in run.err
    assert files_below(home) == ["a.mp4", "a_color.mp4", "b_color.mp4", "b_color_color.mp4"]
    assert dacli("video", "a.mp4", *SMALL, "--frames").code == 0
    frames = dacli("video", "a.mp4", "a_color", *SMALL, "--json")
    assert [each["input"] for each in frames.objects] == ["a.mp4"]
    assert "a_color is left out: it is an output of dacli" in frames.err
    refused = dacli("video", "a_color.mp4", *SMALL)
    assert (refused.code, refused.errors) == (
        1,
        ["error: a_color.mp4 is an output of dacli: name the picture that it was made from"],
    )


def test_a_clip_from_a_pipe(home: Path, weights: Path) -> None:
    data = make_clip(home.parent / "a.mkv", *H264, frames=5).read_bytes()
    run = subprocess.run(
        [*command(weights), "video", "-", *SMALL], input=data, capture_output=True, timeout=HANG, check=False
    )
    assert (run.returncode, run.stdout) == (0, b"stdin_color.mp4\n")
    assert len(footage.decoded_frames(home / "stdin_color.mp4")) == 5


def command(weights: Path) -> list[str]:
    """dacli with the tests' own tiny, in segments of 20 frames: its clock counts them."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from dacli.cli.main import main; from dacli.models import tiny; from dacli.video import segments; "
    code += f"from pathlib import Path; tiny.BUNDLED_WEIGHTS = Path({str(weights)!r}); "
    code += "from itertools import count; defaults = segments.ClipWriter.__init__.__kwdefaults__; "
    code += "defaults.update(segment_seconds=20, clock=count().__next__); main()"
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_job_that_was_stopped_goes_on_without_encoding_again(
    dacli: Run, home: Path, weights: Path, how: signal.Signals
) -> None:
    make_clip(home / "a.mp4", *H264, frames=64)
    ask = ("video", "a.mp4", *EXACT, "--save", "color,png16,npy")
    assert dacli(*ask, "-o", "whole").code == 0
    said = stop_in_second_segment(home, weights, ask, how)
    run = dacli(*ask, "-o", "out", "--json")
    assert (run.code, run.objects[0]["frames"]) == (0, 64)
    match = re.search(r"^a.mp4: goes on after frame (\d+) of 64$", "\n".join(run.err), re.MULTILINE)
    assert match is not None
    if how == signal.SIGKILL:
        assert int(match[1]) in (20, 40, 60)
    else:
        assert said == f"interrupted after {match[1]} of 64 frames of a.mp4; the same command goes on there"
    deep, deep_whole = (footage.packets(home / name / "a_depth16.mkv")[1] for name in ("out", "whole"))
    assert [packet.crc for packet in deep] == [packet.crc for packet in deep_whole]
    assert len(footage.packets(home / "out/a_color.mp4")[1]) == 64
    np.testing.assert_array_equal(floats(home / "out/a_depth"), floats(home / "whole/a_depth"))
    assert sidecar(home / "out/a_depth16.json") == sidecar(home / "whole/a_depth16.json")
    assert [path.name for path in (home / "out").iterdir() if path.name.startswith(".")] == []


def stop_in_second_segment(home: Path, weights: Path, ask: tuple[str, ...], how: signal.Signals) -> str:
    """Stop a job of another process after its first segment; return the last line that it said on stderr."""
    process = subprocess.Popen([*command(weights), *ask, "-o", "out"], text=True, stdout=-1, stderr=-1)
    until = time.monotonic() + HANG
    while not list(home.glob("out/.a-*.part/000000.json")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(how)
    _, said = process.communicate(timeout=HANG)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    assert [path.name[:3] for path in (home / "out").iterdir()] == [".a-"]
    wait_for_children()
    return said.strip().splitlines()[-1]


def test_a_job_that_was_stopped_at_its_very_end_has_only_to_be_joined(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clip(home / "a.mp4", *H264, frames=9)
    ask = ("video", "a.mp4", *EXACT, "--save", "png16,npy")
    assert dacli(*ask, "-o", "whole").code == 0
    whole = muxing.join_segments

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(muxing, "join_segments", interrupted)
    stopped = dacli(*ask, "-o", "out")
    assert (stopped.code, stopped.err[-1]) == (
        130,
        "interrupted after 9 of 9 frames of a.mp4; the same command goes on there",
    )
    monkeypatch.setattr(muxing, "join_segments", whole)
    run = dacli(*ask, "-o", "out", "--json")
    assert (run.code, run.errors) == (0, [])
    assert re.fullmatch(r"9 frames at 24 fps; \d+\.\d s, [\d.]+ frames/s", run.err[-1])
    assert run.objects[0]["network_size"] == [32, 64]
    assert sidecar(home / "out/a_depth16.json") == sidecar(home / "whole/a_depth16.json")
    np.testing.assert_array_equal(floats(home / "out/a_depth"), floats(home / "whole/a_depth"))


def wait_for_children() -> None:
    """The encoders of a killed job end by themselves, a moment later."""
    time.sleep(0.3)


# --- what a user is told ---


def fails(run: Result, *words: str) -> None:
    assert run.code == 1
    (line,) = run.errors
    assert all(word in line for word in words), line


def test_one_bad_clip_does_not_stop_the_others(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
    make_clip(home / "c.mp4", *H264, frames=3)
    (home / "b.mp4").write_bytes(b"\0" * 1000)
    run = dacli("video", "a.mp4", "b.mp4", "gone.mp4", "c.mp4", *SMALL, "--json")
    assert run.code == 1
    assert {told["input"]: told["ok"] for told in run.objects} == {
        "a.mp4": True,
        "b.mp4": False,
        "gone.mp4": False,
        "c.mp4": True,
    }
    assert [line.split(":")[1].split()[0] for line in run.errors] == ["b.mp4", "gone.mp4"]
    assert len(footage.decoded_frames(home / "c_color.mp4")) == 3


def test_clips_that_are_none(dacli: Run, home: Path) -> None:
    footage.ffmpeg("-f", "lavfi", "-i", "sine=d=1", home / "sound.mp4")
    photo(home / "picture.png").rename(home / "picture.mp4")
    (home / "empty.mp4").touch()
    (home / "folder").mkdir()
    (home / "page.mp4").write_text("<html>404</html>")
    told = {
        "sound.mp4": "no video stream, only audio",
        "picture.mp4": "is a picture, not a clip: use dacli image",
        "empty.mp4": "is empty",
        "folder": "holds no pictures",
        "page.mp4": "is not a video",
    }
    for name, words in told.items():
        fails(dacli("video", name, *SMALL), name, words)
    assert not [name for name in files_below(home) if "color" in name]


def truncated(path: Path) -> Path:
    """A clip of 48 frames whose last half is gone."""
    whole = make_clip(path.with_name("whole.mkv"), *H264, "-g", "6", frames=48)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    whole.unlink()
    return path


def test_a_truncated_clip_is_refused_and_used_only_if_that_is_allowed(dacli: Run, home: Path) -> None:
    truncated(home / "a.mkv")
    fails(dacli("video", "a.mkv", *SMALL), "decoded", "of 48 frames of a.mkv", "--allow-truncated")
    assert files_below(home) == ["a.mkv"]
    run = dacli("video", "a.mkv", *SMALL, "--allow-truncated", "--json")
    count = run.objects[0]["frames"]
    assert run.code == 0
    assert 5 < count < 40
    assert len(footage.decoded_frames(home / "a_color.mp4")) == count
    assert any(f"decoded {count} of 48 frames" in line for line in run.err)


def test_a_clip_damaged_half_way_leaves_nothing(dacli: Run, home: Path) -> None:
    path = make_clip(home / "a.mkv", *H264, "-g", "6", frames=48)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 800] = bytes(800)
    path.write_bytes(data)
    fails(dacli("video", "a.mkv", *SMALL), "of 48 frames of a.mkv")
    assert files_below(home) == ["a.mkv"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('case "$*" in *libx264*) exit 9;; *) exec "$FFMPEG" "$@";; esac', "ended with status 9"),
        ('case "$*" in *libx264*) head -c 9000 >/dev/null; kill -9 $$;; *) exec "$FFMPEG" "$@";; esac', "signal 9"),
        (
            'case "$*" in *libx264*) cat >/dev/null; echo "[a @ 0x1] [error] No space left on device" >&2; exit 228;;'
            ' *) exec "$FFMPEG" "$@";; esac',
            "the disk is full",
        ),
    ],
)
def test_an_encoder_that_fails(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    make_clip(home / "a.mp4", *H264, frames=12)
    footage.replace_ffmpeg(home.parent, monkeypatch, script)
    fails(dacli("video", "a.mp4", *SMALL), "cannot write a_color.mp4", words)
    assert files_below(home) == ["a.mp4"]


def test_a_decoder_that_is_killed_half_way(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(home / "a.mp4", *H264, frames=12)
    decoder = (
        'case "$*" in *rawvideo*pipe:1*) "$FFMPEG" "$@" | head -c 60000; kill -9 $$;; *) exec "$FFMPEG" "$@";; esac'
    )
    footage.replace_ffmpeg(home.parent, monkeypatch, decoder)
    fails(dacli("video", "a.mp4", *SMALL), "decoded 3 of 12 frames of a.mp4", "signal 9")
    assert files_below(home) == ["a.mp4"]


def test_a_network_that_fails_ends_the_clip_and_not_the_run(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mp4", "b.mp4"):
        make_clip(home / name, *H264, frames=9)
    whole, calls = Tiny.forward, 0

    def forward(self: Tiny, pictures: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("cosmic ray")
        return whole(self, pictures)

    monkeypatch.setattr(Tiny, "forward", forward)
    run = dacli("video", "a.mp4", "b.mp4", *SMALL, "--engine", "torch")
    assert run.code == 1
    assert [line for line in run.errors if "cosmic ray" in line and "a.mp4" in line] == run.errors
    assert files_below(home) == ["a.mp4", "b.mp4", "b_color.mp4"]


def test_what_dacli_did_not_make_is_not_replaced(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
    make_clip(home / "a_color.mp4", *H264, frames=5)
    fails(dacli("video", "a.mp4", *SMALL), "a_color.mp4", "not a complete output of dacli", "--overwrite")
    assert len(footage.decoded_frames(home / "a_color.mp4")) == 5
    assert dacli("video", "a.mp4", *SMALL, "--overwrite").code == 0
    assert len(footage.decoded_frames(home / "a_color.mp4")) == 2
    make_clip(home / "b.mp4", *H264, frames=3)
    (home / "a_color.mp4").rename(home / "b_color.mp4")
    fails(dacli("video", "b.mp4", *SMALL), "b_color.mp4", "was made from a.mp4")
    (home / "a_depth").mkdir()
    (home / "a_depth/notes.txt").write_text("mine")
    fails(dacli("video", "a.mp4", *SMALL, "--save", "npy"), "a_depth", "not a complete output of dacli")
    assert (home / "a_depth/notes.txt").read_text() == "mine"


def test_frames_of_several_sizes(dacli: Run, home: Path) -> None:
    (home / "frames").mkdir()
    photo(home / "frames/1.png")
    photo(home / "frames/2.png", shape=(30, 40))
    fails(dacli("video", "frames", *SMALL), "2.png", "40 × 30 pixels and the first frame 36 × 24")


def test_a_clip_larger_than_allowed(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=1)
    fails(dacli("video", "a.mp4", *SMALL, "--max-pixels", "0.005"), "a.mp4 has 96 × 64 pixels", "--max-pixels")


def test_no_frame_in_the_span(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=24)
    fails(dacli("video", "a.mp4", *SMALL, "--start", "9"), "a.mp4 has no frame from 9 s")


def test_an_output_folder_that_is_a_file(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
    (home / "out").touch()
    fails(dacli("video", "a.mp4", *SMALL, "-o", "out"), "cannot write out/a_color.mp4")


def test_depth_clips_that_lead_nowhere(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=3)
    assert dacli("video", "a.mp4", *SMALL, "--save", "png16,color", "--steady", "off").code == 0
    (home / "a_depth16.json").rename(home / "hidden.json")
    fails(dacli("decode", "a_depth16.mkv"), "a_depth16.json does not exist")
    (home / "a_depth16.json").write_text("{")
    fails(dacli("decode", "a_depth16.mkv"), "a_depth16.json is damaged")
    (home / "a_depth16.json").write_text('{"frames": []}')
    fails(dacli("decode", "a_depth16.mkv"), "do not belong together")
    (home / "a_color.mp4").rename(home / "b.mkv")
    fails(dacli("decode", "b.mkv"), "b.mkv is a h264 clip")
    assert not (home / "a_depth16.npy").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--steady", "maybe"), "unknown steady 'maybe'"),
        (("--start", "soon"), "--start soon is not a time"),
        (("--end", "1:2:3:4"), "--end 1:2:3:4 is not a time"),
        (("--max-fps", "0"), "--max-fps 0 is not a rate"),
        (("--rate", "24/0"), "--rate 24/0"),
        (("--save", "colour"), "did you mean color"),
        (("--colormap", "infernal"), "inferno"),
    ],
)
def test_wrong_usage(dacli: Run, home: Path, arguments: tuple[str, ...], words: str) -> None:
    make_clip(home / "a.mp4", *H264, frames=1)
    run = dacli("video", "a.mp4", *SMALL, *arguments)
    assert run.code == 2
    assert any(words in line for line in run.errors)
    assert files_below(home) == ["a.mp4"]


@pytest.mark.parametrize("content", [b"mine", b'{"mine": 1}', b""])
def test_json_beside_a_depth_clip_that_dacli_did_not_make_stays(dacli: Run, content: bytes) -> None:
    make_clip(Path("a.mp4"), *H264, frames=3)
    mine = Path("a_depth16.json")
    mine.write_bytes(content)
    run = dacli("video", "a.mp4", *EXACT, "--save", "png16")
    assert run.code == 1
    assert "a_depth16.json exists and is not a complete output of dacli: move it away, or replace" in run.errors[0]
    assert mine.read_bytes() == content
    assert dacli("video", "a.mp4", *EXACT, "--save", "png16", "--overwrite").code == 0
    assert sidecar(mine)[0]["source"] == "a.mp4"
    assert "is done already" in dacli("video", "a.mp4", *EXACT, "--save", "png16").err[-1]
