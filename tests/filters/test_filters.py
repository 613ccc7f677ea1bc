"""Filters of depth: their values computed another way, and what they must leave alone."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, stats

from dacli.errors import UsageError
from dacli.filters import edges, values
from dacli.filters.table import FILTERS, NO_FILTERS, parse_filters

RNG = np.random.default_rng(5)
ROUGH = RNG.random((60, 80), np.float32) * 3
GRAY = np.full((60, 80, 3), 128, np.uint8)
Filter = Callable[[NDArray[np.float32], NDArray[Any], int], NDArray[np.float32]]
NEAR, FAR, EDGE = 5.0, 1.0, 83  # two planes, and the column where the near one begins


def two_planes(dtype: type[Any] = np.uint8) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Return the exact depth of two planes, and their picture: red on blue, with noise."""
    columns = np.broadcast_to(np.arange(160), (120, 160))
    depth = np.where(columns < EDGE, FAR, NEAR).astype(np.float32)
    color = np.where((columns < EDGE)[..., None], (30, 60, 160), (190, 50, 40)) + RNG.integers(-12, 12, (120, 160, 3))
    return depth, (color * (257 if dtype is np.uint16 else 1)).astype(dtype)


def soften(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(depth, (0, 0), 3), np.float32)


def test_the_median_is_scipys() -> None:
    np.testing.assert_array_equal(values.median_filter(ROUGH, 3), ndimage.median_filter(ROUGH, 3, mode="nearest"))
    np.testing.assert_array_equal(values.median_filter(ROUGH, 5), ndimage.median_filter(ROUGH, 5, mode="nearest"))


def test_equal_spread_is_the_rank_of_each_depth() -> None:
    skewed = ROUGH**2
    ranks = stats.rankdata(skewed).reshape(skewed.shape) / skewed.size
    low, high = skewed.min(), skewed.max()
    np.testing.assert_allclose(values.equalize_depth(skewed), low + ranks * (high - low), atol=4e-3 * (high - low))


@given(st.integers(0, 2**32 - 1))
def test_equal_spread_keeps_the_order(seed: int) -> None:
    depth = np.random.default_rng(seed).lognormal(size=(12, 17)).astype(np.float32)
    order = np.argsort(depth, axis=None)
    assert (np.diff(values.equalize_depth(depth).ravel()[order]) >= 0).all()


def test_outliers_take_the_next_value() -> None:
    low, high = np.quantile(ROUGH.astype(np.float64), [0.02, 0.98])
    np.testing.assert_allclose(values.clip_outliers(ROUGH, 2), np.minimum(np.maximum(ROUGH, low), high), rtol=1e-5)


def test_bilateral_smooths_planes_and_keeps_the_step() -> None:
    depth, _ = two_planes()
    noisy = depth + RNG.normal(0, 0.02, depth.shape).astype(np.float32)
    error = values.bilateral_filter(noisy, 5) - depth
    assert np.abs(error).max() < 0.1  # of a step of 4
    assert error.std() < 0.5 * (noisy - depth).std()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("filter_edges", [edges.guided_filter, edges.sharpen_edges])
def test_a_soft_edge_goes_to_the_edge_of_the_picture(filter_edges: Filter, dtype: type[Any]) -> None:
    depth, image = two_planes(dtype)
    soft = soften(np.roll(depth, 2, axis=1))  # and 2 pixels beside it
    before, after = (np.diff(each[10:-10, 20:-20].mean(axis=0)) for each in (soft, filter_edges(soft, image, 8)))
    assert (before.argmax() + 21, after.argmax() + 21) == (EDGE + 2, EDGE)
    assert after.max() > 2 * before.max()


def test_a_sharpened_edge_is_that_of_the_scene() -> None:
    depth, image = two_planes()
    soft = soften(np.roll(depth, 2, axis=1))
    before, after = (np.abs(each - depth)[10:-10, 20:-20] for each in (soft, edges.sharpen_edges(soft, image, 8)))
    assert after.mean() < 0.25 * before.mean()


def test_depth_that_follows_the_brightness_is_not_changed_by_the_guided_filter() -> None:
    waves = np.rint(127 + 127 * np.sin(np.arange(80) / 9)[None] * np.cos(np.arange(60) / 7)[:, None])
    image = np.repeat(waves[..., None], 3, axis=2).astype(np.uint8)
    depth = (2 + 3 * waves / 255).astype(np.float32)
    assert np.abs(edges.guided_filter(depth, image, 8) - depth).mean() < 0.03  # of a range of 3


@pytest.mark.parametrize("filter_edges", [edges.guided_filter, edges.sharpen_edges])
def test_a_slope_stays(filter_edges: Filter) -> None:
    slope = np.broadcast_to(np.linspace(1, 4, 160, dtype=np.float32), (120, 160)).copy()
    found = filter_edges(slope, np.full((120, 160, 3), 90, np.uint8), 2)
    np.testing.assert_allclose(found[20:-20, 20:-20], slope[20:-20, 20:-20], atol=0.01)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (61, 83)])
def test_any_picture_gives_finite_depth_of_its_size_and_leaves_the_original(name: str, shape: tuple[int, int]) -> None:
    image = RNG.integers(0, 256, (*shape, 3)).astype(np.uint8)
    for depth in (np.full(shape, 2, np.float32), RNG.random(shape, np.float32)):
        before = depth.copy()
        found = parse_filters(name).apply(depth, image)
        assert found.shape == shape
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(depth, before)


def test_filters_are_applied_in_their_order() -> None:
    first = parse_filters("clip:5,normalize").apply(ROUGH, GRAY)
    second = parse_filters("normalize,median:3").apply(ROUGH, GRAY)
    assert (float(first.min()), float(first.max())) == (0, 1)
    unit = (ROUGH - ROUGH.min()) / (ROUGH.max() - ROUGH.min())
    np.testing.assert_array_equal(second, ndimage.median_filter(unit, 3, mode="nearest"))


def test_a_chain_is_written_as_it_was_read() -> None:
    assert str(parse_filters(" Sharpen , median:3,clip:0.5")) == "sharpen,median:3,clip:0.5"
    assert parse_filters("") == NO_FILTERS


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("gided", "there is no filter 'gided'; did you mean guided?"),
        ("guided,", "there is no filter ''"),
        ("median:4", "--post median:4 is not possible; the number is the side in pixels, 3 or 5"),
        ("clip:50", "--post clip:50 is not possible; the number is the percent of pixels at either end"),
        ("clip:nan", "--post clip:nan is not possible"),
        ("sharpen:wide", "--post sharpen:wide is not possible; the number is the radius in pixels, from 1 to 200"),
        ("normalize:2", "--post normalize takes no number"),
    ],
)
def test_what_is_no_filter_is_said(text: str, fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_filters(text)
    assert fault in f"{caught.value.message}; {caught.value.hint}"
