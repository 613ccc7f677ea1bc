import re
from pathlib import Path

import pytest

from dacli.errors import DacliError, UsageError
from dacli.weights import manifest
from dacli.weights.manifest import checkpoint_named, matching_checkpoints, read_manifest


def test_every_row_is_well_formed() -> None:
    rows = read_manifest()
    assert len(rows) == 22
    assert len({row.name for row in rows}) == len({row.file for row in rows}) == len({row.sha256 for row in rows}) == 22
    for row in rows:
        assert re.fullmatch("[0-9a-f]{64}", row.sha256)
        assert re.fullmatch("[0-9a-f]{40}|main", row.revision)
        assert row.name.startswith(row.encoder)
        assert row.encoder in {"vits", "vitb", "vitl"}
        assert row.precision in {"fp32", "fp16"}
        assert row.native_size == (504 if row.model.startswith("da3") else 518)
        assert row.max_depth == {"indoor": 20, "outdoor": 80}.get(row.model)


def test_sizes_are_left_out_where_no_server_gave_them() -> None:
    unknown = {row.name for row in read_manifest() if row.bytes is None}
    assert unknown == {"vitb-fp16", "vitb-fp32", "vitl-outdoor-fp32", "vits-v1", "vitb-v1", "vitl-da3"}


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
        *("vits-v1", "vitb-v1", "vitl-v1", "vitl-da3", "vitl-da3-metric"),
    }


def test_unreadable_manifest_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "dacli" / "weights" / "manifest.py"))
    with pytest.raises(DacliError, match=re.escape(str(tmp_path / "weights.toml"))):
        manifest._read_tables.__wrapped__()


def test_installed_manifest_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dacli").mkdir()
    (tmp_path / "weights.toml").write_text("hubs = ['https://root.test']")
    (tmp_path / "dacli" / "weights.toml").write_text("hubs = ['https://wheel.test']")
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "dacli" / "weights" / "manifest.py"))
    assert manifest._read_tables.__wrapped__() == {"hubs": ["https://wheel.test"]}


@pytest.mark.parametrize(
    ("typed", "meant"), [("vitss", "vits"), ("VITL-INDOOR", "vitl-indoor"), ("vitb_outdoor", "vitb-outdoor")]
)
def test_unknown_name_suggests_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}[?]"):
        checkpoint_named(typed)


def test_unknown_name_without_a_near_one_points_to_the_list() -> None:
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
def test_first_matching_checkpoint(encoder: str, model: str, half: bool, name: str) -> None:
    assert matching_checkpoints(encoder, model, half=half)[0].name == name


@pytest.mark.parametrize(("encoder", "model"), [("vitg", "v2"), ("vitg", "indoor"), ("vits", "v3")])
def test_what_is_not_published_points_to_files_of_your_own(encoder: str, model: str) -> None:
    with pytest.raises(DacliError, match="--weights FILE"):
        matching_checkpoints(encoder, model, half=False)


ROW = {
    "encoder": "vits",
    "model": "v2",
    "precision": "fp32",
    "repo": "a/b",
    "file": "f.pth",
    "revision": "main",
    "sha256": "0",
    "licence": "MIT",
    "native_size": 518,
}
LIES: dict[str, dict[str, object]] = {
    "no hubs": {},
    "empty hubs": {"hubs": []},
    "hubs are text": {"hubs": "https://a.test"},
    "a hub is a number": {"hubs": [1]},
    "a hub is a file": {"hubs": ["https://a.test", "file:///etc"]},
    "a hub is of ftp": {"hubs": ["ftp://a.test"]},
    "a hub is no address": {"hubs": ["a.test"]},
    "a hub has no host": {"hubs": ["https://"]},
    "a value is missing": {"x": {"encoder": "vits"}},
    "a value is unknown": {"x": ROW | {"new": 1}},
    "a value is a list": {"x": ROW | {"sha256": ["0"]}},
    "bytes are text": {"x": ROW | {"bytes": "7"}},
    "bytes are a truth": {"x": ROW | {"bytes": True}},
    "a name": {"x": ROW | {"name": "y"}},
    "a file elsewhere": {"x": ROW | {"file": "../f.pth"}},
    "a folder elsewhere": {"x": ROW | {"folder": "a/../../b"}},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_list_that_lies_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    monkeypatch.setattr(manifest, "_read_tables", lambda: LIES[lie])
    read = manifest.read_manifest.__wrapped__ if "x" in LIES[lie] else manifest.read_hubs
    with pytest.raises(DacliError, match=r"cannot read the list of checkpoints .*weights\.toml \(.*\): install dacli"):
        read()


def test_a_list_that_is_true_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_read_tables", lambda: {"hubs": ["https://a.test"], "x": ROW | {"max_depth": 20}})
    assert [row.max_depth for row in manifest.read_manifest.__wrapped__()] == [20]
    assert manifest.read_hubs() == ["https://a.test"]
