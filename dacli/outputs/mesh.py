"""Meshes: the surface of a picture with the picture on it, torn where depth jumps."""

import cv2
import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io.glb import TexturedMesh, encode_glb
from dacli.io.names import RECORD_KEYWORD
from dacli.io.sealed import open_record, seal_file
from dacli.outputs.drawing import to_eight_bits
from dacli.outputs.surfaces import Mask, SurfaceGrid, find_tears, jump_radius, sample_surface
from dacli.outputs.view import DepthView
from dacli.types import DepthArray, ImageArray

_LARGEST_TEXTURE = 4096  # pixels of its long side, which every viewer takes
_QUALITY = 92  # of its JPEG


def encode_mesh(view: DepthView) -> bytes:
    """Return a GLB of the surface of a view; raise DacliError for relative depth, and if there is no surface."""
    grid = sample_surface(view, "glb")
    if view.image is None:
        raise ValueError("glb needs the input picture: set image of the view")
    if grid.depth.min() == grid.depth.max():
        raise DacliError("glb has no surface: the depth is the same everywhere", "choose another picture or model")
    torn, flying = find_tears(grid.depth, view.export.edge, jump_radius(view, grid))
    triangles = make_triangles(grid.depth, torn, flying, view.export.edge)
    if not triangles.size:
        raise DacliError("glb has no triangle: the depth jumps everywhere", "try a larger --edge")
    used, triangles = _used_vertices(triangles, grid.depth.size)
    mesh = TexturedMesh(
        vertices=grid.points().reshape(-1, 3)[used],
        coordinates=_texture_coordinates(grid, view.depth.shape)[used],
        triangles=triangles,
        texture=encode_texture(view.image),
    )
    return seal_file(encode_glb(mesh, open_record(view.record.text()[RECORD_KEYWORD])))


def make_triangles(depth: DepthArray, torn: Mask, flying: Mask, edge: float) -> npt.NDArray[np.uint32]:
    """Return two triangles [N, 3] of each square of pixels, seen from the camera counterclockwise.

    Those with a flying corner are left out, and those at a jump whose corners differ by more than the share `edge`.
    """
    height, width = depth.shape
    index = np.arange(height * width, dtype=np.uint32).reshape(height, width)
    corners = [(slice(None, -1), slice(None, -1)), (slice(1, None), slice(None, -1))]
    corners += [(slice(None, -1), slice(1, None)), (slice(1, None), slice(1, None))]
    steps = np.array([0, width, 1, width + 1], np.uint32)
    found = []
    for first, second, third in ((0, 1, 2), (2, 1, 3)):
        a, b, c = (corners[number] for number in (first, second, third))
        near = np.minimum(np.minimum(depth[a], depth[b]), depth[c])
        far = np.maximum(np.maximum(depth[a], depth[b]), depth[c])
        jumps = (far > near * np.float32(1 + edge)) & (torn[a] | torn[b] | torn[c])
        kept = ~(jumps | flying[a] | flying[b] | flying[c])
        squares = index[:-1, :-1][kept]
        found.append(squares[:, None] + steps[[first, second, third]])
    return np.concatenate(found)


def _used_vertices(
    triangles: npt.NDArray[np.uint32], count: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """Return the vertices, of `count`, that triangles use, and the triangles with their new numbers."""
    is_used = np.zeros(count, np.bool_)
    is_used[triangles.reshape(-1)] = True
    numbers = np.cumsum(is_used, dtype=np.uint32) - np.uint32(1)
    return np.flatnonzero(is_used), numbers[triangles]


def _texture_coordinates(grid: SurfaceGrid, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return where vertices are in the picture, [N, 2] from 0 to 1, from its upper left corner."""
    coordinates = np.empty((len(grid.rows), len(grid.columns), 2), np.float32)
    coordinates[..., 0] = (grid.columns + 0.5) / shape[1]
    coordinates[..., 1] = ((grid.rows + 0.5) / shape[0])[:, None]
    return coordinates.reshape(-1, 2)


def encode_texture(image: ImageArray) -> bytes:
    """Return the JPEG of a picture RGB [H, W, 3], made smaller if it is larger than viewers take."""
    pixels = to_eight_bits(image)
    if (share := _LARGEST_TEXTURE / max(pixels.shape)) < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()
