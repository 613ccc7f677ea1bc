"""A new engine is a class and a row of the table."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dacli
from dacli.errors import DacliError
from dacli.inference.device import ExecutionPlan
from dacli.inference.engines.table import ENGINES, EngineKind, EngineTarget, choose_engine
from dacli.inference.planning import resolve_plan
from tests.support.commands import photo


class RampEngine:
    """Depth that falls from left to right in every picture."""

    def __init__(self, plan: ExecutionPlan) -> None:
        self.plan, self.streams = plan, 1

    def forward(self, images: Tensor) -> Tensor:
        return torch.linspace(2, 1, images.shape[3]).expand(len(images), images.shape[2], -1)

    def free(self) -> None:
        pass

    def in_float32(self) -> "RampEngine":
        return self


def test_a_new_engine_is_one_row(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_cpu = DacliError("ramp computes on the CPU", "use --device cpu")
    row = EngineKind(
        find_fault=lambda target: None if target.device == "cpu" else only_cpu,
        reason_for_auto=lambda _: "",
        start=lambda _model, plan, _streams, _log: RampEngine(plan),
        only_on="cpu",
    )
    monkeypatch.setitem(ENGINES, "ramp", row)
    depth = dacli.load("tiny", device="cpu", engine="ramp", size=32)
    found = depth(photo(home / "a.png", shape=(32, 64)))
    np.testing.assert_allclose(found.depth[5], np.linspace(2, 1, 64), atol=1e-6)
    assert depth.settings.plan.engine == "ramp"
    assert resolve_plan(engine="ramp").engine == "ramp"
    with pytest.raises(DacliError, match="ramp computes on the CPU"):
        choose_engine("ramp", EngineTarget("cuda", "fp32", fast_bf16=False, installed=lambda _: True))


def test_the_table_loads_no_engine() -> None:
    engines = {"torch", "openvino", "onnxruntime"}
    code = f"import sys; import dacli.inference.engines.table; print({engines} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "set()\n"


CPU = EngineTarget("cpu", "fp32", fast_bf16=True, installed=lambda _: True)


@pytest.mark.parametrize(
    ("target", "engine"),
    [
        (CPU, "openvino"),
        (replace(CPU, device="cuda"), "torch"),
        (replace(CPU, installed=lambda _: False), "torch"),
        (replace(CPU, precision="bf16", fast_bf16=False), "torch"),
        (replace(CPU, precision="int8"), "openvino"),
        (replace(CPU, installed=lambda name: name in ("onnx", "onnxruntime")), "torch"),
    ],
)
def test_auto_takes_the_engine_that_suits(target: EngineTarget, engine: str) -> None:
    assert choose_engine("auto", target)[0] == engine
