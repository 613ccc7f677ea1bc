import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dacli import paths
from dacli.errors import DacliError, UsageError
from dacli.weights import checkpoints
from dacli.weights.checkpoints import (
    Checkpoint,
    checkpoint_named,
    checkpoint_state,
    download_origins,
    download_path,
    find_checkpoint,
    matching_checkpoints,
    read_manifest,
    verify_checkpoint,
)

DATA = b"weights" * 100
OTHER = b"WEIGHTS" * 100


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.lower().startswith(("hf_", "dacli_", "huggingface_", "xdg_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.fixture
def said() -> list[str]:
    return []


def of_data(name: str = "vits") -> Checkpoint:
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

    monkeypatch.setattr(checkpoints, "sha256_of", counted)
    return reads


def test_every_row_is_well_formed() -> None:
    rows = read_manifest()
    assert len(rows) == 20
    assert len({row.name for row in rows}) == len({row.file for row in rows}) == len({row.sha256 for row in rows}) == 20
    for row in rows:
        assert re.fullmatch("[0-9a-f]{64}", row.sha256)
        assert re.fullmatch("[0-9a-f]{40}|main", row.revision)
        assert row.name.startswith(row.encoder)
        assert row.encoder in {"vits", "vitb", "vitl"}
        assert row.precision in {"fp32", "fp16"}
        assert row.native_size == 518
        assert row.max_depth == {"v2": None, "v1": None, "indoor": 20, "outdoor": 80}[row.model]


def test_sizes_that_are_only_calculated_are_left_out() -> None:
    unknown = {row.name for row in read_manifest() if row.bytes is None}
    assert unknown == {"vitb-fp16", "vitb-fp32", "vitl-outdoor-fp32", "vits-v1", "vitb-v1"}


@pytest.mark.parametrize(
    ("name", "path", "size", "sha256", "licence"),
    [
        (
            "vitl",
            "depth-anything/Depth-Anything-V2-Large/resolve/cbbb86a30ce19b5684b7a05155dc7e6cbc7685b9"
            "/depth_anything_v2_vitl.pth",
            1341395338,
            "a7ea19fa0ed99244e67b624c72b8580b7e9553043245905be58796a608eb9345",
            "CC-BY-NC-4.0",
        ),
        (
            "vitb-outdoor",
            "depth-anything/Depth-Anything-V2-Metric-VKITTI-Base/resolve/e96fd0c8cedf1825a55b9c61309f754982948df0"
            "/depth_anything_v2_metric_vkitti_vitb.pth",
            389964656,
            "4dad67a7cc10b462bca48e6b8569c762b8eb3c1adada170a3851a6d3ba37bb3e",
            "Apache-2.0, fine-tuned from a CC-BY-NC-4.0 model",
        ),
        (
            "vits-fp16",
            "Kijai/DepthAnythingV2-safetensors/resolve/5aa7ab578df757d94c743998b157a0204ff29215"
            "/depth_anything_v2_vits_fp16.safetensors",
            49595202,
            "a7c1a8c8cdd7885fb8391069cd1eee789126c8d896f7de6750499b1097f817ea",
            "Apache-2.0",
        ),
        (
            "vitl-v1",
            "spaces/LiheYoung/Depth-Anything/resolve/main/checkpoints/depth_anything_vitl14.pth",
            1341401882,
            "6c6a383e33e51c5fdfbf31e7ebcda943973a9e6a1cbef1564afe58d7f2e8fe63",
            "Apache-2.0",
        ),
    ],
)
def test_row_is_the_published_file(name: str, path: str, size: int, sha256: str, licence: str) -> None:
    row = checkpoint_named(name)
    assert (row.path_on_hub, row.bytes, row.sha256, row.licence) == (path, size, sha256, licence)


def test_licences_that_forbid_commercial_use() -> None:
    free = {row.name for row in read_manifest() if not row.non_commercial}
    assert free == {
        *("vits", "vits-indoor", "vits-outdoor", "vits-fp16", "vits-fp32"),
        *("vits-v1", "vitb-v1", "vitl-v1"),
    }


def test_unreadable_manifest_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "dacli" / "weights" / "checkpoints.py"))
    with pytest.raises(DacliError, match=re.escape(str(tmp_path / "weights.toml"))):
        checkpoints._tables.__wrapped__()


def test_installed_manifest_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "weights.toml", b"hubs = ['https://root.test']")
    put(tmp_path / "dacli" / "weights.toml", b"hubs = ['https://wheel.test']")
    monkeypatch.setattr(checkpoints, "__file__", str(tmp_path / "dacli" / "weights" / "checkpoints.py"))
    assert checkpoints._tables.__wrapped__() == {"hubs": ["https://wheel.test"]}


@pytest.mark.parametrize(
    ("typed", "meant"), [("vitss", "vits"), ("VITL-INDOOR", "vitl-indoor"), ("vitb_outdoor", "vitb-outdoor")]
)
def test_unknown_name_suggests_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}[?]"):
        checkpoint_named(typed)


