"""Control characters in names and answers: escaped wherever a terminal sees them, as they are in a pipe."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import SMALL, Run, photo

ESCAPE = "\x1b]0;owned\x07"
SHOWN = r"\x1b]0;owned\x07"
pytestmark = pytest.mark.usefixtures("home")


def weights_with_key(path: Path) -> Path:
    header = b'{"\x1b[31m":3}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


ERRORS = {
    "no pattern": ("folder", f"{ESCAPE}/*.jpg", "out", *SMALL),
    "no folder": ("folder", ESCAPE, "out", *SMALL),
    "an empty folder": ("folder", f"empty{ESCAPE}", "out", *SMALL),
    "no picture": ("image", f"{ESCAPE}.png", *SMALL),
    "no clip": ("video", f"{ESCAPE}.mp4", *SMALL),
    "no weights": ("image", "a.png", "--weights", f"{ESCAPE}.pth"),
    "weights of tiny": ("image", "a.png", "--encoder", "tiny", "--weights", f"w{ESCAPE}.safetensors"),
    "an option": ("image", "a.png", "--encoder", ESCAPE),
    "an unknown option": ("image", "a.png", f"--{ESCAPE}"),
    "a command": (ESCAPE,),
    "a checkpoint": ("weights", "get", ESCAPE),
    "a checkpoint of a training": ("train", "teacher", f"run{ESCAPE}", "--steps", "1", "--batch", "2", "--size", "64"),
    "pairs": ("eval", f"{ESCAPE}.txt", "--encoder", "tiny"),
    "outputs to compare": ("compare", ESCAPE, "b"),
    "a log": ("image", "a.png", *SMALL, "--log-file", f"{ESCAPE}/log"),
}


@pytest.mark.parametrize("command", ERRORS)
def test_no_error_sends_control_characters_to_a_terminal(dacli: Run, command: str) -> None:
    photo(Path("a.png"))
    Path(f"empty{ESCAPE}").mkdir()
    weights_with_key(Path(f"w{ESCAPE}.safetensors"))
    Path(f"run{ESCAPE}").mkdir()
    Path(f"run{ESCAPE}/checkpoint.pt").write_bytes(b"none")
    run = dacli(*ERRORS[command])
    assert run.code in (1, 2)
    assert "\x1b" not in "".join(run.err)
    assert r"\x1b]0;owned" in "".join(run.err).replace(r"\\", "\\")


def on_terminal(*arguments: str) -> bytes:
    """Return what a command writes to a stdout that is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dacli", *arguments]
    subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, timeout=120, check=True)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:  # how the end of a terminal reads on Linux
        pass
    os.close(ours)
    return shown


@pytest.mark.parametrize("more", [(), pytest.param(("--dry-run",), marks=pytest.mark.slow)])
def test_paths_are_escaped_on_a_terminal_and_as_they_are_in_a_pipe(dacli: Run, more: tuple[str, ...]) -> None:
    Path("in").mkdir()
    photo(Path(f"in/{ESCAPE}.png"))
    shown = on_terminal("folder", "in", "out", *SMALL, *more)
    assert b"\x1b" not in shown
    assert SHOWN.encode() in shown
    assert dacli("folder", "in", "again", *SMALL).out == f"again/{ESCAPE}_color.png\n"


def test_a_log_holds_no_control_characters(dacli: Run) -> None:
    photo(Path(f"{ESCAPE}.png"))
    assert dacli("image", f"{ESCAPE}.png", *SMALL, "--log-file", "log").code == 0
    assert "\x1b" not in Path("log").read_text()
