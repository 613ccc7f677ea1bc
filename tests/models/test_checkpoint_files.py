"""Checkpoint files of every kind that users have, and every kind of file that is none."""

import errno
import json
import os
import pickle
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models.checkpoint_files import load_checkpoint
from dacli.models.depth_anything import DepthAnything

SHAPES: dict[str, dict[str, list[int]]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "state_dict_shapes.json").read_text()
)
NORM, BIAS = "pretrained.norm.weight", "depth_head.projects.0.bias"


def random_weights(encoder: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {key: 0.05 * torch.randn(shape, generator=generator) for key, shape in SHAPES[encoder].items()}


@pytest.fixture(scope="module")
def vits() -> dict[str, Tensor]:
    return random_weights("vits")


@pytest.fixture(scope="module")
def pth(vits: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "vits.pth"
    torch.save(vits, path)
    return path


def same(network: DepthAnything, weights: dict[str, Tensor]) -> bool:
    state = network.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[key], weights[key]) for key in weights)


def refusal(path: Path, encoder: str | None = None) -> str:
    """The one line a user reads about a file that cannot be loaded."""
    with pytest.raises(DacliError) as caught:
        load_checkpoint(path, encoder)
    line = str(caught.value)
    assert path.name in line
    assert caught.value.hint
    assert "\n" not in line
    return line


