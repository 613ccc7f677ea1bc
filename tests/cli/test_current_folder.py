"""Code and settings of other programs in the current folder: dacli runs none of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dacli
from tests.support.commands import SMALL, photo

MARK = "open(__file__ + '.ran', 'w').close()\n"
TRAINING = ("train", "teacher", "run", "--steps", "2", "--batch", "2", "--size", "64", "--workers", "1")


def run_alone(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own, with the package on the path but not from the current folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    path = {"PYTHONPATH": str(Path(dacli.__file__).parents[1])}
    command = [sys.executable, "-m", "dacli", *arguments]
    return subprocess.run(
        command, env=kept | path | environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("typer", ("--version",), marks=pytest.mark.slow),
        pytest.param("multiprocessing", TRAINING, marks=pytest.mark.slow),
        pytest.param(
            "resource", ("bench", "--encoder", "tiny", "--size", "32", "--turns", "1"), marks=pytest.mark.slow
        ),
        ("cv2", ("image", "a.png", *SMALL)),
    ],
)
def test_a_module_of_the_current_folder_is_not_imported(home: Path, name: str, arguments: tuple[str, ...]) -> None:
    photo(home / "a.png")
    (home / f"{name}.py").write_text(MARK)
    run = run_alone(*arguments)
    assert run.returncode == 0, run.stderr
    assert not list(home.glob("*.ran"))


RC = "image.lut: 5\nsavefig.dpi: 7\ntext.usetex: True\nfigure.facecolor: red\n"


@pytest.mark.slow
@pytest.mark.parametrize("place", ["current folder", "the user's"])
def test_a_matplotlibrc_changes_no_color(home: Path, place: str) -> None:
    photo(home / "a.png")
    plain = run_alone("image", "a.png", *SMALL, "-o", "plain")
    (home / "matplotlibrc").write_text(RC)
    user = home / "user"
    if place == "the user's":
        user.mkdir()
        (home / "matplotlibrc").rename(user / "matplotlibrc")
    changed = run_alone("image", "a.png", *SMALL, "-o", "changed", MPLCONFIGDIR=str(user))
    assert (plain.returncode, changed.returncode, changed.stderr) == (0, 0, plain.stderr)
    assert (home / "plain/a_color.png").read_bytes() == (home / "changed/a_color.png").read_bytes()


@pytest.mark.slow
def test_a_matplotlibrc_that_needs_latex_or_is_a_pipe_does_not_stop_eval(home: Path) -> None:
    (home / "matplotlibrc").write_text(RC)
    arguments = ("eval", "--encoder", "tiny", "--scenes", "1", "--out")
    run = run_alone(*arguments, "first")
    assert run.returncode == 0, run.stderr
    (home / "matplotlibrc").unlink()
    os.mkfifo(home / "matplotlibrc")
    assert run_alone(*arguments, "second").returncode == 0
