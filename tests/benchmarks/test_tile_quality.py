"""The evaluation of tiles: scenes that hold what tiles are for, a network that errs as it says, a table of means."""

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from benchmarks import tile_quality
from benchmarks.tile_quality import Figures, Simulated, Subject, encoded
from dacli import types
from dacli.evaluation import metrics
from dacli.inference import tiling
from dacli.inference.preprocess import normalize_image
from dacli.scenes import layouts


@pytest.fixture(scope="module")
def rendering() -> layouts.Rendering:
    return tile_quality.drawn(5, 300)


def fitted(depth: torch.Tensor, truth: types.FloatArray) -> types.FloatArray:
    return metrics.align_affine(depth.numpy(), truth)


def test_scenes_are_the_same_ones_every_time_in_three_formats(rendering: layouts.Rendering) -> None:
    again = tile_quality.drawn(5, 300)
    assert torch.equal(again.rgb, rendering.rgb)
    assert {tuple(tile_quality.drawn(index, 30).depth.shape[1:]) for index in range(9)} == {
        (30, 40),
        (40, 30),
        (30, 30),
    }


def test_most_scenes_hold_thin_structures() -> None:
    found = []
    for index in range(12):
        truth = tile_quality.drawn(index, 160).inverse_depth[0].numpy()
        found.append(metrics.thin_contrast(truth, truth, 5))
    assert np.isfinite(found).sum() >= 10


def test_a_simulated_network_is_shown_depth_and_gray(rendering: layouts.Rendering) -> None:
    shown = encoded(rendering)
    depth = rendering.depth[0].numpy().astype(np.float64)
    near = (depth > tile_quality.NEAREST) & (depth < 20)
    np.testing.assert_allclose(tile_quality.NEAREST / depth[near], shown[..., 0][near] / 65535, atol=1e-5)
    assert np.array_equal(shown[..., 1], shown[..., 2])
    weights = np.array([0.299, 0.587, 0.114])
    gray = (rendering.rgb[0].double().numpy() * weights[:, None, None]).sum(0)
    assert np.abs(shown[..., 1] / 257 - gray).max() < 1


def test_a_simulated_network_knows_small_pictures_up_to_scale_and_shift_and_breaks_large_ones(
    rendering: layouts.Rendering,
) -> None:
    shown, truth = encoded(rendering), rendering.inverse_depth[0].numpy().astype(np.float64)
    height, width = truth.shape
    picture = normalize_image(shown, (height, width))[None]
    errors = []
    for native in (300, 150, 75):
        found = Simulated(native)(picture)
        assert torch.equal(found, Simulated(native)(picture))
        assert float(found.min()) >= 0
        errors.append(np.abs(fitted(found[0], truth) - truth).mean() / np.ptp(truth))
    assert errors[0] < 0.08 < errors[2]
    assert errors[0] < errors[1] < errors[2]
    crops = torch.stack([picture[0, :, :100, :100], picture[0, :, 20:120, 60:160]])
    assert torch.equal(Simulated(300)(crops)[1], Simulated(300)(crops[1:])[0])


def test_errors_of_a_simulated_network_have_the_spread_that_it_says() -> None:
    depth = np.random.default_rng(0).random((100, 120))
    for height, spread in ((100, 0.04), (200, 0.16)):
        tall = np.kron(depth, np.ones((height // 100, height // 100)))
        offsets = [tile_quality.misplacement(np.random.default_rng(n), tall, 100)[50, 60] for n in range(200)]
        low, high = (spread * factor for factor in (0.3, 1.0))  # between nodes a mean of eight is smaller
        assert low < np.std(offsets) < high


def test_seams_are_looked_for_where_tiles_end(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiling.Tiling((56, 56), (112, 224), (56, 84), (0, 56), (0, 70, 140))
    asked: list[tuple[list[int], list[int]]] = []

    def seam_index(_: types.FloatArray, __: types.FloatArray, rows: list[int], columns: list[int]) -> float:
        asked.append((rows, columns))
        return 1.0

    monkeypatch.setattr(metrics, "seam_index", seam_index)
    truth = np.random.default_rng(0).uniform(0.1, 1, (224, 448))
    found = tile_quality.measured(truth, truth, plan)
    assert asked == [([112, 112], [168, 140, 308, 280])]
    assert (found.delta1, found.abs_rel, found.ordinal) == (1, 0, 1)


@pytest.mark.slow
def test_tiles_put_right_what_one_large_pass_breaks_and_show_what_a_small_one_misses() -> None:
    subject = Subject("simulated", Simulated(126), encoded, 126, 14, (126, 400), (400,))
    rows = [dict(tile_quality.ways(subject, tile_quality.drawn(index, 400))) for index in range(8)]

    def mean(way: str, measure: str) -> float:
        return float(np.nanmean([getattr(row[way], measure) for row in rows]))

    tiles, small, large = "tiles, 400", "one pass, 126", "one pass, 400"
    assert mean(tiles, "boundary_f1") > 1.5 * mean(small, "boundary_f1")
    assert mean(tiles, "thin") > mean(small, "thin")
    assert mean(tiles, "delta1") > mean(small, "delta1") - 0.01
    assert mean(tiles, "delta1") > mean(large, "delta1") + 0.1
    assert mean(tiles, "seam") < 1.1


def test_the_table_holds_means_of_what_counts() -> None:
    one = {("tiny", "tiles, 800"): Figures(0.5, 0.25, 1, 0.5, 0.125, float("nan"), 1)}
    other = {("tiny", "tiles, 800"): Figures(1, 0.75, 1, 0.5, 0.375, 0.5, 1)}
    head, rule, row = tile_quality.table([one, other])
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row == "| tiny | tiles, 800 | 0.750 | 0.500 | 1.000 | 0.500 | 0.250 | 0.500 | 1.000 |"


def test_relief_follows_texture_and_stays_small() -> None:
    flat, noisy = np.zeros((64, 64), np.float32), np.random.default_rng(0).random((64, 64)).astype(np.float32)
    assert not tile_quality.relief(flat).any()
    made = tile_quality.relief(ndimage.gaussian_filter(noisy, 2))
    assert 0 < made.std() < 0.05
    assert stats.pearsonr(made.ravel(), ndimage.gaussian_filter(noisy, 2).ravel()).statistic > 0.5
