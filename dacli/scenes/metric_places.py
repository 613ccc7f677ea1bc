"""Layouts for training metres: one lens at one height, which tell what a metre is."""

from dataclasses import replace

import numpy as np

from dacli.scenes.dwellings import EYE, dwelling
from dacli.scenes.layouts import Layout, landscape, street
from dacli.scenes.parts import Array
from dacli.scenes.raycast import ROOM

LENS = np.pi / 3  # field of view of the one camera that metres are learned with


def rooms(seed: int, index: int) -> Layout:
    """Room number `index` of the stream `seed`, through one lens at one height, which tell what a metre is."""
    return steadied(dwelling(np.random.default_rng([seed, index])))


def outdoors(seed: int, index: int) -> Layout:
    """Street or landscape number `index` of the stream `seed`, through one lens at one height."""
    rng = np.random.default_rng([seed, index])
    return steadied((street, landscape)[rng.integers(2)](rng))


def steadied(layout: Layout) -> Layout:
    """The same place through the one lens at the one height, without what would be on the lens."""
    position: Array = np.array([layout.position[0], EYE, layout.position[2]])
    solids = layout.solids
    local = solids["to_local"][:, :, :3] @ position + solids["to_local"][:, :, 3]
    clear = (np.abs(local).max(1) - 1) * solids["half"].max(1) > EYE / 5
    keep = clear | (solids["kind"] == ROOM)
    kept = {name: rows[keep] for name, rows in solids.items()}
    return replace(layout, solids=kept, position=position, field_of_view=LENS)


PLACES = {"indoor": rooms, "outdoor": outdoors}
