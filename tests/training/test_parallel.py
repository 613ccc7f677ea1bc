"""Two processes, as torchrun starts them, against one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dacli.errors import DacliError
from dacli.training import parallel
from dacli.training.parallel import TrainingWorld

STEPS = """
import sys, torch
from dacli.models.tiny import Tiny
from dacli.scenes.layouts import make_scene
from dacli.training.data import BatchStream, SceneSource, TrainingStage, load_batches
from dacli.training.loop import TrainingPlan, create_training_state, training_step
from dacli.training.parallel import join_world, synchronize_batch_norms
from dacli.training.recipes import Schedule, metric_objective

torch.set_num_threads(1)
stage = TrainingStage(steps=2, size=32, batch=4, fresh=2, canvas=32)
with join_world("cpu") as world:
    torch.manual_seed(3)
    model = Tiny(20.0).double()
    if world.count > 1:
        synchronize_batch_norms(model)
    state = create_training_state(model)
    state.model.train()
    schedule, objective = Schedule(((1e-3, (stage,)),)), metric_objective("indoor")
    plan = TrainingPlan(schedule, objective, SceneSource(5, make_scene), 5, dtype=torch.float32)
    stream = BatchStream(plan.batch_settings(stage), 0, 0, 2, world.rank, world.count)
    first, second = ((picture.double(), truth) for picture, truth in load_batches(stream, 0))
    losses = [training_step(state, plan, first, world, learning_rate=1e-3)]
    found = {name: p.grad.clone() for name, p in state.model.named_parameters() if p.grad is not None}
    found |= {name: value.clone() for name, value in state.model.named_buffers()}
    losses.append(training_step(state, plan, second, world, learning_rate=1e-3))
    result = {"losses": losses, "first": found, "state": state.model.state_dict()}
    torch.save(result, f"{sys.argv[1]}{world.rank}")
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def run_processes(count: int, script: str, *arguments: str) -> None:
    """Run a script in that many processes, with the environment that torchrun sets."""
    port = str(free_port())
    running = []
    for rank in range(count):
        world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": port}
        environment = {**os.environ, **world, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment))
    assert [process.wait(120) for process in running] == [0] * count


def test_two_processes_with_half_batches_equal_one_with_the_whole(tmp_path: Path) -> None:
    """In float64 and metres: in float32, noise of 1e-7 changes the first gradient of the relative loss by a quarter."""
    run_processes(1, STEPS, str(tmp_path / "one"))
    run_processes(2, STEPS, str(tmp_path / "two"))
    one, *two = (torch.load(tmp_path / name, weights_only=True) for name in ("one0", "two0", "two1"))
    assert two[0]["losses"] == two[1]["losses"]
    np.testing.assert_allclose(two[0]["losses"][0], one["losses"][0], rtol=1e-5)
    np.testing.assert_allclose(two[0]["losses"][1], one["losses"][1], rtol=1e-5)
    for key, value in one["first"].items():  # gradients and running statistics of the first step
        error = torch.linalg.norm((two[0]["first"][key] - value).double())
        assert error <= 1e-4 * torch.linalg.norm(value.double()) + 1e-7, (key, error, torch.linalg.norm(value.double()))
    for key, value in two[0]["state"].items():
        assert torch.equal(two[1]["state"][key], value), key


BATCH_NORM = """
import sys, torch
from torch import nn
from dacli.training.parallel import join_world, synchronize_batch_norms

with join_world("cpu") as world:
    torch.manual_seed(1)
    x = torch.randn(8, 3, 5, 7) * 3 + torch.arange(8).view(8, 1, 1, 1)
    weight = torch.randn(8, 3, 5, 7)
    model = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)))
    nn.init.uniform_(model[0][0].weight)
    synchronize_batch_norms(model)
    assert type(model[0][0]).__name__ == "SynchronizedBatchNorm"
    own = x[world.rank::world.count].requires_grad_()
    y = model(own)
    (y * weight[world.rank::world.count]).sum().backward()
    torch.save({"y": y.detach(), "grad": own.grad, "state": model.state_dict()}, f"{sys.argv[1]}{world.rank}")
"""


def test_batch_normalisation_uses_the_statistics_of_all_processes(tmp_path: Path) -> None:
    run_processes(2, BATCH_NORM, str(tmp_path / "n"))
    torch.manual_seed(1)
    x = (torch.randn(8, 3, 5, 7) * 3 + torch.arange(8).view(8, 1, 1, 1)).requires_grad_()
    weight = torch.randn(8, 3, 5, 7)
    plain = nn.BatchNorm2d(3)
    nn.init.uniform_(plain.weight)
    y = plain(x)
    (y * weight).sum().backward()
    assert x.grad is not None
    for rank in range(2):
        found = torch.load(tmp_path / f"n{rank}", weights_only=True)
        torch.testing.assert_close(found["y"], y.detach()[rank::2])
        torch.testing.assert_close(found["grad"], x.grad[rank::2], atol=1e-5, rtol=1e-4)
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(found["state"][f"0.0.{key}"], value)


def test_a_single_process_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.join_world("cpu") as world:
        assert world == TrainingWorld("cpu", 0, 1)
        assert world.is_main
        values = [torch.ones(3)]
        parallel.average_over_world(values, world)
        assert torch.equal(values[0], torch.ones(3))


def test_a_batch_without_equal_parts_is_rejected() -> None:
    parallel.check_batch_split(12, TrainingWorld(count=4))
    with pytest.raises(DacliError, match="a batch of 12 has no equal parts for 5 processes"):
        parallel.check_batch_split(12, TrainingWorld(count=5))
