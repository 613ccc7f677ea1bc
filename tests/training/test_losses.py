"""Losses against NumPy formulas and finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli.training.losses import (
    LossFunction,
    feature_alignment_loss,
    gradient_matching_loss,
    loss_by_region,
    normalize_depth,
    pseudo_label_loss,
    relative_depth_loss,
    scale_invariant_log_loss,
)

Map = NDArray[np.float64]


def random_maps(seed: int, shape: tuple[int, ...] = (3, 32, 48)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.1, 3, shape)).float()


def with_holes(d: Tensor, seed: int, share: float = 0.3) -> Tensor:
    """Return the map with a share of its pixels unknown."""
    holes = torch.from_numpy(np.random.default_rng(seed).random(d.shape) < share)
    return torch.where(holes, torch.nan, d)


def all_known(d: Tensor) -> Tensor:
    return torch.ones(d.shape, dtype=torch.bool)


def without_scale_and_shift(d: Map, known: NDArray[np.bool_]) -> Map:
    values = np.sort(d[known])
    centred = d - values[(len(values) - 1) // 2]  # the lower median
    return np.asarray(np.where(known, centred / np.abs(centred[known]).mean(), 0))


def numpy_gradient_loss(difference: Map, known: NDArray[np.bool_]) -> float:
    """Return the mean absolute step between known neighbours of a map [H, W], summed over axes, mean of 4 levels."""
    total = 0.0
    for k in range(4):
        d, sure = difference[:: 2**k, :: 2**k], known[:: 2**k, :: 2**k]
        down, across = np.abs(d[1:] - d[:-1]), np.abs(d[:, 1:] - d[:, :-1])
        total += down[sure[1:] & sure[:-1]].mean() + across[sure[:, 1:] & sure[:, :-1]].mean()
    return total / 4


def numpy_relative_loss(prediction: Tensor, truth: Tensor, trimmed: float = 0) -> list[float]:
    """Return the loss of relative depth of each sample, from its formula."""
    found = []
    for p, t in zip(prediction.double().numpy(), truth.double().numpy(), strict=True):
        known = np.isfinite(t)
        difference = without_scale_and_shift(p, known) - without_scale_and_shift(np.nan_to_num(t), known)
        if trimmed:
            ordered = np.sort(np.abs(difference[known]))
            known &= np.abs(difference) <= ordered[len(ordered) - int(trimmed * len(ordered)) - 1]
        found.append(np.abs(difference[known]).mean() + 2 * numpy_gradient_loss(difference, known))
    return found


@pytest.mark.parametrize("shape", [(3, 32, 48), (1, 33, 47), (2, 64, 32)])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_loss_of_relative_depth_against_numpy(shape: tuple[int, int, int], share: float) -> None:
    prediction, truth = random_maps(1, shape), with_holes(random_maps(2, shape), 3, share)
    torch.testing.assert_close(
        relative_depth_loss(prediction, truth),
        torch.tensor(numpy_relative_loss(prediction, truth)).float(),
        rtol=1e-5,
        atol=1e-6,
    )


def test_the_loss_of_pseudo_labels_ignores_the_worst_tenth_of_each_sample() -> None:
    prediction, truth = random_maps(1), with_holes(random_maps(2), 3, 0.1)
    expected = torch.tensor(numpy_relative_loss(prediction, truth, 0.1)).float()
    torch.testing.assert_close(pseudo_label_loss(prediction, truth), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0.0), (40.0, -7.0), (1.0, 100.0)])
@pytest.mark.parametrize("loss", [relative_depth_loss, pseudo_label_loss])
def test_scale_and_shift_of_either_side_do_not_matter(loss: LossFunction, scale: float, shift: float) -> None:
    prediction, truth = random_maps(1), with_holes(random_maps(2), 3)
    expected = loss(prediction, truth)
    torch.testing.assert_close(loss(scale * prediction + shift, truth), expected, rtol=2e-3, atol=0)
    torch.testing.assert_close(loss(prediction, scale * truth + shift), expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize("loss", [relative_depth_loss, pseudo_label_loss, scale_invariant_log_loss])
def test_the_truth_has_no_loss_and_worse_predictions_have_more(loss: LossFunction) -> None:
    truth = with_holes(random_maps(2), 3)
    whole = truth.nan_to_num(1.7)
    order = [
        loss(p, truth).mean().item()
        for p in (whole, whole + 0.1 * random_maps(3), whole + random_maps(3), random_maps(4) ** 3)
    ]
    assert order[0] == pytest.approx(0, abs=1e-5)
    assert order == sorted(order)


@pytest.mark.parametrize("loss", [relative_depth_loss, pseudo_label_loss, scale_invariant_log_loss])
def test_unknown_pixels_do_not_count(loss: LossFunction) -> None:
    prediction, truth = random_maps(1), with_holes(random_maps(2), 3)
    changed = torch.where(truth.isnan(), 1000 * random_maps(9), prediction).requires_grad_()
    found = loss(changed, truth)
    torch.testing.assert_close(found, loss(prediction, truth))
    (slope,) = torch.autograd.grad(found.sum(), changed)
    assert slope.isfinite().all()
    assert slope[truth.isnan()].abs().max() == 0
    assert slope[~truth.isnan()].abs().max() > 0


@pytest.mark.parametrize("loss", [relative_depth_loss, pseudo_label_loss, scale_invariant_log_loss])
def test_samples_without_known_pixels_have_no_loss(loss: LossFunction) -> None:
    prediction, truth = random_maps(1).requires_grad_(), random_maps(2)
    truth[1] = torch.nan
    found = loss(prediction, truth)
    assert found[1] < 1e-5
    (slope,) = torch.autograd.grad(found.sum(), prediction)
    assert slope.isfinite().all()
    assert slope[1].abs().max() == 0
    torch.testing.assert_close(found[[0, 2]], loss(prediction, random_maps(2))[[0, 2]])


@pytest.mark.parametrize("loss", [relative_depth_loss, pseudo_label_loss, scale_invariant_log_loss])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_gradients_by_finite_differences(loss: LossFunction, share: float) -> None:
    prediction, truth = random_maps(8, (2, 16, 16)).double(), with_holes(random_maps(9, (2, 16, 16)).double(), 3, share)
    leaf = prediction.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf, truth).sum(), leaf)
    random = np.random.default_rng(7)
    for _ in range(12):
        along = torch.from_numpy(random.standard_normal(prediction.shape)) * 1e-7
        step = (loss(prediction + along, truth) - loss(prediction - along, truth)).sum() / 2
        assert step.item() == pytest.approx((slope * along).sum().item(), rel=2e-3, abs=1e-12)


def test_each_sample_is_normalised_separately() -> None:
    d = random_maps(5)
    changed = d * torch.tensor([1.0, 10, 0.1])[:, None, None] + torch.tensor([0.0, 5, -2])[:, None, None]
    plain = normalize_depth(d, all_known(d))
    torch.testing.assert_close(normalize_depth(changed, all_known(d)), plain, rtol=1e-3, atol=1e-4)
    assert plain.flatten(1).median(1).values.abs().max() == 0
    torch.testing.assert_close(plain.abs().mean((1, 2)), torch.ones(3))


def test_constant_differences_have_no_gradient_loss_and_linear_ones_a_known_one() -> None:
    known = torch.ones(2, 32, 32, dtype=torch.bool)
    assert gradient_matching_loss(torch.full((2, 32, 32), 3.0), known).abs().max() == 0
    linear = torch.arange(32.0).expand(2, 32, 32)
    assert gradient_matching_loss(linear, known).tolist() == pytest.approx([(1 + 2 + 4 + 8) / 4] * 2)


@pytest.mark.parametrize("value", [0.0, 0.7, 1e4])
def test_a_constant_prediction_has_a_finite_loss_and_gradient(value: float) -> None:
    prediction = torch.full((2, 32, 32), value, requires_grad=True)
    loss = relative_depth_loss(prediction, random_maps(7, (2, 32, 32))).sum()
    (slope,) = torch.autograd.grad(loss, prediction)
    assert loss.isfinite()
    assert slope.isfinite().all()


def test_the_loss_of_metres_against_numpy() -> None:
    prediction, truth = random_maps(1), with_holes(random_maps(2), 3)
    found = scale_invariant_log_loss(prediction, truth)
    for value, p, t in zip(found, prediction.double().numpy(), truth.double().numpy(), strict=True):
        error = np.log(p[np.isfinite(t)]) - np.log(t[np.isfinite(t)])
        assert value.item() == pytest.approx(np.sqrt((error**2).mean() - 0.5 * error.mean() ** 2), rel=1e-5)


def test_a_common_factor_of_metres_counts_by_half() -> None:
    truth = random_maps(2)
    for factor in (0.5, 3.0):
        found = scale_invariant_log_loss(factor * truth, truth)
        torch.testing.assert_close(found, torch.full((3,), abs(np.log(factor)) * 0.5**0.5).float(), rtol=1e-4, atol=0)


def test_a_prediction_of_zero_metres_has_a_finite_loss_and_gradient() -> None:
    prediction = torch.zeros(1, 8, 8, requires_grad=True)
    loss = scale_invariant_log_loss(prediction, random_maps(1, (1, 8, 8))).sum()
    (slope,) = torch.autograd.grad(loss, prediction)
    assert loss.isfinite()
    assert slope.isfinite().all()


def test_regions_count_by_their_size_each_with_its_own_scale() -> None:
    prediction, truth = random_maps(1), random_maps(2)
    left = torch.zeros(32, 48, dtype=torch.bool)
    left[:, :12] = True
    parts = torch.stack(
        [torch.where(left, truth, torch.nan), torch.where(left, torch.nan, 7 * truth + 3)], 1
    )  # a quarter and the rest, of another scale
    expected = 0.25 * relative_depth_loss(prediction, parts[:, 0]) + 0.75 * relative_depth_loss(prediction, parts[:, 1])
    torch.testing.assert_close(loss_by_region(relative_depth_loss, prediction, parts), expected)
    whole = torch.stack([truth, torch.full_like(truth, torch.nan)], 1)
    torch.testing.assert_close(
        loss_by_region(relative_depth_loss, prediction, whole), relative_depth_loss(prediction, truth)
    )
    torch.testing.assert_close(
        loss_by_region(relative_depth_loss, prediction, truth[:, None]), relative_depth_loss(prediction, truth)
    )


def test_feature_loss_is_of_the_cosines_below_the_margin() -> None:
    frozen = torch.tensor([[1.0, 0], [1, 0], [1, 0], [2, 0]])[None]
    angles = np.radians([0, 30, 60, 90])  # cosines 1, 0.866, 0.5 and 0; the margin is 0.85
    tokens = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], 1)).float()[None] * 5
    assert feature_alignment_loss(tokens, frozen).tolist() == pytest.approx([(0.5 + 1) / 2])
    tokens.requires_grad_()
    (slope,) = torch.autograd.grad(feature_alignment_loss(tokens, frozen).sum(), tokens)
    assert slope[0, :2].abs().max() == 0
    assert slope[0, 2:].norm(dim=1).min() > 0


def test_features_of_another_length_but_the_same_direction_have_no_loss() -> None:
    tokens = random_maps(1, (2, 9, 16))
    assert feature_alignment_loss(tokens, 3 * tokens).abs().max() == 0


def test_a_step_against_the_gradient_lowers_the_loss() -> None:
    losses: list[Callable[[Tensor, Tensor], Tensor]] = [
        relative_depth_loss,
        pseudo_label_loss,
        scale_invariant_log_loss,
    ]
    for loss in losses:
        prediction, truth = random_maps(8).requires_grad_(), random_maps(9)
        before = loss(prediction, truth).sum()
        (slope,) = torch.autograd.grad(before, prediction)
        assert loss(prediction.detach() - 5 * slope, truth).sum() < before
