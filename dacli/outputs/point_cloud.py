"""Point clouds: the points of a picture in metres, with colors and normals."""

import numpy as np

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.io.ply import POINT, encode_ply
from dacli.io.sealed import open_record, seal_file
from dacli.outputs.drawing import to_eight_bits
from dacli.outputs.surfaces import find_normals, find_tears, jump_radius, sample_surface
from dacli.outputs.view import DepthView

_COMMENT = "metres; x right, y up, z towards the viewer; the camera is at 0 0 0"


def encode_point_cloud(view: DepthView) -> bytes:
    """Return a PLY of the points of a view, without those that fly between the two sides of a jump of depth.

    Raises DacliError for relative depth, and if no point is left.
    """
    grid = sample_surface(view, "ply")
    if view.image is None:
        raise ValueError("ply needs the input picture: set image of the view")
    radius = jump_radius(view, grid)
    _, flying = find_tears(grid.depth, view.export.edge, radius)
    kept = np.flatnonzero(~flying)
    if not kept.size:
        raise DacliError("ply has no point: all of its depth is too far, or between two sides", "try a larger --edge")
    points = np.empty(kept.size, POINT)
    places, normals = grid.points().reshape(-1, 3), find_normals(grid, view.export.edge, radius).reshape(-1, 3)
    for axis, name in enumerate("xyz"):
        points[name] = places[kept, axis]
        points[f"n{name}"] = normals[kept, axis]
    rows, columns = np.divmod(kept, len(grid.columns))
    points["rgb"] = to_eight_bits(view.image[grid.rows[rows], grid.columns[columns]])
    return seal_file(encode_ply(points, _COMMENT, open_record(view.record.text()[RECORD_KEYWORD])))
