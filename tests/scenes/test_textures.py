"""Textures: range, seamless tiles, and the levels of their pyramid against means by NumPy."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli.scenes import textures
from dacli.scenes.textures import TEXTURE_SIZE

RNG = np.random.default_rng(1)


def fields() -> NDArray[np.float32]:
    """Return the finest level of all textures [count, size, size]."""
    return (
        textures.texture_pyramid()[: textures.texture_count() * TEXTURE_SIZE**2]
        .view(-1, TEXTURE_SIZE, TEXTURE_SIZE)
        .numpy()
    )


def sampled(texture: int, u: NDArray[np.float64], v: NDArray[np.float64], footprint: float = 0.0) -> Tensor:
    x, y = (torch.from_numpy(w).float() for w in (u, v))
    return textures.sample_texture(torch.full(u.shape, texture), x, y, torch.full(u.shape, footprint))


def test_textures_differ_and_stay_in_range() -> None:
    values = fields()
    assert len(values) == textures.texture_count() == 28
    assert values.min() >= 0
    assert values.max() <= 1
    assert len({value.tobytes() for value in values}) == len(values)
    assert (values[:-1].std((1, 2)) > 0.05).all()
    assert (values[-1] == 0).all()


def test_textures_are_the_same_in_every_process() -> None:
    first = textures.texture_pyramid().clone()
    textures.texture_pyramid.cache_clear()
    assert torch.equal(textures.texture_pyramid(), first)


@pytest.mark.parametrize("texture", range(textures.texture_count()))
def test_tiles_repeat_without_a_seam(texture: int) -> None:
    u, v = RNG.random(500), RNG.random(500)
    here = sampled(texture, u, v)
    np.testing.assert_allclose(sampled(texture, u + 1, v), here, atol=2e-3)
    np.testing.assert_allclose(sampled(texture, u - 3, v + 2), here, atol=2e-3)
    assert 0 <= here.min() <= here.max() <= 1


@pytest.mark.parametrize("texture", range(textures.texture_count()))
def test_a_wide_footprint_gives_the_mean(texture: int) -> None:
    u, v = RNG.random(20) * 4, RNG.random(20) * 4
    np.testing.assert_allclose(sampled(texture, u, v, 1.0), fields()[texture].mean(), atol=1e-5)
    np.testing.assert_allclose(sampled(texture, u, v, 1e6), fields()[texture].mean(), atol=1e-5)


@pytest.mark.parametrize("level", range(8))
def test_a_footprint_selects_the_level_of_its_width(level: int) -> None:
    size = TEXTURE_SIZE >> level
    width = 1 << level
    means = fields().reshape(-1, size, width, size, width).mean((2, 4))
    row, column = RNG.integers(0, size, (2, 50))
    for texture in (0, 7, 18):
        found = sampled(texture, (column + 0.5) / size, (row + 0.5) / size, width / TEXTURE_SIZE)
        np.testing.assert_allclose(found, means[texture, row, column], atol=1e-5)


def test_values_between_texels_are_bilinear() -> None:
    field = fields()[3]
    x, y = RNG.random(200) * TEXTURE_SIZE, RNG.random(200) * TEXTURE_SIZE
    left, top = np.floor(x - 0.5).astype(int), np.floor(y - 0.5).astype(int)
    fx, fy = x - 0.5 - left, y - 0.5 - top

    def at(row: NDArray[np.int_], column: NDArray[np.int_]) -> NDArray[np.float32]:
        return np.asarray(field[row % TEXTURE_SIZE, column % TEXTURE_SIZE])

    upper = at(top, left) * (1 - fx) + at(top, left + 1) * fx
    lower = at(top + 1, left) * (1 - fx) + at(top + 1, left + 1) * fx
    np.testing.assert_allclose(sampled(3, x / TEXTURE_SIZE, y / TEXTURE_SIZE), upper * (1 - fy) + lower * fy, atol=1e-4)


def test_noise_gets_smoother_with_the_slope() -> None:
    steps = [
        np.abs(np.diff(textures.noise_texture(np.random.default_rng(2), slope))).mean()
        for slope in (0.3, 0.8, 1.6, 2.6)
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 5 * steps[-1]
