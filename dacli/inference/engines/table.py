"""The engines, one row for each: where it can compute, when `auto` chooses it, and how it is started."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dacli.callbacks import Log
from dacli.errors import DacliError

if TYPE_CHECKING:
    from torch import Tensor

    from dacli.inference.device import ExecutionPlan
    from dacli.models.spec import DepthModel


class Engine(Protocol):
    """What runs a model on one device. Up to `streams` threads may call forward() at the same time."""

    plan: "ExecutionPlan"
    streams: int

    def forward(self, images: "Tensor") -> "Tensor":
        """Return depth [B, H, W], float32 on the CPU, of normalised pictures [B, 3, H, W].

        Raises MemoryShortError if the device's memory does not suffice.
        """

    def free(self) -> None:
        """Release the memory that passes have left."""

    def in_float32(self) -> "Engine":
        """Return an engine with the same weights that computes in float32: for pictures that overflowed."""


@dataclass(frozen=True)
class EngineTarget:
    """Where an engine should compute: the kind of device, the precision, and what this machine has for it."""

    device: str
    precision: str
    fast_bf16: bool
    installed: Callable[[str], bool]

    @property
    def emulates_bf16(self) -> bool:
        """Return whether the precision is bf16 on a CPU that only emulates it."""
        return self.device == "cpu" and self.precision == "bf16" and not self.fast_bf16


@dataclass(frozen=True)
class EngineKind:
    """One engine, a row of ENGINES.

    `find_fault` returns why it cannot compute there, or None. `reason_for_auto` returns why `--engine auto` chooses it
    there, or "" if it does not. `start` imports the engine and returns it for a model, a plan and a number of streams;
    its log gets a line before work that takes long. `several_streams`: it can run several pictures at the same time.
    `only_on` is the only kind of device it computes on, which `--device auto` then means; "" if there are several.
    """

    find_fault: Callable[[EngineTarget], DacliError | None]
    reason_for_auto: Callable[[EngineTarget], str]
    start: "Callable[[DepthModel, ExecutionPlan, int, Log], Engine]"
    several_streams: bool = False
    only_on: str = ""


def _torch_fault(target: EngineTarget) -> DacliError | None:
    if target.precision == "int8":
        hint = "use --device cpu --engine openvino, or another --precision"
        return DacliError("int8 needs the OpenVINO engine on a CPU", hint)
    return None


def _start_torch(model: "DepthModel", plan: "ExecutionPlan", _streams: int, _log: Log) -> Engine:
    from dacli.inference.engines.torch_engine import TorchEngine

    return TorchEngine(model, plan)


def _openvino_fault(target: EngineTarget) -> DacliError | None:
    if target.precision == "int8":
        return _int8_fault(target)
    if target.device != "cpu":
        hint = "use --device cpu or --engine torch"
        return DacliError(f"OpenVINO computes on the CPU here, not on {target.device}", hint)
    if not target.installed("openvino"):
        return DacliError("OpenVINO is not installed", "pip install openvino, or use --engine torch")
    if target.emulates_bf16:
        return DacliError("OpenVINO has no bf16 on this CPU", "use --precision fp32 or --engine torch")
    return None


def _int8_fault(target: EngineTarget) -> DacliError | None:
    if target.device != "cpu":
        hint = "use --device cpu --engine openvino, or another --precision"
        return DacliError("int8 needs the OpenVINO engine on a CPU", hint)
    packages = {"openvino": "OpenVINO", "nncf": "NNCF"}
    missing = [name for package, name in packages.items() if not target.installed(package)]
    if missing:
        return DacliError(
            f"int8 needs {' and '.join(missing)}, not installed here",
            f"pip install {' '.join(name.lower() for name in missing)}",
        )
    return None


def _openvino_reason(target: EngineTarget) -> str:
    if target.precision == "int8":
        return "only OpenVINO has int8"
    usable = target.device == "cpu" and target.installed("openvino") and not target.emulates_bf16
    return "OpenVINO is faster than torch on a CPU" if usable else ""


def _start_openvino(model: "DepthModel", plan: "ExecutionPlan", streams: int, log: Log) -> Engine:
    if model.spec.fixed_size and plan.precision == "int8":
        raise DacliError(f"{model.spec.name} cannot be computed in int8", "choose another --precision")
    try:
        from dacli.inference.engines.openvino_engine import OpenVINOBySize, OpenVINOEngine
    except ImportError as error:
        raise DacliError(f"OpenVINO cannot be loaded ({error})", "install it again, or use --engine torch") from error
    return (OpenVINOBySize if model.spec.fixed_size else OpenVINOEngine)(model, plan, streams, log)


def _onnxruntime_fault(target: EngineTarget) -> DacliError | None:
    missing = [package for package in ("onnxruntime", "onnx") if not target.installed(package)]
    if missing:
        hint = "pip install onnx onnxruntime, or use --engine torch"
        return DacliError(f"ONNX Runtime needs {' and '.join(missing)}, not installed here", hint)
    if target.precision not in ("fp32", "fp16"):
        hint = "use --precision fp32 or fp16, or another --engine"
        return DacliError(f"dacli has no {target.precision} for ONNX Runtime", hint)
    if not _onnxruntime_module().candidate_providers(target.device):
        hint = "pip install onnxruntime-gpu in its place, or use --device cpu or --engine torch"
        return DacliError(f"the ONNX Runtime installed here has no provider for {target.device}", hint)
    return None


def _onnxruntime_module() -> Any:
    try:
        from dacli.inference.engines import onnxruntime_engine
    except ImportError as error:
        hint = "install it again, or use --engine torch"
        raise DacliError(f"ONNX Runtime cannot be loaded ({error})", hint) from error
    return onnxruntime_engine


def _start_onnxruntime(model: "DepthModel", plan: "ExecutionPlan", _streams: int, log: Log) -> Engine:
    engine: Engine = _onnxruntime_module().ONNXRuntimeEngine(model, plan, log)
    return engine


ENGINES: Mapping[str, EngineKind] = {
    "torch": EngineKind(_torch_fault, lambda _: "", _start_torch),
    "openvino": EngineKind(_openvino_fault, _openvino_reason, _start_openvino, several_streams=True, only_on="cpu"),
    "onnxruntime": EngineKind(_onnxruntime_fault, lambda _: "", _start_onnxruntime),
}


def choose_engine(wanted: str, target: EngineTarget) -> tuple[str, str]:
    """Return the engine's name and why it was chosen; raise DacliError if it cannot compute there."""
    name, reason = wanted, ""
    if wanted == "auto":
        offers = ((name, kind.reason_for_auto(target)) for name, kind in ENGINES.items())
        name, reason = next(((name, why) for name, why in offers if why), ("torch", ""))
    if fault := ENGINES[name].find_fault(target):
        raise fault
    return name, reason


def start_engine(model: "DepthModel", plan: "ExecutionPlan", streams: int, log: Log) -> Engine:
    """Return the engine of a plan, the threads of libraries set for it; raise DacliError if it cannot be loaded."""
    from dacli.inference.threads import limit_library_threads

    limit_library_threads(plan)
    return ENGINES[plan.engine].start(model, plan, streams, log)
