"""Joined files keep every time, sound, subtitles, chapters and tags of the source, or report a note."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dacli.errors import DacliError
from dacli.video import decoding, ffmpeg, muxing, probe
from dacli.video.clip import Clip, trim_clip
from dacli.video.encoding import ClipEncoder
from tests.support import footage
from tests.support.footage import H264, VARIABLE, VARY, make_clip
from tests.support.hanging import in_time

RECORD = '{"low": 0.5, "name": "a=b;c#d\\\\e"}'
OUTPUTS = ("out_color.mp4", "out_depth16.mkv")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with footage.no_leftovers(tmp_path / "temporary", monkeypatch):
        yield


def rich(path: Path, *codecs: str, video: Sequence[str] = H264) -> Path:
    """Two seconds with two tracks of sound, subtitles, chapters and tags."""
    folder = path.parent
    (folder / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,700\nHello\n\n2\n00:00:01,000 --> 00:00:01,900\nYou\n")
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={n}000\nEND={n + 1}000\ntitle=Part {n}\n" for n in range(2))
    (folder / "meta").write_text(f";FFMETADATA1\ntitle=My clip\ncomment=été\n{chapters}")
    sound = ["-f", "lavfi", "-i", "sine=440:d=2", "-f", "lavfi", "-i", "sine=880:r=48000:d=2"]
    inputs = [*sound, "-i", str(folder / "a.srt"), "-f", "ffmetadata", "-i", str(folder / "meta")]
    maps = [text for number in range(4) for text in ("-map", str(number))]
    return make_clip(path, *inputs, *maps, "-map_metadata", "4", "-map_chapters", "4", *video, *codecs, frames=48)


def joined(clip: Clip, output: Path, length: int = 11, record: str = RECORD) -> tuple[str, ...]:
    """Join gray frames that encode their number, in segments, with the sound and tags of the clip; return the notes."""
    deep = output.suffix == ".mkv"
    segments = {}
    for start in range(0, len(clip.pts), length):
        times = clip.pts[start : start + length]
        path = output.with_name(f"{start}.mov")
        frame = np.zeros((16, 16), np.uint16 if deep else np.uint8)
        encoder = ClipEncoder(path, frame, clip, times[0], 1, output)
        ends = [*clip.pts, clip.end][start + 1 :]
        for number, (time, end) in enumerate(zip(times, ends, strict=False), start):
            encoder.write(time, end, np.full_like(frame, 5 * number))
        encoder.finish()
        encoder.close()
        segments[times[0]] = path
    sound = muxing.map_tracks(clip, muxing.container_format(output), output.parent)
    in_time(lambda: muxing.join_segments(segments, clip, sound, record, output, output))
    muxing.check_times(output, clip.pts, clip, output)
    return sound.notes


def shown(path: Path) -> list[int]:
    """Return the numbers of the frames in the order in which they are shown."""
    frames = footage.decoded_frames(path, "gray16le" if path.suffix == ".mkv" else "gray")
    return [round((float(value) + 1) / 5) for value in frames.mean(axis=(1, 2))]  # gray may be 3 levels too dark


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(
    "length", [pytest.param(1, marks=pytest.mark.slow), 7, pytest.param(48, marks=pytest.mark.slow)]
)
def test_joints_cannot_be_seen(tmp_path: Path, name: str, length: int) -> None:
    video = ("-vf", VARY, "-fps_mode", "passthrough", "-enc_time_base", "1:24000", "-video_track_timescale", "24000")
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *video, *H264, frames=30))
    joined(clip, tmp_path / name, length)
    want = [Fraction(time, 24000) for time in VARIABLE]
    found = footage.packet_times(tmp_path / name)
    if name.endswith(".mkv"):  # a container of milliseconds
        assert all(abs(got - time) <= Fraction(1, 2000) for got, time in zip(found, want, strict=True))
    else:
        assert found == want
    assert shown(tmp_path / name) == list(range(30))


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize(
    ("source", "codecs"),
    [
        ("a.mp4", ("-c:a:0", "aac", "-c:a:1", "mp3", "-c:s", "mov_text")),
        ("a.mkv", ("-c:a:0", "aac", "-c:a:1", "libopus", "-c:s", "copy")),
        pytest.param("a.mkv", ("-c:a:0", "ac3", "-c:a:1", "flac", "-c:s", "copy"), marks=pytest.mark.slow),
        pytest.param("a.mkv", ("-c:a:0", "alac", "-c:a:1", "pcm_s16le", "-c:s", "copy"), marks=pytest.mark.slow),
        pytest.param("a.mkv", ("-c:a:0", "libvorbis", "-c:a:1", "eac3", "-c:s", "copy"), marks=pytest.mark.slow),
    ],
)
def test_sound_is_the_same_to_the_bit(tmp_path: Path, name: str, source: str, codecs: tuple[str, ...]) -> None:
    path = rich(tmp_path / source, *codecs)
    joined(probe.probe_clip(path), tmp_path / name)
    for stream in ("0:a:0", "0:a:1"):
        assert footage.stream_hash(tmp_path / name, stream) == footage.stream_hash(path, stream)
        (base, sound), (own_base, own) = footage.packets(path, stream), footage.packets(tmp_path / name, stream)
        assert [packet.crc for packet in own] == [packet.crc for packet in sound]
        moved = max(abs(a.pts * own_base - b.pts * base) for a, b in zip(own, sound, strict=True))
        assert moved <= max(base, own_base)


@pytest.mark.parametrize("name", OUTPUTS)
def test_subtitles_chapters_and_tags_are_kept(tmp_path: Path, name: str) -> None:
    path = rich(tmp_path / "a.mkv", "-c:a", "aac", "-c:s", "copy")
    notes = joined(probe.probe_clip(path), tmp_path / name)
    text = footage.ffmpeg("-i", tmp_path / name, "-map", "0:s", "-f", "srt", "-").decode()
    assert text.strip() == (tmp_path / "a.srt").read_text().strip()
    said = footage.ffmpeg_report(tmp_path / name)
    assert all(f"Chapter #0:{n}: start {n}.000000" in said and f"Part {n}" in said for n in range(2))
    tags = decoding.read_tags(tmp_path / name)
    assert (tags["title"], tags["comment"], tags["dacli"]) == ("My clip", "été", RECORD)
    if name.endswith(".mp4"):
        assert notes == (f"subtitle track 3 (subrip) of {path} became mov_text: mp4 cannot hold it as it is",)
    else:
        assert notes == ()


@pytest.mark.parametrize("base", [Fraction(1, 10_000_000), Fraction(1, 1_200_000), Fraction(1001, 9_999_991)])
def test_ticks_finer_than_joining_keeps_are_kept_to_the_microsecond(tmp_path: Path, base: Fraction) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=30))
    fine = replace(clip, time_base=base, pts=tuple(417_083 * i + 7 * (i % 3) for i in range(30)), end=417_083 * 30 + 1)
    joined(fine, tmp_path / OUTPUTS[0], length=4)
    found = footage.packet_times(tmp_path / OUTPUTS[0])
    worst = max(abs(got - time * base) for got, time in zip(found, fine.pts, strict=True))
    assert worst <= Fraction(3, 2_000_000)


def test_tags_that_describe_the_mp4_file_are_not_copied_to_matroska(tmp_path: Path) -> None:
    joined(probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=3)), tmp_path / OUTPUTS[1])
    assert not {"major_brand", "minor_version", "compatible_brands"} & set(decoding.read_tags(tmp_path / OUTPUTS[1]))


def test_sound_that_mp4_cannot_hold_is_converted_and_reported(tmp_path: Path) -> None:
    path = rich(tmp_path / "a.mkv", "-c:a:0", "wmav2", "-c:a:1", "flac", "-c:s", "ass")
    notes = joined(probe.probe_clip(path), tmp_path / OUTPUTS[0])
    assert [note.split(" of ")[0] for note in notes] == ["audio track 1 (wmav2)", "subtitle track 3 (ass)"]
    assert [note.split(" became ")[1].split(":")[0] for note in notes] == ["aac", "mov_text"]
    found = probe.probe_clip(tmp_path / OUTPUTS[0]).tracks
    assert [track.codec for track in found] == ["aac", "flac", "mov_text"]
    assert footage.stream_hash(tmp_path / OUTPUTS[0], "0:a:1") == footage.stream_hash(path, "0:a:1")
    assert joined(probe.probe_clip(path), tmp_path / OUTPUTS[1]) == ()


def pgs() -> bytes:
    """One empty picture of Blu-ray subtitles: a composition and an end."""
    composition = struct.pack(">HHBHBBBB", 96, 64, 0x10, 0, 0x80, 0, 0, 0)
    parts = ((0x16, composition), (0x80, b""))
    return b"".join(b"PG" + struct.pack(">IIBH", 9000, 0, kind, len(body)) + body for kind, body in parts)


def test_subtitles_of_pictures_are_left_out_and_reported(tmp_path: Path) -> None:
    (tmp_path / "a.sup").write_bytes(pgs() * 2)
    path = make_clip(tmp_path / "a.mkv", "-i", str(tmp_path / "a.sup"), "-map", "0", "-map", "1", "-c:s", "copy", *H264)
    clip = probe.probe_clip(path)
    assert [track.codec for track in clip.tracks] == ["hdmv_pgs_subtitle"]
    (note,) = joined(clip, tmp_path / OUTPUTS[0])
    assert note == f"subtitle track 1 (hdmv_pgs_subtitle) of {path} is left out: mp4 cannot hold it"
    assert probe.probe_clip(tmp_path / OUTPUTS[0]).tracks == ()
    assert joined(clip, tmp_path / OUTPUTS[1]) == ()
    assert [track.codec for track in probe.probe_clip(tmp_path / OUTPUTS[1]).tracks] == ["hdmv_pgs_subtitle"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_silent_clips_and_folders(tmp_path: Path, name: str) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264))
    joined(clip, tmp_path / name)
    assert shown(tmp_path / name) == list(range(30))
    folder = replace(clip, pictures=(tmp_path / "none.png",), path=tmp_path, tracks=())
    joined(folder, tmp_path / name)
    assert shown(tmp_path / name) == list(range(30))


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_part_takes_its_part_of_the_sound(tmp_path: Path, name: str) -> None:
    """A click at 1.2 s must still come 0.2 s after the frame of 1.0 s."""
    click = "aevalsrc='between(t,1.2,1.21)':s=8000:d=2"
    inputs = ("-f", "lavfi", "-i", click, "-c:a", "pcm_s16le")
    clip = trim_clip(probe.probe_clip(make_clip(tmp_path / "a.mkv", *inputs, *H264, frames=48)), start=1.0, end=1.5)
    joined(clip, tmp_path / name)
    assert len(clip.pts) == 12
    assert footage.packet_times(tmp_path / name)[0] == 0
    data = footage.ffmpeg(
        "-i", tmp_path / name, "-map", "0:a", "-af", "aresample=async=1:first_pts=0", "-f", "s16le", "-"
    )
    loud = np.flatnonzero(np.abs(np.frombuffer(data, np.int16).astype(int)) > 9000) / 8000
    assert 0.19 < loud.min() < loud.max() < 0.22
    assert 0.4 < len(data) / 16000 < 0.6


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("late", [Fraction(1, 2), Fraction(1001, 24000)])
def test_a_video_that_begins_after_its_sound_still_does(tmp_path: Path, name: str, late: Fraction) -> None:
    shift = f"settb=1/24000,setpts=PTS+{int(late * 24000)}"
    scale = ("-video_track_timescale", "24000", "-movie_timescale", "24000", "-enc_time_base", "1:24000")
    inputs = ("-f", "lavfi", "-i", "sine=d=2", "-vf", shift, "-c:a", "flac", "-fps_mode", "passthrough", *scale)
    path = make_clip(tmp_path / "a.mp4", *inputs, *H264, source="testsrc2=s=96x64:r=24000/1001", frames=24)
    joined(probe.probe_clip(path), tmp_path / name)
    want = [late + Fraction(1001 * n, 24000) for n in range(24)]
    assert footage.packet_times(path) == want
    worst = max(abs(got - time) for got, time in zip(footage.packet_times(tmp_path / name), want, strict=True))
    assert worst <= (Fraction(1, 2000) if name.endswith(".mkv") else 0)
    assert abs(footage.packet_times(tmp_path / name, "0:a")[0]) < Fraction(1, 1000)


def test_many_joints_add_up_to_no_tick(tmp_path: Path) -> None:
    """A third of a microsecond, lost at each, would be a tick after 63 of them."""
    joined(
        probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, source="testsrc2=s=96x64:r=24000/1001", frames=1)),
        tmp_path / OUTPUTS[0],
    )
    (tmp_path / OUTPUTS[0]).unlink()
    times = tuple(1001 * n for n in range(300))
    clip = replace(probe.probe_clip(tmp_path / "a.mp4"), pts=times, end=300 * 1001)
    same = dict.fromkeys(times, tmp_path / "0.mov")
    in_time(
        lambda: muxing.join_segments(
            same, clip, muxing.TrackMapping((), ()), "", tmp_path / OUTPUTS[0], tmp_path / OUTPUTS[0]
        )
    )
    assert footage.packet_times(tmp_path / OUTPUTS[0]) == [Fraction(time, 24000) for time in times]


def test_turned_clips_are_not_turned_again(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mp4", *H264, frames=3)
    footage.ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    for name in OUTPUTS:
        joined(probe.probe_clip(tmp_path / "turned.mp4"), tmp_path / name)
        assert "rotation" not in footage.ffmpeg_report(tmp_path / name)


def test_mp4_can_be_played_before_it_is_all_there(tmp_path: Path) -> None:
    joined(probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264)), tmp_path / OUTPUTS[0])
    data = (tmp_path / OUTPUTS[0]).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_file_with_other_times_is_refused(tmp_path: Path, name: str) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=12))
    output = tmp_path / name
    joined(clip, output)
    off = 30 if name.endswith(".mkv") else 1
    moved = (*clip.pts[:5], clip.pts[5] + off, *clip.pts[6:])
    with pytest.raises(DacliError, match=rf"a frame of .*{name} is shown at 0.208"):
        muxing.check_times(output, moved, clip, output)
    with pytest.raises(DacliError, match=rf"{name} came out with 12 of 13 frames"):
        muxing.check_times(output, (*clip.pts, clip.end), clip, output)
    output.write_bytes(b"nothing")
    with pytest.raises(DacliError, match=rf"{name} came out with 0 of 12 frames \(.+\)"):
        muxing.check_times(output, clip.pts, clip, output)


def test_matroska_may_show_all_a_little_later(tmp_path: Path) -> None:
    """As ffmpeg 7.0 does for the priming of sound, and 9.0 does not."""
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264, frames=12))
    for late, good in ((0, True), (283, True), (1475, False)):  # ticks of 1/12288 s
        made = tmp_path / f"{late}.mkv"
        footage.ffmpeg("-i", clip.path, "-c", "copy", "-bsf:v", f"setts=ts=TS+{late}", "-copyts", made)
        if good:
            muxing.check_times(made, clip.pts, clip, made)
        else:
            with pytest.raises(DacliError, match="a frame of"):
                muxing.check_times(made, clip.pts, clip, made)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "ffmpeg ended with status 3"),
        ("exec sleep 100", "ffmpeg stalled for 0.3 s"),
        ("echo '[out#0 @ 0x1] [error] Error: No space left on device' >&2; exit 228", "the disk is full"),
    ],
)
def test_a_failed_join_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str) -> None:
    clip = probe.probe_clip(make_clip(tmp_path / "a.mp4", *H264))
    output = tmp_path / "out_color.mp4"
    joined(clip, output)
    footage.replace_ffmpeg(tmp_path, monkeypatch, script)
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.3)
    with pytest.raises(DacliError, match=r"cannot write .*out_color\.mp4") as caught:
        in_time(
            lambda: muxing.join_segments(
                {0: output}, clip, muxing.TrackMapping((), ()), "", tmp_path / "part.mp4", output
            )
        )
    assert why in caught.value.message
