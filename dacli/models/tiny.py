"""The bundled model: MobileNetV2 1.4 as its encoder, attention over the whole picture, a decoder with sharp edges.

The encoder is that of Sandler et al. 2018 (arXiv 1801.04381) with width 1.4, its batch norms folded into the
convolutions, so that weights pretrained on ImageNet can be loaded.
"""

from collections.abc import Mapping, Sequence
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

STEM_WIDTH = 48
ENCODER_ROWS = (
    (24, 1, 1, 1),
    (32, 2, 2, 6),
    (48, 3, 2, 6),
    (88, 4, 2, 6),
    (136, 3, 1, 6),
    (224, 3, 2, 6),
    (448, 1, 1, 6),
)  # channels, blocks, stride of the first block, expansion: table 2 of the paper, times 1.4
CONTEXT_WIDTH, LAYERS, HEADS = 256, 3, 4
DECODER_WIDTHS = (24, 48, 96, 128)  # at strides 2, 4, 8, 16
HEAD_WIDTH = 32
NATIVE_SIZE = 288
STRIDE = 32  # of the coarsest map: sides are multiples of it
PIXEL_MEAN = PIXEL_STD = (0.5, 0.5, 0.5)  # the encoder takes RGB in -1 … 1


class SameConvolution(nn.Module):
    """A convolution with the padding SAME of TensorFlow: at stride 2, on even sides, one row and column at the end."""

    def __init__(self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C', H/stride, W/stride] for [B, C, H, W]."""
        if self.conv.stride[0] == 1:
            return cast(Tensor, self.conv(x))
        if self.training and self.conv.groups > 1 and x.device.type == "cpu":
            # On a CPU the backward pass of torch's depthwise convolution is slower at stride 2 than at stride 1.
            return F.conv2d(x, self.conv.weight, self.conv.bias, padding=1, groups=self.conv.groups)[:, :, 1::2, 1::2]
        return cast(Tensor, self.conv(F.pad(x, (0, 1, 0, 1))))


class InvertedResidual(nn.Module):
    """Expansion by 1×1, depthwise 3×3, projection by 1×1 without activation; a shortcut where the shapes allow it."""

    def __init__(self, inp: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inp * expansion
        self.expand = SameConvolution(inp, wide) if expansion > 1 else None
        self.depthwise = SameConvolution(wide, wide, 3, stride, groups=wide)
        self.project = SameConvolution(wide, out)
        self.has_shortcut = stride == 1 and inp == out

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C', H/stride, W/stride] for [B, C, H, W]."""
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.has_shortcut else cast(Tensor, y)


class MobileNetV2(nn.Module):
    """The encoder: MobileNetV2 without its classifier, under the names of the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConvolution(3, STEM_WIDTH, 3, 2)
        self.blocks = nn.ModuleList()
        self.tap_widths: list[int] = []  # of the input of each block with stride 2, and of the end
        width = STEM_WIDTH
        for channels, repeats, stride, expansion in ENCODER_ROWS:
            if stride == 2:
                self.tap_widths.append(width)
            for number in range(repeats):
                self.blocks.append(InvertedResidual(width, channels, stride if number == 0 else 1, expansion))
                width = channels
        self.tap_widths.append(width)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps at strides 2, 4, 8, 16 and 32 of pictures [B, 3, H, W] in -1 … 1."""
        x = F.relu6(self.stem(x))
        maps = []
        for block in self.blocks:
            if cast(InvertedResidual, block).depthwise.conv.stride[0] == 2:
                maps.append(x)
            x = block(x)
        return [*maps, x]


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


class GlobalContext(nn.Module):
    """Attention over all positions of the coarsest map, whose places a depthwise convolution marks.

    The convolution tells places apart by the border of zeros around the map (Chu et al. 2023, arXiv 2102.10882).
    """

    def __init__(self, inp: int) -> None:
        super().__init__()
        self.reduce = projection(inp, CONTEXT_WIDTH)
        self.position = nn.Conv2d(CONTEXT_WIDTH, CONTEXT_WIDTH, 3, 1, 1, groups=CONTEXT_WIDTH)
        self.layers = nn.ModuleList(TokenAttention(CONTEXT_WIDTH, HEADS) for _ in range(LAYERS))

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, CONTEXT_WIDTH, h, w] for [B, C, h, w]."""
        x = self.reduce(x)
        x = x + self.position(x)
        tokens = x.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.transpose(1, 2).reshape(x.shape)


class FusionBlock(nn.Module):
    """One step up of the decoder: the coarse map at twice its size plus the encoder's map, then a residual block."""

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.down = projection(coarse, out)
        self.lateral = projection(fine, out)
        self.conv1, self.norm1 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.norm2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return [B, C', H, W] for maps [B, C, H/2, W/2] and [B, C″, H, W]."""
        up = F.interpolate(self.down(coarse), scale_factor=2, mode="bilinear", align_corners=False)
        x = F.relu(up + self.lateral(fine))
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


class DepthHead(nn.Module):
    """Depth at the size of the picture from a map at half of it, with edges that a bilinear resize would blur.

    Each pixel is a weighted mean of the 3×3 coarse depths around it, by weights that the network predicts: the convex
    upsampling of RAFT (Teed and Deng 2020, arXiv 2003.12039, section 3.3).
    """

    def __init__(self, inp: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, HEAD_WIDTH, 3, 1, 1)
        self.weights = nn.Conv2d(HEAD_WIDTH, 9 * 4, 1)
        self.depth = nn.Conv2d(HEAD_WIDTH, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, 2 H, 2 W] for [B, C, H, W]."""
        b, _, h, w = x.shape
        x = F.relu(self.conv(x))
        padded = F.pad(self.depth(x), (1, 1, 1, 1), mode="replicate")
        around = torch.stack([padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)], 1)
        weights = self.weights(x).view(b, 9, 4, h, w).softmax(1)
        return F.pixel_shuffle((weights * around).sum(1), 2)[:, 0]


class Tiny(DepthModel):
    """The bundled network for relative inverse depth, or metres up to `max_depth`."""

    def __init__(self, max_depth: float | None = None) -> None:
        super().__init__()
        self.max_depth = max_depth
        self.encoder = MobileNetV2()
        widths = self.encoder.tap_widths
        self.context = GlobalContext(widths[4])
        coarser = (*DECODER_WIDTHS[1:], CONTEXT_WIDTH)
        self.fuse = nn.ModuleList(FusionBlock(coarser[i], widths[i], DECODER_WIDTHS[i]) for i in range(4))
        self.head = DepthHead(DECODER_WIDTHS[0])

    @property
    def spec(self) -> ModelSpec:
        """Return what the rest of dacli has to know of the network.

        `bytes_per_pixel` was measured at 1024 and 1536 px: 373 in torch, 412 in OpenVINO.
        """
        return ModelSpec(
            family="tiny",
            name="tiny",
            quantity="inverse depth" if self.max_depth is None else "metres",
            max_depth=self.max_depth,
            native_size=NATIVE_SIZE,
            multiple=STRIDE,
            largest_pass=NATIVE_SIZE,
            mean=PIXEL_MEAN,
            std=PIXEL_STD,
            precise_layers="head",
            heads=HEADS,
            bytes_per_pixel=412,
        )

    def feature_encoder(self) -> nn.Module:
        """Return the whole network: its tokens come after the encoder."""
        return self

    def encoder_blocks(self) -> Sequence[nn.Module]:
        """Return the inverted residual blocks."""
        return list(self.encoder.blocks)

    def token_layer(self) -> nn.Module:
        """Return the last attention layer."""
        return self.context.layers[-1]

    def initialize_encoder(self) -> None:
        """Draw weights that keep the variance through a network without norms (He et al. 2015, arXiv 1502.01852)."""
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of MobileNetV2 1.4; raise RuntimeError for those of another encoder."""
        self.encoder.load_state_dict({key: value.float() for key, value in state.items()})

    def forward(self, images: Tensor) -> Tensor:
        """Return depth [B, H, W] of normalised pictures [B, 3, H, W].

        Inverse depth > 0, near = large, of no fixed scale; with `max_depth` metres from 0 to that.
        """
        maps = self.encoder(images)
        y = self.context(maps[4])
        for i in (3, 2, 1, 0):
            y = self.fuse[i](y, maps[i])
        raw = self.head(y.to(self.head.depth.weight.dtype))
        return F.softplus(raw) if self.max_depth is None else raw.sigmoid() * self.max_depth


def projection(inp: int, out: int) -> nn.Sequential:
    """Return a 1×1 convolution with batch normalisation."""
    return nn.Sequential(nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out))


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
    with torch.device("meta"):  # without drawing random weights first
        network = Tiny(None if max_depth is None else float(max_depth))
    expected = {key: value.shape for key, value in network.state_dict().items()}
    counters = {key: torch.zeros((), dtype=torch.int64) for key in expected if key.endswith("num_batches_tracked")}
    if {key: value.shape for key, value in (state | counters).items()} != expected:
        raise DacliError(f"{path.name} does not hold the network tiny", "leave --encoder out, or give another file")
    network.load_state_dict(state | counters, assign=True)
    network.requires_grad_()
    return network.eval()


def encode_weights(network: nn.Module, metadata: dict[str, str]) -> bytes:
    """Return the safetensors file of a trained network: weights in float16, batch statistics in float32, metadata.

    Variances of deep layers exceed 65504, the largest float16; an infinite one would set its channel to zero.
    """
    weights = {key: value.half().contiguous() for key, value in network.named_parameters()}
    statistics = {key: value for key, value in network.named_buffers() if value.is_floating_point()}
    return save(weights | statistics, metadata)
