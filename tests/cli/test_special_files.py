"""Pipes, sockets and devices where a command expects a file: named at once."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import SMALL, Run, photo

pytestmark = pytest.mark.usefixtures("home", "alarm")


def hangs(*_: object) -> None:
    raise AssertionError("it hangs")


@pytest.fixture
def alarm() -> Iterator[None]:
    signal.signal(signal.SIGALRM, hangs)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


COMMANDS = {
    "image": ("image", "p.png", *SMALL),
    "image, named like an output": ("image", "p_color.png", *SMALL),
    "video": ("video", "c.mp4", *SMALL),
    "video, named like an output": ("video", "c_color.mp4", *SMALL),
    "decode, a picture": ("decode", "c_depth16.png"),
    "decode, a clip": ("decode", "c_depth16.mkv"),
    "weights as pth": ("image", "a.png", "--weights", "w.pth"),
    "weights as safetensors": ("image", "a.png", "--weights", "w.safetensors"),
    "weights of tiny": ("image", "a.png", "--encoder", "tiny", "--weights", "w.safetensors"),
    "weights of labels": ("train", "label", "in", "labels", "--weights", "w.pth"),
    "weights to start from": ("train", "teacher", "run", "--init", "w.pth"),
    "pairs": ("eval", "pairs.txt", "--encoder", "tiny"),
    "an archive": ("eval", "DA-2K.zip", "--encoder", "tiny"),
}


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_socket, make_link_to_device])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_no_file_is_named_at_once(dacli: Run, command: str, make: Callable[[Path], None]) -> None:
    photo(Path("a.png"))
    Path("in").mkdir()
    photo(Path("in/a.png"))
    arguments = COMMANDS[command]
    (name,) = [text for text in arguments if Path(text).suffix and text != "a.png"]
    make(Path(name))
    run = dacli(*arguments)
    assert run.code in (1, 2)
    assert len(run.errors) == 1
    assert name in run.errors[0]
    assert "pipe, socket or device" in run.errors[0] or "regular file" in run.errors[0]


@pytest.mark.parametrize("kind", ["color", "npy"])
def test_a_pipe_where_an_output_belongs_is_left_alone(dacli: Run, kind: str) -> None:
    photo(Path("a.png"))
    name = {"color": "a_color.png", "npy": "a_depth.npy"}[kind]
    os.mkfifo(name)
    run = dacli("image", "a.png", *SMALL, "--save", kind)
    assert run.errors == [
        f"error: a.png: {name} exists and is not a complete output of dacli: "
        "move it away, or replace it with --overwrite"
    ]


def test_pipes_in_a_folder_are_no_pictures(dacli: Run) -> None:
    Path("in").mkdir()
    photo(Path("in/a.png"))
    for name in ("p.png", "p_color.png", "q"):
        os.mkfifo(Path("in", name))
    assert dacli("folder", "in", "out", *SMALL).out == "out/a_color.png\n"
    assert dacli("folder", "in/*", "out", *SMALL).out == "out/a_color.png\n"
