import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, optimize

from dacli.video.matching import (
    FrameAligner,
    align_grids,
    average_cells,
    crop_to_warp,
    fit_scale_shift,
    global_optical_flow,
    luma_grid,
    warp_halfway,
)

RNG = np.random.default_rng(8)
P = RNG.uniform(0, 3, 2000)
SIZE = (60, 90)


def field(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.float32]:
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 4)
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth), np.float32)


def picture(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.repeat(np.rint(40 + 170 * field(seed, size))[..., None], 3, 2).astype(np.uint8)


def rescaled(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1.2 * depth + 0.1, np.float32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0.01, 100), st.floats(-50, 50))
def test_exact_values_give_the_scale_and_shift(scale: float, shift: float) -> None:
    np.testing.assert_allclose(fit_scale_shift(P, scale * P + shift), (scale, shift), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_a_minority_of_outliers_changes_nothing(share: float) -> None:
    x = 1.3 * P - 0.2
    wrong = RNG.random(P.size) < share
    x[wrong] += RNG.uniform(0.5, 3, wrong.sum())
    np.testing.assert_allclose(fit_scale_shift(P, x), (1.3, -0.2), atol=0.015)


def test_least_absolute_deviations_against_scipy() -> None:
    x = 0.8 * P + 0.5 + RNG.laplace(0, 0.05, P.size)
    best = optimize.minimize(lambda v: np.abs(x - v[0] * P - v[1]).mean(), [1, 0], method="Nelder-Mead").x
    np.testing.assert_allclose(fit_scale_shift(P, x), best, atol=0.01)


def test_noise_on_both_sides_does_not_shrink_the_scale() -> None:
    clean = RNG.uniform(0, 1, 20_000)
    p, x = (clean + RNG.normal(0, 0.15, clean.size) for _ in range(2))
    assert np.polyfit(p, x, 1)[0] < 0.85
    assert fit_scale_shift(p, x)[0] == pytest.approx(1, abs=0.03)
    assert fit_scale_shift(x, p)[0] == pytest.approx(1 / fit_scale_shift(p, x)[0], rel=0.02)


@pytest.mark.parametrize("x", [np.full(P.size, 2.0), -P, RNG.uniform(0, 3, P.size)], ids=["flat", "inverted", "random"])
def test_values_without_correlation_keep_their_scale(x: NDArray[np.float64]) -> None:
    assert fit_scale_shift(P, x) == (1.0, np.median(x - P))
    np.testing.assert_allclose(fit_scale_shift(np.ones(P.size), x), (1, np.median(x) - 1))


def test_one_value_determines_a_shift() -> None:
    assert fit_scale_shift(np.array([2.0]), np.array([5.0])) == (1.0, 3.0)


@pytest.mark.parametrize("size", [(518, 686), (480, 100), (97, 1000), (96, 96), (20, 30), (1, 1), (1, 500)])
def test_grids_are_means_of_whole_squares(size: tuple[int, int]) -> None:
    depth = RNG.uniform(0, 1, size).astype(np.float32)
    found = average_cells(depth)
    side = max(1, min(round(max(size) / 96), *size))
    rows, columns = size[0] // side, size[1] // side
    expected = depth[: rows * side, : columns * side].reshape(rows, side, columns, side).mean((1, 3))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("side", [4, 17, 31])
def test_luma_is_that_of_bt601_in_8_and_in_16_bits(side: int) -> None:
    size = (20, 30)  # of pictures of 120, 510 and 930 pixels
    rgb = np.stack([picture(seed, (20 * side, 30 * side))[..., 0] for seed in (1, 2, 3)], 2)
    expected = (rgb @ [0.299, 0.587, 0.114]).reshape(20, side, 30, side).mean((1, 3))
    for found in (luma_grid(rgb, size), luma_grid(rgb.astype(np.uint16) * 257, size)):
        assert found.dtype == np.uint8
        assert np.abs(found - expected).mean() < 2
    flat = np.full((40, 40, 3), (200, 100, 50), np.uint8)
    expected_flat = 200 * 0.299 + 100 * 0.587 + 50 * 0.114
    for picture_ in (flat, flat.astype(np.uint16) * 257):
        np.testing.assert_allclose(luma_grid(picture_, (11, 7)), np.full((11, 7), expected_flat), atol=1)


@pytest.mark.parametrize("size", [(518, 686), (120, 170), (30, 41), (2160, 3840), (1, 1), (1, 3000)])
def test_the_picture_may_have_any_size(size: tuple[int, int]) -> None:
    aligner = FrameAligner()
    for seed, scale in ((2, 1.0), (2, 3.0)):
        alignment = aligner.align(scale * field(seed), np.full((*size, 3), 128, np.uint8))
    assert not alignment.cut
    assert alignment.scale == pytest.approx(3, rel=1e-4)


def test_a_larger_picture_gives_the_same_alignment() -> None:
    alignments = []
    for times in (1, 2, 9):
        aligner = FrameAligner()
        for seed in (1, 4):
            rgb = picture(1)
            rgb[:, :30] = picture(seed)[:, :30]
            depth = field(2)
            depth[:, :30] = field(seed)[:, :30]
            alignment = aligner.align(rescaled(depth) if seed == 4 else depth, rgb.repeat(times, 0).repeat(times, 1))
        alignments.append((alignment.scale, alignment.shift))
    np.testing.assert_allclose(alignments, np.broadcast_to((1.2, 0.1), (3, 2)), atol=0.02)


def test_the_first_frame_is_a_cut_with_its_percentiles() -> None:
    depth = RNG.uniform(0, 1, SIZE).astype(np.float32)
    alignment = FrameAligner().align(depth, picture(1))
    assert (alignment.cut, alignment.scale, alignment.shift) == (True, 1.0, 0.0)
    found = (alignment.bottom, alignment.low, alignment.middle, alignment.high, alignment.top)
    np.testing.assert_allclose(found, np.percentile(depth, [0.5, 2, 50, 98, 99.5]), rtol=1e-6)


def test_a_frame_with_another_scale_and_shift_is_aligned_with_the_previous_one() -> None:
    aligner, depth, rgb = FrameAligner(), field(2), picture(1)
    aligner.align(depth, rgb)
    alignment = aligner.align(2.5 * depth - 7, rgb)
    assert not alignment.cut
    np.testing.assert_allclose((alignment.scale, alignment.shift), (2.5, -7), rtol=1e-4)


def test_pixels_that_changed_do_not_count() -> None:
    depth, rgb = field(2), picture(1)
    moved, other = depth.copy(), rgb.copy()
    moved[:, :50] = field(3)[:, :50]  # more than half of the picture
    other[:, :50] = picture(4)[:, :50]
    found = align_grids(depth, luma_grid(rgb, SIZE), rescaled(moved), luma_grid(other, SIZE))
    np.testing.assert_allclose(found or (), (1.2, 0.1), rtol=0.02)


def test_depth_is_warped_by_the_optical_flow_of_its_picture() -> None:
    depth, rgb = field(2, (70, 100)), picture(1, (70, 100))
    slope = np.asarray(depth + 0.05 * np.arange(70)[:, None], np.float32)
    before, now = np.s_[0:60, 0:90], np.s_[1:61, 2:92]  # at the same pixel the slope alone changes by 0.05
    found = align_grids(slope[before], luma_grid(rgb[before], SIZE), rescaled(slope[now]), luma_grid(rgb[now], SIZE))
    np.testing.assert_allclose(found or (), (1.2, 0.1), atol=0.01)


@pytest.mark.parametrize("flow", [(0.0, 0.0), (0.3, -0.6), (-1.4, 0.9)])
def test_optical_flow_is_that_of_most_pixels(flow: tuple[float, float]) -> None:
    before = 0.5 + 0.3 * field(1)
    now = ndimage.shift(before, flow, order=1, mode="nearest")
    now[20:40, 30:60] = field(4)[20:40, 30:60]  # a sixth of the pixels changed
    np.testing.assert_allclose(global_optical_flow(before, 0.9 * now + 0.05), flow, atol=0.25)


@pytest.mark.parametrize("size", [(60, 90), (1, 1), (1, 90), (2, 2), (8, 8)])
def test_pictures_without_motion_have_no_optical_flow(size: tuple[int, int]) -> None:
    flat = np.full(size, 0.5, np.float32)
    assert global_optical_flow(flat, flat) == (0, 0)
    for seed in range(20):
        found = global_optical_flow(flat, np.random.default_rng(seed).random(size, np.float32))
        assert np.abs(found).max() <= min(size) / 4


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (2, 2), (5, 3), (8, 9)])
def test_the_smallest_clips_are_aligned_too(size: tuple[int, int]) -> None:
    rng, aligner = np.random.default_rng(0), FrameAligner()
    for _ in range(5):
        alignment = aligner.align(rng.random(size, np.float32), rng.integers(0, 255, (*size, 3), np.uint8))
        assert alignment.scale > 0
        assert np.isfinite([alignment.scale, alignment.shift]).all()


