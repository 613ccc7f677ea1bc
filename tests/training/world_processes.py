"""What each process of test_parallel does: python -m tests.training.world_processes FOLDER."""

import sys
from pathlib import Path

import torch
from torch import nn

from dacli.models.tiny import Tiny
from dacli.scenes.kinds import make_scene
from dacli.training.data import BatchStream, SceneSource, TrainingStage, load_batches
from dacli.training.parallel import (
    SynchronizedBatchNorm,
    TrainingWorld,
    agree_on_step,
    join_world,
    synchronize_batch_norms,
)
from dacli.training.recipes import Schedule, TrainingPlan, metric_objective
from dacli.training.state import create_training_state
from dacli.training.step import training_step


def train_two_steps(world: TrainingWorld, folder: Path) -> None:
    """Train for two steps; save the losses, the gradients and statistics of the first, and the state of the model."""
    stage = TrainingStage(steps=2, size=32, batch=4, fresh=2, canvas=32)
    torch.manual_seed(3)
    model = Tiny(20.0).double()
    if world.count > 1:
        synchronize_batch_norms(model)
    state = create_training_state(model)
    state.model.train()
    schedule, objective = Schedule(((1e-3, (stage,)),)), metric_objective("indoor")
    plan = TrainingPlan(schedule, objective, SceneSource(5, make_scene), 5, dtype=torch.float32)
    stream = BatchStream(plan.batch_settings(stage), 0, 0, 2, rank=world.rank, ranks=world.count)
    first, second = ((picture.double(), truth) for picture, truth in load_batches(stream, 0))
    losses = [training_step(state, plan, first, world, learning_rate=1e-3)]
    found = {name: p.grad.clone() for name, p in state.model.named_parameters() if p.grad is not None}
    found |= {name: value.clone() for name, value in state.model.named_buffers()}
    losses.append(training_step(state, plan, second, world, learning_rate=1e-3))
    torch.save({"losses": losses, "first": found, "state": state.model.state_dict()}, folder / f"steps{world.rank}")


def agree_on_steps(world: TrainingWorld, folder: Path) -> None:
    """Save the step that the processes agree on if each proposes another one."""
    torch.save(agree_on_step(17 + 5 * world.rank, world), folder / f"agreed{world.rank}")


def batch_norm_inputs() -> tuple[torch.Tensor, torch.Tensor, nn.BatchNorm2d]:
    """Return a batch [8, 3, 5, 7], the gradient of its output, and a batch normalisation of random weights."""
    torch.manual_seed(1)
    x = torch.randn(8, 3, 5, 7) * 3 + torch.arange(8).view(8, 1, 1, 1)
    gradient = torch.randn(8, 3, 5, 7)
    layer = nn.BatchNorm2d(3)
    nn.init.uniform_(layer.weight)
    return x, gradient, layer


def normalise_part(world: TrainingWorld, folder: Path) -> None:
    """Normalise every other sample of a batch; save the output, the gradient of the input, and the statistics."""
    x, gradient, layer = batch_norm_inputs()
    model = nn.Sequential(nn.Sequential(layer))
    synchronize_batch_norms(model)
    assert type(model.get_submodule("0.0")) is SynchronizedBatchNorm
    part = x[world.rank :: world.count].requires_grad_()
    y = model(part)
    (y * gradient[world.rank :: world.count]).sum().backward()
    torch.save({"y": y.detach(), "grad": part.grad, "state": model.state_dict()}, folder / f"norm{world.rank}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_world("cpu") as joined:
        train_two_steps(joined, Path(sys.argv[1]))
        normalise_part(joined, Path(sys.argv[1]))
        agree_on_steps(joined, Path(sys.argv[1]))
