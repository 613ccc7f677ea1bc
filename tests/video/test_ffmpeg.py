"""ffmpeg as a process: dacli continues after any failure, and no process or file is left."""

import os
import signal
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dacli.errors import DacliError
from dacli.video import ffmpeg
from tests.support import footage
from tests.support.hanging import in_time

ENDLESS = ["-f", "lavfi", "-i", "color=s=64x48:r=24", "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with footage.no_leftovers(tmp_path / "temporary", monkeypatch):
        yield


def gone(process: ffmpeg.FFmpegProcess) -> bool:
    """Return whether the process exited and was reaped, so that its process id is free."""
    with pytest.raises(ProcessLookupError):
        os.kill(process.popen.pid, 0)
    return process.popen.returncode is not None


def test_leaving_early_kills_and_reaps() -> None:
    def act() -> ffmpeg.FFmpegProcess:
        with ffmpeg.FFmpegProcess(ENDLESS) as process:
            assert process.fill(memoryview(bytearray(64 * 48 * 3)))
        return process

    assert gone(in_time(act))


def test_an_error_in_the_context_goes_through_and_kills() -> None:
    def act() -> None:
        with ffmpeg.FFmpegProcess(ENDLESS) as process:
            started.append(process)
            raise KeyError("consumer")

    started: list[ffmpeg.FFmpegProcess] = []
    with pytest.raises(KeyError, match="consumer"):
        in_time(act)
    assert gone(started[0])


def test_output_that_ends_within_a_frame_is_no_frame() -> None:
    def act() -> list[bool]:
        with ffmpeg.FFmpegProcess([*ENDLESS[:-1], "-frames:v", "2", "pipe:1"]) as process:
            sizes = (64 * 48 * 3, 64 * 48 * 3 - 1, 2)
            return [process.fill(memoryview(bytearray(size))) for size in sizes]

    assert in_time(act) == [True, True, False]


def test_a_fault_is_the_first_error_without_its_origin(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with ffmpeg.FFmpegProcess(["-i", str(tmp_path / "text.mp4"), "-f", "null", "-"]) as process:
        assert process.finish() != 0
        assert process.failure_reason() == "moov atom not found"


def test_log_errors_can_be_filtered_by_origin() -> None:
    log = (
        "[info] Input #0, gif, from 'a'\n[h264 @ 0x5] [error] Reference 6 >= 4\n"
        "[vist#0:0/h264 @ 0x5] [dec:h264 @ 0x6] [error] Decoding error: Invalid data\n[fatal] no more\n"
    )
    assert ffmpeg.find_log_error(log) == "Reference 6 >= 4"
    assert ffmpeg.find_log_error(log, r"\[vist") == "Decoding error: Invalid data"
    assert ffmpeg.find_log_error(log, "^$") == "no more"
    assert ffmpeg.find_log_error(log, "rawvideo") == ""
    assert ffmpeg.find_log_error("[info] all is well") == ""


def test_killed_from_outside_it_says_by_what() -> None:
    def act() -> str:
        with ffmpeg.FFmpegProcess(ENDLESS) as process:
            os.kill(process.popen.pid, signal.SIGKILL)
            while process.fill(memoryview(bytearray(64 * 48 * 3))):
                pass
            assert process.finish() == -signal.SIGKILL
            return process.failure_reason()

    assert in_time(act) == "ffmpeg was killed by signal 9"


@pytest.mark.parametrize("script", ["exec sleep 100", "sleep 100 & sleep 100"])
def test_a_stalled_one_is_killed_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    footage.replace_ffmpeg(tmp_path, monkeypatch, script)
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.2)

    def act() -> tuple[bool, bool, str]:
        with ffmpeg.FFmpegProcess([]) as process:
            got = process.fill(memoryview(bytearray(8)))
            assert not process.feed(bytes(2 << 20))  # more than a pipe holds while its dying reader still has it open
            status = process.finish()
            return got, status != 0, process.failure_reason()

    assert in_time(act) == (False, True, "ffmpeg stalled for 0.2 s")


def test_one_that_takes_no_input_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footage.replace_ffmpeg(tmp_path, monkeypatch, "exec sleep 100")
    monkeypatch.setattr(ffmpeg, "FFMPEG_SECONDS", 0.2)

    def act() -> bool:
        with ffmpeg.FFmpegProcess([]) as process:
            return process.feed(bytes(1 << 20), bytes(1 << 20))

    assert in_time(act) is False


def test_no_clock_runs_while_a_slow_consumer_thinks() -> None:
    with ffmpeg.FFmpegProcess(ENDLESS) as process:
        for _ in range(2):
            assert process.fill(memoryview(bytearray(64 * 48 * 3)))
            assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_lines_come_whole_however_they_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footage.replace_ffmpeg(tmp_path, monkeypatch, "printf 'one\\ntw'; sleep 0.1; printf 'o\\n\\nthree\\n'")
    with ffmpeg.FFmpegProcess([]) as process:
        assert in_time(lambda: list(process.text())) == ["one", "two", "", "three"]


def test_its_log_may_be_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    footage.replace_ffmpeg(tmp_path, monkeypatch, "yes '[a @ 0x1] [error] again' | head -c 4000000 >&2; exit 3")
    with ffmpeg.FFmpegProcess([]) as process:
        assert in_time(process.finish) == 3
        assert process.failure_reason() == "again"


@pytest.mark.parametrize("content", [None, "no program"])
def test_no_ffmpeg_or_none_that_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    path = tmp_path / "ffmpeg"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
    with pytest.raises(DacliError, match="cannot be started") as caught:
        ffmpeg.FFmpegProcess([])
    assert "IMAGEIO_FFMPEG_EXE" in caught.value.hint


def test_a_machine_without_any_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", none)
    with pytest.raises(DacliError, match="ffmpeg was not found"):
        ffmpeg.ffmpeg_executable()


def test_running_returns_why_it_failed(tmp_path: Path) -> None:
    made = tmp_path / "made.mp4"
    source = ["-f", "lavfi", "-i", "color=s=64x48:r=24"]
    assert ffmpeg.run_ffmpeg([*source, "-frames:v", "3", ffmpeg.file_url(made)]) == ""
    assert len(footage.packets(made)[1]) == 3
    assert "libx999" in ffmpeg.run_ffmpeg([*source, "-c:v", "libx999", ffmpeg.file_url(made)])


def test_names_that_ffmpeg_would_take_for_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "concat:a|b.mp4", "%03d [1].mp4", "é\n'.mp4"):
        made = footage.make_clip(tmp_path / "plain.mp4", frames=2).rename(name)
        found, log = ffmpeg.list_media(["-i", ffmpeg.file_url(made), "-map", "0:V:0", "-c", "copy"])
        assert found is not None, log
        assert len(found.pts) == 2


def test_a_listing_is_what_framecrc_prints(tmp_path: Path) -> None:
    clip = footage.make_clip(
        tmp_path / "a.mp4",
        "-vf",
        f"{footage.VARY},setsar=4/3",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:24000",
        "-video_track_timescale",
        "24000",
        "-bf",
        "2",
    )
    found, _ = ffmpeg.list_media(["-i", ffmpeg.file_url(clip), "-map", "0:V:0", "-c", "copy"])
    base, packets = footage.packets(clip)
    assert found is not None
    assert (found.codec, found.width, found.height, found.sample_aspect) == ("h264", 96, 64, Fraction(4, 3))
    assert found.time_base == base == Fraction(1, 24000)
    assert found.pts == tuple(packet.pts for packet in packets) == footage.VARIABLE
    assert found.end == packets[-1].pts + packets[-1].duration
    assert not found.cut


def test_a_listing_knows_filters_of_this_build() -> None:
    assert ffmpeg.has_filter("scale")
    assert not ffmpeg.has_filter("scales")
    assert np.array([ffmpeg.has_filter(name) for name in ("bwdif", "zscale", "tonemap")]).all()
