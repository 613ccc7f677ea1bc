"""Depth Anything 3 for single pictures, against Transformers' V2 with the two heads put on by hand."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from dacli.errors import DacliError, UsageError
from dacli.inference.device import ExecutionPlan
from dacli.inference.loading import build_predictor
from dacli.models import checkpoint_files, depth_anything_3, registry
from dacli.models.choice import ModelChoice
from dacli.models.depth_anything import ENCODERS, EncoderRow
from dacli.models.depth_anything_3 import fill_sky, load_depth_anything_3, long_side_size, metres_per_unit
from dacli.models.registry import choose_model
from dacli.weights.manifest import checkpoint_named
from tests.support import footage
from tests.support.commands import Run, photo
from tests.support.transformers_models import fill_with_varied_weights, transformers

SHORT = EncoderRow(96, 5, 3, (0, 1, 2, 4), (1, 2, 3, 4), 16, (12, 24, 48, 96))


@dataclass(frozen=True)
class Published:
    """A file as it is published, of a short transformer, and a second implementation of its network."""

    path: Path
    model: Any
    weights: dict[str, Tensor]

    @torch.inference_mode()
    def depth_and_sky(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Depth and sky [B, H, W] by Transformers' backbone and neck, and convolutions written out."""
        maps = self.model.backbone.forward_with_filtered_kwargs(images).feature_maps
        rows, columns = images.shape[2] // 14, images.shape[3] // 14
        features = self.model.head.conv1(self.model.neck(maps, rows, columns)[-1])
        features = F.interpolate(features, tuple(images.shape[2:]), mode="bilinear", align_corners=True)
        raw = [self.two_convolutions(features, name) for name in ("output_conv2", "sky_output_conv2")]
        return raw[0].exp(), raw[1].clamp_min(0)

    def two_convolutions(self, features: Tensor, name: str) -> Tensor:
        parts = [self.weights[f"model.head.scratch.{name}.{n}"] for n in ("0.weight", "0.bias", "2.weight", "2.bias")]
        hidden = F.conv2d(features, parts[0], parts[1], padding=1).clamp_min(0)
        return F.conv2d(hidden, parts[2], parts[3])[:, 0]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    backbone = transformers.Dinov2Config(
        hidden_size=96,
        num_hidden_layers=5,
        num_attention_heads=3,
        image_size=518,
        patch_size=14,
        out_indices=[1, 2, 3, 5],
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=96, neck_hidden_sizes=[12, 24, 48, 96], fusion_hidden_size=16
    )
    model: Any = fill_with_varied_weights(transformers.DepthAnythingForDepthEstimation(config).eval())
    with torch.no_grad():  # the same at every place: Transformers resizes them in another way
        model.backbone.embeddings.position_embeddings[:, 1:] = model.backbone.embeddings.position_embeddings[:, 1:2]
    weights = {}
    for key, value in checkpoint_files._official(model.state_dict(), "test").items():
        if "mask_token" not in key and "refinenet4.resConfUnit1" not in key:
            name = key.replace("pretrained.", "backbone.pretrained.").replace("depth_head.", "head.")
            weights[f"model.{name}"] = value.clone()
    generator = torch.Generator().manual_seed(3)
    for number, shape in (("0", (32, 8, 3, 3)), ("2", (1, 32, 1, 1))):
        noise = torch.randn(shape, generator=generator) / math.prod(shape[1:]) ** 0.5
        weights[f"model.head.scratch.sky_output_conv2.{number}.weight"] = noise
        weights[f"model.head.scratch.sky_output_conv2.{number}.bias"] = torch.zeros(shape[0]) + 0.1
    path = tmp_path_factory.mktemp("da3") / "model.safetensors"
    save_file(weights, path)
    return Published(path, model, weights)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "short", SHORT)
    monkeypatch.setattr(depth_anything_3, "ENCODER", "short")


