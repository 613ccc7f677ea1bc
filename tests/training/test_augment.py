"""Augmentation against Pillow, SciPy and closed forms."""

import io
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage
from torch import Generator, Tensor

from dacli.scenes.kinds import make_scene
from dacli.scenes.layouts import render_layouts
from dacli.training import augment
from dacli.training.augment import (
    cosine_basis,
    defocus_blur,
    gaussian_blur,
    jitter_color,
    jpeg_artefacts,
    line_drawing,
    local_contrast,
    low_light,
    motion_blur,
    random_crop,
)


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@cache
def rendered() -> tuple[Tensor, Tensor]:
    """Return four pictures [4, 3, 96, 120] in 0…1 and their inverse depth."""
    found = render_layouts([make_scene(31, index) for index in range(4)], 96, 120)
    return found.rgb.float() / 255, found.inverse_depth


def pillow_jpeg(gray: NDArray[np.uint8], quality: int) -> NDArray[np.float64]:
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), np.float64)


@pytest.mark.parametrize(("quality", "coarseness"), [(50, 1.0), (25, 2.0), (75, 0.5)])
@pytest.mark.parametrize("size", [(96, 120), (61, 50)])
def test_jpeg_artefacts_are_those_of_libjpeg(quality: int, coarseness: float, size: tuple[int, int]) -> None:
    # libjpeg scales the standard table by 50 / quality up to 50, by 2 − quality / 50 above, and rounds it
    # noise, because many coefficients of flat areas would lie midway between two steps
    noise = 3 * torch.randn(4, 96, 120, generator=seeded(9))
    gray = (rendered()[0].mean(1) * 255 + noise).round().clamp(0, 255)[:, : size[0], : size[1]]
    ours = jpeg_artefacts(gray[:, None] / 255, torch.full((4, 1, 1, 1), coarseness))[:, 0].numpy() * 255
    theirs = np.stack([pillow_jpeg(row.numpy().astype(np.uint8), quality) for row in gray])
    change, expected = ours.clip(0, 255) - gray.numpy(), theirs - gray.numpy()
    assert expected.std() > 1.5
    assert np.abs(change - expected).mean() < 0.6
    assert (np.abs(change - expected) < 2.5).mean() > 0.96
    assert np.corrcoef(change.ravel(), expected.ravel())[0, 1] > 0.95


def test_jpeg_treats_each_sample_and_channel_separately() -> None:
    rgb, _ = rendered()
    coarseness = torch.tensor([0.3, 1, 2, 3])[:, None, None, None]
    found = jpeg_artefacts(rgb, coarseness)
    assert found.shape == rgb.shape
    for n in range(4):
        for c in range(3):
            alone = jpeg_artefacts(rgb[n : n + 1, c : c + 1], coarseness[n : n + 1])
            torch.testing.assert_close(found[n, c], alone[0, 0])
    error = [(jpeg_artefacts(rgb, torch.full((4, 1, 1, 1), k)) - rgb).square().mean().item() for k in (0.3, 1.0, 3.0)]
    assert error == sorted(error)
    torch.testing.assert_close(jpeg_artefacts(rgb, torch.full((4, 1, 1, 1), 1e-4)), rgb, atol=1e-4, rtol=0)


def test_the_cosine_basis_is_the_orthonormal_dct() -> None:
    basis = cosine_basis(torch.device("cpu"))
    np.testing.assert_allclose(basis @ basis.T, np.eye(8), atol=1e-6)
    np.testing.assert_allclose(basis, fft.dct(np.eye(8), axis=0, norm="ortho"), atol=1e-6)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.6, 3.5])
