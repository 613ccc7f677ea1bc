"""Depth from a base and tiles: the scale and shift of each tile do not change the result."""

import threading
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from dacli import choices
from dacli.inference import tiling
from dacli.inference.preprocess import MEAN, STD, normalize_image, resize_to_source
from dacli.inference.tiling import plan_tiles, refine_with_tiles
from dacli.models.depth_anything import DepthAnything
from dacli.models.spec import network_size
from dacli.prefetch import any_stage_alive
from tests.support.hanging import in_time

Map = NDArray[np.float64]
Change = Callable[[Tensor, int], Tensor]
NATIVE, PATCH = 64, 8
SHAPE = (150, 210)
SIDES = st.integers(1, 9000)


def scene(height: int = 150, width: int = 210) -> Map:
    """Inverse depth, 0 to 1: a floor, two boxes, and bars of 2 pixels that the base cannot see whole."""
    y, x = np.indices((height, width)).astype(float)
    depth: Map = 0.15 + 0.35 * y / height + 0.04 * np.sin(x / 9) * np.cos(y / 7)
    depth[30:90, 20:60] = 0.7
    depth[70:130, 140:190] += 0.25
    depth[20:120, 70:130:10] = depth[20:120, 71:130:10] = 0.9
    return depth


def picture(depth: Map) -> NDArray[np.uint16]:
    """A picture that shows its own inverse depth."""
    gray = np.rint(depth * 65535).astype(np.uint16)
    return np.stack([gray, gray, gray], -1)


def seen(pictures: Tensor) -> Tensor:
    """What picture() encodes, [B, H, W]: the forward of a network that makes no error."""
    return pictures[:, 0] * float(STD[0]) + float(MEAN[0])


def each(change: Change) -> tiling.TileForward:
    """A network that knows the depth of whole pictures and changes that of the n-th crop; the base is number 0."""
    number = iter(range(1_000_000))
    return lambda pictures: torch.stack([change(depth, next(number)) for depth in seen(pictures)])


def but_base(change: Change) -> tiling.TileForward:
    return each(lambda depth, n: change(depth, n) if n else depth)


def made(rgb: Any, forward: tiling.TileForward, size: int = 150, **how: Any) -> tiling.RefinedDepth:
    tiles = plan_tiles(rgb.shape[0], rgb.shape[1], size, NATIVE, PATCH)
    small = tiling.shrink_to_canvas(rgb, tiles.canvas)
    return refine_with_tiles(small, normalize_image(small, tiles.base), forward, tiles, **how)


def at_source(depth: Tensor, shape: tuple[int, ...]) -> Map:
    return resize_to_source(depth, shape[0], shape[1], align_corners=False).astype(np.float64)


def refined(forward: tiling.TileForward, depth: Map | None = None, size: int = 150, batch: int = 1) -> Map:
    rgb = picture(scene() if depth is None else depth)
    return at_source(made(rgb, forward, size, batch=batch).depth, rgb.shape)


def base_only(depth: Map, size: int = 150) -> Map:
    rgb = picture(depth)
    tiles = plan_tiles(rgb.shape[0], rgb.shape[1], size, NATIVE, PATCH)
    base = resize_to_source(
        seen(normalize_image(tiling.shrink_to_canvas(rgb, tiles.canvas), tiles.base)[None])[0],
        *tiles.canvas,
        align_corners=False,
    )
    return at_source(torch.from_numpy(base), rgb.shape)


@given(SIDES, SIDES, st.integers(1, 3000), st.sampled_from([(518, 14), (256, 32), (64, 8)]))
def test_tiles_cover_the_canvas_and_overlap(height: int, width: int, more: int, network: tuple[int, int]) -> None:
    native, patch = network
    tiles = plan_tiles(height, width, native + more, native, patch)
    assert tiles.canvas == network_size(height, width, native + more, patch)
    assert tiles.base == network_size(height, width, native, patch)
    assert tiles.count == len(tiles.rows) * len(tiles.columns) > 1
    for starts, side, length in zip((tiles.rows, tiles.columns), tiles.tile, tiles.canvas, strict=True):
        assert (starts[0], starts[-1] + side) == (0, length)
        assert side % patch == 0
        assert 0.85 * native <= side <= native
        assert all(0 < there - here <= 0.75 * side + 1 for here, there in pairwise(starts))


