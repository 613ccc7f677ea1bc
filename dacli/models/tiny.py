"""The bundled model: a compact network for relative inverse depth that learns from scratch in hours."""

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.models.spec import DepthModel, ModelSpec

BUNDLED_WEIGHTS = Path(__file__).parents[1] / "assets" / "tiny.safetensors"

STAGE_WIDTHS = (24, 48, 96, 160, 256)  # at strides 2, 4, 8, 16, 32
STAGE_DEPTHS = (2, 2, 4, 2)
DECODER_WIDTHS = (16, 32, 48, 64, 96)
LAYERS, HEADS = 4, 8
NATIVE_SIZE = 256
STRIDE = 32  # of the coarsest map: sides are multiples of it


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut, each followed by batch normalisation."""

    def __init__(self, inp: int, out: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inp, out, 3, stride, dilation, dilation, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, dilation, dilation, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Identity() if inp == out and stride == 1 else projection(inp, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C', H/stride, W/stride] for [B, C, H, W]."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def projection(inp: int, out: int, stride: int = 1) -> nn.Sequential:
    """Return a 1×1 convolution with batch normalisation."""
    return nn.Sequential(nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class TokenAttention(nn.Module):
    """One pre-norm transformer layer over the tokens of the coarsest map."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the tokens [B, N, D] after attention and feed-forward."""
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)
        x = x + self.proj(mixed)
        return cast(Tensor, x + self.fc2(F.gelu(self.fc1(self.norm2(x)))))


class Tiny(DepthModel):
    """Convolutional encoder, attention over the coarsest map for the layout of the whole scene, top-down decoder."""

    def __init__(self, max_depth: float | None = None) -> None:
        super().__init__()
        self.max_depth = max_depth
        w, f = STAGE_WIDTHS, DECODER_WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, w[0], 3, 2, 1, bias=False), nn.BatchNorm2d(w[0]), nn.ReLU())
        self.stages = nn.ModuleList(encoder_stage(w[i], w[i + 1], STAGE_DEPTHS[i]) for i in range(4))
        self.attention = nn.ModuleList(TokenAttention(w[4], HEADS) for _ in range(LAYERS))
        self.lateral = nn.ModuleList(projection(w[i], f[i]) for i in range(5))
        self.down = nn.ModuleList(projection(f[i + 1], f[i]) for i in range(4))
        self.fuse = nn.ModuleList(ResidualBlock(f[i], f[i]) for i in range(4))
        self.out = nn.Sequential(nn.Conv2d(f[0], f[0], 3, 1, 1), nn.ReLU(), nn.Conv2d(f[0], 1, 1))

    @property
    def spec(self) -> ModelSpec:
        """Return what the rest of dacli has to know of the network.

        `largest_pass` is its own size: at 320 the share δ1 of one pass is 0.04 less than that of tiles.
        `bytes_per_pixel` was measured at 1024.
        """
        return ModelSpec(
            family="tiny",
            name="tiny",
            quantity="inverse depth" if self.max_depth is None else "metres",
            max_depth=self.max_depth,
            native_size=NATIVE_SIZE,
            multiple=STRIDE,
            largest_pass=NATIVE_SIZE,
            precise_layers="out",
            heads=HEADS,
            bytes_per_pixel=218,
        )

    def feature_encoder(self) -> nn.Module:
        """Return the whole network: its encoder is not apart."""
        return self

    def token_layer(self) -> nn.Module:
        """Return the last attention layer."""
        return self.attention[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return depth [B, H, W] of normalised pictures [B, 3, H, W].

        Inverse depth > 0, near = large, of no fixed scale; with `max_depth` metres from 0 to that.
        """
        maps = [self.stem(x)]
        for layer in self.stages:
            maps.append(layer(maps[-1]))
        y = self.lateral[4](self.attend(maps[4]))
        for i in (3, 2, 1, 0):
            y = F.interpolate(self.down[i](y), size=maps[i].shape[-2:], mode="bilinear", align_corners=False)
            y = self.fuse[i](y + self.lateral[i](maps[i]))
        raw = self.out(y.to(self.out[0].weight.dtype))
        full = F.interpolate(raw, size=x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        return F.softplus(full) if self.max_depth is None else full.sigmoid() * self.max_depth

    def attend(self, x: Tensor) -> Tensor:
        """Return the coarsest map [B, C, h, w] after attention over all its positions."""
        tokens = x.flatten(2).transpose(1, 2) + position_code(x)
        for layer in self.attention:
            tokens = layer(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)


def encoder_stage(inp: int, out: int, depth: int) -> nn.Sequential:
    """Return `depth` residual blocks that halve the sides; those of the coarsest stage are dilated."""
    rest = [ResidualBlock(out, out, dilation=2 if out == STAGE_WIDTHS[4] else 1) for _ in range(depth - 1)]
    return nn.Sequential(ResidualBlock(inp, out, 2), *rest)


def position_code(x: Tensor) -> Tensor:
    """Return sines and cosines [1, h·w, C] of the relative row and column of each position of maps [B, C, h, w]."""
    c, h, w = x.shape[1:]
    rows, columns = (torch.linspace(-1, 1, n, device=x.device) for n in (h, w))
    y, x_ = torch.meshgrid(rows, columns, indexing="ij")
    angle = torch.stack([y, x_]).reshape(2, -1, 1) * torch.arange(1, c // 4 + 1, device=x.device)
    code = torch.cat([angle.sin(), angle.cos()])
    return (0.3 * code.permute(1, 0, 2).reshape(1, h * w, c)).to(x.dtype)


def load_tiny(path: Path = BUNDLED_WEIGHTS) -> Tiny:
    """Return the network of a file that dacli train wrote, in float32; raise DacliError for any other file."""
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118 - it is not a mapping
            max_depth = (file.metadata() or {}).get("max_depth")
    except (OSError, SafetensorError) as error:
        raise DacliError(
            f"{path} cannot be read as weights of tiny ({error})", "give a file that dacli train wrote"
        ) from error
    network = Tiny(None if max_depth is None else float(max_depth))
    expected = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    if {key: value.shape for key, value in state.items()} != {key: value.shape for key, value in expected.items()}:
        raise DacliError(f"{path.name} does not hold the network tiny", "leave --encoder out, or give another file")
    network.load_state_dict(state, strict=False)
    return network.eval()


def encode_weights(network: nn.Module, metadata: dict[str, str]) -> bytes:
    """Return the safetensors file of a trained network: weights in float16, batch statistics in float32, metadata.

    Variances of deep layers exceed 65504, the largest float16; an infinite one would set its channel to zero.
    """
    weights = {key: value.half().contiguous() for key, value in network.named_parameters()}
    statistics = {key: value for key, value in network.named_buffers() if value.is_floating_point()}
    return save(weights | statistics, metadata)