def saved(content: object, path: Path, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def test_pth_loads_without_a_copy_and_ready_for_inference(pth: Path, vits: dict[str, Tensor]) -> None:
    network = load_checkpoint(pth, "vits", max_depth=20.0)
    assert same(network, vits)
    assert network.max_depth == 20
    assert not network.training
    assert not any(value.requires_grad or value.is_meta for value in network.parameters())


def test_v1_is_what_the_caller_says(pth: Path) -> None:
    assert load_checkpoint(pth, version="v1").pretrained.taps == (8, 9, 10, 11)
    assert load_checkpoint(pth, version="v2").pretrained.taps == (2, 5, 8, 11)


@pytest.mark.parametrize("name", ["vits.safetensors", "vits.pth"])
def test_safetensors_load_whatever_the_file_is_called(vits: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    save_file(vits, tmp_path / name)
    assert same(load_checkpoint(tmp_path / name), vits)


def test_old_torch_format_loads(vits: dict[str, Tensor], tmp_path: Path) -> None:
    assert same(load_checkpoint(saved(vits, tmp_path / "old.pth", _use_new_zipfile_serialization=False)), vits)


@pytest.mark.filterwarnings("error")
def test_newer_pickle_protocols_load_without_a_warning(vits: dict[str, Tensor], tmp_path: Path) -> None:
    assert same(load_checkpoint(saved(vits, tmp_path / "new.pth", pickle_protocol=3)), vits)


@pytest.mark.parametrize("extension", ["safetensors", "pth"])
def test_half_precision_files_are_widened_exactly(vits: dict[str, Tensor], tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"half.{extension}"
    half = {key: value.half() for key, value in vits.items()}
    save_file(half, path) if extension == "safetensors" else saved(half, path)
    state = load_checkpoint(path).state_dict()
    for key, value in vits.items():
        assert state[key].dtype == torch.float32
        assert np.array_equal(state[key].numpy(), value.numpy().astype(np.float16).astype(np.float32))


def test_another_dtype_is_given_where_it_is_asked(pth: Path) -> None:
    assert {value.dtype for value in load_checkpoint(pth, dtype=torch.bfloat16).parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {
            "model": weights,
            "optimizer": {"lr": 1e-4, "state": {}},
            "epoch": 3,
            "previous_best": {"d1": 0},
        },
        lambda weights: {"state_dict": {f"module.{key}": value for key, value in weights.items()}},
        lambda weights: {"teacher": {f"_orig_mod.module.{key}": value for key, value in weights.items()}},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {f"model.{key}": value for key, value in weights.items()} | {"epoch": 3},
        lambda weights: {key: nn.Parameter(value) for key, value in weights.items()},
        lambda weights: {"model_state_dict": weights, "optimizer_state_dict": {"state": {}}},
        lambda weights: {"net": {f"module._orig_mod.{key}": value for key, value in weights.items()}},
        lambda weights: {"params_ema": weights},
        lambda weights: {
            "pytorch-lightning_version": "2.5",
            "state_dict": {f"model.{k}": v for k, v in weights.items()},
        },
        lambda weights: {"checkpoint": {"ema": {"weights": weights}}},
        lambda weights: weights | {"criterion.scale": torch.ones(1)},
        lambda weights: {f"net.{k}": v for k, v in weights.items()} | {"loss.weight": torch.ones(3)},
        lambda weights: {k.replace("blocks.3.", "blocks.3._orig_mod."): v for k, v in weights.items()},
        lambda weights: {
            "model": weights,
            "best": np.float64(0.9),
            "epoch": np.int64(3),
            "losses": np.ones(4, np.float32),
        },
    ],
    ids=[
        *(
            "model",
            "state_dict",
            "teacher",
            "nested",
            "prefixed",
            "parameters",
            "model_state_dict",
            "net",
            "params_ema",
        ),
        *("lightning", "three levels", "foreign weight", "foreign weight beside a prefix", "compiled blocks", "numpy"),
    ],
)
def test_weights_are_found_inside_what_training_scripts_save(
    vits: dict[str, Tensor], tmp_path: Path, wrap: Callable[[dict[str, Tensor]], object]
) -> None:
    assert same(load_checkpoint(saved(wrap(vits), tmp_path / "tuned.pth")), vits)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_a_torch_file_named_safetensors_loads(vits: dict[str, Tensor], tmp_path: Path, options: dict[str, Any]) -> None:
    assert same(load_checkpoint(saved({"net": vits}, tmp_path / "renamed.safetensors", **options)), vits)


def test_a_state_dict_without_the_network_is_named_by_its_keys(tmp_path: Path) -> None:
    assert "keys such as a.b" in refusal(saved({"net": {"a.b": torch.ones(2)}}, tmp_path / "other.pth"))


@pytest.fixture(scope="module")
def oracle() -> Any:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(
        hidden_size=384,
        num_attention_heads=6,
        num_hidden_layers=12,
        image_size=518,
        patch_size=14,
        out_indices=[3, 6, 9, 12],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=384,
        neck_hidden_sizes=[48, 96, 192, 384],
        fusion_hidden_size=64,
    )
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, value in model.named_parameters():
            noise = torch.randn(value.shape, generator=generator)
            fan = max(value[0].numel(), 1) if value.dim() > 1 else 400
            value.copy_(noise / fan**0.5 + (1 if "norm" in key or "lambda" in key else 0))
        model.head.conv3.bias.fill_(1)
    return model


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf")
    oracle.save_pretrained(folder)
    torch.save(oracle.state_dict(), folder / "memory.pth")
    return folder


def test_published_layout_predicts_what_transformers_predicts(oracle: Any, folder: Path) -> None:
    images = torch.randn(1, 3, 518, 518, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = oracle(images).predicted_depth
        made = load_checkpoint(folder / "model.safetensors", "vits")(images)
    assert expected.std() > 0.01
    assert (made - expected).norm() / expected.norm() < 1e-4


def test_names_in_memory_give_the_same_network(folder: Path) -> None:
    assert same(load_checkpoint(folder / "memory.pth"), load_checkpoint(folder / "model.safetensors").state_dict())


def test_a_lost_projection_is_missed(folder: Path, tmp_path: Path) -> None:
    state = torch.load(folder / "memory.pth", weights_only=True)
    lost = next(key for key in state if "layer.3" in key and ("key.weight" in key or "k_proj.weight" in key))
    del state[lost]
    line = refusal(saved(state, tmp_path / "weights.pth"))
    assert "lacks 1 of 239 weights: pretrained.blocks.3.attn.qkv.weight" in line


def test_both_layouts_give_identical_networks(vits: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(in_transformers_layout(vits), tmp_path / "hf.safetensors")
    assert same(load_checkpoint(tmp_path / "hf.safetensors"), vits)


def in_transformers_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The official weights under the -hf keys, by plain replacement in the other direction than the loader."""
    renames = [
        ("pretrained.pos_embed", "backbone.embeddings.position_embeddings"),
        ("pretrained.patch_embed.proj", "backbone.embeddings.patch_embeddings.projection"),
        ("pretrained.blocks.", "backbone.encoder.layer."),
        ("pretrained.norm", "backbone.layernorm"),
        ("pretrained.", "backbone.embeddings."),
        ("ls1.gamma", "layer_scale1.lambda1"),
        ("ls2.gamma", "layer_scale2.lambda1"),
        ("attn.proj", "attention.output.dense"),
        ("scratch.output_conv1", "head.conv1"),
        ("scratch.output_conv2.0", "head.conv2"),
        ("scratch.output_conv2.2", "head.conv3"),
        ("out_conv", "projection"),
        *((f"resConfUnit{k}.conv", f"residual_layer{k}.convolution") for k in (1, 2)),
        *((f"projects.{k}.", f"neck.reassemble_stage.layers.{k}.projection.") for k in range(4)),
        *((f"resize_layers.{k}.", f"neck.reassemble_stage.layers.{k}.resize.") for k in (0, 1, 3)),
        *((f"scratch.layer{k}_rn", f"neck.convs.{k - 1}") for k in range(1, 5)),
        *((f"scratch.refinenet{k}", f"neck.fusion_stage.layers.{4 - k}") for k in range(1, 5)),
        ("depth_head.", ""),
    ]
    result = {}
    for key, value in weights.items():
        theirs = key
        for old, new in renames:
            theirs = theirs.replace(old, new)
        if "attn.qkv" not in theirs:
            result[theirs] = value
            continue
        for part, start in (("query", 0), ("key", 384), ("value", 768)):
            result[theirs.replace("attn.qkv", f"attention.attention.{part}")] = value[start : start + 384].clone()
    return result


def test_another_encoder_than_asked_is_named(pth: Path) -> None:
    assert refusal(pth, "vitb") == "vits.pth holds vits, not vitb: use --encoder vits"


@pytest.mark.parametrize("encoder", ["vits", "vitb", "vitl", "vitg"])
def test_encoders_are_recognised_by_their_shapes(encoder: str, tmp_path: Path) -> None:
    # Expanded zeros take no space: the file of vitg is as small as that of vits.
    weights = {key: torch.zeros(1).expand(shape) for key, shape in SHAPES[encoder].items()}
    network = load_checkpoint(saved(weights, tmp_path / "weights.pth"), encoder)
    assert network.encoder == encoder


FAULTS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "lacking": (
        lambda w: {key: value for key, value in w.items() if not key.startswith("pretrained.blocks.11.")},
        "lacks 14 of 239 weights: pretrained.blocks.11.attn.proj.bias, pretrained.blocks.11.attn.proj.weight, "
        "pretrained.blocks.11.attn.qkv.bias, …",
    ),
    "surplus": (
        lambda w: w | {"pretrained.register_tokens": torch.zeros(1, 4, 384)},
        "holds 1 weights vits does not have: pretrained.register_tokens",
    ),
    "shape": (
        lambda w: w | {"pretrained.pos_embed": torch.zeros(1, 257, 384)},
        "pretrained.pos_embed has shape [1, 257, 384], in vits it has [1, 1370, 384]",
    ),
    "nan": (lambda w: w | {BIAS: torch.full((48,), torch.nan)}, f"{BIAS} holds infinity or NaN"),
    "infinity": (lambda w: w | {BIAS: torch.tensor([-torch.inf] + 47 * [0.0])}, f"{BIAS} holds infinity or NaN"),
    "integers": (lambda w: w | {BIAS: torch.zeros(48, dtype=torch.int8)}, f"{BIAS} holds no plain floats"),
    "sparse": (lambda w: w | {BIAS: torch.zeros(48).to_sparse()}, f"{BIAS} holds no plain floats"),
    "meta": (lambda w: w | {BIAS: torch.empty(48, device="meta")}, f"{BIAS} holds no plain floats"),
    "width": (lambda _: {NORM: torch.ones(500)}, "holds an unknown encoder, 500 wide"),
    "another network": (
        lambda _: {"conv1.weight": torch.ones(1)},
        "no Depth Anything network: keys such as conv1.weight",
    ),
    "DINOv2 alone": (lambda w: {k.removeprefix("pretrained."): v for k, v in w.items()}, "no Depth Anything network"),
    "no weights": (lambda _: {"epoch": 3}, "no Depth Anything network: no tensors"),
    "a tensor": (lambda _: torch.zeros(3), "holds no state dict but a Tensor"),
    "a list": (lambda w: [w], "holds no state dict but a list"),
    "Video Depth Anything": (
        lambda w: w | {"head.motion_modules.0.temporal_transformer.norm.weight": torch.ones(192)},
        "is a Video Depth Anything checkpoint",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_contents_are_distinguished(fault: str, vits: dict[str, Tensor], tmp_path: Path) -> None:
    spoil, expected = FAULTS[fault]
    assert expected in refusal(saved(spoil(vits), tmp_path / "weights.pth"))


def test_overflow_of_the_asked_precision_is_reported(vits: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(vits | {BIAS: torch.full((48,), 1e6)}, tmp_path / "weights.pth")
    assert same(load_checkpoint(path), torch.load(path, weights_only=True))
    with pytest.raises(DacliError, match="infinity"):
        load_checkpoint(path, dtype=torch.float16)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page"),
        (b"\xef\xbb\xbf\n  <html lang='en'>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:71\nsize 99218434\n", "is a Git LFS pointer"),
        (b'{"error": "Repository not found"}', "is not a checkpoint"),
        (b"GGUF\x03\x00\x00\x00", "is not a checkpoint"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is not a checkpoint"),
        (b"PK\x03\x04", "is truncated or damaged"),
        (bytes(8) + b"{", "is a damaged or truncated safetensors file"),
    ],
)
def test_other_files_are_distinguished(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert expected in refusal(path)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_truncated_files_are_reported(vits: dict[str, Tensor], tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "weights.pth"
    if kind == "safetensors":
        save_file(vits, path)
    else:
        saved(vits, path, _use_new_zipfile_serialization=kind == "zip")
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    assert "truncated" in refusal(path)


class Bomb:
    """Unpickled with code allowed, it makes the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["zip", "old", "inside", 2, 4, 5])
def test_code_in_a_pickle_is_refused_and_not_run(vits: dict[str, Tensor], tmp_path: Path, how: str | int) -> None:
    path, touched = tmp_path / "weights.pth", tmp_path / "touched"
    if isinstance(how, int):
        path.write_bytes(pickle.dumps(Bomb(touched), protocol=how))
    else:
        content = {"model": vits, "extra": Bomb(touched)} if how == "inside" else Bomb(touched)
        saved(content, path, _use_new_zipfile_serialization=how != "old")
    line = refusal(path)
    assert "contain" in line
    assert "code" in line
    assert "not opened" in line
    assert not touched.exists()


def test_the_bomb_of_the_test_above_is_live(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "touched")))
    assert (tmp_path / "touched").exists()


def test_python_objects_are_named(vits: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved({"model": vits, "args": Namespace(encoder="vits")}, tmp_path / "weights.pth")
    assert "contains code (argparse.Namespace) and was not opened" in refusal(path)


def test_scribbled_pickles_are_damaged(vits: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(vits, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)
    assert "damaged" in refusal(path)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"net/{name}", "")
    assert "is a TorchScript program" in refusal(tmp_path / "weights.pth")


def test_other_archives_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", depth=np.zeros(3))
    assert "is a zip archive, not a checkpoint" in refusal(tmp_path / "weights.npz")


def test_paths_that_are_no_readable_file_are_reported(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "there is no file" in refusal(tmp_path / "absent.pth")
    assert "cannot read" in refusal(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and pipes")
def test_links_in_circles_and_pipes_are_reported(tmp_path: Path) -> None:
    (tmp_path / "loop.pth").symlink_to(tmp_path / "loop.pth")
    assert "cannot read" in refusal(tmp_path / "loop.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "is not a regular file" in refusal(tmp_path / "pipe.pth")


def test_a_file_without_permission_is_reported(pth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, mode: str = "r") -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{self} {mode}")

    monkeypatch.setattr(Path, "open", denied)  # a file's mode would not bind a test that runs as root
    assert "cannot read" in refusal(pth)
    assert "(Permission denied)" in refusal(pth)
