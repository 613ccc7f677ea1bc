import numpy as np
import pytest
import torch

from dacli.models import registry
from dacli.scenes import layouts
from dacli.scenes.interiors import EYE_HEIGHT
from dacli.scenes.metric_places import METRIC_PLACES
from dacli.scenes.raycast import ROOM
from dacli.training import recipes
from dacli.training.recipes import SCHEDULES, metric_objective


def test_the_last_recipe_is_that_of_the_paper() -> None:
    schedule = SCHEDULES["vit", "pretrained"]
    ((peak, (stage,)),) = schedule.cycles
    assert peak == 5e-5
    assert peak * schedule.encoder == pytest.approx(5e-6)
    assert (stage.steps, stage.batch, stage.size) == (160_000, 64, 518)


@pytest.mark.parametrize("key", sorted(SCHEDULES))
def test_sizes_grow_and_suit_the_network(key: tuple[str, str]) -> None:
    for _, stages in SCHEDULES[key].cycles:
        sizes = [stage.size for stage in stages]
        assert sizes == sorted(sizes)
        assert all(stage.size % (32 if key[0] == "tiny" else 14) == 0 for stage in stages)
        assert all(stage.canvas >= stage.size and stage.batch % stage.fresh == 0 for stage in stages)


@pytest.mark.parametrize("steps", [1, 7, 200, 10_300, 123_457])
def test_a_changed_number_of_steps_is_shared_in_proportion(steps: int) -> None:
    schedule = SCHEDULES["tiny", "scratch"]
    changed = schedule.changed(steps, None, None, None)
    assert changed.steps == steps
    before = [stage.steps for _, stages in schedule.cycles for stage in stages]
    after = [stage.steps for _, stages in changed.cycles for stage in stages]
    np.testing.assert_allclose(after, np.array(before) * steps / schedule.steps, atol=1)


def test_what_is_not_changed_stays() -> None:
    schedule = SCHEDULES["tiny", "scratch"]
    assert schedule.changed(None, None, None, None) == schedule
    changed = schedule.changed(None, 6, 64, 2e-4)
    stages = [stage for _, stages in changed.cycles for stage in stages]
    assert {(stage.batch, stage.size, stage.canvas) for stage in stages} == {(6, 64, 96)}
    assert [peak for peak, _ in changed.cycles] == [2e-4, 2e-4]
    assert changed.settings()["rates"] == "0.0002 0.0002"
    assert changed.settings()["steps"] == schedule.settings()["steps"] == "5000 2400 1200 500 1200"


def test_metres_are_told_of_inverse_depth_as_far_as_they_are_learned() -> None:
    nan = torch.nan
    truth = torch.tensor([[0.1, 0.05, 0.04, 0.0, nan, 4.0]])
    torch.testing.assert_close(
        metric_objective("indoor").target(truth), torch.tensor([[10, 20, nan, nan, nan, 0.25]]), equal_nan=True
    )
    assert metric_objective("outdoor").target(truth)[0, 2] == 25
    assert recipes.TEACHER.target(truth) is truth


@pytest.mark.parametrize("name", sorted(METRIC_PLACES))
def test_metres_are_learned_through_one_lens_at_one_height(name: str) -> None:
    for index in range(12):
        layout = METRIC_PLACES[name](3, index)
        assert layout.position[1] == EYE_HEIGHT
        assert layout.field_of_view == pytest.approx(np.radians(60))
        again = METRIC_PLACES[name](3, index)
        assert all(np.array_equal(rows, again.solids[key]) for key, rows in layout.solids.items())
        solids = layout.solids
        local = solids["to_local"][:, :, :3] @ layout.position + solids["to_local"][:, :, 3]
        inside = (np.abs(local) < 1).all(1) & (solids["kind"] != ROOM)
        assert not inside.any()
        assert (solids["kind"] == ROOM).any() == (name == "indoor")


def test_rooms_end_within_reach() -> None:
    depth = layouts.render_layouts([METRIC_PLACES["indoor"](3, index) for index in range(6)], 48, 48).depth
    assert depth.isfinite().all()
    assert depth.max() <= registry.METRIC_RANGES["indoor"]
