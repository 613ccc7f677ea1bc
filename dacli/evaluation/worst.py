"""The pictures on which a network scored lowest: photo, truth, prediction and error side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dacli import types
from dacli.evaluation import tables
from dacli.evaluation.scoring import EvaluationSample, PairOrder
from dacli.outputs.drawing import to_eight_bits
from dacli.outputs.plain_matplotlib import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_WORST = 6  # pictures of each network
RANKING_SCORES = ("delta1", "all")  # the first that a picture has ranks it: of known depth, of pairs of points
THUMB_WIDTH = 480  # pixels
LARGEST_ERROR = 50.0  # percent, at the end of the scale
RIGHT, WRONG = "#3f8", "#f33"  # colors of pairs of points


@dataclass(frozen=True)
class WorstPicture:
    """A picture of the sheet: its name, scores and small maps of inverse depth [h, w], NaN where unknown.

    Pairs of points are in pixels of the small picture, with whether their order is right.
    """

    name: str
    scores: dict[str, float]
    rgb: types.Image8
    prediction: types.FloatArray
    truth: types.FloatArray | None = None
    pairs: tuple[tuple[PairOrder, bool], ...] = ()

    @property
    def error(self) -> types.FloatArray | None:
        """Return the error of depth in percent of the true depth [h, w]; infinite where the prediction is."""
        if self.truth is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            off = 100 * np.abs(self.truth / np.maximum(self.prediction, 0) - 1)
        return np.where(self.truth > 0, off, np.nan)

    @property
    def rank(self) -> float:
        """Return the score that ranks it, NaN without one."""
        return next((self.scores[name] for name in RANKING_SCORES if name in self.scores), float("nan"))


@dataclass
class WorstPictures:
    """Keeps those of the pictures it sees that scored lowest, in order."""

    kept: list[WorstPicture] = field(default_factory=list)

    def see(self, name: str, sample: EvaluationSample, prediction: types.FloatArray, scores: dict[str, float]) -> None:
        """Keep a picture if it is one of the worst so far; not one without a score."""
        rank = WorstPicture(name, scores, np.empty(0, np.uint8), prediction).rank
        if np.isnan(rank) or (len(self.kept) == SHOWN_WORST and rank >= self.kept[-1].rank):
            return
        self.kept.append(shrink_sample(name, sample, prediction, scores))
        self.kept = sorted(self.kept, key=lambda each: each.rank)[:SHOWN_WORST]


def shrink_sample(
    name: str, sample: EvaluationSample, prediction: types.FloatArray, scores: dict[str, float]
) -> WorstPicture:
    """Return a picture with the maps of a sheet, the prediction aligned to the truth."""
    height, width = sample.rgb.shape[:2]
    size = (min(width, THUMB_WIDTH), max(1, round(height * min(1, THUMB_WIDTH / width))))
    rgb = np.asarray(cv2.resize(to_eight_bits(sample.rgb), size, interpolation=cv2.INTER_AREA), np.uint8)
    if sample.known is None:
        return WorstPicture(
            name, scores, rgb, shrink_inverse(prediction, size), pairs=small_pairs(sample, prediction, size)
        )
    fitted = sample.known.fit(prediction)
    return WorstPicture(name, scores, rgb, shrink_inverse(fitted, size), shrink_inverse(sample.known.inverse, size))


def shrink_inverse(inverse: types.FloatArray, size: tuple[int, int]) -> types.FloatArray:
    """Return a map [H, W] at a size (width, height) by single pixels, so that unknown ones stay what they are."""
    return np.asarray(cv2.resize(inverse.astype(np.float32), size, interpolation=cv2.INTER_NEAREST), np.float32)


def small_pairs(
    sample: EvaluationSample, prediction: types.FloatArray, size: tuple[int, int]
) -> tuple[tuple[PairOrder, bool], ...]:
    """Return pairs of points in a picture of a size (width, height), and whether the prediction has them right."""
    rows, columns = size[1] / sample.rgb.shape[0], size[0] / sample.rgb.shape[1]

    def small(point: tuple[int, int]) -> tuple[int, int]:
        return int(point[0] * rows), int(point[1] * columns)

    return tuple(((small(near), small(far)), bool(prediction[near] > prediction[far])) for near, far in sample.pairs)


def draw_worst_pictures(worst: Mapping[str, WorstPictures], title: str) -> bytes:
    """Return a PNG of the worst pictures of each network, by its label: photo, truth, prediction and error."""
    rows = [(label, each) for label, pictures in worst.items() for each in pictures.kept]
    figure = new_figure(figsize=(14, 1.2 + 2.9 * max(1, len(rows))), layout="constrained")
    figure.suptitle(tables.plain_text(f"the lowest scores of {title}"), fontsize=10)
    if not rows:
        return tables.figure_png(figure)
    grid = figure.subplots(len(rows), 4, squeeze=False)
    for (label, each), axes in zip(rows, grid, strict=True):
        draw_worst_row(label, each, axes)
    return tables.figure_png(figure)


def draw_worst_row(label: str, picture: WorstPicture, axes: "Sequence[Axes]") -> None:
    """Draw a picture's photo, truth, prediction and error; an empty place for what is not known."""
    for plot in axes:
        plot.set_axis_off()
    scores = ", ".join(
        f"{tables.score_title(name)} {tables.format_score(name, picture.scores[name])}"
        for name in ("delta1", "abs_rel", "ordinal", "all")
        if name in picture.scores
    )
    titles = f"{picture.name}\n{scores}", "truth", f"{label}\nprediction", f"error, % of depth (to {LARGEST_ERROR:g})"
    axes[0].imshow(picture.rgb)
    draw_pairs(axes[0], picture)
    known = picture.prediction if picture.truth is None else picture.truth
    low, high = np.nanpercentile(known, (2, 98)) if np.isfinite(known).any() else (0.0, 1.0)
    for plot, inverse in ((axes[1], picture.truth), (axes[2], picture.prediction)):
        if inverse is not None:
            plot.imshow(inverse, cmap="Spectral_r", vmin=low, vmax=high)
    if picture.error is not None:
        shades = axes[3].imshow(np.minimum(picture.error, LARGEST_ERROR), cmap="magma", vmin=0, vmax=LARGEST_ERROR)
        axes[3].figure.colorbar(shades, ax=axes[3], shrink=0.8)
    has_truth = picture.truth is not None
    for plot, text, shown in zip(axes, titles, (True, has_truth, True, has_truth), strict=True):
        if shown:
            plot.set_title(tables.plain_text(text), fontsize=8)


def draw_pairs(plot: "Axes", picture: WorstPicture) -> None:
    """Draw a line for each pair of points, with a ring at the nearer one."""
    for (near, far), right in picture.pairs:
        color = RIGHT if right else WRONG
        plot.plot([near[1], far[1]], [near[0], far[0]], color=color, linewidth=1)
        plot.plot(near[1], near[0], "o", color=color, markersize=5, markerfacecolor="none")
