"""Standard streams that are closed, full or without a reader, and lines of C libraries: in processes of their own."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dacli.cli.console import Console, close_log, open_log
from dacli.errors import StopError
from tests.io.test_damage import FILES, JPEG_DAMAGES
from tests.support.commands import Run, photo

FULL = Path("/dev/full")


def shell(script: str, home: Path, weights: Path) -> "subprocess.CompletedProcess[str]":
    """Run a line of bash in which `dacli` is the command with a tiny of random weights, without OpenVINO's start."""
    code = (
        "import os, pathlib; from dacli.models import tiny; tiny.BUNDLED_WEIGHTS = pathlib.Path(os.environ['W']); "
        "from dacli.cli.main import main; main()"
    )
    lines = (
        f'set -o pipefail\ndacli() {{ {sys.executable} -c "$CODE" "$@" --encoder tiny --size 32 --engine torch; }}\n'
    )
    environment = os.environ | {"CODE": code, "W": str(weights), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", "-c", lines + script],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def pictures(home: Path) -> Path:
    (home / "in").mkdir()
    photo(home / "in/a.png")
    photo(home / "in/b.png", 1)
    return home


def test_a_damaged_jpeg_gives_one_line_with_its_name_and_no_foreign_one(pictures: Path, weights: Path) -> None:
    (pictures / "in/half.jpg").write_bytes(JPEG_DAMAGES["ends early"](FILES["baseline"]))
    run = shell("dacli folder in out -q", pictures, weights)
    assert run.returncode == 1
    fault = "in/half.jpg is damaged, and a part of it is lost (Corrupt JPEG data: premature end of data segment)"
    assert run.stderr.splitlines() == [f"error: {fault}: copy it again", "1 failed, listed in out/failures.jsonl"]
    assert fault in (pictures / "out/failures.jsonl").read_text()


def test_closed_streams_count_as_quiet(pictures: Path, weights: Path) -> None:
    run = shell("dacli image in/a.png in/none.png -o out >&- 2>&- <&-", pictures, weights)
    assert (run.returncode, run.stderr) == (1, "")
    assert [path.name for path in (pictures / "out").iterdir()] == ["a_color.png"]


def test_results_without_a_reader_end_the_run_quietly(pictures: Path, weights: Path) -> None:
    run = shell("dacli folder in out -q --json | true", pictures, weights)
    assert (run.returncode, run.stdout, run.stderr) == (141, "", "")


def test_a_picture_from_a_pipe_and_its_depth_into_one(pictures: Path, weights: Path) -> None:
    run = shell("cat in/a.png | dacli image - -o - --save gray > made.png", pictures, weights)
    assert (run.returncode, [line for line in run.stderr.splitlines() if "error" in line]) == (0, [])
    with Image.open(pictures / "made.png") as made:
        assert (made.size, made.mode) == ((36, 24), "L")
    assert sorted(path.name for path in pictures.iterdir()) == ["in", "made.png"]


def test_a_picture_on_stdin_has_its_result_in_the_current_folder(
    dacli: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((pictures / "in/a.png").read_bytes())))
    run = dacli("image", "-", "--encoder", "tiny", "--size", "32")
    assert (run.code, run.out) == (0, "stdin_color.png\n")


@pytest.mark.parametrize(
    ("arguments", "code", "fault"),
    [
        (("-",), 1, "standard input is empty: give it a picture"),
        (("in/a.png", "in/b.png", "-o", "-"), 2, "-o - takes one file: give one picture"),
        (("in/a.png", "-o", "-", "--save", "gray,npy"), 2, "-o - takes one file: give one picture"),
        (("in/none.png", "-o", "-"), 1, "in/none.png does not exist"),
    ],
)
def test_pipes_that_cannot_be(
    dacli: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, fault: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    run = dacli("image", *arguments, "--encoder", "tiny", "--size", "32")
    assert (run.code, run.out) == (code, "")
    assert fault in run.errors[0]
    assert sorted(path.name for path in pictures.iterdir()) == ["in"]


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
def test_a_full_disk_behind_the_results_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with FULL.open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", full)
        Console().note("nobody sees this")  # and it is no error
        monkeypatch.setattr(sys, "stdout", full)
        fault = r"cannot write the results to standard output \(No space left on device\): free some space"
        with pytest.raises(StopError, match=fault):
            Console().result("out/a.png")
        with pytest.raises(OSError, match="No space"):  # of what the stream still holds
            full.close()


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has /dev/full")
def test_a_log_on_a_full_disk_is_given_up_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    open_log(FULL)
    Console().note("first")
    Console().note("second")
    close_log()
    warning = "cannot write the log /dev/full (No space left on device): the run goes on without it"
    assert capsys.readouterr().err.splitlines() == [warning, "first", "second"]


def test_a_log_that_cannot_be_opened_is_an_error(dacli: Run, home: Path) -> None:
    photo(home / "a.png")
    run = dacli("image", "a.png", "--encoder", "tiny", "--log-file", home)
    assert (run.code, run.errors) == (
        1,
        [f"error: cannot write the log {home} (Is a directory): choose another --log-file"],
    )
