"""The decoded frames of a clip against those of ffmpeg alone, and every way that decoding can end."""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.video import decoding, ffmpeg, probe
from dacli.video.clip import Clip, trim_clip
from dacli.video.decoding import DecodedFrame
from tests.support import footage
from tests.support.footage import H264, VARY, make_clip
from tests.support.hanging import in_time

SEEKS = {  # cases for seeking: few keyframes, open groups, no groups, times that are only known after decoding
    "a.mp4": ("-c:v", "libx264", "-g", "20", "-bf", "3"),
    "open.mp4": ("-c:v", "libx264", "-g", "20", "-bf", "3", "-x264-params", "open-gop=1"),
    "a.mkv": ("-vf", VARY, "-fps_mode", "passthrough", "-enc_time_base", "1:24000", "-c:v", "libx264", "-g", "20"),
    "a.ts": ("-c:v", "libx264", "-g", "20"),
    "a.avi": ("-c:v", "mpeg4", "-bf", "2", "-g", "20"),
    "a.h264": ("-c:v", "libx264", "-g", "20"),
    "a.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-g", "20"),
    "a.gif": (),
}

SIZES = ("96x64", "128x96")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with footage.no_leftovers(tmp_path / "temporary", monkeypatch):
        yield


def taken(clip: Clip, **options: Any) -> list[DecodedFrame]:
    found: list[DecodedFrame] = in_time(lambda: list(decoding.decode_frames(clip, **options)))
    return found


def stack(frames: list[DecodedFrame]) -> NDArray[np.uint8]:
    return np.stack([frame.rgb for frame in frames])


