"""Complete outputs or none, of any clip, in one run or in several killed ones: always the same frames."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dacli import prefetch
from dacli.errors import DacliError
from dacli.outputs.formats import FORMATS
from dacli.video import decoding, ffmpeg, probe, work_folder
from dacli.video.clip import Clip, trim_clip
from dacli.video.encoding import ClipEncoder
from dacli.video.segments import ClipWriter
from tests.support import footage
from tests.support.footage import H264, VARY, make_clip
from tests.support.hanging import in_time

KINDS = ("color", "gray", "side", "png16")
VARIED = ("-vf", VARY, "-fps_mode", "passthrough", "-enc_time_base", "1:24000", "-video_track_timescale", "24000")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with footage.no_leftovers(tmp_path / "temporary", monkeypatch):
        yield


def outputs(folder: Path, *kinds: str) -> dict[str, Path]:
    return {kind: folder / f"a{FORMATS[kind].clip_suffix}" for kind in kinds or KINDS}


def drawn(rgb: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return the pictures that represent depth in these tests."""
    deep = rgb[..., 0].astype(np.uint16) * 257 + rgb[..., 1]
    mixed = rgb[..., [1, 2, 0]]
    return {"color": mixed, "gray": rgb[..., 1], "side": np.concatenate([rgb, mixed], 1), "png16": deep}


def segment_writer(clip: Clip, files: Mapping[str, Path], settings: str = "x", *, resume: bool = False) -> ClipWriter:
    """Return a writer whose clock counts frames: a segment ends after seven."""
    return ClipWriter(clip, files, settings, segment_seconds=7, clock=itertools.count().__next__, resume=resume)


def written(
    clip: Clip, files: Mapping[str, Path], *, stop: int | None = None, settings: str = "x", resume: bool = False
) -> tuple[int, tuple[str, ...]]:
    """Write a clip in segments of 7 frames, or stop with KeyError after some; how many were new, and the notes."""
    count = 0
    with segment_writer(clip, files, settings, resume=resume) as writer:
        for pts, rgb, _ in decoding.decode_frames(clip, after=writer.after):
            if count == stop:
                raise KeyError
            writer.write([pts], drawn(rgb), partial(str, f"after {pts}"))
            count += 1
        return count, writer.finish({kind: f'{{"kind": "{kind}"}}' for kind in files})


def killed(clip: Clip, files: Mapping[str, Path], stop: int, resume: bool = False) -> None:
    with pytest.raises(KeyError):
        in_time(lambda: written(clip, files, stop=stop, resume=resume))


def content(files: Mapping[str, Path]) -> dict[str, list[footage.Packet]]:
    return {kind: footage.packets(path)[1] for kind, path in files.items()}


def decoded(files: Mapping[str, Path]) -> dict[str, NDArray[Any]]:
    return {
        kind: footage.decoded_frames(path, "gray16le" if kind == "png16" else "rgb24") for kind, path in files.items()
    }


SOURCES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "constant": ("a.mp4", H264, "testsrc2=s=96x64:r=24"),
    "NTSC": ("a.mp4", H264, "testsrc2=s=96x64:r=24000/1001"),
    "variable": ("a.mp4", (*VARIED, *H264), "testsrc2=s=96x64:r=24"),
    "milliseconds": ("a.mkv", H264, "testsrc2=s=96x64:r=24000/1001"),
    "odd": ("a.mkv", ("-vf", "scale=97:63", "-c:v", "ffv1"), "testsrc2=s=96x64:r=24"),
    "anamorphic": ("a.mp4", ("-vf", "setsar=4/3", *H264), "testsrc2=s=96x64:r=24"),
    "ten bits": ("a.mp4", ("-pix_fmt", "yuv420p10le", "-c:v", "libx264"), "testsrc2=s=96x64:r=24"),
    "interlaced": (
        "a.ts",
        ("-vf", "setfield=tff", "-flags", "+ilme+ildct", "-c:v", "mpeg2video"),
        "testsrc2=s=96x64:r=25",
    ),
    "AVI": ("a.avi", ("-c:v", "mpeg4", "-bf", "2"), "testsrc2=s=96x64:r=30000/1001"),
    "GIF": ("a.gif", (), "testsrc2=s=96x64:r=24"),
    "raw": ("a.h264", ("-c:v", "libx264"), "testsrc2=s=96x64:r=24"),
}


QUICK_SOURCES = ("constant", "variable", "odd", "anamorphic", "GIF")


