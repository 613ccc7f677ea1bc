"""Ensembles: the mean of several passes equals that of the passes made one by one, and their spread is said."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from dacli.choices import TileMode
from dacli.errors import UsageError
from dacli.inference.device import ExecutionPlan
from dacli.inference.ensemble import parse_ensemble
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import Predictor
from dacli.models.spec import ModelSpec
from dacli.outputs.drawing import draw_confidence
from tests.support.models import SmallModel

Depth = npt.NDArray[np.float32]
PLAN = ExecutionPlan("cpu", "torch", "fp32", half_weights=False, reason="")


class OneSided(SmallModel):
    """A network that sees the left otherwise than the right, and more in a larger picture."""

    def forward(self, images: Tensor) -> Tensor:
        ramp = torch.linspace(1, 2, images.shape[-1])
        return images.mean(1).square() * ramp + images.shape[-1] / 100


class LeftRight(SmallModel):
    """A network that takes the left for far whatever it sees, as no picture and its mirror image agree on."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1) * 0 + torch.linspace(1, 2, images.shape[-1])


class Flat(SmallModel):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean(1) * 0 + 3


class OnePassOnly(OneSided):
    @property
    def spec(self) -> ModelSpec:
        return dataclasses.replace(super().spec, tiles_allowed=False)


def predictor(network: Any, ensemble: str = "", size: int | None = None, tile: TileMode = "auto") -> Predictor:
    return build_predictor(network, PLAN, size, tile=tile, ensemble=parse_ensemble(ensemble))


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def raw_depth(made_by: Predictor, rgb: npt.NDArray[np.uint8]) -> Depth:
    (raw,) = made_by.infer([made_by.prepare(rgb)])
    return raw.tensor.numpy()


def fit_to(depth: Depth, first: Depth) -> Depth:
    scale, shift = np.polyfit(depth.ravel().astype(float), first.ravel().astype(float), 1)
    return np.asarray(scale * depth + shift, np.float32)


@pytest.mark.parametrize(("size", "tile"), [(28, "auto"), (84, "on")])
def test_flip_is_the_mean_of_a_picture_and_of_its_mirror_image(size: int, tile: TileMode) -> None:
    rgb = picture(size, 2 * size)
    plain = predictor(OneSided(), size=size, tile=tile)
    first, mirrored = raw_depth(plain, rgb), raw_depth(plain, rgb[:, ::-1].copy())[:, ::-1]
    made = raw_depth(predictor(OneSided(), "flip", size, tile), rgb)
    np.testing.assert_allclose(made, (first + fit_to(mirrored, first)) / 2, atol=1e-5)
    assert np.abs(made - first).max() > 0.05


def test_metres_are_averaged_as_they_are() -> None:
    rgb, plain = picture(28, 56), predictor(OneSided(20.0))
    first, mirrored = raw_depth(plain, rgb), raw_depth(plain, rgb[:, ::-1].copy())[:, ::-1]
    np.testing.assert_allclose(raw_depth(predictor(OneSided(20.0), "flip"), rgb), (first + mirrored) / 2, atol=1e-6)


def test_sizes_are_the_own_one_and_half_as_much_again() -> None:
    rgb = picture(28, 56)
    small, large = raw_depth(predictor(OneSided()), rgb), raw_depth(predictor(OneSided(), size=42), rgb)
    first = ndimage.zoom(small, 1.5, order=1)  # the corners stay where they are, as in this network
    expected = (first + fit_to(large, first)) / 2
    np.testing.assert_allclose(raw_depth(predictor(OneSided(), "sizes"), rgb), expected, atol=1e-4)


def test_both_together_are_the_mean_of_four_passes() -> None:
    rgb = picture(28, 56)
    small, large = predictor(OneSided()), predictor(OneSided(), size=42)
    first = ndimage.zoom(raw_depth(small, rgb), 1.5, order=1)
    mirror = rgb[:, ::-1].copy()
    turned = ndimage.zoom(raw_depth(small, mirror)[:, ::-1], 1.5, order=1)
    members = [raw_depth(large, rgb), turned, raw_depth(large, mirror)[:, ::-1]]
    expected = np.mean([first, *(fit_to(member, first) for member in members)], axis=0)
    (made,) = predictor(OneSided(), "sizes,flip").predict([rgb])
    assert (made.network_size, made.depth.shape) == ((42, 84), (28, 56))
    np.testing.assert_allclose(raw_depth(predictor(OneSided(), "flip,sizes"), rgb), expected, atol=1e-4)


def test_pictures_that_share_only_the_first_size_go_together() -> None:
    pictures = [picture(28, 50), picture(28, 58, 1), picture(28, 50, 2)]  # 56 wide, and then 70 and 84
    both = predictor(OneSided(), "sizes")
    together = both.infer([both.prepare(each) for each in pictures])
    assert [tuple(raw.tensor.shape) for raw in together] == [(42, 70), (42, 84), (42, 70)]
    for raw, rgb in zip(together, pictures, strict=True):
        np.testing.assert_allclose(raw.tensor.numpy(), raw_depth(both, rgb), atol=1e-6)


def test_the_spread_is_the_difference_of_the_members_in_shares_of_the_range() -> None:
    (made,) = predictor(OneSided(20.0), "flip").predict([picture(28, 56)])
    first, mirrored = (
        predictor(OneSided(20.0)).predict([each])[0].depth
        for each in (picture(28, 56), picture(28, 56)[:, ::-1].copy())
    )
    span = made.depth.max() - made.depth.min()
    assert made.spread is not None
    np.testing.assert_allclose(made.spread, np.abs(first - mirrored[:, ::-1]) / span, atol=1e-5)
    assert predictor(OneSided()).predict([picture(28, 56)])[0].spread is None


def test_members_that_contradict_each_other_do_not_exchange_near_and_far() -> None:
    (made,) = predictor(LeftRight(), "flip").predict([picture(28, 56)])
    np.testing.assert_allclose(made.depth, np.broadcast_to(np.linspace(1.25, 1.75, 56), (28, 56)), atol=1e-5)
    assert made.spread is not None
    np.testing.assert_allclose(made.spread[:, [0, -1]], 1, atol=1e-5)


def test_flat_depth_has_no_spread() -> None:
    (made,) = predictor(Flat(), "flip,sizes").predict([picture(20, 33)])
    assert made.spread is not None
    np.testing.assert_allclose(made.depth, 3, rtol=1e-6)
    assert made.spread.max() < 0.05  # of rounding, which is no difference


def test_confidence_is_white_where_the_members_agree_and_black_from_a_quarter_of_the_range() -> None:
    assert draw_confidence(np.array([[0, 0.125, 0.25, 3]], np.float32)).tolist() == [[255, 128, 0, 0]]


def test_a_network_whose_output_cannot_be_averaged_is_refused() -> None:
    with pytest.raises(UsageError, match="small does not work in an ensemble"):
        predictor(OnePassOnly(), "flip")


@pytest.mark.parametrize("text", ["flop", "flip,", "flip;sizes"])
def test_an_unknown_ensemble_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="there is no ensemble"):
        parse_ensemble(text)
