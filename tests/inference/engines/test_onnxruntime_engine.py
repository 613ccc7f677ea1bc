"""ONNX Runtime against torch, which provider it takes, its cache, and what it cannot do."""

import copy
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor

from dacli.errors import DacliError, MemoryShortError
from dacli.inference import device, onnx_export
from dacli.inference.device import ExecutionPlan
from dacli.inference.engines import network_cache, onnxruntime_engine
from dacli.inference.engines.onnxruntime_engine import ONNXRuntimeEngine
from dacli.inference.planning import resolve_plan
from tests.models.test_depth_anything import short_transformer
from tests.support.commands import Run, photo
from tests.support.models import ConvolutionModel

PLAN = ExecutionPlan("cpu", "onnxruntime", "fp32", half_weights=False, reason="")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DACLI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnxruntime"


@pytest.fixture(scope="module")
def small() -> ConvolutionModel:
    torch.manual_seed(0)
    return ConvolutionModel().eval().requires_grad_(requires_grad=False)


def pictures(count: int, height: int, width: int) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(height))


def relative_error(made: Tensor, expected: Tensor) -> float:
    return float((made - expected).norm() / expected.norm())


def test_every_size_and_batch_agrees_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    network = short_transformer(monkeypatch)
    engine = ONNXRuntimeEngine(copy.deepcopy(network), PLAN)
    for x in (pictures(1, 42, 70), pictures(2, 98, 56)):
        with torch.inference_mode():
            expected = network(x)
        made = engine.forward(x)
        assert (made.dtype, made.shape) == (torch.float32, expected.shape)
        assert relative_error(made, expected) <= 1e-4
    assert engine.plan.provider == "CPU"


def test_half_precision_is_near_and_float32_is_what_an_overflow_gets(small: ConvolutionModel) -> None:
    x = pictures(1, 28, 56)
    half = ONNXRuntimeEngine(copy.deepcopy(small), resolve_plan("cpu", "fp16", "onnxruntime"))
    assert 1e-7 < relative_error(half.forward(x), small(x)) <= 3e-3
    assert relative_error(half.in_float32().forward(x), small(x)) <= 1e-6


def test_a_network_is_exported_once_and_a_damaged_file_is_made_again(
    small: ConvolutionModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[Any] = []
    build = onnx_export.build_onnx

    def noted(network: Any, **how: Any) -> bytes:
        exported.append(network)
        return build(network, **how)

    monkeypatch.setattr(onnxruntime_engine, "build_onnx", noted)
    x = pictures(1, 28, 56)
    first = ONNXRuntimeEngine(copy.deepcopy(small), PLAN).forward(x)
    assert torch.equal(ONNXRuntimeEngine(copy.deepcopy(small), PLAN).forward(x), first)
    (kept,) = cache.iterdir()
    assert len(exported) == 1
    kept.write_bytes(kept.read_bytes()[:-9])
    assert torch.equal(ONNXRuntimeEngine(copy.deepcopy(small), PLAN).forward(x), first)
    assert (len(exported), [*cache.iterdir()]) == (2, [kept])
    assert network_cache.read_checked(kept)


def test_memory_that_runs_out_is_named(small: ConvolutionModel) -> None:
    engine = ONNXRuntimeEngine(copy.deepcopy(small), PLAN)

    class Short:
        def run(self, *_: object) -> None:
            raise onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException("bfc_arena: Failed to allocate memory")

    engine.session = Short()
    with pytest.raises(MemoryShortError, match="not enough memory on cpu for 28 × 56 pixels"):
        engine.forward(pictures(1, 28, 56))


# --- providers ---


def test_the_fastest_provider_of_the_package_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    package = [f"{name}ExecutionProvider" for name in ("CPU", "Azure", "Dml", "CUDA", "Tensorrt", "CoreML")]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: package)
    candidates = onnxruntime_engine.candidate_providers
    assert candidates("cpu") == ["TensorRT", "CUDA", "DirectML", "CoreML", "CPU"]
    assert candidates("cuda:1") == ["TensorRT", "CUDA"]
    assert candidates("mps") == ["CoreML"]
    assert candidates("cpu", "CPU") == ["CPU"]
    assert resolve_plan("cpu", engine="onnxruntime").provider == "CPU"
    assert resolve_plan("auto", engine="onnxruntime").provider == ""


def test_a_provider_that_does_not_start_makes_way_for_the_next(
    small: ConvolutionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = [onnxruntime_engine.PROVIDERS[name] for name in ("CUDA", "CPU")]  # as a package for GPUs says it
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: package)
    lines: list[str] = []
    with pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        engine = ONNXRuntimeEngine(copy.deepcopy(small), PLAN, lines.append)
    assert (engine.plan.provider, lines) == ("CPU", ["ONNX Runtime's CUDA does not start on this machine"])


def test_without_a_provider_that_starts_the_error_says_why(
    small: ConvolutionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("no such kernel\nat all")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(DacliError, match=r"does not start \(CPU: no such kernel\)"):
        ONNXRuntimeEngine(copy.deepcopy(small), PLAN)


# --- commands ---


def test_the_plan_and_the_json_name_the_provider(home: Path, dacli: Run) -> None:
    picture = photo(home / "a.png")
    run = dacli("image", picture, "--encoder", "tiny", "--size", "32", "--engine", "onnxruntime", "--json", "-o", "out")
    assert run.code == 0
    assert (run.objects[0]["engine"], run.objects[0]["provider"]) == ("onnxruntime", "CPU")
    assert "tiny inverse depth at 32 px on cpu, onnxruntime CPU fp32" in run.err[0]


@pytest.mark.parametrize(
    ("arguments", "package", "fault"),
    [
        ((), "onnxruntime", "ONNX Runtime needs onnxruntime, not installed here: pip install"),
        ((), "onnx", "ONNX Runtime needs onnx, not installed here: pip install"),
        (("--precision", "bf16"), "", "dacli has no bf16 for ONNX Runtime: use --precision fp32 or fp16"),
        (("--precision", "int8"), "", "dacli has no int8 for ONNX Runtime: use --precision fp32 or fp16"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    home: Path, dacli: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], package: str, fault: str
) -> None:
    monkeypatch.setattr(device, "is_installed", lambda name: name != package)
    run = dacli("image", photo(home / "a.png"), "--encoder", "tiny", "--engine", "onnxruntime", *arguments)
    assert (run.code, len(run.err)) == (1, 1)
    assert run.errors[0].startswith(f"error: {fault}")


def test_a_device_without_a_provider_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(DacliError, match="the ONNX Runtime installed here has no provider for mps") as caught:
        resolve_plan("mps", engine="onnxruntime")
    assert caught.value.hint.startswith("pip install onnxruntime-gpu")
