"""The one Predictor on its engine: batches, sizes, precision, memory, and results that are always finite."""

import copy
import dataclasses
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from dacli.choices import TileMode
from dacli.errors import DacliError, MemoryShortError, UsageError
from dacli.inference import loading
from dacli.inference.device import ExecutionPlan
from dacli.inference.engines.torch_engine import TorchEngine, prepare_network
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Predictor, pass_bytes
from dacli.inference.preprocess import normalize_image, resize_to_source
from dacli.models.depth_anything import DepthAnything
from dacli.models.spec import ModelSpec, network_size
from dacli.models.tiny import Tiny
from tests.models.test_depth_anything import build, weights_of
from tests.support.models import SmallModel

Pixels = npt.NDArray[np.uint8]


class Stub(SmallModel):
    """A network that predicts the mean of the channels times `factor`, or what `answer` makes of it."""

    def __init__(self, factor: float = 1.0, max_depth: float | None = None) -> None:
        super().__init__(max_depth)
        self.factor = nn.Parameter(torch.tensor(factor))
        self.dtypes: list[torch.dtype] = []
        self.pixels: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.dtypes.append(images.dtype)
        self.pixels.append(images.shape[2] * images.shape[3])
        return self.answer(images.mean(1) * self.factor * self.factor).float()

    def answer(self, depth: Tensor) -> Tensor:
        return depth


def plan(precision: str = "fp32") -> ExecutionPlan:
    return ExecutionPlan("cpu", "torch", precision, half_weights=False, reason="")


def predictor(network: Any, precision: str = "fp32", size: int | None = None, tile: TileMode = "auto") -> Predictor:
    return build_predictor(network, plan(precision), size, tile=tile)


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def relative_error(made: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> float:
    return float(np.linalg.norm(made - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def vits() -> DepthAnything:
    return build(weights_of("vits"), "vits")


@pytest.fixture(scope="module")
def exact(vits: DepthAnything) -> Predictor:
    return predictor(copy.deepcopy(vits), size=56)


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_a_batch_equals_its_single_pictures(vits: DepthAnything, precision: str, tolerance: float) -> None:
    predict = predictor(copy.deepcopy(vits), precision, 56).predict
    pictures = [picture(40, 60, seed) for seed in range(4)]
    for batched, single in zip(predict(pictures), [predict([p])[0] for p in pictures], strict=True):
        assert relative_error(batched.depth, single.depth) <= tolerance


def test_a_batch_of_mixed_sizes_comes_back_in_its_order(exact: Predictor) -> None:
    shapes = [(40, 60), (60, 40), (40, 60), (33, 47), (50, 50)]
    pictures = [picture(*shape, seed) for seed, shape in enumerate(shapes)]
    made = exact.predict(pictures)
    assert [one.depth.shape for one in made] == shapes
    for one, alone in zip(made, pictures, strict=True):
        assert relative_error(one.depth, exact.predict([alone])[0].depth) <= 1e-5


def test_pictures_of_one_network_size_share_a_pass() -> None:
    network = Stub()
    predictor(network).predict([picture(28, 28), picture(28, 56), picture(14, 14)])
    assert len(network.dtypes) == 2


def test_nothing_in_gives_nothing_out(exact: Predictor) -> None:
    assert exact.predict([]) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (200, 1), (37, 53), (2, 3)])
def test_depth_has_the_size_of_its_source(exact: Predictor, shape: tuple[int, int]) -> None:
    (made,) = exact.predict([picture(*shape)])
    assert made.depth.shape == shape
    assert made.depth.dtype == np.float32
    assert np.isfinite(made.depth).all()
    assert min(made.network_size) == 56
    assert made.network_size[0] % 14 == made.network_size[1] % 14 == 0


def test_16_bits_are_seen_as_the_same_8_bits_are(exact: Predictor) -> None:
    eight = picture(40, 60)
    shallow, deep = exact.predict([eight, eight.astype(np.uint16) * 257])
    assert relative_error(deep.depth, shallow.depth) <= 1e-5


def test_a_picture_that_is_no_contiguous_array_gives_the_same_depth(exact: Predictor) -> None:
    turned = picture(60, 40).swapaxes(0, 1)[::-1]
    assert np.array_equal(exact.predict([turned])[0].depth, exact.predict([turned.copy()])[0].depth)


def test_bfloat16_agrees_with_float32_and_keeps_more_than_256_depths(vits: DepthAnything) -> None:
    # Rounding these random weights alone costs 0.7 %, and the activations as much again.
    photo = np.kron(picture(9, 12), np.ones((10, 10, 1), np.uint8))
    reference, half = (predictor(copy.deepcopy(vits), each, 112).predict([photo])[0] for each in ("fp32", "bf16"))
    assert half.precision == "bf16"
    assert relative_error(half.depth, reference.depth) <= 0.015
    assert len(np.unique(half.depth)) > 20 * 256


def test_bfloat16_agrees_with_float32_in_tiny() -> None:
    torch.manual_seed(0)
    network = Tiny().eval()
    reference, half = (
        predictor(copy.deepcopy(network), each, 64).predict([picture(96, 64)])[0] for each in ("fp32", "bf16")
    )
    assert relative_error(half.depth, reference.depth) <= 0.015
    assert len(np.unique(half.depth)) > 4 * 256


def test_the_size_is_the_networks_own_unless_given() -> None:
    assert predictor(Stub()).size == 28
    assert predictor(Stub(), size=140).size == 140
    assert predictor(Stub()).predict([picture(10, 20)])[0].network_size == (28, 56)


def test_metres_stay_metres(vits: DepthAnything) -> None:
    metric = build(weights_of("vits"), "vits", depth=20.0)
    made = predictor(metric, size=56).predict([picture(40, 60)])[0].depth
    raw = predictor(copy.deepcopy(vits), size=56)
    assert predictor(metric, size=56).spec.quantity == "metres"
    assert raw.spec.quantity == "inverse depth"
    assert 0 < made.min() < made.max() < 20
    assert made.max() > 10  # sigmoid(0) is 10 metres


def test_a_result_that_overflows_in_half_precision_is_redone_in_float32_with_a_note() -> None:
    network = Stub(factor=250.0)  # its square, 62500, is finite in float16, and times more than 1.05 it is not
    bright, dark = np.full((28, 28, 3), 255, np.uint8), np.full((28, 28, 3), 120, np.uint8)
    redone, kept = predictor(network, "fp16").predict([bright, dark])
    assert (redone.precision, kept.precision) == ("fp32", "fp16")
    assert "fp16 overflowed" in redone.note
    assert kept.note == ""
    expected = 62500 * np.mean((1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]))
    assert np.allclose(redone.depth, expected, rtol=1e-4)


