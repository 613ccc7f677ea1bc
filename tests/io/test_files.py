import contextlib
import errno
import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dacli.errors import DacliError
from dacli.io import files, images
from tests.support.pictures import (
    encode_picture,
    read_error,
    write_bytes,
)

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "name", ["übung 深度 🏔.png", "a\nb.png", os.fsdecode(b"caf\xe9\xff.png"), "-o.png", "%s{}.png"]
)
def test_any_name_the_file_system_allows(tmp_path: Path, name: str) -> None:
    path = write_bytes(tmp_path, name, encode_picture(Image.fromarray(RGB), "PNG"))
    np.testing.assert_array_equal(images.read_image(path), RGB)
    files.write_file(tmp_path / "out" / name, b"x")
    assert (tmp_path / "out" / name).read_bytes() == b"x"


def test_an_unprintable_name_is_escaped_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(DacliError) as caught:
        images.read_image(tmp_path / os.fsdecode(b"\xff\x1b[2J.png"))
    assert "\\udcff\\x1b[2J.png does not exist" in caught.value.message
    caught.value.message.encode()


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "does not exist" in read_error(tmp_path / "none.jpg")
    assert "name the pictures in it" in read_error(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot be read" in read_error(tmp_path / "loop")
    assert "cannot be read" in read_error(tmp_path / ("n" * 300))


def test_a_pipe_a_socket_and_a_device_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(tmp_path):
        server.bind("socket")
        for path in (Path("fifo"), Path("socket"), Path(os.devnull)):
            assert "not a file" in read_error(path)


def test_a_file_without_permission_and_one_on_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path, "a.png", encode_picture(Image.fromarray(RGB), "PNG"))
    monkeypatch.setattr(Path, "read_bytes", raising(PermissionError(errno.EACCES, "denied")))
    assert "no permission to read" in read_error(path)
    monkeypatch.setattr(Path, "read_bytes", raising(OSError(errno.EIO, "Input/output error")))
    assert "Input/output error" in read_error(path)


def test_too_large_a_file_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path, "a.png", b"x" * 100)
    monkeypatch.setattr(files, "MAX_BYTES", 99)
    assert "too large" in read_error(path)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_write_makes_the_folder_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.png"
    files.write_file(path, b"one")
    files.write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


WRITE_FAULTS = [
    (errno.ENOSPC, "disk is full"),
    (errno.EACCES, "no permission"),
    (errno.EROFS, "read-only"),
    (errno.EIO, "Input/output error"),
]


@pytest.mark.parametrize(("number", "word"), WRITE_FAULTS)
@pytest.mark.parametrize("step", ["open", "replace", "mkdir"])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str, step: str
) -> None:
    path = write_bytes(tmp_path, "a.png", b"before")
    with monkeypatch.context() as patch:
        patch.setattr(Path, step, raising(OSError(number, os.strerror(number))))
        with pytest.raises(DacliError, match=word) as caught:
            files.write_file(path, b"after")
    assert "a.png" in caught.value.message
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_full_disk(path: Path, _: str) -> Any:
        path.write_bytes(b"half")
        full = Path("/dev/full")
        if full.exists():
            return io.FileIO(full, "w")
        raise OSError(errno.ENOSPC, "No space left on device")

    real = Path.open
    monkeypatch.setattr(Path, "open", lambda p, *a, **k: on_a_full_disk(p, *a) if a == ("xb",) else real(p, *a, **k))
    with pytest.raises(DacliError, match="disk is full"):
        files.write_file(tmp_path / "a.png", b"data")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "replace", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        files.write_file(tmp_path / "a.png", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_a_file_and_a_long_name_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DacliError, match="a folder stands there"):
        files.write_file(tmp_path / "a.png", b"data")
    write_bytes(tmp_path, "file", b"")
    for path in (tmp_path / "file" / "a.png", tmp_path / "file" / "below" / "a.png"):
        with pytest.raises(DacliError, match="a file stands where its folder should be"):
            files.write_file(path, b"data")
    with pytest.raises(DacliError, match="name is too long"):
        files.write_file(tmp_path / ("n" * 300), b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "file"]
