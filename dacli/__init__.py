"""Batch depth for pictures, folders and clips with Depth Anything V2.

    import dacli

    depth = dacli.load("vits")
    result = depth("photo.jpg")
    result.save("photo.png")

Torch and OpenCV are loaded at the first use of one of these names, not at the import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dacli.errors import DacliError

if TYPE_CHECKING:
    from dacli.api.depth import Depth, available_models, load
    from dacli.api.depth_map import DepthMap
    from dacli.api.runs import ClipOutputs, process_folder, process_video

__version__ = "0.1.0"
__all__ = [
    "ClipOutputs",
    "DacliError",
    "Depth",
    "DepthMap",
    "available_models",
    "load",
    "process_folder",
    "process_video",
]

_MODULES = {"DepthMap": "depth_map", **dict.fromkeys(("ClipOutputs", "process_folder", "process_video"), "runs")}


def __getattr__(name: str) -> Any:
    """Return a name of the Python interface, which is loaded when it is first asked for (PEP 562)."""
    if name in __all__:
        return getattr(import_module(f"dacli.api.{_MODULES.get(name, 'depth')}"), name)
    raise AttributeError(f"module 'dacli' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
