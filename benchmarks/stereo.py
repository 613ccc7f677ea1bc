"""How like the exact view of the right eye the one of dacli is, on rendered scenes: python -m benchmarks.stereo."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dacli.evaluation.metrics import align_affine
from dacli.inference import planning
from dacli.inference.loading import build_predictor
from dacli.models import tiny
from dacli.outputs.stereo import find_sources, second_view, separate_layers
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import Layout, render_layouts

SCENES, SIZE = 24, (768, 1024)
STREAM = 80808
PARALLAX = 0.025  # of the width, between the nearest and the farthest point

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]
ViewMethod = Callable[["StereoScene", Floats], Picture]


@dataclass(frozen=True)
class StereoScene:
    """A rendered pair of views [H, W, 3], and the exact disparity [H, W] in pixels of the left one."""

    left: Picture
    right: Picture
    disparity: Floats


def render(layout: Layout, size: tuple[int, int]) -> tuple[Picture, Floats, float]:
    """Return a picture of a layout, its inverse depth, and its focal length in pixels."""
    picture = render_layouts([layout], *size)
    rgb = np.ascontiguousarray(picture.rgb[0].permute(1, 2, 0).numpy())
    return rgb, picture.inverse_depth[0].numpy(), float(picture.focal[0])


def make_pair(layout: Layout, size: tuple[int, int]) -> StereoScene:
    """Return both views of a layout, the eyes so far apart that parallax is that of a comfortable picture."""
    left, inverse, focal = render(layout, size)
    baseline = PARALLAX * size[1] / (focal * max(float(inverse.max() - inverse.min()), 1e-6))
    right, _, _ = render(replace(layout, position=layout.position + baseline * layout.rotation[:, 0]), size)
    return StereoScene(left, right, focal * baseline * inverse)


def psnr(first: Picture, second: Picture) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(cv2.PSNR(first, second))


METHODS: Mapping[str, ViewMethod] = {
    "the left view": lambda scene, _: scene.left,
    "exact depth, torn at its edges": lambda scene, _: second_view(scene.left, scene.disparity),
    "exact depth": lambda scene, _: second_view(scene.left, separate_layers(scene.disparity, scene.left)),
    "tiny's depth as it is": lambda scene, predicted: second_view(scene.left, predicted),
    "tiny's depth": lambda scene, predicted: second_view(scene.left, separate_layers(predicted, scene.left)),
}


def measure(scenes: int, size: tuple[int, int]) -> tuple[dict[str, float], float, float]:
    """Return the mean PSNR of each method, the share of pixels that the left view lacks, and seconds for a view."""
    predictor = build_predictor(tiny.load_tiny(), planning.resolve_plan())
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    holes, seconds = [], []
    for index in range(scenes):
        scene = make_pair(make_scene(STREAM, index), size)
        (prediction,) = predictor.predict([scene.left])
        predicted = np.asarray(align_affine(prediction.depth, scene.disparity), np.float32)
        for name, method in METHODS.items():
            started = time.thread_time()
            made = method(scene, predicted)
            seconds.append(time.thread_time() - started)
            found[name].append(psnr(made, scene.right))
        holes.append(float(np.isnan(find_sources(scene.disparity)).mean()))
    return {name: statistics.mean(each) for name, each in found.items()}, statistics.mean(holes), seconds[-1]


def main() -> None:
    """Print one row for each method."""
    parser = argparse.ArgumentParser("python -m benchmarks.stereo", description=__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES)
    scenes = parser.parse_args().scenes
    rows, holes, seconds = measure(scenes, SIZE)
    sys.stdout.write(
        f"{scenes} scenes of {SIZE[0]} × {SIZE[1]} px, {holes:.1%} of the right view are not in the left\n"
    )
    for name, value in rows.items():
        sys.stdout.write(f"{name:34} {value:.2f} dB\n")
    sys.stdout.write(f"one view: {seconds:.2f} s of one core\n")


if __name__ == "__main__":
    main()
