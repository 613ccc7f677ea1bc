"""What draws and encodes each kind of output, imported when it is first used: one function for each.

Pictures are [H, W] or [H, W, 3]; files are their bytes, with the record of the view.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dacli.errors import DacliError, UsageError
from dacli.io.names import RECORD_KEYWORD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dacli.outputs.view import DepthView

SPREAD_FAULT = "shows how far several predictions of a picture are apart, and there is one"
SPREAD_HINT = "add --ensemble flip"


def gray_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.drawing import draw_gray

    values, low, high = view.shown
    return draw_gray(values, low, high, view.record.quantity, view.style.near)


def deep_gray_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.drawing import draw_deep_gray

    values, low, high = view.shown
    return draw_deep_gray(values, low, high, view.record.quantity, view.style.near)


def color_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.drawing import draw_color

    values, low, high = view.shown
    return draw_color(values, low, high, view.record.quantity, view.style.colormap)


def side_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.drawing import draw_side_by_side

    if view.image is None:
        raise ValueError("side needs the input picture: set image of the view")
    return draw_side_by_side(view.image, color_picture(view))


def confidence_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.drawing import draw_confidence

    if view.spread is None:
        raise UsageError(f"confidence {SPREAD_FAULT}", SPREAD_HINT)
    return draw_confidence(view.spread)


def depth16_picture(view: "DepthView") -> "NDArray[Any]":
    return view.scale16.encode(view.values16)


def png_encoder(draw: "Callable[[DepthView], NDArray[Any]]", bits: int = 8) -> "Callable[[DepthView], bytes]":
    """Return a function that encodes a drawing as a PNG with its record."""

    def encode(view: "DepthView") -> bytes:
        from dacli.io import png

        return png.encode_png(draw(view), view.record_for(bits).text())

    return encode


def npy_file(view: "DepthView") -> bytes:
    from dacli.io import npy

    return npy.encode_npy(view.known_depth, view.record.text()[RECORD_KEYWORD])


def half_file(view: "DepthView") -> bytes:
    import numpy as np

    from dacli.io import npy

    if view.record.quantity != "inverse depth":
        raise DacliError(
            f"labels are inverse depth, and this network predicts {view.record.quantity}", "choose another"
        )
    if view.depth.max() > np.finfo(np.float16).max:
        raise DacliError(f"its depth reaches {view.depth.max():g}, beyond float16", "choose another network")
    return npy.encode_npy(view.depth.astype(np.float16), view.record.text()[RECORD_KEYWORD])


def exr_file(view: "DepthView") -> bytes:
    from dacli.outputs.floats import encode_depth_exr

    return encode_depth_exr(view)


def pfm_file(view: "DepthView") -> bytes:
    from dacli.outputs.floats import encode_depth_pfm

    return encode_depth_pfm(view)


def tiff_file(view: "DepthView") -> bytes:
    from dacli.outputs.floats import encode_depth_tiff

    return encode_depth_tiff(view)


def npz_file(view: "DepthView") -> bytes:
    from dacli.outputs.floats import encode_depth_npz

    return encode_depth_npz(view)


def normal_file(view: "DepthView") -> bytes:
    from dacli.outputs.normals import encode_normals

    return encode_normals(view)


def ply_file(view: "DepthView") -> bytes:
    from dacli.outputs.point_cloud import encode_point_cloud

    return encode_point_cloud(view)


def glb_file(view: "DepthView") -> bytes:
    from dacli.outputs.mesh import encode_mesh

    return encode_mesh(view)


def full_pair_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.stereo import draw_full_pair

    return draw_full_pair(view)


def half_pair_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.stereo import draw_half_pair

    return draw_half_pair(view)


def anaglyph_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.stereo import draw_anaglyph

    return draw_anaglyph(view)


def vr180_picture(view: "DepthView") -> "NDArray[Any]":
    from dacli.outputs.stereo import draw_vr180

    return draw_vr180(view)
