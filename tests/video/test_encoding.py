"""The output of one encoder as ffmpeg alone reads it: times, values, tags; and the files left after a failure."""

import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.video import encoding, ffmpeg
from dacli.video.clip import Clip
from dacli.video.encoding import ClipEncoder
from tests.support import footage
from tests.support.footage import VARIABLE
from tests.support.hanging import in_time

RNG = np.random.default_rng(6)


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with footage.no_leftovers(tmp_path / "temporary", monkeypatch):
        yield
    assert not list(tmp_path.glob("*.part"))


def clip(times: Sequence[int], end: int, base: Fraction = Fraction(1, 24000), aspect: Fraction = Fraction(1)) -> Clip:
    mean = len(times) / ((end - times[0]) * base)
    return Clip(Path("a.mp4"), "", "", 8, 8, aspect, base, tuple(times), end, mean, variable=True)


def encoded(path: Path, frames: Sequence[NDArray[Any]], about: Clip, crf: int = 12) -> Path:
    encoder = ClipEncoder(path, frames[0], about, about.pts[0], crf, path)
    try:
        for frame, time, until in zip(frames, about.pts, [*about.pts[1:], about.end], strict=True):
            encoder.write(time, until, frame)
        in_time(encoder.finish)
    finally:
        encoder.close()
    return path


def smooth(count: int, height: int = 48, width: int = 64, channels: int = 3) -> list[NDArray[np.uint8]]:
    """Slow waves of color."""
    y, x, c, t = np.ogrid[:height, :width, :channels, :count]
    waves = 127.5 + 120 * np.sin(x / 20 + c * 2 + t / 9) * np.cos(y / 25 - c + t / 7)
    return [np.ascontiguousarray(waves[..., i].astype(np.uint8)) for i in range(count)]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("times", "base"),
    [
        (VARIABLE, Fraction(1, 24000)),
        (range(0, 30 * 512, 512), Fraction(1, 12288)),
        ([0, 42, 83, 125, 167, 208, 2208, 2209], Fraction(1, 1000)),
        (range(7, 37), Fraction(1001, 30000)),
        (range(0, 30 * 50000, 50000), Fraction(1, 1_200_000)),
        ([0, 400_000_010, 800_000_020], Fraction(1, 10_000_000)),
        ([10**9, 10**9 + 1, 10**9 + 90000], Fraction(1, 90000)),
        ([5], Fraction(1, 24)),
    ],
)
def test_times_and_durations_are_the_clips_exactly(
    tmp_path: Path, times: Sequence[int], base: Fraction, deep: bool
) -> None:
    about = clip(times, times[-1] + 3 * (times[1] - times[0] if len(times) > 1 else 1), base)
    frames = [
        np.full((8, 8), 9 * i, np.uint16) if deep else np.full((8, 8, 3), 9 * i % 256, np.uint8)
        for i in range(len(times))
    ]
    found_base, packets = footage.packets(encoded(tmp_path / "a.mp4", frames, about))
    assert [p.pts * found_base for p in packets] == [(time - times[0]) * base for time in times]
    ends = [*times[1:], about.end]
    assert [p.duration * found_base for p in packets] == [(b - a) * base for a, b in zip(times, ends, strict=True)]


@given(st.lists(st.integers(1, 4000), min_size=2, max_size=12), st.sampled_from([1, 1001]), st.integers(1000, 10**7))
@settings(max_examples=10, deadline=None)
def test_any_times_to_the_microsecond(steps: list[int], top: int, bottom: int) -> None:
    times = list(np.cumsum([0, *steps]))
    about = clip([int(time) for time in times], int(times[-1]) + 9, Fraction(top, bottom))
    with tempfile.TemporaryDirectory() as folder:
        frames = [np.zeros((8, 8), np.uint16)] * len(times)
        found = footage.packet_times(encoded(Path(folder, "a.mp4"), frames, about))
    assert len(found) == len(times)
    worst = max(abs(got - time * about.time_base) for got, time in zip(found, about.pts, strict=True))
    assert worst <= (
        0 if about.time_base.denominator <= 1_000_000 else Fraction(501, 10**9) + len(times) / Fraction(10**6)
    )


