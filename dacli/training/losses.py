"""The losses of the recipes, one number for each sample.

Maps are [B, H, W]; the truth is NaN where the depth is unknown, and unknown pixels do not count.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TRIMMED_SHARE = 0.1  # of the pixels of a sample, those of the largest loss: there a pseudo-label is most likely wrong
ALIGNMENT_MARGIN = 0.85  # features as similar as this to those of the frozen encoder have no loss
SILOG_LAMBDA = 0.5  # the share of the error in the scale of a sample that is not counted

LossFunction = Callable[[Tensor, Tensor], Tensor]


def masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean [B] of the counted values of each sample, 0 where none are counted; all values are finite."""
    return (values * counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)


def normalize_depth(inverse_depth: Tensor, known: Tensor) -> Tensor:
    """Return each sample with median 0 and mean absolute deviation 1, and 0 where unknown (MiDaS, eq. 5).

    MiDaS is Ranftl et al., TPAMI 2022.
    """
    values = torch.where(known, inverse_depth, torch.nan).flatten(1)
    shift = values.detach().nanmedian(1).indices[:, None]
    centred = torch.where(known, inverse_depth - inverse_depth.flatten(1).gather(1, shift)[..., None], 0)
    return centred / masked_mean(centred.abs(), known).clamp_min(1e-6)[:, None, None]


def relative_depth_loss(prediction: Tensor, truth: Tensor, trimmed: float = 0) -> Tensor:
    """Return the scale-and-shift-invariant plus twice the gradient-matching loss [B] (Depth Anything V2, section 4).

    The share `trimmed` of the known pixels of each sample, those of the largest error, is left out of both.
    """
    known = truth.isfinite()
    difference = normalize_depth(prediction, known) - normalize_depth(truth.nan_to_num(0, 0, 0), known)
    error = difference.abs()
    if trimmed:
        known = known & (error <= trimming_limit(error.detach(), known, trimmed)[:, None, None])
    return masked_mean(error, known) + 2 * gradient_matching_loss(difference, known)


def trimming_limit(error: Tensor, known: Tensor, trimmed: float) -> Tensor:
    """Return the largest error [B] of each sample that stays if the worst share of its known pixels is left out."""
    ordered = (
        torch.where(known, error, torch.inf).flatten(1).sort(1).values
    )  # quantile() takes 16 million numbers at most
    count = known.flatten(1).sum(1)
    last = count - (count.double() * trimmed).long() - 1
    return ordered.gather(1, last.clamp_min(0)[:, None])[:, 0]


def pseudo_label_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the loss [B] of relative depth against pseudo-labels, the worst tenth of each sample left out."""
    return relative_depth_loss(prediction, truth, TRIMMED_SHARE)


def gradient_matching_loss(difference: Tensor, known: Tensor, scales: int = 4) -> Tensor:
    """Return the mean absolute gradient [B] of a difference of normalised maps over several scales (MiDaS, eq. 11)."""
    levels = [(difference[:, :: 2**k, :: 2**k], known[:, :: 2**k, :: 2**k]) for k in range(scales)]
    return torch.stack([gradient_magnitude(d, k, axis) for d, k in levels for axis in (1, 2)]).sum(0) / scales


def gradient_magnitude(values: Tensor, known: Tensor, axis: int) -> Tensor:
    """Return the mean [B] of absolute differences between neighbours along an axis that are both known."""
    size = values.shape[axis] - 1
    both = known.narrow(axis, 0, size) & known.narrow(axis, 1, size)
    return masked_mean(values.diff(dim=axis).abs(), both)


def scale_invariant_log_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return SILog [B], √(mean e² − λ (mean e)²) of e = log D̂ − log D in metres (Eigen et al. 2014, eq. 4, λ = 0.5)."""
    known = truth.isfinite()
    error = prediction.clamp_min(1e-3).log() - torch.where(known, truth, 1).log()
    variance = masked_mean(error.square(), known) - SILOG_LAMBDA * masked_mean(error, known).square()
    return variance.clamp_min(1e-12).sqrt()


def loss_by_region(loss: LossFunction, prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the loss [B] of predictions [B, H, W] whose samples have R regions with a truth of their own [B, R, H, W].

    A region is where its truth is known; it counts by its size (Depth Anything, section 3.2, eq. 3).
    """
    batch, regions = truth.shape[:2]
    share = truth.isfinite().float().mean((2, 3))
    each = loss(prediction.repeat_interleave(regions, 0), truth.flatten(0, 1)).view(batch, regions)
    return (each * share).sum(1) / share.sum(1).clamp_min(1e-6)


def feature_alignment_loss(tokens: Tensor, frozen: Tensor) -> Tensor:
    """Return the mean [B] of 1 − cosine of tokens [B, N, D] to frozen ones, where the cosine is below the margin.

    Source: Depth Anything, eq. 5.
    """
    cosine = F.cosine_similarity(tokens.float(), frozen.float(), dim=-1)
    return masked_mean(1 - cosine, cosine < ALIGNMENT_MARGIN)
