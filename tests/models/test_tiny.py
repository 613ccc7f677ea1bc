import copy
import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load as load_numpy
from safetensors.torch import save
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models import tiny
from dacli.models.tiny import DepthHead, Tiny, encode_weights


@cache
def network() -> Tiny:
    """A network with random weights and batch statistics, as training would leave it."""
    torch.manual_seed(1)
    made = Tiny().train()
    made.initialize_encoder()
    for _ in range(3):
        made(torch.randn(2, 3, 64, 64))
    return made.eval().requires_grad_(requires_grad=False)


def pictures(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (32, 224), (224, 32), (96, 160), (288, 128)])
def test_depth_has_the_size_of_the_picture_and_is_positive(size: tuple[int, int]) -> None:
    depth = network()(pictures(2, 3, *size))
    assert depth.shape == (2, *size)
    assert depth.dtype == torch.float32
    assert depth.isfinite().all()
    assert (depth > 0).all()
    assert depth.std() > 0


def test_bfloat16_stays_near_float32() -> None:
    x = pictures(2, 3, 96, 64)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network()(x)
    exact = network()(x)
    assert rounded.isfinite().all()
    assert (rounded > 0).all()
    assert ((rounded.float() - exact).abs() < 0.02 * exact).all()  # bfloat16 itself steps by 2⁻⁸


def test_a_batch_is_its_pictures() -> None:
    x = pictures(3, 3, 64, 96)
    together = network()(x)
    for row, picture in zip(together, x, strict=True):
        torch.testing.assert_close(network()(picture[None])[0], row, rtol=1e-4, atol=1e-5)


def test_every_place_sees_the_whole_picture() -> None:
    x = pictures(1, 3, 256, 256)
    changed = x.clone()
    changed[..., :32, :32] += 3
    difference = (network()(changed) - network()(x)).abs()[0]
    assert (difference[224:, 224:] > 0).float().mean() > 0.9


def test_the_encoder_is_mobilenet_as_transformers_has_it() -> None:
    config = transformers.MobileNetV2Config(depth_multiplier=1.4, tf_padding=True, layer_norm_eps=1e-3)
    reference = transformers.MobileNetV2Model(config, add_pooling_layer=False)
    encoder, x = network().encoder, pictures(2, 3, 96, 160)
    reference.train(mode=False)
    stem = reference.conv_stem
    layers: list[list[Any]] = [[stem.conv_3x3, stem.reduce_1x1]]
    layers += [[layer.expand_1x1, layer.conv_3x3, layer.reduce_1x1] for layer in cast(Any, reference.layer)]
    ours = [
        [block.depthwise, block.project] if block.expand is None else [*block.children()] for block in encoder.blocks
    ]
    copy_folded(stem.first_conv, encoder.stem)
    for theirs, mine in zip(layers, ours, strict=True):
        for target, source in zip(theirs, mine, strict=True):
            copy_folded(target, source)
    with torch.no_grad():
        expected = [reference.conv_stem(x), *reference(x, output_hidden_states=True).hidden_states]
        maps = encoder(x)
    assert [tuple(each.shape[1:]) for each in maps] == [
        *((24, 48, 80), (32, 24, 40), (48, 12, 20), (136, 6, 10), (448, 3, 5)),
    ]
    for each in maps:
        assert each.std() > 0.1
        assert any(
            each.shape == state.shape and torch.allclose(each, state, rtol=1e-3, atol=1e-4) for state in expected
        )


def copy_folded(target: Any, source: Any) -> None:
    """Give a convolution with batch norm the weights of a convolution with a bias."""
    convolution, norm = target.convolution, target.normalization
    with torch.no_grad():
        convolution.weight.copy_(source.conv.weight)
        norm.bias.copy_(source.conv.bias)
        norm.running_var.fill_(1 - norm.eps)


def test_depth_of_a_pixel_is_a_mean_of_the_coarse_depths_around_it() -> None:
    torch.manual_seed(2)
    head, x = DepthHead(8).eval(), pictures(1, 8, 6, 7)
    with torch.no_grad():
        coarse = head.depth(head.conv(x).relu())
        fine = head(x)
    assert fine.shape == (1, 12, 14)
    around = nn.functional.pad(coarse, (1, 1, 1, 1), mode="replicate")
    low, high = (-nn.functional.max_pool2d(-around, 3, 1)[0, 0], nn.functional.max_pool2d(around, 3, 1)[0, 0])
    low, high = (each.repeat_interleave(2, 0).repeat_interleave(2, 1) for each in (low, high))
    assert ((low <= fine[0]) & (fine[0] <= high)).all()
    assert fine.std() > 0


