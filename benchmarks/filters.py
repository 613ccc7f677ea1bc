"""What the filters of --post do to the depth of rendered scenes, and their time: python -m benchmarks.filters."""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence

import cv2
import numpy as np

from dacli.evaluation.scoring import score_prediction
from dacli.filters.table import FILTERS, FilterChain, parse_filters
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.models import tiny
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts

SCENES, SIZE = 24, (768, 1024)
TIMED_SIZE, TURNS = (1224, 1632), 7  # 2 megapixels
STREAM = 70707
CHAINS = ("", *FILTERS, "sharpen,guided", "guided,sharpen")


def score_chains(chains: Sequence[FilterChain], scenes: int, size: tuple[int, int]) -> dict[str, tuple[float, ...]]:
    """Return the mean boundary F1, δ1 and AbsRel of each chain over rendered scenes."""
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan())
    found: dict[str, list[tuple[float, ...]]] = {str(chain): [] for chain in chains}
    for index in range(scenes):
        picture = render_layouts([make_scene(STREAM, index)], *size)
        rgb = np.ascontiguousarray(picture.rgb[0].permute(1, 2, 0).numpy())
        truth = picture.inverse_depth[0].numpy()
        (prediction,) = predictor.predict([rgb])
        for chain in chains:
            scores = score_prediction(chain.apply(prediction.depth, rgb), truth, index)
            found[str(chain)].append((scores.boundary_f1, scores.delta1, scores.abs_rel))
    return {name: tuple(np.mean(rows, axis=0)) for name, rows in found.items()}


def time_chains(chains: Sequence[FilterChain], size: tuple[int, int] = TIMED_SIZE) -> dict[str, float]:
    """Return the median seconds of one core that each chain takes for a picture of 2 megapixels, all in turns."""
    cv2.setNumThreads(1)
    picture = render_layouts([make_scene(STREAM, 0)], *size)
    rgb = np.ascontiguousarray(picture.rgb[0].permute(1, 2, 0).numpy())
    depth = np.asarray(cv2.GaussianBlur(picture.inverse_depth[0].numpy(), (0, 0), 5), np.float32)
    taken: dict[str, list[float]] = {str(chain): [] for chain in chains}
    for _ in range(TURNS):
        for chain in chains:
            started = time.thread_time()
            chain.apply(depth, rgb)
            taken[str(chain)].append(time.thread_time() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    """Print one row for each chain of filters."""
    parser = argparse.ArgumentParser("python -m benchmarks.filters", description=__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES)
    scenes = parser.parse_args().scenes
    chains = [parse_filters(text) for text in CHAINS]
    scores, seconds = score_chains(chains, scenes, SIZE), time_chains(chains)
    sys.stdout.write(f"{scenes} scenes of {SIZE[0]} × {SIZE[1]} px; times for 2 megapixels\n")
    for name, (f1, delta1, abs_rel) in scores.items():
        milliseconds = 1000 * seconds[name]
        sys.stdout.write(
            f"{name or 'none':16} F1 {f1:.3f}  δ1 {delta1:.1%}  AbsRel {abs_rel:.3f}  {milliseconds:4.0f} ms\n"
        )


if __name__ == "__main__":
    main()
