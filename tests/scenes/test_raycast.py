"""Ray casting and shading against meshes of trimesh and closed forms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from dacli.scenes import kinds, layouts, raycast, textures
from dacli.scenes.parts import IDENTITY, Parts
from dacli.scenes.raycast import BOX, ELLIPSOID, FRUSTUM, ROOM, Camera, Solids
from dacli.scenes.shading import Lights, render_solids

Array = NDArray[np.float64]
SIZE = 40
FOCAL = 45.0
AHEAD = np.diag([1.0, -1.0, 1.0])  # right, down, forward of a camera that looks along z in a world whose y is up


def tensors(scene: Sequence[Parts]) -> Solids:
    rows = [parts.solids() for parts in scene]
    number = np.repeat(np.arange(len(rows)), [len(row["kind"]) for row in rows])
    return Solids(
        scene=layouts.stack_arrays([number]), **{key: layouts.stack_arrays([r[key] for r in rows]) for key in rows[0]}
    )


def solid(kind: int, centre: Array, half: Array, rotation: Array = IDENTITY, taper: float = 0.0) -> Solids:
    parts = Parts(np.random.default_rng(0))
    parts.random_material()
    parts.add(kind, centre, half, rotation, taper=taper)
    return tensors([parts])


def camera(position: Array, rotation: Array = AHEAD, size: int = SIZE, focal: float = FOCAL) -> Camera:
    positions, rotations = torch.tensor(position).float()[None], torch.tensor(rotation).float()[None]
    return raycast.perspective_camera(positions, rotations, torch.tensor([focal]), size, size)


def directions(rotation: Array = AHEAD, size: int = SIZE, focal: float = FOCAL) -> Array:
    y, x = np.mgrid[0:size, 0:size] - (size - 1) / 2
    right, down, forward = rotation.T
    return np.asarray(forward + x[..., None] / focal * right + y[..., None] / focal * down)


def depth_of(solids: Solids, view: Camera, size: int = SIZE) -> Array:
    return np.asarray(raycast.cast_rays(solids, view, size, size)[0][0].numpy(), np.float64)


def random_rotation(rng: np.random.Generator) -> Array:
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return np.asarray(q * np.sign(np.linalg.det(q)))


def looking_at(target: Array, position: Array, roll: Array) -> Array:
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(roll, forward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward], 1)


def mesh_of(kind: int, taper: float) -> Any:
    """Return the unit shape as a convex mesh; those of round ones are within 0.001 of the true surface."""
    if kind == BOX:
        return trimesh.creation.box((2, 2, 2))
    if kind == ELLIPSOID:
        return trimesh.creation.icosphere(subdivisions=4)
    angle = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    ends = [(-1.0, 1.0), (1.0, max(1 - taper, 1e-6))]
    rims = [np.stack([r * np.cos(angle), np.full_like(angle, y), r * np.sin(angle)], 1) for y, r in ends]
    return trimesh.convex.convex_hull(np.concatenate(rims))


def mesh_depth(mesh: Any, origin: Array, rays: Array) -> tuple[Array, Array, Array]:
    """Return the depth where rays enter a convex mesh (infinite for a miss), the cosine to the normal, the normal."""
    plane = ((mesh.triangles[:, 0] - origin) * mesh.face_normals).sum(1)
    rate = rays.reshape(-1, 3) @ mesh.face_normals.T
    with np.errstate(divide="ignore", invalid="ignore"):
        t = plane / rate
    enter = np.where(rate < 0, t, -np.inf)
    first = enter.argmax(1)
    near, far = enter.max(1), np.where(rate > 0, t, np.inf).min(1)
    hit = (near < far) & (near > 0)
    cosine = -rate[np.arange(len(rate)), first] / np.linalg.norm(rays.reshape(-1, 3), axis=1)
    shape = rays.shape[:2]
    normal = np.asarray(mesh.face_normals[first].reshape(*shape, 3))
    return np.where(hit, near, np.inf).reshape(shape), np.where(hit, cosine, 0).reshape(shape), normal


every_shape = pytest.mark.parametrize(
    ("kind", "taper"),
    [(BOX, 0), (ELLIPSOID, 0), (FRUSTUM, 0), (FRUSTUM, 0.4), (FRUSTUM, 1)],
    ids=["box", "ellipsoid", "cylinder", "frustum", "cone"],
)


def rotated_and_stretched(kind: int, taper: float, seed: int) -> tuple[Solids, Any, Array, Array]:
    """Return a random solid, its mesh, and the position and rotation of a camera that looks at it."""
    rng = np.random.default_rng([seed, kind])
    half, centre, rotation = rng.uniform(0.3, 1.5, 3), rng.normal(0, 5, 3), random_rotation(rng)
    position = centre + rng.normal(0, 1, 3) + 5 * rotation[:, 1] * rng.choice([-1, 1])
    view = looking_at(centre + rng.normal(0, 0.4, 3), position, rng.normal(size=3))
    mesh = mesh_of(kind, taper)
    to_world = np.eye(4)
    to_world[:3, :3], to_world[:3, 3] = rotation * half, centre
    mesh.apply_transform(to_world)
    return solid(kind, centre, half, rotation, taper), mesh, position, view


@pytest.mark.parametrize("seed", range(4))
@every_shape
def test_a_rotated_and_stretched_solid_against_a_mesh(kind: int, taper: float, seed: int) -> None:
    solids, mesh, position, view = rotated_and_stretched(kind, taper, seed)
    expected, cosine, _ = mesh_depth(mesh, position, directions(view))
    found = depth_of(solids, camera(position, view))
    assert 50 < np.isfinite(expected).sum() < SIZE * SIZE
    differ = np.isfinite(found) != np.isfinite(expected)
    assert differ.sum() <= (2 if kind == BOX else 12)
    clear = np.isfinite(found) & (cosine > 0.2)
    assert clear.sum() > 30
    sag = 1e-5 if kind == BOX else 0.001 * float(solids.half.max())  # of the facets, longer along slanting rays
    assert (np.abs(found[clear] - expected[clear]) < 1e-4 + sag / cosine[clear]).all()


@pytest.mark.parametrize("seed", range(3))
@every_shape
def test_normals_are_those_of_the_mesh(kind: int, taper: float, seed: int) -> None:
    solids, mesh, position, view = rotated_and_stretched(kind, taper, seed)
    _, cosine, normal = mesh_depth(mesh, position, directions(view))
    for values, value in ((solids.colors, 0.5), (solids.overlay, 0), (solids.gloss, 0), (solids.emission, 0)):
        values.fill_(value)
    color, _ = render_solids(solids, plain_lights(sun_color=[0, 0, 0]), camera(position, view), SIZE, SIZE)
    upwards = ((color[0] / (0.5 * torch.tensor([0.2, 0.3, 0.4])[:, None, None]) - 0.7) / 0.3).mean(0).numpy()
    off = np.abs(upwards - normal[..., 1])[cosine > 0.2]
    limit = 1e-3 if kind == BOX else 0.12  # facets are flat; the ellipsoid's lie up to 0.06 apart, more if stretched
    assert (off > limit).mean() < 0.02  # where two faces meet


def test_depth_is_along_the_optical_axis_not_along_the_ray() -> None:
    wall = solid(BOX, np.array([0, 0, 5.5]), np.array([50, 50, 0.5]))
    np.testing.assert_allclose(depth_of(wall, camera(np.zeros(3))), 5.0, rtol=1e-5)
    assert np.linalg.norm(directions()[0, 0]) > 1.1


def test_a_ball_in_closed_form() -> None:
    centre, radius = np.array([0.3, -0.2, 6.0]), 1.3
    rays = directions()
    a, b, c = (rays**2).sum(-1), rays @ centre, centre @ centre - radius**2
    root = b**2 - a * c
    expected = np.where(root > 0, (b - np.sqrt(root.clip(0))) / a, np.inf)
    found = depth_of(solid(ELLIPSOID, centre, np.full(3, radius)), camera(np.zeros(3)))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_floor_in_closed_form() -> None:
    floor = solid(BOX, np.array([0, -1.0, 0]), np.array([3000, 1.0, 3000]))
    down = -directions()[..., 1]
    expected = np.where(down > 0, 1.7 / np.where(down > 0, down, 1), np.inf)
    np.testing.assert_allclose(depth_of(floor, camera(np.array([0, 1.7, 0]))), expected, rtol=1e-4)


def random_solids(seed: int, count: int = 40) -> Parts:
    rng = np.random.default_rng(seed)
    parts = Parts(rng)
    for kind in (BOX, ELLIPSOID, FRUSTUM):
        places = rng.uniform([-3, -3, 3], [3, 3, 9], (count, 3))
        parts.add(
            kind,
            places,
            rng.uniform(0.1, 0.7, (count, 3)),
            parts.random_orientations(count),
            parts.random_material(),
            taper=0.5,
        )
    return parts


def test_the_nearest_of_many_solids_wins_in_any_order() -> None:
    solids, view = tensors([random_solids(1)]), camera(np.zeros(3))
    depth, index = raycast.cast_rays(solids, view, SIZE, SIZE)
    order = torch.randperm(len(solids.kind), generator=torch.Generator().manual_seed(2))
    mixed, mixed_index = raycast.cast_rays(solids.rows(order), view, SIZE, SIZE)
    assert torch.equal(depth, mixed)
    assert torch.equal(torch.where(mixed_index < 0, -1, order[mixed_index]), index)
    alone = torch.stack([raycast.cast_rays(solids.rows(torch.tensor([i])), view, SIZE, SIZE)[0][0] for i in range(120)])
    np.testing.assert_allclose(depth[0], alone.amin(0), rtol=1e-5)
    assert torch.equal(index[0][depth[0].isfinite()], alone.argmin(0)[depth[0].isfinite()])


@pytest.mark.parametrize("seen_from_the_sun", [False, True])
def test_bounds_contain_the_whole_solid(monkeypatch: pytest.MonkeyPatch, *, seen_from_the_sun: bool) -> None:
    placed = [kinds.make_scene(11, index) for index in range(5)]
    solids = Solids(
        scene=layouts.stack_arrays([np.repeat(np.arange(5), [len(v.solids["kind"]) for v in placed])]),
        **{key: layouts.stack_arrays([v.solids[key] for v in placed]) for key in placed[0].solids},
    )
    view, _ = layouts.layout_cameras(placed, SIZE, SIZE, "cpu")
    if seen_from_the_sun:
        sun, centre = (layouts.stack_arrays([v.lights[key][None] for v in placed]) for key in ("sun", "centre"))
        view = raycast.orthographic_camera(
            centre, sun, layouts.stack_arrays([np.array([v.lights["extent"]]) for v in placed]), SIZE
        )
    bounded = raycast.cast_rays(solids, view, SIZE, SIZE)[0]
    whole = torch.tensor([0, 0, SIZE, SIZE])
    monkeypatch.setattr(raycast, "screen_bounds", lambda some, *_: whole.expand(len(some.kind), 4))
    everywhere = raycast.cast_rays(solids, view, SIZE, SIZE)[0]
    assert bounded.isfinite().float().mean() > 0.3
    np.testing.assert_allclose(bounded, everywhere, rtol=1e-5)


def test_bounds_are_tight() -> None:
    ball = solid(ELLIPSOID, np.array([0, 0, 10.0]), np.full(3, 1.0))
    left, top, width, height = raycast.screen_bounds(ball, camera(np.zeros(3)), SIZE, SIZE)[0].tolist()
    reach = FOCAL / 9  # the front of the box around the ball
    assert left == top == np.floor((SIZE - 1) / 2 - reach)
    assert width == height == np.ceil((SIZE - 1) / 2 + reach) + 1 - left


def test_a_batch_of_scenes_equals_each_alone() -> None:
    placed = [kinds.make_scene(5, index) for index in range(4)]
    together = layouts.render_layouts(placed, 48, 64)
    for number, layout in enumerate(placed):
        alone = layouts.render_layouts([layout], 48, 64)
        np.testing.assert_allclose(together.depth[number], alone.depth[0], rtol=1e-4)
        assert (together.rgb[number].int() - alone.rgb[0].int()).abs().max() <= 1
        assert together.focal[number] == alone.focal[0]


def test_pixels_that_hit_nothing_are_infinitely_far() -> None:
    aside = solid(BOX, np.array([100, 0, 5.0]), np.ones(3))
    depth, index = raycast.cast_rays(aside, camera(np.zeros(3)), SIZE, SIZE)
    assert depth.isinf().all()
    assert (index == -1).all()
    assert (
        raycast.cast_rays(aside.rows(torch.tensor([], dtype=torch.int64)), camera(np.zeros(3)), 4, 4)[0].isinf().all()
    )


@pytest.mark.parametrize("kind", [BOX, ELLIPSOID, FRUSTUM])
def test_solids_behind_the_camera_are_not_visible(kind: int) -> None:
    assert np.isinf(depth_of(solid(kind, np.array([0, 0, -5.0]), np.ones(3)), camera(np.zeros(3)))).all()


def test_a_box_that_extends_past_the_camera_beside_it() -> None:
    half, centre = np.array([0.5, 4, 30]), np.array([1.2, 0, 0])
    with np.errstate(divide="ignore"):
        side = 0.7 / directions()[..., 0]
    expected = np.where((side > 0) & (side < 30) & (np.abs(side * directions()[..., 1]) < 4), side, np.inf)
    np.testing.assert_allclose(depth_of(solid(BOX, centre, half), camera(np.zeros(3))), expected, rtol=1e-4)


def test_the_walls_of_a_room_from_inside() -> None:
    rotation, half, centre = random_rotation(np.random.default_rng(3)), np.array([2, 1.5, 3]), np.array([0.2, 1, 0.5])
    position = centre + rotation @ np.array([0.5, -0.7, 1.0])
    o, d = (position - centre) @ rotation, directions(AHEAD) @ rotation
    with np.errstate(divide="ignore"):
        expected = np.where(d > 0, (half - o) / d, (-half - o) / d).min(-1)
    np.testing.assert_allclose(depth_of(solid(ROOM, centre, half, rotation), camera(position)), expected, rtol=1e-4)


def plain_lights(**changed: list[float] | float) -> Lights:
    rows: dict[str, list[float] | float] = {
        "sun": [0, 1, 0],
        "sun_color": [1, 0.9, 0.8],
        "lamp": [0, 0, 0],
        "lamp_color": [0, 0, 0],
        "lamp_reach": 1,
        "ambient": [0.2, 0.3, 0.4],
        "fog_color": [0.5, 0.6, 0.7],
        "fog": 0,
        "clouds": [0, 1, 0, 0],
        "centre": [0, 0, 0],
        "extent": 6,
    }
    tensors = {key: torch.tensor(value).float()[None] for key, value in (rows | changed).items()}
    return Lights(sky=torch.tensor([[[0.2, 0.4, 0.9], [0.8, 0.8, 0.8]]]), **tensors)


def floor_and_box() -> Solids:
    plain = {
        "colors": np.full((3, 3), 0.5),
        "texture": np.zeros(2, int),
        "tile_size": np.ones(2),
        "overlay": np.array(0.0),
        "gloss": np.array(0.0),
        "emission": np.array(0.0),
        "clear": np.array(0.0),
        "bend": np.array(0.0),
    }
    parts = Parts(np.random.default_rng(0))
    parts.add(BOX, np.array([0, -1.0, 0]), np.array([50, 1.0, 50]), material=plain)
    parts.add(BOX, np.array([0, 1.5, 0]), np.array([1.0, 0.25, 0.6]), material=plain)
    return tensors([parts])


DOWN = np.array([[1.0, 0, 0], [0, 0, -1], [0, -1, 0]])  # right, down, forward as columns of a view from straight above


def rendered(lights: Lights) -> tuple[Tensor, Tensor]:
    color, depth = render_solids(floor_and_box(), lights, camera(np.array([0, 10.0, 0]), DOWN, 80, 90.0), 80, 80)
    return color[0], depth[0]


def test_the_shadow_of_a_box_lies_where_geometry_says() -> None:
    sun = np.array([0.5, 0.8, -0.3]) / np.linalg.norm([0.5, 0.8, -0.3])
    color, depth = rendered(plain_lights(sun=sun.tolist()))
    at = np.array([0, 10.0, 0]) + directions(DOWN, 80, 90.0) * depth.numpy()[..., None]
    floor = np.abs(at[..., 1]) < 1e-3
    margin = 3 * 2 * 6 / 320  # three texels of the shadow map: closer to its edge both are right

    def shaded(grown: float) -> NDArray[np.bool_]:
        low, high = np.array([-1, 1.25, -0.6]) - grown, np.array([1, 1.75, 0.6]) + grown
        a, b = (low - at) / sun, (high - at) / sun
        return np.asarray(np.minimum(a, b).max(-1) < np.maximum(a, b).min(-1))

    ambient = 0.5 * np.array([0.2, 0.3, 0.4])
    lit = ambient + 0.5 * np.array([1, 0.9, 0.8]) * sun[1]
    dark, bright = floor & shaded(-margin), floor & ~shaded(margin)
    assert dark.sum() > 50
    pixels = color.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pixels[dark], np.broadcast_to(ambient, (dark.sum(), 3)), atol=1e-3)
    np.testing.assert_allclose(pixels[bright], np.broadcast_to(lit, (bright.sum(), 3)), atol=1e-3)


def test_a_ball_of_glass_shows_the_picture_behind_it_shifted_along_its_normals() -> None:
    bend, clear, centre, radius = -0.3, 0.8, np.array([0.5, -0.4, 6.0]), 1.5
    ball = Parts(np.random.default_rng(0))
    material = ball.random_material() | {"clear": np.array(clear), "bend": np.array(bend)}
    material |= {"gloss": np.array(0.0), "emission": np.array(0.0)}
    parts = Parts(np.random.default_rng(1))
    parts.random_material()
    parts.add(BOX, np.array([0, 0, 12.0]), np.array([8, 8, 1.0]), random_rotation(np.random.default_rng(4)))
    behind = Parts(np.random.default_rng(0))
    behind.rows = list(parts.rows)
    ball.add(ELLIPSOID, centre, np.full(3, radius), IDENTITY, material)
    lights, view = plain_lights(fog=0.0), camera(np.zeros(3))
    plain, far = (each[0].numpy() for each in render_solids(tensors([behind]), lights, view, SIZE, SIZE))
    behind.rows += ball.rows
    found, depth = (each[0].numpy() for each in render_solids(tensors([behind]), lights, view, SIZE, SIZE))
    own, near = (each[0].numpy() for each in render_solids(opaque(ball), lights, view, SIZE, SIZE))
    seen = near < far
    np.testing.assert_array_equal(depth, np.minimum(far, near))
    np.testing.assert_array_equal(found[:, ~seen], plain[:, ~seen])
    normal = (directions() * near[..., None] - centre)[seen] / radius
    y, x = np.nonzero(seen)
    column, row = x + bend * SIZE * normal[:, 0], y - bend * SIZE * normal[:, 1]
    certain = (np.abs(column % 1 - 0.5) > 0.01) & (np.abs(row % 1 - 0.5) > 0.01)
    column, row = (np.rint(v).astype(int).clip(0, SIZE - 1)[certain] for v in (column, row))
    expected = (1 - clear) * own[:, y, x][:, certain] + clear * plain[:, row, column]
    assert certain.sum() > 100
    np.testing.assert_allclose(found[:, y, x][:, certain], expected, atol=1e-5)


def opaque(parts: Parts) -> Solids:
    """Return the solids of the parts as if they were not clear."""
    solids = tensors([parts])
    solids.clear = torch.zeros_like(solids.clear)
    return solids


def test_fog_grows_with_depth_towards_its_color() -> None:
    clear, depth = rendered(plain_lights())
    foggy, _ = rendered(plain_lights(fog=0.2))
    share = np.exp(-0.2 * depth.numpy())
    tint = np.array([0.5, 0.6, 0.7])[:, None, None]
    np.testing.assert_allclose(foggy, clear.numpy() * share + tint * (1 - share), atol=1e-5)
    thick, _ = rendered(plain_lights(fog=50.0))
    np.testing.assert_allclose(thick, np.broadcast_to(tint, thick.shape), atol=1e-6)


def test_the_light_of_a_lamp_falls_with_distance_and_angle() -> None:
    dark, _ = rendered(plain_lights(sun_color=[0, 0, 0]))
    lamp = np.array([2.0, 3.0, 1.0])
    lit, depth = rendered(plain_lights(sun_color=[0, 0, 0], lamp=lamp.tolist(), lamp_color=[1, 1, 1], lamp_reach=2))
    at = np.array([0, 10.0, 0]) + directions(DOWN, 80, 90.0) * depth.numpy()[..., None]
    floor = np.abs(at[..., 1]) < 1e-3
    far = np.linalg.norm(lamp - at[floor], axis=1)
    expected = 0.5 * (3.0 / far) / (1 + (far / 2) ** 2)
    np.testing.assert_allclose((lit - dark).numpy()[:, floor], np.broadcast_to(expected, (3, floor.sum())), atol=1e-4)


def test_gloss_shows_a_highlight_halfway_between_sun_and_camera() -> None:
    sun = np.array([0.1, 0.9, -0.2]) / np.linalg.norm([0.1, 0.9, -0.2])
    dull, depth = rendered(plain_lights(sun=sun.tolist()))
    solids = floor_and_box()
    solids.gloss.fill_(0.6)
    view = camera(np.array([0, 10.0, 0]), DOWN, 80, 90.0)
    shiny = render_solids(solids, plain_lights(sun=sun.tolist()), view, 80, 80)[0][0]
    rays = directions(DOWN, 80, 90.0)
    half = sun - rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    shine = 0.6 * (half[..., 1] / np.linalg.norm(half, axis=-1)) ** 24
    lit = (dull[0] > 0.999 * dull[0].max()).numpy()
    expected = np.array([1, 0.9, 0.8])[:, None] * shine[lit]
    assert lit.sum() > 4000
    np.testing.assert_allclose((shiny - dull).numpy()[:, lit], expected, atol=1e-3)
    assert depth.isfinite().all()


def test_the_sky_is_a_gradient_from_horizon_to_zenith() -> None:
    color, _ = render_solids(floor_and_box(), plain_lights(), camera(np.array([0, 500.0, -1000])), SIZE, SIZE)
    rays = directions()
    up = (rays[..., 1] / np.linalg.norm(rays, axis=-1))[: SIZE // 2]
    horizon, zenith = np.full((3, 1, 1), 0.8), np.array([0.2, 0.4, 0.9])[:, None, None]
    np.testing.assert_allclose(color[0, :, : SIZE // 2], horizon + (zenith - horizon) * np.sqrt(up), atol=1e-5)


def test_every_tensor_is_made_on_the_device_of_the_scene() -> None:
    lights, solids, position, rotation = plain_lights(), floor_and_box(), torch.zeros(1, 3), torch.eye(3)[None]
    textures.texture_pyramid.cache_clear()
    textures.pyramid_on_device.cache_clear()
    focal = torch.tensor([FOCAL])
    with torch.device(
        "meta"
    ):  # the device of tensors for which none is chosen; they cannot be combined with those of the scene
        view = raycast.perspective_camera(position, rotation, focal, 8, 8)
        color, depth = render_solids(solids, lights, view, 8, 8)
    assert {color.device.type, depth.device.type, view.project.device.type} == {"cpu"}


def test_cameras_project_points_onto_the_pixels_of_their_rays() -> None:
    rng = np.random.default_rng(4)
    place, rotation = (
        torch.tensor(rng.normal(size=(2, 3))),
        torch.tensor(np.stack([random_rotation(rng), random_rotation(rng)])),
    )
    sun = torch.nn.functional.normalize(torch.tensor(rng.normal(size=(2, 3))), dim=-1)
    sides = (
        raycast.perspective_camera(place, rotation, torch.tensor([30.0, 50.0]).double(), 20, 30),
        raycast.orthographic_camera(place, sun, torch.tensor([3.0, 8.0]).double(), 20),
    )
    for view in sides:
        x, y, t = 3.25, 11.5, 7.0
        pixel = torch.tensor([1, x, y]).double()
        point = (view.origin + t * view.direction).transpose(1, 2) @ pixel
        projected = (view.project[..., :3] @ point[..., None])[..., 0] + view.project[..., 3]
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], [[x, y]] * 2, rtol=1e-6)
