"""Which device, engine and precision a run uses, decided once, each with the reason that is printed."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dacli.errors import DacliError, UsageError
from dacli.inference.engines.table import ENGINES, EngineTarget, choose_engine

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU per microseconds, or "max"
MEMORY_INFO = Path("/proc/meminfo")
CONTAINER_FOLDER = Path("/sys/fs/cgroup")  # of a container: memory.max, or "max", memory.current and memory.stat


@dataclass(frozen=True)
class ExecutionPlan:
    """Where and how the network runs; `half_weights`: half-size checkpoint files are welcome."""

    device: str
    engine: str
    precision: str
    half_weights: bool
    reason: str

    @property
    def dtype(self) -> "torch.dtype":
        """The torch type of the arithmetic; with int8, of what is not quantised."""
        import torch

        types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        return types[("bf16" if has_fast_bf16() else "fp32") if self.precision == "int8" else self.precision]


def resolve_plan(device: str = "auto", precision: str = "auto", engine: str = "auto") -> ExecutionPlan:
    """The plan for this machine. Raises UsageError for unknown names, DacliError for a device that is not there."""
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}", f"choose one of {', '.join(PRECISIONS)}")
    if engine not in ("auto", *ENGINES):
        raise UsageError(f"unknown engine {engine!r}", f"choose one of auto, {', '.join(ENGINES)}")
    place, why_device = choose_device("cpu" if (device, engine) == ("auto", "openvino") else device)
    kind = place.partition(":")[0]
    arithmetic, why_precision = {"cpu": cpu_precision, "cuda": cuda_precision, "mps": mps_precision}[kind](precision)
    target = EngineTarget(kind, arithmetic, bool(has_fast_bf16()), is_installed)
    chosen, why_engine = choose_engine(engine, target)
    reason = "; ".join(part for part in (why_device, why_engine, why_precision) if part)
    return ExecutionPlan(
        place, chosen, arithmetic, precision == "fp16" or (kind == "cuda" and arithmetic == "fp16"), reason
    )


def is_installed(package: str) -> bool:
    """Return whether a package is installed; it is not loaded."""
    return {"openvino": has_openvino, "nncf": has_nncf}[package]()


def has_openvino() -> bool:
    """Whether OpenVINO is installed; it is not loaded."""
    return importlib.util.find_spec("openvino") is not None


def has_nncf() -> bool:
    """Whether NNCF, which quantises for OpenVINO, is installed; it is not loaded."""
    return importlib.util.find_spec("nncf") is not None


def choose_device(wanted: str) -> tuple[str, str]:
    """Device name and why."""
    import torch

    if wanted not in ("auto", "cpu", "cuda", "mps") and not re.fullmatch("cuda:[0-9]{1,3}", wanted):
        raise UsageError(f"unknown device {wanted!r}", "choose auto, cpu, cuda, cuda:N or mps")
    if wanted == "cpu":
        return "cpu", ""
    if wanted.startswith("cuda"):
        return check_cuda_device(wanted), ""
    if wanted == "auto" and torch.cuda.is_available():
        return "cuda", torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        return "mps", "" if wanted == "mps" else "an Apple GPU is there"
    if wanted == "mps":
        raise DacliError("this machine has no MPS device", "use --device cpu")
    return "cpu", "no GPU that torch can use"


def check_cuda_device(wanted: str) -> str:
    import torch

    count, number = torch.cuda.device_count(), wanted.partition(":")[2]
    if int(number or 0) >= count:
        raise DacliError(f"torch sees no {wanted} here ({count} CUDA devices)", "use --device cpu")
    return f"cuda:{int(number)}" if number else wanted


def cuda_precision(wanted: str) -> tuple[str, str]:
    return ("fp16", "half precision is the GPU's fast path") if wanted == "auto" else (wanted, "")


def mps_precision(wanted: str) -> tuple[str, str]:
    return ("fp32", "half precision is not proven equal on MPS") if wanted == "auto" else (wanted, "")


def cpu_precision(wanted: str) -> tuple[str, str]:
    """float16 arithmetic is some 15 times slower than float32 on a CPU, so fp16 only asks for half-size weights."""
    fast = has_fast_bf16()
    if wanted == "auto":
        return ("bf16", f"this CPU has {fast}") if fast else ("fp32", "this CPU has no fast bf16")
    if wanted == "fp16":
        chosen = "bf16" if fast else "fp32"
        return chosen, f"on a CPU fp16 means half-size weights, computed in {chosen}"
    return wanted, "" if wanted != "bf16" or fast else "this CPU emulates bf16, which is slow"


def has_fast_bf16() -> str:
    """The CPU's instructions for bf16 products by name, or "" where it has none."""
    import torch

    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX-512 BF16" if torch.cpu._is_avx512_bf16_supported() else ""


def stream_count(plan: ExecutionPlan, pictures: int) -> int:
    """How many of so many pictures go through the network at the same time, each on its share of the cores."""
    return max(1, min(pictures, compute_threads())) if ENGINES[plan.engine].several_streams else 1


def compute_threads() -> int:
    """How many threads compute: as many as OMP_NUM_THREADS says, or else as there are cores for them."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else usable_cores()


def usable_cores() -> int:
    """The cores that this process may really use (affinity and container quota), not those of the machine."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text("ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))


def free_memory(device: str) -> int | None:
    """Bytes that an allocation on the device may take now, by the container's limit too; None if nobody says."""
    import torch

    if device.startswith("cuda"):
        return (
            torch.cuda.mem_get_info(device)[0]
            + torch.cuda.memory_reserved(device)
            - torch.cuda.memory_allocated(device)
        )
    if device == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return min((free for free in (machine_free_memory(), container_free_memory()) if free is not None), default=None)


def machine_free_memory() -> int | None:
    try:
        return 1024 * int(re.findall(r"MemAvailable:\s*(\d+) kB", MEMORY_INFO.read_text("ascii"))[0])
    except (OSError, ValueError, IndexError):
        return None


def container_free_memory() -> int | None:
    """What is left to the container; its cache of files makes room when memory is asked for."""
    try:
        limit, used = (int((CONTAINER_FOLDER / name).read_text("ascii")) for name in ("memory.max", "memory.current"))
        cached = re.findall(
            r"^inactive_file (\d+)$", (CONTAINER_FOLDER / "memory.stat").read_text("ascii"), re.MULTILINE
        )
    except (OSError, ValueError):
        return None
    return max(0, limit - used + sum(map(int, cached)))