def shaded(height: int, width: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def reference(published: Published, rgb: NDArray[np.uint8], steps: list[tuple[tuple[int, int], int]]) -> Any:
    """Depth at the network's size and sky, by the resizes of the published code: (width, height) and filter of each."""
    for size, way in steps:
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=way), np.uint8)
    pixels = (rgb / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    depth, sky = published.depth_and_sky(torch.from_numpy(np.float32(pixels)).permute(2, 0, 1)[None])
    return depth[0].numpy(), sky[0].numpy() >= 0.3


@pytest.mark.parametrize("engine", ["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def test_depth_is_that_of_the_published_steps(published: Published, engine: str) -> None:
    network = load_depth_anything_3(published.path, metric=False)
    plan = ExecutionPlan("cpu", engine, "fp32", half_weights=False, reason="")
    (found,) = build_predictor(network, plan, 210).predict([shaded(300, 500)])
    # 500 → 210 wide is 126 high, which both are multiples of 14.
    depth, sky = reference(published, shaded(300, 500), [((210, 126), cv2.INTER_AREA)])
    assert 0.05 < sky.mean() < 0.95
    depth[sky] = np.quantile(depth[~sky], 0.99)
    expected = cv2.resize(depth, (500, 300), interpolation=cv2.INTER_LINEAR)
    # OpenVINO rounds in another way: a pixel at the threshold may or may not be sky.
    close = np.isclose(found.depth, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    assert close.mean() >= (1 if engine == "torch" else 0.999)
    assert (network.spec.quantity, found.network_size) == ("depth", (126, 210))


def test_metres_are_focal_length_times_output_by_300(published: Published) -> None:
    network = load_depth_anything_3(published.path, metric=True)
    plan = ExecutionPlan("cpu", "torch", "fp32", half_weights=False, reason="")
    (found,) = build_predictor(network, plan, 100).predict([shaded(40, 60)])
    # 60 → 100 wide is 67 high, then the nearest multiples: 98 and 70, of which one grows.
    depth, sky = reference(published, shaded(40, 60), [((100, 67), cv2.INTER_CUBIC), ((98, 70), cv2.INTER_CUBIC)])
    depth[sky] = np.quantile(depth[~sky], 0.99)
    focal = 30 / np.tan(np.radians(27.5)) * (98 / 60 + 70 / 40) / 2
    expected = cv2.resize(depth * focal / 300, (60, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(found.depth, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    assert network.spec.quantity == "metres"


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((3000, 4000), 504, (378, 504)),
        ((2048, 1362), 504, (504, 336)),  # 335 is nearest to 336
        ((1000, 1750), 504, (294, 504)),  # 288 lies between 280 and 294, nearer to 294
        ((60, 1000), 49, (14, 56)),  # 49 is as near to 42 as to 56: the larger one
        ((1, 1000), 504, (14, 504)),
    ],
)
def test_sizes_are_those_of_the_published_rule(shape: tuple[int, int], size: int, expected: tuple[int, int]) -> None:
    assert long_side_size(*shape, size) == expected


def test_too_little_sky_or_too_much_changes_no_depth() -> None:
    depth = torch.arange(1.0, 101).view(10, 10)
    for skies in (10, 90):
        raw = torch.where(depth <= skies, -depth, depth)
        torch.testing.assert_close(fill_sky(raw), depth)
    raw = torch.where(depth <= 11, -depth, depth)
    assert set(fill_sky(raw)[:1].flatten().tolist()) == {float(np.float32(np.quantile(np.arange(12, 101), 0.99)))}


def test_metres_grow_with_the_focal_length_and_the_size_that_the_network_sees() -> None:
    assert metres_per_unit(3000, (3000, 4000), (378, 504)) == pytest.approx(3000 * 0.126 / 300)
    assert metres_per_unit(1500, (3000, 4000), (378, 504)) == pytest.approx(1500 * 0.126 / 300)


@pytest.mark.slow
def test_bf16_keeps_depth_and_sky(published: Published) -> None:
    exact, rounded = (
        build_predictor(
            load_depth_anything_3(published.path, metric=False),
            ExecutionPlan("cpu", "torch", precision, half_weights=False, reason=""),
            98,
        ).predict([shaded(60, 90)])[0]
        for precision in ("fp32", "bf16")
    )
    assert np.median(abs(rounded.depth / exact.depth - 1)) < 0.05


# --- which file is which ---


def test_own_files_are_recognised_and_the_model_says_the_unit(published: Published) -> None:
    path = published.path
    for model, expected in (("v2", "da3"), ("da3", "da3"), ("da3-metric", "da3-metric")):
        found = registry.open_own_file(path, ModelChoice(None, model, path))
        assert (found.model, found.network.spec.version) == (expected, expected)
    with pytest.raises(DacliError, match="holds Depth Anything 3, which has no indoor model: use --model da3 for"):
        registry.open_own_file(path, ModelChoice(None, "indoor", path))


def test_files_of_several_views_and_damaged_ones_are_one_line(published: Published, tmp_path: Path) -> None:
    views = published.weights | {"model.backbone.pretrained.camera_token": torch.zeros(1, 2, 96)}
    save_file(views, tmp_path / "views.safetensors")
    with pytest.raises(
        DacliError, match=r"views.safetensors is a Depth Anything 3 model of several views: use --model"
    ):
        registry.open_own_file(tmp_path / "views.safetensors", ModelChoice(None, "v2"))
    lost = {key: value for key, value in published.weights.items() if not key.endswith("sky_output_conv2.0.bias")}
    save_file(lost, tmp_path / "lost.safetensors")
    with pytest.raises(
        DacliError, match=r"lost.safetensors lacks 1 of \d+ weights: depth_head.scratch.sky_output_conv2"
    ):
        registry.open_own_file(tmp_path / "lost.safetensors", ModelChoice(None, "da3"))


@pytest.mark.usefixtures("home")
def test_metres_come_with_a_note_of_what_was_assumed(dacli: Run, home: Path, published: Published) -> None:
    photo(home / "a.png")
    options = ("--weights", published.path, "--size", "56", "--engine", "torch", "--precision", "fp32")
    run = dacli("image", "a.png", "--model", "da3-metric", *options, "--json")
    assert run.code == 0, run.err
    assert "the field of view is assumed to be 55 degrees: --fov or --focal-px say what it is" in run.err
    assert (run.objects[0]["quantity"], run.objects[0]["model"]) == ("metres", "da3-metric")
    assert dacli("image", "a.png", "--model", "da3-metric", *options, "--save", "npy", "-o", "wide").code == 0
    focal = 36 / 2 / math.tan(math.radians(55) / 2)  # of the picture of 36 pixels
    ask = ("image", "a.png", "--model", "da3-metric", *options, "--save", "npy", "--focal-px", f"{2 * focal}")
    run = dacli(*ask, "-o", "long")
    assert (run.code, "assumed" in "".join(run.err)) == (0, False)
    np.testing.assert_allclose(np.load("long/a_depth.npy"), 2 * np.load("wide/a_depth.npy"), rtol=1e-5)
    assert dacli("image", "a.png", *options, "--tile", "on").errors == [
        "error: short does not work in tiles: use --tile auto or off"
    ]


@pytest.mark.usefixtures("home")
def test_clips_are_steadied_by_depth_with_its_sky(dacli: Run, home: Path, published: Published) -> None:
    """Raw outputs are negative in the sky: a scale and shift of them would be those of another depth."""
    footage.make_clip(home / "a.mp4", *footage.H264, frames=3)
    options = ("--weights", published.path, "--size", "56", "--engine", "torch", "--precision", "fp32", "--save", "npy")
    assert dacli("video", "a.mp4", "--model", "da3", *options).code == 0
    frames = np.stack([np.load(path) for path in sorted((home / "a_depth").glob("*.npy"))])
    assert (frames.min(), frames.max()) == pytest.approx((0, 1), abs=0.35)


def test_labels_of_a_training_are_no_depth_that_grows_with_distance(
    dacli: Run, home: Path, published: Published
) -> None:
    (home / "in").mkdir()
    photo(home / "in/a.png")
    options = ("--weights", published.path, "--size", "56", "--precision", "fp32", "--device", "cpu")
    run = dacli("train", "label", "in", "labels", *options)
    assert run.code == 1
    assert "labels are inverse depth, and this network predicts depth: choose another" in run.errors[0]
    assert not list((home / "labels").rglob("*.npy"))


def test_the_model_implies_its_encoder_and_no_other_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_ENCODER", "tiny")
    assert choose_model(None, "da3", None) == ModelChoice("vitl", "da3")
    assert choose_model(None, "hf:depth-anything/DA3METRIC-LARGE", None) == ModelChoice("vitl", "da3-metric")
    with pytest.raises(UsageError, match="there is no da3 model of vits"):
        choose_model("vits", "da3", None)


def test_the_real_network_has_the_406_tensors_of_the_published_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_anything_3, "ENCODER", "vitl")
    with torch.device("meta"):
        state = depth_anything_3.DepthAnything3(metric=True).state_dict()
    assert len(state) == 406
    # float32 numbers, and a header of JSON of about 50 kB, make the size of the published file
    published = checkpoint_named("vitl-da3-metric").bytes or 0
    assert 0 < published - 4 * sum(value.numel() for value in state.values()) < 100_000


def test_the_rows_are_the_published_files() -> None:
    mono, metric = checkpoint_named("vitl-da3"), checkpoint_named("vitl-da3-metric")
    assert mono.path_on_hub == (
        "depth-anything/DA3MONO-LARGE/resolve/f465978e618db8cc79c83b8bbf24964857db1875/model.safetensors"
    )
    assert metric.path_on_hub == (
        "depth-anything/DA3METRIC-LARGE/resolve/4010e39f3634a45bc60553321fb49fb760bd594e/model.safetensors"
    )
    assert mono.file != metric.file  # on this machine they lie in one folder
    assert not mono.non_commercial
