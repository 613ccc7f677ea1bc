"""What pictures a second, memory and start-up are measured with: runs in turns, each in a process of its own."""

import copy
import importlib.util
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dacli.batch import inputs, jobs, pipeline
from dacli.batch.jobs import Job
from dacli.batch.settings import Style, Task
from dacli.errors import DacliError
from dacli.inference import device
from dacli.inference.engines.torch_engine import Engine
from dacli.inference.predictor import Predictor, start
from dacli.io import files, images, png
from dacli.models import tiny
from dacli.models.depth_anything import DepthAnything

TURNS = 7
STREAMED = 40  # pictures of a turn
MANY = 2000
# To Linux what a process held before it became another program counts, so the command is started by a small one.
WATCHED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    """Print all figures, one line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = (start_up, one_pass, memory, streaming, planning, rerun, folder_memory, tiles, tile_memory)
        for measure in plain:
            for line in measure(folder):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


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


def one_pass(_: Path) -> list[str]:
    """Vits at 518 × 686 through the engine, beside the plainest torch loop over the same network."""
    lines = []
    picture = torch.rand(1, 3, 518, 686)
    plain = DepthAnything("vits").eval()
    for precision in ("fp32", "bf16"):
        engine = Engine(DepthAnything("vits"), device.resolve("cpu", precision, "torch"))
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
    files.write(photo, cv2.imencode(".jpg", random.repeat(10, 0).repeat(10, 1))[1].tobytes())
    taken = peak("image", str(photo), "--weights", str(weights), "--save", "color,png16,npy", "-q")
    return [f"dacli image, vits, 24 megapixels, color, png16 and npy: at most {taken:.2f} GiB resident"]


def photos(folder: Path, count: int, *, width: int = 1632, height: int = 1224) -> list[Path]:
    """Distinct JPEGs, of 2 megapixels unless told otherwise: one rendered scene, shifted sideways."""
    from dacli.scenes.layouts import draw, scene

    small = draw([scene(4242, 0)], 306, 408).rgb[0].permute(1, 2, 0).numpy()[..., ::-1]
    large = cv2.resize(np.ascontiguousarray(small), (width, height), interpolation=cv2.INTER_CUBIC)
    paths = [folder / f"{number // 100:03}" / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".jpg", np.roll(large, number, 1))[1].tobytes())
    return paths


def streaming(folder: Path) -> list[str]:
    """Pictures per second of the whole run beside those of the bare network over the same tensors, in turns.

    The bare network takes one picture at a time with all cores, and then as many at a time as the run does.
    """
    sources = photos(folder / "stream", STREAMED)
    lines, plan = [], device.resolve("cpu")
    for name, network in (("tiny", tiny.load(tiny.BUNDLED)), ("vits", DepthAnything("vits"))):
        single = start(copy.deepcopy(network), plan, 1)
        ready = Predictor(network, plan, 518, tile="off", pictures=STREAMED)
        task = Task(name, "v2", "", ready.quantity, 518, plan, Style(), 10**9, overwrite=True)
        planned = jobs.plan(sources, folder / "streamed", ("color", "png16"), root=folder / "stream")
        seen = [ready.prepare(images.read(sources[0])).tensor[None]] * STREAMED
        workers = ready.shared()
        runs = (
            partial(one_by_one, single.forward, seen),
            partial(together, ready.engine.forward, seen, len(workers)),
            partial(whole, planned, workers, task),
        )
        *bare, run = turns(*runs, count=3)
        alone, many = (statistics.median(a / b for a, b in zip(each, run, strict=True)) for each in bare)
        rate = STREAMED / statistics.median(run)
        lines.append(
            f"{name} at 518, {plan.engine} {plan.precision}, 2 megapixels, color + png16: {rate:.2f} pictures/s, "
            f"{alone:.2f} of the bare network's one at a time, {many:.2f} of its {len(workers)} at a time"
        )
    return lines


def one_by_one(run: Callable[[torch.Tensor], object], seen: list[torch.Tensor]) -> None:
    for picture in seen:
        run(picture)


def together(run: Callable[[torch.Tensor], object], seen: list[torch.Tensor], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, seen))


def whole(planned: tuple[Job, ...], workers: list[Predictor], task: Task) -> None:
    if any(work.error for work in pipeline.run(planned, workers, task)):
        raise SystemExit("a picture failed")


def planning(folder: Path) -> list[str]:
    """Seconds to find and plan a hundred thousand files."""
    for number in range(1000):
        (folder / "many" / str(number)).mkdir(parents=True)
        for each in range(100):
            (folder / "many" / str(number) / f"{each}.jpg").touch()

    def find_and_plan() -> None:
        found = inputs.gather(str(folder / "many"), folder / "none")
        jobs.plan(found.files, folder / "none", ("color", "png16"), root=found.root)

    (seconds,) = turns(find_and_plan, count=3)
    return [f"planning 100,000 files: {statistics.median(seconds):.1f} s"]


def rerun(folder: Path) -> list[str]:
    """Seconds of the command over ten thousand pictures that are complete, Python's start included."""
    photos(folder / "done", 10_000, width=48, height=36)
    command = ["-m", "dacli", "folder", str(folder / "done"), str(folder / "made"), "--encoder", "tiny", "-q"]
    first = python(*command, "--size", "32")
    first()
    (seconds,) = turns(first, count=3)
    return [f"dacli folder over 10,000 complete pictures: {statistics.median(seconds):.1f} s"]