@pytest.mark.parametrize(
    "name", [name if name in QUICK_SOURCES else pytest.param(name, marks=pytest.mark.slow) for name in SOURCES]
)
def test_outputs_have_the_frames_and_times_of_their_source(tmp_path: Path, name: str) -> None:
    file, arguments, source = SOURCES[name]
    clip = probe.probe_clip(make_clip(tmp_path / file, *arguments, source=source, frames=12))
    files = outputs(tmp_path)
    assert in_time(lambda: written(clip, files)) == (12, ())
    want = [time * clip.time_base for time in clip.pts]
    for kind, path in files.items():
        found = footage.packet_times(path)
        assert len(found) == 12
        worst = max(abs(got - time) for got, time in zip(found, want, strict=True))
        assert worst <= (Fraction(1, 2000) if kind == "png16" else 0)
        assert f"SAR {clip.sample_aspect.numerator}:{clip.sample_aspect.denominator} " in footage.ffmpeg_report(path)
        assert decoding.read_tags(path)["dacli"] == f'{{"kind": "{kind}"}}'
    rgb = np.stack([frame.rgb for frame in decoding.decode_frames(clip)])
    found_pixels = decoded(files)
    np.testing.assert_array_equal(found_pixels["png16"], np.stack([drawn(frame)["png16"] for frame in rgb]))
    even = (clip.height + clip.height % 2, clip.width + clip.width % 2)
    assert found_pixels["color"].shape == found_pixels["gray"].shape == (12, *even, 3)
    assert found_pixels["side"].shape == (12, even[0], 2 * clip.width, 3)
    for kind in ("color", "side"):
        like = np.stack([drawn(frame)[kind] for frame in rgb]).astype(int)
        assert np.abs(found_pixels[kind][:, : like.shape[1], : like.shape[2]] - like).mean() < 12
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("turn", [90, 180])
def test_turned_sources_are_written_upright(tmp_path: Path, turn: int) -> None:
    make_clip(tmp_path / "plain.mp4", *H264, frames=3)
    footage.ffmpeg("-display_rotation", str(turn), "-i", tmp_path / "plain.mp4", "-c", "copy", tmp_path / "a.mp4")
    files = outputs(tmp_path / "out", "png16")
    written(probe.probe_clip(tmp_path / "a.mp4"), files)
    upright = np.stack([drawn(frame)["png16"] for frame in footage.decoded_frames(tmp_path / "a.mp4")])
    np.testing.assert_array_equal(footage.decoded_frames(files["png16"], "gray16le"), upright)


def test_one_frame(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=1))
    files = outputs(tmp_path)
    written(clip, files)
    assert {len(packets) for packets in content(files).values()} == {1}
    assert content(files)["color"][0].duration == 512


def test_parts_with_fewer_frames_a_second(tmp_path: Path) -> None:
    clip = trim_clip(probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=48)), start=0.5, end=1.5, max_fps=8)
    files = outputs(tmp_path, "color")
    written(clip, files)
    assert footage.packet_times(files["color"]) == [Fraction(n, 8) for n in range(8)]


@pytest.mark.parametrize("stop", [7, pytest.param(13, marks=pytest.mark.slow), 23])
def test_going_on_after_a_failure_gives_what_one_run_gives(tmp_path: Path, stop: int) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *VARIED, "-c:v", "libx264", frames=24))
    whole, files = (outputs(tmp_path / folder, "color", "png16") for folder in ("whole", "out"))
    written(clip, whole)
    killed(clip, files, stop)
    assert not any(path.exists() for path in files.values())
    new, _ = in_time(lambda: written(clip, files, resume=True))
    assert new == 24 - stop
    for kind, path in files.items():
        assert footage.packet_times(path) == footage.packet_times(whole[kind])
    deep, deep_whole = ([packet.crc for packet in content(each)["png16"]] for each in (files, whole))
    assert deep == deep_whole
    pixels, expected = (decoded(each)["color"].astype(int) for each in (files, whole))
    assert np.abs(pixels - expected).mean() < 4  # H.264: a segment that ends elsewhere is compressed otherwise


