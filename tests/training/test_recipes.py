"""Schedules and objectives of the recipes."""

import numpy as np
import pytest
import torch

from dacli.training import recipes
from dacli.training.recipes import SCHEDULES, metric_objective


def test_the_schedule_of_pretrained_vits_is_that_of_the_paper() -> None:
    schedule = SCHEDULES["vit", "pretrained"]
    ((peak, (stage,)),) = schedule.cycles
    assert peak == 5e-5
    assert peak * schedule.encoder_factor == pytest.approx(5e-6)
    assert (stage.steps, stage.batch, stage.size) == (160_000, 64, 518)


@pytest.mark.parametrize("key", sorted(SCHEDULES))
def test_sizes_grow_and_are_multiples_of_the_patch(key: tuple[str, str]) -> None:
    for _, stages in SCHEDULES[key].cycles:
        sizes = [stage.size for stage in stages]
        assert sizes == sorted(sizes)
        assert all(stage.size % (32 if key[0] == "tiny" else 14) == 0 for stage in stages)
        assert all(stage.canvas >= stage.size and stage.batch % stage.fresh == 0 for stage in stages)


@pytest.mark.parametrize("steps", [1, 7, 200, 10_300, 123_457])
def test_another_number_of_steps_is_shared_in_proportion(steps: int) -> None:
    schedule = SCHEDULES["tiny", "scratch"]
    changed = schedule.with_changes(steps=steps)
    assert changed.steps == steps
    before = [stage.steps for _, stages in schedule.cycles for stage in stages]
    after = [stage.steps for _, stages in changed.cycles for stage in stages]
    np.testing.assert_allclose(after, np.array(before) * steps / schedule.steps, atol=1)


def test_only_the_given_values_change() -> None:
    schedule = SCHEDULES["tiny", "scratch"]
    assert schedule.with_changes() == schedule
    changed = schedule.with_changes(batch=6, size=64, rate=2e-4)
    stages = [stage for _, stages in changed.cycles for stage in stages]
    assert {(stage.batch, stage.size, stage.canvas) for stage in stages} == {(6, 64, 96)}
    assert [peak for peak, _ in changed.cycles] == [2e-4, 2e-4]
    assert changed.settings()["rates"] == "0.0002 0.0002"
    assert changed.settings()["steps"] == schedule.settings()["steps"] == "5000 2400 1200 500 1200"


def test_the_target_in_metres_is_unknown_beyond_the_range() -> None:
    nan = torch.nan
    truth = torch.tensor([[0.1, 0.05, 0.04, 0.0, nan, 4.0]])
    torch.testing.assert_close(
        metric_objective("indoor").target(truth), torch.tensor([[10, 20, nan, nan, nan, 0.25]]), equal_nan=True
    )
    assert metric_objective("outdoor").target(truth)[0, 2] == 25
    assert recipes.TEACHER.target(truth) is truth
