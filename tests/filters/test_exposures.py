"""Exposures of one view as one picture: what is black in one and white in another is seen, and shifts go."""

import numpy as np
import pytest
from scipy import ndimage

from dacli.filters.exposures import merge_exposures
from dacli.types import Image8


def scene() -> np.ndarray:
    """Return linear light [120, 160, 3] with detail in its dark left and, 60 times as bright, in its right half."""
    detail = ndimage.zoom(np.random.default_rng(11).uniform(0.2, 1, (15, 20)), 8, order=1)
    light = np.where(np.arange(160) < 80, 0.015, 0.9)
    return np.repeat((detail * light)[..., None], 3, axis=2)


def exposed(light: np.ndarray, times: float) -> Image8:
    return np.asarray(np.rint(255 * np.clip(light * times, 0, 1) ** (1 / 2.2)), np.uint8)


def detail_in(image: Image8) -> tuple[float, float]:
    left, right = image[:, 8:72], image[:, 88:152]
    return float(left.std()), float(right.std())


def test_detail_of_shadows_and_of_lights_is_in_one_picture() -> None:
    bracket = [exposed(scene(), times) for times in (1, 0.5, 30)]
    left, right = detail_in(merge_exposures(bracket))
    assert left > 1.3 * detail_in(bracket[0])[0]
    assert right > 0.5 * detail_in(bracket[0])[1]


@pytest.mark.parametrize("shift", [(3, 5), (-4, 2)])
def test_exposures_are_moved_to_where_the_first_one_is(shift: tuple[int, int]) -> None:
    light = ndimage.zoom(np.random.default_rng(12).uniform(0.05, 1, (30, 40)), 6, order=1)[..., None] * np.ones(3)
    moved = np.roll(light, shift, axis=(0, 1))
    still, shaken = (merge_exposures([exposed(light, 1), exposed(other, 0.5)]) for other in (light, moved))
    inner = np.s_[10:-10, 10:-10]
    error = np.abs(still[inner].astype(float) - shaken[inner]).mean()
    assert error < 1
    assert np.abs(exposed(light, 0.5)[inner].astype(float) - exposed(moved, 0.5)[inner]).mean() > 10


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (40, 33)])
def test_equal_exposures_stay_what_they_are(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(13).integers(0, 256, (*shape, 3)).astype(np.uint16) * 257
    merged = merge_exposures([image, image])
    assert merged.shape == image.shape
    assert merged.dtype == np.uint8
    assert np.abs(merged - image / 257).max() <= 2
