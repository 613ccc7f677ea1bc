"""Filters of pictures: their values are those of NumPy, SciPy and OpenCV's own pixels, at 8 and at 16 bits."""

from typing import Any

import cv2
import numpy as np
import pytest

from dacli.errors import UsageError
from dacli.filters import pictures
from dacli.filters.picture_table import PICTURE_FILTERS, UNFILTERED, parse_picture_filters
from dacli.types import ImageArray

RNG = np.random.default_rng(5)
SCALES: dict[type[Any], int] = {np.uint8: 1, np.uint16: 257}


def gradient(dtype: type[Any], brightest: int = 255) -> ImageArray:
    """Return a picture [64, 96, 3] whose rows go from black to a brightness."""
    rows = np.rint(np.linspace(0, brightest, 64))[:, None, None] * SCALES[dtype]
    return np.broadcast_to(rows, (64, 96, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", SCALES)
def test_a_dark_picture_gets_the_brightness_of_a_gamma_curve(dtype: type[Any]) -> None:
    dark = np.full((20, 30, 3), 40 * SCALES[dtype], dtype)
    made = pictures.correct_exposure(dark, 0.4)
    assert np.abs(made / np.iinfo(dtype).max - 0.4).max() < 0.003
    ramp = gradient(dtype, 90)
    mean = ramp.mean() / np.iinfo(dtype).max
    curved = (ramp / np.iinfo(dtype).max) ** (np.log(0.45) / np.log(mean))
    np.testing.assert_allclose(pictures.correct_exposure(ramp, 0.45) / np.iinfo(dtype).max, curved, atol=0.006)


@pytest.mark.parametrize(("value", "gamma"), [(1, 0.4), (250, 2.5)])
def test_an_almost_black_or_white_picture_is_changed_within_limits(value: int, gamma: float) -> None:
    made = pictures.correct_exposure(np.full((4, 4, 3), value, np.uint8), 0.5)
    assert np.abs(made - 255 * (value / 255) ** gamma).max() <= 0.51


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_stay(value: int) -> None:
    image = np.full((90, 70, 3), value, np.uint8)
    for name in PICTURE_FILTERS:
        made = parse_picture_filters(name).apply(image)
        assert np.abs(made.astype(int) - value).max() <= (3 if name == "contrast" else 0), name


@pytest.mark.parametrize("dtype", SCALES)
def test_a_cast_goes_and_a_red_wall_stays_red(dtype: type[Any]) -> None:
    gray = RNG.integers(20, 150, (40, 50, 1)) * np.ones(3)
    cast = np.rint(gray * [1.2, 1.0, 0.8] * SCALES[dtype]).astype(dtype)
    means = pictures.balance_white(cast).reshape(-1, 3).mean(0) / SCALES[dtype]
    assert np.ptp(means) < 0.5
    wall = np.full((8, 8, 3), (200, 40, 40), dtype) * dtype(SCALES[dtype])
    red, green, blue = pictures.balance_white(wall)[0, 0] / SCALES[dtype]
    np.testing.assert_allclose((red, green, blue), (200 / 1.5, 60, 60), atol=1)


@pytest.mark.parametrize("dtype", SCALES)
def test_noise_goes_and_an_edge_stays(dtype: type[Any]) -> None:
    clean = np.where(np.arange(60) < 30, 60, 190)[None, :, None] * np.ones((50, 1, 3))
    noisy = np.rint((clean + RNG.normal(0, 8, clean.shape)).clip(0, 255) * SCALES[dtype]).astype(dtype)
    error = pictures.remove_noise(noisy, 20) / SCALES[dtype] - clean
    assert error.std() < 0.5 * 8
    assert np.abs(error[:, 28:32].mean(axis=(0, 2))).max() < 6  # of a step of 130


def test_contrast_is_that_of_the_brightness_and_colors_stay() -> None:
    flat = np.rint(100 + 8 * RNG.random((64, 64, 1)) * np.ones(3) + np.array([10, 0, -10])).astype(np.uint8)
    made = pictures.raise_contrast(flat, 2)
    assert made.std(axis=(0, 1)).min() > 1.5 * flat.std(axis=(0, 1)).max()
    before, after = (
        cv2.cvtColor(each, cv2.COLOR_RGB2YCrCb)[..., 1:].astype(float).mean(axis=(0, 1)) for each in (flat, made)
    )
    np.testing.assert_allclose(after, before, atol=1)


def test_16_bits_are_filtered_as_the_same_8_bits_are() -> None:
    eight = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    for name in ("exposure", "white-balance", "denoise"):
        chain = parse_picture_filters(name)
        deep = chain.apply(eight.astype(np.uint16) * 257) / 257
        assert np.abs(deep - chain.apply(eight)).max() <= 2.5, name


@pytest.mark.parametrize("name", PICTURE_FILTERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (61, 83)])
def test_any_picture_keeps_its_size_and_type_and_the_original_stays(name: str, shape: tuple[int, int]) -> None:
    for dtype, scale in SCALES.items():
        image = (RNG.integers(0, 256, (*shape, 3)) * scale).astype(dtype)
        before = image.copy()
        found = parse_picture_filters(name).apply(image)
        assert (found.shape, found.dtype) == (image.shape, image.dtype)
        np.testing.assert_array_equal(image, before)


def test_filters_are_applied_in_their_order() -> None:
    image = RNG.integers(0, 80, (30, 40, 3), dtype=np.uint8)
    made = parse_picture_filters("exposure:60,white-balance").apply(image)
    np.testing.assert_array_equal(made, pictures.balance_white(pictures.correct_exposure(image, 0.6)))


def test_a_chain_says_its_filters_and_numbers() -> None:
    assert str(parse_picture_filters(" Exposure , denoise:5,white-balance")) == "exposure:45,denoise:5,white-balance"
    assert parse_picture_filters("") == UNFILTERED


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("exposur", "there is no filter 'exposur'; did you mean exposure? --pre takes any of exposure,white-balance"),
        ("contrast,", "there is no filter ''"),
        (
            "exposure:95",
            "--pre exposure:95 is not possible; the number is the mean brightness in percent, from 10 to 90",
        ),
        ("denoise:nan", "--pre denoise:nan is not possible"),
        ("white-balance:2", "--pre white-balance takes no number; write white-balance alone"),
    ],
)
def test_what_is_no_filter_of_pictures_is_said(text: str, fault: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_picture_filters(text)
    assert fault in f"{caught.value.message}; {caught.value.hint}"
