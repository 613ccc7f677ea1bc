"""The device, engine and precision of a run: decided once, each with the reason that is printed."""

import re

import torch

from dacli.errors import DacliError, UsageError
from dacli.inference import device
from dacli.inference.device import ExecutionPlan
from dacli.inference.engines.table import ENGINES, EngineTarget, choose_engine

PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")


def resolve_plan(device_name: str = "auto", precision: str = "auto", engine: str = "auto") -> ExecutionPlan:
    """Return the plan for this machine.

    Raises UsageError for unknown names, DacliError for a device or an engine that is not available.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", f"choose one of {', '.join(PRECISIONS)}")
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"unknown engine {engine!r}", f"choose one of auto, {', '.join(ENGINES)}")
    needed = ENGINES[engine].only_on if engine in ENGINES else ""
    place, why_device = choose_device(needed if needed and device_name == "auto" else device_name)
    kind = place.partition(":")[0]
    arithmetic, why_precision = choose_precision(kind, precision, engine)
    target = EngineTarget(kind, arithmetic, bool(device.has_fast_bf16()), device.is_installed)
    chosen, why_engine = choose_engine(engine, target)
    reason = "; ".join(part for part in (why_device, why_engine, why_precision) if part)
    return ExecutionPlan(
        device=place,
        engine=chosen,
        precision=arithmetic,
        half_weights=precision == "fp16" or (kind == "cuda" and arithmetic == "fp16"),
        reason=reason,
        provider="CPU" if chosen == "onnxruntime" and device_name == "cpu" else "",
    )


def choose_device(wanted: str) -> tuple[str, str]:
    """Return the device's name and why it was chosen; raise UsageError or DacliError if there is no such device."""
    if wanted not in ("auto", "cpu", "cuda", "mps") and not re.fullmatch("cuda:[0-9]{1,3}", wanted):
        meant = "did you mean cuda? " if wanted.lower() in ("gpu", "nvidia") else ""
        raise UsageError(f"unknown device {wanted!r}", f"{meant}choose auto, cpu, cuda, cuda:N or mps")
    if wanted == "cpu":
        return "cpu", ""
    if wanted.startswith("cuda"):
        return check_cuda_device(wanted), ""
    if wanted == "auto" and torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps", "" if wanted == "mps" else "this machine has an Apple GPU"
    if wanted == "mps":
        raise DacliError("this machine has no MPS device", "use --device cpu")
    return "cpu", "no GPU that torch can use"


def check_cuda_device(wanted: str) -> str:
    """Return the name of a CUDA device as torch writes it; raise DacliError if torch does not see it."""
    count, number = torch.cuda.device_count(), wanted.partition(":")[2]
    if int(number or 0) >= count:
        if torch.version.cuda is None and torch.version.hip is None:
            hint = "use --device cpu, or install the PyTorch for your GPU: https://pytorch.org/get-started/locally"
            raise DacliError(f"this PyTorch is a build without {wanted}", hint)
        raise DacliError(f"torch sees no {wanted} here ({count} CUDA devices)", "use --device cpu")
    return f"cuda:{int(number)}" if number else wanted


def choose_precision(device_kind: str, wanted: str, engine: str) -> tuple[str, str]:
    """Return the precision on a kind of device by an engine, and why."""
    if engine == "onnxruntime" and device_kind != "cuda":
        return ("fp32", "fp32 is what every ONNX Runtime has") if wanted == "auto" else (wanted, "")
    return {"cpu": cpu_precision, "cuda": cuda_precision, "mps": mps_precision}[device_kind](wanted)


def cuda_precision(wanted: str) -> tuple[str, str]:
    """Return the precision on a CUDA GPU, and why."""
    return ("fp16", "half precision is the GPU's fast path") if wanted == "auto" else (wanted, "")


def mps_precision(wanted: str) -> tuple[str, str]:
    """Return the precision on an Apple GPU, and why."""
    return ("fp32", "half precision is not tested on MPS") if wanted == "auto" else (wanted, "")


def cpu_precision(wanted: str) -> tuple[str, str]:
    """Return the precision on a CPU, and why.

    There float16 arithmetic is about 15 times slower than float32, so fp16 only means half-size weights.
    """
    fast = device.has_fast_bf16()
    if wanted == "auto":
        return ("bf16", f"this CPU has {fast}") if fast else ("fp32", "this CPU has no fast bf16")
    if wanted == "fp16":
        chosen = "bf16" if fast else "fp32"
        return chosen, f"on a CPU fp16 means half-size weights, computed in {chosen}"
    return wanted, "" if wanted != "bf16" or fast else "this CPU emulates bf16, which is slow"


def stream_count(plan: ExecutionPlan, pictures: int) -> int:
    """Return how many of the pictures go through the network at the same time, each on its share of the cores."""
    return max(1, min(pictures, device.compute_threads())) if ENGINES[plan.engine].several_streams else 1
