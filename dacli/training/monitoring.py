"""Progress of a training as files: a log, the curve of the loss, a sheet of held-out samples."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli.io import files
from dacli.io.names import RECORD_KEYWORD
from dacli.models.spec import DepthModel
from dacli.outputs.plain_matplotlib import new_figure
from dacli.training.losses import loss_by_region
from dacli.training.recipes import Objective

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOG_FILE, CURVE_FILE, SHEET_FILE = "log.jsonl", "loss.png", "samples.png"
SHEET_ROWS = 8  # largest number of samples on the sheet
SMOOTHING_ROWS = 25  # rows of the log that each point of the smoothed curve averages

LogRow = dict[str, Any]


def resume_log(folder: Path, done: int, settings: Mapping[str, str]) -> list[LogRow]:
    """Return the rows of the log of a folder up to step `done`, from which its training resumes.

    Later rows are removed from the file; a folder without a log gets an empty one. Its first line says which training
    it is of, by the settings.
    """
    rows = [row for row in read_log(folder) if row["step"] <= done]
    lines = [{RECORD_KEYWORD: dict(settings)}, *rows]
    files.write_file(folder / LOG_FILE, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return rows


def is_log_of(path: Path, settings: Mapping[str, str]) -> bool:
    """Return whether a file is the log of a training with these settings; raise DacliError if it cannot be read."""
    try:
        first = json.loads(files.read_bytes(path).partition(b"\n")[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get(RECORD_KEYWORD) == dict(settings)


def read_log(folder: Path) -> list[LogRow]:
    """Return the rows of the log of a folder; none without a log."""
    path = folder / LOG_FILE
    lines = files.read_bytes(path).decode("utf-8", "replace").splitlines() if path.exists() else []
    return [row for line in lines if (row := parse_log_line(line))]


def parse_log_line(line: str) -> LogRow | None:
    """Return a row of the log; None for a line that is incomplete because the process was killed."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def append_log_row(folder: Path, row: LogRow) -> None:
    """Append a row to the log; raise DacliError if it cannot be written."""
    path = folder / LOG_FILE
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise files.write_error(path, error) from error


@torch.no_grad()
def validate_network(model: DepthModel, objective: Objective, samples: tuple[Tensor, Tensor]) -> tuple[float, Tensor]:
    """Return the mean loss over held-out samples, and the predictions [N, S, S].

    The samples are pictures [N, 3, S, S] and inverse depth [N, 1, S, S]. The model is set to evaluation mode and left
    in it, so pass the running average rather than the model in training.
    """
    model.eval()
    device = next(model.parameters()).device
    predictions = torch.cat([model(model.normalize(picture[None].to(device))).float().cpu() for picture in samples[0]])
    return loss_by_region(objective.loss, predictions, objective.target(samples[1])).mean().item(), predictions


def draw_loss_curve(rows: list[LogRow], text: Mapping[str, str] | None = None) -> bytes:
    """Return a PNG of the losses of a log by step: training (also smoothed) and validation; `text` is its record."""
    figure = new_figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    training = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    if training:
        steps, losses = zip(*training, strict=True)
        axes.plot(steps, losses, color="0.8", linewidth=0.8)
        axes.plot(steps, smooth_curve(losses), label="training")
    validation = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    if validation:
        axes.plot(*zip(*validation, strict=True), "o-", label="validation, running average")
    axes.set(xlabel="step", ylabel="loss")
    axes.legend() if training or validation else None
    return encode_figure(figure, text)


def smooth_curve(values: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the mean of each value and the values before it, SMOOTHING_ROWS in all."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - SMOOTHING_ROWS)
    result: NDArray[np.float64] = (total[ends] - total[starts]) / (ends - starts)
    return result


def draw_sample_sheet(
    objective: Objective,
    samples: tuple[Tensor, Tensor],
    predictions: Tensor,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Return a PNG with a row for each of the first samples: picture, truth, prediction, each scaled to its range.

    `text` is its record.
    """
    count = min(SHEET_ROWS, len(predictions))
    figure = new_figure(figsize=(6, 2 * count), layout="constrained")
    axes = figure.subplots(count, 3, squeeze=False)
    for row, picture, truth, depth in zip(axes, *samples, predictions, strict=False):
        row[0].imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy())
        row[1].imshow(objective.target(truth)[0].numpy(), cmap=objective_colormap(objective))
        row[2].imshow(depth.numpy(), cmap=objective_colormap(objective))
        for each in row:
            each.set_axis_off()
    for place, title in zip(axes[0], ("picture", "truth", "prediction"), strict=True):
        place.set_title(title)
    return encode_figure(figure, text)


def objective_colormap(objective: Objective) -> str:
    """Return the name of the colormap in which near is red, for inverse depth or for metres."""
    return "Spectral_r" if objective.max_depth is None else "Spectral"


def encode_figure(figure: "Figure", text: Mapping[str, str] | None = None) -> bytes:
    """Return the PNG of a figure, with its record as text by keyword."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata=dict(text or {}))
    return file.getvalue()
