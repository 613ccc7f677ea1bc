"""Tools to measure time, by alternating runs, and memory, by commands in their own processes."""

import gc
import importlib.util
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

import dacli
from dacli.errors import DacliError
from dacli.memory import trim_heaps

DEFAULT_TURNS = 7
RESET_PEAK, PROCESS_STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
# On Linux the memory of a process counts from before it became another program, so a small one starts the command.
MEMORY_WRAPPER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
RUN_DACLI = """
import sys
sys.path.append(sys.argv.pop(1))
from dacli.cli.main import main
main()
"""


def time_in_turns(*runs: Callable[[], object], count: int = DEFAULT_TURNS) -> list[list[float]]:
    """Return the seconds of each run; the runs alternate, after one round to warm up."""
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(count + 1):
        for run, taken in zip(runs, seconds, strict=True):
            started = time.perf_counter()
            run()
            if turn:
                taken.append(time.perf_counter() - started)
    return seconds


def make_photos(folder: Path, count: int, *, width: int = 1632, height: int = 1224) -> list[Path]:
    """Write distinct JPEGs, by default of 2 megapixels: one rendered scene, shifted sideways; return their paths."""
    from dacli.scenes.kinds import make_scene
    from dacli.scenes.layouts import render_layouts

    small = render_layouts([make_scene(4242, 0)], 306, 408).rgb[0].permute(1, 2, 0).numpy()[..., ::-1]
    large = cv2.resize(np.ascontiguousarray(small), (width, height), interpolation=cv2.INTER_CUBIC)
    paths = [folder / f"{number // 100:03}" / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".jpg", np.roll(large, number, 1))[1].tobytes())
    return paths


@contextmanager
def process_peak(device: str) -> Iterator[Callable[[], float]]:
    """Yield a function that returns the peak memory in GiB since here: of a GPU its own, else that of this process.

    It returns NaN where the system does not report it.
    """
    gc.collect()
    trim_heaps()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: torch.cuda.max_memory_allocated(device) / 2**30
        return
    try:
        RESET_PEAK.write_text("5")  # proc(5): the peak becomes what is resident now
    except OSError:
        yield lambda: math.nan
        return
    yield lambda: int(re.findall(r"VmHWM:\s*(\d+) kB", PROCESS_STATUS.read_text("ascii"))[0]) / 2**20


def peak_memory(*arguments: str) -> float:
    """Return the peak resident memory of a dacli command in GiB, NaN where the system does not report it.

    Raises DacliError if the command fails.
    """
    if importlib.util.find_spec("resource") is None:
        return math.nan
    python = [sys.executable, "-P", "-c"]  # without the current folder on the path
    command = [*python, MEMORY_WRAPPER, *python, RUN_DACLI, str(Path(dacli.__file__).parents[1]), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        fault = ended.stderr.strip().rpartition("\n")[2]
        raise DacliError(f"dacli {arguments[0]}, run for its memory, ended with {ended.returncode}", fault)
    return int(ended.stdout) / (2**20 if sys.platform != "darwin" else 2**30)
