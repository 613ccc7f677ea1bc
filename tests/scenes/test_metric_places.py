"""Scenes for training in metres: one lens at one height."""

import numpy as np
import pytest

from dacli.models import weight_files
from dacli.scenes import layouts
from dacli.scenes.interiors import EYE_HEIGHT
from dacli.scenes.metric_places import METRIC_PLACES
from dacli.scenes.raycast import ROOM


@pytest.mark.parametrize("name", sorted(METRIC_PLACES))
def test_all_places_are_seen_through_one_lens_at_one_height(name: str) -> None:
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


def test_rooms_end_within_the_range_of_the_model() -> None:
    depth = layouts.render_layouts([METRIC_PLACES["indoor"](3, index) for index in range(6)], 48, 48).depth
    assert depth.isfinite().all()
    assert depth.max() <= weight_files.METRIC_RANGES["indoor"]
