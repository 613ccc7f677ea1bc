"""The training loop: one function for all recipes, resumable to the last bit at any checkpoint."""

import copy
import io
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dacli.errors import DacliError
from dacli.inference.engines.torch_engine import use_channels_last
from dacli.io import files
from dacli.models.spec import DepthModel
from dacli.paths import display_path
from dacli.training.data import SIZE_STEP, BatchSettings, BatchStream, TrainingSource, TrainingStage, load_batches
from dacli.training.initialization import TokenRecorder, is_encoder_parameter
from dacli.training.losses import feature_alignment_loss, loss_by_region
from dacli.training.parallel import TrainingWorld, average_over_world
from dacli.training.recipes import Objective, Schedule

WARM_UP_STEPS = 200
WEIGHT_DECAY = 0.05
EMA_DECAY = 0.999
MAX_GRADIENT_NORM = 1.0  # the norm of all gradients together
CHECKPOINT_FILE = "checkpoint.pt"
UNREADABLE_CHECKPOINT = (
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


@dataclass(frozen=True)
class TrainingPlan:
    """What a training does with a network: how fast, to what end, with which pictures, in which arithmetic."""

    schedule: Schedule
    objective: Objective
    source: TrainingSource
    seed: int
    patch: int = SIZE_STEP
    strong: bool = False
    dtype: torch.dtype = torch.bfloat16

    def lesson(self, stage: TrainingStage) -> BatchSettings:
        """Return what a stage is taught with."""
        metric = self.objective.max_depth is not None
        return BatchSettings(stage, self.source, self.seed, self.patch, self.strong, metric)


@dataclass
class TrainingState:
    """Everything a checkpoint holds: model, its running average, optimiser, steps done, the settings it was made with.

    No random state is among it: a batch's number is the seed of all that is random in it (see data.Stream).
    """

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    done: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint whole, or leave the old one; raise DacliError if it cannot be written."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimiser")}
        file = io.BytesIO()
        torch.save(state | {"done": self.done, "settings": dict(self.settings)}, file)
        files.write_file(path, file.getvalue())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same model and settings; raises DacliError for any other file."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.compare(state["settings"], path)
            for name in ("model", "average", "optimiser"):
                getattr(self, name).load_state_dict(state[name])
            self.done = int(state["done"])
        except UNREADABLE_CHECKPOINT as error:
            reason = str(error).partition("\n")[0]
            raise DacliError(
                f"{display_path(path)} is not a checkpoint of this training ({reason})",
                "remove it to start again, or give another folder",
            ) from error

    def compare(self, made: Mapping[str, str], path: Path) -> None:
        """Raise DacliError that names every setting in which the checkpoint differs."""
        different = [key for key in {**made, **self.settings} if made.get(key) != self.settings.get(key)]
        if different:
            reported = ", ".join(f"{key} {made.get(key)} instead of {self.settings.get(key)}" for key in different)
            raise DacliError(
                f"{display_path(path)} was made with other settings: {reported}",
                "give those, or train in another folder",
            )


def create_training_state(
    model: nn.Module, encoder: float = 1.0, settings: Mapping[str, str] | None = None
) -> TrainingState:
    """Return a run at step 0: AdamW (Loshchilov and Hutter 2019) without decay on biases and norms.

    The encoder learns at `encoder` times the rate.
    """
    use_channels_last(model)
    copied = copy.deepcopy(model).requires_grad_(requires_grad=False)
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((is_encoder_parameter(name), parameter.ndim >= 2), []).append(parameter)
    rows = [
        {"params": rows, "weight_decay": WEIGHT_DECAY if deep else 0.0, "share": encoder if early else 1.0}
        for (early, deep), rows in groups.items()
    ]
    return TrainingState(
        model, copied, torch.optim.AdamW(rows, lr=0.0, betas=(0.9, 0.98), fused=True), 0, settings or {}
    )


