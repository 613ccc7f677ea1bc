"""Point clouds, meshes and normals, read by trimesh and Pillow, of surfaces whose points and normals are known."""

import io
import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from PIL import Image

from dacli.errors import DacliError
from dacli.io.camera import PinholeCamera
from dacli.io.ply import read_ply_text
from dacli.io.records import parse_record
from dacli.outputs.export import DEFAULT_EXPORT, ExportOptions
from dacli.outputs.formats import FORMATS
from dacli.outputs.style import DepthStyle
from dacli.outputs.view import DepthView
from tests.outputs.test_drawing import RECORD

HEIGHT, WIDTH, FOCAL = 60, 90, 80.0
CAMERA = PinholeCamera(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2, "--focal-px")
X, Y = np.meshgrid((np.arange(WIDTH) + 0.5 - WIDTH / 2) / FOCAL, (HEIGHT / 2 - np.arange(HEIGHT) - 0.5) / FOCAL)
PICTURE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
FLOOR = np.array([0.3, 1.0, 0.2]) / np.linalg.norm([0.3, 1.0, 0.2])


def view(depth: NDArray[Any], export: ExportOptions = DEFAULT_EXPORT, quantity: Any = "metres") -> DepthView:
    record = replace(RECORD, quantity=quantity, camera=CAMERA, network_size=depth.shape[:2])
    metres = depth.astype(np.float32)
    return DepthView(metres, record, DepthStyle(), RECORD.scale, RECORD.scale, image=PICTURE, export=export)


