"""The probed content of a clip against the options with which ffmpeg wrote it."""

import contextlib
import errno
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dacli.errors import DacliError
from dacli.video import ffmpeg, probe, spool
from dacli.video.clip import MediaTrack, trim_clip
from tests.support import footage
from tests.support.footage import H264, VARIABLE, VARY, make_clip
from tests.support.hanging import in_time

NTSC = Fraction(24000, 1001)
PQ = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
FIELDS = ("-vf", "tinterlace=interleave_top,setfield=tff", "-flags", "+ilme+ildct")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with footage.no_leftovers(tmp_path / "temporary", monkeypatch):
        yield


def even(step: int, count: int = 30, first: int = 0) -> tuple[int, ...]:
    return tuple(first + step * i for i in range(count))


@dataclass(frozen=True)
class Made:
    """How a clip is made, and the expected fields; other fields have their usual value."""

    name: str
    arguments: tuple[str, ...]
    found: dict[str, Any] = field(default_factory=dict)
    source: str = "testsrc2=s=96x64:r=24"
    frames: int = 30


MADE = {
    "constant": Made("a.mp4", H264, {"pts": even(512), "rate": 24, "pixel_format": "yuv420p"}),
    "B-frames": Made("a.mp4", ("-c:v", "libx264", "-bf", "3"), {"pts": even(512)}),
    "NTSC": Made("a.mp4", H264, {"pts": even(1001), "rate": NTSC}, "testsrc2=s=96x64:r=24000/1001"),
    "NTSC in Matroska": Made(
        "a.mkv",
        H264,
        {"pts": even(1001), "time_base": Fraction(1, 24000), "rate": NTSC},
        "testsrc2=s=96x64:r=24000/1001",
    ),
    "variable": Made(
        "a.mp4",
        (
            "-vf",
            VARY,
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1:24000",
            "-video_track_timescale",
            "24000",
            *H264,
        ),
        {"pts": VARIABLE, "variable": True, "rate": Fraction(29 * 24000, VARIABLE[-1])},
    ),
    "later than its sound": Made(
        "a.mp4",
        ("-f", "lavfi", "-i", "sine=d=1", "-vf", "setpts=PTS+0.5/TB", "-c:a", "flac", "-strict", "-2", *H264),
        {"pts": even(512, first=6144), "tracks": (MediaTrack(1, "audio", "flac"),)},
    ),
    "transport stream": Made("a.ts", H264, {"pts": even(3750)}),
    "no times": Made("a.h264", H264, {"pts": even(50000), "seekable": False}),
    "no times and B-frames": Made("a.h264", ("-c:v", "libx264"), {"pts": even(50000), "seekable": False}),
    "AVI with B-frames": Made("a.avi", ("-c:v", "mpeg4", "-bf", "2"), {"pts": even(1, first=1), "seekable": False}),
    "hidden frames": Made("a.webm", ("-c:v", "libvpx", "-deadline", "realtime"), {"rate": 24, "seekable": False}),
    "interlaced": Made("a.mp4", (*FIELDS, "-c:v", "libx264"), {"interlaced": True, "rate": 12, "seekable": False}),
    "GIF": Made("a.gif", (), {"pts": even(25), "time_base": Fraction(1, 600), "rate": 24}),
    "anamorphic": Made("a.mp4", ("-vf", "setsar=4/3", *H264), {"sample_aspect": Fraction(4, 3)}),
    "odd": Made("a.mkv", ("-vf", "scale=97:63,setsar=1", "-c:v", "ffv1"), {"width": 97, "height": 63}),
    "10 bits": Made("a.mp4", ("-pix_fmt", "yuv420p10le", "-c:v", "libx264"), {"pixel_format": "yuv420p10le"}),
    "PQ": Made("a.mkv", ("-vf", PQ, "-pix_fmt", "yuv420p10le", "-c:v", "ffv1"), {"transfer": "smpte2084"}),
    "HLG": Made(
        "a.mkv", ("-vf", PQ.replace("smpte2084", "arib-std-b67"), "-c:v", "ffv1"), {"transfer": "arib-std-b67"}
    ),
    "one frame": Made("a.mp4", H264, {"pts": (0,), "rate": 24, "end": 512}, frames=1),
}


