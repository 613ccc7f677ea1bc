import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dacli import paths
from dacli.errors import DacliError
from dacli.weights import hashes
from dacli.weights.checkpoints import checkpoint_status, find_checkpoint, obtain_checkpoint, verify_checkpoint
from dacli.weights.locations import download_path
from dacli.weights.manifest import Checkpoint, checkpoint_named

DATA = b"weights" * 100
OTHER = b"WEIGHTS" * 100


@pytest.fixture
def lines() -> list[str]:
    """The lines that are logged."""
    return []


def checkpoint_of_data(name: str = "vits") -> Checkpoint:
    return replace(checkpoint_named(name), sha256=hashlib.sha256(DATA).hexdigest(), bytes=len(DATA))


def put(path: Path, data: bytes = DATA) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    reads: list[Path] = []

    def counted(path: Path) -> str:
        reads.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(hashes, "sha256_of", counted)
    return reads


def test_no_copy_here(lines: list[str], tmp_path: Path) -> None:
    assert find_checkpoint(checkpoint_named("vits"), lines.append) is None
    assert lines == []
    assert (
        verify_checkpoint(checkpoint_named("vits")).state
        == checkpoint_status(checkpoint_named("vits")).state
        == "missing"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["", "depthanything"])
def test_every_folder_of_weights_dir_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], folder: str
) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "models")]))
    path = put(tmp_path / "models" / folder / "depth_anything_v2_vits_fp16.safetensors")
    assert find_checkpoint(checkpoint_of_data("vits-fp16"), lines.append) == path
    assert lines == []


@pytest.mark.parametrize("data", [OTHER, DATA[:-1]], ids=["bytes", "size"])
def test_wrong_file_is_skipped_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], data: bytes
) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path / "models"))
    wrong = put(tmp_path / "models" / "depth_anything_v2_vits.pth", data)
    assert find_checkpoint(checkpoint_of_data(), lines.append) is None
    right = put(download_path(checkpoint_of_data()))
    assert find_checkpoint(checkpoint_of_data(), lines.append) == right
    assert wrong.read_bytes() == data
    assert len(lines) == 2
    assert all(str(wrong) in line for line in lines)


def test_folder_of_the_files_name_is_not_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "depth_anything_v2_vits.pth").mkdir()
    assert find_checkpoint(checkpoint_of_data(), lines.append) is None
    assert checkpoint_status(checkpoint_of_data()).state == "missing"


def test_unreadable_file_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(hashes, "sha256_of", refuse)
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path))
    put(tmp_path / "depth_anything_v2_vits.pth")
    assert find_checkpoint(checkpoint_of_data(), lines.append) is None
    assert "Permission denied" in lines[0]


@pytest.mark.parametrize(
    ("variable", "value", "cache"),
    [
        (None, None, ".cache/huggingface/hub"),
        ("XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"),
        ("HF_HOME", "hf", "hf/hub"),
        ("HF_HUB_CACHE", "hf-hub", "hf-hub"),
        ("HUGGINGFACE_HUB_CACHE", "old", "old"),
    ],
)
def test_hugging_face_cache_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], variable: str | None, value: str, cache: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / value))
    repo = tmp_path / cache / "models--depth-anything--Depth-Anything-V2-Small"
    blob = put(repo / "blobs" / "of-data")
    path = repo / "snapshots" / "03876f8651c73a60fe4c2c48294e09fcb6838fcf" / "depth_anything_v2_vits.pth"
    path.parent.mkdir(parents=True)
    path.symlink_to(blob)
    assert find_checkpoint(checkpoint_of_data(), lines.append) == path


def test_another_snapshot_is_used_if_its_hash_is_right(tmp_path: Path, lines: list[str]) -> None:
    snapshots = tmp_path / ".cache/huggingface/hub/models--depth-anything--Depth-Anything-V2-Small/snapshots"
    put(snapshots / "03876f8651c73a60fe4c2c48294e09fcb6838fcf" / "depth_anything_v2_vits.pth", OTHER)
    path = put(snapshots / "0123" / "depth_anything_v2_vits.pth")
    assert find_checkpoint(checkpoint_of_data(), lines.append) == path
    assert len(lines) == 1