def plane(normal: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Depth of the points P with normal · P = -distance, for rays (X, Y, -1)."""
    depth: NDArray[np.float64] = distance / -(normal[0] * X + normal[1] * Y - normal[2])
    return depth


def sphere(center_depth: float, radius: float, background: float) -> NDArray[np.float64]:
    """Depth of a sphere on the axis, before a wall."""
    a, b, c = X**2 + Y**2 + 1, -2 * center_depth, center_depth**2 - radius**2
    root = b * b - 4 * a * c
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / (2 * a), background)


def cloud(shown: DepthView) -> Any:
    return trimesh.load(io.BytesIO(FORMATS["ply"].encode(shown)), file_type="ply")


def mesh(shown: DepthView) -> Any:
    scene: Any = trimesh.load(io.BytesIO(FORMATS["glb"].encode(shown)), file_type="glb", process=False)
    (found,) = scene.geometry.values()
    return found


def normals_in_ply(shown: DepthView) -> NDArray[np.float32]:
    data = FORMATS["ply"].encode(shown)
    count = int(data.split(b"element vertex ")[1].split(b"\n")[0])
    kinds = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [("rgb", "u1", 3)]
    found = np.frombuffer(data, kinds, count, data.index(b"end_header\n") + 11)
    return np.stack([found["nx"], found["ny"], found["nz"]], axis=1)


def test_a_sloping_plane_is_whole_and_exact() -> None:
    shown = view(plane(np.array([0.2, 0.1, 1.0]), 3.0))
    points = cloud(shown)
    assert len(points.vertices) == HEIGHT * WIDTH
    np.testing.assert_allclose(points.vertices @ [0.2, 0.1, 1.0], -3.0, rtol=1e-5)
    np.testing.assert_array_equal(points.colors[:, :3], PICTURE.reshape(-1, 3))
    unit = np.array([0.2, 0.1, 1.0]) / np.linalg.norm([0.2, 0.1, 1.0])
    np.testing.assert_allclose(normals_in_ply(shown), np.tile(unit, (HEIGHT * WIDTH, 1)), atol=2e-3)
    surface = mesh(shown)
    assert (len(surface.vertices), len(surface.faces)) == (HEIGHT * WIDTH, 2 * (HEIGHT - 1) * (WIDTH - 1))
    np.testing.assert_allclose(surface.face_normals @ unit, 1, atol=1e-4)
    np.testing.assert_allclose(surface.bounds, [points.vertices.min(axis=0), points.vertices.max(axis=0)], rtol=1e-6)


def test_the_ground_up_to_the_horizon_is_not_torn() -> None:
    ground = np.where(Y < -0.02, 1.5 / np.maximum(-Y, 0.02), 75)
    below = int((Y[:, 0] < -0.02).sum())
    surface = mesh(view(ground))
    depth = ground[HEIGHT - below :]
    assert depth[0, 0] / depth[1, 0] > 1.3  # far beyond the threshold
    lower = surface.vertices[:, 2] > -70
    assert lower.sum() >= (below - 1) * WIDTH  # the row at the horizon is between ground and sky
    np.testing.assert_allclose(surface.vertices[lower][:, 1], -1.5, rtol=1e-5)
    assert len(surface.faces) >= 2 * (below - 2) * (WIDTH - 1)


def test_a_sphere_has_its_radius_and_its_normals_point_outwards() -> None:
    shown = view(sphere(4.0, 1.2, 9.0))
    points = cloud(shown)
    found, normals = points.vertices, normals_in_ply(shown)
    near = found[:, 2] > -4
    assert near.sum() > 1000
    outwards = found[near] - [0, 0, -4]
    np.testing.assert_allclose(np.linalg.norm(outwards, axis=1), 1.2, rtol=1e-4)
    inner = outwards[:, 2] > 0.9
    angles = np.degrees(np.arccos(np.clip((outwards[inner] * normals[near][inner]).sum(axis=1) / 1.2, -1, 1)))
    assert np.median(angles) < 0.5
    assert angles.max() < 3
    surface = mesh(shown)
    sizes = sorted(len(part.faces) for part in surface.split(only_watertight=False))[-2:]
    assert len(sizes) == 2  # the sphere and the wall do not hang together
    assert min(sizes) > 1500
    assert np.linalg.norm(surface.triangles.max(axis=1) - surface.triangles.min(axis=1), axis=1).max() < 1


@pytest.mark.parametrize("blurred", [False, True])
def test_nothing_flies_between_the_two_sides_of_a_step(blurred: bool) -> None:
    depth = np.where(np.arange(WIDTH) < 45, 2.0, 6.0) * np.ones((HEIGHT, 1))
    if blurred:
        depth[:, 43:47] = [2.6, 3.5, 4.5, 5.4]
    found = cloud(view(depth)).vertices
    assert set(np.round(np.unique(found[:, 2]), 3)) == {-2.0, -6.0}
    assert len(found) == HEIGHT * (WIDTH - 4 * blurred)
    surface = mesh(view(depth))
    assert np.ptp(surface.triangles[..., 2], axis=1).max() == 0
    assert len(mesh(view(depth, ExportOptions(edge=5.0))).faces) == 2 * (HEIGHT - 1) * (WIDTH - 1)


def test_points_and_vertices_are_limited_and_cover_the_picture() -> None:
    depth = plane(np.array([0.2, 0.1, 1.0]), 3.0)
    for limit in (100, 1000, 5399):
        points = cloud(view(depth, ExportOptions(max_points=limit))).vertices
        assert 0.85 * limit < len(points) <= limit
        whole = cloud(view(depth)).vertices
        assert (
            np.abs(np.stack([points.min(axis=0), points.max(axis=0)]) - [whole.min(axis=0), whole.max(axis=0)]).max()
            < 0.3
        )
        np.testing.assert_allclose(points @ [0.2, 0.1, 1.0], -3.0, rtol=1e-5)
        assert len(mesh(view(depth, ExportOptions(max_points=limit))).vertices) == len(points)


def test_the_texture_is_the_picture() -> None:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([rows * 4, columns * 2, 255 - rows], axis=2).astype(np.uint8)
    surface = mesh(replace(view(plane(np.array([0, 0.1, 1.0]), 3.0)), image=smooth))
    texture = np.asarray(surface.visual.material.baseColorTexture.convert("RGB")).astype(int)
    assert np.abs(texture - smooth).max() < 12  # JPEG
    u, v = surface.visual.uv.T  # trimesh counts v from below
    columns_of, rows_of = (u * WIDTH).astype(int), ((1 - v) * HEIGHT).astype(int)
    np.testing.assert_array_equal(rows_of * WIDTH + columns_of, np.arange(HEIGHT * WIDTH))


def test_deep_pictures_have_colors_too() -> None:
    shown = replace(view(plane(np.array([0, 0.1, 1.0]), 3.0)), image=PICTURE.astype(np.uint16) * 257)
    np.testing.assert_array_equal(cloud(shown).colors[:, :3], PICTURE.reshape(-1, 3))


def test_records_are_in_headers_that_old_readers_take() -> None:
    shown = view(plane(FLOOR * [1, 1, 5], 3.0))
    shown = replace(shown, record=replace(shown.record, source="\u00fc" * 200))
    data = FORMATS["ply"].encode(shown)
    assert max(map(len, data[: data.index(b"end_header")].split(b"\n"))) < 255
    assert parse_record(read_ply_text(data, "a")["dacli"], "a") == shown.record
    glb = FORMATS["glb"].encode(shown)
    assert struct.unpack_from("<4sII", glb) == (b"glTF", 2, len(glb))
    document = json.loads(glb[20 : 20 + struct.unpack_from("<I", glb, 12)[0]])
    assert document["asset"]["extras"]["dacli"]["source"] == "\u00fc" * 200


@pytest.mark.parametrize(("green", "sign"), [("opengl", 1), ("directx", -1)])
@pytest.mark.parametrize(("bits", "top"), [(8, 255), (16, 65535)])
def test_normals_of_a_plane_are_one_color(green: Any, sign: int, bits: int, top: int) -> None:
    normal = np.array([0.2, 0.3, 1.0]) / np.linalg.norm([0.2, 0.3, 1.0])
    data = FORMATS["normal"].encode(view(plane(normal, 2.0), ExportOptions(normal_y=green, normal_bits=bits)))
    import cv2

    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    wanted = (normal * [1, sign, 1] + 1) / 2 * top
    assert np.abs(found[..., ::-1] - wanted).max() <= 0.51 + top * 1e-4
    assert Image.open(io.BytesIO(data)).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("kind", ["ply", "glb", "normal"])
def test_relative_depth_has_no_metres(kind: str) -> None:
    with pytest.raises(DacliError, match=f"{kind} needs metres") as caught:
        FORMATS[kind].encode(view(np.ones((HEIGHT, WIDTH)), quantity="inverse depth"))
    assert "--calibrate" in caught.value.hint


def test_what_has_no_surface() -> None:
    with pytest.raises(DacliError, match="the depth is the same everywhere"):
        mesh(view(np.ones((HEIGHT, WIDTH))))
    with pytest.raises(DacliError, match="ply has no point"):
        cloud(view(np.full((HEIGHT, WIDTH), 10_000)))
    with pytest.raises(DacliError, match="glb has no triangle"):
        mesh(view(np.where(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 2, 1.0, 5.0)))
