"""int8 against float32 on rendered scenes, what OpenVINO says it computes, its place in the cache, and refusals."""

import copy
import dataclasses
import functools
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dacli.bench.setups import BenchValues
from dacli.errors import DacliError
from dacli.evaluation import scoring
from dacli.inference import device
from dacli.inference.device import ExecutionPlan
from dacli.inference.engines import openvino_engine, quantization
from dacli.inference.engines.openvino_engine import OpenVINOEngine
from dacli.inference.loading import build_predictor
from dacli.models import tiny
from dacli.models.depth_anything import DepthAnything
from dacli.models.tiny import Tiny
from tests.inference.engines.test_openvino_engine import by_torch, relative_error
from tests.models.test_depth_anything import short_transformer
from tests.support.commands import SMALL, Run, photo
from tests.support.models import ConvolutionModel

INT8 = ExecutionPlan("cpu", "openvino", "int8", half_weights=False, reason="")
FP32 = ExecutionPlan("cpu", "openvino", "fp32", half_weights=False, reason="")
BITS8 = {"i8", "u8"}
QUANTIZE = """
import sys
from dacli.models import tiny
from dacli.inference.planning import resolve_plan
from dacli.inference.engines import quantization
from dacli.inference.engines.openvino_engine import OpenVINOEngine
quantization.CALIBRATION_SCENES = 1
OpenVINOEngine(tiny.load_tiny(), resolve_plan("cpu", "int8"), log=lambda line: print(line, file=sys.stderr))
print("nncf" in sys.modules, sys.modules["openvino_telemetry"])
"""


