"""How well a predictor does on rendered scenes that were never trained on."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from dacli import metrics
from dacli.predictor import Predictor
from dacli.scenes import draw, scene

HELD_OUT = 4242
FORMATS = ((336, 448), (448, 336), (384, 384), (288, 512))


@dataclass(frozen=True)
class Scores:
    """Ordinal accuracy, δ1, absolute relative error and boundary F1 (see metrics); NaN where nothing counts.

    `ramp` is the ordinal accuracy, on the same pairs, of saying that lower in the picture is nearer.
    """

    ordinal: float
    ramp: float
    delta1: float
    abs_rel: float
    boundary_f1: float

    def __str__(self) -> str:
        return (
            f"{self.ordinal:.1%} of point pairs in the right order (lower is nearer: {self.ramp:.1%}), "
            f"δ1 {self.delta1:.1%}, "
            f"AbsRel {self.abs_rel:.3f}, boundary F1 {self.boundary_f1:.3f}"
        )


def score(prediction: metrics.Map, truth: metrics.Map, rng: np.random.Generator) -> Scores:
    """The scores of one map of inverse depth [H, W]; all but the first after an affine fit to the truth."""
    fitted, pairs = metrics.aligned(prediction, truth), int(rng.integers(1 << 32))
    ramp = np.indices(truth.shape)[0]
    return Scores(
        metrics.ordinal(prediction, truth, np.random.default_rng(pairs)),
        metrics.ordinal(ramp.astype(np.float32), truth, np.random.default_rng(pairs)),
        metrics.delta1(fitted, truth),
        metrics.abs_rel(fitted, truth),
        metrics.boundary_f1(fitted, truth),
    )


def on_scenes(predictor: Predictor, count: int, seed: int, report: Callable[[int], None]) -> Scores:
    """Mean scores over `count` scenes of the stream `seed`, in four formats by turns."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        picture = draw([scene(seed, index)], *FORMATS[index % len(FORMATS)])
        (found,) = predictor.predict([picture.rgb[0].permute(1, 2, 0).numpy()])
        rows.append(score(found.depth, picture.inverse_depth[0].numpy(), rng))
        report(index + 1)
    return Scores(*(float(np.nanmean([getattr(row, f.name) for row in rows])) for f in fields(Scores)))
