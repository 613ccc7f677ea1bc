"""The losses of relative depth, both on inverse depth [B, H, W] that is first freed of its own scale and shift."""

import torch
from torch import Tensor


def normalised(inverse_depth: Tensor) -> Tensor:
    """Median removed, mean absolute deviation 1, per sample (Ranftl et al., MiDaS, TPAMI 2022, eq. 5)."""
    shift = inverse_depth.flatten(1).median(1).values[:, None, None]
    centred = inverse_depth - shift
    return centred / centred.abs().mean((1, 2), keepdim=True).clamp_min(1e-6)


def relative_depth(prediction: Tensor, truth: Tensor) -> Tensor:
    """Scale-and-shift-invariant and gradient-matching loss, weighted 1:2 (Depth Anything V2, section 4)."""
    difference = normalised(prediction) - normalised(truth)
    return difference.abs().mean() + 2 * gradient_matching(difference)


def gradient_matching(difference: Tensor, scales: int = 4) -> Tensor:
    """Mean absolute gradient of a difference of normalised maps over halved resolutions (MiDaS eq. 11)."""
    levels = [difference[:, :: 2**k, :: 2**k] for k in range(scales)]
    return torch.stack([d.diff(dim=1).abs().mean() + d.diff(dim=2).abs().mean() for d in levels]).mean()