def test_going_on_again_and_again_with_the_state_of_each_time(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray", "png16")
    for stop in (9, 2, 8, 1):
        killed(clip, files, stop, resume=True)
    with segment_writer(clip, files, resume=True) as writer:
        ends = [clip.pts[number] for number in (6, 8, 10, 17, 18, 19)]
        assert (writer.kept_frames, writer.after) == (20, ends[-1])
        assert [writer.state(number) for number in range(6)] == [f"after {pts}" for pts in ends]
    assert written(clip, files, resume=True)[0] == 4


def test_a_kill_after_the_last_frame_leaves_only_the_joining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "color", "gray")
    with monkeypatch.context() as patch:
        patch.setattr("dacli.video.muxing.check_times", lambda *_: (tmp_path / "none").stat())
        with pytest.raises(FileNotFoundError):
            written(clip, files)
    assert not files["color"].exists()
    assert written(clip, files, resume=True)[0] == 0
    assert len(footage.packets(files["gray"])[1]) == 24


CHILD = """
import os, signal, sys
from itertools import count
from pathlib import Path
from dacli.video import decoding, probe, segments
clip = probe.probe_clip(Path(sys.argv[1]))
outputs, clock = {"gray": Path(sys.argv[2])}, count().__next__
with segments.ClipWriter(clip, outputs, "x", segment_seconds=7, clock=clock) as writer:
    for number, (pts, rgb, _) in enumerate(decoding.decode_frames(clip)):
        if number == 17:
            os.kill(os.getpid(), signal.SIGKILL)
        writer.write([pts], {"gray": rgb[..., 1]}, lambda: f"after {pts}")
"""


