"""Data-parallel training: several processes, started by torchrun, train one network, each on its part of a batch."""

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
    """The processes that train together: their number (world size), the rank of this one, and its device."""

    device: str = "cpu"
    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Return whether this is the process that writes files and reports."""
        return self.rank == 0


@contextmanager
def join_world(device: str) -> Iterator[TrainingWorld]:
    """Yield the world that the environment of torchrun describes; without it, that of a single process.

    The backend is NCCL on CUDA devices and otherwise Gloo.
    """
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
    """Raise DacliError if a batch cannot be split into equal parts for the processes."""
    if batch % world.count:
        raise DacliError(
            f"a batch of {batch} has no equal parts for {world.count} processes", "give another --batch or number"
        )


def average_over_world(tensors: Sequence[Tensor], world: TrainingWorld) -> None:
    """Replace each tensor by its mean over all processes, in one all-reduce."""
    if world.count == 1 or not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= world.count
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def agree_on_step(step: int, world: TrainingWorld) -> int:
    """Return the step of the main process, in all processes: their clocks differ."""
    if world.count == 1:
        return step
    agreed = torch.tensor([step], device=world.device)
    dist.broadcast(agreed, 0)
    return int(agreed)


class SumOverWorld(torch.autograd.Function):
    """The sum over all processes, with gradients."""

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
    """Batch normalisation by the statistics of the whole batch of all processes; that of torch needs GPUs."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised [B, C, H, W]; in training the running statistics are updated as by BatchNorm2d."""
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = values.numel() // self.num_features * dist.get_world_size()
        mean = sum_over_world(values.sum((0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = sum_over_world(centred.square().sum((0, 2, 3))) / count
        self.update_statistics(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        normed = centred * scale[:, None, None] + self.bias[:, None, None]
        return normed.to(x.dtype)

    def update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running mean and variance [C]."""
        share = self.momentum or 0.0
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            if running is not None:
                running.lerp_(value, share)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def sum_over_world(values: Tensor) -> Tensor:
    """Return the sum over all processes, with gradients."""
    total: Tensor = SumOverWorld.apply(values)  # type: ignore[no-untyped-call]
    return total


def synchronize_batch_norms(model: nn.Module) -> None:
    """Replace every batch normalisation of the network by one that takes the statistics of all processes."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                synced = SynchronizedBatchNorm(child.num_features, child.eps, child.momentum).to(child.weight)
                synced.load_state_dict(child.state_dict())
                setattr(module, name, synced)
