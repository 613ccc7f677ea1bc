"""What --ensemble does to the depth of rendered scenes, and its time: python -m benchmarks.ensembles."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dacli.evaluation.accuracy import align_prediction
from dacli.evaluation.scoring import score_prediction
from dacli.inference import planning
from dacli.inference.ensemble import parse_ensemble
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Prediction
from dacli.models import tiny
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts
from dacli.types import DepthArray

SCENES, SIZE = 48, (480, 640)
STREAM = 70707
ENSEMBLES = ("", "flip", "sizes", "flip,sizes")
LARGER_ALONE = "1.5 × the size"


@dataclass(frozen=True)
class EnsembleFigures:
    """Mean scores over scenes, and the median seconds of a picture and `unsure`.

    `unsure` is how many times as large errors are where members differ more than usual as where they differ less.
    """

    seconds: float
    unsure: float
    ordinal: float
    delta1: float
    abs_rel: float
    boundary_f1: float


def measure_ensembles(
    scenes: int, size: tuple[int, int], names: Sequence[str] = ENSEMBLES
) -> dict[str, EnsembleFigures]:
    """Return the figures of each ensemble, and of one pass at the larger size, over the same scenes in turns."""
    network, plan = tiny.load_tiny(), planning.resolve_plan()
    predictors = {name: build_predictor(network, plan, ensemble=parse_ensemble(name)) for name in names}
    predictors[LARGER_ALONE] = build_predictor(network, plan, 3 * network.spec.native_size // 2)
    scores: dict[str, list[tuple[float, ...]]] = {name: [] for name in predictors}
    medians: dict[str, list[tuple[float, float]]] = {name: [] for name in predictors}
    for index in range(scenes):
        picture = render_layouts([make_scene(STREAM, index)], *size)
        rgb = np.ascontiguousarray(picture.rgb[0].permute(1, 2, 0).numpy())
        truth = picture.inverse_depth[0].numpy()
        for name, predictor in predictors.items():
            started = time.perf_counter()
            (prediction,) = predictor.predict([rgb])
            medians[name].append((time.perf_counter() - started, compare_halves(prediction, truth)))
            found = score_prediction(prediction.depth, truth, index)
            scores[name].append((found.ordinal, found.delta1, found.abs_rel, found.boundary_f1))
    return {
        name: EnsembleFigures(*map(float, [*np.median(medians[name], axis=0), *np.mean(rows, axis=0)]))
        for name, rows in scores.items()
    }


def compare_halves(prediction: Prediction, truth: DepthArray) -> float:
    """Return the mean error of the half of the pixels with the larger spread over that of the other; NaN without one.

    Errors are differences of inverse depth [H, W] after an alignment in scale and shift.
    """
    if prediction.spread is None:
        return float("nan")
    error = np.abs(align_prediction(prediction.depth, truth, "affine") - truth)
    unsure = prediction.spread > np.median(prediction.spread)
    return float(error[unsure].mean() / error[~unsure].mean())


def main() -> None:
    """Print one row for each ensemble."""
    parser = argparse.ArgumentParser("python -m benchmarks.ensembles", description=__doc__)
    parser.add_argument("--scenes", type=int, default=SCENES)
    scenes = parser.parse_args().scenes
    sys.stdout.write(f"{scenes} scenes of {SIZE[0]} × {SIZE[1]} px, tiny\n")
    for name, row in measure_ensembles(scenes, SIZE).items():
        sys.stdout.write(
            f"{name or 'none':16} order {row.ordinal:.1%}  δ1 {row.delta1:.1%}  AbsRel {row.abs_rel:.3f}  "
            f"F1 {row.boundary_f1:.3f}  unsure × {row.unsure:.1f}  {1000 * row.seconds:4.0f} ms\n"
        )


if __name__ == "__main__":
    main()
