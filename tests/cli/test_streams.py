"""Standard streams that are closed, full or without a reader, and lines of C libraries: in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