@dataclass(frozen=True)
class Filled:
    """A cache in which tiny's int8 is, and what two commands printed that used it: the first one quantised."""

    cache: Path
    home: Path
    runs: list[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    cache, home = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("home") / "none"
    its = {"DACLI_CACHE": str(cache), "HOME": str(home), "USERPROFILE": str(home), "FORCE_COLOR": "1"}
    command = [sys.executable, "-W", "error", "-c", QUANTIZE]
    runs = [
        subprocess.run(command, capture_output=True, text=True, timeout=600, check=True, env=os.environ | its)
        for _ in range(2)
    ]
    return Filled(cache, home, runs)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Use an empty cache."""
    monkeypatch.setenv("DACLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture(scope="module")
def small() -> Tiny:
    return tiny.load_tiny().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def light() -> ConvolutionModel:
    torch.manual_seed(0)
    return ConvolutionModel().eval().requires_grad_(requires_grad=False)


@pytest.fixture
def quantised(monkeypatch: pytest.MonkeyPatch) -> list[list[list[Any]]]:
    """The inputs of each quantisation, of which none is done: what comes out is the model itself."""
    seen: list[list[list[Any]]] = []

    def noted(model: Any, inputs: list[list[Any]]) -> Any:
        seen.append(inputs)
        return model

    monkeypatch.setattr(quantization, "quantize_model", noted)
    monkeypatch.setattr(quantization, "CALIBRATION_SCENES", 1)
    return seen


def executed(engine: OpenVINOEngine) -> Counter[str]:
    """In what precision OpenVINO runs convolutions and products of matrices, and how many."""
    infos = [layer.get_rt_info() for layer in engine.compiled.get_runtime_model().get_ordered_ops()]
    work = [info for info in infos if info["layerType"].astype(str) in ("Convolution", "FullyConnected")]
    return Counter(info["runtimePrecision"].astype(str) for info in work)


def kept(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


# --- what it computes ---


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_tiny_in_int8_orders_points_as_float32_does(small: Tiny) -> None:
    data = scoring.rendered_scenes(8, 90210, "affine")
    data = dataclasses.replace(data, read=functools.cache(data.read))  # each scene is rendered once
    of = [
        scoring.evaluate_predictor(build_predictor(small, plan), data, lambda _: None).scores for plan in (FP32, INT8)
    ]
    assert of[0]["ordinal"] > 0.8
    assert abs(of[1]["ordinal"] - of[0]["ordinal"]) <= 0.01  # of eight scenes; 0.002 of 256 (docs/benchmarks.md)
    assert of[1]["ordinal"] != of[0]["ordinal"]  # or float32 was judged twice


@pytest.mark.usefixtures("cache")
def test_a_network_is_computed_in_8_bits_and_quantised_once(
    light: ConvolutionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "CALIBRATION_SCENES", 1)
    engine = OpenVINOEngine(light, INT8)
    found = executed(engine)
    assert sum(found[name] for name in BITS8) >= 2
    x = next(quantization.calibration_pictures(light))
    made = engine.forward(x)
    assert 1e-5 < relative_error(made, by_torch(light, x)) < 0.05
    monkeypatch.setattr(quantization, "quantize_model", None)  # which the second does not need
    again = OpenVINOEngine(light, INT8)
    assert torch.equal(again.forward(x), made)
    assert executed(again) == found
    assert not BITS8 & set(executed(OpenVINOEngine(light, FP32)))


@pytest.mark.slow
def test_openvino_itself_says_that_tiny_is_computed_in_8_bits(
    small: Tiny, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DACLI_CACHE", str(filled.cache))
    found = executed(OpenVINOEngine(small, INT8))
    depthwise = sum(isinstance(module, torch.nn.Conv2d) and module.groups > 1 for module in small.modules())
    in_8_bits = sum(found[name] for name in BITS8)
    assert in_8_bits == found.total() - depthwise > 60  # NNCF leaves depthwise convolutions as they are
    assert not BITS8 & set(executed(OpenVINOEngine(small, FP32)))


def transformer(monkeypatch: pytest.MonkeyPatch, size: int) -> DepthAnything:
    """A short Depth Anything, made for so many pixels: it is quantised in seconds."""
    spec = vars(DepthAnything)["spec"].fget
    monkeypatch.setattr(DepthAnything, "spec", property(lambda self: dataclasses.replace(spec(self), native_size=size)))
    return short_transformer(monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_transformer_is_quantised_but_for_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "CALIBRATION_SCENES", 1)
    network = transformer(monkeypatch, 56)
    engine = OpenVINOEngine(network, INT8)
    found = executed(engine)
    assert sum(found[name] for name in BITS8) >= 4 * len(network.pretrained.blocks)
    x = next(quantization.calibration_pictures(network))
    made = engine.forward(x)
    assert 1e-4 < relative_error(made, by_torch(network, x)) < 0.05
    monkeypatch.setattr(quantization, "quantize_model", None)  # which the second does not need
    again = OpenVINOEngine(network, INT8)
    assert torch.equal(again.forward(x), made)
    assert executed(again) == found


@pytest.mark.slow
def test_what_overflows_gets_true_float32(small: Tiny, filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DACLI_CACHE", str(filled.cache))
    engine, x = OpenVINOEngine(small, INT8, streams=2), torch.zeros(1, 3, 64, 96)
    exact = engine.in_float32()
    assert (exact.plan.precision, exact.streams) == ("fp32", 2)
    errors = [relative_error(each.forward(x), by_torch(small, x)) for each in (exact, engine)]
    assert errors[0] <= 1e-5 < 1e-3 < errors[1]


def test_it_is_calibrated_on_scenes_as_the_network_sees_pictures(light: ConvolutionModel) -> None:
    seen = list(quantization.calibration_pictures(light))
    assert len(seen) == quantization.CALIBRATION_SCENES
    again = islice(quantization.calibration_pictures(light), 2)
    assert all(torch.equal(*pair) for pair in zip(seen, again, strict=False))
    assert {tuple(x.shape) for x in seen} == {(1, 3, 28, 42), (1, 3, 42, 28), (1, 3, 28, 28), (1, 3, 28, 56)}
    assert len({float(x.mean()) for x in seen}) == len(seen)
    for x in seen:
        colors = np.array([0.229, 0.224, 0.225]) * x[0].permute(1, 2, 0).numpy() + np.array([0.485, 0.456, 0.406])
        assert -0.1 <= colors.min() < colors.max() <= 1.1


# --- once, and without a word ---


@pytest.mark.slow
def test_it_is_quantised_once_and_nncf_says_nothing(filled: Filled) -> None:
    first, second = filled.runs
    (line,) = first.stderr.splitlines()
    assert line.startswith("quantising the network to int8")
    assert (first.stdout, second.stdout, second.stderr) == ("True None\n", "False None\n", "")
    assert not filled.home.exists()


def test_a_quantised_network_and_the_float_one_are_kept_side_by_side(
    light: ConvolutionModel, cache: Path, quantised: list[list[list[Any]]]
) -> None:
    lines: list[str] = []
    for plan in (INT8, FP32, INT8, FP32):
        build_predictor(copy.deepcopy(light), plan, log=lines.append)
    assert len(quantised) == len(lines) == 1
    assert ["_int8-" in name for name in kept(cache)] == [False, True]


def test_a_damaged_file_is_quantised_again(
    light: ConvolutionModel, cache: Path, quantised: list[list[list[Any]]]
) -> None:
    OpenVINOEngine(light, INT8)
    (name,) = kept(cache)
    whole = (cache / name).read_bytes()
    (cache / name).write_bytes(whole[: len(whole) // 2])
    OpenVINOEngine(light, INT8)
    assert len(quantised) == 2
    OpenVINOEngine(light, INT8)
    assert len(quantised) == 2


def test_another_nncf_takes_the_place_of_the_last(
    light: ConvolutionModel, cache: Path, quantised: list[list[list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenVINOEngine(light, INT8)
    before = kept(cache)
    monkeypatch.setattr(openvino_engine, "version", lambda name: f"{name} 9.9")
    OpenVINOEngine(light, INT8)
    assert len(quantised) == 2
    assert len(kept(cache)) == 1
    assert kept(cache) != before


def test_another_calibration_takes_the_place_of_the_last(
    light: ConvolutionModel,
    cache: Path,
    quantised: list[list[list[Any]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    OpenVINOEngine(light, INT8)
    source = tmp_path / "quantization.py"
    source.write_bytes(Path(quantization.__file__).read_bytes().replace(b"SEED = ", b"SEED = 1"))
    monkeypatch.setattr(quantization, "__file__", str(source))
    OpenVINOEngine(light, INT8)
    assert len(quantised) == 2
    assert len(kept(cache)) == 1


def test_without_a_cache_it_works_all_the_same(
    light: ConvolutionModel, tmp_path: Path, quantised: list[list[list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("DACLI_CACHE", str(tmp_path / "taken"))
    for _ in range(2):
        assert OpenVINOEngine(light, INT8).forward(torch.zeros(1, 3, 64, 96)).isfinite().all()
    assert len(quantised) == 2


@pytest.mark.usefixtures("cache")
def test_a_transformer_is_calibrated_with_its_position_embedding(
    quantised: list[list[list[Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    OpenVINOEngine(transformer(monkeypatch, 42), INT8)
    (((picture, position),),) = quantised
    assert (picture.shape, position.shape) == ((1, 3, 42, 56), (1, 1 + 3 * 4, 96))


# --- commands ---


@pytest.mark.usefixtures("home", "cache")
def test_commands_take_int8_and_say_so(dacli: Run, home: Path, quantised: list[list[list[Any]]]) -> None:
    photo(home / "a.jpg")
    run = dacli("image", "a.jpg", *SMALL, "--precision", "int8", "--device", "cpu", "--json")
    assert (run.code, run.objects[0]["precision"], run.objects[0]["engine"]) == (0, "int8", "openvino")
    assert run.err[0].startswith("quantising the network to int8")
    assert run.err[1].endswith("on cpu, openvino int8 (only OpenVINO has int8)")
    how = ("--device", "cpu", "--engine", "openvino", "--precision", "int8", "--scenes", "1", "--json")
    run = dacli("eval", "--encoder", "tiny", "--size", "32", *how)
    assert [each["precision"] for each in run.objects] == ["int8"]
    assert len(quantised) == 1


def test_bench_compares_int8_on_openvino_with_others_on_both_engines() -> None:
    def found(precisions: list[str], *engines: str) -> list[tuple[str, str]]:
        made = BenchValues(encoders=["tiny"], precisions=precisions, engines=engines, device="cpu").setups()
        return [(setup.plan.engine, setup.plan.precision) for setup in made]

    assert found(["fp32", "int8"]) == [("torch", "fp32"), ("openvino", "fp32"), ("openvino", "int8")]
    assert found(["int8"]) == found(["int8"], "openvino") == [("openvino", "int8")]
    with pytest.raises(DacliError, match="int8 needs the OpenVINO engine"):
        found(["fp32", "int8"], "torch")


@pytest.mark.parametrize("command", [("image", "a.jpg"), ("folder", ".", "out"), ("bench",), ("eval", "--scenes", "1")])
@pytest.mark.parametrize(
    ("lacking", "how", "line"),
    [
        (["nncf"], (), "int8 needs NNCF, not installed here: pip install nncf"),
        (["openvino"], (), "int8 needs OpenVINO, not installed here: pip install openvino"),
        (
            ["openvino", "nncf"],
            (),
            "int8 needs OpenVINO and NNCF, not installed here: pip install openvino nncf",
        ),
        (
            [],
            ("--engine", "torch"),
            "int8 needs the OpenVINO engine on a CPU: use --device cpu --engine openvino, or another --precision",
        ),
    ],
)
def test_missing_requirements_of_int8_are_one_line(
    dacli: Run,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    lacking: list[str],
    how: tuple[str, ...],
    line: str,
) -> None:
    photo(home / "a.jpg")
    monkeypatch.setattr(device, "is_installed", lambda package: package not in lacking)
    run = dacli(*command, *SMALL, "--precision", "int8", "--device", "cpu", *how)
    assert (run.code, run.out, run.err) == (1, "", [f"error: {line}"])
    assert [path.name for path in home.iterdir()] == ["a.jpg"]


@pytest.mark.usefixtures("cache")
def test_an_nncf_that_does_not_load_is_an_error(light: ConvolutionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "CALIBRATION_SCENES", 1)
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(DacliError, match=r"NNCF cannot be loaded \(.*\): pip install --force-reinstall nncf"):
        OpenVINOEngine(light, INT8)