def test_a_process_that_was_really_killed(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", *H264, frames=24)
    files = outputs(tmp_path, "gray")
    run = [sys.executable, "-c", CHILD, str(path), str(files["gray"])]
    (tmp_path / "left").mkdir()  # what a killed process cannot tidy up
    surroundings = {**os.environ, "TMPDIR": str(tmp_path / "left")}
    child = subprocess.run(run, timeout=60, check=False, stdin=subprocess.DEVNULL, env=surroundings)
    assert child.returncode == -signal.SIGKILL
    (work,) = tmp_path.glob(".*")
    assert json.loads((work / "000001.json").read_text())["state"].startswith("after")
    clip = probe.probe_clip(path)
    assert written(clip, files, resume=True)[0] == 10
    whole = outputs(tmp_path / "whole", "gray")
    written(clip, whole)
    assert content(files) == content(whole)


@pytest.mark.parametrize("change", ["settings", "kinds", "fewer kinds", "clip"])
def test_segments_of_other_settings_are_neither_resumed_nor_deleted(tmp_path: Path, change: str) -> None:
    clip = whole = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = other_files = outputs(tmp_path, "gray", "png16")
    killed(clip, files, 16)
    (work,) = tmp_path.glob(".*")
    if "kinds" in change:
        other_files = outputs(tmp_path, *(("gray",) if change == "fewer kinds" else ("color", "gray")))
    if change == "clip":
        clip = trim_clip(clip, start=0.1)
    other = "y" if change == "settings" else "x"
    with segment_writer(clip, other_files, other, resume=True) as writer:
        assert writer.other_folders() == [work]
    assert written(clip, other_files, resume=True, settings=other)[0] == len(clip.pts)
    assert list(tmp_path.glob(".*")) == [work]
    assert written(whole, files, resume=True)[0] == 8
    assert list(tmp_path.glob(".*")) == []


def test_without_resume_all_frames_are_written_again(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    killed(clip, outputs(tmp_path, "gray"), 16)
    assert written(clip, outputs(tmp_path, "gray"))[0] == 24


def test_two_runs_do_not_write_the_same_segments(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray")
    with segment_writer(clip, files, resume=True) as writer:
        with pytest.raises(DacliError, match=r"another run is making the same outputs of .*a\.mp4: let it end"):
            segment_writer(clip, files, resume=True)
        for pts, rgb, _ in decoding.decode_frames(clip):
            writer.write([pts], drawn(rgb))
        assert writer.finish({"gray": ""}) == ()
    assert footage.packet_times(files["gray"]) == [Fraction(n, 24) for n in range(24)]


def test_an_interrupt_waits_until_all_formats_have_the_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "interrupt_event", threading.Event())
    before = signal.signal(signal.SIGINT, prefetch.on_interrupt)
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray", "png16")
    original = ClipEncoder.write

    def write_with_interrupt(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(ClipEncoder, "write", original)
        original(*arguments)

    monkeypatch.setattr(ClipEncoder, "write", write_with_interrupt)
    writer = segment_writer(clip, files, resume=True)
    try:
        with pytest.raises(KeyboardInterrupt), writer:
            writer.write([clip.pts[0]], drawn(np.zeros((64, 96, 3), np.uint8)))
    finally:
        signal.signal(signal.SIGINT, before)
        prefetch.interrupt_event.clear()
    assert writer.kept_frames == 1
    assert written(clip, files, resume=True)[0] == 23


def test_a_segment_that_lacks_a_kind_is_made_again(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray", "png16")
    killed(clip, files, 22)
    (work,) = tmp_path.glob(".*")
    (work / "000001-png16.mov").unlink()
    (work / ".123.part").touch()
    with segment_writer(clip, files, resume=True) as writer:
        assert writer.after == clip.pts[6]
        left = sorted(path.name for path in work.iterdir())
        assert left == ["000000-gray.mov", "000000-png16.mov", "000000.json", work_folder.LOCK_FILE]


def test_a_failure_in_the_first_segment_leaves_nothing(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    killed(clip, outputs(tmp_path), 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "temporary"]
    killed(clip, outputs(tmp_path), 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "temporary"]


def test_what_is_discarded_is_gone(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray")
    with segment_writer(clip, files) as writer:
        for pts, rgb, _ in decoding.decode_frames(clip):
            writer.write([pts], drawn(rgb))
        writer.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "temporary"]


def test_frames_that_were_not_written_are_missed(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray")
    with segment_writer(clip, files) as writer:
        for pts, rgb, _ in list(decoding.decode_frames(clip))[:22]:
            writer.write([pts], drawn(rgb))
        with pytest.raises(DacliError, match=r"22 of 24 frames of .*a\.mp4 were written"):
            writer.finish({"gray": ""})
        assert not files["gray"].exists()
        assert writer.finish({"gray": ""}, allow_truncated=True) == ()
    assert footage.packet_times(files["gray"]) == [Fraction(n, 24) for n in range(22)]
    with ClipWriter(clip, files, "x") as writer, pytest.raises(DacliError, match="0 of 24 frames"):
        writer.finish({"gray": ""}, allow_truncated=True)


def test_outputs_that_were_there_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray")
    files["gray"].write_text("old")
    killed(clip, files, 20)
    assert files["gray"].read_text() == "old"
    written(clip, files)
    assert len(footage.packets(files["gray"])[1]) == 24


def test_notes_of_the_sound_are_given_once_a_container(tmp_path: Path) -> None:
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-c:a", "wmav2")
    clip = probe.probe_clip(make_clip(tmp_path / "a.mkv", *sound, *H264, frames=24))
    _, notes = written(clip, outputs(tmp_path))
    assert len(notes) == 1
    assert "became aac" in notes[0]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 9", "ffmpeg ended with status 9"),
        ("head -c 50000 > /dev/null; kill -9 $$", "ffmpeg was killed by signal 9"),
        ("head -c 50000 > /dev/null; exec sleep 100", "ffmpeg stalled for 0.5 s"),
        ("cat > /dev/null; echo '[a @ 0x1] [error] No space left on device' >&2; exit 228", "the disk is full"),
    ],
)
@pytest.mark.parametrize("stop", [pytest.param(0, marks=pytest.mark.slow), 7])
def test_an_encoder_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str, stop: int
) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    files = outputs(tmp_path, "gray", "png16")
    frames = list(decoding.decode_frames(clip))
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.5 if "sleep" in script else 60)

    def act() -> None:
        with segment_writer(clip, files) as writer:
            for number, (pts, rgb, _) in enumerate(frames):
                if number == stop:
                    footage.replace_ffmpeg(tmp_path, monkeypatch, script)
                writer.write([pts], drawn(rgb))
            writer.finish(dict.fromkeys(files, ""))

    with pytest.raises(DacliError, match=r"cannot write .*a_(gray\.mp4|depth16\.mkv) ") as caught:
        in_time(act)
    assert why in caught.value.message
    assert not any(path.exists() for path in files.values())
    assert not list(tmp_path.glob(".*/.*"))
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert written(clip, files, resume=True)[0] == (24 if stop == 0 else 17)


def test_an_encoder_killed_half_way(tmp_path: Path) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, source="testsrc2=s=640x480:r=24", frames=24))
    files = outputs(tmp_path)

    def act() -> None:
        with ClipWriter(clip, files, "x") as writer:
            for number, (pts, rgb, _) in enumerate(decoding.decode_frames(clip)):
                writer.write([pts], drawn(rgb))
                if number == 3:
                    os.kill(writer.encoders["side"].process.popen.pid, signal.SIGKILL)
            writer.finish(dict.fromkeys(files, ""))

    with pytest.raises(DacliError, match=r"cannot write .*a_side\.mp4 \(ffmpeg was killed by signal 9\)"):
        in_time(act)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "temporary"]