@pytest.mark.parametrize(
    ("size", "canvas", "tile", "count"),
    [
        (256, (266, 336), (266, 336), 1),
        (518, (518, 686), (518, 448), 2),
        (532, (532, 714), (448, 448), 4),
        (1036, (1036, 1386), (448, 448), 12),
        (1600, (1610, 2128), (504, 448), 24),
        (2400, (2408, 3206), (518, 518), 48),
    ],
)
def test_tiles_of_the_published_networks(size: int, canvas: tuple[int, int], tile: tuple[int, int], count: int) -> None:
    found = plan_tiles(3000, 4000, size, 518, 14)
    assert (found.canvas, found.tile, found.count) == (canvas, tile, count)
    assert found.base == ((518, 686) if size >= 518 else canvas)


@pytest.mark.parametrize(("height", "width"), [(100, 5000), (5000, 100)])
def test_a_strip_of_eight_to_one_is_cut_like_any_other(height: int, width: int) -> None:
    found = plan_tiles(height, width, 1600, 518, 14)
    rows, columns = (found.rows, found.columns) if width > height else (found.columns, found.rows)
    assert sorted(found.canvas) == [1610, 12880]
    assert (len(rows), len(columns)) == (4, 33)


@pytest.mark.parametrize("arguments", [(0, 10, 900), (10, 0, 900), (10, 10, 0), (10, 10, -900)])
def test_sizes_that_are_not_positive_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot fit"):
        plan_tiles(*arguments, native=518, multiple=14)


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        *(("auto", 518, False), ("auto", 1036, False), ("auto", 1037, True), ("auto", 1600, True)),
        *(("on", 518, True), ("on", 1600, True), ("off", 1600, False), ("off", 9999, False)),
    ],
)
def test_when_tiles_are_used(*, mode: choices.TileMode, size: int, expected: bool) -> None:
    spec = DepthAnything("vits").spec
    assert spec.largest_pass == 1036
    assert tiling.uses_tiles(mode, size, spec) is expected


@given(st.integers(1, 400), st.sampled_from([(518, 14), (256, 32), (64, 8), (32, 16)]))
def test_neighbours_fade_into_each_other_and_add_to_one(patches: int, network: tuple[int, int]) -> None:
    native, patch = network
    side, starts = tiling.cut_axis(patches * patch, native, patch)
    total = np.zeros(patches * patch)
    for start, weight in zip(starts, tiling.blend_weights(starts, side), strict=True):
        total[start : start + side] += weight
        assert weight.min() >= 0
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_detail_comes_back_that_the_base_misses() -> None:
    truth = scene()
    found, base = refined(seen), base_only(truth)
    bars, between = np.s_[45:95, 70:130:10], np.s_[45:95, 75:130:10]
    assert (base[bars] - base[between]).mean() < 0.7 * (truth[bars] - truth[between]).mean()
    assert (found[bars] - found[between]).mean() > 0.8 * (truth[bars] - truth[between]).mean()
    assert np.abs(found - truth).mean() < 0.6 * np.abs(base - truth).mean()


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 40.0])
def test_a_scale_and_a_shift_of_single_tiles_vanish(factor: float) -> None:
    rng = np.random.default_rng(0)
    own = [(factor * np.exp(rng.normal(0, 0.5)), rng.normal(0, 3)) for _ in range(99)]
    found = refined(but_base(lambda depth, n: own[n][0] * depth + own[n][1]))
    np.testing.assert_allclose(found, refined(seen), atol=2e-5)


