"""One forward pass of a network on a device."""

import copy

import torch
from torch import Tensor, nn

from dacli.device import Plan, cores


class Engine:
    """A network laid out for a plan: half precision inside, its last convolutions in float32.

    Half precision keeps 8 or 11 bits. In the last layers those would be all the depth there is, in steps that a 16-bit
    picture shows; the layers before them may round, because the last ones average over many channels and places.
    """

    def __init__(self, network: nn.Module, plan: Plan) -> None:
        self.plan = plan
        self.network = lay_out(network, plan.device, plan.dtype)
        if plan.device == "cpu":
            torch.set_num_threads(cores())

    @torch.inference_mode()
    def forward(self, pictures: Tensor) -> Tensor:
        """Depth [B, H, W] in float32 on the CPU of normalised pictures [B, 3, H, W]."""
        x = pictures.to(self.plan.device, self.plan.dtype, memory_format=torch.channels_last)
        depth: Tensor = self.network(x)
        return depth.float().cpu()

    def in_float32(self) -> "Engine":
        """A copy of this engine that computes in float32, for results that overflowed."""
        plan = Plan(self.plan.device, self.plan.engine, "fp32", self.plan.half_weights, self.plan.reason)
        return Engine(copy.deepcopy(self.network), plan)


def lay_out(network: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    network = network.eval().requires_grad_(requires_grad=False).to(device, dtype)
    network.get_submodule(str(network.last_layers)).float()
    channels_last(network)
    return network


def channels_last(network: nn.Module) -> None:
    """Lay the weights of all convolutions out channels last, which their fast kernels expect."""
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
