"""Networks at the start of a training: random, of checkpoints, of DINOv2 files."""

from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dacli.errors import DacliError
from dacli.models import tiny
from dacli.models.depth_anything import DepthAnything
from dacli.models.spec import DepthModel
from dacli.models.tiny import Tiny
from dacli.training.initialization import (
    TokenRecorder,
    is_encoder_parameter,
    last_convolution,
    network_from_file,
    untrained_network,
)


@cache
def vits() -> DepthAnything:
    torch.manual_seed(1)
    network = untrained_network("vits", None)
    assert isinstance(network, DepthAnything)
    return network


def picture(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))


def tiny_file(path: Path, max_depth: float | None = None) -> Path:
    torch.manual_seed(4)
    path.write_bytes(tiny.encode_weights(Tiny(max_depth), {} if max_depth is None else {"max_depth": str(max_depth)}))
    return path


def test_untrained_networks_predict_something_and_can_learn() -> None:
    found = vits()(picture(56))
    assert found.shape == (2, 56, 56)
    assert found.std() > 0
    assert all(p.requires_grad for p in vits().parameters())
    weight = vits().state_dict()["pretrained.blocks.3.mlp.fc1.weight"]
    assert float(weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(vits().pretrained.pos_embed.detach().abs().max()) > 0


def test_training_starts_from_a_checkpoint(tmp_path: Path) -> None:
    torch.save(vits().state_dict(), tmp_path / "own.pth")
    network = network_from_file(tmp_path / "own.pth", None, None)
    assert torch.equal(network.eval()(picture(56)), vits().eval()(picture(56)))
    assert network.train().training
    assert all(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_an_encoder_of_dinov2_gets_a_random_decoder(kind: str, tmp_path: Path) -> None:
    encoder = vits().pretrained.state_dict()
    path = tmp_path / f"dinov2_vits14_pretrain.{kind}"
    if kind == "pth":
        torch.save(encoder, path)
    else:
        save_file(encoder, path)
    network = network_from_file(path, "vits", None)
    assert isinstance(network, DepthAnything)
    assert all(torch.equal(value, encoder[key]) for key, value in network.pretrained.state_dict().items())
    mine, other = last_convolution(network).weight, last_convolution(vits()).weight
    assert not torch.equal(mine, other)
    with pytest.raises(DacliError, match="holds the encoder vits, not vitb"):
        network_from_file(path, "vitb", None)
    with pytest.raises(DacliError, match="holds the encoder vits, not tiny"):
        network_from_file(path, "tiny", None)


def test_the_encoder_of_tiny_gets_a_random_decoder(tmp_path: Path) -> None:
    torch.manual_seed(6)
    encoder = {key: value.half() for key, value in Tiny().encoder.state_dict().items()}
    save_file(encoder, tmp_path / "mobilenet.safetensors")
    network = network_from_file(tmp_path / "mobilenet.safetensors", None, None)
    assert isinstance(network, Tiny)
    assert all(torch.equal(value, encoder[key].float()) for key, value in network.encoder.state_dict().items())
    with pytest.raises(DacliError, match="holds the encoder tiny, not vits"):
        network_from_file(tmp_path / "mobilenet.safetensors", "vits", None)
    save_file({key: value for key, value in encoder.items() if "blocks.3" not in key}, tmp_path / "part.safetensors")
    with pytest.raises(DacliError, match=r"part\.safetensors does not hold the encoder of tiny .*blocks\.3") as error:
        network_from_file(tmp_path / "part.safetensors", None, None)
    assert "\n" not in str(error.value)


def test_an_encoder_with_registers_is_rejected(tmp_path: Path) -> None:
    state = vits().pretrained.state_dict() | {"register_tokens": torch.zeros(1, 4, 384)}
    torch.save(state, tmp_path / "dinov2_reg.pth")
    with pytest.raises(DacliError, match=r"does not hold the encoder of vits.*register_tokens"):
        network_from_file(tmp_path / "dinov2_reg.pth", None, None)
    state["patch_embed.proj.weight"] = torch.zeros(7, 3, 14, 14)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(DacliError, match="unknown width"):
        network_from_file(tmp_path / "odd.pth", None, None)


@pytest.mark.parametrize("encoder", ["tiny", "vits"])
def test_a_network_in_metres_starts_with_the_order_of_relative_depth(encoder: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    relative: DepthModel
    if encoder == "tiny":
        tiny_file(path)
        relative, size = tiny.load_tiny(path).eval(), 64
    else:
        torch.save(vits().state_dict(), path)
        relative, size = vits().eval(), 56
    metric = network_from_file(path, encoder, 20.0).eval()
    assert metric.max_depth == 20
    near, far = relative(picture(size)).flatten(), metric(picture(size)).flatten()
    assert 0 < far.min() < far.max() < 20
    positive = near > 0  # pixels that the last ReLU clips have no order
    a, b = near[positive], far[positive]
    assert (a.sort().indices == b.sort(descending=True).indices).float().mean() > 0.9 or torch.corrcoef(
        torch.stack([a.argsort().argsort().float(), b.argsort().argsort().float()])
    )[0, 1] < -0.9999


def test_training_in_metres_starts_from_metric_weights_of_the_same_range(tmp_path: Path) -> None:
    path = tiny_file(tmp_path / "metres.safetensors", 20.0)
    network = network_from_file(path, None, 20.0).eval()
    loaded = tiny.load_tiny(path)
    assert loaded.max_depth == 20
    assert torch.equal(network(picture(64)), loaded(picture(64)))
    with pytest.raises(DacliError, match=r"metres\.safetensors predicts metres"):
        network_from_file(path, None, None)
    with pytest.raises(DacliError, match=r"metres\.safetensors predicts metres"):
        network_from_file(path, None, 80.0)


def test_files_of_another_encoder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DacliError, match="holds tiny, not vits"):
        network_from_file(tiny_file(tmp_path / "a"), "vits", None)
    torch.save(vits().state_dict(), tmp_path / "b.pth")
    with pytest.raises(DacliError, match="holds vits, not vitb"):
        network_from_file(tmp_path / "b.pth", "vitb", None)
    with pytest.raises(DacliError, match="there is no file"):
        network_from_file(tmp_path / "none.pth", None, None)


def test_features_are_the_last_tokens_of_the_encoder() -> None:
    recorder = TokenRecorder(vits().token_layer())
    maps = vits().feature_encoder()(picture(56))[-1]
    torch.testing.assert_close(recorder.tokens, maps.flatten(2).mT)
    torch.manual_seed(4)
    small = Tiny().eval()
    recorder = TokenRecorder(small.token_layer())
    small(picture(64))
    assert recorder.tokens.shape == (2, 4, 256)


def test_each_parameter_belongs_to_the_encoder_or_to_the_decoder() -> None:
    early = {name.split(".")[0] for name, _ in Tiny().named_parameters() if is_encoder_parameter(name)}
    late = {name.split(".")[0] for name, _ in Tiny().named_parameters() if not is_encoder_parameter(name)}
    assert (early, late) == ({"encoder"}, {"context", "fuse", "head"})
    assert {name.split(".")[0] for name, _ in vits().named_parameters() if is_encoder_parameter(name)} == {"pretrained"}
