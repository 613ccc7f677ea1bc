"""One forward pass of a network on a device."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from dacli.errors import MemoryShortError
from dacli.inference.device import ExecutionPlan
from dacli.models.spec import DepthModel

OUT_OF_MEMORY_TEXTS = (  # of torch and OpenVINO
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "Failed to allocate",
    "bad_alloc",
)


class TorchEngine:
    """A network on a device, for one thread: in the plan's precision, its last layers and batch norms in float32.

    Half precision keeps 8 or 11 bits. In the last layers these would be the bits of the depth itself, whose steps are
    visible in a 16-bit picture; earlier layers may round, because the last ones average over many channels and pixels.
    Batch norms stay in float32 because variances of deep layers exceed float16.
    """

    def __init__(self, network: DepthModel, plan: ExecutionPlan) -> None:
        self.plan, self.streams = plan, 1
        self.network = prepare_network(network, plan.device, plan.dtype)

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        """Return depth [B, H, W] in float32 on the CPU of normalised pictures [B, 3, H, W].

        Raises MemoryShortError if the device's memory does not suffice.
        """
        with name_memory_errors(pictures, self.plan):
            x = pictures.to(self.plan.device, self.plan.dtype, memory_format=torch.channels_last)
            return self.network.predict(x).depth.float().cpu()

    def free(self) -> None:
        """Release the memory that passes on a CUDA GPU have left; on a CPU none is kept."""
        if self.plan.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def in_float32(self) -> "TorchEngine":
        """Return a copy with the same rounded weights that computes in float32: for pictures that overflowed."""
        return TorchEngine(copy.deepcopy(self.network), replace(self.plan, precision="fp32"))


@contextmanager
def name_memory_errors(pictures: Tensor, plan: ExecutionPlan) -> Iterator[None]:
    """Raise MemoryShortError, with a hint, for every error by which engines report that memory ran out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in OUT_OF_MEMORY_TEXTS):
            raise
        height, width = pictures.shape[2:]
        or_half = "" if plan.precision != "fp32" else " or --precision bf16" if plan.device == "cpu" else " or --fp16"
        message = f"not enough memory on {plan.device} for {height} × {width} pixels"
        raise MemoryShortError(message, f"try a smaller --size{or_half}", "memory") from error


def prepare_network(network: DepthModel, device: str, dtype: torch.dtype) -> DepthModel:
    """Return the network itself, moved to a device and a dtype, except for layers that stay in float32."""
    precise = set(network.get_submodule(network.spec.precise_layers).modules())
    for module in network.eval().requires_grad_(requires_grad=False).modules():
        kept = module in precise or isinstance(module, nn.BatchNorm2d)
        for value in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if value.is_floating_point():
                value.data = value.to(torch.float32 if kept else dtype)
    use_channels_last(network)
    return network.to(device)


def use_channels_last(network: nn.Module) -> None:
    """Store the weights of all convolutions channels last, the layout of their fast kernels."""
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
