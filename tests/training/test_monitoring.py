"""The log, the curve and the sheet of samples of a training."""

import errno
import io
import json
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from PIL import Image

from dacli.errors import StopError
from dacli.models.tiny import Tiny
from dacli.training import monitoring
from dacli.training.recipes import TEACHER, metric_objective


def open_picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def samples(count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    truth = torch.rand(count, 1, 64, 64, generator=random) + 0.1
    truth[:, :, :4] = torch.nan
    return torch.randn(count, 3, 64, 64, generator=random), truth


def test_a_log_is_cut_at_the_step_from_which_a_training_resumes(tmp_path: Path) -> None:
    rows = [{"step": 10, "loss": 1.0}, {"step": 20, "loss": 0.5}, {"step": 20, "validation": 0.7}]
    later = '{"step": 30, "loss": 0.4}\n{"step": 40, "lo\n[1]\n'
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + later)
    assert monitoring.resume_log(tmp_path, 20, {"seed": "1"}) == rows
    monitoring.append_log_row(tmp_path, {"step": 30, "loss": 0.3})
    read = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert read == [{"dacli": {"seed": "1"}}, *rows, {"step": 30, "loss": 0.3}]


def test_a_folder_without_a_log_gets_one(tmp_path: Path) -> None:
    assert monitoring.resume_log(tmp_path / "run", 0, {}) == []
    assert (tmp_path / "run" / "log.jsonl").read_text() == '{"dacli": {}}\n'


def test_a_log_on_a_full_disk_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_full(*_: Any, **__: Any) -> IO[str]:
        return Full()

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(StopError, match=r"log\.jsonl \(the disk is full\)"):
        monitoring.append_log_row(tmp_path, {"step": 1})


def test_the_curve_is_smoothed_by_the_mean_of_the_latest_rows() -> None:
    values = tuple(np.random.default_rng(1).random(60))
    expected = [np.mean(values[max(0, n - monitoring.SMOOTHING_ROWS + 1) : n + 1]) for n in range(60)]
    np.testing.assert_allclose(monitoring.smooth_curve(values), expected)


def test_the_curve_shows_training_and_validation() -> None:
    rows: list[monitoring.LogRow] = [{"step": n, "loss": 1 / n} for n in range(1, 40)]
    empty, training, both = (
        np.asarray(open_picture(monitoring.draw_loss_curve(given)), float)
        for given in ([], rows, [*rows, {"step": 39, "validation": 0.5}])
    )
    assert empty.shape == training.shape == both.shape
    assert np.abs(empty - training).mean() > 0.5
    assert np.abs(both - training).mean() > 0.1


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_sheet_has_a_row_for_each_of_the_first_samples(count: int) -> None:
    picture, truth = samples(count)
    image = open_picture(monitoring.draw_sample_sheet(TEACHER, (picture, truth), truth[:, 0].nan_to_num(0)))
    assert image.size == (600, 200 * min(count, monitoring.SHEET_ROWS))


def test_near_is_red_for_inverse_depth_and_for_metres() -> None:
    picture, _ = samples(1)
    rising = torch.linspace(1, 10, 64).expand(1, 1, 64, 64)  # the right side is near
    for objective, truth in ((TEACHER, rising), (metric_objective("indoor"), 1 / (11 - rising))):
        depth = objective.target(truth)[:, 0]
        shown = np.asarray(open_picture(monitoring.draw_sample_sheet(objective, (picture, truth), depth)), float)
        for left, right in ((210, 390), (410, 590)):  # truth and prediction
            part = shown[40:190, left:right]
            assert part[:, -40:-15, 0].mean() > part[:, -40:-15, 2].mean() + 50
            assert part[:, 15:40, 2].mean() > part[:, 15:40, 0].mean() + 50


def test_validation_is_the_mean_loss_and_changes_no_weights() -> None:
    torch.manual_seed(1)
    model, (picture, truth) = Tiny(), samples()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    loss, found = monitoring.validate_network(model, TEACHER, (picture, truth))
    with torch.no_grad():
        each = [TEACHER.loss(model.eval()(2 * picture[n : n + 1] - 1), truth[n]).item() for n in range(3)]
    assert loss == pytest.approx(np.mean(each), rel=1e-5)
    assert found.shape == (3, 64, 64)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
