"""Clips of the kinds that users have: odd names, numbered pictures, recordings; each read back by ffmpeg alone."""

from pathlib import Path

import pytest

from tests.support import footage
from tests.support.commands import SMALL, Run, files_below, photo
from tests.support.footage import H264, make_clip

pytestmark = pytest.mark.usefixtures("home")


# --- names ---


@pytest.mark.parametrize("name", ["v1.2.mp4", "Movie.2019.1080p.mkv", "a.mp4.mkv"])
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


@pytest.mark.parametrize("folder", [".", "what?", "take #1", "50% 'off'"])
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
        (("a1.png", "b.png"), "some names have no number, so frames are counted from 0"),
        (("a1.png", "b1.png"), "a1.png and b1.png have the same number, so frames are counted from 0"),
        (("a1.png", "a2.png", "b1.png"), "some pictures have the same number, so frames are counted from 0"),
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
def test_a_rate_that_is_none_is_wrong_usage(dacli: Run, home: Path, value: str) -> None:
    make_clip(home / "a.mp4", *H264, frames=2)
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