def test_a_folder_that_takes_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=24))
    (tmp_path / "file").touch()
    with pytest.raises(DacliError, match=r"cannot write .*a_gray\.mp4 \(Not a directory\)"):
        ClipWriter(clip, outputs(tmp_path / "file", "gray"), "x")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DacliError, match=r"a_gray\.mp4 \(the disk is full\)"):
        ClipWriter(clip, outputs(tmp_path, "gray"), "x")


# --- what is in the hidden folder, and was not made by dacli or is damaged ---


def broken_off(tmp_path: Path, *kinds: str) -> tuple[Clip, dict[str, Path], Path]:
    """Return a clip, its outputs, and the hidden folder of a run that was killed after two segments."""
    clip = probe.probe_clip(make_clip(tmp_path / "a.mkv", *H264, frames=24))
    files = outputs(tmp_path / "out", *kinds)
    killed(clip, files, 18)
    (hidden,) = (tmp_path / "out").iterdir()
    return clip, files, hidden


DAMAGED_NOTES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda notes: notes[:-9],
    "empty": lambda _: b"",
    "a list": lambda _: b"[]",
    "nothing": lambda _: b"null",
    "without pts": lambda _: b'{"state": "s"}',
    "pts are text": lambda _: b'{"pts": "0123", "state": "", "crc": 1}',
    "other pts": lambda notes: notes.replace(b'"pts": [', b'"pts": [1, '),
    "other state": lambda notes: notes.replace(b'"state": "', b'"state": "x'),
    "no text": lambda _: b"\xff\xfe",
    "nested": lambda _: b"[" * 100_000,
}


@pytest.mark.parametrize("number", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize("damage", DAMAGED_NOTES)
def test_notes_that_are_damaged_are_named_and_their_frames_made_again(tmp_path: Path, damage: str, number: int) -> None:
    clip, files, hidden = broken_off(tmp_path, "gray")
    notes = hidden / f"{number:06d}.json"
    notes.write_bytes(DAMAGED_NOTES[damage](notes.read_bytes()))
    with segment_writer(clip, files, resume=True) as writer:
        assert len(writer.segments) == number
        assert writer.damage == f"{notes} is damaged: the frames from there on are made again"
    written(clip, files, resume=True)
    whole = outputs(tmp_path / "whole", "gray")
    written(clip, whole)
    assert content(files) == content(whole)


@pytest.mark.parametrize("place", ["", "lock", "color"])
def test_nothing_is_written_behind_links_in_the_hidden_folder(tmp_path: Path, place: str) -> None:
    clip, files, hidden = broken_off(tmp_path, "gray")
    outside = tmp_path / "outside"
    outside.mkdir()
    if place == "":
        hidden.rename(outside / "taken")
        hidden.symlink_to(outside / "taken")
    else:
        (hidden / place).unlink(missing_ok=True)
        (hidden / place).symlink_to(outside / "new")
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    if place == "color":
        written(clip, files, resume=True)
    else:
        with pytest.raises(DacliError, match="exists and is not a complete output of dacli: move it away"):
            written(clip, files, resume=True)
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("names", [("mine.txt",), ("lock",), ("lock", "000000.json")])
def test_a_folder_named_like_the_hidden_one_stays(tmp_path: Path, names: tuple[str, ...]) -> None:
    clip, files, hidden = broken_off(tmp_path, "gray")
    for path in hidden.iterdir():
        path.unlink()
    for name in names:
        (hidden / name).write_text("mine")
    with pytest.raises(DacliError, match="exists and is not a complete output of dacli: move it away"):
        written(clip, files)
    assert {path.name: path.read_text() for path in hidden.iterdir()} == dict.fromkeys(names, "mine")


@pytest.mark.parametrize("lock", [False, True])
def test_a_hidden_folder_in_which_a_killed_run_wrote_nothing_is_taken(tmp_path: Path, *, lock: bool) -> None:
    clip, files, hidden = broken_off(tmp_path, "gray")
    for path in hidden.iterdir():
        path.unlink()
    if lock:
        (hidden / "lock").touch()
    written(clip, files)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_gray.mp4"]
