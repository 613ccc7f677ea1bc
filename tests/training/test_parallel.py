"""Two processes on this machine, as torchrun starts them, against one."""

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

SCRIPT = """
import sys, torch
from dacli.scenes.layouts import scene
from dacli.training import data
from dacli.training.data import Scenes, Stage, Stream, batches
from dacli.training.loop import Course, start, step
from dacli.training.parallel import joined, synchronise
from dacli.training.recipes import Schedule, metric
from dacli.models.tiny import Tiny

torch.set_num_threads(1)
stage = Stage(2, 64, 4, 2, 64)
with joined("cpu") as world:
    torch.manual_seed(3)
    model = Tiny(20.0).double()
    if world.count > 1:
        synchronise(model)
    run = start(model)
    run.model.train()
    course = Course(Schedule(((1e-3, (stage,)),)), metric("indoor"), Scenes(5, scene), 5, dtype=torch.float32)
    stream = Stream(course.lesson(stage), 0, 0, 2, world.rank, world.count)
    first, second = ((picture.double(), truth) for picture, truth in batches(stream, 0))
    losses = [step(run, course, first, 1e-3, world)]
    found = {name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None}
    found |= {name: value.clone() for name, value in run.model.named_buffers()}
    losses.append(step(run, course, second, 1e-3, world))
    made = {"losses": losses, "first": found, "state": run.model.state_dict()}
    torch.save(made, f"{sys.argv[1]}{world.rank}")
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def together(count: int, script: str, *arguments: str) -> None:
    """Run a script in as many processes, with the environment that torchrun gives them."""
    port = str(free_port())
    running = []
    for rank in range(count):
        world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_PORT": port}
        environment = {**os.environ, **world, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen([sys.executable, "-c", script, *arguments], env=environment))
    assert [process.wait(120) for process in running] == [0] * count


def test_two_processes_with_half_batches_give_what_one_gives_with_the_whole(tmp_path: Path) -> None:
    """In float64, and metres: in float32 noise of 1e-7 turns the first gradient of the relative loss by a quarter."""
    together(1, SCRIPT, str(tmp_path / "one"))
    together(2, SCRIPT, str(tmp_path / "two"))
    one, *two = (torch.load(tmp_path / name, weights_only=True) for name in ("one0", "two0", "two1"))
    assert two[0]["losses"] == two[1]["losses"]
    np.testing.assert_allclose(two[0]["losses"][0], one["losses"][0], rtol=1e-5)
    np.testing.assert_allclose(two[0]["losses"][1], one["losses"][1], rtol=1e-5)
    for key, value in one["first"].items():  # gradients and running statistics of the first step
        error = torch.linalg.norm((two[0]["first"][key] - value).double())
        assert error <= 1e-4 * torch.linalg.norm(value.double()) + 1e-7, (key, error, torch.linalg.norm(value.double()))
    for key, value in two[0]["state"].items():
        assert torch.equal(two[1]["state"][key], value), key


NORM = """
import sys, torch
from torch import nn
from dacli.training.parallel import joined, synchronise

with joined("cpu") as world:
    torch.manual_seed(1)
    x = torch.randn(8, 3, 5, 7) * 3 + torch.arange(8).view(8, 1, 1, 1)
    weight = torch.randn(8, 3, 5, 7)
    model = nn.Sequential(nn.Sequential(nn.BatchNorm2d(3)))
    nn.init.uniform_(model[0][0].weight)
    synchronise(model)
    assert type(model[0][0]).__name__ == "SyncedNorm"
    own = x[world.rank::world.count].requires_grad_()
    y = model(own)
    (y * weight[world.rank::world.count]).sum().backward()
    torch.save({"y": y.detach(), "grad": own.grad, "state": model.state_dict()}, f"{sys.argv[1]}{world.rank}")
"""


def test_batch_normalisation_takes_the_statistics_of_all_processes(tmp_path: Path) -> None:
    together(2, NORM, str(tmp_path / "n"))
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


def test_one_process_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.join_world("cpu") as world:
        assert world == TrainingWorld("cpu", 0, 1)
        assert world.is_main
        values = [torch.ones(3)]
        parallel.average_over_world(values, world)
        assert torch.equal(values[0], torch.ones(3))


def test_a_batch_without_equal_parts_is_refused() -> None:
    parallel.check_batch_split(12, TrainingWorld(count=4))
    with pytest.raises(DacliError, match="a batch of 12 has no equal parts for 5 processes"):
        parallel.check_batch_split(12, TrainingWorld(count=5))
