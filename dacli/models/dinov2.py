"""The DINOv2 vision transformer (Oquab et al. 2023) as the encoder of Depth Anything."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 14  # pixels on each side of a patch
TRAINED_GRID = 37  # patches on each side of the position table: 518 pixels
CACHED_GRIDS = 8  # resized position tables kept at inference


class DINOv2(nn.Module):
    """The ViT/14 image encoder of DINOv2 (Oquab et al. 2023) without register tokens.

    `taps` are the 0-based blocks whose outputs the decoder reads. `swiglu` is the hidden width of the gated
    feed-forward layers (vitg); None means the plain MLP, four times as wide as `dim`. Parameters have the names of the
    published checkpoints.
    """

    def __init__(self, dim: int, blocks: int, heads: int, taps: Sequence[int], swiglu: int | None = None) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED_GRID * TRAINED_GRID, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of the pretraining: in every checkpoint, read by nothing
        self.patch_embed = PatchEmbed(dim)
        self.blocks = nn.ModuleList(Block(dim, heads, swiglu) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._resized: dict[tuple[object, ...], Tensor] = {}

    def forward(self, images: Tensor, position: Tensor | None = None) -> list[Tensor]:
        """Return the final norm of every tapped block as maps [B, D, h, w], the class token dropped.

        `images` is [B, 3, 14 h, 14 w]. `position` is `position_embedding(h, w)`; a caller that traces this module gives
        it as an input, so that the trace serves every grid.
        """
        patches = self.patch_embed(images)  # [B, D, h, w]
        if position is None:
            position = self.position_embedding(*patches.shape[-2:])
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
        tokens = tokens + position.to(tokens.dtype)  # [B, 1 + h w, D]
        maps = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in self.taps:
                maps.append(self.norm(tokens[:, 1:]).transpose(1, 2).reshape(patches.shape))
        return maps

    def position_embedding(self, height: int, width: int) -> Tensor:
        """Return the position embedding [1, 1 + height · width, D] in float32 for a grid of height × width patches.

        At inference the tables of the last few grids are kept; new weights, devices or dtypes make new tables.
        """
        if torch.is_grad_enabled() and self.pos_embed.requires_grad:
            return self._resize(height, width)
        table = self.pos_embed
        version = 0 if table.is_inference() else table._version
        key = (height, width, table.device, table.dtype, table.data_ptr(), version)
        if key not in self._resized:
            if len(self._resized) >= CACHED_GRIDS:
                self._resized.clear()
            self._resized[key] = self._resize(height, width)
        return self._resized[key]

    def traced_position_embedding(self, images: Tensor) -> Tensor:
        """Return position_embedding() for pictures [B, 3, H, W] by steps that a trace records for every size."""
        height, width = (torch._shape_as_tensor(images)[axis] // PATCH for axis in (2, 3))
        resized = (height != TRAINED_GRID) | (width != TRAINED_GRID)
        offset = 0.1 * resized  # as in _resize()
        table = self.pos_embed.float()
        grid = table[0, 1:].transpose(0, 1).reshape(1, -1, TRAINED_GRID, TRAINED_GRID)
        grid = F.pad(grid, (2, 2, 2, 2), mode="replicate")[0]  # [D, 41, 41]
        rows, columns = cubic_weights(height, height + offset), cubic_weights(width, width + offset)
        grid = rows @ grid @ columns.transpose(0, 1)  # [D, height, width]
        return torch.cat([table[:, :1], grid.flatten(1).transpose(0, 1)[None]], dim=1)

    def _resize(self, height: int, width: int) -> Tensor:
        table = self.pos_embed.float()
        if (height, width) == (TRAINED_GRID, TRAINED_GRID):
            return table
        grid = table[:, 1:].mT.reshape(1, -1, TRAINED_GRID, TRAINED_GRID)  # [1, D, 37, 37]
        # The published weights were trained with the 0.1: a scale factor is also the sampling step, so it moves values.
        scale = ((height + 0.1) / TRAINED_GRID, (width + 0.1) / TRAINED_GRID)
        if grid.device.type == "mps":  # some versions of torch lack this resize there
            grid = grid.cpu()
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)  # [1, D, height, width]
        return torch.cat([table[:, :1], grid.flatten(2).mT.to(table.device)], dim=1)


def cubic_weights(length: Tensor, sampled: Tensor) -> Tensor:
    """Return weights [length, 41] of the table's 37 rows, two more at each end, for a resize to `length` rows.

    Both are integers in tensors, so that a trace records the steps for every length. The filter is that of
    F.interpolate with mode="bicubic", Keys 1981 with a = -0.75; `sampled` times its step is the table's length.
    """
    rows: Tensor = torch.arange(length)  # type: ignore[call-overload]
    positions = (rows + 0.5) * (TRAINED_GRID / sampled) - 0.5  # [length], in rows of the table
    distance = (torch.arange(-2, TRAINED_GRID + 2) - positions[:, None]).abs()
    near = (1.25 * distance - 2.25) * distance * distance + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, torch.zeros(())))


class PatchEmbed(nn.Module):
    """Cuts images [B, 3, 14 h, 14 w] into patches and projects them to [B, D, h, w]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=PATCH, stride=PATCH)

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector per patch, [B, D, h, w]."""
        patches: Tensor = self.proj(images)
        return patches


class Block(nn.Module):
    """A pre-norm transformer block with layer scale on both branches, [B, N, D] to [B, N, D]."""

    def __init__(self, dim: int, heads: int, swiglu: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = DINOv2Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = SwiGLU(dim, swiglu) if swiglu else MLP(dim, 4 * dim)
        self.ls2 = LayerScale(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens after attention and feed-forward, [B, N, D]."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        result: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return result


class DINOv2Attention(nn.Module):
    """Multi-head self-attention over all tokens, [B, N, D] to [B, N, D]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the attended tokens, [B, N, D]."""
        qkv = self.qkv(tokens).unflatten(2, (3, self.heads, -1))  # [B, N, 3, heads, D / heads]
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each [B, heads, N, D / heads]
        attended = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return result


class MLP(nn.Module):
    """Two linear layers with an exact GELU between them, [B, N, D] to [B, N, D]."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the transformed tokens, [B, N, D]."""
        result: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return result


class SwiGLU(nn.Module):
    """A feed-forward layer gated by SiLU (Shazeer 2020), [B, N, D] to [B, N, D]."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the transformed tokens, [B, N, D]."""
        gate, value = self.w12(tokens).chunk(2, dim=-1)
        result: Tensor = self.w3(F.silu(gate) * value)
        return result


class LayerScale(nn.Module):
    """Multiplies every channel by a learned factor (Touvron et al. 2021)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scaled tokens, same shape."""
        return tokens * self.gamma
