"""Augmentation: random crops, lens, sensor and JPEG effects, CutMix; batches [B, 3, H, W] of float RGB in 0…1.

Random numbers are drawn on the device of the generator and moved to that of the pictures: the two can differ.
"""

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

JPEG_QUANTIZATION = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)  # luminance table of ITU-T T.81, annex K


def random_crop(
    rgb: Tensor, inverse_depth: Tensor, height: int, width: int, random: Generator, zoom: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Return a random crop of a canvas [3, h, w] uint8 and its inverse depth [h, w], resized to height × width.

    The crop is the largest that fits, or smaller, down to 1 - `zoom` of its sides. Half of the crops are mirrored.
    """
    h, w = inverse_depth.shape
    whole = min(h / height, w / width)
    part = whole * (1 - zoom * float(random_number(random)) ** 2)
    ch, cw = max(8, int(height * part)), max(8, int(width * part))
    top, left = (int(torch.randint(n + 1, (), generator=random, device=random.device)) for n in (h - ch, w - cw))
    picture = rgb[None, :, top : top + ch, left : left + cw].float() / 255
    picture = F.interpolate(picture, (height, width), mode="bilinear", antialias=True, align_corners=False)[0]
    depth = inverse_depth[None, None, top : top + ch, left : left + cw].float()
    depth = F.interpolate(depth, (height, width), mode="nearest-exact")[0, 0]
    if random_number(random) < 0.5:
        picture, depth = picture.flip(-1), depth.flip(-1)
    return picture, depth


def augment_photometric(rgb: Tensor, inverse_depth: Tensor, random: Generator) -> Tensor:
    """Return pictures with what lenses, sensors, software and hands do to them, each on a share of the samples.

    Defocus, drawn lines, local contrast as of HDR, colors, motion blur, blur, low light, noise and JPEG artefacts.
    """
    rgb = apply_at_random(0.35, rgb, lambda: defocus_blur(rgb, inverse_depth, random), random)
    rgb = apply_at_random(0.03, rgb, lambda: line_drawing(rgb, inverse_depth, random), random)
    rgb = apply_at_random(0.08, rgb, lambda: local_contrast(rgb, uniform_like(rgb, random, 0.5, 1.5)), random)
    rgb = jitter_color(rgb, random)
    rgb = apply_at_random(0.06, rgb, lambda: motion_blur(rgb, random), random)
    rgb = apply_at_random(0.06, rgb, lambda: low_light(rgb, random), random)
    rgb = apply_at_random(0.25, rgb, lambda: gaussian_blur(rgb, float(random_number(random)) * 1.2 + 0.4), random)
    strength = uniform_like(rgb, random, 0, 0.05) * (uniform_like(rgb, random, 0, 1) < 0.5)
    noise = torch.randn(rgb.shape, generator=random, device=random.device).to(rgb.device)
    rgb = rgb + strength * noise
    rgb = apply_at_random(0.35, rgb, lambda: jpeg_artefacts(rgb, uniform_like(rgb, random, 0.3, 3.0)), random)
    return rgb.clamp(0, 1)


def strong_augmentation(rgb: Tensor, random: Generator) -> Tensor:
    """Return pictures with strong color jitter and, half of them, Gaussian blur (Depth Anything, section 3.2)."""
    rotated = rotate_hue(rgb, uniform_like(rgb, random, -0.25, 0.25))
    gray = rotated.mean(1, keepdim=True)
    rgb = gray + uniform_like(rgb, random, 0.5, 1.5) * (rotated - gray)
    middle = rgb.mean((1, 2, 3), keepdim=True)
    rgb = (middle + uniform_like(rgb, random, 0.5, 1.5) * (rgb - middle)) * uniform_like(rgb, random, 0.5, 1.5)
    return apply_at_random(
        0.5, rgb, lambda: gaussian_blur(rgb, float(random_number(random)) * 1.9 + 0.1), random
    ).clamp(0, 1)


def rotate_hue(rgb: Tensor, turns: Tensor) -> Tensor:
    """Return colors rotated around the gray axis by turns [B, 1, 1, 1], 1 being a full circle (Rodrigues' formula)."""
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    gray = rgb.mean(1, keepdim=True)
    crossed = (rgb.roll(1, 1) - rgb.roll(-1, 1)) / math.sqrt(3)
    return gray + cos * (rgb - gray) + sin * crossed


def cut_mix(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], random: Generator) -> tuple[Tensor, Tensor]:
    """Return the first picture with a rectangle of the second in it [3, H, W], and the inverse depth of both [2, H, W].

    `first` and `second` are a picture [3, H, W] and its inverse depth [H, W]. Each of the two maps that are returned is
    NaN where the other picture is visible. The size of the rectangle is that of CutMix with α = 1 (Yun et al. 2019,
    section 3.1), clipped at the borders.
    """
    height, width = first[1].shape
    cut = (1 - float(random_number(random))) ** 0.5
    rows, columns = (random_span(size, cut, random) for size in (height, width))
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[rows, columns] = True
    truth = torch.stack([torch.where(inside, torch.nan, first[1]), torch.where(inside, second[1], torch.nan)])
    return torch.where(inside, second[0], first[0]), truth


def random_span(size: int, share: float, random: Generator) -> slice:
    """Return an interval around a random middle that covers a share of 0 … size, clipped at its ends."""
    middle, half = float(random_number(random)) * size, share * size / 2
    return slice(max(0, round(middle - half)), min(size, round(middle + half)))


def random_number(random: Generator) -> Tensor:
    """Return a random number, uniform in 0…1."""
    return torch.rand((), generator=random, device=random.device)


def apply_at_random(share: float, plain: Tensor, change: Callable[[], Tensor], random: Generator) -> Tensor:
    """Return samples of which each is changed with the probability `share`; nothing is computed if none is."""
    chosen = uniform_like(plain, random, 0, 1) < share
    return torch.where(chosen, change(), plain) if chosen.any() else plain


def uniform_like(like: Tensor, random: Generator, low: float, high: float, channels: int = 1) -> Tensor:
    """Return random numbers [B, channels, 1, 1], uniform in low … high, for samples `like` [B, ...] on their device."""
    value = torch.rand(len(like), channels, 1, 1, generator=random, device=random.device)
    return low + (high - low) * value.to(like.device)


def jitter_color(rgb: Tensor, random: Generator) -> Tensor:
    """Return pictures with random saturation (down to gray), contrast, gain and offset of each channel, and gamma.

    A tenth of them have their channels permuted.
    """
    order = torch.randperm(3, generator=random, device=random.device).to(rgb.device)
    rgb = apply_at_random(0.1, rgb, lambda: rgb[:, order], random)
    gray = (rgb * rgb.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    saturation = uniform_like(rgb, random, 0, 1.7) * (uniform_like(rgb, random, 0, 1) > 0.08)
    rgb = gray + saturation * (rgb - gray)
    middle = rgb.mean((1, 2, 3), keepdim=True)
    rgb = middle + (rgb - middle) * uniform_like(rgb, random, 0.6, 1.4)
    rgb = rgb * uniform_like(rgb, random, 0.75, 1.25) * uniform_like(rgb, random, 0.85, 1.15, 3)
    rgb = rgb + uniform_like(rgb, random, -0.08, 0.08, 3)
    return rgb.clamp(1e-3, 1) ** torch.exp2(uniform_like(rgb, random, -0.7, 0.7))


def gaussian_blur(rgb: Tensor, sigma: float) -> Tensor:
    """Return pictures with Gaussian blur, as two matrix products; the weights inside the border sum to 1."""
    rows, columns = (gaussian_kernel(n, sigma, rgb.device) for n in rgb.shape[2:])
    return rows @ rgb @ columns.T


def gaussian_kernel(size: int, sigma: float, device: torch.device) -> Tensor:
    """Return a matrix [size, size] whose rows average their neighbourhood with Gaussian weights."""
    x = torch.arange(size, device=device, dtype=torch.float32)
    return torch.softmax(-((x[:, None] - x) ** 2) / (2 * sigma**2), 1)


def defocus_blur(rgb: Tensor, inverse_depth: Tensor, random: Generator) -> Tensor:
    """Return pictures blurred as by a thin lens: the more, the more inverse depth differs from that in focus.

    The inverse depth [B, H, W] in focus is that of a random pixel of each sample, or as often the nearest of ten:
    people focus on what is near.
    """
    d = inverse_depth[:, None]
    pick = torch.randint(d[0].numel(), (len(d), 10), generator=random, device=random.device).to(d.device)
    seen = d.flatten(1).gather(1, pick)
    near = uniform_like(rgb, random, 0, 1)[..., 0, 0] < 0.5
    focus = torch.where(near, seen.amax(1, keepdim=True), seen[:, :1])[:, :, None, None]
    spread = (d - focus).abs() / (d.amax((2, 3), keepdim=True) - d.amin((2, 3), keepdim=True)).clamp_min(1e-6)
    amount = (gaussian_blur(spread, 1.5) * uniform_like(rgb, random, 2, 8)).clamp(0, 2)
    soft, softer = gaussian_blur(rgb, 1.5), gaussian_blur(rgb, 3.5)
    return torch.where(amount < 1, rgb + amount * (soft - rgb), soft + (amount - 1) * (softer - soft))


def local_contrast(rgb: Tensor, strength: Tensor) -> Tensor:
    """Return pictures whose differences from a wide blur are increased by a strength [B, 1, 1, 1], as in HDR looks."""
    return (rgb + strength * (rgb - gaussian_blur(rgb, max(rgb.shape[2:]) / 16))).clamp(0, 1)


def motion_blur(rgb: Tensor, random: Generator) -> Tensor:
    """Return pictures of a camera that moves: means along a line, of up to a twentieth of the picture."""
    angle, length = (float(random_number(random)) for _ in range(2))
    reach = max(rgb.shape[2:]) * length / 40
    dx, dy = reach * math.cos(math.pi * angle), reach * math.sin(math.pi * angle)
    border = math.ceil(reach)
    if border == 0:
        return rgb
    padded = F.pad(rgb, (border, border, border, border), mode="replicate")
    height, width = rgb.shape[2:]
    places = [(border + round(dy * s), border + round(dx * s)) for s in (-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1)]
    return torch.stack([padded[..., y : y + height, x : x + width] for y, x in places]).mean(0)


def low_light(rgb: Tensor, random: Generator) -> Tensor:
    """Return pictures of dark places, brightened again in part: noise that grows in the dark, and pale colors."""
    light = uniform_like(rgb, random, 0.05, 0.4)
    noise = torch.randn(rgb.shape, generator=random, device=random.device).to(rgb.device)
    dark = rgb**2.2 * light + uniform_like(rgb, random, 0.003, 0.03) * noise
    return (dark / light ** uniform_like(rgb, random, 0.2, 0.9)).clamp(0, 1) ** (1 / 2.2)


def line_drawing(rgb: Tensor, inverse_depth: Tensor, random: Generator) -> Tensor:
    """Return drawings: dark lines on paper where brightness or depth changes, over some of the picture's own tone."""
    depth = inverse_depth[:, None]
    depth = depth / depth.amax((2, 3), keepdim=True).clamp_min(1e-6)
    tone = rgb.mean(1, keepdim=True)
    lines = sum(edge_strength(gaussian_blur(each, 0.7)) * gain for each, gain in ((tone, 4.0), (depth.sqrt(), 10.0)))
    paper = uniform_like(rgb, random, 0.75, 1, 3)
    shade = uniform_like(rgb, random, 0, 0.8) * (uniform_like(rgb, random, 0, 1) < 0.5)
    return paper * (1 - shade * (1 - tone)) * (1 - (lines * uniform_like(rgb, random, 0.5, 1.5)).clamp(0, 0.95))


def edge_strength(values: Tensor) -> Tensor:
    """Return the length of the gradient of maps [B, 1, H, W], of differences between neighbours."""
    right, down = F.pad(values.diff(dim=3), (0, 1)), F.pad(values.diff(dim=2), (0, 0, 0, 1))
    return torch.hypot(right, down)


@cache
def cosine_basis(device: torch.device) -> Tensor:
    """Return the orthonormal 8-point DCT-II [8, 8], one row for each frequency (ITU-T T.81, A.3.3)."""
    k = torch.arange(8, device=device, dtype=torch.float32)
    basis = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) / 2
    basis[0] /= math.sqrt(2)
    return basis


def jpeg_artefacts(rgb: Tensor, coarseness: Tensor) -> Tensor:
    """Return pictures whose 8×8 DCT coefficients are quantised by the table times coarseness [B, 1, 1, 1]."""
    b, c, h, w = rgb.shape
    basis = cosine_basis(rgb.device)
    padded = F.pad(rgb * 255 - 128, [0, -w % 8, 0, -h % 8], mode="replicate")
    blocks = padded.unfold(2, 8, 8).unfold(3, 8, 8)
    table = rgb.new_tensor(JPEG_QUANTIZATION) * coarseness[..., None, None]
    coefficients = torch.round(basis @ blocks @ basis.T / table) * table
    restored = basis.T @ coefficients @ basis
    joined = restored.permute(0, 1, 2, 4, 3, 5).reshape(b, c, *padded.shape[2:])
    return (joined[..., :h, :w] + 128) / 255
