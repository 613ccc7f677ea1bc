"""Which network the options name, and which file fills it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dacli.callbacks import DownloadProgress
from dacli.errors import DacliError, UsageError
from dacli.models import tiny
from dacli.models.choice import ModelChoice, OpenModel, identify_file
from dacli.models.depth_anything import DepthAnything
from dacli.models.registry import choose_model, open_model
from dacli.models.tiny import Tiny
from dacli.weights import manifest
from dacli.weights.manifest import Checkpoint
from tests.models.test_depth_anything import weights_of


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().startswith(("hf_", "dacli_", "huggingface_", "xdg_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp() / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def vits() -> dict[str, Tensor]:
    return weights_of("vits")


@pytest.fixture(scope="module")
def files(vits: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same vits as .pth and .safetensors, and a tiny."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save(vits, folder / "own.pth")
    save_file({key: value.clone() for key, value in vits.items()}, folder / "own.safetensors")
    torch.manual_seed(0)
    (folder / "small.safetensors").write_bytes(tiny.encode_weights(Tiny(), {}))
    return folder


@contextmanager
def no_download(file: str) -> Iterator[DownloadProgress]:  # noqa: ARG001
    yield lambda done, total: pytest.fail(f"downloads {done} of {total}")


def opened(choice: ModelChoice, *, half: bool = False) -> OpenModel:
    said: list[str] = []
    return open_model(choice, half=half, log=said.append, progress=no_download)


def refusal(choice: ModelChoice) -> str:
    with pytest.raises(DacliError) as caught:
        opened(choice)
    assert not isinstance(caught.value, UsageError)
    return str(caught.value)


def test_vits_is_taken_unless_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_model(None, "v2", None) == ModelChoice("vits", "v2")
    monkeypatch.setenv("DACLI_ENCODER", "tiny")
    assert choose_model(None, "v2", None) == ModelChoice("tiny", "v2")
    assert choose_model("vitb", "v2", None) == ModelChoice("vitb", "v2")
    monkeypatch.setenv("DACLI_ENCODER", "")
    assert choose_model(None, "v2", None).encoder == "vits"


@pytest.mark.parametrize(("name", "model"), [("hypersim", "indoor"), ("vkitti", "outdoor"), ("v1", "v1")])
def test_models_have_second_names(name: str, model: str) -> None:
    assert choose_model("vitl", name, None).model == model


@pytest.mark.parametrize(("name", "near"), [("vit-s", "vits"), ("vitx", "vit"), ("VITB", "vitb"), ("tny", "tiny")])
def test_an_unknown_encoder_suggests_the_near_one(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown encoder '{name}': did you mean {near}.*choose one of vits, vitb"):
        choose_model(name, "v2", None)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UsageError, match="unknown encoder 'zzz': choose one of"):
        choose_model("zzz", "v2", None)
    with pytest.raises(UsageError, match="unknown model 'indor': did you mean indoor"):
        choose_model("vits", "indor", None)


def test_an_unknown_encoder_in_the_environment_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_ENCODER", "vitz")
    with pytest.raises(UsageError, match="'vitz'"):
        choose_model(None, "v2", None)


@pytest.mark.parametrize("model", ["indoor", "outdoor", "v1"])
def test_tiny_gives_relative_depth_only(model: str) -> None:
    with pytest.raises(UsageError, match=f"there is no {model} model of tiny, which predicts relative depth"):
        choose_model("tiny", model, None)


def test_a_file_of_ones_own_determines_its_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_ENCODER", "tiny")
    assert choose_model(None, "v2", Path("own.pth")).encoder is None


@pytest.mark.parametrize("name", ["own.pth", "own.safetensors"])
@pytest.mark.parametrize("encoder", [None, "vits"])
def test_own_weights_of_vits(files: Path, vits: dict[str, Tensor], name: str, encoder: str | None) -> None:
    made = opened(ModelChoice(encoder, "v2", files / name))
    assert (made.encoder, made.model) == ("vits", "v2")
    assert made.weights.startswith(f"{name} ")
    assert made.network.max_depth is None
    assert torch.equal(made.network.state_dict()["pretrained.pos_embed"], vits["pretrained.pos_embed"])


@pytest.mark.parametrize("encoder", [None, "tiny"])
def test_own_weights_of_tiny(files: Path, encoder: str | None) -> None:
    made = opened(ModelChoice(encoder, "v2", files / "small.safetensors"))
    assert (made.encoder, made.model) == ("tiny", "tiny")
    assert isinstance(made.network, Tiny)
    assert made.weights.startswith("small.safetensors ")


def test_the_bundled_model_needs_no_network_and_no_file(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny, "BUNDLED_WEIGHTS", files / "small.safetensors")
    assert isinstance(opened(choose_model("tiny", "v2", None)).network, Tiny)


@pytest.mark.parametrize(("model", "depth"), [("indoor", 20.0), ("outdoor", 80.0)])
def test_own_metric_weights_give_metres(files: Path, model: str, depth: float) -> None:
    made = opened(choose_model(None, model, files / "own.pth"))
    assert made.network.max_depth == depth
    assert made.model == model


def test_own_v1_weights_are_tapped_where_v1_is(files: Path) -> None:
    network = opened(choose_model(None, "v1", files / "own.pth")).network
    assert isinstance(network, DepthAnything)
    assert network.pretrained.taps == (8, 9, 10, 11)
    assert not network.spec.align_corners


def test_an_encoder_that_does_not_fit_the_file_is_named(files: Path) -> None:
    own, small = files / "own.pth", files / "small.safetensors"
    assert refusal(ModelChoice("vitb", "v2", own)) == "own.pth holds vits, not vitb: use --encoder vits"
    assert refusal(ModelChoice("vitb", "v2", small)) == "small.safetensors holds tiny, not vitb: use --encoder tiny"
    assert "own.safetensors does not hold the network tiny" in refusal(
        ModelChoice("tiny", "v2", files / "own.safetensors")
    )
    assert "own.pth cannot be read as weights of tiny" in refusal(ModelChoice("tiny", "v2", own))
    for model in ("v1", "indoor"):
        assert f"holds tiny, which has no {model} model" in refusal(ModelChoice(None, model, small))


def test_a_tiny_that_gives_metres_is_the_model_of_its_reach(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(tiny.encode_weights(tiny.Tiny(20.0), {"max_depth": "20.0"}))
    for model in ("v2", "indoor"):
        assert opened(choose_model(None, model, path)).network.max_depth == 20
    for model in ("v1", "outdoor"):
        assert f"own.safetensors holds tiny, which has no {model} model" in refusal(ModelChoice(None, model, path))


@pytest.mark.parametrize("encoder", [None, "vits", "tiny"])
def test_a_file_that_is_missing_empty_or_a_folder_is_named(tmp_path: Path, encoder: str | None) -> None:
    for name in ("missing.pth", ""):
        assert str(tmp_path / name) in refusal(ModelChoice(encoder, "v2", tmp_path / name))
    (tmp_path / "empty.pth").touch()
    assert "empty.pth" in refusal(ModelChoice(encoder, "v2", tmp_path / "empty.pth"))


def test_a_published_metric_file_is_not_read_as_relative(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "depth_anything_v2_metric_hypersim_vits.pth"
    path.symlink_to(files / "own.pth")
    assert "is the name of a published indoor checkpoint: use --model indoor" in refusal(ModelChoice(None, "v2", path))
    assert opened(choose_model(None, "hypersim", path)).network.max_depth == 20


def test_files_of_one_name_are_distinguished(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes((files / "own.pth").read_bytes())
    assert identify_file(path) != identify_file(files / "own.pth")
    before = identify_file(path)
    assert identify_file(path) == before
    os.utime(path, ns=(1, 1))
    assert identify_file(path) != before


@pytest.fixture
def published(files: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Checkpoint]:
    """The list of checkpoints, as if these test files were the published ones of vits."""
    kinds = {"vits": "own.pth", "vits-fp32": "own.safetensors", "vits-indoor": "own.pth", "vits-v1": "own.pth"}
    rows = {row.name: row for row in manifest.read_manifest()}
    for name, file in kinds.items():
        data = (files / file).read_bytes()
        rows[name] = replace(rows[name], sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    monkeypatch.setattr(manifest, "read_manifest", lambda: tuple(rows.values()))
    return rows


def comfy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Checkpoint, source: Path) -> Path:
    """A ComfyUI folder of models that holds the source as the file of this row."""
    place = tmp_path / "models" / "depthanything" / row.file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source)
    monkeypatch.setenv("DACLI_WEIGHTS_DIR", str(tmp_path / "models"))
    return place


def test_the_float32_copy_of_a_comfyui_folder_spares_the_download(
    published: dict[str, Checkpoint], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = comfy(tmp_path, monkeypatch, published["vits-fp32"], files / "own.safetensors")
    made = opened(choose_model("vits", "v2", None))
    assert made.weights == place.name == "depth_anything_v2_vits_fp32.safetensors"
    assert made.encoder == "vits"
    assert (
        opened(choose_model("vits", "v2", None), half=True).weights == place.name
    )  # it is here, the half-size one is not


@pytest.mark.parametrize(("name", "model", "depth"), [("vits-indoor", "indoor", 20), ("vits-v1", "v1", None)])
def test_published_files_of_other_models(
    published: dict[str, Checkpoint],
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    model: str,
    depth: float | None,
) -> None:
    comfy(tmp_path, monkeypatch, published[name], files / "own.pth")
    made = opened(choose_model("vits", model, None))
    assert made.network.max_depth == depth
    assert made.model == model


def test_offline_without_a_file_names_address_place_and_tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_CACHE", str(tmp_path))
    line = refusal(choose_model("vits", "v2", None))
    assert "https://huggingface.co/depth-anything/Depth-Anything-V2-Small" in line
    assert str(tmp_path / "weights" / "depth_anything_v2_vits.pth") in line
    assert "--encoder tiny" in line


def test_an_encoder_that_was_never_published_asks_for_a_file() -> None:
    assert "no published checkpoint of vitg" in refusal(choose_model("vitg", "v2", None))
    assert "--weights FILE" in refusal(choose_model("vitg", "indoor", None))
