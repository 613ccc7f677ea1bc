"""Measured figures of clips on this machine: python -m benchmarks.clip_speed. Ratios are of turns in one run."""

import argparse
import copy
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.folder_speed import one_by_one, together
from dacli.batch.jobs import plan_jobs
from dacli.batch.opening import OpenRun
from dacli.batch.settings import RunSettings
from dacli.bench.measure import peak_memory, time_in_turns
from dacli.callbacks import ignore_log, ignore_progress
from dacli.inference import planning
from dacli.inference.engines.table import start_engine
from dacli.inference.loading import build_predictor
from dacli.models.depth_anything import DepthAnything
from dacli.outputs.formats import choose_formats
from dacli.video import process
from dacli.video.ffmpeg import run_ffmpeg
from dacli.video.options import ClipOptions
from dacli.video.stabilize import Stabilizer

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
    """Return a clip of 1920 × 1080 that moves."""
    path = folder / f"{frames}.mp4"
    fault = run_ffmpeg(
        [
            "-f",
            "lavfi",
            "-i",
            "mandelbrot=s=1920x1080:r=24",
            "-frames:v",
            str(frames),
            "-pix_fmt",
            "yuv420p",
            "-preset",
            "ultrafast",
            f"file:{path}",
        ]
    )
    if fault:
        raise SystemExit(fault)
    return path


def steadying(_: Path) -> list[str]:
    """Return milliseconds of one core for a frame of 518 × 924, the depth of 1080p."""
    random, threads = np.random.default_rng(0), cv2.getNumThreads()
    depth = random.random((518, 924), np.float32)
    rgb = random.integers(0, 255, (518, 924, 3), np.uint8)
    stabilizer = Stabilizer()
    cv2.setNumThreads(1)
    (seconds,) = time_in_turns(lambda: stabilizer.step(depth, rgb, 0.0), count=200)
    cv2.setNumThreads(threads)
    return [f"steadying: {1000 * statistics.median(seconds):.1f} ms a frame on one core"]


def speed(folder: Path) -> list[str]:
    """Return frames per second of the whole run, beside those of the bare network over the same tensors, in turns."""
    plan, network = planning.resolve_plan("cpu"), DepthAnything("vits")
    single = start_engine(copy.deepcopy(network), plan, 1, ignore_log)
    ready = build_predictor(network, plan, 518, pictures=FRAMES)
    settings = RunSettings(
        encoder="vits", model="v2", weights="", quantity=ready.spec.quantity, size=518, plan=plan, overwrite=True
    )
    options = ClipOptions()
    formats = choose_formats(["color", "png16"])
    (job,) = plan_jobs([footage(folder, FRAMES)], folder / "out", formats, medium="clip")
    clip = process.open_clip(job.source, options, 10**9)
    prepared = ready.prepare(np.zeros((1080, 1920, 3), np.uint8))
    seen = [prepared.tensor[None]] * FRAMES
    runs = (
        partial(one_by_one, single.forward, seen),
        partial(together, lambda _: ready.infer([prepared]), seen, ready.concurrency),
        partial(
            process.process_clip,
            job,
            clip,
            OpenRun(ready, settings),
            options,
            log=ignore_log,
            progress=ignore_progress,
        ),
    )
    *bare, made = time_in_turns(*runs, count=3)
    alone, many = (statistics.median(a / b for a, b in zip(each, made, strict=True)) for each in bare)
    rate = FRAMES / statistics.median(made)
    return [
        f"vits at 518, {plan.engine} {plan.precision}, 1080p, color + png16: {rate:.2f} frames/s, {alone:.2f} of the "
        f"bare network's one at a time, {many:.2f} of its {ready.concurrency} at a time"
    ]


def memory(folder: Path) -> list[str]:
    """Return peak resident memory of the command on a short and on a long clip."""
    lines = []
    for frames in (FEW, MANY):
        clip = footage(folder, frames)
        saved = ["--save", "color,png16", "--encoder", "tiny", "-o", str(folder / str(frames)), "-q"]
        taken = peak_memory("video", str(clip), *saved)
        lines.append(f"dacli video, tiny, 1080p, {frames} frames: at most {taken:.3f} GiB resident")
    return lines


if __name__ == "__main__":
    argparse.ArgumentParser("python -m benchmarks.clip_speed", description=__doc__).parse_args()
    torch.manual_seed(0)
    main()
