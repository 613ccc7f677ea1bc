"""Depth as floats: EXR, PFM, TIFF and NPZ."""

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io import exr_writer, float_files
from dacli.io.metric_fit import FARTHEST
from dacli.io.names import RECORD_KEYWORD
from dacli.io.sealed import open_record, seal_file
from dacli.outputs.view import DepthView
from dacli.types import DepthArray

_CHANNELS = {"metres": "Z", "inverse depth": "disparity", "depth": "depth"}  # by quantity


def encode_depth_exr(view: DepthView) -> bytes:
    """Return an EXR of metres along the optical axis, or their inverse, in the channel Z, of other depth in its own.

    The header has the camera in pixels, the unit, the width of the view at distance 1 (screenWindowWidth), and the
    record. Raises DacliError for depth that 16-bit floats cannot hold.
    """
    camera, (values, unit) = view.camera, _exr_values(view)
    attributes: dict[str, float | str] = {
        "pixelAspectRatio": camera.fy / camera.fx,
        "screenWindowWidth": view.depth.shape[1] / camera.fx,
        "depthUnit": unit,
        RECORD_KEYWORD: open_record(view.record.text()[RECORD_KEYWORD]),
        "fx": camera.fx,
        "fy": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
    }
    return seal_file(exr_writer.encode_exr(values, _CHANNELS[view.record.quantity], attributes))


def _exr_values(view: DepthView) -> tuple[npt.NDArray[np.float16 | np.float32], str]:
    """Return the numbers [H, W] of an EXR, and their unit."""
    values, unit = view.depth, "metres" if view.record.quantity == "metres" else "relative"
    if unit == "metres" and view.export.exr_z == "1/z":
        values, unit = np.divide(1, np.maximum(values, np.float32(1 / FARTHEST)), dtype=np.float32), "1/metres"
    if not view.export.exr_half:
        return values, unit
    if values.max() > np.finfo(np.float16).max:
        raise DacliError(f"its depth reaches {values.max():g}, beyond 16-bit floats", "leave --exr-half out")
    return values.astype(np.float16), unit


def encode_depth_pfm(view: DepthView) -> bytes:
    """Return a PFM of the depth."""
    return seal_file(float_files.encode_pfm(view.known_depth, open_record(view.record.text()[RECORD_KEYWORD])))


def encode_depth_tiff(view: DepthView) -> bytes:
    """Return a TIFF of the depth in 32-bit floats."""
    return seal_file(float_files.encode_float_tiff(view.known_depth, open_record(view.record.text()[RECORD_KEYWORD])))


def encode_depth_npz(view: DepthView) -> bytes:
    """Return an NPZ of the depth, the mask `valid` [H, W] of points at a finite distance, and the intrinsics [3, 3]."""
    camera = view.camera
    intrinsics = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    arrays = {"depth": view.known_depth, "valid": find_valid(view), "intrinsics": intrinsics}
    return float_files.encode_npz(arrays, view.record.text()[RECORD_KEYWORD])


def find_valid(view: DepthView) -> npt.NDArray[np.bool_]:
    """Return where depth is that of a point at a finite distance, as a mask [H, W]."""
    depth: DepthArray = view.known_depth
    valid: npt.NDArray[np.bool_] = np.isfinite(depth) & (depth > 0)
    return valid & (depth < np.float32(FARTHEST)) if view.record.quantity == "metres" else valid
