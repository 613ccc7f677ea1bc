"""Scores of a network on pictures whose depth is known, or of which people said which of two points is nearer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dacli import types
from dacli.choices import CropName
from dacli.errors import DacliError
from dacli.evaluation import accuracy, datasets, metrics
from dacli.evaluation.datasets import DepthPair
from dacli.inference.predictor import Predictor
from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import Layout, render_layouts

HELD_OUT = 4242  # the stream of scenes that evaluation uses by default
SCENE_FORMATS = ((336, 448), (448, 336), (384, 384), (288, 512))
SMALLEST_DEPTH = 1e-6  # metres: smaller predictions count as this
SceneMaker = Callable[[int, int], Layout]  # takes a stream and a number in it
Point = tuple[int, int]  # row and column
PairOrder = tuple[Point, Point]  # the nearer one first
ScoreParts = dict[str, tuple[float, float]]  # by the score's name: the points reached, and how many were possible


@dataclass(frozen=True)
class Scores:
    """Ordinal accuracy, and errors after an alignment (see metrics and accuracy); NaN where no pixel counts.

    `ramp` is the ordinal accuracy, on the same pairs, of the rule that lower in the picture is nearer.
    """

    ordinal: float
    ramp: float
    delta1: float
    delta2: float
    delta3: float
    abs_rel: float
    rmse: float
    log10: float
    silog: float
    boundary_f1: float

    def __str__(self) -> str:
        return (
            f"{self.ordinal:.1%} of point pairs in the right order (lower is nearer: {self.ramp:.1%}), "
            f"δ1 {self.delta1:.1%}, "
            f"AbsRel {self.abs_rel:.3f}, boundary F1 {self.boundary_f1:.3f}"
        )


# Top, bottom, left and right, as shares, of what papers evaluate of KITTI (Garg et al. 2016, Eigen et al. 2014).
CROPS: dict[CropName, tuple[float, float, float, float]] = {
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


@dataclass(frozen=True)
class ValidArea:
    """Where depth counts: from `nearest` to `farthest` metres, and within a crop. Predictions are cut to that range."""

    nearest: float = 0.0
    farthest: float = np.inf
    crop: CropName = "none"

    def mask(self, inverse: types.FloatArray) -> types.FloatArray:
        """Return inverse depth [H, W] with NaN where it does not count."""
        with np.errstate(divide="ignore"):
            inside = (inverse >= 1 / np.float64(self.farthest)) & (inverse <= 1 / np.float64(self.nearest))
        if self.crop != "none":
            top, bottom, left, right = CROPS[self.crop]
            rows, columns = np.arange(inverse.shape[0]), np.arange(inverse.shape[1])
            in_rows = (rows >= int(top * len(rows))) & (rows < int(bottom * len(rows)))
            in_columns = (columns >= int(left * len(columns))) & (columns < int(right * len(columns)))
            inside &= in_rows[:, None] & in_columns[None, :]
        return np.where(inside, inverse, np.nan)

    def cut(self, inverse: types.FloatArray) -> types.FloatArray:
        """Return a prediction, aligned to the truth, cut to the range."""
        if self.nearest == 0 and np.isinf(self.farthest):
            return inverse
        with np.errstate(divide="ignore"):
            return np.clip(inverse, 1 / np.float64(self.farthest), 1 / np.float64(self.nearest))


EVERYWHERE = ValidArea()


@dataclass(frozen=True)
class KnownDepth:
    """True inverse depth [H, W], NaN where unknown, and how predictions are compared with it.

    They are aligned, cut to the range of an area, and scored; the point pairs of ordinal scores depend on the seed.
    """

    inverse: types.FloatArray
    seed: int
    align: str = "affine"
    area: ValidArea = EVERYWHERE

    def fit(self, prediction: types.FloatArray) -> types.FloatArray:
        """Return predicted inverse depth [H, W] aligned to the truth, and cut to the range."""
        return self.area.cut(accuracy.align_prediction(prediction, self.inverse, self.align))

    def score(self, prediction: types.FloatArray) -> ScoreParts:
        """Return the scores of a prediction, each out of 1; scores that are NaN are left out."""
        scores = score_prediction(prediction, self.inverse, self.seed, self.align, self.area)
        values = {f.name: float(getattr(scores, f.name)) for f in fields(Scores)}
        return {name: (value, 1.0) for name, value in values.items() if not np.isnan(value)}


@dataclass(frozen=True)
class EvaluationSample:
    """An RGB picture [H, W, 3], the function that scores inverse depth [H, W] of it, and what is known of its depth.

    That is its true depth, or pairs of points (row, column), the nearer one first.
    """

    rgb: NDArray[np.uint8 | np.uint16]
    score: Callable[[types.FloatArray], ScoreParts]
    known: KnownDepth | None = None
    pairs: tuple[PairOrder, ...] = ()


class SampleWatcher(Protocol):
    """Sees every picture of an evaluation, with predicted inverse depth [H, W] and its scores."""

    def see(
        self, name: str, sample: EvaluationSample, prediction: types.FloatArray, scores: dict[str, float]
    ) -> None: ...


@dataclass(frozen=True)
class EvaluationData:
    """A data set: its title, the names of its pictures, and the function that reads the picture of an index.

    With `points`, only the order of points is known, and no alignment is needed.
    """

    title: str
    names: Sequence[str]
    read: Callable[[int], EvaluationSample]
    points: bool = False


@dataclass(frozen=True)
class EvaluationResult:
    """Mean scores by name, the number of pictures, seconds a picture, and the error of each picture that failed.

    `by_picture` are the scores of each picture, by its name.
    """

    scores: dict[str, float]
    pictures: int
    seconds: float
    errors: dict[str, DacliError]
    by_picture: dict[str, dict[str, float]] = field(default_factory=dict)


def score_prediction(
    prediction: types.FloatArray,
    truth: types.FloatArray,
    seed: int,
    align: str = "affine",
    area: ValidArea = EVERYWHERE,
) -> Scores:
    """Return the scores of one map of inverse depth [H, W]; all but the ordinal ones after an alignment to the truth.

    The point pairs depend on the seed.
    """
    fitted = area.cut(accuracy.align_prediction(prediction, truth, align))
    ramp = np.indices(truth.shape)[0]
    return Scores(
        metrics.ordinal(prediction, truth, np.random.default_rng(seed)),
        metrics.ordinal(ramp.astype(np.float32), truth, np.random.default_rng(seed)),
        metrics.delta1(fitted, truth),
        metrics.delta1(fitted, truth, 1.25**2),
        metrics.delta1(fitted, truth, 1.25**3),
        metrics.abs_rel(fitted, truth),
        accuracy.rmse(fitted, truth),
        accuracy.log10(fitted, truth),
        accuracy.silog(fitted, truth),
        metrics.boundary_f1(fitted, truth),
    )


def rendered_scenes(
    count: int, seed: int, align: str, what: str = "scenes", make: SceneMaker = make_scene, reach: float = np.inf
) -> EvaluationData:
    """Return the first scenes of the stream `seed`, in four sizes in turn; depth beyond `reach` metres is unknown."""
    names = [f"scene {index}" for index in range(count)]
    seeds = np.random.default_rng(seed).integers(1 << 32, size=count)

    def read(index: int) -> EvaluationSample:
        picture = render_layouts([make(seed, index)], *SCENE_FORMATS[index % len(SCENE_FORMATS)])
        inverse = picture.inverse_depth[0].numpy()
        known = KnownDepth(np.where(inverse >= 1 / reach, inverse, np.nan), int(seeds[index]), align)
        return EvaluationSample(picture.rgb[0].permute(1, 2, 0).numpy(), known.score, known)

    return EvaluationData(f"{count} rendered {what} of stream {seed}", names, read)


def data_of_pairs(title: str, pairs: Sequence[DepthPair], align: str, area: ValidArea = EVERYWHERE) -> EvaluationData:
    """Return pictures with depth in files, which counts within an area."""

    def read(index: int) -> EvaluationSample:
        rgb, inverse = datasets.read_pair(pairs[index])
        known = KnownDepth(area.mask(inverse), index, align, area)
        return EvaluationSample(rgb, known.score, known)

    return EvaluationData(f"{len(pairs)} pictures of {title}", [str(pair.picture) for pair in pairs], read)


def evaluate_predictor(
    predictor: Predictor, data: EvaluationData, report: Callable[[int], None], watcher: SampleWatcher | None = None
) -> EvaluationResult:
    """Return the mean scores over all pictures that can be read; `report` gets the number of those done."""
    parts: dict[str, list[tuple[float, float]]] = {}
    errors: dict[str, DacliError] = {}
    by_picture: dict[str, dict[str, float]] = {}
    seconds = []
    for index, name in enumerate(data.names):
        try:
            sample = data.read(index)
            prediction, taken = predict_inverse(predictor, sample.rgb)
            scored = sample.score(prediction)
            seconds.append(taken)
            by_picture[name] = {key: got / most for key, (got, most) in scored.items() if most}
            if watcher is not None:
                watcher.see(name, sample, prediction, by_picture[name])
            for key, part in scored.items():
                parts.setdefault(key, []).append(part)
        except DacliError as error:
            errors[name] = error
        report(index + 1)
    scores = {name: sum(got for got, _ in part) / sum(most for _, most in part) for name, part in parts.items()}
    return EvaluationResult(scores, len(seconds), float(np.mean(seconds)) if seconds else 0.0, errors, by_picture)


def predict_inverse(predictor: Predictor, rgb: NDArray[np.uint8 | np.uint16]) -> tuple[types.FloatArray, float]:
    """Return the inverse depth [H, W] that a network predicts for a picture, and the seconds that it took."""
    started = time.perf_counter()
    (prediction,) = predictor.predict([rgb])
    taken, depth = time.perf_counter() - started, prediction.depth
    return depth if predictor.spec.quantity == "inverse depth" else 1 / np.maximum(depth, SMALLEST_DEPTH), taken
