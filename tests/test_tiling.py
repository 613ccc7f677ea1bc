"""Depth from a base and tiles: what is known of a tile only up to scale and shift leaves no trace."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dacli import tiling
from dacli.preprocess import prepare, to_source


def picture(height: int = 300, width: int = 400) -> Any:
    y, x = np.mgrid[0:height, 0:width]
    waves = 128 + 60 * np.sin(x / 17) * np.cos(y / 23) + 40 * x / width
    return waves.astype(np.uint8)[..., None].repeat(3, axis=2)


def brightness(batch: Tensor) -> Tensor:
    """A network that sees nearness in brightness."""
    return batch.mean(1) + 3


def whims(batch: Tensor) -> Tensor:
    """The same, but every pass but the first, the base, has a scale and a shift of its own."""
    depth = brightness(batch)
    if batch.shape[2:] == (56, 70):
        return depth
    own = batch.abs().mean((1, 2, 3), keepdim=True)[:, 0]
    return depth * (0.5 + own) - 7 * own


def made(forward: Any, rgb: Any = None, size: int = 168, batch: int = 1, **how: Any) -> tiling.Refined:
    rgb = picture() if rgb is None else rgb
    height, width, _ = rgb.shape
    return tiling.refine(rgb, forward, tiling.plan(height, width, size, 56, 14), batch=batch, **how)


def test_the_scale_and_shift_of_single_tiles_vanish() -> None:
    plain, odd = made(brightness).depth, made(whims).depth
    assert np.abs(plain - odd).max() < 1e-3 * np.ptp(plain)


def test_detail_that_the_base_does_not_see_comes_from_tiles() -> None:
    rgb = picture()
    rgb[:, 200:202] = 255  # two pixels wide, where the base has one sample in six
    truth = brightness(prepare(rgb, (300, 400))[None])[0].numpy()
    base = to_source(brightness(prepare(rgb, (56, 70))[None])[0], 300, 400, align_corners=False)
    bar = slice(200, 202)
    assert np.abs(base - truth)[:, bar].mean() > 1.8 * np.abs(made(brightness, rgb).depth - truth)[:, bar].mean()


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_the_batch_changes_nothing(batch: int) -> None:
    assert np.abs(made(whims, batch=batch).depth - made(whims).depth).max() < 1e-5


def test_a_constant_picture_is_constant() -> None:
    depth = made(brightness, np.full((300, 400, 3), 77, np.uint8)).depth
    assert np.ptp(depth) < 1e-5


@pytest.mark.parametrize("fault", ["nan", "inverted", "flat"])
def test_tiles_that_say_nothing_or_the_contrary_leave_the_base(fault: str) -> None:
    def wrong(batch: Tensor) -> Tensor:
        depth = brightness(batch)
        if batch.shape[2:] == (56, 70):
            return depth
        return {"nan": depth * torch.nan, "inverted": -depth, "flat": depth * 0 + 5}[fault]

    found = made(wrong)
    base = brightness(prepare(picture(), (56, 70))[None])[0]
    canvas = to_source(base, *found.tiling.canvas, align_corners=False)
    expected = to_source(torch.from_numpy(canvas), 300, 400, align_corners=False)
    assert (found.used, found.unsound) == (0, found.tiling.count if fault == "nan" else 0)
    assert np.abs(found.depth - expected).max() < 1e-5


def test_a_base_that_is_not_finite_is_filled_and_told() -> None:
    found = made(lambda batch: brightness(batch) * (torch.nan if batch.shape[2:] == (56, 70) else 1))
    assert np.isfinite(found.depth).all()
    assert found.unsound == 1


def test_metres_stay_metres_of_the_base_whatever_a_crop_takes_them_for() -> None:
    def metres(batch: Tensor) -> Tensor:
        depth = (brightness(batch) + 1).exp()
        return depth if batch.shape[2:] == (56, 70) else depth * 1.7

    plain = made(lambda batch: (brightness(batch) + 1).exp(), metres=True).depth
    assert np.abs(made(metres, metres=True).depth / plain - 1).max() < 1e-3


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000).map(lambda n: 14 * n), st.integers(2, 60).map(lambda n: 14 * n))
def test_tiles_cover_an_axis_overlap_and_fade_to_one(length: int, native: int) -> None:
    side, starts = tiling.cut(length, native, 14)
    assert (starts[0], starts[-1] + side) == (0, length)
    assert side <= native
    assert side % 14 == 0
    assert all(there < here + side for here, there in pairwise(starts))
    total = np.zeros(length)
    if length < 5000:
        for start, weights in zip(starts, tiling.fade(starts, side), strict=True):
            total[start : start + side] += weights
        assert np.abs(total - 1).max() < 1e-5


@pytest.mark.parametrize("shape", [(56, 56), (57, 55), (20, 900), (900, 20), (1, 1), (70, 56)])
def test_any_shape_has_its_depth(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    depth = made(brightness, rgb, size=112).depth
    assert depth.shape == shape
    assert np.isfinite(depth).all()