def test_hugging_face_cache_of_a_space(tmp_path: Path, lines: list[str]) -> None:
    snapshots = tmp_path / ".cache/huggingface/hub/spaces--LiheYoung--Depth-Anything/snapshots"
    path = put(snapshots / "abcd" / "checkpoints" / "depth_anything_vits14.pth")
    assert find_checkpoint(checkpoint_of_data("vits-v1"), lines.append) == path


def test_file_is_hashed_once_until_it_changes(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    reads = count_reads(monkeypatch)
    path = put(download_path(checkpoint_of_data()))
    assert [find_checkpoint(checkpoint_of_data(), lines.append) for _ in range(3)] == [path] * 3
    assert reads == [path]
    put(path, OTHER)
    os.utime(path, ns=(1, 1))
    assert find_checkpoint(checkpoint_of_data(), lines.append) is None
    assert len(reads) == 2


def test_status_reads_no_file(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    reads = count_reads(monkeypatch)
    path = put(download_path(checkpoint_of_data()))
    assert (checkpoint_status(checkpoint_of_data()).state, checkpoint_status(checkpoint_of_data()).path) == (
        "present, not verified",
        path,
    )
    assert reads == []
    find_checkpoint(checkpoint_of_data(), lines.append)
    assert checkpoint_status(checkpoint_of_data()).state == "ok"
    put(path, DATA[:-3])
    assert checkpoint_status(checkpoint_of_data()).state == "damaged"
    assert f"{len(DATA) - 3} bytes" in checkpoint_status(checkpoint_of_data()).fault


def test_bytes_that_were_replaced_behind_the_size_and_time_are_seen(lines: list[str]) -> None:
    path = put(download_path(checkpoint_of_data()))
    found = path.stat()
    assert verify_checkpoint(checkpoint_of_data()).state == "ok"
    put(path, OTHER)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert checkpoint_status(checkpoint_of_data()).state == "present, not verified"
    assert find_checkpoint(checkpoint_of_data(), lines.append) is None
    assert (verify_checkpoint(checkpoint_of_data()).state, verify_checkpoint(checkpoint_of_data()).path) == (
        "damaged",
        path,
    )
    assert find_checkpoint(checkpoint_of_data(), lines.append) is None


def test_verify_prefers_the_good_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path / "models"))
    put(tmp_path / "models" / "depth_anything_v2_vits.pth", OTHER)
    right = put(download_path(checkpoint_of_data()))
    assert (verify_checkpoint(checkpoint_of_data()).state, verify_checkpoint(checkpoint_of_data()).path) == (
        "ok",
        right,
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"%s": 3}', b"\xff"])
def test_damaged_cache_of_hashes_is_replaced(monkeypatch: pytest.MonkeyPatch, lines: list[str], content: bytes) -> None:
    reads = count_reads(monkeypatch)
    path = put(download_path(checkpoint_of_data()))
    put(paths.cache_folder() / "sha256.json", content.replace(b"%s", str(path).encode()))
    assert find_checkpoint(checkpoint_of_data(), lines.append) == path
    assert find_checkpoint(checkpoint_of_data(), lines.append) == path
    assert reads == [path]


def test_cache_that_cannot_be_written_does_not_stop_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setenv("DACLI_CACHE", str(put(tmp_path / "a file") / "cache"))
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path))
    path = put(tmp_path / "depth_anything_v2_vits.pth")
    assert find_checkpoint(checkpoint_of_data(), lines.append) == path


def test_licence_is_logged_once_for_a_file_that_is_here(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("vitl-indoor", "vitl-indoor", "vits"):
        path = put(download_path(checkpoint_of_data(name)))
        assert obtain_checkpoint(checkpoint_of_data(name), lines.append, lambda *_: None) == path
    assert len(lines) == 1
    assert "fine-tuned from a CC-BY-NC-4.0 model" in lines[0]


def test_file_saved_by_hand_where_the_error_says_is_used(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DacliError) as caught:
        obtain_checkpoint(checkpoint_of_data(), lines.append, lambda *_: None)
    place = re.search(r"save it as (\S+)$", str(caught.value))
    assert place
    path = put(Path(place[1]))
    assert obtain_checkpoint(checkpoint_of_data(), lines.append, lambda *_: None) == path
