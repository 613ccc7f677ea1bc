"""What this machine has: cores, threads, fast instructions, packages and free memory; and the plan of where to run."""

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU per microseconds, or "max"
MEMORY_INFO = Path("/proc/meminfo")
CONTAINER_FOLDER = Path("/sys/fs/cgroup")  # of a container: memory.max, or "max", memory.current and memory.stat


@dataclass(frozen=True)
class ExecutionPlan:
    """Where and how the network runs, and why; with `half_weights`, a checkpoint in half precision will do.

    `provider` is what computes for ONNX Runtime, "" for other engines and until it is started.
    """

    device: str
    engine: str
    precision: str
    half_weights: bool
    reason: str
    provider: str = ""

    @property
    def place(self) -> str:
        """Return where and how the network runs, in words."""
        provider = f" {self.provider}" if self.provider else ""
        return f"{self.device}, {self.engine}{provider} {self.precision}"

    @property
    def dtype(self) -> "torch.dtype":
        """Return the torch type of the arithmetic; with int8, that of the layers that are not quantised."""
        import torch

        types = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
        return types[("bf16" if has_fast_bf16() else "fp32") if self.precision == "int8" else self.precision]


def is_installed(package: str) -> bool:
    """Return whether a package is installed; it is not loaded."""
    return importlib.util.find_spec(package) is not None


def has_fast_bf16() -> str:
    """Return the name of the CPU's instructions for bf16 products, or "" if it has none."""
    import torch

    if torch.cpu._is_amx_tile_supported():
        return "AMX"
    return "AVX-512 BF16" if torch.cpu._is_avx512_bf16_supported() else ""


def compute_threads() -> int:
    """Return how many threads compute: OMP_NUM_THREADS, or else the number of usable cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text("ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))


def free_memory(device: str) -> int | None:
    """Return the bytes that can be allocated on a device now, within the container's limit; None if unknown."""
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
    """Return the bytes that the kernel reports as available; None if it does not."""
    try:
        return 1024 * int(re.findall(r"MemAvailable:\s*(\d+) kB", MEMORY_INFO.read_text("ascii"))[0])
    except (OSError, ValueError, IndexError):
        return None


def container_free_memory() -> int | None:
    """Return the bytes left within the container's limit, its cache of files counted as free; None without a limit."""
    try:
        limit, used = (int((CONTAINER_FOLDER / name).read_text("ascii")) for name in ("memory.max", "memory.current"))
        cached = re.findall(
            r"^inactive_file (\d+)$", (CONTAINER_FOLDER / "memory.stat").read_text("ascii"), re.MULTILINE
        )
    except (OSError, ValueError):
        return None
    return max(0, limit - used + sum(map(int, cached)))
