"""The recipes, as rows: what a training minimises, and how fast it learns at which sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dacli.models.registry import METRIC_RANGES
from dacli.training.data import TrainingStage
from dacli.training.losses import LossFunction, pseudo_label_loss, relative_depth_loss, scale_invariant_log_loss

ScheduleCycles = Sequence[tuple[float, Sequence[TrainingStage]]]


@dataclass(frozen=True)
class Schedule:
    """The peak of the decoder's learning rate, which falls to a hundredth over the stages that follow it; again.

    The encoder's rate is the decoder's times `encoder`.
    """

    cycles: ScheduleCycles
    encoder: float = 1.0

    @property
    def steps(self) -> int:
        """Return all steps of all stages."""
        return sum(stage.steps for _, stages in self.cycles for stage in stages)

    def changed(self, steps: int | None, batch: int | None, size: int | None, rate: float | None) -> "Schedule":
        """Return the schedule with so many steps in all, each stage its share.

        With another batch, size or peak rate.
        """
        total, cycles, started, given = self.steps, [], 0, 0
        for peak, stages in self.cycles:
            row = []
            for stage in stages:
                started += stage.steps
                length = round(started * (steps or total) / total) - given
                given += length
                row.append(resize_stage(replace(stage, steps=length, batch=batch or stage.batch), size))
            cycles.append((rate or peak, tuple(row)))
        return Schedule(tuple(cycles), self.encoder)

    def settings(self) -> dict[str, str]:
        """Return all numbers of the schedule, by what they are."""
        stages = [stage for _, stages in self.cycles for stage in stages]
        columns = {name: " ".join(str(vars(stage)[name]) for stage in stages) for name in vars(stages[0])}
        return columns | {
            "rates": " ".join(f"{peak:g}" for peak, _ in self.cycles),
            "encoder rate": f"{self.encoder:g}",
        }

    def plain(self) -> list[list[object]]:
        """Return the cycles as JSON takes them."""
        return [[peak, [vars(stage) for stage in stages]] for peak, stages in self.cycles]


def resize_stage(stage: TrainingStage, size: int | None) -> TrainingStage:
    return replace(stage, size=size, canvas=stage.canvas * size // stage.size) if size else stage


SCHEDULES = {
    ("tiny", "scratch"): Schedule(
        (
            (
                1e-3,
                (
                    TrainingStage(steps=5000, size=96, batch=32, fresh=2, canvas=144),
                    TrainingStage(steps=2400, size=128, batch=32, fresh=2, canvas=192),
                    TrainingStage(steps=1200, size=192, batch=24, fresh=2, canvas=288),
                    TrainingStage(steps=500, size=256, batch=16, fresh=2, canvas=384),
                ),
            ),
            (3e-4, (TrainingStage(steps=1200, size=256, batch=16, fresh=2, canvas=384),)),
        )
    ),
    ("tiny", "pretrained"): Schedule(
        (
            (
                1e-3,
                (
                    TrainingStage(steps=2000, size=128, batch=16, fresh=2, canvas=192),
                    TrainingStage(steps=1000, size=256, batch=16, fresh=2, canvas=384),
                ),
            ),
        )
    ),
    ("vit", "scratch"): Schedule(
        (
            (
                5e-4,
                (
                    TrainingStage(steps=20_000, size=112, batch=32, fresh=2, canvas=168),
                    TrainingStage(steps=10_000, size=224, batch=32, fresh=2, canvas=336),
                    TrainingStage(steps=5_000, size=518, batch=16, fresh=2, canvas=777),
                ),
            ),
        )
    ),
    ("vit", "pretrained"): Schedule(
        ((5e-5, (TrainingStage(steps=160_000, size=518, batch=64, fresh=4, canvas=777),)),), encoder=0.1
    ),
}  # the last row is what Depth Anything V2 was taught by: 160,000 steps of 64 at 518 px, rates 5e-6 and 5e-5


@dataclass(frozen=True)
class Objective:
    """What a training minimises on maps [B, H, W]; `aligned`: features stay near those of the encoder it began with."""

    loss: LossFunction
    aligned: bool = False
    max_depth: float | None = None

    def target(self, truth: Tensor) -> Tensor:
        """Return what the prediction is compared with, of inverse depth.

        Itself, or metres up to the largest there are.
        """
        if self.max_depth is None:
            return truth
        depth = truth.reciprocal()
        return torch.where(depth <= self.max_depth, depth, torch.nan)


TEACHER = Objective(relative_depth_loss)
STUDENT = Objective(pseudo_label_loss, aligned=True)


def metric_objective(model: str) -> Objective:
    """Return metres up to the model's largest depth."""
    return Objective(scale_invariant_log_loss, max_depth=METRIC_RANGES[model])