def test_blur_is_gaussian_with_the_weights_inside_normalised(sigma: float) -> None:
    rgb, _ = rendered()
    near = (0, 0, sigma, sigma)
    weights = ndimage.gaussian_filter(np.ones(rgb.shape), near, mode="constant", truncate=8)
    expected = ndimage.gaussian_filter(rgb.double().numpy(), near, mode="constant", truncate=8) / weights
    # SciPy samples and normalises the same kernel; dividing by the blurred ones normalises it at the borders
    np.testing.assert_allclose(gaussian_blur(rgb, sigma), expected, atol=2e-5)


def gradient_canvas(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return a canvas whose red grows to the right and whose green grows downwards, and depth that encodes both."""
    down, right = np.mgrid[0:height, 0:width]
    rgb = np.stack([right * 255 / (width - 1), down * 255 / (height - 1), 0 * down]).round().astype(np.uint8)
    depth = right / (width - 1) + 10 * down / (height - 1)
    return torch.from_numpy(rgb), torch.from_numpy(depth).half()


@pytest.mark.parametrize(("canvas", "size"), [((120, 120), (64, 96)), ((96, 120), (64, 64)), ((80, 200), (96, 64))])
def test_crops_keep_picture_and_depth_aligned(canvas: tuple[int, int], size: tuple[int, int]) -> None:
    rgb, depth = gradient_canvas(*canvas)
    mirrored = []
    for seed in range(40):
        picture, truth = random_crop(rgb, depth, *size, seeded(seed))
        assert picture.shape == (3, *size)
        assert truth.shape == size
        shown = picture[0] + 10 * picture[1]
        pixels = 1 / (canvas[1] - 1) + 10 / (canvas[0] - 1)  # the change from one pixel of the canvas to the next
        assert (shown - truth).abs()[2:-2, 2:-2].max() < pixels + 0.03
        steps = picture[0].diff(dim=1).mean()
        mirrored.append(bool(steps < 0))
        part = steps.abs() * (size[1] - 1) / (picture[1].diff(dim=0).mean() * (size[0] - 1))
        assert part == pytest.approx(size[1] / size[0] * canvas[0] / canvas[1], rel=0.08)  # one scale
    assert 8 < sum(mirrored) < 32


def test_crops_show_from_half_to_all_of_the_canvas() -> None:
    rgb, depth = gradient_canvas(128, 128)
    shares = [float(random_crop(rgb, depth, 64, 64, seeded(seed))[0][1].diff(dim=0).mean() * 63) for seed in range(80)]
    assert min(shares) < 0.65
    assert max(shares) > 0.95
    assert min(shares) > 0.46


def test_resized_crops_only_hold_depths_of_the_canvas() -> None:
    _, depth = rendered()
    canvas = torch.zeros(3, 96, 120, dtype=torch.uint8)
    _, truth = random_crop(canvas, depth[0], 64, 64, seeded(3))
    assert np.isin(truth.numpy(), depth[0].numpy()).all()


def test_crops_depend_on_the_seed() -> None:
    rgb, depth = gradient_canvas(96, 96)
    first, again, other = (random_crop(rgb, depth, 64, 64, seeded(seed)) for seed in (5, 5, 6))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_augmented_pictures_are_in_range_and_depend_on_the_seed() -> None:
    rgb, depth = rendered()
    before = depth.clone()
    for seed in range(12):
        first, again = (augment.augment_photometric(rgb, depth, seeded(seed)) for _ in range(2))
        assert torch.equal(first, again)
        assert first.shape == rgb.shape
        assert 0 <= first.min() <= first.max() <= 1
        assert not torch.equal(first, augment.augment_photometric(rgb, depth, seeded(seed + 100)))
    assert torch.equal(depth, before)


def test_augmented_pictures_still_resemble_the_originals() -> None:
    rgb, depth = rendered()
    alike = []
    for seed in range(12):
        found = augment.augment_photometric(rgb, depth, seeded(seed))
        alike += [abs(np.corrcoef(a.mean(0).ravel(), b.mean(0).ravel())[0, 1]) for a, b in zip(rgb, found, strict=True)]
    assert np.median(alike) > 0.85


def test_some_pictures_become_gray() -> None:
    red = torch.zeros(400, 3, 8, 8)
    red[:, 0], red[:, :, :4] = 0.8, red[:, :, :4] + 0.1
    found = jitter_color(red, seeded(1))
    spread = found.std((2, 3))
    assert (spread > 0).any()
    gray = (found.mean((2, 3)).amax(1) - found.mean((2, 3)).amin(1)) < 0.25
    assert 0.03 < gray.float().mean() < 0.5
    assert ((found > 0) & (found <= 1)).all()


def test_defocus_blurs_pixels_away_from_the_depth_in_focus() -> None:
    rgb = torch.rand(1, 3, 64, 96, generator=seeded(2))
    depth = torch.full((1, 64, 96), 0.2)
    depth[..., 48:] = 1.0
    sides = set()
    for seed in range(10):
        found = defocus_blur(rgb, depth, seeded(seed))
        kept = [(found - rgb)[..., part].abs().max().item() < 0.02 for part in (slice(6, 36), slice(60, 90))]
        assert sum(kept) == 1
        sides.add(kept.index(True))
        off = slice(60, 90) if kept[0] else slice(6, 36)
        torch.testing.assert_close(found[..., off], gaussian_blur(rgb, 3.5)[..., off], atol=1e-3, rtol=0)
    assert sides == {0, 1}


def test_a_picture_of_one_depth_is_in_focus_everywhere() -> None:
    rgb = rendered()[0]
    assert torch.equal(defocus_blur(rgb, torch.full((4, 96, 120), 0.4), seeded(1)), rgb)


def test_motion_blur_keeps_lines_along_the_motion_and_blurs_across_it() -> None:
    rgb = torch.zeros(2, 3, 80, 80)
    rgb[0, :, 40], rgb[1, :, :, 40] = 1, 1  # a line along x and a line along y
    kept = []
    for seed in range(30):
        found = motion_blur(rgb, seeded(seed))
        torch.testing.assert_close(found[0, :, :, 20:60].sum(1), torch.ones(3, 40))  # no light is lost
        kept.append((float(found[0, 0, 40, 40]), float(found[1, 0, 40, 40])))
    along_x, along_y = np.array(kept).T
    assert along_x.max() == pytest.approx(1)
    assert along_y.max() == pytest.approx(1)
    assert (np.maximum(along_x, along_y) < 0.75).any()  # a diagonal motion blurs both


def test_low_light_adds_noise_that_grows_in_the_dark() -> None:
    rgb = torch.full((300, 3, 16, 16), 0.25)
    rgb[..., 8:] = 0.9
    found = low_light(rgb, seeded(3))
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    dark, light = (found[..., part].std((1, 2, 3)) for part in (slice(8), slice(8, 16)))
    unclipped = found[..., 8:].amax((1, 2, 3)) < 1
    assert unclipped.sum() > 50
    assert (dark > light)[unclipped].float().mean() > 0.9


def test_local_contrast_moves_away_from_a_wide_blur() -> None:
    rgb = torch.rand(2, 3, 32, 48, generator=seeded(5)) * 0.2 + 0.4
    strength = torch.tensor([0.5, 1.5]).view(2, 1, 1, 1)
    found = local_contrast(rgb, strength).numpy()
    inside = (slice(None), slice(None), slice(10, 22), slice(10, 38))
    blurred = np.stack([[ndimage.gaussian_filter(c, 3) for c in each] for each in rgb.numpy().astype(float)])
    expected = rgb.numpy() + strength.numpy() * (rgb.numpy() - blurred)
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-3)


def test_drawings_have_dark_lines_where_depth_changes() -> None:
    rgb, depth = torch.full((40, 3, 32, 32), 0.5), torch.full((40, 32, 32), 0.1)
    depth[..., 16:] = 1.0
    found = line_drawing(rgb, depth, seeded(7)).mean(1)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    line, paper = found[..., 15].mean(1), found[..., 4].mean(1)
    assert (line < 0.4 * paper).all()
    torch.testing.assert_close(found[..., :12], found[..., :1].expand(-1, -1, 12))


def test_random_numbers_move_to_the_device_of_the_pictures() -> None:
    rgb, depth, canvas = *rendered(), gradient_canvas(96, 96)
    random = seeded(1)
    cosine_basis.cache_clear()
    with torch.device("meta"):  # the default device of new tensors, which cannot be combined with those of the pictures
        found = [augment.augment_photometric(rgb, depth, random) for _ in range(4)]
        picture, truth = random_crop(*canvas, 64, 64, random)
    assert {t.device.type for t in (*found, picture, truth)} == {"cpu"}


def test_crops_without_zoom_keep_the_field_of_view() -> None:
    rgb, depth = gradient_canvas(128, 128)
    for seed in range(10):
        picture, truth = random_crop(rgb, depth, 64, 64, seeded(seed), zoom=0)
        assert float(picture[1].diff(dim=0).mean() * 63) == pytest.approx(1, abs=0.02)
        assert float(truth.max() - truth.min()) == pytest.approx(11, abs=0.3)


def test_a_third_of_the_circle_of_hues_permutes_the_channels() -> None:
    rgb = rendered()[0]
    rotated = augment.rotate_hue(rgb, torch.full((4, 1, 1, 1), 1 / 3))  # red becomes green, green blue, blue red
    torch.testing.assert_close(rotated, rgb[:, [2, 0, 1]], atol=1e-5, rtol=1e-5)
    part = augment.rotate_hue(rgb, torch.full((4, 1, 1, 1), 0.1))
    torch.testing.assert_close(part.mean(1), rgb.mean(1))
    torch.testing.assert_close(part.std(1), rgb.std(1), atol=1e-5, rtol=1e-4)


def test_strong_augmentation_is_in_range_and_strong() -> None:
    rgb = rendered()[0]
    first, again = (augment.strong_augmentation(rgb, seeded(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert 0 <= first.min() <= first.max() <= 1
    mild = np.mean([(augment.jitter_color(rgb, seeded(n)) - rgb).abs().mean().item() for n in range(10)])
    hard = np.mean([(augment.strong_augmentation(rgb, seeded(n)) - rgb).abs().mean().item() for n in range(10)])
    assert hard > mild / 2
    soft = [augment.strong_augmentation(rgb[:1], seeded(n)).diff(dim=3).abs().mean().item() for n in range(40)]
    assert min(soft) < 0.6 * rgb[:1].diff(dim=3).abs().mean().item()


def test_cut_mix_puts_a_rectangle_of_one_picture_and_its_depth_into_another() -> None:
    first = (torch.zeros(3, 40, 60), torch.full((40, 60), 5.0))
    second = (torch.ones(3, 40, 60), torch.full((40, 60), 7.0))
    shares = []
    for seed in range(300):
        rgb, truth = augment.cut_mix(first, second, seeded(seed))
        inside = rgb[0] == 1
        assert torch.equal(truth[0].isnan(), inside)
        assert torch.equal(truth[1].isnan(), ~inside)
        assert set(truth[0][~inside].tolist()) <= {5.0}
        assert set(truth[1][inside].tolist()) <= {7.0}
        rows, columns = inside.any(1), inside.any(0)
        assert torch.equal(inside, rows[:, None] & columns)  # a rectangle
        shares.append(inside.float().mean().item())
    # Of an area U, uniform in 0 … 1, with sides √U around a uniform middle and clipped at the borders:
    # E = ∫ (√u − u / 4)² du = 17 / 60 … 1/2
    side = np.sqrt(np.linspace(0, 1, 100_001))
    kept = side - side**2 / 4
    assert np.mean(shares) == pytest.approx((kept**2).mean(), abs=0.05)
