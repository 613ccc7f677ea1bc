"""Tables of scores: for people (a table, bars) and for programs (CSV, JSON)."""

import csv
import io
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dacli.outputs.plain_matplotlib import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ScoreRecord = Mapping[str, object]
FormatScore = Callable[[str, float], str]
SCORE_TITLES = {
    "ordinal": "order",
    "ramp": "lower is nearer",
    "delta1": "δ1",
    "delta2": "δ2",
    "delta3": "δ3",
    "abs_rel": "AbsRel",
    "rmse": "RMSE m",
    "log10": "log10",
    "silog": "SILog",
    "boundary_f1": "boundary F1",
    "peak_gib": "peak GiB",
    "times_pipeline": "× pipeline",
    "times_pipeline_folder": "× pipeline, folder",
    "times_openvino": "× plain OpenVINO",
}
PLAIN_SCORES = frozenset({"abs_rel", "rmse", "log10", "silog", "boundary_f1"})  # the other scores are shares


def score_title(score: str) -> str:
    """Return the usual name of a score; names of scenes stay as they are."""
    return SCORE_TITLES.get(score, score.replace("_", " "))


def better_title(score: str) -> str:
    """Return the name of a score with an arrow: up if more is better, down if less is; without one for a baseline."""
    if score == "ramp":
        return score_title(score)
    return f"{score_title(score)} {'↓' if score in PLAIN_SCORES - {'boundary_f1'} else '↑'}"


def format_score(score: str, value: float) -> str:
    """Return a score as text: a share in percent, others with three digits after the point."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if score in PLAIN_SCORES else f"{100 * value:.1f} %"


def varying_fields(records: Sequence[ScoreRecord], scores: Sequence[str]) -> list[str]:
    """Return the fields to show besides the scores: the first, and those in which the records differ."""
    fields = [key for key in records[0] if key not in scores]
    return [key for key in fields if key == fields[0] or len({str(record[key]) for record in records}) > 1]


def score_value(found: object) -> float:
    return float(found) if isinstance(found, int | float) else math.nan


def records_csv(records: Sequence[ScoreRecord]) -> bytes:
    """Return the records as a CSV file, in full precision, with the names of all their fields in the first line."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue().encode("utf-8", "surrogateescape")


def record_json(record: ScoreRecord) -> str:
    """Return the record in one line of JSON; numbers that are not finite are null."""
    return json.dumps(
        {key: None if is_missing_number(found) else found for key, found in record.items()}, allow_nan=False
    )


def is_missing_number(found: object) -> bool:
    return isinstance(found, float) and not math.isfinite(found)


def draw_score_bars(records: Sequence[ScoreRecord], scores: Sequence[str], labels: Sequence[str], title: str) -> bytes:
    """Return a PNG of bars: one panel for all shares, below it one for each other score, a color for each record."""
    shares, others = (
        [name for name in scores if name not in PLAIN_SCORES],
        [name for name in scores if name in PLAIN_SCORES],
    )
    panels = {name: [name] for name in others} | ({"%": shares} if shares else {})
    rows: list[Any] = [row for row in (["%"] * max(1, len(others)) if shares else [], others) if row]
    width = max(7.0, 1.5 + max(len(shares), len(others)) * (0.5 + 0.3 * len(records)))
    figure = new_figure(figsize=(width, 1.2 + 2.6 * len(rows)), layout="constrained")
    for name, axes in figure.subplot_mosaic(rows).items():
        draw_score_panel(axes, records, panels[name], percent=name == "%")
    figure.suptitle(plain_text(title), fontsize=9)
    handles: list[Any] = figure.axes[0].containers
    figure.legend(handles, [plain_text(label) for label in labels], loc="outside lower center", ncols=4, fontsize=8)
    return figure_png(figure)


def draw_score_panel(axes: "Axes", records: Sequence[ScoreRecord], scores: Sequence[str], *, percent: bool) -> None:
    """Bars of some scores, those of one score side by side, each with its number."""
    step, factor = 0.8 / len(records), 100 if percent else 1
    for row, record in enumerate(records):
        heights = [factor * score_value(record.get(name)) for name in scores]
        drawn = axes.bar([x + row * step for x in range(len(scores))], heights, step)
        axes.bar_label(drawn, fmt="%.1f" if percent else "%.3g", fontsize=6)
    axes.set_xticks(
        [x + 0.4 - step / 2 for x in range(len(scores))], [plain_text(better_title(name)) for name in scores]
    )
    axes.tick_params(labelsize=8)
    axes.set_ylabel("%" if percent else "")
    axes.spines[["top", "right"]].set_visible(False)


def plain_text(text: str) -> str:
    """Return the text such that Matplotlib sees no formula in it."""
    return text.replace("$", r"\$")


def figure_png(figure: "Figure") -> bytes:
    """Return the PNG file of a figure; characters that Matplotlib's font lacks are boxes, without a word about it."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(file, format="png", dpi=130)
    return file.getvalue()