def test_the_float32_engine_is_made_once_and_leaves_the_fast_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TorchEngine] = []
    original = TorchEngine.in_float32

    def in_float32(engine: TorchEngine) -> TorchEngine:
        made.append(original(engine))
        return made[-1]

    monkeypatch.setattr(TorchEngine, "in_float32", in_float32)
    network = Stub(factor=250.0)
    machine = predictor(network, "fp16")
    bright = np.full((28, 28, 3), 255, np.uint8)
    machine.predict([bright])
    machine.predict([bright])
    assert len(made) == 1
    assert network.dtypes == [torch.float16] * 2
    assert next(network.parameters()).dtype == torch.float16


class Spoiled(Stub):
    def __init__(self, value: float, max_depth: float | None = None) -> None:
        super().__init__(max_depth=max_depth)
        self.value = value

    def answer(self, depth: Tensor) -> Tensor:
        depth = torch.linspace(1, 2, depth.numel()).reshape(depth.shape)
        depth[:, :7, :7] = self.value
        return depth


@pytest.mark.parametrize(
    ("value", "max_depth", "filled"),
    [(np.nan, None, "low"), (np.nan, 20.0, "high"), (np.inf, None, "high"), (-np.inf, None, "low")],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_stays_not_finite_in_float32_is_filled_and_said(
    value: float, max_depth: float | None, filled: str, precision: str
) -> None:
    (made,) = predictor(Spoiled(value, max_depth), precision).predict([picture(28, 28)])
    assert np.isfinite(made.depth).all()
    assert (made.depth.min(), made.depth.max()) == pytest.approx((1.0089, 2), abs=1e-3)
    assert made.depth[0, 0] == {"low": made.depth.min(), "high": made.depth.max()}[filled]
    assert "its depth is unreliable" in made.note
    assert made.precision == "fp32"


class Blind(Stub):
    def answer(self, depth: Tensor) -> Tensor:
        return torch.full_like(depth, torch.nan)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_network_of_nan_alone_gives_zeros(precision: str) -> None:
    (made,) = predictor(Blind(), precision).predict([picture(20, 30)])
    assert np.array_equal(made.depth, np.zeros((20, 30), np.float32))
    assert made.note


def test_a_constant_result_is_kept_as_it_is() -> None:
    (made,) = predictor(Stub(factor=0.0)).predict([picture(20, 30)])
    assert not made.depth.any()
    assert made.note == ""


class Hungry(Stub):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def answer(self, depth: Tensor) -> Tensor:  # noqa: ARG002
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_no_memory_is_one_line_that_names_a_way_on(error: Exception) -> None:
    with pytest.raises(DacliError, match="not enough memory on cpu for 28 × 42 pixels") as caught:
        predictor(Hungry(error)).predict([picture(28, 40)])
    assert caught.value.hint == "try a smaller --size or --precision bf16"


def test_no_memory_for_real() -> None:
    class Greedy(Stub):
        def answer(self, depth: Tensor) -> Tensor:
            return depth + torch.empty(1 << 60, dtype=torch.uint8)[0]

    with pytest.raises(DacliError, match="not enough memory"):
        predictor(Greedy()).predict([picture(28, 28)])


def test_no_memory_in_half_precision_does_not_advise_half_precision() -> None:
    with pytest.raises(DacliError) as caught:
        predictor(Hungry(MemoryError()), "bf16").predict([picture(28, 28), picture(28, 28)])
    assert caught.value.hint == "try a smaller --size"
    assert "for 28 × 28 pixels" in caught.value.message


class Short(Stub):
    """A network whose memory suffices for so many pixels and no more."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self.most = most

    def answer(self, depth: Tensor) -> Tensor:
        if depth.numel() > self.most:
            raise MemoryError
        return depth + 5


def shaded(height: int = 300, width: int = 400) -> Pixels:
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)[..., None].repeat(3, axis=2)


@pytest.mark.parametrize(("tile", "size"), [("off", 112), ("auto", 56)])
def test_where_memory_is_short_for_one_pass_tiles_do_it(tile: TileMode, size: int) -> None:
    short, roomy = (predictor(one, size=size, tile=tile).predict([shaded()])[0] for one in (Short(28 * 42), Short(1e9)))
    assert (roomy.tiles, roomy.note) == (0, "")
    assert short.tiles > 1
    assert short.network_size == roomy.network_size == (size, 154 if size == 112 else 70)
    words = f"{size} × {short.network_size[1]} pixels, so it was computed in {short.tiles} tiles"
    assert short.note == f"not enough memory on cpu for {words}"
    assert relative_error(short.depth, roomy.depth) < 0.02


def test_one_pass_that_would_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Stub()
    monkeypatch.setattr("dacli.inference.predictor.free_memory", lambda device: {"cpu": 112 * 154 * 100 - 1}[device])
    (made,) = predictor(network, size=112, tile="off").predict([shaded()])
    assert made.tiles > 1
    assert made.note.startswith(
        "one pass over 112 × 154 pixels takes about 0.0 GB and 0.0 GB are free, so it was computed"
    )
    assert max(network.pixels) < 112 * 154
    monkeypatch.setattr("dacli.inference.predictor.free_memory", lambda _: 112 * 154 * 100)
    assert predictor(network, size=112, tile="off").predict([shaded()])[0].tiles == 0
    monkeypatch.setattr("dacli.inference.predictor.free_memory", lambda _: None)
    assert predictor(network, size=112, tile="off").predict([shaded()])[0].tiles == 0


def test_what_one_pass_needs_grows_with_the_pixels_and_where_attention_is_not_fused_with_their_square() -> None:
    spec, mps = Stub().spec, dataclasses.replace(plan(), device="mps")
    whole, half = pass_bytes(spec, plan(), 140, 280), pass_bytes(spec, plan("bf16"), 140, 280)
    assert (whole, half) == (100 * 140 * 280, 50 * 140 * 280)
    assert pass_bytes(spec, mps, 140, 280) == 100 * 140 * 280 + 4 * 2 * (10 * 20) ** 2


class Whole(Stub):
    """A network that must see whole pictures, of a normalisation and a resize rule of its own."""

    @property
    def spec(self) -> ModelSpec:
        return dataclasses.replace(
            super().spec,
            tiles_allowed=False,
            resize_rule=lambda _height, _width, size, _multiple: (size, size),
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        )


def test_size_and_normalisation_are_those_of_the_specification() -> None:
    (made,) = predictor(Whole()).predict([np.full((30, 50, 3), 255, np.uint8)])
    assert made.network_size == (28, 28)
    np.testing.assert_allclose(made.depth, np.full((30, 50), (1 - 0.5) / 0.25), atol=1e-5)


def test_a_network_that_does_not_work_in_tiles_gets_whole_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert predictor(Whole(), size=140).predict([shaded()])[0].tiles == 0
    with pytest.raises(UsageError, match="small does not work in tiles: use --tile auto or off"):
        predictor(Whole(), tile="on")
    monkeypatch.setattr("dacli.inference.predictor.free_memory", lambda _: 0)
    with pytest.raises(MemoryShortError, match="one pass over 140 × 140 pixels takes about"):
        predictor(Whole(), size=140).predict([shaded()])


class UpsideDown:
    """A processing that turns pictures upside down, shows the network every second pixel, and adds one in the end."""

    def prepare(self, rgb: Any, size: int) -> Tensor:
        return torch.from_numpy(rgb[::-2, ::2].copy()).permute(2, 0, 1) / size

    def restore(self, raw: Tensor, height: int, width: int, _focal_px: float | None = None) -> Any:
        return raw.numpy()[::-1].repeat(2, 0).repeat(2, 1)[:height, :width] + 1


class Processed(Stub):
    @property
    def spec(self) -> ModelSpec:
        return dataclasses.replace(super().spec, processing=UpsideDown())


def test_a_processing_prepares_and_restores_single_passes_and_leaves_tiles_alone() -> None:
    rgb = shaded()
    (made,) = predictor(Processed(), size=20).predict([rgb])
    means = rgb.astype(np.float32).mean(2)[::-1][::2, ::2] / 20
    expected = means[::-1].repeat(2, 0).repeat(2, 1)[: len(rgb), : rgb.shape[1]] + 1
    np.testing.assert_allclose(made.depth, expected, rtol=1e-5)
    assert made.network_size == means.shape
    tiled = [predictor(network, size=140, tile="on").predict([rgb])[0] for network in (Processed(), Stub())]
    assert tiled[0].tiles > 0
    np.testing.assert_array_equal(tiled[0].depth, tiled[1].depth)


def test_the_native_size_is_never_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dacli.inference.predictor.free_memory", lambda _: 0)
    assert predictor(Stub()).predict([picture(28, 40)])[0].tiles == 0


def test_tiles_do_not_help_at_the_native_size() -> None:
    with pytest.raises(DacliError, match="not enough memory"):
        predictor(Hungry(MemoryError())).predict([picture(28, 28)])
    for tile in ("auto", "on", "off"):
        with pytest.raises(DacliError, match="not enough memory"):
            predictor(Hungry(MemoryError()), size=112, tile=tile).predict([picture(28, 28)])


@pytest.mark.parametrize(
    ("tile", "size", "tiled"),
    [
        *(("auto", 28, False), ("auto", 56, False), ("auto", 70, True), ("auto", 14, False)),
        *(("on", 14, False), ("on", 28, True), ("on", 42, True), ("off", 280, False)),
    ],
)
def test_the_mode_decides_when_tiles_are_used(*, tile: TileMode, size: int, tiled: bool) -> None:
    (made,) = predictor(Stub(), size=size, tile=tile).predict([shaded(60, 90)])
    assert (made.tiles > 0) is tiled
    assert made.network_size == network_size(60, 90, size, 14)
    assert made.depth.shape == (60, 90)


def test_off_is_one_pass_of_the_published_rule_at_any_size(vits: DepthAnything) -> None:
    network = copy.deepcopy(vits)
    machine = predictor(network, size=168, tile="off")
    rgb = picture(60, 90)
    with torch.inference_mode():
        raw = network(normalize_image(rgb, network_size(60, 90, 168, 14))[None])[0]
    expected = resize_to_source(raw, 60, 90, align_corners=True)
    assert relative_error(machine.predict([rgb])[0].depth, expected) < 1e-5


def test_tiles_of_several_pictures_are_those_of_each_alone_and_are_reported() -> None:
    machine = predictor(Stub(), size=112)
    steps: list[tuple[int, int]] = []
    pictures = [shaded(), shaded()[::-1], shaded(400, 300)]
    raws = [machine.infer([machine.prepare(one)], lambda done, of: steps.append((done, of)))[0] for one in pictures]
    together = machine.predict(pictures)
    tiles = together[0].tiles
    assert [raw.tiles for raw in raws] == [one.tiles for one in together]
    assert steps[:tiles] == [(n, tiles) for n in range(1, tiles + 1)]
    assert len(steps) == 3 * tiles
    for batch in (1, 4):
        several = build_predictor(Stub(), plan(), 112, batch=batch)
        for one, alone in zip(together, pictures, strict=True):
            assert np.array_equal(several.predict([alone])[0].depth, one.depth)


@pytest.mark.parametrize(
    ("engine", "size", "pictures", "streams", "shared"),
    [
        ("openvino", 28, 1, 1, 1),
        ("openvino", 28, 3, 3, 3),
        ("openvino", 28, 9, 4, 4),
        ("openvino", 100, 1, 4, 1),  # tiles keep all streams busy
        ("openvino", 100, 9, 4, 2),
        ("torch", 28, 9, 1, 1),
        ("torch", 100, 9, 1, 1),
    ],
)
def test_pictures_share_the_engine_or_tiles_do(
    monkeypatch: pytest.MonkeyPatch, engine: str, size: int, pictures: int, streams: int, shared: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    asked: list[int] = []

    def start(_: Any, __: Any, count: int, ___: Any) -> TorchEngine:
        asked.append(count)
        return TorchEngine(Stub(), plan())

    monkeypatch.setattr(loading, "start_engine", start)
    how = dataclasses.replace(plan(), engine=engine)
    made = build_predictor(Stub(), how, size, pictures=pictures, tile="auto")
    assert asked == [streams]
    assert made.concurrency == shared


def test_the_picture_is_held_no_larger_than_the_canvas() -> None:
    seen = predictor(Stub(), size=112).prepare(picture(1200, 1600))
    assert seen.size == (112, 154)
    assert seen.nbytes < 112 * 154 * 3 * 2
    small = picture(50, 60)
    assert predictor(Stub(), size=112).prepare(small).rgb is small
    assert predictor(Stub(), size=28).prepare(small).rgb is None


def test_tiles_that_overflow_are_computed_in_float32_with_a_note() -> None:
    bright = np.full((300, 400, 3), 120, np.uint8)
    bright[:100, :100] = 255  # 62500 times more than 1.05 overflows
    (made,) = predictor(Stub(factor=250.0), "fp16", size=112).predict([bright])
    (exact,) = predictor(Stub(factor=250.0), size=112).predict([bright])
    assert re.fullmatch(r"fp16 overflowed in \d+ passes, which were computed in fp32", made.note)
    assert exact.note == ""
    assert relative_error(made.depth, exact.depth) < 5e-3


def test_tiles_that_are_not_finite_are_reported() -> None:
    (made,) = predictor(Blind(), size=112).predict([shaded()])
    assert np.array_equal(made.depth, np.zeros((300, 400), np.float32))
    assert made.note == f"{made.tiles + 1} of {made.tiles + 1} passes gave numbers that are not finite"


def test_metres_in_tiles_are_those_of_the_base() -> None:
    class Metric(Stub):
        def answer(self, depth: Tensor) -> Tensor:
            return (depth + 3) * (1.5 if depth.shape[1:] != (28, 42) else 1)

    (made,) = predictor(Metric(max_depth=20.0), size=112).predict([shaded()])
    (one,) = predictor(Metric(max_depth=20.0), size=28).predict([shaded()])
    assert made.tiles > 1
    assert np.abs(np.log(made.depth / one.depth)).max() < 0.06


def test_other_faults_of_torch_are_not_called_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="expected scalar type"):
        predictor(Hungry(RuntimeError("expected scalar type Float but found Half"))).predict([picture(28, 28)])


def test_an_engine_computes_in_its_precision_except_in_the_last_layers() -> None:
    network = Stub()
    depth = TorchEngine(network, plan("bf16")).forward(torch.ones(1, 3, 28, 28))
    assert network.dtypes == [torch.bfloat16]
    assert network.out.weight.dtype == torch.float32
    assert depth.dtype == torch.float32
    assert not depth.requires_grad


def test_variances_beyond_float16_do_not_silence_their_channels() -> None:
    network = Tiny()
    network.get_buffer("context.reduce.1.running_var").fill_(1e6)
    norm = prepare_network(network, "cpu", torch.float16).get_submodule("context.reduce.1")
    x = 1000 * torch.linspace(-3, 3, 256 * 4).view(1, 256, 2, 2)
    found = norm(x.half())
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), x / 1000, atol=2e-3, rtol=2e-3)


def test_weights_of_convolutions_lie_channels_last(vits: DepthAnything) -> None:
    engine = TorchEngine(copy.deepcopy(vits), plan())
    convolutions = [value for value in engine.network.parameters() if value.ndim == 4]
    assert convolutions
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in convolutions)
