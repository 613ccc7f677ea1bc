"""Matplotlib with its own defaults: no matplotlibrc of the current folder or of the user changes what dacli draws."""

import contextlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def load_matplotlib() -> ModuleType:
    """Return Matplotlib.

    While it is imported, it reads a matplotlibrc: that of the current folder, before any other. So the current folder
    is that of its own defaults meanwhile, which also keeps a pipe of this name from stopping it.
    """
    spec = importlib.util.find_spec("matplotlib")
    if "matplotlib" in sys.modules or spec is None or not spec.submodule_search_locations:
        return importlib.import_module("matplotlib")
    defaults = Path(spec.submodule_search_locations[0], "mpl-data")
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a current folder that is gone holds no matplotlibrc either
            here = os.getcwd()  # noqa: PTH109 - os.chdir() takes it as it is
            os.chdir(defaults)
            stack.callback(os.chdir, here)
        return importlib.import_module("matplotlib")


def new_figure(**options: Any) -> "Figure":
    """Return a figure that no window shows."""
    load_matplotlib()
    from matplotlib.figure import Figure

    return Figure(**options)