def test_colors_come_back(tmp_path: Path) -> None:
    frames = smooth(6)
    path = encoded(tmp_path / "a.mp4", frames, clip(range(0, 6000, 1000), 6000))
    difference = footage.decoded_frames(path).astype(int) - np.stack(frames)
    assert np.abs(difference).mean() < 3
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 2  # no shift of hue, as a wrong matrix makes
    said = footage.ffmpeg_report(path)
    assert "h264" in said
    assert "yuv420p(tv, bt709, progressive)" in said


def test_flat_colors_to_a_level(tmp_path: Path) -> None:
    for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (30, 140, 220)):
        frames = [np.full((16, 16, 3), color, np.uint8)] * 2
        path = encoded(tmp_path / "a.mp4", frames, clip([0, 1000], 2000))
        assert np.abs(footage.decoded_frames(path).astype(int) - color).max() <= 3


def test_gray_comes_back_over_its_whole_range(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    path = encoded(tmp_path / "a.mp4", [ramp] * 2, clip([0, 1000], 2000))
    assert np.abs(footage.decoded_frames(path)[..., 1].astype(int) - ramp).max() <= 3


def test_quality_is_what_was_asked_for(tmp_path: Path) -> None:
    frames = [RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(4)]
    about = clip(range(0, 4000, 1000), 4000)
    sizes = [encoded(tmp_path / f"{crf}.mp4", frames, about, crf).stat().st_size for crf in (5, 20, 40)]
    assert sizes[0] > 1.5 * sizes[1] > 2 * sizes[2]


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (2, 3), (48, 64)])
def test_16_bits_come_back_exactly_at_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = [RNG.integers(0, 65536, size, dtype=np.uint16) for _ in range(5)]
    path = encoded(tmp_path / "a.mp4", frames, clip(range(0, 5000, 1000), 5000))
    np.testing.assert_array_equal(footage.decoded_frames(path, "gray16le"), np.stack(frames))


def test_a_damaged_byte_of_16_bits_is_found_and_costs_one_frame(tmp_path: Path) -> None:
    frames = [RNG.integers(0, 65536, (33, 47), dtype=np.uint16) for _ in range(9)]
    path = encoded(tmp_path / "a.mp4", frames, clip(range(0, 9000, 1000), 9000))
    data = bytearray(path.read_bytes())
    data[data.index(b"mdat") + 14000] ^= 1
    path.write_bytes(data)
    wrong = (footage.decoded_frames(path, "gray16le") != np.stack(frames)).any(axis=(1, 2))
    assert wrong.sum() == 1
    with ffmpeg.FFmpegProcess(["-i", str(path), "-f", "null", "-"]) as process:
        process.finish()
        assert "CRC mismatch" in process.failure_reason()


