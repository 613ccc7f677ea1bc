"""dacli folder as users type it: hostile files, kills, full disks, and what a second run finds."""

import contextlib
import errno
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from dacli.cli import console
from tests.support import hostile
from tests.support.commands import KINDS, SMALL, Result, Run, files_below, photo

pytestmark = pytest.mark.usefixtures("home")
HANG = 120  # seconds after which a process counts as hanging


def photos(folder: Path, *names: str) -> None:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo(folder / name, seed)


def tree(folder: Path) -> dict[str, bytes]:
    """Return the contents of files by path, without dacli's own journal."""
    below = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {name.as_posix(): path.read_bytes() for name, path in below.items() if name.parts[0] != ".dacli"}


def stamps(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_ino for name in tree(folder)}


def redone(folder: Path, before: dict[str, int]) -> list[str]:
    """Return the files that were written again: each is replaced by a new file."""
    return sorted(name for name, node in stamps(folder).items() if before.get(name) != node)


def scraps(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".part")]


def summary(run: Result) -> str:
    (line,) = (line for line in run.err if " skipped, " in line)
    return line.partition(";")[0]


def failures(out: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert len({row["input"] for row in rows}) == len(rows)
    return {row["input"].removeprefix("in/"): row["error"] for row in rows}


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before, workers = threading.active_count(), torch.get_num_threads()
    torch.set_num_threads(1)  # on cores that others use too, pictures this small wait for the second one
    yield
    torch.set_num_threads(workers)
    assert threading.active_count() <= before


# --- a run finishes any folder ---


def seen(data: bytes) -> tuple[int, int]:
    """Return the height and width of a picture after its EXIF rotation."""
    with Image.open(io.BytesIO(data)) as image:
        with contextlib.suppress(Exception):  # damaged EXIF turns nothing
            ImageOps.exif_transpose(image, in_place=True)
        return image.height, image.width


@pytest.fixture
def corpus(home: Path) -> None:
    hostile.fill_folder(home / "in")
    assert len(hostile.BAD) >= 60


@pytest.mark.usefixtures("corpus")
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF; outside of tests dacli silences them
def test_every_good_picture_of_a_hostile_folder_gets_all_its_outputs(dacli: Run) -> None:
    run = dacli("folder", "in", "out", *SMALL, "--save", ",".join(KINDS), "--json")
    made = {each["input"].removeprefix("in/"): each["outputs"] for each in run.objects if each["ok"]}
    assert run.code == 1
    assert set(made) == set(hostile.GOOD)
    for name, data in hostile.GOOD.items():
        height, width = seen(data)
        color, npy = Path(made[name]["color"]), Path(made[name]["npy"])
        assert color.parent == Path("out", name).parent
        assert Path(name).stem[:50] in color.name
        for kind, wide in (("color", width), ("gray", width), ("png16", width), ("side", 2 * width)):
            with Image.open(made[name][kind]) as image:
                image.load()
                assert image.size == (wide, height), (name, kind)
        assert np.load(npy).shape == (height, width)
    outputs = [path.removeprefix("out/") for kinds in made.values() for path in kinds.values()]
    assert len({path.casefold() for path in outputs}) == len(outputs) == len(KINDS) * len(hostile.GOOD)
    assert sorted([*outputs, "failures.jsonl"]) == sorted(tree(Path("out")))


@pytest.mark.usefixtures("corpus")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_bad_file_of_a_hostile_folder_is_named_with_its_reason_once(dacli: Run, home: Path) -> None:
    run = dacli("folder", "in", "out", *SMALL, "--json")
    errors = {row["input"].removeprefix("in/"): row["error"] for row in run.objects if not row["ok"]}
    reasons = {name: reason for name, (_, reason) in hostile.BAD.items()} | {hostile.BROKEN_LINK: "does not exist"}
    rows = failures(Path("out"))
    assert run.code == 1
    assert rows == errors
    assert set(rows) == set(reasons)
    assert len(run.errors) == len(reasons)
    kinds = {row["input"]: row["error_kind"] for row in run.objects if not row["ok"]}
    assert kinds == {
        row["input"]: row["error_kind"]
        for row in map(json.loads, (home / "out/failures.jsonl").read_text().splitlines())
    }
    assert set(kinds.values()) == {"missing", "format", "damaged", "too large"}
    counts = {"done": len(hostile.GOOD), "skipped": 0, "failed": len(reasons)}
    assert run.summary.items() >= counts.items()
    assert run.summary["seconds"] > 0
    for name, reason in reasons.items():
        escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
        assert rows[name].startswith(f"in/{escaped} "), name
        assert reason in rows[name].removeprefix(f"in/{escaped}"), name
        assert run.errors.count(f"error: {rows[name]}") == 1, name
    assert summary(run) == f"{len(hostile.GOOD)} done, 0 skipped, {len(reasons)} failed"
    assert run.err[-1] == f"{len(reasons)} failed, listed in out/failures.jsonl"
    again = dacli("folder", "in", "out", *SMALL, "--json")
    assert summary(again) == f"0 done, {len(hostile.GOOD)} skipped, {len(reasons)} failed"


def test_a_file_that_may_not_be_read_is_named(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(home / "in", "a.jpg", "secret.jpg", "z.jpg")
    original = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.name == "secret.jpg":
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    run = dacli("folder", "in", "out", *SMALL)
    assert run.code == 1
    assert run.errors == ["error: no permission to read in/secret.jpg: check its permissions"]
    assert sorted(tree(Path("out"))) == ["a_color.png", "failures.jsonl", "z_color.png"]


# --- killed, interrupted, two at once: processes of their own ---

MANY, MORE, KILLS = 20, 60, 3


@pytest.fixture
def many(home: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Threads that wait for one another cost most where processes share cores.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TEST_WEIGHTS", str(weights))
    photos(home / "in", *(f"{number % 3}/{number:02}.png" for number in range(MANY)))
    return home / "in"


def start(*arguments: str) -> "subprocess.Popen[str]":
    # What a shell starts in the background ignores Ctrl-C, and so does all that it starts, these tests for one.
    heeding = (
        "import os, pathlib, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from dacli.models import tiny; tiny.BUNDLED_WEIGHTS = pathlib.Path(os.environ['TEST_WEIGHTS']); "
        "from dacli.cli.main import main; main()"
    )
    command = [sys.executable, "-c", heeding, "folder", "in", *arguments, *SMALL, "--batch", "1"]
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **streams)


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, err = process.communicate(timeout=HANG)
    assert "Traceback" not in err
    return process.returncode, err


@pytest.mark.usefixtures("many")
def test_after_some_kills_all_is_as_if_nothing_had_happened(dacli: Run) -> None:
    chance = random.Random(11)
    saved = ("--save", "color,npy")
    for number in range(KILLS):
        process = start("out", *saved)
        if number == KILLS - 1:
            time.sleep(chance.uniform(0, 1.5))
        else:
            lines = 2 * MANY * number // KILLS + chance.randrange(8)
            assert process.stdout is not None
            for _ in zip(range(lines), process.stdout, strict=False):
                pass
            time.sleep(chance.uniform(0, 0.03))
        process.kill()
        end(process)
        for name in tree(Path("out")):
            assert name.endswith((".part", "_color.png", "_depth.npy"))
    for out in ("whole", "out"):
        assert dacli("folder", "in", out, *saved, *SMALL).code == 0
    assert len(tree(Path("whole"))) == 2 * MANY
    assert tree(Path("out")) == tree(Path("whole"))
    assert scraps(Path("out")) == []


@pytest.mark.slow
@pytest.mark.usefixtures("many")
def test_two_runs_at_once_into_one_folder(dacli: Run) -> None:
    assert dacli("folder", "in", "whole", *SMALL).code == 0
    runs = [start("out") for _ in range(2)]
    assert [end(run)[0] for run in runs] == [0, 0]
    assert summary(dacli("folder", "in", "out", *SMALL)) == f"0 done, {MANY} skipped, 0 failed"
    assert tree(Path("out")) == tree(Path("whole"))
    assert scraps(Path("out")) == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_that_the_same_command_goes_on_with(dacli: Run, many: Path, sent: signal.Signals) -> None:
    for number in range(MORE):
        shutil.copy(many / "0/00.png", many / f"more{number}.png")
    process = start("out")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(sent)
    code, said = end(process)
    assert code == 130
    assert "the same command goes on from there" in said.splitlines()[-1]
    assert "error" not in said
    assert scraps(Path("out")) == []
    assert 0 < len(tree(Path("out"))) < MANY + MORE
    run = dacli("folder", "in", "out", *SMALL)
    assert run.code == 0
    assert summary(run).endswith("0 failed")
    assert len(tree(Path("out"))) == MANY + MORE


# --- what a second run finds ---


def test_a_rerun_skips_what_is_complete(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "sub/b.jpg")
    first = dacli("folder", "in", "out", *SMALL)
    before = stamps(Path("out"))
    again = dacli("folder", "in", "out", *SMALL)
    assert (first.code, again.code) == (0, 0)
    assert (summary(first), summary(again)) == ("2 done, 0 skipped, 0 failed", "0 done, 2 skipped, 0 failed")
    assert first.out == again.out == "out/a_color.png\nout/sub/b_color.png\n"
    assert redone(Path("out"), before) == []


def touch(path: Path) -> None:
    photo(path, 77)
    os.utime(path, (1, 1))


CHANGES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "source": (lambda: touch(Path("in/a.png")), ["a"]),
    "same bytes, other time": (lambda: os.utime("in/a.png", (1, 1)), ["a"]),
    "missing output": (Path("out/sub/b_depth.npy").unlink, ["sub/b"]),
    "altered output": (lambda: Path("out/a_depth.npy").write_bytes(b"mine"), ["a"]),
    "cut output": (lambda: os.truncate("out/sub/b_depth.npy", 100), ["sub/b"]),
    "new picture": (lambda: photos(Path("in"), "z.png"), ["z"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_rerun_redoes_only_what_a_change_asks_for(dacli: Run, home: Path, change: str) -> None:
    photos(home / "in", "a.png", "sub/b.png", "c.png")
    dacli("folder", "in", "out", *SMALL, "--save", "color,npy")
    before = stamps(Path("out"))
    act, stems = CHANGES[change]
    act()
    run = dacli("folder", "in", "out", *SMALL, "--save", "color,npy")
    assert run.code == 0
    assert redone(Path("out"), before) == [
        f"{stem}{suffix}" for stem in stems for suffix in ("_color.png", "_depth.npy")
    ]
    dacli("folder", "in", "fresh", *SMALL, "--save", "color,npy")
    assert tree(Path("out")) == tree(Path("fresh"))


OTHER: dict[str, tuple[str, ...]] = {
    "size": ("--size", "64"),
    "colormap": ("--colormap", "gray"),
    "near": ("--near", "black"),
    "range": ("--range", "p2,p98"),
    "overwrite": ("--overwrite",),
    "precision": ("--precision", "fp32"),
    "tile": ("--tile", "on"),
}


QUICK = ("size", "range", "overwrite")


@pytest.mark.parametrize(
    "option", [option if option in QUICK else pytest.param(option, marks=pytest.mark.slow) for option in OTHER]
)
def test_other_settings_redo_all_and_then_nothing(dacli: Run, home: Path, option: str) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    arguments = ("folder", "in", "out", "--encoder", "tiny", "--size", "32", "--save", "gray")
    dacli(*arguments, "--precision", "bf16")
    before = stamps(Path("out"))
    other = (*arguments, "--precision", "bf16", *OTHER[option])
    assert summary(dacli(*other)) == "2 done, 0 skipped, 0 failed"
    assert redone(Path("out"), before) == ["a_gray.png", "b_gray.png"]
    expected = "2 done, 0 skipped" if option == "overwrite" else "0 done, 2 skipped"
    assert summary(dacli(*other)) == f"{expected}, 0 failed"


def test_one_kind_more_leaves_no_picture_without_it(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    dacli("folder", "in", "out", *SMALL)
    assert dacli("folder", "in", "out", *SMALL, "--save", "color,npy").code == 0
    assert sorted(tree(Path("out"))) == ["a_color.png", "a_depth.npy", "b_color.png", "b_depth.npy"]


def test_retry_failed_takes_only_those_and_a_mended_folder_has_no_list_of_failures(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "c.jpg")
    (home / "in/b.jpg").write_bytes(b"")
    (home / "in/d.jpg").write_bytes(b"text")
    assert dacli("folder", "in", "out", *SMALL).code == 1
    photos(home / "in", "b.jpg", "new.jpg")
    first = dacli("folder", "in", "out", *SMALL, "--retry-failed")
    assert (first.code, first.out) == (1, "out/b_color.png\n")
    assert set(failures(Path("out"))) == {"d.jpg"}
    photos(home / "in", "d.jpg")
    second = dacli("folder", "in", "out", *SMALL, "--retry-failed")
    assert (second.code, second.out) == (0, "out/d_color.png\n")
    assert sorted(tree(Path("out"))) == [f"{name}_color.png" for name in "abcd"]
    third = dacli("folder", "in", "out", *SMALL, "--retry-failed")
    assert (third.code, third.out, third.err[-1]) == (0, "", "nothing to do: no input failed")


def test_failures_of_the_other_shards_stay_in_the_list(dacli: Run, home: Path) -> None:
    photos(home / "in", *(f"{number}.jpg" for number in range(6)))
    for number in range(6):
        (home / f"in/bad{number}.jpg").write_bytes(b"")
    codes = [dacli("folder", "in", "out", *SMALL, "--shard", f"{part}/2").code for part in (1, 2)]
    assert codes == [1, 1]
    assert sorted(failures(Path("out"))) == [f"bad{number}.jpg" for number in range(6)]


def garbage(file: Path) -> None:
    rows = (
        b"\0\xff\n",
        b"[]\n",
        b"null\n",
        b"3\n",
        b'{"name": 3}\n',
        b'{"name": "a.png", "outputs": 5}\n',
        b'{"x": 1}\n',
    )
    file.write_bytes(b"".join(rows) + file.read_bytes() + b"\xff{\n" + b'{"name": "a.png", "outputs": {"color": []}}')


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage": garbage,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-20]),
    "emptied": lambda file: file.write_bytes(b""),
    "deleted": lambda file: shutil.rmtree(file.parent),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kinds", ["npy", "color,npy"])
def test_a_damaged_journal_costs_no_output_that_says_itself_what_it_is(
    dacli: Run, home: Path, damage: str, kinds: str
) -> None:
    photos(home / "in", "a.png", "b.png", "c.png")
    dacli("folder", "in", "out", *SMALL, "--save", kinds)
    before = tree(Path("out"))
    (file,) = Path("out/.dacli").glob("journal-*")
    DAMAGE[damage](file)
    run = dacli("folder", "in", "out", *SMALL, "--save", kinds)
    assert run.code == 0
    assert summary(run) == "0 done, 3 skipped, 0 failed"
    assert tree(Path("out")) == before


def test_npy_that_dacli_did_not_make_stays_beside_a_journal(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png", "b.png")
    mine = np.zeros((3, 4))
    Path("out").mkdir()
    np.save("out/a_depth.npy", mine)
    for _ in range(2):
        run = dacli("folder", "in", "out", *SMALL, "--save", "npy")
        assert run.code == 1
        assert run.errors == [
            "error: in/a.png: out/a_depth.npy exists and is not a complete output of dacli: "
            "move it away, or replace it with --overwrite"
        ]
        assert np.array_equal(np.load("out/a_depth.npy"), mine)
    assert dacli("folder", "in", "out", *SMALL, "--save", "npy", "--overwrite").code == 0
    np.save("out/b_depth.npy", mine)  # instead of an output that the journal knows
    assert dacli("folder", "in", "out", *SMALL, "--save", "npy").code == 1
    assert np.array_equal(np.load("out/b_depth.npy"), mine)


def test_a_journal_that_lies_is_noted_and_costs_nothing(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png")
    dacli("folder", "in", "out", *SMALL)
    (file,) = Path("out/.dacli").glob("journal-*")
    file.write_text(file.read_text() + '{"name": ["a.png"], "at": 1}\n{"name": "a.png", "at": "now"}\n')
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, summary(run)) == (0, "0 done, 1 skipped, 0 failed")
    assert "2 lines of the journals in out/.dacli are damaged and left out" in run.err


@pytest.mark.parametrize("content", [b"", b"cut", None])
def test_an_output_that_a_journal_claims_and_that_is_none_is_made_anew(
    dacli: Run, home: Path, content: bytes | None
) -> None:
    photos(home / "in", "a.png")
    dacli("folder", "in", "out", *SMALL)
    output = Path("out/a_color.png")
    whole = output.read_bytes()
    if content is None:
        output.unlink()
    else:
        output.write_bytes(content)
        info = output.stat()
        (file,) = Path("out/.dacli").glob("journal-*")
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        rows[-1]["outputs"]["color"] = [info.st_size, info.st_mtime_ns] if content == b"" else [9, 9]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, summary(run)) == (0, "1 done, 0 skipped, 0 failed")
    assert output.read_bytes() == whole


def test_a_failure_by_a_clock_ahead_does_not_outlive_a_good_run(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png", "b.png")
    whole = Path("in/a.png").read_bytes()
    Path("in/a.png").write_bytes(b"")
    assert dacli("folder", "in", "out", *SMALL).code == 1
    (file,) = Path("out/.dacli").glob("journal-*")
    rows = [json.loads(line) | {"at": 9e9} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("in/a.png").write_bytes(whole)
    assert dacli("folder", "in", "out", *SMALL).code == 0
    assert not Path("out/failures.jsonl").exists()
    assert dacli("folder", "in", "out", *SMALL, "--retry-failed").err[-1] == "nothing to do: no input failed"
    Path("in/a.png").write_bytes(b"")
    assert dacli("folder", "in", "out", *SMALL).code == 1
    assert set(failures(Path("out"))) == {"a.png"}
    assert "a.png is empty" in dacli("folder", "in", "out", *SMALL, "--retry-failed").errors[0]


def test_a_failure_that_the_outputs_contradict_is_forgotten(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png")
    dacli("folder", "in", "out", *SMALL)
    (file,) = Path("out/.dacli").glob("journal-*")
    file.write_text(file.read_text() + json.dumps({"name": "a.png", "error": "it failed", "at": 9e9}) + "\n")
    run = dacli("folder", "in", "out", *SMALL)
    assert summary(run) == "0 done, 1 skipped, 0 failed"
    assert not Path("out/failures.jsonl").exists()
    assert dacli("folder", "in", "out", *SMALL, "--retry-failed").err[-1] == "nothing to do: no input failed"


def test_a_list_of_failures_that_is_the_user_s_stays(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png")
    Path("in/b.png").write_bytes(b"")
    Path("out").mkdir()
    mine = Path("out/failures.jsonl")
    mine.write_text("mine")
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out, mine.read_text()) == (1, "out/a_color.png\n", "mine")
    assert run.errors[-1].startswith("error: out/failures.jsonl exists and is not a complete output of dacli: move it")
    mine.unlink()
    assert dacli("folder", "in", "out", *SMALL).err[-1] == "1 failed, listed in out/failures.jsonl"
    Path("in/b.png").unlink()
    assert dacli("folder", "in", "out", *SMALL).code == 0
    assert not mine.exists()


@pytest.mark.parametrize("sweep", [False, True])
def test_a_folder_in_out_that_is_a_link_out_of_it_is_named_and_takes_nothing(
    dacli: Run, home: Path, *, sweep: bool
) -> None:
    photos(home / "in", "a.png", "sub/b.png")
    Path("outside").mkdir()
    if sweep:
        dacli("folder", "in", "out", *SMALL)
        (file,) = Path("out/.dacli").glob("journal-*")
        Path("outside", f".{file.stem.removeprefix('journal-')}-0123456789abcdef.part").write_bytes(b"mine")
        shutil.rmtree("out/sub")
    Path("out").mkdir(exist_ok=True)
    Path("out/sub").symlink_to("../outside")
    before = files_below(Path("outside"))
    run = dacli("folder", "in", "out", *SMALL)
    assert run.code == 1
    assert run.errors == [
        "error: in/sub/b.png: out/sub is a link, and dacli writes nothing outside out: "
        "remove the link, or choose another output folder"
    ]
    assert files_below(Path("outside")) == before
    assert Path("out/a_color.png").exists()


def test_out_itself_and_a_folder_in_it_may_be_links_to_places_within(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png", "sub/b.png")
    Path("real/other").mkdir(parents=True)
    Path("out").symlink_to("real")
    Path("real/sub").symlink_to("other")
    assert dacli("folder", "in", "out", *SMALL).code == 0
    assert Path("real/other/b_color.png").exists()


def test_what_a_killed_run_left_is_swept_away_and_other_files_are_not(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.png", "sub/b.png")
    dacli("folder", "in", "out", *SMALL)
    (file,) = Path("out/.dacli").glob("journal-*")
    mark = file.stem.removeprefix("journal-")
    for place in ("out", "out/sub"):
        Path(place, f".{mark}-0123456789abcdef.part").write_bytes(b"half")
        Path(place, "my download.part").write_bytes(b"mine")
    assert dacli("folder", "in", "out", *SMALL).code == 0
    assert [path.name for path in scraps(Path("out"))] == ["my download.part"] * 2


# --- what IN may be ---


@pytest.mark.parametrize("between", ["\n", "\r\n", "\0"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("by", ["file", "stdin"])
def test_a_list_of_paths(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, between: str, mark: str, by: str
) -> None:
    photos(home / "in", "a.jpg", "sub/日 本.jpg", "left.jpg")
    text = (mark + between.join(["in/sub/日 本.jpg", "in/gone.jpg", "in/a.jpg", ""])).encode()
    (home / "list.txt").write_bytes(text)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(text)))
    run = dacli("folder", "@list.txt" if by == "file" else "-", "out", *SMALL)
    assert run.code == 1
    assert run.out == "out/in/sub/日 本_color.png\nout/in/a_color.png\n"
    assert run.errors == ["error: in/gone.jpg does not exist: check the path"]


def test_a_list_that_is_not_there_or_empty(dacli: Run, home: Path) -> None:
    (home / "empty.txt").write_bytes(b"\xef\xbb\xbf\r\n\r\n")
    for name, said in (("@gone.txt", "the list gone.txt cannot be read"), ("@empty.txt", "no pictures in @empty.txt")):
        run = dacli("folder", name, "out", *SMALL)
        assert (run.code, run.out, len(run.err)) == (1, "", 1)
        assert run.err[0].startswith(f"error: {said}")
    assert not Path("out").exists()


def test_a_list_from_elsewhere_has_its_tree_below_the_folder_they_share(dacli: Run, home: Path) -> None:
    photos(home.parent / "far", "one/a.jpg", "two/a.jpg")
    (home / "list.txt").write_text("\n".join(str(path) for path in sorted((home.parent / "far").rglob("*.jpg"))))
    assert dacli("folder", "@list.txt", "out", *SMALL).code == 0
    assert sorted(tree(Path("out"))) == ["one/a_color.png", "two/a_color.png"]


@pytest.mark.parametrize(
    ("pattern", "made"),
    [("in/*.jpg", ["a", "b"]), ("in/**/*.jpg", ["a", "b", "sub/c"]), ("in/[ac].*", ["a"]), ("i?/sub/*", ["in/sub/c"])],
)
def test_a_pattern_takes_the_pictures_that_match(dacli: Run, home: Path, pattern: str, made: list[str]) -> None:
    photos(home / "in", "a.jpg", "b.jpg", "sub/c.jpg")
    (home / "in/a.txt").write_text("no picture")
    assert dacli("folder", pattern, "out", *SMALL).code == 0
    assert sorted(tree(Path("out"))) == [f"{name}_color.png" for name in made]


@pytest.mark.parametrize(
    ("options", "made"),
    [
        (("--include", "*.PNG"), ["b", "sub/d"]),
        (("--include", "a*", "--include", "d*"), ["a", "sub/d"]),
        (("--exclude", "sub/*"), ["a", "b"]),
        (("--include", "sub/*", "--exclude", "*.jpg"), ["sub/d"]),
    ],
)
def test_include_and_exclude(dacli: Run, home: Path, options: tuple[str, ...], made: list[str]) -> None:
    photos(home / "in", "a.jpg", "b.png", "sub/c.jpg", "sub/d.png")
    assert dacli("folder", "in", "out", *SMALL, *options).code == 0
    assert sorted(tree(Path("out"))) == [f"{name}_color.png" for name in made]


@pytest.mark.parametrize("out", ["in", "in/depth", "in/sub/depth", "."])
def test_what_was_made_is_never_an_input(dacli: Run, home: Path, out: str) -> None:
    photos(home / "in", "a.jpg", "sub/b.png")
    first = dacli("folder", "in", out, *SMALL, "--save", "color,gray,png16,side")
    before = tree(home)
    again = dacli("folder", "in", out, *SMALL, "--save", "color,gray,png16,side")
    assert summary(first) == "2 done, 0 skipped, 0 failed"
    assert summary(again) == "0 done, 2 skipped, 0 failed"
    assert tree(home).keys() == before.keys()
    assert Path(out, "sub/b_color.png").is_file()


def test_a_picture_of_the_users_where_an_output_should_be_stays(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    photos(home / "out", "a_color.png")
    before = (home / "out/a_color.png").read_bytes()
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out) == (1, "out/b_color.png\n")
    assert run.errors[0].startswith("error: in/a.jpg: out/a_color.png exists and is not a complete output of dacli")
    assert (home / "out/a_color.png").read_bytes() == before
    assert dacli("folder", "in", "out", *SMALL, "--overwrite").code == 0


def blank(home: Path) -> None:
    (home / "in").mkdir()
    (home / "in/.hidden.jpg").write_bytes(hostile.JPEG)
    (home / "in/notes.txt").write_bytes(b"text")


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing in it": (blank, "error: no pictures in in"),
    "missing": (lambda _: None, "error: in does not exist"),
    "a file": (lambda home: (home / "in").write_bytes(hostile.JPEG), "error: in is not a folder"),
    "a dangling link": (lambda home: (home / "in").symlink_to("gone"), "error: in does not exist"),
    "a pipe": (lambda home: os.mkfifo(home / "in"), "error: in is not a folder"),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_input_that_is_none_is_one_line_and_leaves_nothing(dacli: Run, home: Path, place: str) -> None:
    act, said = PLACES[place]
    act(home)
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out, len(run.err)) == (1, "", 1)
    assert run.err[0].startswith(said)
    assert not (home / "out").exists()


# --- parts of a whole ---


@pytest.mark.parametrize("parts", [("1/3", "2/3", "3/3"), ("0/3", "1/3", "2/3")])
def test_parts_are_the_whole_and_share_nothing(dacli: Run, home: Path, parts: tuple[str, ...]) -> None:
    photos(home / "in", *(f"{number}.png" for number in range(12)))
    made = [dacli("folder", "in", "out", *SMALL, "--shard", part).out.split() for part in parts]
    assert sorted(path for each in made for path in each) == sorted(f"out/{number}_color.png" for number in range(12))
    assert all(len(each) < 12 for each in made)


def test_what_a_folder_holds_besides_pictures_is_named(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg")
    (home / "in/b.mp4").write_bytes(b"x")
    (home / "in/c.svg").write_bytes(b"x")
    run = dacli("folder", "in", "out", *SMALL)
    assert run.code == 0
    assert "left out: 1 .mp4 (use dacli video), 1 .svg" in run.err
    assert "left out: 1 .mp4 (use dacli video), 1 .svg" in dacli("folder", "in", "out", *SMALL, "--dry-run").err
    (home / "in/a.jpg").unlink()
    run = dacli("folder", "in", "out2", *SMALL)
    assert (run.code, run.err) == (
        1,
        ["error: no pictures in in: it holds 1 .mp4 (use dacli video), 1 .svg"],
    )


def test_a_slurm_array_splits_the_folder(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(home / "in", *(f"{number}.png" for number in range(12)))
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
    made: list[str] = []
    for task in (5, 6):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        run = dacli("folder", "in", "out", *SMALL, "--shard", "slurm", "-q")
        assert run.err == [f"part {task - 4} of 2, by SLURM_ARRAY_TASK_ID"]
        made += run.out.split()
    assert sorted(made) == sorted(f"out/{number}_color.png" for number in range(12))
    assert dacli("folder", "in", "out", *SMALL, "--shard", "slurm", "--json").summary["shard"] == "2/2"


WRONG: dict[tuple[str, ...], str] = {
    **{("--shard", text): f"--shard {text} is not a part" for text in ("4/3", "a/b", "1", "1/0", "-1/3", "1/3/5")},
    **{("--batch", text): f"--batch {text} is neither" for text in ("0", "-1", "many", "1.5")},
    **{("--devices", text): f"--devices {text} is not a list" for text in ("a", "0;1", "cuda:0", ",")},
    ("--devices", "0", "--device", "cpu"): "--devices 0 and --device cpu contradict",
    ("--encoder", "vitz"): "",
    ("--precision", "fp8"): "",
    ("--device", "gpu"): "",
    ("--save", "colour"): "cannot save 'colour'",
    ("--size", "3"): "--size 3 is not between",
    ("--tile", "518"): "unknown tile '518'",
    ("--range", "9,1"): "",
    ("--near", "gray"): "unknown near 'gray'",
    ("--colormap", "nocolors"): "",
}


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_wrong_usage_is_told_before_anything_is_made(dacli: Run, home: Path, options: tuple[str, ...]) -> None:
    photos(home / "in", "a.jpg")
    run = dacli("folder", "in", "out", *SMALL, *options)
    assert (run.code, run.out) == (2, "")
    assert run.err[-1].startswith(f"error: {WRONG[options]}")
    assert tree(home).keys() == {"in/a.jpg"}


def test_a_missing_argument_is_wrong_usage(dacli: Run, home: Path) -> None:
    (home / "in").mkdir()
    assert dacli("folder", "in").code == 2
    assert dacli("folder").code == 2


# --- how it talks ---


def test_dry_run_shows_the_plan_and_writes_nothing(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "a.png", "sub/a.jpg")
    (home / "in/bad.jpg").write_bytes(b"")
    before = tree(home)
    run = dacli("folder", "in", "out", *SMALL, "--dry-run", "--save", "color,npy")
    plan = [line.partition(" -> ") for line in run.out.splitlines()]
    assert run.code == 0
    assert [name for name, _, _ in plan] == ["in/a.jpg", "in/a.png", "in/bad.jpg", "in/sub/a.jpg"]
    assert plan[3][2] == "out/sub/a_color.png, out/sub/a_depth.npy"
    assert run.err[-1].startswith("4 pictures, 0 MB, 0 done already; about ")
    assert tree(home) == before
    assert not Path("out").exists()
    dacli("folder", "in", "out", *SMALL, "--save", "color,npy")
    planned = [path for _, _, outputs in plan if "bad" not in outputs for path in outputs.split(", ")]
    assert sorted([*planned, "out/failures.jsonl"]) == sorted(f"out/{name}" for name in tree(Path("out")))
    again = dacli("folder", "in", "out", *SMALL, "--dry-run", "--save", "color,npy", "--json")
    assert again.objects[3]["outputs"] == {"color": "out/sub/a_color.png", "npy": "out/sub/a_depth.npy"}
    assert "3 done already" in again.err[-1]


def test_json_objects_come_in_the_order_of_the_inputs_whatever_their_sizes(dacli: Run, home: Path) -> None:
    (home / "in").mkdir()
    for number in range(12):
        photo(home / f"in/{number:02}.png", number, (24, 24 + 12 * (number % 3)))
    (home / "in/05.png").write_bytes(b"")
    run = dacli("folder", "in", "out", *SMALL, "--json", "--batch", "4")
    assert run.code == 1
    assert [each["input"] for each in run.objects] == [f"in/{number:02}.png" for number in range(12)]
    assert [each["ok"] for each in run.objects] == [number != 5 for number in range(12)]
    assert run.objects[5]["error"] == "in/05.png is empty: check what made it"


def test_the_batch_changes_no_output_beyond_the_last_digit(dacli: Run, home: Path) -> None:
    photos(home / "in", *(f"{number}.png" for number in range(5)))
    for batch in ("1", "4"):
        options = ("--save", "npy", "--precision", "fp32", "--batch", batch)
        assert dacli("folder", "in", f"out{batch}", *SMALL, *options).code == 0
    for number in range(5):
        one, four = (np.load(f"out{batch}/{number}_depth.npy") for batch in (1, 4))
        np.testing.assert_allclose(one, four, rtol=1e-4, atol=1e-5)


def test_no_bar_where_there_is_no_terminal_but_a_line_now_and_then(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    assert len(dacli("folder", "in", "out", *SMALL).err) == 2
    monkeypatch.setattr(console, "LINE_INTERVAL", 0.0)
    run = dacli("folder", "in", "out2", *SMALL)
    lines = [line for line in run.err if line.startswith(("1 of 2, ", "2 of 2, "))]
    assert [line.rpartition(", at ")[2] for line in lines] == ["a.jpg", "b.jpg"]
    assert "\r" not in "".join(run.err)
    assert "\x1b" not in "".join(run.err)
    assert dacli("folder", "in", "out3", *SMALL, "--quiet").err == []


# --- where OUT cannot take it ---


@pytest.mark.parametrize("out", ["taken", "taken/below", "in/a.jpg"])
def test_a_file_where_the_output_folder_should_be(dacli: Run, home: Path, out: str) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    (home / "taken").write_text("mine")
    before = tree(home)
    run = dacli("folder", "in", out, *SMALL)
    assert (run.code, run.out, len(run.errors)) == (1, "", 1)
    assert run.errors[0].startswith(f"error: cannot write {out}/.dacli (a file stands where its folder should be)")
    assert tree(home) == before


@pytest.mark.parametrize(
    ("code", "said"), [(errno.EACCES, "no permission"), (errno.EROFS, "the disk is read-only"), (errno.EIO, "")]
)
def test_an_output_folder_that_may_not_be_written(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    photos(home / "in", "a.jpg", "b.jpg")

    def mkdir(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out, len(run.err)) == (1, "", 1)
    assert run.err[0].startswith(f"error: cannot write out/.dacli ({said}")
    assert not (home / "out").exists()


@contextlib.contextmanager
def on_file(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Do something before the file of this number gets its name."""
    original, guard = Path.replace, threading.Lock()
    left = iter(range(number))

    def replace(self: Path, target: Path) -> Path:
        with guard:
            if next(left, None) is None:
                act()
            return original(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_a_disk_that_fails_in_the_middle_stops_the_run_with_one_line(dacli: Run, home: Path, code: int) -> None:
    photos(home / "in", *(f"{number:02}.png" for number in range(20)))

    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    with on_file(7, refuse):
        run = dacli("folder", "in", "out", *SMALL, "--save", "color,npy")
    assert (run.code, len(run.errors)) == (1, 1)
    assert run.errors[0].startswith("error: cannot write out/")
    cut = tree(Path("out"))
    assert len(cut) == 7
    again = dacli("folder", "in", "out", *SMALL, "--save", "color,npy")
    assert again.code == 0
    assert "skipped, 0 failed" in summary(again)
    assert dacli("folder", "in", "whole", *SMALL, "--save", "color,npy").code == 0
    whole = tree(Path("whole"))
    assert cut.items() <= whole.items()
    assert tree(Path("out")) == whole
    assert scraps(home) == []


def test_a_disk_that_fails_at_the_list_of_what_failed_is_told_after_what_failed(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    (home / "in/c.jpg").write_bytes(b"no picture")

    def refuse() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with on_file(2, refuse):
        run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, len(run.errors)) == (1, 2)
    assert "in/c.jpg" in run.errors[0]
    assert run.errors[1].startswith("error: cannot write out/failures.jsonl (the disk is full)")
    assert sorted(tree(Path("out"))) == ["a_color.png", "b_color.png"]
    assert scraps(home) == []


def test_a_journal_that_the_disk_does_not_take_stops_the_run(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(home / "in", *(f"{number}.png" for number in range(8)))
    original, left = os.write, iter(range(4))

    def write(file: int, data: bytes) -> int:
        if data.startswith(b"{") and next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, len(run.errors)) == (1, 1)
    assert "journal-" in run.errors[0]
    assert "(the disk is full)" in run.errors[0]
    again = dacli("folder", "in", "out", *SMALL)
    assert again.code == 0
    assert len(tree(Path("out"))) == 8
    assert scraps(home) == []


def test_an_output_folder_that_vanishes_in_the_middle_is_not_made_again(dacli: Run, home: Path) -> None:
    photos(home / "in", *(f"{number:02}.png" for number in range(20)))
    with on_file(6, lambda: Path("out").exists() and Path("out").rename("away")):
        run = dacli("folder", "in", "out", *SMALL)
    assert run.code == 1
    assert run.errors[-1].startswith("error: the output folder out is gone: bring it back")
    assert not Path("out").exists()
    Path("away").rename("out")
    assert dacli("folder", "in", "out", *SMALL).code == 0
    assert sorted(tree(Path("out"))) == [f"{number:02}_color.png" for number in range(20)]
    assert scraps(home) == []


def test_a_folder_where_an_output_should_be_costs_only_that_picture(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg", "b.jpg")
    (home / "out/a_color.png").mkdir(parents=True)
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out, len(run.errors)) == (1, "out/b_color.png\n", 1)
    assert "in/a.jpg" in run.errors[0]
    assert list(failures(Path("out"))) == ["a.jpg"]
    assert scraps(home) == []


def test_a_picture_that_goes_while_the_run_is_under_way_is_named(
    dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(home / "in", "a.jpg", "b.jpg", "c.jpg")
    original = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.name == "b.jpg":
            self.unlink()
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    run = dacli("folder", "in", "out", *SMALL)
    assert (run.code, run.out) == (1, "out/a_color.png\nout/c_color.png\n")
    assert run.errors == ["error: in/b.jpg does not exist: check the path"]


@pytest.mark.parametrize("arguments", [("folder", "in", ""), ("image", "in/a.jpg", "-o", ""), ("folder", "", "out")])
def test_an_empty_name_of_a_folder_is_wrong_usage(dacli: Run, home: Path, arguments: tuple[str, ...]) -> None:
    photos(home / "in", "a.jpg")
    run = dacli(*arguments, *SMALL)
    assert run.code == 2
    assert "empty" in run.err[0]
    assert sorted(tree(home)) == ["in/a.jpg"]


def test_a_dry_run_says_that_its_output_folder_cannot_be_written(dacli: Run, home: Path) -> None:
    photos(home / "in", "a.jpg")
    (home / "file").touch()
    run = dacli("folder", "in", "file/out", *SMALL, "--dry-run")
    fault = "cannot write file/out (a file stands where its folder should be): move it away or choose another folder"
    assert (run.code, run.errors) == (1, [f"error: {fault}"])
    assert dacli("folder", "in", "new/out", *SMALL, "--dry-run").code == 0
    assert sorted(tree(home)) == ["file", "in/a.jpg"]


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_further_frames_and_pages_are_mentioned(dacli: Run, home: Path, form: str) -> None:
    path = home / "moving.pic"
    path.write_bytes(hostile.animation(form))
    what = "of its 3 pages" if form == "TIFF" else "frame of its animation"
    run = dacli("image", path.name, *SMALL)
    assert run.code == 0
    assert f"moving.pic: only the first {what} is used" in run.err
    path.write_bytes(hostile.PNG)
    assert not [line for line in dacli("image", path.name, *SMALL, "--overwrite").err if "only the first" in line]
