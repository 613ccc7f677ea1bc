"""The machine that figures were measured on: processor, threads, GPU, versions."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from dacli import __version__
from dacli.inference import device

MEASURED_PACKAGES = ("torch", "openvino", "transformers", "onnxruntime")


def examine_machine() -> dict[str, object]:
    """Return the processor, threads, GPU, system and versions by name."""
    found: dict[str, object] = {
        "cpu": processor_name(),
        "bf16": device.has_fast_bf16(),
        "threads": device.compute_threads(),
    }
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    found |= {"system": platform.platform(), "python": platform.python_version()}
    packages = {name: installed_version(name) for name in MEASURED_PACKAGES}
    return found | {"dacli": __version__} | packages


def processor_name() -> str:
    """Return the processor's name as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe_machine(found: Mapping[str, object]) -> str:
    """Return the machine in one line."""
    bf16, gpu = (f" with {found['bf16']}" if found["bf16"] else ""), (f", {found['gpu']}" if found["gpu"] else "")
    versions = ", ".join(
        f"{name} {found[name]}" for name in ("python", "dacli", *MEASURED_PACKAGES) if found[name] != "missing"
    )
    return f"{found['cpu']}{bf16}, {found['threads']} threads{gpu}; {versions}"


def installed_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
