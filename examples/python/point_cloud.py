"""Write a photo as colored points in space (.ply), which MeshLab, CloudCompare and Blender open.

python point_cloud.py photo.jpg points.ply --model vits-indoor [--view 60]

With a metric model (vits-indoor, vits-outdoor, …) the points are in metres. With a relative one, such as tiny, the
near and the far end are set by --near and --far, and the shape between them is a guess.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

import dacli


def main() -> None:
    """Read the options, and write the points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="tiny", help="a name of dacli.available_models(); tiny needs no download")
    parser.add_argument("--view", type=float, default=60, help="horizontal angle of view of the camera, in degrees")
    parser.add_argument("--near", type=float, default=1, help="distance of the nearest point of a relative model")
    parser.add_argument("--far", type=float, default=5, help="distance of its farthest point")
    options = parser.parse_args()
    result = dacli.load(options.model)(options.photo)
    distance = result.depth
    if result.quantity == "inverse depth":
        distance = relative_to_distance(distance, options.near, options.far)
    write_ply(options.output, unproject(distance, options.view), np.asarray(result.image))


def relative_to_distance(inverse: npt.NDArray[np.float32], near: float, far: float) -> npt.NDArray[np.float32]:
    """Return distances [H, W] whose inverse is linear in inverse depth, from `near` to `far`."""
    part = (inverse - inverse.min()) / max(float(np.ptp(inverse)), 1e-6)
    return np.asarray(1 / (part / near + (1 - part) / far), np.float32)


def unproject(distance: npt.NDArray[np.float32], view: float) -> npt.NDArray[np.float32]:
    """Return the points [H, W, 3] (x right, y up, z towards the camera) of distances along the optical axis."""
    height, width = distance.shape
    focal = width / 2 / math.tan(math.radians(view) / 2)  # pixels
    rows, columns = np.mgrid[:height, :width] + 0.5
    x, y = (columns - width / 2) / focal, (height / 2 - rows) / focal
    return np.stack([x * distance, y * distance, -distance], axis=-1).astype(np.float32)


def write_ply(path: Path, points: npt.NDArray[np.float32], rgb: npt.NDArray[np.uint8]) -> None:
    """Write points [H, W, 3] and their colors [H, W, 3] as binary PLY."""
    rows = np.empty(rgb.shape[0] * rgb.shape[1], [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    rows["xyz"], rows["rgb"] = points.reshape(-1, 3), rgb.reshape(-1, 3)
    names = [f"property float {name}" for name in "xyz"] + [
        f"property uchar {name}" for name in ("red", "green", "blue")
    ]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}", *names, "end_header", ""]
    path.write_bytes("\n".join(head).encode() + rows.tobytes())


if __name__ == "__main__":
    main()
