import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from dacli.train.losses import gradient_matching, normalised, relative_depth

Map = NDArray[np.float64]


def maps(seed: int, shape: tuple[int, ...] = (3, 32, 48)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0, 3, shape)).float()


def free_of_scale(d: Map) -> Map:
    lower_median = np.sort(d, axis=None)[(d.size - 1) // 2]
    return np.asarray((d - lower_median) / np.abs(d - lower_median).mean())


def gradients(difference: Map) -> float:
    total = 0.0
    for k in range(4):
        level = difference[:, :: 2**k, :: 2**k]
        total += np.abs(level[:, 1:] - level[:, :-1]).mean() + np.abs(level[:, :, 1:] - level[:, :, :-1]).mean()
    return total / 4


@pytest.mark.parametrize("shape", [(3, 32, 48), (1, 33, 47), (2, 64, 32)])
def test_the_loss_against_numpy(shape: tuple[int, int, int]) -> None:
    prediction, truth = maps(1, shape), maps(2, shape)
    sides = [np.stack([free_of_scale(row) for row in side.double().numpy()]) for side in (prediction, truth)]
    difference = sides[0] - sides[1]
    expected = np.abs(difference).mean() + 2 * gradients(difference)
    assert relative_depth(prediction, truth).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0.0), (40.0, -7.0), (1.0, 100.0)])
def test_neither_side_has_a_scale_or_a_shift(scale: float, shift: float) -> None:
    prediction, truth = maps(1), maps(2)
    expected = relative_depth(prediction, truth).item()
    assert relative_depth(scale * prediction + shift, truth).item() == pytest.approx(expected, rel=1e-3)
    assert relative_depth(prediction, scale * truth + shift).item() == pytest.approx(expected, rel=1e-3)


def test_right_is_better_than_wrong_and_wrong_than_inverted() -> None:
    truth = maps(2)
    order = [relative_depth(p, truth).item() for p in (5 * truth + 1, truth + 0.3 * maps(3), maps(4), -truth)]
    assert order[0] == pytest.approx(0, abs=1e-5)
    assert order == sorted(order)


def test_samples_are_freed_of_scale_one_by_one() -> None:
    d = maps(5)
    changed = d * torch.tensor([1.0, 10, 0.1])[:, None, None] + torch.tensor([0.0, 5, -2])[:, None, None]
    torch.testing.assert_close(normalised(changed), normalised(d), rtol=1e-3, atol=1e-4)
    assert normalised(d).flatten(1).median(1).values.abs().max() == 0
    torch.testing.assert_close(normalised(d).abs().mean((1, 2)), torch.ones(3))


def test_equal_maps_match_in_all_gradients() -> None:
    assert gradient_matching(torch.zeros(2, 32, 32)) == 0
    assert gradient_matching(torch.full((2, 32, 32), 3.0)) == 0
    assert gradient_matching(maps(6)).item() == pytest.approx(gradients(maps(6).double().numpy()), rel=1e-5)


def test_a_ramp_is_steeper_on_coarser_levels() -> None:
    ramp = torch.arange(32.0).expand(1, 32, 32)
    assert gradient_matching(ramp).item() == pytest.approx((1 + 2 + 4 + 8) / 4)


@pytest.mark.parametrize("value", [0.0, 0.7, 1e4])
def test_a_constant_prediction_has_a_finite_loss_and_gradient(value: float) -> None:
    prediction = torch.full((2, 32, 32), value, requires_grad=True)
    loss = relative_depth(prediction, maps(7, (2, 32, 32)))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.isfinite()
    assert prediction.grad is not None
    assert prediction.grad.isfinite().all()


def test_the_gradient_points_downhill() -> None:
    prediction, truth = maps(8).requires_grad_(), maps(9)
    before = relative_depth(prediction, truth)
    before.backward()  # type: ignore[no-untyped-call]
    assert prediction.grad is not None
    with torch.no_grad():
        assert relative_depth(prediction - 20 * prediction.grad, truth) < before
