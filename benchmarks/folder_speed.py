"""Figures of one picture, folders and tiles on this machine, as ratios of turns in one run; medians are given.

python -m benchmarks.folder_speed
"""

import argparse
import copy
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dacli.batch import inputs
from dacli.batch.jobs import Job, plan_jobs
from dacli.batch.outcomes import Failed
from dacli.batch.pictures import PictureRun, run_pictures
from dacli.batch.settings import RunSettings
from dacli.bench.measure import make_photos, peak_memory, time_in_turns
from dacli.inference import device, planning
from dacli.inference.engines.table import start_engine
from dacli.inference.engines.torch_engine import TorchEngine
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Predictor
from dacli.io import files, images, png
from dacli.models import tiny
from dacli.models.depth_anything import DepthAnything
from dacli.outputs.formats import choose_formats

STREAMED = 40  # pictures of a turn
MANY = 2000


def main() -> None:
    """Print all figures, one line each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = (start_up, one_pass, memory, streaming, folder_planning, rerun, folder_memory, tiles, tile_memory)
        for measure in plain:
            for line in measure(folder):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


def start_up(folder: Path) -> list[str]:
    photo = folder / "photo.png"
    random = np.random.default_rng(0)
    files.write_file(photo, png.encode_png(random.integers(0, 255, (1200, 1600, 3), np.uint8)))
    image = ["-m", "dacli", "image", str(photo), "--encoder", "tiny", "--overwrite", "-q"]
    help_, torch_, whole = time_in_turns(python("-m", "dacli", "--help"), python("-c", "import torch"), python(*image))
    beyond = [b - a for a, b in zip(torch_, whole, strict=True)]
    return [
        f"dacli --help: {statistics.median(help_):.2f} s",
        f"import torch: {statistics.median(torch_):.2f} s",
        f"dacli image, tiny, 2 megapixels: {statistics.median(beyond):.2f} s beyond import torch",
    ]


def python(*arguments: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603


def one_pass(_: Path) -> list[str]:
    """Return vits at 518 × 686 through the engine, beside the plainest torch loop over the same network."""
    lines = []
    picture = torch.rand(1, 3, 518, 686)
    plain = DepthAnything("vits").eval()
    for precision in ("fp32", "bf16"):
        engine = TorchEngine(DepthAnything("vits"), planning.resolve_plan("cpu", precision, "torch"))
        run, loop = time_in_turns(lambda: engine.forward(picture), lambda: forward(plain, picture))  # noqa: B023 - runs at once
        ratio = statistics.median(a / b for a, b in zip(run, loop, strict=True))
        lines.append(
            f"vits 518 × 686 {precision}: {statistics.median(run):.3f} s, {ratio:.2f} of the plain float32 loop "
            f"({statistics.median(loop):.3f} s), {device.usable_cores()} cores"
        )
    return lines


@torch.inference_mode()
def forward(network: DepthAnything, picture: torch.Tensor) -> torch.Tensor:
    depth: torch.Tensor = network(picture)
    return depth


def memory(folder: Path) -> list[str]:
    """Return peak resident memory of the command on a photo of 24 megapixels with vits at 518."""
    photo, weights = folder / "large.jpg", folder / "vits.pth"
    torch.save(DepthAnything("vits").state_dict(), weights)
    random = np.random.default_rng(0).integers(0, 255, (400, 600, 3), np.uint8)
    files.write_file(photo, cv2.imencode(".jpg", random.repeat(10, 0).repeat(10, 1))[1].tobytes())
    taken = peak_memory("image", str(photo), "--weights", str(weights), "--save", "color,png16,npy", "-q")
    return [f"dacli image, vits, 24 megapixels, color, png16 and npy: at most {taken:.2f} GiB resident"]


def streaming(folder: Path) -> list[str]:
    """Return pictures per second of the whole run beside those of the bare network over the same tensors, in turns.

    The bare network takes one picture at a time with all cores, and then as many at a time as the run does.
    """
    sources = make_photos(folder / "stream", STREAMED)
    lines, plan = [], planning.resolve_plan("cpu")
    for name, network in (("tiny", tiny.load_tiny(tiny.BUNDLED_WEIGHTS)), ("vits", DepthAnything("vits"))):
        single = start_engine(copy.deepcopy(network), plan, 1, lambda _: None)
        ready = build_predictor(network, plan, 518, tile="off", pictures=STREAMED)
        settings = RunSettings(
            encoder=name, model="v2", weights="", quantity=ready.spec.quantity, size=518, plan=plan, overwrite=True
        )
        formats = choose_formats(["color", "png16"])
        planned = plan_jobs(sources, folder / "streamed", formats, root=folder / "stream")
        prepared = ready.prepare(images.read_image(sources[0]))
        seen = [prepared.tensor[None]] * STREAMED
        runs = (
            partial(one_by_one, single.forward, seen),
            partial(together, lambda _: ready.infer([prepared]), seen, ready.concurrency),  # noqa: B023 - runs at once
            partial(whole, planned, PictureRun(ready, settings)),
        )
        *bare, run = time_in_turns(*runs, count=3)
        alone, many = (statistics.median(a / b for a, b in zip(each, run, strict=True)) for each in bare)
        rate = STREAMED / statistics.median(run)
        lines.append(
            f"{name} at 518, {plan.engine} {plan.precision}, 2 megapixels, color + png16: {rate:.2f} pictures/s, "
            f"{alone:.2f} of the bare network's one at a time, {many:.2f} of its {ready.concurrency} at a time"
        )
    return lines


def one_by_one(run: Callable[[torch.Tensor], object], seen: list[torch.Tensor]) -> None:
    for picture in seen:
        run(picture)


def together(run: Callable[[torch.Tensor], object], seen: list[torch.Tensor], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(run, seen))


def whole(planned: Sequence[Job], run: PictureRun) -> None:
    if any(isinstance(outcome, Failed) for outcome in run_pictures(planned, run)):
        raise SystemExit("a picture failed")


def folder_planning(folder: Path) -> list[str]:
    """Return seconds to find and plan a hundred thousand files."""
    for number in range(1000):
        (folder / "many" / str(number)).mkdir(parents=True)
        for each in range(100):
            (folder / "many" / str(number) / f"{each}.jpg").touch()

    def find_and_plan() -> None:
        found = inputs.gather_inputs(str(folder / "many"), folder / "none")
        plan_jobs(found.files, folder / "none", choose_formats(["color", "png16"]), root=found.root)

    (seconds,) = time_in_turns(find_and_plan, count=3)
    return [f"planning 100,000 files: {statistics.median(seconds):.1f} s"]


def rerun(folder: Path) -> list[str]:
    """Return seconds of the command over ten thousand pictures that are complete, Python's start included."""
    make_photos(folder / "done", 10_000, width=48, height=36)
    command = ["-m", "dacli", "folder", str(folder / "done"), str(folder / "made"), "--encoder", "tiny", "-q"]
    first = python(*command, "--size", "32")
    first()
    (seconds,) = time_in_turns(first, count=3)
    return [f"dacli folder over 10,000 complete pictures: {statistics.median(seconds):.1f} s"]