def truncated(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def damaged(path: Path) -> Path:
    """The same file with some wrong bytes in the middle of its frames."""
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") if path.suffix == ".mp4" else 1000
    for place in range((start + len(data)) // 2, (start + len(data)) // 2 + 40):
        data[place] ^= 0x5A
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", SEEKS)
def test_every_frame_at_its_time(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, *SEEKS[name], frames=48)
    clip = probe.probe_clip(path)
    found = taken(clip)
    assert tuple(frame.pts for frame in found) == clip.pts
    np.testing.assert_array_equal(stack(found), footage.decoded_frames(path))


@pytest.mark.parametrize("name", SEEKS)
@pytest.mark.parametrize(("start", "end"), [pytest.param(0.0, 0.5, marks=pytest.mark.slow), (1.3, 1.7), (1.9, None)])
def test_part_of_a_clip_has_the_frames_of_the_whole(tmp_path: Path, name: str, start: float, end: float | None) -> None:
    path = make_clip(tmp_path / name, *SEEKS[name], frames=48)
    whole = probe.probe_clip(path)
    part = trim_clip(whole, start, end)
    found = taken(part)
    first = whole.pts.index(part.pts[0])
    assert tuple(frame.pts for frame in found) == part.pts == whole.pts[first : first + len(found)]
    np.testing.assert_array_equal(stack(found), footage.decoded_frames(path)[first : first + len(found)])


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_going_on_after_any_frame(tmp_path: Path, name: str) -> None:
    path = make_clip(tmp_path / name, *SEEKS[name], frames=48)
    clip, whole = probe.probe_clip(path), footage.decoded_frames(path)
    for index in (0, 23, 30, 46):
        found = taken(clip, after=clip.pts[index])
        assert tuple(frame.pts for frame in found) == clip.pts[index + 1 :]
        np.testing.assert_array_equal(stack(found), whole[index + 1 :])
    assert taken(clip, after=clip.pts[-1]) == []


def noted(monkeypatch: pytest.MonkeyPatch, spoil: int = 0) -> list[bool]:
    """Return whether each run of ffmpeg used seeking; those that did skip their first `spoil` frames."""
    runs: list[bool] = []
    original = decoding._decode

    def note(clip: Clip, options: Any, form: Any, log: Any) -> Iterator[Any]:
        runs.append("-ss" in options)
        frames = original(clip, options, form, log)
        for _ in range(spoil if runs[-1] else 0):
            next(frames)
        yield from frames

    monkeypatch.setattr(decoding, "_decode", note)
    return runs


@pytest.mark.parametrize("name", ["a.mp4", "open.mp4", "a.mkv", "a.webm", "a.gif"])
def test_seeking_saves_decoding_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    part = trim_clip(probe.probe_clip(make_clip(tmp_path / name, *SEEKS[name], frames=48)), start=1.6)
    runs = noted(monkeypatch)
    assert tuple(frame.pts for frame in taken(part)) == part.pts
    assert runs == [True]


@pytest.mark.parametrize("spoil", [1, 3])
def test_seeking_beyond_the_wanted_frame_decodes_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: int
) -> None:
    path = make_clip(tmp_path / "a.mp4", *SEEKS["a.mp4"], frames=48)
    part = trim_clip(probe.probe_clip(path), start=1.75)
    runs = noted(monkeypatch, spoil)
    np.testing.assert_array_equal(stack(taken(part)), footage.decoded_frames(path)[42:])
    assert runs == [True, False]


def test_fewer_frames_a_second_are_some_of_them(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", *SEEKS["a.mp4"], frames=48)
    found = taken(trim_clip(probe.probe_clip(path), max_fps=8))
    np.testing.assert_array_equal(stack(found), footage.decoded_frames(path)[::3])


@pytest.mark.parametrize(("turn", "quarters"), [(90, 1), (180, 2), (270, 3)])
def test_frames_are_upright(tmp_path: Path, turn: int, quarters: int) -> None:
    plain = make_clip(tmp_path / "plain.mkv", "-pix_fmt", "bgr0", "-c:v", "ffv1", frames=2)
    footage.ffmpeg("-display_rotation", str(turn), "-i", plain, "-c", "copy", tmp_path / "turned.mkv")
    found = stack(taken(probe.probe_clip(tmp_path / "turned.mkv")))
    np.testing.assert_array_equal(found, np.rot90(footage.decoded_frames(plain), quarters, (1, 2)))


def test_odd_sizes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", "-vf", "scale=97:63", "-pix_fmt", "bgr0", "-c:v", "ffv1", frames=3)
    np.testing.assert_array_equal(stack(taken(probe.probe_clip(path))), footage.decoded_frames(path))


def test_one_frame(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", *H264, frames=1)
    np.testing.assert_array_equal(stack(taken(probe.probe_clip(path))), footage.decoded_frames(path))


def test_ten_bits_become_eight(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mkv", "-pix_fmt", "gray10le", "-c:v", "ffv1", source="nullsrc=s=96x64:r=24,geq=lum=N*40", frames=6
    )
    deep = np.frombuffer(footage.ffmpeg("-i", path, "-pix_fmt", "gray10le", "-f", "rawvideo", "-"), np.uint16)
    want = deep.reshape(6, 64, 96, 1) / 1023 * 255
    assert np.abs(stack(taken(probe.probe_clip(path))) - want).max() <= 1


def test_fields_are_woven_without_combs(tmp_path: Path) -> None:
    """A bar that moves fast leaves combs: rows that alternate. Every frame stays, at its time."""
    bar = "color=black:s=96x64:r=48,format=gray,geq=lum='255*between(mod(X-4*N,96),20,40)'"
    fields = (
        "-vf",
        "tinterlace=interleave_top,setfield=tff",
        "-flags",
        "+ilme+ildct",
        "-c:v",
        "mpeg2video",
        "-q:v",
        "2",
    )
    path = make_clip(tmp_path / "a.mpg", *fields, source=bar, frames=12)
    clip = probe.probe_clip(path)
    found = taken(clip)
    assert clip.interlaced
    assert tuple(frame.pts for frame in found) == clip.pts
    assert len(found) == 12

    def combs(frames: NDArray[Any]) -> float:
        rows = frames[..., 0].astype(int)
        return float(np.abs(2 * rows[:, 1:-1] - rows[:, :-2] - rows[:, 2:]).mean())

    assert combs(stack(found)) < combs(footage.decoded_frames(path)) / 4


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
@pytest.mark.parametrize("size", ["96x64", "97x63"])
def test_hdr_is_tone_mapped(tmp_path: Path, transfer: str, size: str) -> None:
    """Gray stays gray, brighter stays brighter, diffuse white is bright; red, in narrower primaries, becomes redder."""
    ramp = f"nullsrc=s={size}:r=24,format=yuv420p10le,geq=lum='64+X*9':cb=512:cr='512+90*gt(Y,20)',"
    ramp += f"setparams=range=tv:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    path = make_clip(tmp_path / "a.mkv", "-c:v", "ffv1", source=ramp, frames=2)
    found, plain = (
        pixels[0].astype(int) for pixels in (stack(taken(probe.probe_clip(path))), footage.decoded_frames(path))
    )
    row = found[10]
    assert np.ptp(row, axis=1).max() <= 2
    assert (np.diff(row[:, 0]) >= -1).all()
    assert row[0].max() <= 2
    assert row[-1].min() > 240
    white = ({"smpte2084": 572, "arib-std-b67": 721}[transfer] - 64) // 9  # ITU-R BT.2408: 58 % PQ, 75 % HLG
    assert 180 < row[white].min() < 250
    assert (plain[10, white].max() < row[white].min() - 25) == (transfer == "smpte2084")
    assert np.ptp(found[55, 20:40], axis=1).min() > np.ptp(plain[55, 20:40], axis=1).min() + 10


def test_hdr_without_the_filter_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = "setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    path = make_clip(tmp_path / "a.mkv", "-vf", f"format=yuv420p10le,{pq}", "-c:v", "ffv1", frames=2)
    monkeypatch.setattr(ffmpeg, "has_filter", lambda name: name != "zscale")
    notes: list[str] = []
    np.testing.assert_array_equal(stack(taken(probe.probe_clip(path), log=notes.append)), footage.decoded_frames(path))
    assert len(notes) == 1
    assert "zscale" in notes[0]


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    folder = tmp_path / "frames"
    folder.mkdir()
    frames = [rng.integers(0, 65536, (6, 9, 3), dtype=np.uint16) for _ in range(12)]
    for number, frame in enumerate(frames):
        deep = number % 2 == 0
        pixels = frame[..., ::-1] if deep else (frame[..., ::-1] >> 8).astype(np.uint8)
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    clip = probe.probe_clip(folder)
    found = taken(clip)
    want = [np.rint(f / 257) if n % 2 == 0 else f >> 8 for n, f in enumerate(frames)]
    np.testing.assert_array_equal(stack(found), np.stack(want))
    assert [frame.pts for frame in taken(clip, after=9)] == [10, 11]
    assert [frame.pts for frame in taken(trim_clip(clip, start=0.1, end=0.25, max_fps=12))] == [3, 5]
    (folder / "5.png").write_bytes(cv2.imencode(".png", np.zeros((6, 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(DacliError, match=r"5\.png has 8 × 6 pixels and the first frame 9 × 6"):
        taken(clip)


def test_frames_of_another_size_are_mentioned_once(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{s}.h264", *H264, source=f"testsrc2=s={s}:r=24", frames=6) for s in SIZES]
    (tmp_path / "a.h264").write_bytes(b"".join(part.read_bytes() for part in [*parts, *parts]))
    notes: list[str] = []
    found = taken(probe.probe_clip(tmp_path / "a.h264"), log=notes.append)
    assert [frame.rgb.shape for frame in found] == [(64, 96, 3)] * 24
    assert notes == [f"{tmp_path}/a.h264 has frames of 128 × 96 too: they are stretched to 96 × 64"]
    taken(probe.probe_clip(parts[0]), log=notes.append)
    assert len(notes) == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm", "a.avi"])
def test_a_cut_file_is_refused_before_its_first_frame(tmp_path: Path, name: str) -> None:
    usual = (*H264, "-movflags", "+faststart")
    codec = {"a.webm": SEEKS[name], "a.avi": ("-c:v", "mjpeg")}.get(name, usual)
    path = truncated(make_clip(tmp_path / name, *codec, frames=48), 0.6)
    clip = probe.probe_clip(path)
    stream = decoding.decode_frames(clip)
    with pytest.raises(DacliError, match=rf"^decoded {len(clip.pts)} of \d\d frames of .*{name}") as caught:
        in_time(lambda: next(stream))
    assert "--allow-truncated" in caught.value.hint


@pytest.mark.parametrize(
    "name", ["a.mp4", *(pytest.param(name, marks=pytest.mark.slow) for name in ("a.mkv", "a.webm")), "a.gif"]
)
def test_the_good_frames_of_a_cut_file(tmp_path: Path, name: str) -> None:
    whole = make_clip(
        tmp_path / f"whole{name[1:]}",
        *SEEKS[name],
        *(("-movflags", "+faststart") if name == "a.mp4" else ()),
        frames=48,
    )
    path = tmp_path / name
    path.write_bytes(whole.read_bytes())
    truncated(path, 0.6)
    clip = probe.probe_clip(path)
    notes: list[str] = []
    found = taken(clip, allow_truncated=True, log=notes.append)
    good = found[:-1] if name == "a.gif" else found  # its last frame is incomplete
    assert 0 < len(found) < 48
    at = [probe.probe_clip(whole).pts.index(frame.pts) for frame in good]
    assert at[:20] == list(range(20))
    differ = (stack(good) != footage.decoded_frames(whole)[at]).any(axis=(1, 2, 3))
    assert not differ[:20].any()
    assert differ.sum() <= 3  # frames that depend on a lost later frame
    (note,) = notes
    assert note.startswith(f"decoded {len(found)} of ")


def test_damage_within_a_file_is_noticed(tmp_path: Path) -> None:
    # MPEG-4 and one thread: in the arithmetic code of H.264, wrong bytes may still decode without a complaint, and
    # where they fall depends on the number of cores.
    path = damaged(make_clip(tmp_path / "a.mp4", "-c:v", "mpeg4", "-threads", "1", frames=48))
    clip = probe.probe_clip(path)
    got: list[DecodedFrame] = []
    with pytest.raises(DacliError, match=r"^decoded (\d+) of 48 frames"):
        in_time(lambda: got.extend(decoding.decode_frames(clip)))
    notes: list[str] = []
    found = taken(clip, allow_truncated=True, log=notes.append)
    assert tuple(frame.pts for frame in found) == clip.pts
    assert len(notes) == 1
    assert notes[0].startswith("decoded 48 of 48 frames")


def test_damage_after_the_part_that_is_asked_for_does_not_matter(tmp_path: Path) -> None:
    path = truncated(make_clip(tmp_path / "a.mkv", *H264, frames=48), 0.6)
    assert len(taken(trim_clip(probe.probe_clip(path), end=0.5))) == 12


def test_equal_times_are_no_damage(tmp_path: Path) -> None:
    times = "settb=1/1000,setpts='10*floor(N/2)'"
    exact = ("-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    path = make_clip(tmp_path / "a.mkv", "-vf", times, *exact, "-pix_fmt", "bgr0", "-c:v", "ffv1")
    clip = probe.probe_clip(path)
    for allow in (False, True):
        notes: list[str] = []
        found = taken(clip, allow_truncated=allow, log=notes.append)
        assert tuple(frame.pts for frame in found) == clip.pts
        np.testing.assert_array_equal(stack(found), footage.decoded_frames(path))
        assert notes == []


def test_fewer_decoded_frames_than_packets_are_an_error(tmp_path: Path) -> None:
    """ffmpeg reports no error for a frame that its decoder does not return."""
    path = make_clip(tmp_path / "a.mp4", *H264, frames=24)
    clip = probe.probe_clip(path)
    more = replace(clip, pts=(*clip.pts, clip.end))
    with pytest.raises(DacliError, match="decoded 24 of 25 frames"):
        taken(more)
    assert len(taken(more, allow_truncated=True)) == 24


@pytest.mark.parametrize("allow", [False, True])
def test_ffmpeg_killed_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allow: bool) -> None:
    path = make_clip(tmp_path / "a.mkv", "-c:v", "ffv1", source="testsrc2=s=640x480:r=24", frames=48)
    clip, started = probe.probe_clip(path), list[ffmpeg.FFmpegProcess]()
    original = ffmpeg.FFmpegProcess.__init__

    def noted(self: ffmpeg.FFmpegProcess, *arguments: Any) -> None:
        original(self, *arguments)
        started.append(self)

    monkeypatch.setattr(ffmpeg.FFmpegProcess, "__init__", noted)

    def act() -> None:
        for number, _ in enumerate(decoding.decode_frames(clip, allow_truncated=allow)):
            if number == 5:
                os.kill(started[-1].popen.pid, signal.SIGKILL)

    with pytest.raises(DacliError, match=r"decoded \d+ of 48 frames .*killed by signal 9"):
        in_time(act)


@pytest.mark.parametrize("allow", [False, True])
def test_ffmpeg_that_stalls_half_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allow: bool) -> None:
    path = make_clip(tmp_path / "a.mp4", *H264, frames=24)
    clip = probe.probe_clip(path)
    footage.replace_ffmpeg(tmp_path, monkeypatch, '"$FFMPEG" "$@" | head -c 50000; exec sleep 100')
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.5)
    with pytest.raises(DacliError, match=r"decoded \d of 24 frames of .* \(ffmpeg stalled for 0.5 s\)"):
        taken(clip, allow_truncated=allow)


def test_leaving_early_or_failing(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mkv", "-c:v", "ffv1", source="testsrc2=s=640x480:r=24", frames=48)
    clip = probe.probe_clip(path)

    def leave() -> int:
        with contextlib.closing(decoding.decode_frames(clip)) as frames:
            return next(frame.pts for frame in frames if frame.pts > 200)

    def fail() -> None:
        with contextlib.closing(decoding.decode_frames(clip)) as frames:
            for frame in frames:
                if frame.pts > 200:
                    raise KeyError

    assert in_time(leave) > 200
    with pytest.raises(KeyError):
        in_time(fail)


def test_a_file_that_vanishes_after_it_was_probed(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", *H264, frames=24)
    clip = probe.probe_clip(path)
    path.unlink()
    with pytest.raises(DacliError, match=r"decoded 0 of 24 frames .*No such file"):
        taken(clip)


def depth16(path: Path, *arguments: str, frames: int = 5) -> tuple[Path, NDArray[np.uint16]]:
    values = np.random.default_rng(4).integers(0, 65536, (frames, 33, 47), dtype=np.uint16)
    (path.parent / "raw").write_bytes(values.tobytes())
    raw = ["-f", "rawvideo", "-pix_fmt", "gray16le", "-s", "47x33", "-r", "24", "-i", str(path.parent / "raw")]
    footage.ffmpeg(*raw, "-c:v", "ffv1", "-level", "3", "-g", "1", "-slicecrc", "1", *arguments, path)
    return path, values


def test_16_bit_depth_comes_back_exactly_with_its_record(tmp_path: Path) -> None:
    record = '{"low": 0.5, "name": "a=b;c#d\\\\e\\n[CHAPTER]"}'
    tags = ["-metadata", "title=two\nlines\n[STREAM]", "-metadata", f"DACLI={record}"]
    path, values = depth16(tmp_path / "a.mkv", *tags)
    frames, found, _ = decoding.read_depth16_clip(path)
    np.testing.assert_array_equal(np.stack(in_time(lambda: list(frames))), values)
    assert found["dacli"] == record
    assert found["title"] == "two\nlines\n[STREAM]"


def test_records_in_mp4_and_clips_without_a_record(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", "-metadata", 'keywords=dacli={"a": "=;"}', *H264, frames=1)
    assert decoding.read_tags(path)["dacli"] == '{"a": "=;"}'
    assert "dacli" not in decoding.read_tags(
        make_clip(tmp_path / "b.mp4", "-metadata", "keywords=cat, dog", *H264, frames=1)
    )
    assert decoding.read_tags(tmp_path / "none.mp4") == {}


def test_other_clips_are_not_decoded_as_depth(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", *H264, frames=2)
    with pytest.raises(DacliError, match=r"a\.mp4 is a h264 clip \(yuv420p\)"):
        decoding.read_depth16_clip(path)
    other = make_clip(tmp_path / "b.mkv", "-pix_fmt", "gray", "-c:v", "ffv1", frames=2)
    with pytest.raises(DacliError, match=r"b\.mkv is a ffv1 clip \(gray\)"):
        decoding.read_depth16_clip(other)


def test_damaged_depth_is_noticed(tmp_path: Path) -> None:
    path, values = depth16(tmp_path / "a.mkv", frames=9)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    frames, *_ = decoding.read_depth16_clip(path)
    got: list[NDArray[np.uint16]] = []
    with pytest.raises(DacliError, match=r"decoded 9 of 9 frames .*CRC"):
        in_time(lambda: got.extend(frames))
    assert ((np.stack(got) != values).any(axis=(1, 2))).sum() == 1
