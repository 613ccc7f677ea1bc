"""Transparent pixels: the color below them, and depth that they do not get; read back by Pillow and NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from tests.support import footage
from tests.support.commands import SMALL, Run, photo

pytestmark = pytest.mark.usefixtures("home")
HOLE = np.s_[5:15, 10:30]  # what is transparent
SHAPE = (24, 36)
HALF_HOLE = "format=rgba,geq=r=p(X\\,Y):g=p(X\\,Y):b=p(X\\,Y):a='if(lt(X,48),0,255)'"


@pytest.fixture
def cut_out(home: Path) -> Path:
    """Write a picture with a transparent hole, and half-transparent pixels in its first row and last row."""
    pixels = np.random.default_rng(1).integers(0, 256, (*SHAPE, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[HOLE][..., 3] = 0
    pixels[0, :, 3], pixels[-1, :, 3] = 100, 200
    Image.fromarray(pixels).save(home / "a.png")
    return home / "a.png"


def pixels_of(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        return np.asarray(image)


def is_transparent(shape: tuple[int, int] = SHAPE) -> NDArray[Any]:
    mask = np.zeros(shape, bool)
    mask[HOLE], mask[0] = True, True
    return mask


@pytest.mark.parametrize(
    ("color", "rgb"), [("#102030", (16, 32, 48)), pytest.param("gray", (128, 128, 128), marks=pytest.mark.slow)]
)
def test_the_background_is_put_below_transparent_pixels(
    dacli: Run, home: Path, cut_out: Path, color: str, rgb: tuple[int, int, int]
) -> None:
    assert dacli("image", "a.png", *SMALL, "--save", "side", "--background", color).code == 0
    below = Image.new("RGBA", SHAPE[::-1], rgb)
    with Image.open(cut_out) as image:
        expected = np.asarray(Image.alpha_composite(below, image).convert("RGB")).astype(int)
    assert np.abs(pixels_of(home / "a_side.png")[:, : SHAPE[1]] - expected).max() <= 1


def test_masked_pixels_are_far_and_have_no_depth(dacli: Run, home: Path, cut_out: Path) -> None:
    ask = ("image", cut_out.name, *SMALL, "--save", "gray,png16,color,npy", "--json")
    row = dacli(*ask, "--alpha", "mask").objects[0]
    depth, mask = np.load(home / "a_depth.npy"), is_transparent()
    np.testing.assert_array_equal(np.isnan(depth), mask)
    assert row["range"] == pytest.approx([np.nanmin(depth), np.nanmax(depth)])
    for name, top in (("gray", 255), ("depth16", 65535)):
        values = pixels_of(home / f"a_{name}.png")
        assert not values[mask].any()
        low, high = row["range"]
        np.testing.assert_allclose(values[~mask], (depth[~mask] - low) / (high - low) * top, atol=0.51)
    far = pixels_of(home / "a_color.png")[mask]
    assert (far == far[0]).all()
    np.testing.assert_allclose(far[0], [94, 79, 162], atol=1)  # the first color of Spectral_r


def test_near_black_and_a_range_of_ones_own_have_their_far_end_too(dacli: Run, home: Path, cut_out: Path) -> None:
    ask = ("image", cut_out.name, *SMALL, "--save", "gray,png16", "--alpha", "mask")
    assert dacli(*ask, "--near", "black", "--range", "p10,p90").code == 0
    assert (pixels_of(home / "a_gray.png")[is_transparent()] == 255).all()
    assert (pixels_of(home / "a_depth16.png")[is_transparent()] == 65535).all()


def test_masked_pixels_are_no_points_and_not_valid(dacli: Run, home: Path, cut_out: Path) -> None:
    ask = ("image", cut_out.name, *SMALL, "--alpha", "mask", "--near-far", "1,9", "--edge", "10")
    assert dacli(*ask, "--save", "npz,tiff,ply").code == 0
    with np.load(home / "a_depth.npz") as arrays:
        np.testing.assert_array_equal(arrays["valid"], ~is_transparent())
    np.testing.assert_array_equal(np.isnan(pixels_of(home / "a_depth.tiff")), is_transparent())
    points: Any = trimesh.load(home / "a_points.ply")
    assert len(points.vertices) == (~is_transparent()).sum()


def test_a_picture_that_is_all_transparent_has_no_depth(dacli: Run, home: Path) -> None:
    Image.new("RGBA", (30, 20), (10, 20, 30, 0)).save(home / "b.png")
    assert dacli("image", "b.png", *SMALL, "--save", "npy,color", "--alpha", "mask").code == 0
    assert np.isnan(np.load(home / "b_depth.npy")).all()


def test_other_alpha_makes_outputs_again_and_the_same_does_not(dacli: Run, home: Path, cut_out: Path) -> None:
    (home / "in").mkdir()
    cut_out.rename(home / "in" / "a.png")
    ask = ("folder", "in", "out", *SMALL, "--save", "npy", "--json")
    mask = ("--alpha", "mask")
    for options, skipped in (((), 0), (mask, 0), (mask, 1), ((*mask, "--background", "red"), 0), ((), 0), ((), 1)):
        assert dacli(*ask, *options).summary["skipped"] == skipped
    (home / "out" / ".dacli").rename(home / "journal")  # the records inside the files say the same
    assert dacli(*ask).summary["skipped"] == 1
    assert dacli(*ask, *mask).summary["done"] == 1
    (home / "out" / ".dacli").rename(home / "journal2")
    assert dacli(*ask, *mask).summary["skipped"] == 1


def test_opaque_pictures_have_depth_everywhere(dacli: Run, home: Path) -> None:
    photo(home / "a.jpg")
    assert dacli("image", "a.jpg", *SMALL, "--save", "npy", "--alpha", "mask").code == 0
    assert np.isfinite(np.load(home / "a_depth.npy")).all()


@pytest.mark.parametrize(
    "steady", ["on", pytest.param("off", marks=pytest.mark.slow), pytest.param("two-pass", marks=pytest.mark.slow)]
)
def test_masked_pixels_of_a_clip_are_far(dacli: Run, home: Path, steady: str) -> None:
    footage.make_clip(home / "a.mov", "-vf", HALF_HOLE, "-c:v", "qtrle", frames=3)
    ask = ("video", "a.mov", *SMALL, "--steady", steady, "--save", "npy,png16", "--alpha", "mask")
    assert dacli(*ask).code == 0
    depth = np.load(home / "a_depth" / "a_depth_000001.npy")
    assert np.isnan(depth[:, :48]).all()
    assert np.isfinite(depth[:, 48:]).all()
    values = footage.decoded_frames(home / "a_depth16.mkv", "gray16le")[1]
    assert not values[:, :48].any()
    assert values[:, 48:].any()


def test_a_clip_over_a_background(dacli: Run, home: Path) -> None:
    footage.make_clip(home / "a.mov", "-vf", HALF_HOLE, "-c:v", "qtrle", frames=2)
    assert dacli("video", "a.mov", *SMALL, "--save", "side", "--frames", "--background", "blue").code == 0
    assert (pixels_of(home / "a_side" / "a_side_000001.png")[:, :48] == (0, 0, 255)).all()


@pytest.mark.slow
def test_transparent_frames_of_a_folder_are_masked_too(dacli: Run, home: Path, cut_out: Path) -> None:
    (home / "shot").mkdir()
    cut_out.rename(home / "shot" / "0001.png")
    assert dacli("video", "shot", *SMALL, "--save", "npy", "--alpha", "mask").code == 0
    np.testing.assert_array_equal(np.isnan(np.load(home / "shot_depth" / "shot_depth_0001.npy")), is_transparent())


@pytest.mark.parametrize("color", ["nocolor", "#12", "#10203040", "1,2,3"])
def test_a_background_that_is_no_color_is_wrong_usage(dacli: Run, color: str) -> None:
    run = dacli("image", "a.png", "--background", color)
    assert (run.code, run.out) == (2, "")
    assert run.err == [f"error: --background {color} is not a color: give a name such as gray, or #rrggbb in quotes"]


def test_another_word_for_alpha_is_wrong_usage(dacli: Run) -> None:
    run = dacli("video", "a.mov", "--alpha", "cut")
    assert (run.code, run.err) == (2, ["error: unknown alpha 'cut': choose over or mask"])