def test_unknown_name_like_none_points_to_the_list() -> None:
    with pytest.raises(UsageError, match="dacli weights list"):
        checkpoint_named("midas")


@pytest.mark.parametrize(
    ("encoder", "model", "half", "name"),
    [
        ("vits", "v2", False, "vits"),
        ("vits", "v2", True, "vits-fp16"),
        ("vitl", "v1", True, "vitl-v1"),
        ("vitl", "indoor", False, "vitl-indoor"),
        ("vitl", "hypersim", True, "vitl-indoor"),
        ("vitb", "vkitti", False, "vitb-outdoor"),
    ],
)
def test_fitting(encoder: str, model: str, half: bool, name: str) -> None:
    assert matching_checkpoints(encoder, model, half=half)[0].name == name


@pytest.mark.parametrize(("encoder", "model"), [("vitg", "v2"), ("vitg", "indoor"), ("vits", "v3")])
def test_choosing_what_was_never_published_points_to_own_files(encoder: str, model: str) -> None:
    with pytest.raises(DacliError, match="--weights FILE"):
        matching_checkpoints(encoder, model, half=False)


def test_nothing_here(said: list[str], tmp_path: Path) -> None:
    assert find_checkpoint(checkpoint_named("vits"), said.append) is None
    assert said == []
    assert (
        verify_checkpoint(checkpoint_named("vits")).state
        == checkpoint_state(checkpoint_named("vits")).state
        == "missing"
    )
    assert not any(tmp_path.iterdir())


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert paths.cache_folder() == tmp_path / ".cache" / "dacli"
    monkeypatch.setattr("sys.platform", "darwin")
    assert paths.cache_folder() == tmp_path / "Library" / "Caches" / "dacli"
    monkeypatch.setattr("sys.platform", "win32")
    assert paths.cache_folder() == tmp_path / "dacli" / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_folder() == tmp_path / "xdg" / "dacli"
    monkeypatch.setenv("DACLI_CACHE", "~/own")
    assert paths.cache_folder() == tmp_path / "own"


@pytest.mark.parametrize("folder", ["", "depthanything"])
def test_every_folder_of_weights_dir_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], folder: str
) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", os.pathsep.join([str(tmp_path / "none"), str(tmp_path / "models")]))
    path = put(tmp_path / "models" / folder / "depth_anything_v2_vits_fp16.safetensors")
    assert find_checkpoint(of_data("vits-fp16"), said.append) == path
    assert said == []


@pytest.mark.parametrize("data", [OTHER, DATA[:-1]], ids=["bytes", "size"])
def test_wrong_file_is_passed_over_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], data: bytes
) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path / "models"))
    wrong = put(tmp_path / "models" / "depth_anything_v2_vits.pth", data)
    assert find_checkpoint(of_data(), said.append) is None
    right = put(download_path(of_data()))
    assert find_checkpoint(of_data(), said.append) == right
    assert wrong.read_bytes() == data
    assert len(said) == 2
    assert all(str(wrong) in line for line in said)


def test_folder_in_place_of_the_file_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / "depth_anything_v2_vits.pth").mkdir()
    assert find_checkpoint(of_data(), said.append) is None
    assert checkpoint_state(of_data()).state == "missing"


def test_unreadable_file_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(checkpoints, "sha256_of", refuse)
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path))
    put(tmp_path / "depth_anything_v2_vits.pth")
    assert find_checkpoint(of_data(), said.append) is None
    assert "Permission denied" in said[0]


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], variable: str | None, value: str, cache: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / value))
    repo = tmp_path / cache / "models--depth-anything--Depth-Anything-V2-Small"
    blob = put(repo / "blobs" / "of-data")
    path = repo / "snapshots" / "03876f8651c73a60fe4c2c48294e09fcb6838fcf" / "depth_anything_v2_vits.pth"
    path.parent.mkdir(parents=True)
    path.symlink_to(blob)
    assert find_checkpoint(of_data(), said.append) == path


def test_other_snapshot_is_used_if_the_hash_fits(tmp_path: Path, said: list[str]) -> None:
    snapshots = tmp_path / ".cache/huggingface/hub/models--depth-anything--Depth-Anything-V2-Small/snapshots"
    put(snapshots / "03876f8651c73a60fe4c2c48294e09fcb6838fcf" / "depth_anything_v2_vits.pth", OTHER)
    path = put(snapshots / "0123" / "depth_anything_v2_vits.pth")
    assert find_checkpoint(of_data(), said.append) == path
    assert len(said) == 1


def test_hugging_face_cache_of_a_space(tmp_path: Path, said: list[str]) -> None:
    snapshots = tmp_path / ".cache/huggingface/hub/spaces--LiheYoung--Depth-Anything/snapshots"
    path = put(snapshots / "abcd" / "checkpoints" / "depth_anything_vits14.pth")
    assert find_checkpoint(of_data("vits-v1"), said.append) == path