def folder_memory(folder: Path) -> list[str]:
    """Peak resident memory of the command on few and on many pictures of 2 megapixels."""
    weights = folder / "vits.pth"
    torch.save(DepthAnything("vits").state_dict(), weights)
    photos(folder / "memory", MANY)
    lines = []
    for encoder, count in (("tiny", 50), ("tiny", MANY), ("vits", 50)):
        out, few = folder / f"{encoder}{count}", ["--include", "000/000[0-4]*"] if count == 50 else []
        network = ["--weights", str(weights)] if encoder == "vits" else ["--encoder", encoder]
        saved = ["--save", "color,png16", "--size", "518", "--tile", "off", "-q", *few]
        taken = peak("folder", str(folder / "memory"), str(out), *network, *saved)
        lines.append(f"dacli folder, {encoder} at 518, {count} pictures: at most {taken:.2f} GiB resident")
    return lines


def peak(*arguments: str) -> float:
    """Peak resident memory of a dacli command in GiB, NaN where the system does not tell it.

    Raises DacliError if the command fails.
    """
    if importlib.util.find_spec("resource") is None:
        return math.nan
    command = [sys.executable, "-c", WATCHED, sys.executable, "-m", "dacli", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        fault = ended.stderr.strip().rpartition("\n")[2]
        raise DacliError(f"dacli {arguments[0]}, run for its memory, ended with {ended.returncode}", fault)
    return int(ended.stdout) / (2**20 if sys.platform != "darwin" else 2**30)


def tiles(_: Path) -> list[str]:
    """Tiles with vits beside one pass at the same size, in turns, on a 4:3 picture of 12 megapixels.

    The one pass is torch's: OpenVINO holds all pairs of tokens, and at these sizes has no memory for them.
    """
    picture = np.random.default_rng(0).integers(0, 255, (306, 408, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    lines, plan = [], device.resolve("cpu")
    for size, count in ((1600, 3), (2400, 1)):
        small = Predictor(DepthAnything("vits"), plan, size, tile="on")
        large = Predictor(DepthAnything("vits"), device.resolve("cpu", engine="torch"), size, tile="off")
        cut, one = turns(partial(tiled, small, picture), partial(in_one, large, picture), count=count)
        ratio = statistics.median(a / b for a, b in zip(cut, one, strict=True))
        lines.append(
            f"vits {plan.precision}, --size {size}: tiles on {plan.engine} {statistics.median(cut):.1f} s, "
            f"1/{1 / ratio:.1f} of one pass on torch ({statistics.median(one):.1f} s)"
        )
    return lines


def tiled(ready: Predictor, picture: NDArray[np.uint8]) -> None:
    torch.set_num_threads(1)  # as the engine does it that makes the tiles
    ready.predict([picture])


def in_one(ready: Predictor, picture: NDArray[np.uint8]) -> None:
    torch.set_num_threads(device.cores())
    ready.predict([picture])


def tile_memory(folder: Path) -> list[str]:
    """Peak resident memory of the command with vits in tiles, on small and large photos."""
    weights = folder / "vits.pth"
    torch.save(DepthAnything("vits").state_dict(), weights)
    (small,) = photos(folder / "2", 1)
    (large,) = photos(folder / "50", 1, width=8165, height=6124)
    lines = []
    for size, source, megapixels in ((1600, small, 2), (2400, small, 2), (1600, large, 50), (2400, large, 50)):
        out = folder / f"tiled{megapixels}at{size}"
        taken = peak("image", str(source), "-o", str(out), "--weights", str(weights), "--size", str(size), "-q")
        lines.append(
            f"dacli image, vits in tiles, --size {size}, {megapixels} megapixels: at most {taken:.2f} GiB resident"
        )
    return lines


if __name__ == "__main__":
    main()