def test_what_varies_slowly_is_the_bases() -> None:
    bow = 0.3 * (torch.linspace(-1, 1, 64)[:, None] ** 2 + torch.linspace(-1, 1, 64))
    assert plan_tiles(150, 210, 150, NATIVE, PATCH).tile == bow.shape
    change = refined(but_base(lambda depth, _: depth + bow)) - refined(seen)
    assert ndimage.gaussian_filter(change, 15).std() < 0.05 * float(bow.std())
    truth = scene()
    slow = ndimage.gaussian_filter(refined(seen) - base_only(truth), 8)
    assert np.sqrt((slow**2).mean()) < 0.005 * np.ptp(truth)


@pytest.mark.parametrize("batch", [2, 5, 1000])
def test_batches_change_nothing(batch: int) -> None:
    np.testing.assert_allclose(refined(seen, batch=batch), refined(seen), atol=1e-6)


def test_the_order_of_tiles_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, places = refined(seen), tiling.tile_indices
    monkeypatch.setattr(tiling, "tile_indices", lambda tiles: reversed(list(places(tiles))))
    np.testing.assert_allclose(refined(seen), expected, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2])
def test_streams_work_at_the_same_time_and_change_no_bit(batch: int) -> None:
    together = threading.Barrier(3)
    waiting = iter(range(3))

    def network(pictures: Tensor) -> Tensor:
        if next(waiting, None) is not None:
            together.wait(20)  # broken, if two others do not come here meanwhile
        return seen(pictures)

    rgb, steps = picture(scene()), []
    expected = made(rgb, seen, batch=batch)
    found = in_time(lambda: made(rgb, network, batch=batch, streams=3, report=lambda *step: steps.append(step)))
    assert torch.equal(found.depth, expected.depth)
    assert steps == [(n, found.tiling.count) for n in range(1, found.tiling.count + 1)]
    assert not any_stage_alive()


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("fails", [0, 1, 5])
def test_a_network_that_fails_ends_all_streams(streams: int, fails: int) -> None:
    number = iter(range(1000))

    def network(pictures: Tensor) -> Tensor:
        if next(number) == fails:
            raise MemoryError("no more")
        return seen(pictures)

    with pytest.raises(MemoryError, match="no more"):
        in_time(lambda: made(picture(scene()), network, streams=streams))
    assert not any_stage_alive()


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_constant_picture_has_constant_depth(level: float) -> None:
    np.testing.assert_allclose(refined(seen, np.full((150, 210), level)), level, atol=1e-4)


def flat(depth: Tensor, _: int) -> Tensor:
    return torch.full_like(depth, 5.0)


def nearly_flat(depth: Tensor, _: int) -> Tensor:
    return 5 + 1e-6 * depth


def upside_down(depth: Tensor, _: int) -> Tensor:
    return 1 - depth


def not_a_number(depth: Tensor, _: int) -> Tensor:
    return depth.where(depth < 0.5, torch.nan)


def infinite(depth: Tensor, _: int) -> Tensor:
    return depth.where(depth < 0.5, torch.inf)


@pytest.mark.parametrize("fault", [flat, nearly_flat, upside_down])
def test_flat_and_contradicting_tiles_leave_the_base(fault: Change) -> None:
    found = made(picture(scene()), but_base(fault))
    assert (found.used, found.nonfinite_passes) == (0, 0)
    np.testing.assert_allclose(at_source(found.depth, SHAPE), base_only(scene()), atol=1e-6)


@pytest.mark.parametrize("fault", [not_a_number, infinite])
def test_a_tile_that_is_not_finite_is_left_out_and_counted(fault: Change) -> None:
    truth = np.maximum(scene(), 0.6)  # every tile has a place where the fault shows
    found = made(picture(truth), but_base(fault))
    assert (found.used, found.nonfinite_passes) == (0, found.tiling.count)
    np.testing.assert_allclose(at_source(found.depth, SHAPE), base_only(truth), atol=1e-6)
    some = made(picture(scene()), but_base(lambda depth, n: fault(depth, n) if n == 3 else depth))
    assert (some.used, some.nonfinite_passes) == (some.tiling.count - 1, 1)
    assert some.depth.isfinite().all()


