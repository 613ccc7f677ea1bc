import math
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dacli.inference.preprocess import normalize_image, resize_to_source
from dacli.models.spec import network_size

GOLDEN = Path(__file__).parents[1] / "golden"
SIDES = st.integers(1, 20_000)
SIZES = st.integers(1, 2_000)


def picture(height: int, width: int, dtype: type = np.uint8) -> NDArray[np.uint8]:
    full = np.iinfo(dtype).max
    noise = np.random.default_rng(height + width).integers(0, full + 1, (height, width, 3))
    return noise.astype(dtype)


def by_opencv(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float64]:
    """The reference's preprocessing as it is published: everything in float64."""
    resized = cv2.resize(rgb / np.iinfo(rgb.dtype).max, size[::-1], interpolation=cv2.INTER_CUBIC)
    normalised: NDArray[np.float64] = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return normalised.transpose(2, 0, 1)


@pytest.mark.parametrize("name", ["vits_relative_60x90_112", "vits_metric20_60x90_112", "vitb_relative_60x90_112"])
def test_input_is_that_of_the_reference(name: str) -> None:
    golden = np.load(GOLDEN / f"{name}.npz")
    rgb = golden["image_bgr"][..., ::-1]
    made = normalize_image(rgb, network_size(rgb.shape[0], rgb.shape[1], int(golden["input_size"]), 14))
    assert made.dtype == torch.float32
    assert np.abs(made.numpy() - golden["net_input"]).max() < 1e-6


def test_golden_size_of_a_portrait_picture() -> None:
    golden = np.load(GOLDEN / "vitb_relative_90x60_126.npz")
    # 90 px become 189 px = 13.5 patches: half to even makes 14.
    assert (1, 3, *network_size(90, 60, int(golden["input_size"]), 14)) == tuple(golden["net_input"])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((480, 640), (518, 686)),
        ((1080, 1920), (518, 924)),
        ((1999, 3001), (518, 784)),
        ((37, 53), (518, 742)),
        ((518, 686), (518, 686)),
        ((1, 1), (14, 14)),
        ((1, 500), (14, 112)),
        ((500, 1), (112, 14)),
        ((2, 3), (14, 28)),
    ],
)
def test_resize_is_that_of_opencv_in_float64(source: tuple[int, int], size: tuple[int, int], dtype: type) -> None:
    rgb = picture(*source, dtype)
    made = normalize_image(rgb, size).numpy()
    assert made.shape == (3, *size)
    assert np.abs(made - by_opencv(rgb, size)).max() < 2e-6


def test_sixteen_bits_see_what_eight_bits_see() -> None:
    rgb = picture(40, 60)
    wide = rgb.astype(np.uint16) * 257
    assert torch.allclose(normalize_image(rgb, (42, 56)), normalize_image(wide, (42, 56)), atol=1e-6)


def test_flipped_and_cropped_views_are_read_in_place() -> None:
    rgb = picture(50, 70)[5:45, 10:60, ::-1]
    assert torch.equal(normalize_image(rgb, (42, 56)), normalize_image(rgb.copy(), (42, 56)))


def test_a_large_photo_is_not_copied_to_floats() -> None:
    rgb = np.zeros((8000, 12000, 3), np.uint8)  # 100 megapixels: 1.15 GB as float32, 2.3 GB as float64
    rgb += 255
    tracemalloc.start()
    made = normalize_image(rgb, network_size(8000, 12000, 518, 14))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert torch.allclose(made[:, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert 3 * 518 * 784 * 4 < peak < 80e6


@given(SIDES, SIDES, SIZES)
def test_network_size_is_the_rule_of_the_reference(height: int, width: int, size: int) -> None:
    scale = np.maximum(size / height, size / width)
    sides = np.array([height, width]) * scale
    multiples = np.round(sides / 14) * 14
    expected = np.where(multiples < size, np.ceil(sides / 14) * 14, multiples).astype(int)
    expected = np.minimum(expected, 8 * expected.min())
    assert network_size(height, width, size, 14) == tuple(expected)


@given(SIDES, SIDES, SIZES, st.sampled_from([14, 16, 32]))
def test_network_size_is_whole_patches_and_never_smaller_than_asked(h: int, w: int, size: int, patch: int) -> None:
    made = network_size(h, w, size, patch)
    assert all(side % patch == 0 for side in made)
    assert min(made) == math.ceil(size / patch) * patch
    assert max(made) <= 8 * min(made)
    assert (made[0] <= made[1]) or (h >= w)
    assert network_size(w, h, size, patch) == made[::-1]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((480, 640), (518, 686)),
        ((1, 1), (518, 518)),
        ((100, 800), (518, 4144)),
        ((1, 5000), (518, 4144)),
        ((5000, 1), (4144, 518)),
    ],
)
def test_network_size_is_bounded_at_eight_to_one(source: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size(*source, 518, 14) == expected


@pytest.mark.parametrize("wrong", [(0, 10, 518), (10, 0, 518), (10, 10, 0), (10, 10, -1)])
def test_sizes_that_are_not_positive_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot fit"):
        network_size(*wrong, 14)


@pytest.mark.parametrize("align_corners", [True, False])
def test_depth_returns_to_the_source_bilinearly(align_corners: bool) -> None:
    depth = np.random.default_rng(0).random((14, 28), dtype=np.float32)
    made = resize_to_source(torch.from_numpy(depth), 31, 45, align_corners)
    assert made.dtype == np.float32
    assert np.abs(made - bilinear(depth, 31, 45, align_corners=align_corners)).max() < 1e-5


def bilinear(depth: NDArray[np.float32], height: int, width: int, *, align_corners: bool) -> NDArray[np.float64]:
    def positions(source: int, target: int) -> NDArray[np.float64]:
        if align_corners:
            return np.linspace(0, source - 1, target)
        return np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)

    rows, columns = positions(depth.shape[0], height), positions(depth.shape[1], width)
    tall = np.stack([np.interp(rows, np.arange(len(depth)), column) for column in depth.T], axis=1)
    return np.stack([np.interp(columns, np.arange(depth.shape[1]), row) for row in tall])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (14, 28)])
def test_depth_returns_to_any_size(size: tuple[int, int]) -> None:
    made = resize_to_source(torch.full((14, 28), 2.5, dtype=torch.bfloat16), *size, align_corners=True)
    assert made.shape == size
    assert np.all(made == 2.5)
