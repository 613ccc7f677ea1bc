"""Exported ONNX files by ONNX Runtime on a CPU against torch: sizes, batches, metres, half precision, metadata."""

import sys

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dacli.errors import DacliError
from dacli.inference import onnx_export
from dacli.inference.onnx_export import build_onnx, describe_export
from dacli.models import tiny
from dacli.models.dinov2 import DINOv2
from dacli.models.spec import DepthModel
from tests.models.test_depth_anything import build, short_transformer, weights_of
from tests.support.models import ConvolutionModel


def by_onnx(file: bytes, rgb: Tensor) -> Tensor:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (depth,) = session.run(None, {"image": rgb.numpy()})
    return torch.from_numpy(depth)


@torch.inference_mode()
def by_torch(network: DepthModel, rgb: Tensor) -> Tensor:
    mean, std = (torch.tensor(each)[:, None, None] for each in (network.spec.mean, network.spec.std))
    depth: Tensor = network.eval()((rgb - mean) / std)
    return depth


def relative_error(made: Tensor, expected: Tensor) -> float:
    assert (made.shape, made.dtype) == (expected.shape, torch.float32)
    return float((made - expected).norm() / expected.norm())


def check_export(network: DepthModel, grids: tuple[tuple[int, int], ...], *, half: bool = False) -> None:
    """Raise unless the file for all sizes, and the one for the first size, give torch's depth."""
    generator, multiple = torch.Generator().manual_seed(0), network.spec.multiple
    pictures = [torch.rand(2, 3, multiple * down, multiple * across, generator=generator) for down, across in grids]
    expected = [by_torch(network, rgb) for rgb in pictures]
    height, width = pictures[0].shape[2:]
    dynamic, fixed = build_onnx(network, half=half), build_onnx(network, (height, width), half=half)
    limit = 5e-3 if half else 1e-4
    for rgb, depth in zip(pictures, expected, strict=True):
        assert relative_error(by_onnx(dynamic, rgb), depth) <= limit
    assert relative_error(by_onnx(fixed, pictures[0][:1]), expected[0][:1]) <= limit
    with pytest.raises(Exception, match=r"[Gg]ot invalid dimensions"):
        by_onnx(fixed, pictures[1][:1])


def test_tiny_gives_torchs_depth() -> None:
    check_export(tiny.load_tiny(), ((3, 4), (5, 2)))


@pytest.mark.parametrize("depth", [None, pytest.param(20.0, marks=pytest.mark.slow)])
def test_a_transformer_gives_torchs_depth_at_all_sizes(depth: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    check_export(short_transformer(monkeypatch, depth=depth), ((4, 7), (9, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(("version", "depth"), [("v2", None), ("v2", 80.0), ("v1", None)])
def test_vits_gives_torchs_depth_also_at_the_trained_size(version: str, depth: float | None) -> None:
    check_export(build(weights_of("vits"), "vits", version, depth), ((5, 8), (37, 37), (37, 49), (74, 20)))


@pytest.mark.slow
def test_half_precision_stays_near(monkeypatch: pytest.MonkeyPatch) -> None:
    check_export(short_transformer(monkeypatch), ((4, 7), (9, 3)), half=True)
    check_export(tiny.load_tiny(), ((3, 4), (5, 2)), half=True)


def test_half_precision_halves_the_file_and_keeps_the_last_layer_precise() -> None:
    torch.manual_seed(0)
    network = ConvolutionModel()
    rgb = torch.rand(1, 3, 28, 42)
    half, whole = build_onnx(network, half=True), build_onnx(network)
    onnx = onnx_export.import_onnx()
    kinds = {each.name: each.data_type for each in onnx.load_model_from_string(half).graph.initializer}
    assert kinds["network.out.bias"] == onnx.TensorProto.FLOAT
    assert kinds["network.second.weight"] == onnx.TensorProto.FLOAT16
    made, expected = by_onnx(half, rgb), by_torch(network, rgb)
    assert 0 < relative_error(made, expected) <= 2e-3
    assert relative_error(by_onnx(whole, rgb), expected) <= 1e-6


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (37, 37), (37, 40), (80, 20)])
def test_traced_steps_are_torchs_bicubic_resize(grid: tuple[int, int]) -> None:
    torch.manual_seed(1)
    encoder = DINOv2(8, 1, 2, (0,))
    encoder.pos_embed = torch.nn.Parameter(torch.randn(1, 1 + 37 * 37, 8), requires_grad=False)
    made = encoder.traced_position_embedding(torch.zeros(1, 3, 14 * grid[0], 14 * grid[1]))
    table = encoder.pos_embed[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    if grid != (37, 37):
        scale = ((grid[0] + 0.1) / 37, (grid[1] + 0.1) / 37)
        table = F.interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
    np.testing.assert_allclose(made[0, 1:], table[0].flatten(1).T, atol=3e-5)
    assert torch.equal(made[0, 0], encoder.pos_embed[0, 0])


def test_a_fixed_file_says_its_size_and_all_say_what_goes_in() -> None:
    network = ConvolutionModel(max_depth=20.0)
    about = describe_export(network.spec, (28, 56))
    file = build_onnx(network, (28, 56), metadata=about)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (image,), (depth,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape, image.type) == ("image", [1, 3, 28, 56], "tensor(float)")
    assert (depth.name, depth.shape, depth.type) == ("depth", [1, 28, 56], "tensor(float)")
    found = session.get_modelmeta().custom_metadata_map
    assert found == about
    assert (found["quantity"], found["max_depth"], found["near"]) == ("metres", "20", "small")
    assert (found["height"], found["width"], found["multiple_of"]) == ("28", "56", "14")


class Sized(ConvolutionModel):
    """A network with an extra input for the size, and no steps that a trace records for every size."""

    def forward(self, images: Tensor, offset: Tensor | None = None) -> Tensor:
        return super().forward(images) + (self.export_inputs(*images.shape[2:])[0] if offset is None else offset)

    def export_inputs(self, height: int, _width: int) -> tuple[Tensor, ...]:
        return (torch.full((1,), float(height)),)


def test_a_network_without_traced_steps_has_a_fixed_size_only() -> None:
    network, rgb = Sized(), torch.rand(1, 3, 28, 42)
    assert relative_error(by_onnx(build_onnx(network, (28, 42)), rgb), by_torch(network, rgb)) <= 1e-6
    with pytest.raises(DacliError, match=r"cannot be exported to ONNX .*depend on the size") as caught:
        build_onnx(network)
    assert caught.value.hint == "leave --dynamic out"


def test_more_weights_than_a_file_holds_are_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "LARGEST_FILE", 1000)
    monkeypatch.setattr(onnx_export, "trace_to_onnx", lambda *_: pytest.fail("it was traced"))
    with pytest.raises(DacliError, match=r"small has 0\.0 GB of weights, and an ONNX file holds 2"):
        build_onnx(ConvolutionModel())


def test_without_the_package_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DacliError, match="the package onnx is not installed") as caught:
        build_onnx(ConvolutionModel())
    assert caught.value.hint == "pip install onnx onnxruntime"
