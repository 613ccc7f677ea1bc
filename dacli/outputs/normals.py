"""Normals of surfaces as pictures: x is red, y green, z towards the viewer blue."""

import numpy as np
import numpy.typing as npt

from dacli.io import png
from dacli.outputs.surfaces import SurfaceGrid, find_normals, jump_radius, metric_depth
from dacli.outputs.view import DepthView


def encode_normals(view: DepthView) -> bytes:
    """Return the PNG of the normals, of 8 or 16 bits; raise DacliError for relative depth."""
    return png.encode_png(draw_normals(view), view.record_for(view.export.normal_bits).text())


def draw_normals(view: DepthView) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return RGB [H, W, 3] of the normals: -1 is black, 1 white; green is up, or with directx down."""
    depth = metric_depth(view, "normal")
    height, width = depth.shape
    grid = SurfaceGrid(np.arange(height), np.arange(width), depth, view.camera)
    normals = find_normals(grid, view.export.edge, jump_radius(view, grid))
    if view.export.normal_y == "directx":
        normals[..., 1] *= -1
    top = 65535 if view.export.normal_bits == 16 else 255
    normals += 1
    normals *= np.float32(top / 2)
    return np.rint(normals, out=normals).astype(np.uint16 if top == 65535 else np.uint8)
