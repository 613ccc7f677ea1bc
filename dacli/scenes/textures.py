"""Tileable patterns for rendered surfaces, with a pyramid of box-filtered levels against aliasing."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TextureField = NDArray[np.floating]
TEXTURE_SIZE = 128
PYRAMID_LEVELS = 8


def noise_texture(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> TextureField:
    """Return noise [size, size] whose spectrum falls as 1 / frequency^slope, stretched along one axis."""
    fy, fx = np.meshgrid(np.fft.fftfreq(TEXTURE_SIZE) * stretch, np.fft.fftfreq(TEXTURE_SIZE), indexing="ij")
    amplitude = (np.hypot(fx, fy) + 0.5 / TEXTURE_SIZE) ** -slope
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TEXTURE_SIZE, TEXTURE_SIZE))) * amplitude).real
    return np.asarray(np.clip(0.5 + (field - field.mean()) / (5 * field.std()), 0, 1))


def texture_grid() -> tuple[TextureField, TextureField]:
    """Return y and x [size, size] of every texel, in tiles: from 0 to below 1."""
    y, x = np.mgrid[0:TEXTURE_SIZE, 0:TEXTURE_SIZE] / TEXTURE_SIZE
    return y, x


def brick_texture(rng: np.random.Generator) -> TextureField:
    y, x = texture_grid()
    row = np.floor(y * 8)
    column = (x * 4 + 0.5 * (row % 2)) % 4
    tone = rng.uniform(0.4, 1, (8, 4))[row.astype(int), column.astype(int)]
    joint = (np.abs((y * 8) % 1 - 0.5) > 0.42) | (np.abs(column % 1 - 0.5) > 0.46)
    return np.where(joint, 0.0, tone)


def rectangle_texture(rng: np.random.Generator, count: int) -> TextureField:
    field = np.full((TEXTURE_SIZE, TEXTURE_SIZE), rng.uniform())
    for _ in range(count):
        top, left = rng.integers(0, TEXTURE_SIZE, 2)
        height, width = rng.integers(TEXTURE_SIZE // 16, TEXTURE_SIZE // 2, 2)
        field[top : top + height, left : left + width] = rng.uniform()
    return field


def cell_texture(rng: np.random.Generator, count: int, *, edges: bool) -> TextureField:
    """Return cells around random seeds (Worley 1996): with dark borders, or with a bright spot in each."""
    y, x = texture_grid()
    seeds = rng.uniform(size=(count, 2))
    apart = np.abs(np.stack([y, x], -1)[..., None, :] - seeds)
    distance = np.sort(np.hypot(*np.moveaxis(np.minimum(apart, 1 - apart), -1, 0)), -1)
    nearest, second = distance[..., 0], distance[..., 1]
    return np.asarray(np.clip((second - nearest) * 12, 0, 1) if edges else 1 - nearest / distance.max())


def window_texture(rng: np.random.Generator) -> TextureField:
    y, x = texture_grid()
    pane = (np.abs((x * 4) % 1 - 0.5) < 0.3) & (np.abs((y * 4) % 1 - 0.5) < 0.36)
    light = rng.uniform(0.5, 1, (4, 4))[(y * 4).astype(int), (x * 4).astype(int)]
    return np.where(pane, light, 0.1)


def lettering_texture(rng: np.random.Generator) -> TextureField:
    y, x = texture_grid()
    strokes = rng.uniform(size=(32, 64)) < 0.55
    return np.where((np.floor(y * 32) % 4 < 2) & strokes[(y * 32).astype(int), (x * 64).astype(int)], 1.0, 0.0)


@cache
def texture_pyramid() -> Tensor:
    """Return all textures in one flat tensor, level by level, finest first, each level [textures, size, size]."""
    rng = np.random.default_rng(20)
    y, x = texture_grid()
    fields = [noise_texture(rng, s) for s in (0.3, 0.8, 1.2, 1.6, 2.0, 2.6)]
    fields += [noise_texture(rng, s, k) for s, k in ((1.2, 6.0), (1.6, 12.0), (1.2, 0.15))]
    fields += [(noise_texture(rng, s) > 0.5).astype(float) for s in (1.4, 1.8, 2.2)]
    fields += [((np.floor(x * n) + np.floor(y * n)) % 2) for n in (4, 8)]
    fields += [((x * n) % 1 < 0.5).astype(float) for n in (4, 12)]
    fields += [0.5 + 0.5 * np.sin(2 * np.pi * 6 * x), (np.hypot((x * 6) % 1 - 0.5, (y * 6) % 1 - 0.5) < 0.3) * 1.0]
    fields += [brick_texture(rng), window_texture(rng), lettering_texture(rng)]
    fields += [rectangle_texture(rng, n) for n in (6, 14, 40)]
    fields += [
        cell_texture(rng, 24, edges=True),
        cell_texture(rng, 60, edges=True),
        cell_texture(rng, 40, edges=False),
        np.zeros_like(x),
    ]
    level = torch.from_numpy(np.stack(fields)).float()
    levels = [level]
    for _ in range(PYRAMID_LEVELS - 1):
        level = torch.nn.functional.avg_pool2d(level[:, None], 2)[:, 0]
        levels.append(level)
    return torch.cat([v.reshape(-1) for v in levels])


def texture_count() -> int:
    """Return the number of textures."""
    return len(texture_pyramid()) // sum((TEXTURE_SIZE >> k) ** 2 for k in range(PYRAMID_LEVELS))


@cache
def pyramid_on_device(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the pyramid on a device, and the index at which each of its levels starts."""
    textures = texture_count()
    sizes = torch.tensor([textures * (TEXTURE_SIZE >> k) ** 2 for k in range(PYRAMID_LEVELS)], device=device)
    return texture_pyramid().to(device), sizes.cumsum(0) - sizes


def sample_texture(texture: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """Return bilinear values in 0 … 1 of textures [n] at u, v [n], in tiles.

    They come from the level whose texels are as wide as `footprint` [n], in tiles.
    """
    table, starts = pyramid_on_device(u.device)
    level = (footprint * TEXTURE_SIZE).clamp_min(1).log2().round().clamp(0, PYRAMID_LEVELS - 1).long()
    size = TEXTURE_SIZE >> level
    base = starts[level] + texture * size * size
    x, y = (u - u.floor()) * size - 0.5, (v - v.floor()) * size - 0.5
    left, top = x.floor(), y.floor()
    fx, fy = x - left, y - top
    mask = size - 1
    x0, y0 = left.long() & mask, top.long() & mask
    x1, y1 = (x0 + 1) & mask, (y0 + 1) & mask
    upper = table[base + y0 * size + x0] * (1 - fx) + table[base + y0 * size + x1] * fx
    lower = table[base + y1 * size + x0] * (1 - fx) + table[base + y1 * size + x1] * fx
    return upper * (1 - fy) + lower * fy
