"""Measured figures of this machine: python -m dacli.bench. Ratios are of turns in one run; medians are given."""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dacli import device, files, png
from dacli.depth_anything import DepthAnything
from dacli.engine import Engine

TURNS = 7


def main() -> None:
    """Print all figures, one line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for line in (*start_up(folder), *one_pass(), *memory(folder)):
            sys.stdout.write(line + "\n")


def turns(*runs: Callable[[], object], count: int = TURNS) -> list[list[float]]:
    """Seconds of each run, in turns, after one turn to warm up."""
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in range(count + 1):
        for run, taken in zip(runs, seconds, strict=True):
            begun = time.perf_counter()
            run()
            if turn:
                taken.append(time.perf_counter() - begun)
    return seconds


def start_up(folder: Path) -> list[str]:
    photo = folder / "photo.png"
    random = np.random.default_rng(0)
    files.write(photo, png.encode(random.integers(0, 255, (1200, 1600, 3), np.uint8)))
    image = ["-m", "dacli", "image", str(photo), "--encoder", "tiny", "--overwrite", "-q"]
    help_, torch_, whole = turns(python("-m", "dacli", "--help"), python("-c", "import torch"), python(*image))
    beyond = [b - a for a, b in zip(torch_, whole, strict=True)]
    return [
        f"dacli --help: {statistics.median(help_):.2f} s",
        f"import torch: {statistics.median(torch_):.2f} s",
        f"dacli image, tiny, 2 megapixels: {statistics.median(beyond):.2f} s beyond import torch",
    ]


def python(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603


def one_pass() -> list[str]:
    """Vits at 518 × 686 through the engine, beside the plainest torch loop over the same network."""
    lines = []
    picture = torch.rand(1, 3, 518, 686)
    plain = DepthAnything("vits").eval()
    for precision in ("fp32", "bf16"):
        engine = Engine(DepthAnything("vits"), device.resolve("cpu", precision))
        run, loop = turns(lambda: engine.forward(picture), lambda: forward(plain, picture))  # noqa: B023 - runs at once
        ratio = statistics.median(a / b for a, b in zip(run, loop, strict=True))
        lines.append(
            f"vits 518 × 686 {precision}: {statistics.median(run):.3f} s, {ratio:.2f} of the plain float32 loop "
            f"({statistics.median(loop):.3f} s), {device.cores()} cores"
        )
    return lines


@torch.inference_mode()
def forward(network: DepthAnything, picture: torch.Tensor) -> torch.Tensor:
    depth: torch.Tensor = network(picture)
    return depth


def memory(folder: Path) -> list[str]:
    """Peak resident memory of the command on a photo of 24 megapixels with vits at 518."""
    photo, weights = folder / "large.jpg", folder / "vits.pth"
    torch.save(DepthAnything("vits").state_dict(), weights)
    random = np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8)
    import cv2

    files.write(photo, cv2.imencode(".jpg", random.repeat(10, 0).repeat(10, 1))[1].tobytes())
    python("-m", "dacli", "image", str(photo), "--weights", str(weights), "--save", "color,png16,npy", "-q")()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    return [f"dacli image, vits, 24 megapixels, color, png16 and npy: at most {peak:.2f} GiB resident"]


if __name__ == "__main__":
    main()