@pytest.mark.parametrize("flow", [(0.0, 0.0), (0.25, 0.5), (-3.7, 12.1), (5.0, -4.0), (2.0, 0.0)])
def test_halfway_is_bilinear_between_both_maps(flow: tuple[float, float]) -> None:
    values, other = field(3), field(4)
    y, x = np.indices(SIZE).astype(np.float64)
    for found, of, share in zip(warp_halfway(values, other, flow), (values, other), (-0.5, 0.5), strict=True):
        place = (y + share * flow[0], x + share * flow[1])
        expected = ndimage.map_coordinates(of.astype(np.float64), place, order=1, mode="constant", cval=np.nan)
        np.testing.assert_allclose(found, crop_to_warp(expected, flow), atol=1e-5)
    assert found.shape == tuple(n - 2 * (int(abs(v) / 2) + 1) for n, v in zip(SIZE, flow, strict=True))


def test_another_shot_is_a_cut() -> None:
    aligner = FrameAligner()
    aligner.align(field(2), picture(1))
    alignment = aligner.align(field(2), picture(5))
    assert (alignment.cut, alignment.scale, alignment.shift) == (True, 1.0, 0.0)
    assert not aligner.align(field(2), picture(5)).cut


def test_depth_that_is_not_finite_is_an_error_and_does_not_change_the_state() -> None:
    aligner = FrameAligner()
    aligner.align(field(2), picture(1))
    for wrong in (np.nan, np.inf):
        depth = field(5)
        depth[3, 4] = wrong
        with pytest.raises(ValueError, match="not finite"):
            aligner.align(depth, picture(6))
    alignment = aligner.align(rescaled(field(2)), picture(1))
    assert not alignment.cut
    np.testing.assert_allclose((alignment.scale, alignment.shift), (1.2, 0.1), rtol=1e-4)


def test_depth_of_another_size_is_aligned_too() -> None:
    aligner = FrameAligner()
    aligner.align(field(2), picture(1))
    alignment = aligner.align(rescaled(ndimage.zoom(field(2), 1.5, order=1)), picture(1))
    assert not alignment.cut
    np.testing.assert_allclose((alignment.scale, alignment.shift), (1.2, 0.1), atol=0.02)


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_restored_aligner_continues_bit_identically(frames: int) -> None:
    aligner, other = FrameAligner(), FrameAligner()
    for seed in range(frames):
        aligner.align(field(2) + 0.1 * field(seed), picture(1))
    text = json.dumps(aligner.state()())
    assert len(text) < 40_000
    other.restore(json.loads(text))
    for seed in range(3, 6):
        depth = 1.1 * field(2) + 0.1 * field(seed)
        assert other.align(depth, picture(1)) == aligner.align(depth, picture(1))
    assert other.state()() == aligner.state()()


def test_the_state_of_a_large_clip_is_as_small() -> None:
    aligner = FrameAligner()
    aligner.align(RNG.uniform(size=(1080, 1920)).astype(np.float32), np.zeros((1080, 1920, 3), np.uint8))
    assert len(json.dumps(aligner.state()())) < 60_000
