"""Make a textured mesh of a photo and its depth, and save it as a .blend file.

dacli image photo.jpg --save png16
blender --background --python depth_to_mesh.py -- photo.jpg photo_depth16.png photo.blend [--render preview.png]

Or, with the module bpy of PyPI instead of Blender: python depth_to_mesh.py photo.jpg photo_depth16.png photo.blend
"""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


def main() -> None:
    """Read the options, build the scene, and save it."""
    options = read_options()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    photo = bpy.data.images.load(str(options.photo.resolve()))
    width, height = photo.size
    if not width:
        sys.exit(f"{options.photo} cannot be read by Blender: give a PNG or a JPEG")
    distance = read_distance(options.depth, options.near, options.far, metres=options.metres)
    points, corners, faces = build_grid(distance, width / height, options.view, options.columns)
    if options.cut:
        faces = faces[near_faces(points, faces, options.cut)]
    add_mesh(points, corners, faces, photo)
    add_camera(width, height, options.view, options.side)
    photo.pack()  # the photo is in the .blend file
    bpy.ops.wm.save_as_mainfile(filepath=str(options.blend.resolve()), compress=True)
    if options.render:
        render(options.render, width, height)


def read_options() -> argparse.Namespace:
    """Return the options; Blender has its own before `--`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("depth", type=Path, help="the .png of --save png16, or the .npy of --save npy")
    parser.add_argument("blend", type=Path, help="the file to write")
    parser.add_argument("--near", type=float, default=1, help="distance of the nearest point of a relative model")
    parser.add_argument("--far", type=float, default=4, help="distance of its farthest point")
    parser.add_argument("--metres", action="store_true", help="the .npy holds metres")
    parser.add_argument("--view", type=float, default=50, help="horizontal angle of view of the camera, in degrees")
    parser.add_argument("--columns", type=int, default=400, help="points across the mesh")
    parser.add_argument(
        "--cut", type=float, default=0, help="leave out faces that are deeper than this ratio, e.g. 1.1"
    )
    parser.add_argument("--side", type=float, default=0, help="move the camera to the right, and turn it to the middle")
    parser.add_argument("--render", type=Path, help="also render a picture of this name, 640 pixels wide")
    return parser.parse_args(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])


def read_distance(path: Path, near: float, far: float, *, metres: bool) -> Array:
    """Return distances along the optical axis [H, W], the first row on top.

    Metres stay as they are: a PNG says what it holds, an .npy holds metres if `metres` is set. Inverse depth becomes
    distances from `near` to `far`, whose inverse is linear in it.
    """
    if path.suffix == ".npy":
        depth = np.load(path)
    else:
        record = read_record(path)
        depth, metres = read_gray(path), record["quantity"] == "metres"
        depth = record["black"] + (record["white"] - record["black"]) * depth
    if metres:
        return np.asarray(depth, np.float32)
    part = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)
    return np.asarray(1 / (part / near + (1 - part) / far), np.float32)


def read_record(path: Path) -> dict[str, Any]:
    """Return what dacli wrote into a PNG: the depths at black and white, and the quantity."""
    data = path.read_bytes()
    start = data.find(b"tEXtdacli\0")
    if start < 0:
        sys.exit(f"{path} is not 16-bit depth of dacli: make it with --save png16")
    size = int.from_bytes(data[start - 4 : start], "big")
    record: dict[str, Any] = json.loads(data[start + 10 : start + 4 + size])
    return record


def read_gray(path: Path) -> Array:
    """Return a gray picture [H, W] as floats from 0 (black) to 1 (white), without color management."""
    image = bpy.data.images.load(str(path.resolve()))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    return pixels.reshape(height, width, -1)[::-1, :, 0]  # Blender has the lowest row first


def build_grid(distance: Array, aspect: float, view: float, columns: int) -> tuple[Array, Array, npt.NDArray[np.int32]]:
    """Return points [N, 3], their places in the photo [N, 2] (0 … 1, from the lower left), and faces [M, 4].

    The camera is at the origin and looks along +Y; Z is up. `view` is its horizontal angle in degrees.
    """
    rows = max(2, round(columns / aspect))
    u, v = np.meshgrid(np.linspace(0, 1, columns), np.linspace(1, 0, rows))
    height, width = distance.shape
    sampled = distance[np.clip(np.int32((1 - v) * height), 0, height - 1), np.clip(np.int32(u * width), 0, width - 1)]
    half = math.tan(math.radians(view) / 2)
    x, z = (u - 0.5) * 2 * half, (v - 0.5) * 2 * half / aspect
    points = np.stack([x * sampled, sampled, z * sampled], axis=-1).reshape(-1, 3)
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    faces = np.stack([index[1:, :-1], index[1:, 1:], index[:-1, 1:], index[:-1, :-1]], axis=-1).reshape(-1, 4)
    return points.astype(np.float32), np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32), faces


def near_faces(points: Array, faces: npt.NDArray[np.int32], ratio: float) -> npt.NDArray[np.bool_]:
    """Return which faces [M] do not reach from near to far: their depths differ by less than the factor `ratio`."""
    distance = points[faces, 1]
    return np.asarray(distance.max(axis=1) < ratio * distance.min(axis=1))


def add_mesh(points: Array, corners: Array, faces: npt.NDArray[np.int32], photo: Any) -> None:
    """Add the mesh to the scene, with the photo as its light: it looks as in the photo without any lamp."""
    mesh = bpy.data.meshes.new("depth")
    mesh.from_pydata(points, [], faces)
    mesh.uv_layers.new(name="photo").data.foreach_set("uv", corners[faces.ravel()].ravel())
    mesh.shade_smooth()
    material = bpy.data.materials.new("photo")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    texture, light, output = (nodes.new(f"ShaderNode{name}") for name in ("TexImage", "Emission", "OutputMaterial"))
    texture.image = photo
    links.new(texture.outputs["Color"], light.inputs["Color"])
    links.new(light.outputs["Emission"], output.inputs["Surface"])
    mesh.materials.append(material)
    bpy.context.collection.objects.link(bpy.data.objects.new("depth", mesh))


def add_camera(width: int, height: int, view: float, side: float) -> None:
    """Add the camera of the photo at the origin, or `side` to the right of it, turned to a point 2 units ahead."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.angle = "HORIZONTAL", math.radians(view)
    placed = bpy.data.objects.new("camera", camera)
    placed.location, placed.rotation_euler = (side, 0, 0), (math.pi / 2, 0, math.atan2(side, 2))
    bpy.context.collection.objects.link(placed)
    scene = bpy.context.scene
    scene.camera = placed
    scene.render.resolution_x, scene.render.resolution_y = width, height
    scene.view_settings.view_transform = "Standard"  # the colors of the photo


def render(path: Path, width: int, height: int) -> None:
    """Render what the camera sees on the CPU, 640 pixels wide."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 16
    scene.render.resolution_x, scene.render.resolution_y = 640, round(640 * height / width)
    scene.render.filepath = str(path.resolve())
    bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main()
