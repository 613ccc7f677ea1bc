"""Fixtures of all tests. The number of threads is set, and GPUs are hidden, before torch is imported.

Waiting threads of torch keep their core busy: more threads than idle cores make it five times slower. Tests compare
bits, which a CPU repeats; those about GPUs pretend to have one.
"""

import copy
import os

# Workers of xdist inherit what the process that starts them has set here.
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import openvino
import pytest
import torch
from hypothesis import settings

from dacli import paths
from dacli.callbacks import Log
from dacli.cli.main import main
from dacli.inference.engines import openvino_engine
from dacli.inference.engines.openvino_engine import OpenVINOProperties
from dacli.models import tiny
from dacli.models.spec import DepthModel
from dacli.models.tiny import Tiny
from tests.support.commands import Result, Run

settings.register_profile("dacli", deadline=None, derandomize=True)  # the same examples, on a busy machine too
settings.load_profile("dacli")


@pytest.fixture(scope="session", autouse=True)
def no_apple_gpu() -> Iterator[None]:
    """Hide the GPU of a Mac, which no variable of the environment does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends.mps, "is_available", lambda: False)
        yield


@pytest.fixture(autouse=True)
def no_handler_of_ended_children() -> Iterator[None]:
    """Remove the signal handler that torch's data loaders install: with OpenVINO loaded it ends the process."""
    yield
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny of random weights, which is enough for tests of the command line."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    path.write_bytes(tiny.encode_weights(Tiny(), {}))
    return path


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of compiled OpenVINO networks that all tests share: compiling takes longer than the tests."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def compile_once() -> Callable[..., openvino.CompiledModel]:
    """Replace compile_network() in tests of commands, which would spend most of their time reading the same file."""
    compiled: dict[object, openvino.CompiledModel] = {}
    original = openvino_engine.compile_network

    def compile_network(
        network: DepthModel, precision: str, properties: OpenVINOProperties, log: Log
    ) -> openvino.CompiledModel:
        key = (openvino_engine.cache_path(network, openvino.Core(), precision).name, *sorted(properties.items()))
        if key not in compiled:
            compiled[key] = original(network, precision, properties, log)
        return compiled[key]

    return compile_network


@pytest.fixture(scope="session")
def load_once(weights: Path) -> Callable[[Path], Tiny]:
    """Replace load_tiny() in tests of commands: a copy of the network takes half the time of reading its file."""
    network, original = tiny.load_tiny(weights), tiny.load_tiny

    def load_tiny(path: Path = weights) -> Tiny:
        return copy.deepcopy(network) if path == weights else original(path)

    return load_tiny


@pytest.fixture
def home(
    tmp_path: Path,
    weights: Path,
    load_once: Callable[[Path], Tiny],
    compiled: Path,
    compile_once: Callable[..., openvino.CompiledModel],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An empty working folder of a user without settings, cached files or network; commands run in it."""
    for name in list(os.environ):
        if name.lower().startswith(("hf_", "dacli_", "huggingface_", "xdg_")):
            monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(tiny, "BUNDLED_WEIGHTS", weights)
    monkeypatch.setattr(tiny, "load_tiny", load_once)
    monkeypatch.setattr(openvino_engine, "compile_network", compile_once)
    paths.cache_folder().mkdir(parents=True, exist_ok=True)
    (paths.cache_folder() / "openvino").symlink_to(compiled)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def dacli(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command in this process."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(int(ended.value.code or 0), out, err.splitlines())

    return run