class FeatureAlignment:
    """The features of a network beside those of a frozen copy of its encoder as it is now."""

    def __init__(self, model: DepthModel) -> None:
        encoder, layer = model.feature_encoder(), model.token_layer()
        self.frozen = copy.deepcopy(encoder).eval().requires_grad_(requires_grad=False)
        name = next(name for name, module in encoder.named_modules() if module is layer)
        self.kept, self.found = TokenRecorder(self.frozen.get_submodule(name)), TokenRecorder(layer)

    def loss(self, picture: Tensor) -> Tensor:
        """Return the loss [B] of the features that the model has just found in the pictures [B, 3, H, W]."""
        with torch.no_grad():
            self.frozen(picture)
        return feature_alignment_loss(self.found.tokens, self.kept.tokens)


def learning_rate_at(step: int, total: int, peak: float) -> float:
    """Return the learning rate: linear warm-up, then half a cosine (Loshchilov 2017) to a hundredth of the peak."""
    warm = max(1, min(WARM_UP_STEPS, total // 6))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) / 2)


def batch_loss(
    run: TrainingState, course: TrainingPlan, picture: Tensor, truth: Tensor, alignment: FeatureAlignment | None
) -> Tensor:
    """Return the loss of normalised pictures [B, 3, H, W] and inverse depth [B, R, H, W] on the model's device."""
    with torch.autocast(picture.device.type, course.dtype, enabled=course.dtype != torch.float32):
        prediction = run.model(picture)
        extra = alignment.loss(picture) if alignment else torch.zeros((), device=picture.device)
    each = loss_by_region(course.objective.loss, prediction.float(), course.objective.target(truth))
    return (each + extra).mean()


def training_step(
    run: TrainingState,
    course: TrainingPlan,
    batch: tuple[Tensor, Tensor],
    learning_rate: float,
    world: TrainingWorld,
    alignment: FeatureAlignment | None = None,
) -> float:
    """Return the loss of a batch, as batch_loss() has it, before one update by all processes."""
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate * group["share"]
    picture = batch[0].to(world.device, memory_format=torch.channels_last, non_blocking=True)
    loss = batch_loss(run, course, picture, batch[1].to(world.device, non_blocking=True), alignment)
    run.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    reported = loss.detach()
    average_over_world([reported, *(p.grad for p in run.model.parameters() if p.grad is not None)], world)
    nn.utils.clip_grad_norm_(run.model.parameters(), MAX_GRADIENT_NORM)
    run.optimiser.step()
    update_average(run)
    run.done += 1
    return reported.item()


@torch.no_grad()
def update_average(run: TrainingState) -> None:
    """Move the running average of the weights and of the batch statistics, faster while it is young."""
    keep = min(EMA_DECAY, (1 + run.done) / (10 + run.done))
    torch._foreach_lerp_(floating_buffers(run.average), floating_buffers(run.model), 1 - keep)


def floating_buffers(network: nn.Module) -> list[Tensor]:
    """Return all weights and statistics, which share their memory with the network."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]


def train_network(
    run: TrainingState,
    course: TrainingPlan,
    folder: Path,
    world: TrainingWorld,
    workers: int,
    minutes: float,
    report: Callable[[dict[str, Any]], None],
    alignment: FeatureAlignment | None = None,
) -> None:
    """Run all stages to their end, a checkpoint every few minutes; steps that the run has done already are left out.

    One cycle of the learning rate spans the stages of a peak. `report` gets a row for every step. Raises DacliError if
    the loss is not finite, a file of the data is faulty or a checkpoint cannot be written; the last one stays.
    """
    saved, started = time.monotonic(), 0
    run.model.train()
    for peak, stages in course.schedule.cycles:
        cycle, length = started, sum(stage.steps for stage in stages)
        for stage in stages:
            first, started = started, started + stage.steps
            if run.done >= started:
                continue
            stream = BatchStream(course.lesson(stage), first, max(run.done, first), started, world.rank, world.count)
            for batch in load_batches(stream, workers):
                loss = training_step(
                    run, course, batch, learning_rate_at(run.done - cycle, length, peak), world, alignment
                )
                if not math.isfinite(loss):
                    raise DacliError(
                        f"the loss of step {run.done} is not a number", "lower --rate; the last checkpoint is whole"
                    )
                report({"step": run.done, "of": course.schedule.steps, "size": stage.size, "loss": loss})
                if world.is_main and time.monotonic() - saved > 60 * minutes:
                    run.save(folder / CHECKPOINT_FILE)
                    saved = time.monotonic()
    if world.is_main:
        run.save(folder / CHECKPOINT_FILE)
