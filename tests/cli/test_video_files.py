"""Clips of the kinds that users have: odd names, numbered pictures, recordings; each read back by ffmpeg alone."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.errors import DacliError
from dacli.outputs.formats import FORMATS
from dacli.video import codecs
from tests.support import footage
from tests.support.commands import SMALL, Run, files_below, photo
from tests.support.footage import H264, make_clip

pytestmark = pytest.mark.usefixtures("home")


def slow(*values: object) -> Any:
    """Return values of a parametrized test that only the slow set takes: more of a kind."""
    return pytest.param(*values, marks=pytest.mark.slow)


# --- names ---


@pytest.mark.parametrize("name", ["v1.2.mp4", slow("Movie.2019.1080p.mkv"), slow("a.mp4.mkv")])
def test_a_dot_in_the_name_of_a_clip_is_part_of_it(dacli: Run, home: Path, name: str) -> None:
    make_clip(home / name, *H264, frames=2)
    stem = name.rpartition(".")[0]
    ask = ("video", name, *SMALL, "--save", "npy,png16,color")
    assert dacli(*ask).code == 0
    assert set(files_below(home / f"{stem}_depth")) == {
        f"{stem}_depth_000000.npy",
        f"{stem}_depth_000001.npy",
        "frames.json",
    }
    assert len(footage.decoded_frames(home / f"{stem}_depth16.mkv", "gray16le")) == 2
    assert dacli(*ask, "--json").objects[0]["kept"] is True
    assert dacli(*ask, "--frames").code == 0
    assert len(files_below(home / f"{stem}_depth16")) == len(files_below(home / f"{stem}_color")) == 3
    assert dacli(*ask, "--frames", "--json").objects[0]["kept"] is True
    run = dacli("video", name, f"{stem}_depth16", f"{stem}_color", *SMALL, "--frames", "--json")
    assert [each["input"] for each in run.objects] == [name]


def test_a_dot_in_the_name_of_a_folder_is_part_of_it(dacli: Run, home: Path) -> None:
    for name in ("shot.v001", "shot.v002"):
        (home / name).mkdir()
        photo(home / name / "0001.png")
    assert dacli("video", "shot.v001", "shot.v002", *SMALL).code == 0
    assert (home / "shot.v001_color.mp4").is_file()
    assert (home / "shot.v002_color.mp4").is_file()


@pytest.mark.parametrize("folder", ["what #1?", slow("."), slow("50% 'off'")])
def test_names_may_have_any_character(dacli: Run, home: Path, folder: str) -> None:
    (home / folder).mkdir(exist_ok=True)
    path = make_clip(home / folder / "is this #1? a%20b 'c' é.mp4", "-f", "lavfi", "-i", "sine=d=1", *H264, frames=3)
    run = dacli("video", path, *SMALL, "--save", "color,png16")
    assert (run.code, run.errors) == (0, [])
    assert len(footage.decoded_frames(path.with_name(f"{path.stem}_color.mp4"))) == 3
    assert b"a,SHA256=" in footage.stream_hash(path.with_name(f"{path.stem}_depth16.mkv"), "0:a")


# --- folders of numbered pictures ---


def numbered(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        photo(folder / name)
    return folder


def test_frames_keep_their_numbers(dacli: Run, home: Path) -> None:
    numbered(home / "shot", "shot_0098.png", "shot_0099.png", "shot_1000.png")
    run = dacli("video", "shot", *SMALL, "--save", "png16,npy", "--frames", "--start", "0.04")
    assert run.code == 0
    assert "shot: frames 100 to 999 are missing: those beside a gap are shown one after the other" in run.err
    assert files_below(home / "shot_depth16") == [
        *("frames.json", "shot_depth16_0099.png", "shot_depth16_1000.png"),
    ]
    assert dacli("video", "shot", *SMALL, "--save", "npy", "--first-frame", "1001").code == 0
    assert files_below(home / "shot_depth") == ["frames.json", *(f"shot_depth_{n}.npy" for n in (1001, 1002, 1003))]


def test_a_clip_is_numbered_from_0_or_from_what_is_asked(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=4)
    ask = ("video", "a.mp4", *SMALL, "--save", "gray", "--frames", "--start", "0.05")
    assert dacli(*ask).code == 0
    assert files_below(home / "a_gray") == ["a_gray_000000.png", "a_gray_000001.png", "frames.json"]
    assert dacli(*ask, "--first-frame", "0").code == 0
    assert files_below(home / "a_gray") == ["a_gray_0000.png", "a_gray_0001.png", "frames.json"]


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (("0001.jpg", "0001.png"), "0001.jpg and 0001.png have the same number, so frames are counted from 0"),
        slow(("a1.png", "b.png"), "some names have no number, so frames are counted from 0"),
        slow(("a1.png", "b1.png"), "a1.png and b1.png have the same number, so frames are counted from 0"),
        slow(("a1.png", "a2.png", "b1.png"), "some pictures have the same number, so frames are counted from 0"),
    ],
)
def test_numbers_that_tell_nothing_are_reported(dacli: Run, home: Path, names: tuple[str, ...], note: str) -> None:
    numbered(home / "in", *names)
    run = dacli("video", "in", *SMALL, "--save", "npy", "--json")
    assert run.code == 0
    assert f"in: {note}" in run.err
    assert files_below(home / "in_depth") == ["frames.json", *(f"in_depth_{n:06d}.npy" for n in range(len(names)))]


# --- wrong uses ---


@pytest.mark.parametrize("value", ["nan", "inf", "0", "-1"])
def test_a_rate_that_is_none_is_wrong_usage(dacli: Run, value: str) -> None:
    run = dacli("video", "a.mp4", *SMALL, "--max-fps", value)
    assert (run.code, run.err) == (
        2,
        [f"error: --max-fps {value} is not a rate: use frames per second, for example 24"],
    )


def test_a_closed_standard_input_is_wrong_usage(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    run = dacli("video", "-", *SMALL)
    assert (run.code, run.err) == (
        2,
        ["error: - is standard input, which is closed: pipe a clip into it, or name a file"],
    )
    assert not files_below(home)


def test_a_first_frame_below_0_is_wrong_usage(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
    run = dacli("video", "a.mp4", *SMALL, "--frames", "--first-frame", "-1")
    assert (run.code, len(run.err)) == (2, 1)
    assert "--first-frame" in run.err[0]
    assert files_below(home) == ["a.mp4"]


# --- sound and picture at the same time ---

FLASH = "color=black:s=96x64:r=24:d=2,drawbox=t=fill:c=white:enable='between(t,1.499,1.59)'"
BEEP = "aevalsrc='if(between(t,1.5,1.59),0.8*sin(2*PI*1000*t),0)':d=2:s=48000"


def flash_and_beep(path: Path, video_late: float, sound_late: float, *codecs: str) -> Path:
    """Write a clip that flashes and beeps at 1.5 s, with a part that comes later, in a container of its name."""
    video = ("-itsoffset", video_late, "-f", "lavfi", "-i", FLASH)
    footage.ffmpeg(*map(str, (*video, "-itsoffset", sound_late, "-f", "lavfi", "-i", BEEP)), *codecs, path)
    return path


def beep_after_flash(path: Path) -> float:
    """Return the time of the beep less that of the flash in seconds, both as ffmpeg alone decodes them."""
    exact = ("-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-f", "framecrc", "-")
    text = footage.ffmpeg("-copyts", "-i", path, "-map", "0:V:0", "-vf", "format=gray", *exact).decode()
    base = Fraction(next(line[6:] for line in text.splitlines() if line.startswith("#tb 0: ")))
    times = [int(line.split(",")[2]) for line in text.splitlines() if not line.startswith("#")]
    gray = footage.decoded_frames(path, "gray")[:, :, :96]  # of a side by side, the picture
    flash = times[int(np.argmax(gray.reshape(len(gray), -1).mean(1) > 128))] * base
    from_zero = ("-af", "aresample=48000:async=1:first_pts=0", "-f", "f32le", "-")
    heard = np.frombuffer(footage.ffmpeg("-copyts", "-i", path, "-map", "0:a:0", *from_zero), np.float32)
    return int(np.argmax(np.abs(heard) > 0.3)) / 48000 - float(flash)


MPEG = ("-c:v", "mpeg2video", "-c:a", "mp2")


@pytest.mark.parametrize(
    ("name", "late"),
    [
        ("a.ts", (0.6, 0.0)),
        ("a.mpg", (0.0, 0.4)),
        *(slow("a.ts", late) for late in ((0.0, 0.0), (0.0, 0.4))),
        *(slow(name, late) for name in ("a.m2ts", "a.vob") for late in ((0.0, 0.0), (0.6, 0.0), (0.0, 0.4))),
    ],
)
def test_sound_stays_with_the_picture_in_containers_whose_times_may_jump(
    dacli: Run, home: Path, name: str, late: tuple[float, float]
) -> None:
    before = beep_after_flash(flash_and_beep(home / name, *late, *MPEG))
    assert dacli("video", name, *SMALL, "--save", "side,png16", "--crf", "0").code == 0
    assert beep_after_flash(home / "a_side.mp4") == pytest.approx(before, abs=0.001)
    shown, heard = (footage.packet_times(home / "a_side.mp4", stream)[0] for stream in ("0:V:0", "0:a:0"))
    deep = [footage.packet_times(home / "a_depth16.mkv", stream)[0] for stream in ("0:V:0", "0:a:0")]
    assert float(deep[1] - deep[0]) == pytest.approx(float(heard - shown), abs=0.0011)  # Matroska has milliseconds


def test_a_part_of_a_recording_keeps_its_sound(dacli: Run, home: Path) -> None:
    before = beep_after_flash(flash_and_beep(home / "a.ts", 0.0, 0.4, *MPEG))
    part = ("--start", "1", "--end", "1.9", "--save", "side", "--crf", "0")
    assert dacli("video", "a.ts", *SMALL, *part).code == 0
    assert beep_after_flash(home / "a_side.mp4") == pytest.approx(before, abs=0.001)
    shown = footage.packet_times(home / "a_side.mp4")
    assert shown[0] == 0
    assert len(shown) in (21, 22)
    heard = footage.packet_times(home / "a_side.mp4", "0:a:0")
    assert 0 <= heard[0] < 0.025
    assert 0.85 < heard[-1] < 0.91


def test_time_stamps_that_jump_forward_do_so_for_picture_and_sound(dacli: Run, home: Path) -> None:
    jump = ("-vf", "setpts=PTS+gt(N\\,23)*10/TB", "-fps_mode", "passthrough", "-af", "asetpts=PTS+gt(T\\,1)*10/TB")
    flash_and_beep(home / "a.ts", 0, 0, *jump, *MPEG)
    assert dacli("video", "a.ts", *SMALL, "--save", "color").code == 0
    shown, heard = (footage.packet_times(home / "a_color.mp4", stream) for stream in ("0:V:0", "0:a:0"))
    assert shown == sorted(shown)
    assert float(shown[-1]) == pytest.approx(12, abs=0.1)
    assert float(heard[-1]) == pytest.approx(12, abs=0.1)


def test_time_stamps_that_jump_back_are_an_error(dacli: Run, home: Path) -> None:
    first, second = (flash_and_beep(home / f"{late}.ts", late, late, *MPEG) for late in (0, 12))
    (home / "a.ts").write_bytes(second.read_bytes() + first.read_bytes())
    run = dacli("video", "a.ts", *SMALL)
    assert (run.code, run.out) == (1, "")
    assert run.errors == [
        "error: the time stamps of a.ts jump back: make one time line of them: ffmpeg -i a.ts -c copy whole.mkv"
    ]
    footage.ffmpeg("-i", home / "a.ts", "-c", "copy", home / "whole.mkv")
    assert dacli("video", "whole.mkv", *SMALL).code == 0


@pytest.mark.parametrize(
    "codec", [("mpeg2video", "-bf", "2", "-g", "12"), ("libx264", "-x264-params", "open-gop=1:keyint=12")]
)
def test_a_recording_that_begins_in_the_middle_has_the_frames_that_can_be_shown(
    dacli: Run, home: Path, codec: tuple[str, ...]
) -> None:
    data = make_clip(home / "whole.ts", "-c:v", *codec, frames=72).read_bytes()
    (home / "a.ts").write_bytes(data[len(data) // 4 // 188 * 188 :])
    expected = len(footage.ffmpeg("-i", home / "a.ts", "-f", "rawvideo", "-pix_fmt", "gray", "-")) // (96 * 64)
    run = dacli("video", "a.ts", *SMALL, "--json")
    assert (run.code, run.errors) == (0, [])
    count = run.objects[0]["frames"]
    assert abs(count - expected) <= 2  # without -xerror ffmpeg also shows frames that lack a reference
    assert 36 <= count < 72
    assert len(footage.decoded_frames(home / "a_color.mp4")) == count


# --- which frames there are ---


def test_the_animation_of_an_avif_is_the_clip_and_not_its_still(dacli: Run, home: Path) -> None:
    make_clip(home / "a.avif", "-c:v", "libsvtav1", "-preset", "10", "-svtav1-params", "lp=1", frames=5)
    run = dacli("video", "a.avif", *SMALL, "--json")
    assert (run.code, run.objects[0]["frames"]) == (0, 5)
    assert "a.avif has several video streams: 1 is used, not 0; --stream chooses" in run.err


def test_a_stream_can_be_chosen(dacli: Run, home: Path) -> None:
    inputs = ("-f", "lavfi", "-i", "color=red:s=64x48:r=24:d=1", "-map", "1", "-map", "0", "-map", "0")
    make_clip(home / "a.mkv", *inputs, *H264, frames=8)
    run = dacli("video", "a.mkv", *SMALL, "--json")
    assert (run.code, run.objects[0]["frames"]) == (0, 8)
    chosen = dacli("video", "a.mkv", *SMALL, "--stream", "1", "--overwrite", "--json")
    assert chosen.objects[0]["frames"] == len(footage.packet_times(home / "a.mkv", "0:1"))
    assert footage.decoded_frames(home / "a_color.mp4").shape[1:3] == (64, 96)
    assert dacli("video", "a.mkv", *SMALL, "--stream", "0", "--overwrite").code == 0
    assert footage.decoded_frames(home / "a_color.mp4").shape[1:3] == (48, 64)
    wrong = dacli("video", "a.mkv", *SMALL, "--stream", "7")
    assert wrong.code == 1
    assert wrong.errors == ["error: --stream 7 is not a video stream of a.mkv: its video streams: 0, 1, 2"]


def test_repeated_frames_of_theora_are_frames(dacli: Run, home: Path) -> None:
    make_clip(home / "a.ogv", "-c:v", "libtheora", source="color=red:s=96x64:r=24", frames=24)
    run = dacli("video", "a.ogv", *SMALL, "--json")
    assert (run.code, run.errors) == (0, [])
    shown = footage.packet_times(home / "a_color.mp4")
    assert len(shown) == run.objects[0]["frames"] in (2, 24)


@pytest.mark.parametrize("name", ["a.mjpeg", slow("a.mjpg")])
def test_raw_mjpeg_is_a_clip(dacli: Run, home: Path, name: str) -> None:
    make_clip(home / name, "-c:v", "mjpeg", "-f", "mjpeg", frames=12)
    run = dacli("video", name, *SMALL, "--json")
    assert (run.code, run.objects[0]["frames"]) == (0, 12)


# --- fields ---

COMBED = "tinterlace=interleave_top,setfield=tff"


def combing(frames: NDArray[np.uint8]) -> float:
    """Return how much lines differ from the mean of their neighbours, compared with the lines two apart."""
    gray = frames.astype(float)
    between = np.abs(gray[:, 1:-1] - (gray[:, :-2] + gray[:, 2:]) / 2).mean()
    return float(between / np.abs(gray[:, 2:] - gray[:, :-2]).mean())


@pytest.mark.parametrize("name", ["a.dv", slow("a.avi")])
def test_interlaced_dv_is_made_of_whole_frames(dacli: Run, home: Path, name: str) -> None:
    source = "testsrc2=s=720x576:r=50"
    how = ("-c:v", "dvvideo", "-pix_fmt", "yuv420p", "-vf", COMBED, "-r", "25")
    make_clip(home / name, *how, source=source, frames=4)
    assert dacli("video", name, *SMALL, "--save", "side", "--crf", "0").code == 0
    whole = combing(footage.decoded_frames(home / "a_side.mp4", "gray")[:, :, :720])
    assert dacli("video", name, *SMALL, "--save", "side", "--crf", "0", "--deinterlace", "off").code == 0
    combed = combing(footage.decoded_frames(home / "a_side.mp4", "gray")[:, :, :720])
    assert whole < 0.7 * combed


def test_telecined_film_gets_its_frames_back(dacli: Run, home: Path) -> None:
    make_clip(home / "a.mkv", "-vf", "telecine", "-c:v", "ffv1", source="testsrc2=s=96x64:r=24000/1001", frames=50)
    run = dacli("video", "a.mkv", *SMALL, "--deinterlace", "telecine", "--json")
    assert run.code == 0
    assert 38 <= run.objects[0]["frames"] <= 40
    assert run.objects[0]["fps"] == pytest.approx(24000 / 1001, abs=0.1)
    assert dacli("video", "a.mkv", *SMALL, "--deinterlace", "yes").code == 2


# --- transparency ---

HOLE = "format=rgba,geq=r=255:g=0:b=0:a='if(lt(X,48),0,255)'"
ALPHA = {
    "prores.mov": ("-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"),
    "qtrle.mov": ("-c:v", "qtrle"),
    "png.mov": ("-c:v", "png"),
    "a.apng": ("-c:v", "apng", "-f", "apng"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-cpu-used", "8", "-deadline", "realtime"),
    "vp8.webm": ("-c:v", "libvpx", "-auto-alt-ref", "0", "-pix_fmt", "yuva420p", "-cpu-used", "8"),
    "ffv1.mkv": ("-c:v", "ffv1", "-pix_fmt", "yuva420p"),
}
FAST_ALPHA = ("prores.mov", "vp9.webm")


@pytest.mark.parametrize("name", [name if name in FAST_ALPHA else slow(name) for name in ALPHA])
def test_what_is_transparent_is_white(dacli: Run, home: Path, name: str) -> None:
    make_clip(home / name, "-vf", HOLE, *ALPHA[name], frames=3)
    assert dacli("video", name, *SMALL, "--save", "side", "--frames").code == 0
    with Image.open(home / f"{name.rpartition('.')[0]}_side" / f"{name.rpartition('.')[0]}_side_000001.png") as picture:
        left = np.asarray(picture)[:, :96].astype(int)
    assert np.abs(left[:, :44] - (255, 255, 255)).max() <= 6
    assert np.abs(left[:, 52:] - (255, 0, 0)).max() <= 6


# --- subtitles and timecode ---

CUES = ((0.1, 0.9, "one"), (1.2, 1.8, "two {\\i1}here"), (2.2, 2.8, "three"), (2.9, 3.0, "four"))


def with_subtitles(path: Path, codec: str) -> Path:
    """Write a clip of three seconds with the cues, one of them in two lines."""

    def clock(time: float) -> str:
        return f"00:00:{int(time):02}{f'{time % 1:.3f}'[1:].replace('.', ',')}"

    text = "\n".join(f"{n}\n{clock(a)} --> {clock(b)}\n{t}\n" for n, (a, b, t) in enumerate(CUES, 1))
    path.with_name("cues.srt").write_text(text)
    return make_clip(path, "-i", str(path.with_name("cues.srt")), *H264, "-c:s", codec, frames=72)


def shown_cues(path: Path) -> list[tuple[float, float]]:
    """Return when the subtitles of a file begin and end, as ffmpeg converts them."""
    text = footage.ffmpeg("-i", path, "-map", "0:s:0", "-f", "srt", "-").decode()
    found = re.findall(r"(\d\d):(\d\d),(\d{3}) --> \d\d:(\d\d):(\d\d),(\d{3})", text)
    times = [(60 * int(a) + int(b) + int(c) / 1000, 60 * int(d) + int(e) + int(f) / 1000) for a, b, c, d, e, f in found]
    return [(begin, end) for begin, end in times if end > begin]


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mov_text"), ("a.mkv", "ass"), slow("a.mkv", "srt")])
def test_subtitles_of_a_part_are_moved_and_cut(dacli: Run, home: Path, name: str, codec: str) -> None:
    with_subtitles(home / name, codec)
    run = dacli("video", name, *SMALL, "--save", "png16,color", "--start", "1", "--end", "2.5")
    assert (run.code, run.errors) == (0, [])
    for output in ("a_color.mp4", "a_depth16.mkv"):
        np.testing.assert_allclose(shown_cues(home / output), [(0.2, 0.8), (1.2, 1.5)], atol=0.011)
    assert dacli("video", name, *SMALL, "--save", "png16,color", "--start", "0.5", "--end", "1.0").code == 0
    for output in ("a_color.mp4", "a_depth16.mkv"):
        np.testing.assert_allclose(shown_cues(home / output), [(0, 0.4)], atol=0.011)


def test_a_part_without_subtitles_has_none(dacli: Run, home: Path) -> None:
    with_subtitles(home / "a.mkv", "srt")
    assert dacli("video", "a.mkv", *SMALL, "--save", "color", "--start", "0.92", "--end", "1.1").code == 0
    assert "Subtitle" not in footage.ffmpeg_report(home / "a_color.mp4")


@pytest.mark.parametrize(
    ("name", "rate", "timecode", "start", "expected"),
    [
        slow("a.mov", "25", "10:00:00:20", None, "10:00:00:20"),
        slow("a.mov", "25", "10:00:00:20", "1", "10:00:01:20"),
        ("a.mov", "24000/1001", "00:59:59:23", "0.5", "01:00:00:11"),
        ("a.mxf", "30000/1001", "00:00:59;28", "0.1", "00:01:00;03"),  # drop-frame: 00:01:00;02 follows 00:00:59;29
        slow("a.mxf", "25", "23:59:59:24", "0.04", "00:00:00:00"),
    ],
)
def test_the_timecode_is_that_of_the_first_frame(
    dacli: Run, home: Path, name: str, rate: str, timecode: str, start: str | None, expected: str
) -> None:
    codec = ("-c:v", "mpeg2video") if name == "a.mxf" else H264
    make_clip(home / name, "-timecode", timecode, *codec, source=f"testsrc2=s=96x64:r={rate}", frames=40)
    part = () if start is None else ("--start", start)
    assert dacli("video", name, *SMALL, "--save", "color,png16", *part).code == 0
    for output in ("a_color.mp4", "a_depth16.mkv"):
        found = re.findall(r"(?i)timecode *: (\S+)", footage.ffmpeg_report(home / output))
        assert set(found) == {expected}, output


# --- tags ---


def tags_of(path: Path) -> dict[str, str]:
    """Return the tags of a file as ffmpeg prints them, without its escapes."""
    lines = footage.ffmpeg("-i", path, "-f", "ffmetadata", "-").decode().splitlines()
    return {key.lower(): re.sub(r"\\(.)", r"\1", value) for key, _, value in (line.partition("=") for line in lines)}


TAGS = {"title": "My film", "comment": "shot; at sea", "keywords": "boat, sea"}


@pytest.mark.parametrize(
    ("free", "codec", "suffix"),
    [
        ({}, "h264", "mp4"),
        ({"scene": "12=a"}, "h264", "mp4"),
        slow({"scene": "12"}, "prores", "mov"),
        slow({}, "ffv1", "mkv"),
    ],
)
def test_tags_of_the_source_are_kept_beside_the_record(
    dacli: Run, home: Path, free: dict[str, str], codec: str, suffix: str
) -> None:
    given = [text for key, value in (TAGS | free).items() for text in ("-metadata", f"{key}={value}")]
    make_clip(home / "a.mp4", *given, "-movflags", "+use_metadata_tags" if free else "+faststart", *H264, frames=2)
    ask = ("video", "a.mp4", *SMALL, "--save", "gray", "--codec", codec, "--json")
    assert dacli(*ask).code == 0
    found = tags_of(home / f"a_gray.{suffix}")
    for key, value in (TAGS | free).items():
        assert found[key].startswith(value)
    assert dacli(*ask).objects[0]["kept"] is True
    assert dacli("video", f"a_gray.{suffix}", *SMALL).errors == [
        f"error: a_gray.{suffix} is an output of dacli: name the picture that it was made from"
    ]


# --- codecs of outputs ---

CODECS = {  # the codec and pixels that ffmpeg sees in color and gray, and the suffix
    "h264": ("h264", "yuv420p", "yuv420p", ".mp4"),
    "h265": ("hevc", "yuv420p10le", "yuv420p10le", ".mp4"),
    "prores": ("prores", "yuv422p10le", "yuv422p10le", ".mov"),
    "ffv1": ("ffv1", "bgr0", "gray", ".mkv"),
}


@pytest.mark.parametrize("codec", [slow("h264"), "h265", "prores", "ffv1"])
def test_a_clip_in_another_codec_has_the_same_depth_times_and_sound(dacli: Run, home: Path, codec: str) -> None:
    source = "testsrc2=s=95x63:r=24000/1001"
    make_clip(home / "a.mkv", "-f", "lavfi", "-i", "sine=d=1", "-c:a", "flac", *H264, source=source, frames=8)
    name, color, gray, suffix = CODECS[codec]
    ask = ("video", "a.mkv", *SMALL, "--precision", "fp32", "--codec", codec, "--crf", "4")
    run = dacli(*ask, "--save", "gray,color,png16,npy", "--steady", "off", "--range", "0,3")
    assert (run.code, run.errors) == (0, [])
    for kind, pixels in (("gray", gray), ("color", color)):
        report = footage.ffmpeg_report(home / f"a_{kind}{suffix}")
        assert re.search(rf"Video: {name}.*, {pixels}\W", report), report
        assert "Audio: " in report
    times = footage.packet_times(home / "a.mkv")
    np.testing.assert_allclose(
        np.array(footage.packet_times(home / f"a_gray{suffix}"), float), np.array(times, float), atol=1e-3
    )
    depth = np.stack([np.load(path) for path in sorted((home / "a_depth").glob("*.npy"))])
    expected = np.clip(depth / 3, 0, 1)
    deep = codec in ("h265", "prores")
    how = ("gray16le", "-vf", "scale=out_range=pc") if deep else ("gray",)
    drawn = footage.decoded_frames(home / f"a_gray{suffix}", *how)
    found = drawn[:, : depth.shape[1], : depth.shape[2]] / (65535 if deep else 255)
    # 10 bits have steps of 0.001. Of 8-bit H.264 ffmpeg's gray reader loses up to two steps of 0.004 more.
    assert np.abs(found - expected).mean() < (0.012 if codec == "h264" else 0.0012)
    assert dacli(*ask, "--save", "gray", "--steady", "off", "--range", "0,3", "--json").objects[0]["kept"] is True
    assert (
        f"a_gray{suffix} is left out: it is an output of dacli"
        in dacli("video", "a.mkv", f"a_gray{suffix}", *SMALL).err
    )


@pytest.mark.parametrize(
    ("size", "options", "said"),
    [
        ("16386x16", ("--save", "gray"), "gray of a.mkv has 16386 × 16 pixels, and h264 takes sides of 1 to 16384"),
        ("8194x16", ("--save", "npy,side"), "side of a.mkv has 16388 × 16 pixels, and h264 takes sides of 1 to 16384"),
        ("40x12", ("--codec", "h265"), "color of a.mkv has 40 × 12 pixels, and h265 takes sides of 16 to 65535"),
    ],
)
def test_a_size_that_the_codec_cannot_hold_is_refused_before_the_network_runs(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, size: str, options: tuple[str, ...], said: str
) -> None:
    make_clip(home / "a.mkv", "-c:v", "ffv1", source=f"color=s={size}:r=24", frames=1)
    monkeypatch.setattr("dacli.cli.runs.open_run", None)
    run = dacli("video", "a.mkv", *SMALL, *options)
    assert (run.code, run.errors) == (1, [f"error: {said}: use --frames, or --codec ffv1"])
    assert files_below(home) == ["a.mkv"]


@pytest.mark.parametrize(
    ("size", "codec"), [((16384, 2), "h264"), ((2, 16384), "h264"), ((16, 16), "h265"), ((16386, 16), "prores")]
)
@pytest.mark.slow
def test_the_sizes_that_codecs_are_said_to_take_are_encoded(home: Path, size: tuple[int, int], codec: str) -> None:
    row = codecs.CODECS[codec]
    codecs.check_clip_size("a", size, [FORMATS["color"]], codec)
    encoded = ("-frames:v", "1", "-pix_fmt", row.color, *row.options(18))
    footage.ffmpeg("-f", "lavfi", "-i", f"color=s={size[0]}x{size[1]}:r=24", *encoded, home / "a.mov")
    assert footage.decoded_frames(home / "a.mov").shape[1:3] == size[::-1]
    too_large = (row.largest + 1, 16) if codec != "h265" else (14, 14)
    with pytest.raises(DacliError):
        codecs.check_clip_size("a", too_large, [FORMATS["color"]], codec)


def test_a_codec_that_is_not_there(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
    run = dacli("video", "a.mp4", *SMALL, "--codec", "vp9")
    assert (run.code, len(run.err)) == (2, 1)
    assert "unknown codec 'vp9'" in run.err[0]
    monkeypatch.setattr("dacli.video.ffmpeg.has_encoder", lambda _: False)
    run = dacli("video", "a.mp4", *SMALL, "--codec", "h265")
    assert (run.code, run.err) == (
        1,
        [
            "error: this ffmpeg cannot encode h265: it has no libx265: "
            "choose another --codec, or reinstall imageio-ffmpeg"
        ],
    )
    assert files_below(home) == ["a.mp4"]


# --- several clips at once ---


def test_a_folder_of_clips_and_a_pattern_are_all_of_them(dacli: Run, home: Path) -> None:
    (home / "clips").mkdir()
    for name in ("b10.mp4", "b9.mkv", "c.TS", "notes.txt"):
        make_clip(home / "clips" / name, *H264, "-f", "matroska", frames=2)
    run = dacli("video", "clips", *SMALL, "-o", "out", "--json")
    assert run.code == 0
    assert [each["input"] for each in run.objects] == ["clips/b9.mkv", "clips/b10.mp4", "clips/c.TS"]
    assert run.summary["done"] == 3
    again = dacli("video", "clips/*.m*", "out", *SMALL, "-o", "out", "--json")
    assert [each["kept"] for each in again.objects] == [True, True]
    assert any("out/b10_color.mp4" in line and "dacli" in line for line in again.err)


def test_a_folder_or_a_pattern_without_clips(dacli: Run, home: Path) -> None:
    (home / "empty").mkdir()
    assert dacli("video", "empty", *SMALL).errors == [
        "error: empty holds no pictures and no clips: "
        "use a video file, a folder of numbered pictures, or a folder of video files"
    ]
    run = dacli("video", "no*.mp4", *SMALL)
    assert (run.code, run.errors) == (1, ["error: no clip matches no*.mp4: check the pattern, and quote it"])


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("a.mkv", Fraction(24000, 1001)),
        ("a.flv", Fraction(60000, 1001)),
        *(slow("a.mkv", rate) for rate in (Fraction(24), Fraction(60000, 1001))),
        *(slow(name, Fraction(rate, 1001)) for name in ("a.webm", "a.flv") for rate in (24024, 24000)),
    ],
)
def test_a_constant_rate_is_exact_where_the_source_rounds_its_times(
    dacli: Run, home: Path, name: str, rate: Fraction
) -> None:
    codec = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8") if name == "a.webm" else H264
    make_clip(home / name, *codec, source=f"testsrc2=s=96x64:r={rate}", frames=20)
    assert dacli("video", name, *SMALL, "--save", "color,png16", "--start", "0.1").code == 0
    times = footage.packet_times(home / "a_color.mp4")
    assert times == [number / rate for number in range(len(times))]
    for output in ("a_color.mp4", "a_depth16.mkv"):
        assert f"{float(rate):.4g} fps" in footage.ffmpeg_report(home / output)