@pytest.mark.parametrize("size", [(47, 63), (48, 63), (47, 64), (3, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_odd_sizes_become_even_by_repeating_the_last(tmp_path: Path, size: tuple[int, int], channels: int) -> None:
    frames = [frame[..., 0] if channels == 1 else frame for frame in smooth(3, *size, channels=channels)]
    path = encoded(tmp_path / "a.mp4", frames, clip([0, 1000, 2000], 3000), crf=1)
    want = np.pad(np.stack(frames), ((0, 0), (0, size[0] % 2), (0, size[1] % 2), (0, 0))[: frames[0].ndim + 1], "edge")
    found = footage.decoded_frames(path, "rgb24" if channels == 3 else "gray")
    assert found.shape == want.shape
    assert np.abs(found.astype(int) - want).mean() < 3


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(189, 194), Fraction(1)])
def test_the_sample_aspect_is_kept(tmp_path: Path, aspect: Fraction, deep: bool) -> None:
    frame = np.zeros((16, 16), np.uint16 if deep else np.uint8)
    path = encoded(tmp_path / "a.mp4", [frame], clip([0], 1000, aspect=aspect))
    assert f"SAR {aspect.numerator}:{aspect.denominator} " in footage.ffmpeg_report(path)


def test_frames_stand_in_the_order_of_their_times(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp4", smooth(40), clip(range(0, 40000, 1000), 40000))
    text = footage.ffmpeg("-i", path, "-c", "copy", "-f", "framecrc", "-").decode()
    rows = [line.split(",") for line in text.splitlines() if not line.startswith("#")]
    assert [row[1].strip() for row in rows] == [row[2].strip() for row in rows]
    assert len(rows) == 40


def test_parts_of_arrays_are_written_as_they_look(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
    frames = [values[::-1, ::2], values[:, 15:], values.T[:15].T[::-1]]
    path = encoded(tmp_path / "a.mp4", frames, clip([0, 1000, 2000], 3000))
    np.testing.assert_array_equal(footage.decoded_frames(path, "gray16le"), np.stack(frames))


def test_ticks_are_the_sources_down_to_microseconds() -> None:
    assert encoding.encoder_time_base(clip([0, 1001], 2002)) == 24000
    assert encoding.encoder_time_base(clip([0, 50000], 100000, Fraction(1, 1_200_000))) == 24
    assert encoding.encoder_time_base(clip([0, 50001], 100000, Fraction(1, 1_200_000))) == 1_000_000


FAILURES = {
    "cat > /dev/null; exit 7": "ffmpeg ended with status 7",
    "exit 9": "ffmpeg ended with status 9",
    "head -c 100000 > /dev/null; kill -9 $$": "ffmpeg was killed by signal 9",
    "cat > /dev/null; echo '[mp4 @ 0x1] [error] Cannot do it' >&2; exit 1": "Cannot do it",
    "cat > /dev/null; echo '[out#0 @ 0x1] [error] Error: No space left on device' >&2; exit 228": "the disk is full",
    'ulimit -f 2; exec "$FFMPEG" "$@"': "",
    "exec sleep 100": "ffmpeg stalled for 0.5 s",
    "cat > /dev/null; exec sleep 100": "ffmpeg stalled for 0.5 s",
}


@pytest.mark.parametrize("script", FAILURES)
def test_an_encoder_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    footage.replace_ffmpeg(tmp_path, monkeypatch, script)
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.5)
    frames = [RNG.integers(0, 65536, (200, 200), dtype=np.uint16)] * 30
    with pytest.raises(DacliError, match=r"^cannot write .*a\.mp4 \(") as caught:
        in_time(lambda: encoded(tmp_path / "a.mp4", frames, clip(range(0, 30000, 1000), 30000)))
    assert FAILURES[script] in caught.value.message
    assert not (tmp_path / "a.mp4").exists()


def test_an_encoder_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    frame = RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8)
    about = clip(range(0, 300_000, 1000), 300_000)
    encoder = ClipEncoder(tmp_path / "a.mp4", frame, about, 0, 18, tmp_path / "out.mp4")

    def act() -> None:
        try:
            for time in about.pts:
                if time == 9000:
                    os.kill(encoder.process.popen.pid, signal.SIGKILL)
                encoder.write(time, time + 1000, frame)
        finally:
            encoder.close()

    with pytest.raises(DacliError, match=r"cannot write .*out\.mp4 \(ffmpeg was killed by signal 9\)"):
        in_time(act)
    assert not list(tmp_path.glob(".*"))


def test_one_that_is_left_early_leaves_nothing(tmp_path: Path) -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    encoder = ClipEncoder(tmp_path / "a.mp4", frame, clip([0, 1000], 2000), 0, 18, tmp_path / "a.mp4")
    encoder.write(0, 1000, frame)
    in_time(encoder.close)
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