def test_file_is_hashed_once_until_it_changes(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    reads = count_reads(monkeypatch)
    path = put(download_path(of_data()))
    assert [find_checkpoint(of_data(), said.append) for _ in range(3)] == [path] * 3
    assert reads == [path]
    put(path, OTHER)
    os.utime(path, ns=(1, 1))
    assert find_checkpoint(of_data(), said.append) is None
    assert len(reads) == 2


def test_state_reads_no_file(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    reads = count_reads(monkeypatch)
    path = put(download_path(of_data()))
    assert (checkpoint_state(of_data()).state, checkpoint_state(of_data()).path) == ("present, not verified", path)
    assert reads == []
    find_checkpoint(of_data(), said.append)
    assert checkpoint_state(of_data()).state == "ok"
    put(path, DATA[:-3])
    assert checkpoint_state(of_data()).state == "damaged"
    assert f"{len(DATA) - 3} bytes" in checkpoint_state(of_data()).fault


def test_verify_reads_again_and_sees_what_state_cannot(said: list[str]) -> None:
    path = put(download_path(of_data()))
    found = path.stat()
    assert verify_checkpoint(of_data()).state == "ok"
    put(path, OTHER)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert find_checkpoint(of_data(), said.append) == path
    assert (verify_checkpoint(of_data()).state, verify_checkpoint(of_data()).path) == ("damaged", path)
    assert find_checkpoint(of_data(), said.append) is None


def test_verify_prefers_the_good_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path / "models"))
    put(tmp_path / "models" / "depth_anything_v2_vits.pth", OTHER)
    right = put(download_path(of_data()))
    assert (verify_checkpoint(of_data()).state, verify_checkpoint(of_data()).path) == ("ok", right)


@pytest.mark.parametrize("memory", [b"{", b"[]", b'{"%s": 3}', b"\xff"])
def test_broken_memory_is_forgotten(monkeypatch: pytest.MonkeyPatch, said: list[str], memory: bytes) -> None:
    reads = count_reads(monkeypatch)
    path = put(download_path(of_data()))
    put(paths.cache_folder() / "sha256.json", memory.replace(b"%s", str(path).encode()))
    assert find_checkpoint(of_data(), said.append) == path
    assert find_checkpoint(of_data(), said.append) == path
    assert reads == [path]


def test_cache_that_cannot_be_written_does_not_stop_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("DACLI_CACHE", str(put(tmp_path / "a file") / "cache"))
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path))
    path = put(tmp_path / "depth_anything_v2_vits.pth")
    assert find_checkpoint(of_data(), said.append) == path


def test_licence_is_said_for_a_file_that_is_here(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("vitl-indoor", "vitl-indoor", "vits"):
        path = put(download_path(of_data(name)))
        assert checkpoints.obtain_checkpoint(of_data(name), said.append, lambda *_: None) == path
    assert len(said) == 1
    assert "fine-tuned from a CC-BY-NC-4.0 model" in said[0]


def test_file_put_by_hand_where_the_error_says_is_taken(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DacliError) as caught:
        checkpoints.obtain_checkpoint(of_data(), said.append, lambda *_: None)
    told = re.search(r"save it as (\S+),", str(caught.value))
    assert told
    path = put(Path(told[1]))
    assert checkpoints.obtain_checkpoint(of_data(), said.append, lambda *_: None) == path


def test_token_goes_to_the_first_hub_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    monkeypatch.setenv("DACLI_MIRRORS", "https://a.test, https://b.test/hub/")
    first, *mirrors = download_origins(checkpoint_named("vits"))
    assert first.address.startswith("https://huggingface.co/depth-anything/")
    assert first.token == "hf_mine"
    assert [each.address.split("/depth-anything/")[0] for each in mirrors] == ["https://a.test", "https://b.test/hub"]
    assert [each.token for each in mirrors] == [None, None]


def test_token_of_the_hugging_face_login_is_used(tmp_path: Path) -> None:
    put(tmp_path / ".cache/huggingface/token", b"hf_kept\n")
    assert [each.token for each in download_origins(checkpoint_named("vits"))] == ["hf_kept", None]


def test_public_hub_and_its_mirror_are_asked_by_default() -> None:
    hosts = [each.address.split("/")[2] for each in download_origins(checkpoint_named("vits"))]
    assert hosts == ["huggingface.co", "hf-mirror.com"]


def test_own_endpoint_stands_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.test/")
    monkeypatch.setenv("DACLI_MIRRORS", "https://a.test")
    assert [each.address for each in download_origins(checkpoint_named("vits-v1"))] == [
        "https://hub.test/spaces/LiheYoung/Depth-Anything/resolve/main/checkpoints/depth_anything_vits14.pth"
    ]


def test_empty_mirrors_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_MIRRORS", "")
    assert len(download_origins(checkpoint_named("vits"))) == 1


@pytest.mark.parametrize("address", ["hub.test", "file:///etc", "ftp://hub.test", "https://", "http://[hub"])
def test_address_that_is_no_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    with pytest.raises(DacliError, match="HF_ENDPOINT"):
        download_origins(checkpoint_named("vits"))
