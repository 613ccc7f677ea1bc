"""The stream of scenes and its kinds."""

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from dacli.scenes import kinds
from dacli.scenes.kinds import SCENE_KINDS, make_scene, scene_kind
from dacli.scenes.layouts import Layout
from dacli.scenes.raycast import ROOM

SHARES = (0.22, 0.1, 0.1, 0.13, 0.08, 0.2, 0.06, 0.05, 0.06)  # figures depend on them and on their order
STREAM = "ebecfd900859fe393f89b1a963de3044a3a419ee889d41289a8be65849c64fe0"  # as of the figures in docs/


def numbers(layout: Layout) -> bytes:
    """Return the solids and the camera of a scene as bytes, rounded: math libraries differ in the last bits."""
    arrays = (*(layout.solids[name] for name in sorted(layout.solids)), layout.position, layout.rotation)
    return b"".join((np.round(np.asarray(array, np.float64), 4) + 0.0).tobytes() for array in arrays)


def test_the_scenes_of_a_seed_are_always_the_same() -> None:
    found = hashlib.sha256(b"".join(numbers(make_scene(4242, index)) for index in range(30))).hexdigest()
    assert found == STREAM


def test_kinds_have_their_shares_of_the_stream() -> None:
    names = list(SCENE_KINDS)
    found = [scene_kind(8, index) for index in range(300)]
    expected = [np.random.default_rng([8, index]).choice(len(SHARES), p=SHARES) for index in range(300)]
    assert found == [names[number] for number in expected]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("rooms", kinds.make_room),
        ("streets", kinds.make_street),
        ("landscapes", kinds.make_landscape),
        ("close-ups", kinds.make_close_up),
        ("from-above", kinds.make_view_from_above),
        ("near-and-far", kinds.make_near_and_far),
        ("upwards", kinds.make_view_upwards),
        ("through-frames", kinds.make_view_through_frame),
        ("gatherings", kinds.make_gathering),
    ],
)
def test_a_stream_of_one_kind_has_only_this(name: str, make: Callable[[np.random.Generator], Layout]) -> None:
    for index in range(3):
        assert scene_kind(5, index, [name]) == name
        rng = np.random.default_rng([5, index])
        rng.random()  # the choice of a kind takes one number
        assert numbers(make_scene(5, index, [name])) == numbers(make(rng))


def test_only_rooms_have_walls_all_around() -> None:
    for index in range(6):
        assert (make_scene(1, index, ["rooms"]).solids["kind"] == ROOM).sum() == 1
        assert not (make_scene(1, index, ["streets", "landscapes"]).solids["kind"] == ROOM).any()


def test_several_kinds_keep_the_ratio_of_their_shares() -> None:
    found = [scene_kind(2, index, ["streets", "rooms"]) for index in range(2000)]
    assert set(found) == {"rooms", "streets"}
    assert found.count("rooms") / 2000 == pytest.approx(0.22 / 0.32, abs=0.03)


def test_naming_all_kinds_gives_scenes_of_all() -> None:
    assert {scene_kind(2, index, list(SCENE_KINDS)) for index in range(200)} == set(SCENE_KINDS)
