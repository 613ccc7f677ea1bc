"""The report of `dacli doctor`: what this machine will use, and what is missing."""

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

from dacli import __version__, paths
from dacli.bench.machine import installed_version
from dacli.errors import DacliError
from dacli.inference import device, planning
from dacli.weights import checkpoints, manifest
from dacli.weights.hub import hide_password

SHOWN_PACKAGES = ("torch", "numpy", "opencv-python-headless", "pillow", "safetensors", "typer", "rich")
SHOWN_VARIABLES = (
    "DACLI_ENCODER",
    "DACLI_WEIGHTS_DIR",
    "DACLI_CACHE",
    "DACLI_MIRRORS",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_HOME",
    "HTTPS_PROXY",
)


OPTIONAL_READERS = (  # kinds of pictures, and the module and package that read them
    ("HEIC", "pillow_heif", "pillow-heif"),
    ("EXR", "OpenEXR", "OpenEXR"),
    ("JPEG XL", "pillow_jxl", "pillow-jxl-plugin"),
    ("camera RAW", "rawpy", "rawpy"),
)


def diagnose_machine() -> list[tuple[str, str]]:
    """Return names and findings, one line each, in the order to print."""
    return [
        ("dacli", f"{__version__} at {Path(__file__).parents[1]}"),
        ("python", f"{sys.version.split()[0]} on {platform.platform()}"),
        ("packages", ", ".join(f"{name} {installed_version(name)}" for name in SHOWN_PACKAGES)),
        ("cores", f"{device.usable_cores()} of {os.cpu_count()} usable"),
        ("memory", describe_memory()),
        *describe_compute(),
        ("OpenVINO", describe_openvino()),
        ("ONNX Runtime", describe_onnxruntime()),
        (
            "NNCF",
            installed_version("nncf")
            if device.is_installed("nncf")
            else "missing: pip install nncf for --precision int8",
        ),
        ("ffmpeg", describe_ffmpeg()),
        *((kind, describe_reader(module, package)) for kind, module, package in OPTIONAL_READERS),
        ("cache", f"{paths.cache_folder()}{'' if paths.cache_folder().exists() else ' (not made yet)'}"),
        ("weights", ", ".join(checkpoints_here()) or "none, except tiny, which is inside the package"),
        (
            "settings",
            ", ".join(f"{name}={hide_password(os.environ[name])}" for name in SHOWN_VARIABLES if name in os.environ)
            or "none set",
        ),
    ]


def describe_reader(module: str, package: str) -> str:
    """Return whether pictures of a kind can be read, and what would read them."""
    return "can be read" if is_importable(module) else f"cannot be read: pip install {package}"


def is_importable(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def describe_memory() -> str:
    try:
        total, free = (
            os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") / 2**30 for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")
        )
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{total:.1f} GiB, {free:.1f} GiB free"


def describe_compute() -> list[tuple[str, str]]:
    plan = planning.resolve_plan()
    return [
        ("device", plan.device),
        ("engine", plan.engine),
        ("precision", plan.precision),
        ("because", plan.reason),
    ]


def describe_openvino() -> str:
    """Return the version of OpenVINO, or how to get it."""
    if device.is_installed("openvino"):
        return installed_version("openvino")
    return "missing: pip install openvino, the faster engine on a CPU"


def describe_onnxruntime() -> str:
    """Return the version of ONNX Runtime and its providers in the order to try them, or how to get it."""
    if not (device.is_installed("onnxruntime") and device.is_installed("onnx")):
        return "missing: pip install onnx onnxruntime for --engine onnxruntime and dacli export onnx"
    try:
        import onnxruntime

        from dacli.inference.engines.onnxruntime_engine import candidate_providers
    except ImportError as error:
        return f"cannot be loaded ({error})"
    return f"{onnxruntime.__version__}, providers {', '.join(candidate_providers('cpu'))}"


def describe_ffmpeg() -> str:
    """Return the ffmpeg that comes with imageio-ffmpeg, and whether it starts."""
    try:
        import imageio_ffmpeg

        path = imageio_ffmpeg.get_ffmpeg_exe()
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return f"does not work ({error})"
    return f"{answer.stdout.split()[2]} at {path}"


def checkpoints_here() -> list[str]:
    """Return the names of the checkpoints that are on this machine."""
    try:
        states = [(row.name, checkpoints.checkpoint_status(row).state) for row in manifest.read_manifest()]
    except DacliError as error:
        return [str(error)]
    return [name if state == "ok" else f"{name} ({state})" for name, state in states if state != "missing"]
