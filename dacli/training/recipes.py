"""The recipes: objectives, and schedules of learning rate, picture size and batch size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dacli.models.weight_files import METRIC_RANGES
from dacli.training.data import SIZE_STEP, BatchSettings, TrainingSource, TrainingStage
from dacli.training.losses import LossFunction, pseudo_label_loss, relative_depth_loss, scale_invariant_log_loss

ScheduleCycles = Sequence[tuple[float, Sequence[TrainingStage]]]  # peak learning rates and their stages


@dataclass(frozen=True)
class Schedule:
    """Cycles of the learning rate: from each peak it falls to a hundredth over the stages of its cycle.

    The peaks are those of the decoder; the rate of the encoder is that of the decoder times `encoder_factor`.
    """

    cycles: ScheduleCycles
    encoder_factor: float = 1.0

    @property
    def steps(self) -> int:
        """Return the number of steps of all stages."""
        return sum(stage.steps for _, stages in self.cycles for stage in stages)

    def with_changes(
        self,
        *,
        steps: int | None = None,
        batch: int | None = None,
        size: int | None = None,
        rate: float | None = None,
    ) -> "Schedule":
        """Return the schedule with other values; None keeps those of the recipe.

        `steps` is the number of all steps, which the stages share in proportion; `rate` is the peak of every cycle.
        """
        total, cycles, before, assigned = self.steps, [], 0, 0
        for peak, stages in self.cycles:
            row = []
            for stage in stages:
                before += stage.steps
                length = round(before * (steps or total) / total) - assigned
                assigned += length
                row.append(resize_stage(change_batch(replace(stage, steps=length), batch), size))
            cycles.append((rate or peak, tuple(row)))
        return Schedule(tuple(cycles), self.encoder_factor)

    def settings(self) -> dict[str, str]:
        """Return all numbers of the schedule by name, as checkpoints and weights record them."""
        stages = [stage for _, stages in self.cycles for stage in stages]
        columns = {name: " ".join(str(vars(stage)[name]) for stage in stages) for name in vars(stages[0])}
        return columns | {
            "rates": " ".join(f"{peak:g}" for peak, _ in self.cycles),
            "encoder rate": f"{self.encoder_factor:g}",
        }

    def as_lists(self) -> list[list[object]]:
        """Return the cycles as lists and dictionaries, for JSON."""
        return [[peak, [vars(stage) for stage in stages]] for peak, stages in self.cycles]


def change_batch(stage: TrainingStage, batch: int | None) -> TrainingStage:
    """Return the stage with batches of that many pictures, new scenes in proportion; None changes nothing."""
    if batch is None:
        return stage
    return replace(stage, batch=batch, fresh=min(batch, max(1, round(stage.fresh * batch / stage.batch))))


def resize_stage(stage: TrainingStage, size: int | None) -> TrainingStage:
    """Return the stage with pictures of that short side on canvases resized in proportion; None changes nothing."""
    return replace(stage, size=size, canvas=stage.canvas * size // stage.size) if size else stage


TINY_STAGES = (
    TrainingStage(steps=2400, size=128, batch=24, fresh=2, canvas=192),
    TrainingStage(steps=1200, size=224, batch=24, fresh=2, canvas=320),
    TrainingStage(steps=300, size=320, batch=16, fresh=2, canvas=448),
)
DEPTH_ANYTHING_V2 = Schedule(
    ((5e-5, (TrainingStage(steps=160_000, size=518, batch=64, fresh=4, canvas=777),)),), encoder_factor=0.1
)  # 160,000 steps of 64 pictures at 518 px, rates 5e-6 and 5e-5
SCHEDULES = {
    ("tiny", "encoder"): Schedule(((1e-3, TINY_STAGES),), encoder_factor=0.25),
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
    ("tiny", "pretrained"): Schedule(((7e-4, TINY_STAGES),), encoder_factor=0.25),
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
    ("vit", "encoder"): DEPTH_ANYTHING_V2,
    ("vit", "pretrained"): DEPTH_ANYTHING_V2,
}


@dataclass(frozen=True)
class Objective:
    """The loss that a training minimises on maps [B, H, W], of relative inverse depth or of metres up to `max_depth`.

    With `align_features`, the features stay close to those of the pretrained encoder.
    """

    loss: LossFunction
    align_features: bool = False
    max_depth: float | None = None

    def target(self, truth: Tensor) -> Tensor:
        """Return what a prediction is compared with, from inverse depth: itself, or metres; NaN beyond `max_depth`."""
        if self.max_depth is None:
            return truth
        depth = truth.reciprocal()
        return torch.where(depth <= self.max_depth, depth, torch.nan)


TEACHER = Objective(relative_depth_loss)
STUDENT = Objective(pseudo_label_loss, align_features=True)


def metric_objective(model: str) -> Objective:
    """Return the objective of a model in metres, `indoor` or `outdoor`, up to its largest depth."""
    return Objective(scale_invariant_log_loss, max_depth=METRIC_RANGES[model])


@dataclass(frozen=True)
class TrainingPlan:
    """What determines a training besides the network: schedule, objective, pictures, seed and arithmetic."""

    schedule: Schedule
    objective: Objective
    source: TrainingSource
    seed: int
    patch: int = SIZE_STEP
    strong: bool = False
    dtype: torch.dtype = torch.bfloat16

    def batch_settings(self, stage: TrainingStage) -> BatchSettings:
        """Return how the batches of a stage are made."""
        metric = self.objective.max_depth is not None
        return BatchSettings(stage, self.source, self.seed, patch=self.patch, strong=self.strong, metric=metric)
