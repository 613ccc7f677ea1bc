"""The threads of torch and OpenCV are set where an engine starts, for what it needs."""

from collections.abc import Iterator

import cv2
import pytest
import torch

from dacli.inference import device
from dacli.inference.device import ExecutionPlan
from dacli.inference.engines.table import ENGINES, EngineKind, start_engine
from tests.support.models import ConvolutionModel


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.mark.parametrize(
    ("engine", "place", "environment", "expected"),
    [
        ("torch", "cpu", "", 3),
        ("torch", "cpu", "2", 2),
        ("torch", "cuda:1", "", 1),
        ("openvino", "cpu", "", 1),
        ("onnxruntime", "cpu", "", 1),
    ],
)
def test_torch_has_the_cores_only_where_it_runs_the_network(
    engine: str, place: str, environment: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    start = lambda *_: seen.append((torch.get_num_threads(), cv2.getNumThreads()))  # noqa: E731
    monkeypatch.setitem(ENGINES, engine, EngineKind(lambda _: None, lambda _: "", start))  # type: ignore[arg-type]
    monkeypatch.setattr(device, "usable_cores", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", environment)
    torch.set_num_threads(4)
    cv2.setNumThreads(4)
    start_engine(
        ConvolutionModel(), ExecutionPlan(place, engine, "fp32", half_weights=False, reason=""), 1, lambda _: None
    )
    assert seen == [(expected, 1)]
