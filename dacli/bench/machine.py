"""What measured figures are of: the processor and all else that decides them."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from dacli.inference import device

PACKAGES = ("dacli", "torch", "openvino", "transformers", "onnxruntime")


def examine() -> dict[str, object]:
    """What the figures are of: processor, threads, GPU, system and versions."""
    found: dict[str, object] = {"cpu": processor(), "bf16": device.has_fast_bf16(), "threads": device.threads()}
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    found |= {"system": platform.platform(), "python": platform.python_version()}
    return found | {name: installed(name) for name in PACKAGES}


def processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def described(found: Mapping[str, object]) -> str:
    """The machine in one line."""
    bf16, gpu = (f" with {found['bf16']}" if found["bf16"] else ""), (f", {found['gpu']}" if found["gpu"] else "")
    versions = ", ".join(f"{name} {found[name]}" for name in ("python", *PACKAGES) if found[name] != "missing")
    return f"{found['cpu']}{bf16}, {found['threads']} threads{gpu}; {versions}"


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
