"""Measured figures of clips on this machine: python -m benchmarks.clip_speed. Ratios are of turns in one run."""

import copy
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from dacli.batch import jobs
from dacli.batch.settings import Style, Task
from dacli.bench.measure import one_by_one, peak, together, turns
from dacli.inference import device
from dacli.inference.predictor import Predictor, start
from dacli.models.depth_anything import DepthAnything
from dacli.outputs import formats
from dacli.video import process
from dacli.video.decoding import ignore
from dacli.video.ffmpeg import run
from dacli.video.stabilize import Steadier

FRAMES = 48  # of a turn
FEW, MANY = 100, 3000


def main() -> None:
    """Print all figures, one line each."""
    with tempfile.TemporaryDirectory() as name:
        for measure in (steadying, speed, memory):
            for line in measure(Path(name)):
                sys.stdout.write(line + "\n")
                sys.stdout.flush()


def footage(folder: Path, frames: int) -> Path:
    """A clip of 1920 × 1080 that moves."""
    path = folder / f"{frames}.mp4"
    fault = run(["-f", "lavfi", "-i", "mandelbrot=s=1920x1080:r=24", "-frames:v", str(frames), "-pix_fmt", "yuv420p",
                 "-preset", "ultrafast", f"file:{path}"])  # fmt: skip
    if fault:
        raise SystemExit(fault)
    return path


def steadying(_: Path) -> list[str]:
    """Milliseconds of one core for a frame of 518 × 924, the depth of 1080p."""
    random, threads = np.random.default_rng(0), cv2.getNumThreads()
    depth = random.random((518, 924), np.float32)
    rgb = random.integers(0, 255, (518, 924, 3), np.uint8)
    steadier = Steadier()
    cv2.setNumThreads(1)
    (seconds,) = turns(lambda: steadier.step(depth, rgb, 0.0), count=200)
    cv2.setNumThreads(threads)
    return [f"steadying: {1000 * statistics.median(seconds):.1f} ms a frame on one core"]


def speed(folder: Path) -> list[str]:
    """Frames per second of the whole run, beside those of the bare network over the same tensors, in turns."""
    plan, network = device.resolve("cpu"), DepthAnything("vits")
    single = start(copy.deepcopy(network), plan, 1)
    ready = Predictor(network, plan, 518, pictures=FRAMES)
    task = Task("vits", "v2", "", ready.quantity, 518, plan, Style(), 10**9, overwrite=True)
    showing = process.Showing()
    (job,) = jobs.plan([footage(folder, FRAMES)], folder / "out", ("color", "png16"), suffixes=formats.CLIP_KINDS)
    clip = process.open_clip(job.source, showing, 10**9)
    seen = [ready.prepare(np.zeros((1080, 1920, 3), np.uint8)).tensor[None]] * FRAMES
    workers = ready.shared()
    runs = (
        partial(one_by_one, single.forward, seen),
        partial(together, ready.engine.forward, seen, len(workers)),
        partial(process.develop, job, clip, workers, task, showing, ignore, lambda *_: None),
    )
    *bare, made = turns(*runs, count=3)
    alone, many = (statistics.median(a / b for a, b in zip(each, made, strict=True)) for each in bare)
    rate = FRAMES / statistics.median(made)
    return [
        f"vits at 518, {plan.engine} {plan.precision}, 1080p, color + png16: {rate:.2f} frames/s, {alone:.2f} of the "
        f"bare network's one at a time, {many:.2f} of its {len(workers)} at a time"
    ]


def memory(folder: Path) -> list[str]:
    """Peak resident memory of the command on a short and on a long clip."""
    lines = []
    for frames in (FEW, MANY):
        clip = footage(folder, frames)
        saved = ["--save", "color,png16", "--encoder", "tiny", "-o", str(folder / str(frames)), "-q"]
        taken = peak("video", str(clip), *saved)
        lines.append(f"dacli video, tiny, 1080p, {frames} frames: at most {taken:.3f} GiB resident")
    return lines


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