def test_a_base_that_is_not_finite_is_filled_and_counted() -> None:
    def broken(depth: Tensor, n: int) -> Tensor:
        return depth if n else depth.where(depth < 0.8, torch.inf).where(depth > 0.2, torch.nan)

    found = made(picture(scene()), each(broken))
    assert found.nonfinite_passes == 1
    assert found.depth.isfinite().all()
    assert 0.1 < found.depth.min() < found.depth.max() < 1.1
    nothing = made(picture(scene()), each(lambda depth, n: depth if n else torch.full_like(depth, torch.nan)))
    assert nothing.nonfinite_passes == 1
    assert not nothing.depth.any()


def test_fifteen_percent_of_garbage_does_little_harm() -> None:
    rng = np.random.default_rng(5)
    bad = {1 + n for n in rng.choice(12, 2, replace=False).tolist()}
    noise = torch.from_numpy(rng.random((NATIVE, NATIVE)).astype(np.float32))

    def garbage(depth: Tensor, n: int) -> Tensor:
        return noise[: depth.shape[0], : depth.shape[1]] if n in bad else depth

    truth = scene()
    assert plan_tiles(*SHAPE, 150, NATIVE, PATCH).count == 12
    harmed, base = refined(but_base(garbage)), base_only(truth)
    assert np.abs(harmed - truth).mean() < 0.7 * np.abs(base - truth).mean()
    assert np.abs(harmed - truth).max() < 1.1 * np.abs(base - truth).max()


def metres(pictures: Tensor) -> Tensor:
    return 1 / (seen(pictures) + 0.05)


def test_metres_stay_metres_of_the_base_whatever_a_crop_takes_them_for() -> None:
    rgb, own = picture(scene()), iter([1.0, *np.exp(np.random.default_rng(0).normal(0, 0.2, 99)).tolist()])
    found = made(rgb, lambda pictures: torch.stack([d * next(own) for d in metres(pictures)]), quantity="metres")
    torch.testing.assert_close(found.depth, made(rgb, metres, quantity="metres").depth, rtol=1e-4, atol=0)
    ratio = at_source(found.depth, SHAPE) * (scene() + 0.05)
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert np.exp(np.abs(np.log(ratio)).mean()) < 1.05
    assert found.used == found.tiling.count


def test_affine_depth_is_compared_as_it_is_and_its_nan_is_far() -> None:
    rgb = picture(scene())
    far = 0.8
    plain = made(rgb, seen).depth
    torch.testing.assert_close(made(rgb, seen, quantity="depth").depth, plain)
    holes = torch.tensor([[1.0, torch.nan], [0.5, far + 1]])
    assert tiling.fill_nonfinite(holes, "depth")[0, 1] == tiling.fill_nonfinite(holes, "metres")[0, 1] == far + 1
    assert tiling.fill_nonfinite(holes, "inverse depth")[0, 1] == 0.5


def test_metres_of_zero_and_of_nan_are_finite() -> None:
    rgb = picture(scene())
    found = made(rgb, lambda pictures: metres(pictures).where(seen(pictures) < 0.8, 0.0), quantity="metres")
    assert found.depth.isfinite().all()
    assert found.depth.min() > 0
    found = made(rgb, each(lambda d, n: 1 + d if n else (1 + d).where(d < 0.8, torch.nan)), quantity="metres")
    assert found.depth.isfinite().all()


