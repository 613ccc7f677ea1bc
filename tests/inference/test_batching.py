"""The batch size: measured, and smaller where memory is short."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from dacli.errors import MemoryShortError
from dacli.inference.batching import LARGEST_BATCH, measure_batch_size
from dacli.inference.device import ExecutionPlan
from dacli.inference.loading import build_predictor
from dacli.inference.predictor import PreparedImage
from tests.support.models import SmallModel

CPU = ExecutionPlan("cpu", "torch", "fp32", half_weights=False, reason="")


class Narrow(SmallModel):
    """A network that predicts the mean of the channels, of `width` pictures at once at most."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.counts: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.counts.append(len(images))
        if len(images) > self.width:
            raise MemoryError
        return images.mean(1)


def prepared(count: int) -> list[PreparedImage]:
    generator = torch.Generator().manual_seed(0)
    return [PreparedImage(torch.rand(3, 28, 42, generator=generator), (20, 30)) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "width", "batch", "counts"),
    [
        (4, 1, 1, [4, 2, 1, 1, 2, 1, 1]),
        (4, 2, 2, [4, 2, 2]),
        (5, 2, 1, [5, 2, 3, 1, 2]),
        (4, 4, 4, [4]),
    ],
)
def test_where_memory_is_short_smaller_batches_give_what_singles_give(
    count: int, width: int, batch: int, counts: list[int]
) -> None:
    network = Narrow(width)
    machine = build_predictor(network, CPU, batch=count)
    pictures = prepared(count)
    raws = machine.infer(pictures)
    assert network.counts == counts
    assert machine.batch_size == batch
    for raw, picture in zip(raws, pictures, strict=True):
        assert torch.equal(raw.tensor, machine.infer([picture])[0].tensor)
        assert torch.equal(raw.tensor, picture.tensor.mean(0))


def test_memory_too_short_for_one_picture_is_an_error() -> None:
    with pytest.raises(MemoryShortError, match="28 × 42 pixels"):
        build_predictor(Narrow(0), CPU, batch=4).infer(prepared(4))


@dataclass
class Timed:
    """An engine whose passes take `costs` seconds by their count, the first of each 100 more, on a clock of its own."""

    costs: Any
    most: int = 1000
    plan: ExecutionPlan = field(default_factory=lambda: replace(CPU, device="cuda"))
    now: float = 0.0
    counts: list[int] = field(default_factory=list)

    def forward(self, images: Tensor) -> None:
        count = len(images)
        if count > self.most:
            raise MemoryShortError("not enough memory")
        self.now += self.costs(count) + (0 if count in self.counts else 100)
        self.counts.append(count)


@pytest.mark.parametrize(
    ("engine", "batch"),
    [
        (Timed(lambda count: 1.0), LARGEST_BATCH),  # noqa: ARG005
        (Timed(lambda count: 1.0 * count), 1),
        (Timed(lambda count: max(4.0, count)), 4),
        (Timed(lambda count: count**0.9), LARGEST_BATCH),  # each doubling saves 7 %
        (Timed(lambda count: count**0.95), 1),  # 3 %: too little for the memory
        (Timed(lambda count: 1.0, most=8), 8),  # noqa: ARG005
        (Timed(lambda count: 1.0, most=1), 1),  # noqa: ARG005
        (Timed(lambda count: 1.0, plan=CPU), 1),  # noqa: ARG005
    ],
)
def test_the_batch_grows_while_it_pays_and_fits(engine: Any, batch: int) -> None:
    assert measure_batch_size(engine, (28, 42), lambda: float(engine.now)) == batch
    assert set(engine.counts) <= {1, 2, 4, 8, 16, 32}
    assert (engine.counts == []) == (engine.plan.device == "cpu")


def test_one_slow_pass_does_not_decide_the_batch() -> None:
    spikes = iter([9.0, 0, 0, 0, 0, 9.0, 0, 0, 0, 0, 9.0, 0] + [0] * 99)
    engine: Any = Timed(lambda count: 1 + next(spikes))  # noqa: ARG005
    assert measure_batch_size(engine, (28, 42), lambda: float(engine.now)) == LARGEST_BATCH
