"""Layouts of scenes (solids, lights, a camera) and their rendering."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from dacli.scenes.parts import Array, Parts
from dacli.scenes.raycast import ROOM, Camera, Solids, perspective_camera
from dacli.scenes.shading import Lights, render_solids


@dataclass
class Layout:
    """One scene as NumPy arrays: solids [n, ...] and lights by field of Solids and Lights, and the camera.

    The camera has a position [3] in metres, a rotation [3, 3] (columns right, down, forward) and a field of view, in
    radians, across the shorter side of the picture.
    """

    solids: dict[str, Array]
    lights: dict[str, Array]
    position: Array
    rotation: Array
    field_of_view: float
    exposure: float = 1.0
    tint: Array = field(default_factory=lambda: np.ones(3))


@dataclass
class Rendering:
    """Pictures [B, 3, H, W] uint8 (sRGB-like), depth [B, H, W] in metres (inf: sky), focal length [B] in pixels."""

    rgb: Tensor
    depth: Tensor
    focal: Tensor

    @property
    def inverse_depth(self) -> Tensor:
        """Return 1 / depth, 0 in the sky, [B, H, W]."""
        return self.depth.reciprocal()


def render_layouts(layouts: Sequence[Layout], height: int, width: int, device: torch.device | str = "cpu") -> Rendering:
    """Return pictures and exact depth of the layouts; the field of view spans the shorter side."""
    count = [len(layout.solids["kind"]) for layout in layouts]
    rows = {name: stack_arrays([layout.solids[name] for layout in layouts]) for name in layouts[0].solids}
    solids = Solids(scene=stack_arrays([np.repeat(np.arange(len(layouts)), count)]), **rows).to(device)
    lights = Lights(**{f.name: stack_arrays([v.lights[f.name][None] for v in layouts]) for f in fields(Lights)}).to(
        device
    )
    camera, focal = layout_cameras(layouts, height, width, device)
    linear, depth = render_solids(solids, lights, camera, height, width)
    tint = stack_arrays([layout.tint[None] for layout in layouts]).to(device)[:, :, None, None]
    gain = stack_arrays([np.array([layout.exposure]) for layout in layouts]).to(device)[:, None, None, None]
    level = linear.mean((1, 2, 3), keepdim=True).clamp_min(1e-3)
    exposed = 1 - torch.exp(-linear * tint * gain / level)
    rgb = (exposed.clamp(0, 1) ** (1 / 2.2) * 255).round().to(torch.uint8)
    return Rendering(rgb, depth, focal)


def stack_arrays(arrays: Sequence[Array]) -> Tensor:
    """Return the rows of all arrays in one tensor: integers as int64, other numbers as float32."""
    joined = torch.from_numpy(np.concatenate(arrays))
    return joined.float() if joined.is_floating_point() else joined.long()


def layout_cameras(
    layouts: Sequence[Layout], height: int, width: int, device: torch.device | str
) -> tuple[Camera, Tensor]:
    """Return the cameras of the layouts for pictures of that size, and their focal lengths [B] in pixels."""
    half = np.tan([layout.field_of_view / 2 for layout in layouts])
    focal = stack_arrays([min(height, width) / (2 * half)]).to(device)
    position = stack_arrays([layout.position[None] for layout in layouts]).to(device)
    rotation = stack_arrays([layout.rotation[None] for layout in layouts]).to(device)
    return perspective_camera(position, rotation, focal, height, width), focal


def layout_from_parts(
    rng: np.random.Generator, parts: Parts, lights: dict[str, Array], camera: tuple[Array, Array]
) -> Layout:
    """Return the layout of the parts with a random lens, exposure and tint, without parts too close to the camera."""
    position, rotation = camera
    solids = parts.solids()
    local = (solids["to_local"][:, :, :3] @ position) + solids["to_local"][:, :, 3]
    clear = (np.abs(local).max(1) - 1) * solids["half"].max(1) > 0.12 * max(1.0, position[1])
    keep = clear | (solids["kind"] == ROOM)
    return Layout(
        solids={name: rows[keep] for name, rows in solids.items()},
        lights=lights,
        position=position,
        rotation=rotation,
        field_of_view=np.radians(rng.uniform(32, 80)),
        exposure=np.exp(rng.normal(-0.55, 0.35)),
        tint=np.exp(rng.normal(0, 0.06, 3)),
    )