def test_inverse_depth_is_never_negative() -> None:
    depth = np.zeros((150, 210))
    depth[:, 100:] = 1
    depth[60:90, 60:140:6] = 1
    assert refined(but_base(lambda d, _: torch.where(d > 0.5, 1.0, -0.4)), depth).min() == 0


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (64, 64), (65, 65), (63, 200), (700, 500)])
def test_pictures_of_any_size(shape: tuple[int, int]) -> None:
    depth = np.random.default_rng(1).random(shape)
    depth = ndimage.gaussian_filter(depth, 3)
    found = refined(seen, depth, size=72)
    assert found.shape == shape
    assert np.isfinite(found).all()
    if min(shape) > 1:
        assert np.abs(found - depth).mean() < 0.02


def test_eight_bits_show_what_sixteen_show() -> None:
    rgb = (picture(scene()) // 257).astype(np.uint8)
    torch.testing.assert_close(made(rgb, seen).depth, made(rgb.astype(np.uint16) * 257, seen).depth, atol=3e-3, rtol=0)


def test_the_network_is_shown_the_picture_at_its_places() -> None:
    rgb, shown = picture(scene()), []  # smaller than the canvas: the published cubic

    def forward(pictures: Tensor) -> Tensor:
        shown.append(pictures)
        return seen(pictures)

    steps: list[tuple[int, int]] = []
    tiles = made(rgb, forward, 240, batch=7, report=lambda done, count: steps.append((done, count))).tiling
    whole = normalize_image(rgb, tiles.canvas)
    assert torch.equal(shown[0], normalize_image(rgb, tiles.base)[None])
    assert max(map(len, shown)) == 7
    places = [(y, x) for y in tiles.rows for x in tiles.columns]
    for (y, x), tile in zip(places, torch.cat(shown[1:]), strict=True):
        assert torch.equal(tile, whole[:, y : y + tiles.tile[0], x : x + tiles.tile[1]])
    assert steps == [(n, tiles.count) for n in range(1, tiles.count + 1)]


def test_a_larger_picture_is_averaged_not_sampled() -> None:
    stripes = np.zeros((600, 800))
    stripes[:, ::4] = 1  # finer than the canvas: a quarter everywhere
    small = tiling.shrink_to_canvas(picture(stripes), (104, 136))
    assert small.shape == (104, 136, 3)
    assert small[..., 0].mean() / 65535 == pytest.approx(0.25, abs=0.01)
    assert small.std() < 0.4 * picture(stripes)[::6, ::6].std()


def test_a_picture_is_averaged_along_the_axis_that_is_larger_and_never_enlarged() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 900, 3), np.uint8)
    assert tiling.shrink_to_canvas(rgb, (60, 300)).shape == (40, 300, 3)
    expected = rgb.reshape(40, 300, 3, 3).mean(2)
    assert np.abs(tiling.shrink_to_canvas(rgb, (60, 300)) - expected).max() <= 0.51
    assert tiling.shrink_to_canvas(rgb, (40, 900)) is rgb
    assert tiling.shrink_to_canvas(rgb, (400, 9000)) is rgb


@pytest.mark.parametrize("align_corners", [True, False])
def test_depth_has_the_position_of_one_pass(*, align_corners: bool) -> None:
    ramp = picture(np.tile(np.linspace(0, 1, 210), (150, 1)))
    found = made(ramp, seen, align_corners=align_corners)
    one = seen(normalize_image(ramp, found.tiling.base)[None])[0]
    expected = resize_to_source(one, *SHAPE, align_corners)
    np.testing.assert_allclose(resize_to_source(found.depth, *SHAPE, align_corners), expected, atol=0.01)


def test_a_large_photo_costs_a_canvas_and_not_more() -> None:
    rgb = np.zeros((1500, 2000, 3), np.uint8)
    tiles = plan_tiles(1500, 2000, 1500, 256, PATCH)
    small = tiling.shrink_to_canvas(rgb, tiles.canvas)
    shown = normalize_image(small, tiles.base)
    tracemalloc.start()
    refine_with_tiles(small, shown, seen, tiles)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    canvas = tiles.canvas[0] * tiles.canvas[1]
    assert 4 * canvas <= peak < 8 * canvas + 3e6  # the base (NumPy's or torch's) and the result, in float32
