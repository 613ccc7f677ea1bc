"""Tileable patterns for rendered surfaces, with a pyramid of box-filtered levels against aliasing."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Field = NDArray[np.floating]
TEXELS = 128
LEVELS = 8


def noise(rng: np.random.Generator, slope: float, stretch: float = 1.0) -> Field:
    """Random field whose spectrum falls as 1 / frequency^slope, stretched along one axis."""
    fy, fx = np.meshgrid(np.fft.fftfreq(TEXELS) * stretch, np.fft.fftfreq(TEXELS), indexing="ij")
    amplitude = (np.hypot(fx, fy) + 0.5 / TEXELS) ** -slope
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TEXELS, TEXELS))) * amplitude).real
    return np.asarray(np.clip(0.5 + (field - field.mean()) / (5 * field.std()), 0, 1))


def grid() -> tuple[Field, Field]:
    """Row and column of every texel [TEXELS, TEXELS], in tiles."""
    y, x = np.mgrid[0:TEXELS, 0:TEXELS] / TEXELS
    return y, x


def bricks(rng: np.random.Generator) -> Field:
    y, x = grid()
    row = np.floor(y * 8)
    column = (x * 4 + 0.5 * (row % 2)) % 4
    tone = rng.uniform(0.4, 1, (8, 4))[row.astype(int), column.astype(int)]
    joint = (np.abs((y * 8) % 1 - 0.5) > 0.42) | (np.abs(column % 1 - 0.5) > 0.46)
    return np.where(joint, 0.0, tone)


def rectangles(rng: np.random.Generator, count: int) -> Field:
    field = np.full((TEXELS, TEXELS), rng.uniform())
    for _ in range(count):
        top, left = rng.integers(0, TEXELS, 2)
        height, width = rng.integers(TEXELS // 16, TEXELS // 2, 2)
        field[top : top + height, left : left + width] = rng.uniform()
    return field


def cells(rng: np.random.Generator, count: int, edges: bool) -> Field:
    """Cells around random seeds (Worley 1996): their borders dark, or a bright spot in each."""
    y, x = grid()
    seeds = rng.uniform(size=(count, 2))
    apart = np.abs(np.stack([y, x], -1)[..., None, :] - seeds)
    distance = np.sort(np.hypot(*np.moveaxis(np.minimum(apart, 1 - apart), -1, 0)), -1)
    nearest, second = distance[..., 0], distance[..., 1]
    return np.asarray(np.clip((second - nearest) * 12, 0, 1) if edges else 1 - nearest / distance.max())


def windows(rng: np.random.Generator) -> Field:
    y, x = grid()
    pane = (np.abs((x * 4) % 1 - 0.5) < 0.3) & (np.abs((y * 4) % 1 - 0.5) < 0.36)
    light = rng.uniform(0.5, 1, (4, 4))[(y * 4).astype(int), (x * 4).astype(int)]
    return np.where(pane, light, 0.1)


def lettering(rng: np.random.Generator) -> Field:
    y, x = grid()
    strokes = rng.uniform(size=(32, 64)) < 0.55
    return np.where((np.floor(y * 32) % 4 < 2) & strokes[(y * 32).astype(int), (x * 64).astype(int)], 1.0, 0.0)


@cache
def pyramid() -> Tensor:
    """All levels of all textures in one flat tensor, level by level, each [textures, size, size]."""
    rng = np.random.default_rng(20)
    y, x = grid()
    fields = [noise(rng, s) for s in (0.3, 0.8, 1.2, 1.6, 2.0, 2.6)]
    fields += [noise(rng, s, k) for s, k in ((1.2, 6.0), (1.6, 12.0), (1.2, 0.15))]
    fields += [(noise(rng, s) > 0.5).astype(float) for s in (1.4, 1.8, 2.2)]
    fields += [((np.floor(x * n) + np.floor(y * n)) % 2) for n in (4, 8)]
    fields += [((x * n) % 1 < 0.5).astype(float) for n in (4, 12)]
    fields += [0.5 + 0.5 * np.sin(2 * np.pi * 6 * x), (np.hypot((x * 6) % 1 - 0.5, (y * 6) % 1 - 0.5) < 0.3) * 1.0]
    fields += [bricks(rng), windows(rng), lettering(rng)]
    fields += [rectangles(rng, n) for n in (6, 14, 40)]
    fields += [cells(rng, 24, edges=True), cells(rng, 60, edges=True), cells(rng, 40, edges=False), np.zeros_like(x)]
    level = torch.from_numpy(np.stack(fields)).float()
    levels = [level]
    for _ in range(LEVELS - 1):
        level = torch.nn.functional.avg_pool2d(level[:, None], 2)[:, 0]
        levels.append(level)
    return torch.cat([v.reshape(-1) for v in levels])


def count() -> int:
    """How many textures there are."""
    return len(pyramid()) // sum((TEXELS >> k) ** 2 for k in range(LEVELS))


@cache
def on_device(device: torch.device) -> tuple[Tensor, Tensor]:
    """The pyramid on a device, and where each of its levels begins."""
    textures = count()
    sizes = torch.tensor([textures * (TEXELS >> k) ** 2 for k in range(LEVELS)], device=device)
    return pyramid().to(device), sizes.cumsum(0) - sizes


def sample(texture: Tensor, u: Tensor, v: Tensor, footprint: Tensor) -> Tensor:
    """Bilinear value in 0 … 1 of textures [n] at u, v [n] tiles, from the level that fits the footprint in tiles."""
    table, starts = on_device(u.device)
    level = (footprint * TEXELS).clamp_min(1).log2().round().clamp(0, LEVELS - 1).long()
    size = TEXELS >> level
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
