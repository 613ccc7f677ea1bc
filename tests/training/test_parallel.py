"""Two processes, as torchrun starts them, against one."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dacli.errors import DacliError
from dacli.training import parallel
from dacli.training.parallel import TrainingWorld
from tests.training import world_processes

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes saved that ran world_processes in the environment that torchrun sets."""
    port, running, folder = str(free_port()), [], tmp_path_factory.mktemp("two")
    for rank in range(2):
        world = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_PORT": port}
        environment = {**os.environ, **world, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", world_processes.__name__, str(folder)]
        running.append(subprocess.Popen(command, env=environment, cwd=ROOT))
    assert [process.wait(120) for process in running] == [0, 0]
    return folder


def test_two_processes_with_half_batches_equal_one_with_the_whole(two_processes: Path, tmp_path: Path) -> None:
    """In float64 and metres: in float32, noise of 1e-7 changes the first gradient of the relative loss by a quarter."""
    world_processes.train_two_steps(TrainingWorld(), tmp_path)
    paths = (tmp_path / "steps0", two_processes / "steps0", two_processes / "steps1")
    one, *two = (torch.load(path, weights_only=True) for path in paths)
    assert two[0]["losses"] == two[1]["losses"]
    np.testing.assert_allclose(two[0]["losses"], one["losses"], rtol=1e-5)
    for key, value in one["first"].items():  # gradients and running statistics of the first step
        error = torch.linalg.norm((two[0]["first"][key] - value).double())
        assert error <= 1e-4 * torch.linalg.norm(value.double()) + 1e-7, (key, error, torch.linalg.norm(value.double()))
    for key, value in two[0]["state"].items():
        assert torch.equal(two[1]["state"][key], value), key


def test_batch_normalisation_uses_the_statistics_of_all_processes(two_processes: Path) -> None:
    x, gradient, plain = world_processes.batch_norm_inputs()
    x.requires_grad_()
    y = plain(x)
    (y * gradient).sum().backward()
    assert x.grad is not None
    for rank in range(2):
        found = torch.load(two_processes / f"norm{rank}", weights_only=True)
        torch.testing.assert_close(found["y"], y.detach()[rank::2])
        torch.testing.assert_close(found["grad"], x.grad[rank::2], atol=1e-5, rtol=1e-4)
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(found["state"][f"0.0.{key}"], value)


def test_processes_whose_clocks_differ_go_by_that_of_the_main_process(two_processes: Path) -> None:
    assert [torch.load(two_processes / f"agreed{rank}", weights_only=True) for rank in range(2)] == [17, 17]
    assert parallel.agree_on_step(23, TrainingWorld()) == 23


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