@pytest.mark.parametrize("name", MADE)
def test_what_a_clip_holds(tmp_path: Path, name: str) -> None:
    made = MADE[name]
    path = make_clip(tmp_path / made.name, *made.arguments, source=made.source, frames=made.frames)
    clip = probe.probe_clip(path)
    usual = {"width": 96, "height": 64, "sample_aspect": 1, "variable": False, "transfer": "", "interlaced": False}
    usual |= {"tracks": (), "origin": 0, "missing_frames": 0, "end_trimmed": False, "seekable": True, "path": path}
    assert {key: getattr(clip, key) for key in usual | made.found} == usual | made.found
    assert len(clip.pts) == made.frames
    assert abs(float(clip.seconds * clip.rate) - made.frames) < 1.1


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_upright_size_and_sample_aspect(tmp_path: Path, turn: int) -> None:
    plain = make_clip(tmp_path / "plain.mp4", "-vf", "setsar=4/3", *H264, frames=3)
    footage.ffmpeg("-display_rotation", str(turn), "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    clip = probe.probe_clip(tmp_path / "turned.mp4")
    upright = (96, 64, Fraction(4, 3)) if turn % 180 == 0 else (64, 96, Fraction(3, 4))
    assert (clip.width, clip.height, clip.sample_aspect) == upright


def test_frames_before_an_edit_do_not_count(tmp_path: Path) -> None:
    """Copying from the middle of a group leaves packets that are decoded and not shown."""
    make_clip(tmp_path / "a.mp4", "-c:v", "libx264", frames=48)
    footage.ffmpeg("-ss", "0.7", "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    clip = probe.probe_clip(tmp_path / "b.mp4")
    assert clip.pts == even(512, 31)
    assert len(footage.packets(tmp_path / "b.mp4")[1]) == 48


def test_equal_times_are_made_distinct(tmp_path: Path) -> None:
    times = "settb=1/1000,setpts='10*floor(N/2)'"
    path = make_clip(
        tmp_path / "a.mkv", "-vf", times, "-fps_mode", "passthrough", "-enc_time_base", "1:1000", "-c:v", "ffv1"
    )
    clip = probe.probe_clip(path)
    assert clip.pts == tuple(10 * (n // 2) + n % 2 for n in range(30))
    assert not clip.seekable


def test_tracks_beside_the_video(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    sound = [*("-f", "lavfi", "-i", "sine=d=1"), *("-f", "lavfi", "-i", "sine=d=1"), "-i", str(tmp_path / "a.srt")]
    maps = [text for number in range(4) for text in ("-map", str(number))]
    codecs = ["-c:a:0", "aac", "-c:a:1", "libopus", "-c:s", "copy", "-metadata:s:a:0", "language=ger"]
    make_clip(tmp_path / "a.mkv", *sound, *maps, *codecs, *H264, frames=24)
    assert probe.probe_clip(tmp_path / "a.mkv").tracks == (
        MediaTrack(1, "audio", "aac"),
        MediaTrack(2, "audio", "opus"),
        MediaTrack(3, "subtitle", "subrip"),
    )


def test_a_cover_is_no_clip(tmp_path: Path) -> None:
    inputs = ["-i", str(make_clip(tmp_path / "cover.png", frames=1)), "-map", "0", "-map", "1", "-c:a", "aac"]
    path = make_clip(
        tmp_path / "song.m4a", *inputs, "-c:v", "copy", "-disposition:v:0", "attached_pic", source="sine=d=0.2"
    )
    assert "attached pic" in footage.ffmpeg_report(path)
    assert fault(path) == "has no video stream, only audio"


def fault(path: Path) -> str:
    with pytest.raises(DacliError) as caught:
        in_time(lambda: probe.probe_clip(path))
    assert path.name in caught.value.message
    assert caught.value.hint
    return caught.value.message.removeprefix(str(path)).strip()


def truncated(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def test_what_is_no_clip(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.mp4") == "does not exist"
    (tmp_path / "empty.mp4").touch()
    assert fault(tmp_path / "empty.mp4") == "is empty"
    (tmp_path / "text.mp4").write_text("hello")
    assert fault(tmp_path / "text.mp4") == "is not a video that ffmpeg can read (moov atom not found)"
    (tmp_path / "noise.mkv").write_bytes(np.random.default_rng(1).bytes(5000))
    assert fault(tmp_path / "noise.mkv").startswith("is not a video that ffmpeg can read (")
    sound = make_clip(tmp_path / "sound.mp4", "-c:a", "aac", source="sine=d=0.2")
    assert fault(sound) == "has no video stream, only audio"
    assert fault(truncated(make_clip(tmp_path / "cut.mp4", *H264), 0.5)) == "is truncated: its index (moov) is missing"


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "bmp", "tiff"])
def test_a_picture_under_the_name_of_a_clip(tmp_path: Path, form: str) -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    (tmp_path / "a.mp4").write_bytes(cv2.imencode(f".{form}", picture)[1].tobytes())
    assert fault(tmp_path / "a.mp4") == "is a picture, not a clip"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile {other}\n"),
        ("notes.txt", "words " * 500),
    ],
)
def test_text_files_are_not_clips(tmp_path: Path, name: str, text: str) -> None:
    other = make_clip(tmp_path / "other.ts", *H264, frames=3)
    (tmp_path / name).write_text(text.format(other=other.name))
    assert "not a clip but text" in (found := fault(tmp_path / name)) or "not a video that ffmpeg can read" in found


def test_a_video_stream_without_a_frame(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", "-f", "lavfi", "-i", "sine=d=0.1", "-c:v", "ffv1", "-c:a", "flac", frames=1)
    footage.ffmpeg("-i", tmp_path / "a.mkv", "-c", "copy", "-bsf:v", "noise=drop=1", tmp_path / "b.mkv")
    assert fault(tmp_path / "b.mkv") == "has a video stream without a frame"


def test_a_first_frame_that_cannot_be_decoded(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mkv", "-c:v", "ffv1", frames=2)
    footage.ffmpeg("-i", tmp_path / "a.mkv", "-c", "copy", "-bsf:v", "noise=amount=1", tmp_path / "b.mkv")
    assert fault(tmp_path / "b.mkv").startswith("cannot be decoded (")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path = make_clip(tmp_path / "a.mp4", *H264, frames=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        assert fault(path) == "cannot be read (Permission denied)"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_a_truncated_file_has_its_number_of_missing_frames(tmp_path: Path, name: str) -> None:
    codec = {"a.avi": ("-c:v", "mjpeg"), "a.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime")}
    path = truncated(make_clip(tmp_path / name, *codec.get(name, (*H264, "-movflags", "+faststart")), frames=48), 0.6)
    clip = probe.probe_clip(path)
    assert 0 < len(clip.pts) < 48
    if name == "a.avi":  # the length of which ffmpeg takes from the file's size
        assert clip.missing_frames > 0
    else:
        assert len(clip.pts) + clip.missing_frames == 48


def test_a_stalled_ffmpeg_is_no_reason_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4", *H264, frames=1)
    footage.replace_ffmpeg(tmp_path, monkeypatch, "exec sleep 100")
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.2)
    assert fault(path) == "is not a video that ffmpeg can read (ffmpeg stalled for 0.2 s)"


def test_parts_of_a_clip(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=48))
    part = trim_clip(clip, start=0.5, end=1.0)
    assert (part.pts, part.origin, part.end, part.end_trimmed) == (even(512, 12, 6144), 6144, 12288, True)
    assert part.seconds == Fraction(1, 2)
    assert trim_clip(clip) == clip
    tail = trim_clip(clip, start=1.9)
    assert (tail.pts, tail.end, tail.end_trimmed) == (even(512, 2, 23552), 24576, False)
    head = trim_clip(clip, end=0.001)
    assert head.pts == (0,)
    assert (head.origin, head.end) == (0, 512)
    assert trim_clip(clip, end=99.0) == clip


@pytest.mark.parametrize("span", [(2.0, None), (1.0, 1.0), (0.501, 0.502), (None, 0.0), (1.5, 0.5)])
def test_a_part_without_a_frame(tmp_path: Path, span: tuple[float | None, float | None]) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=48))
    with pytest.raises(DacliError, match="has no frame from") as caught:
        trim_clip(clip, *span)
    assert "1.958 s" in caught.value.hint


def test_fewer_frames_a_second(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=48))
    half = trim_clip(clip, max_fps=12)
    assert half.pts == even(1024, 24)
    assert half.rate == 12
    assert half.end == clip.end
    assert trim_clip(clip, max_fps=24) == clip
    both = trim_clip(clip, start=0.5, end=1.0, max_fps=6)
    assert both.pts == even(2048, 3, 6144)


