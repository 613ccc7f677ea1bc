"""What the filters of --pre do to depth of spoiled pictures, and their time: python -m benchmarks.picture_filters."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from dacli.evaluation.scoring import score_prediction
from dacli.filters.picture_table import PICTURE_FILTERS, PictureFilterChain, parse_picture_filters
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.models import tiny
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts
from dacli.types import FloatArray, Image8

SCENES, SIZE = 24, (480, 640)
TIMED_SIZE, TURNS = (1224, 1632), 7  # 2 megapixels
STREAM = 70707
CAST = (1.3, 1.0, 0.55)  # of light bulbs


def add_noise(image: FloatArray) -> FloatArray:
    """Return a picture with the noise of a dark room: a standard deviation of 25 of 255."""
    return image + np.random.default_rng(0).normal(0, 25 / 255, image.shape)


# What spoils a picture [H, W, 3] in 0 … 1, and the filter against it.
SPOILED: Mapping[str, tuple[Callable[[FloatArray], FloatArray], str]] = {
    "dark, an eighth of the light": (lambda image: (image**2.2 / 8) ** (1 / 2.2), "exposure"),
    "blown, three times the light": (lambda image: (3 * image**2.2) ** (1 / 2.2), "exposure"),
    "cast of light bulbs": (lambda image: image * np.array(CAST), "white-balance"),
    "noise": (add_noise, "denoise"),
    "haze, a third of the contrast": (lambda image: 0.6 + (image - 0.5) / 3, "contrast"),
    "none": (lambda image: image, ",".join(PICTURE_FILTERS)),
}


def spoil(image: Image8, how: Callable[[FloatArray], FloatArray]) -> Image8:
    """Return a picture after what spoils it, 8 bits."""
    return np.asarray(np.rint(255 * np.clip(how(image / 255), 0, 1)), np.uint8)


def score_spoiled(scenes: int, size: tuple[int, int]) -> dict[tuple[str, str], tuple[float, ...]]:
    """Return the mean order, δ1 and AbsRel over rendered scenes for each fault, without and with a filter."""
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan())
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for index in range(scenes):
        picture = render_layouts([make_scene(STREAM, index)], *size)
        rgb = np.ascontiguousarray(picture.rgb[0].permute(1, 2, 0).numpy())
        truth = picture.inverse_depth[0].numpy()
        for fault, (how, filters) in SPOILED.items():
            for text in ("", *filters.split(",")):
                (prediction,) = predictor.predict([parse_picture_filters(text).apply(spoil(rgb, how))])
                scores = score_prediction(prediction.depth, truth, index)
                found.setdefault((fault, text), []).append((scores.ordinal, scores.delta1, scores.abs_rel))
    return {key: tuple(np.mean(rows, axis=0)) for key, rows in found.items()}


def time_picture_filters(chains: Sequence[PictureFilterChain], size: tuple[int, int] = TIMED_SIZE) -> dict[str, float]:
    """Return the median seconds of one core that each chain takes for a picture of 2 megapixels, all in turns."""
    cv2.setNumThreads(1)
    picture = render_layouts([make_scene(STREAM, 0)], *size)
    rgb = np.ascontiguousarray(picture.rgb[0].permute(1, 2, 0).numpy())
    taken: dict[str, list[float]] = {str(chain): [] for chain in chains}
    for _ in range(TURNS):
        for chain in chains:
            started = time.thread_time()
            chain.apply(rgb)
            taken[str(chain)].append(time.thread_time() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    """Print one row for each fault of pictures and filter, and the time of each filter."""
    parser = argparse.ArgumentParser("python -m benchmarks.picture_filters", description=__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES)
    scenes = parser.parse_args().scenes
    sys.stdout.write(f"{scenes} scenes of {SIZE[0]} × {SIZE[1]} px; times for 2 megapixels\n")
    for (fault, text), (ordinal, delta1, abs_rel) in score_spoiled(scenes, SIZE).items():
        row = f"{fault:30} {text or 'none':14} order {ordinal:.1%}  δ1 {delta1:.1%}  AbsRel {abs_rel:.3f}\n"
        sys.stdout.write(row)
    for name, seconds in time_picture_filters([parse_picture_filters(name) for name in PICTURE_FILTERS]).items():
        sys.stdout.write(f"{name:30} {1000 * seconds:.0f} ms\n")


if __name__ == "__main__":
    main()
