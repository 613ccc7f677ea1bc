"""A second view of a picture by its depth, and the pairs of views that viewers and headsets play."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from dacli.filters.edges import default_radius, sharpen_edges
from dacli.io import light
from dacli.io.camera import PinholeCamera
from dacli.outputs.drawing import to_eight_bits
from dacli.outputs.view import DepthView
from dacli.types import DepthArray, Image8

TEAR = 1.0  # pixels by which neighbours may move apart before the surface between them tears
_BAND_ROWS = 64  # rows that are warped at once, so that they stay in the cache
_SPHERE_SIDE = 2048  # the largest side in pixels of one eye of VR180, so that both fit into H.264
_MIRROR_STEP = 0.1  # share of the parallax by which mirrored background may be nearer than its edge

# Dubois, "A projection method to generate anaglyph stereo images" (ICASSP 2001): linear RGB of the left and the right
# view to linear RGB for red-cyan glasses.
_DUBOIS_LEFT = np.array([[0.456, 0.500, 0.176], [-0.040, -0.038, -0.016], [-0.015, -0.021, -0.005]], np.float32)
_DUBOIS_RIGHT = np.array([[-0.043, -0.088, -0.002], [0.378, 0.734, -0.018], [-0.072, -0.113, 1.226]], np.float32)


def draw_full_pair(view: DepthView) -> Image8:
    """Return the picture and right of it the view of the right eye, [H, 2W, 3]."""
    return np.hstack(make_pair(view))


def draw_half_pair(view: DepthView) -> Image8:
    """Return both views side by side, each squeezed to half its width, [H, W, 3]."""
    height, width = view.depth.shape
    halves = [cv2.resize(each, ((width + 1) // 2, height), interpolation=cv2.INTER_AREA) for each in make_pair(view)]
    return np.asarray(np.hstack(halves)[:, :width], np.uint8)


def draw_anaglyph(view: DepthView) -> Image8:
    """Return both views in one picture [H, W, 3] for red-cyan glasses, with the least error of color (Dubois 2001)."""
    left, right = (_linear_light()[each] for each in make_pair(view))
    mixed = left @ _DUBOIS_LEFT.T
    mixed += right @ _DUBOIS_RIGHT.T
    np.clip(mixed, 0, 1, out=mixed)
    return np.asarray(_display_levels()[np.rint(mixed * 4095).astype(np.uint16)])


def draw_vr180(view: DepthView) -> Image8:
    """Return both views side by side as half spheres, [S, 2S, 3]: equirectangular, 180° × 180°, black around."""
    left, right = make_pair(view)
    x, y = _sphere_rays(view.camera)
    both = [cv2.remap(each, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT) for each in (left, right)]
    return np.asarray(np.hstack(both), np.uint8)


def make_pair(view: DepthView) -> tuple[Image8, Image8]:
    """Return the views of both eyes, [H, W, 3] each: that of the left eye is the picture itself."""
    if view.image is None:
        raise ValueError("stereo needs the input picture: set image of the view")
    image = to_eight_bits(view.image)
    disparity = view.export.parallax / 100 * image.shape[1] * (view.nearness - np.float32(view.export.convergence))
    return image, second_view(image, separate_layers(disparity, image))


def separate_layers(disparity: DepthArray, image: Image8) -> DepthArray:
    """Return disparity [H, W] that is steep where the picture [H, W, 3] has an edge, and whose near side is wider.

    Pixels at an edge have colors of both sides: on the far side they would stay behind as a line.
    """
    steep = sharpen_edges(disparity, image, default_radius(disparity))
    size = 2 * max(1, round(max(disparity.shape) / 1000)) + 1
    return np.asarray(cv2.dilate(steep, np.ones((size, size), np.uint8)), np.float32)


def second_view(image: Image8, disparity: DepthArray) -> Image8:
    """Return a picture [H, W, 3] as the right eye sees it: a pixel of `disparity` [H, W] in pixels moves left by that.

    The nearest of several pixels that meet is seen. What the picture does not show is filled from the background side
    of the gap, mirrored, so that no edge is stretched.
    """
    x = np.empty(disparity.shape, np.float32)
    for top in range(0, len(disparity), _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        x[band] = fill_gaps(find_sources(disparity[band]), disparity[band])
    y = np.broadcast_to(np.arange(len(disparity), dtype=np.float32)[:, None], disparity.shape)
    seen = cv2.remap(image, x, np.ascontiguousarray(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen, np.uint8)


def find_sources(disparity: DepthArray) -> DepthArray:
    """Return the column that each pixel of the second view shows, [H, W]; NaN in gaps.

    Two neighbours span a piece of surface, unless they move apart by more than TEAR or change sides.
    """
    height, width = disparity.shape
    columns = np.arange(width, dtype=np.float32)
    target = columns - disparity
    start, stretch = target[:, :-1], np.diff(target, axis=1)
    first = np.ceil(start)
    whole = (stretch > 0) & (stretch <= 1 + TEAR)
    nearest = np.full(height * width, -np.inf, np.float32)
    found = np.full(height * width, np.nan, np.float32)
    places = [_covered(first + step, start, stretch, whole, disparity) for step in range(2 + int(TEAR))]
    for index, _, depth in places:
        np.maximum.at(nearest, index, depth)
    for index, source, depth in places:
        seen = depth >= nearest[index]
        found[index[seen]] = source[seen]
    return found.reshape(height, width)


def _covered(
    pixel: DepthArray,
    start: DepthArray,
    stretch: DepthArray,
    whole: npt.NDArray[np.bool_],
    disparity: DepthArray,
) -> tuple[npt.NDArray[np.intp], DepthArray, DepthArray]:
    """Return the flat index of target pixels that pieces of surface cover, their source columns and disparities."""
    width = disparity.shape[1]
    rows, columns = np.nonzero(whole & (pixel <= start + stretch) & (pixel >= 0) & (pixel < width))
    target = pixel[rows, columns]
    share = (target - start[rows, columns]) / stretch[rows, columns]
    before, after = disparity[rows, columns], disparity[rows, columns + 1]
    return rows * width + target.astype(np.intp), columns + share, before + share * (after - before)


def fill_gaps(source: DepthArray, disparity: DepthArray) -> DepthArray:
    """Return source columns [H, W] with each gap filled from its farther side, mirrored at the edge of the gap."""
    width = source.shape[1]
    gaps = np.isnan(source)
    if not gaps.any():
        return source
    columns = np.broadcast_to(np.arange(width), source.shape)
    left = np.maximum.accumulate(np.where(gaps, -1, columns), axis=1)
    right = np.minimum.accumulate(np.where(gaps, width, columns)[:, ::-1], axis=1)[:, ::-1]
    rows, holes = np.nonzero(gaps)
    left, right = left[rows, holes], right[rows, holes]
    sides = [_edge(source, disparity, rows, side) for side in (left, right)]
    from_left = (right >= width) | ((left >= 0) & (sides[0][1] <= sides[1][1]))
    edge = np.where(from_left, sides[0][0], sides[1][0])
    depth = np.where(from_left, sides[0][1], sides[1][1])
    distance = np.where(from_left, left - holes, right - holes).astype(np.float32)
    mirrored = np.clip(edge + distance, 0, width - 1)
    span = float(disparity.max() - disparity.min())
    nearer = disparity[rows, np.rint(mirrored).astype(np.intp)] > depth + _MIRROR_STEP * span
    filled = source.copy()
    filled[rows, holes] = np.where(nearer, edge, mirrored)
    return np.nan_to_num(filled, copy=False)


def _edge(
    source: DepthArray, disparity: DepthArray, rows: npt.NDArray[np.intp], side: npt.NDArray[np.int64]
) -> tuple[DepthArray, DepthArray]:
    """Return the source columns and disparities of the pixels at one side of gaps; those beyond the border are far."""
    width = source.shape[1]
    column = np.nan_to_num(source[rows, np.clip(side, 0, width - 1)])
    depth = disparity[rows, np.clip(np.rint(column), 0, width - 1).astype(np.intp)]
    return column, np.where((side < 0) | (side >= width), np.inf, depth)


def _sphere_rays(camera: PinholeCamera) -> tuple[DepthArray, DepthArray]:
    """Return the pixels x and y [S, S] that the directions of half a sphere show; behind the picture -1e6."""
    side = min(_SPHERE_SIDE, round(np.pi * camera.fx) // 2 * 2)
    angles = ((np.arange(side, dtype=np.float32) + 0.5) / side - 0.5) * np.float32(np.pi)
    across = np.tan(angles)
    down = np.tan(angles)[:, None] / np.cos(angles)
    x = np.broadcast_to(across * camera.fx + camera.cx - 0.5, down.shape)
    return np.ascontiguousarray(x, np.float32), np.asarray(down * camera.fy + camera.cy - 0.5, np.float32)


@lru_cache(maxsize=1)
def _linear_light() -> npt.NDArray[np.float32]:
    """Return the light, 0 … 1, of each 8-bit level."""
    return light.decode_srgb(np.linspace(0, 1, 256, dtype=np.float32))


@lru_cache(maxsize=1)
def _display_levels() -> Image8:
    """Return the 8-bit level of 4096 steps of light."""
    return to_eight_bits(light.encode_srgb(np.linspace(0, 1, 4096, dtype=np.float32)))