def test_the_head_can_keep_an_edge_that_a_resize_would_blur() -> None:
    head = DepthHead(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.conv.weight[0, 0, 1, 1] = 1
        head.depth.weight[0, 0] = 1
        head.get_parameter("weights.bias")[4 * 4 : 5 * 4] = 50  # all weight on the coarse pixel itself
    coarse = torch.zeros(1, 1, 4, 6)
    coarse[..., 3:] = 1
    expected = np.zeros((8, 12), np.float32)
    expected[:, 6:] = 1
    np.testing.assert_allclose(head(coarse)[0].detach(), expected, atol=1e-6)


def test_an_engine_finds_what_it_needs() -> None:
    assert network().spec.multiple == 32
    assert network().max_depth is None
    assert isinstance(network().get_submodule(network().spec.precise_layers), DepthHead)
    assert sum(p.numel() for p in network().parameters()) < 7_400_000


def test_weights_are_saved_in_float16_by_rounding_and_statistics_as_they_are(tmp_path: Path) -> None:
    path, saved = tmp_path / "own.safetensors", copy.deepcopy(network())
    saved.get_buffer("context.reduce.1.running_var")[:3] = torch.tensor([65519.0, 1e5, 1e-9])  # float16 ends at 65504
    path.write_bytes(encode_weights(saved, {"seed": "4"}))
    stored = load_numpy(path.read_bytes())
    again = tiny.load_tiny(path)
    assert not again.training
    kinds = {np.float16: 0, np.float32: 0}
    for key, value in saved.state_dict().items():
        if not value.is_floating_point():
            continue
        kind = np.float32 if key.endswith(("running_mean", "running_var")) else np.float16
        kinds[kind] += 1
        assert stored[key].dtype == kind
        np.testing.assert_array_equal(stored[key], value.numpy().astype(kind))
        np.testing.assert_array_equal(again.state_dict()[key], value.numpy().astype(kind).astype(np.float32))
    assert min(kinds.values()) > 30
    head = path.read_bytes()
    assert json.loads(head[8 : 8 + struct.unpack("<Q", head[:8])[0]])["__metadata__"] == {"seed": "4"}
    assert path.stat().st_size < 2.1 * sum(v.numel() for v in network().state_dict().values()) + 50_000


def test_the_bundled_weights_are_numbers() -> None:
    assert all(np.isfinite(values).all() for values in load_numpy(tiny.BUNDLED_WEIGHTS.read_bytes()).values())


def test_loaded_weights_give_nearly_the_same_depth(tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").write_bytes(encode_weights(network(), {}))
    x = pictures(1, 3, 64, 64)
    found, exact = tiny.load_tiny(tmp_path / "own.safetensors")(x), network()(x)
    assert (found - exact).abs().max() < 0.02 * exact.std()


def without(state: dict[str, Tensor], key: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name != key}


def changed(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> bytes:
    state = {key: value for key, value in network().state_dict().items() if value.is_floating_point()}
    return save(change(state))


FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "garbage": lambda: b"no weights at all" * 100,
    "a huge header": lambda: struct.pack("<Q", 1 << 60) + b"{}",
    "truncated": lambda: encode_weights(network(), {})[:-1000],
    "cut in its header": lambda: encode_weights(network(), {})[:50],
    "nothing in it": lambda: save({}),
    "another network": lambda: save({"pretrained.cls_token": torch.zeros(1, 1, 384)}),
    "a key missing": lambda: changed(lambda state: without(state, "head.depth.bias")),
    "a key too many": lambda: changed(lambda state: state | {"more": torch.zeros(1)}),
    "a wrong shape": lambda: changed(lambda state: state | {"head.depth.bias": torch.zeros(2)}),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_its_weights(name: str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.write_bytes(FILES[name]())
    with pytest.raises(DacliError, match=r"own\.safetensors") as error:
        tiny.load_tiny(path)
    assert "\n" not in str(error.value)
    assert error.value.hint


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(DacliError, match="cannot be read"):
            tiny.load_tiny(path)