def test_frames_missing_after_the_requested_part_do_not_count(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", *H264, frames=48)
    clip = probe.probe_clip(truncated(path, 0.6))
    assert clip.missing_frames
    assert trim_clip(clip, end=0.2).missing_frames == 0
    assert trim_clip(clip, start=0.2).missing_frames == clip.missing_frames


def test_a_folder_of_numbered_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    names = ["f1.png", "f2.png", "f10.png", "f010b.png", "f100.PNG"]
    for name in (*reversed(names), ".hidden.png", "f1_depth16.png"):
        (folder / name).write_bytes(cv2.imencode(".png", np.zeros((6, 9, 3), np.uint8))[1].tobytes())
    (folder / "notes.txt").write_text("no picture")
    clip = probe.probe_clip(folder, rate=Fraction(30000, 1001))
    assert [path.name for path in clip.pictures] == names
    assert (clip.width, clip.height, clip.pts, clip.end) == (9, 6, (0, 1, 2, 3, 4), 5)
    assert (clip.rate, clip.time_base, clip.variable) == (Fraction(30000, 1001), Fraction(1001, 30000), False)
    assert probe.probe_clip(folder).rate == 24


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.mp4").touch()
    assert fault(tmp_path / "folder") == "holds no pictures and no clips"


def test_a_pipe_is_kept_in_a_file_while_it_is_needed(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.mp4", *H264).read_bytes()
    with spool.spool_stream(io.BytesIO(data)) as path:
        assert path.read_bytes() == data
        assert probe.probe_clip(path).pts == even(512)
    assert not path.exists()
    with contextlib.suppress(KeyError), spool.spool_stream(io.BytesIO(data)) as path:
        raise KeyError
    assert not path.parent.exists()


def test_a_pipe_that_fills_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DacliError, match="No space left on device"), spool.spool_stream(io.BytesIO(b"data")):
        pass
