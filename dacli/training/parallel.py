"""Several processes that train one network, as torchrun starts them: each on its part of every batch."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dacli.errors import DacliError


@dataclass(frozen=True)
class TrainingWorld:
    """How many processes train together, which of them this is, and its device."""

    device: str = "cpu"
    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Return whether this is the process that writes and talks."""
        return self.rank == 0


@contextmanager
def join_world(device: str) -> Iterator[TrainingWorld]:
    """Yield the world that torchrun's environment names, nccl on CUDA devices and else gloo; one process without it."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield TrainingWorld(device)
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield TrainingWorld(device, dist.get_rank(), count)
    finally:
        dist.destroy_process_group()


def check_batch_split(batch: int, world: TrainingWorld) -> None:
    """Raise DacliError if the processes cannot have equal parts of a batch."""
    if batch % world.count:
        raise DacliError(
            f"a batch of {batch} has no equal parts for {world.count} processes", "give another --batch or number"
        )


def average_over_world(tensors: Sequence[Tensor], world: TrainingWorld) -> None:
    """Put the mean over all processes in place of each tensor, in one exchange."""
    if world.count == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world.count
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


class SumOverWorld(torch.autograd.Function):
    """The sum over all processes, which gradients go back through."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the statistics of all processes' parts; torch has it for GPUs only."""

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, C, H, W] to the same; in training the running statistics move as in BatchNorm2d."""
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = values.numel() // self.num_features * dist.get_world_size()
        mean = sum_over_world(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = sum_over_world(centred.square().sum((0, 2, 3))) / count
        self.note(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        normed = centred * scale[:, None, None] + self.bias[:, None, None]
        return normed.to(x.dtype)

    def note(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics [C]."""
        share = self.momentum or 0.0
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(value, share)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def sum_over_world(values: Tensor) -> Tensor:
    """Return the sum over all processes, which gradients go back through."""
    found: Tensor = SumOverWorld.apply(values)  # type: ignore[no-untyped-call]
    return found


def synchronize_batch_norms(model: nn.Module) -> None:
    """Let every batch normalisation of the network take the statistics of all processes."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                synced = SynchronizedBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
                synced.load_state_dict(child.state_dict())
                setattr(module, name, synced)