def folder_memory(folder: Path) -> list[str]:
    """Return peak resident memory of the command on few and on many pictures of 2 megapixels."""
    weights = folder / "vits.pth"
    torch.save(DepthAnything("vits").state_dict(), weights)
    make_photos(folder / "memory", MANY)
    lines = []
    for encoder, count in (("tiny", 50), ("tiny", MANY), ("vits", 50)):
        out, few = folder / f"{encoder}{count}", ["--include", "000/000[0-4]*"] if count == 50 else []
        network = ["--weights", str(weights)] if encoder == "vits" else ["--encoder", encoder]
        saved = ["--save", "color,png16", "--size", "518", "--tile", "off", "-q", *few]
        taken = peak_memory("folder", str(folder / "memory"), str(out), *network, *saved)
        lines.append(f"dacli folder, {encoder} at 518, {count} pictures: at most {taken:.2f} GiB resident")
    return lines


def tiles(_: Path) -> list[str]:
    """Return tiles with vits beside one pass at the same size, in turns, on a 4:3 picture of 12 megapixels.

    The one pass is torch's: OpenVINO holds all pairs of tokens, and at these sizes has no memory for them.
    """
    picture = np.random.default_rng(0).integers(0, 255, (306, 408, 3), np.uint8).repeat(10, 0).repeat(10, 1)
    lines, plan = [], planning.resolve_plan("cpu")
    for size, count in ((1600, 3), (2400, 1)):
        small = build_predictor(DepthAnything("vits"), plan, size, tile="on")
        large = build_predictor(DepthAnything("vits"), planning.resolve_plan("cpu", engine="torch"), size, tile="off")
        cut, one = time_in_turns(partial(tiled, small, picture), partial(in_one, large, picture), count=count)
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
    torch.set_num_threads(device.usable_cores())
    ready.predict([picture])


def tile_memory(folder: Path) -> list[str]:
    """Return peak resident memory of the command with vits in tiles, on small and large photos."""
    weights = folder / "vits.pth"
    torch.save(DepthAnything("vits").state_dict(), weights)
    (small,) = make_photos(folder / "2", 1)
    (large,) = make_photos(folder / "50", 1, width=8165, height=6124)
    lines = []
    for size, source, megapixels in ((1600, small, 2), (2400, small, 2), (1600, large, 50), (2400, large, 50)):
        out = folder / f"tiled{megapixels}at{size}"
        taken = peak_memory("image", str(source), "-o", str(out), "--weights", str(weights), "--size", str(size), "-q")
        lines.append(
            f"dacli image, vits in tiles, --size {size}, {megapixels} megapixels: at most {taken:.2f} GiB resident"
        )
    return lines


if __name__ == "__main__":
    argparse.ArgumentParser("python -m benchmarks.folder_speed", description=__doc__).parse_args()
    main()
