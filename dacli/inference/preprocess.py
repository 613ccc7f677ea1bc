"""Pictures as networks take them, and predictions back at the size of the source."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dacli.models.spec import IMAGENET_MEAN, IMAGENET_STD

MEAN, STD = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
BAND_ROWS = 32  # output rows resized at a time: the intermediate results stay in the processor's cache


def normalize_image(
    rgb: npt.NDArray[np.uint8 | np.uint16],
    size: tuple[int, int],
    rows: slice = slice(None),
    columns: slice = slice(None),
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> torch.Tensor:
    """Return a picture as the network's input: float32 [3, H, W] for `size` = (H, W), resized and normalised.

    `rgb` is [H, W, 3], full scale 255 or 65535 by its dtype. The resize is OpenCV's INTER_CUBIC (a = -0.75, no
    antialias, edges repeated), within 2e-6 of `cv2.resize` in float64. The picture is converted to floats a band at a
    time, because floats of a whole 24-megapixel photo would take 288 MB. `rows` and `columns` select a window of the
    result, which is computed without the rest. `mean` and `std` are for RGB in 0 … 1.
    """
    down, row_weights = _cubic_taps(rgb.shape[0], size[0], rows)
    across, column_weights = _cubic_taps(rgb.shape[1], size[1], columns)
    left, right, channels = across.min(), across.max() + 1, rgb.shape[2]
    # Pixels are interleaved: column x of channel c stands at 3 x + c of a row. Columns are taken channel by channel, so
    # that all that follows works on long rows: NumPy is slow where the last axis has three values.
    across = ((across - left)[:, None] * channels + np.arange(channels)[:, None]).reshape(4, -1)
    column_weights = np.tile(column_weights, channels)
    scale = (1 / (np.iinfo(rgb.dtype).max * np.array(std))).astype(np.float32)[:, None]
    offset = (np.array(mean) / np.array(std)).astype(np.float32)[:, None]

    result = np.empty((channels, down.shape[1], across.shape[1] // channels), np.float32)
    for start in range(0, down.shape[1], BAND_ROWS):
        band = slice(start, start + BAND_ROWS)
        top, bottom = down[:, band].min(), down[:, band].max() + 1
        source = np.ascontiguousarray(rgb[top:bottom, left:right]).reshape(bottom - top, -1)
        tall = _weighted(source, down[:, band] - top, row_weights[:, band, None], axis=0)
        both = _weighted(tall, across, column_weights, axis=1).reshape(-1, channels, result.shape[2])
        both *= scale
        both -= offset
        result[:, band] = both.transpose(1, 0, 2)
    return torch.from_numpy(result)


def _cubic_taps(source: int, target: int, window: slice) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Return the indices and the weights, both [4, n], of the 4 source samples for each target sample of a window.

    The filter is that of Keys 1981 with a = -0.75.
    """
    # OpenCV computes positions and weights in float32. On a 6000-pixel side its rounding moves values by 1e-3, so the
    # same operations are done here in the same order.
    position = ((np.arange(target)[window] + 0.5) * (source / target) - 0.5).astype(np.float32)
    floor = np.floor(position)
    after, before = position - floor, 1 - (position - floor)
    first = ((-0.75 * (after + 1) + 3.75) * (after + 1) - 6) * (after + 1) + 3
    second = (1.25 * after - 2.25) * after * after + 1
    third = (1.25 * before - 2.25) * before * before + 1
    weights = np.stack([first, second, third, 1 - first - second - third])
    indices = floor.astype(np.intp) + np.arange(-1, 3)[:, None]
    return indices.clip(0, source - 1), weights.astype(np.float32)


def _weighted(
    samples: npt.NDArray[Any], indices: npt.NDArray[np.intp], weights: npt.NDArray[np.float32], axis: int
) -> npt.NDArray[np.float32]:
    """Return the sum over the 4 taps of the samples taken along `axis`, each times its weight."""
    total: npt.NDArray[np.float32] = samples.take(indices[0], axis).astype(np.float32, copy=False)
    total *= weights[0]
    for tap in range(1, len(indices)):
        part = samples.take(indices[tap], axis).astype(np.float32, copy=False)
        part *= weights[tap]
        total += part
    return total


def resize_to_source(depth: torch.Tensor, height: int, width: int, align_corners: bool) -> npt.NDArray[np.float32]:
    """Return a prediction [h, w] resized bilinearly to the source's size, as float32 [height, width].

    The unit is that of `depth`. `align_corners` is the network's attribute of that name.
    """
    planes = depth.detach().float()[None, None]
    resized = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=align_corners)
    source: npt.NDArray[np.float32] = resized[0, 0].cpu().numpy()
    return source
