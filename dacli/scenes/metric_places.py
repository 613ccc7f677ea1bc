"""Scenes for training in metres: one lens at one height, by which every picture has a known scale."""

from dataclasses import replace

import numpy as np

from dacli.scenes.interiors import EYE_HEIGHT, make_interior
from dacli.scenes.kinds import make_landscape, make_street
from dacli.scenes.layouts import Layout
from dacli.scenes.parts import Array
from dacli.scenes.raycast import ROOM

METRIC_FIELD_OF_VIEW = np.pi / 3  # radians, of the one camera


def metric_room(seed: int, index: int) -> Layout:
    """Return room number `index` of the stream `seed`, seen through the one lens at eye height."""
    return fix_camera(make_interior(np.random.default_rng([seed, index])))


def metric_outdoor_place(seed: int, index: int) -> Layout:
    """Return street or landscape number `index` of the stream `seed`, seen through the one lens at eye height."""
    rng = np.random.default_rng([seed, index])
    return fix_camera((make_street, make_landscape)[rng.integers(2)](rng))


def fix_camera(layout: Layout) -> Layout:
    """Return the layout through the one lens at eye height, without the solids that would touch the lens."""
    position: Array = np.array([layout.position[0], EYE_HEIGHT, layout.position[2]])
    solids = layout.solids
    local = solids["to_local"][:, :, :3] @ position + solids["to_local"][:, :, 3]
    clear = (np.abs(local).max(1) - 1) * solids["half"].max(1) > EYE_HEIGHT / 5
    keep = clear | (solids["kind"] == ROOM)
    kept = {name: rows[keep] for name, rows in solids.items()}
    return replace(layout, solids=kept, position=position, field_of_view=METRIC_FIELD_OF_VIEW)


METRIC_PLACES = {"indoor": metric_room, "outdoor": metric_outdoor_place}
