"""The training loop: one function for all recipes, which resumes exactly from any checkpoint."""

import copy
import io
import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dacli.errors import DacliError
from dacli.inference.engines.torch_engine import use_channels_last
from dacli.io import files
from dacli.models.spec import DepthModel
from dacli.paths import display_path
from dacli.training.data import SIZE_STEP, BatchSettings, BatchStream, TrainingSource, TrainingStage, load_batches
from dacli.training.initialization import TokenRecorder, is_encoder_parameter
from dacli.training.losses import feature_alignment_loss, loss_by_region
from dacli.training.parallel import TrainingWorld, agree_on_step, average_over_world
from dacli.training.recipes import Objective, Schedule

WARM_UP_STEPS = 200
WEIGHT_DECAY = 0.05
EMA_DECAY = 0.999  # of the running average of the weights
MAX_GRADIENT_NORM = 1.0  # of all gradients together
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


@dataclass
class TrainingState:
    """The content of a checkpoint: model, its running average, optimiser, number of steps done, settings.

    It needs no state of a random generator: the number of a batch seeds everything that is random in it.
    """

    model: DepthModel
    average: AveragedModel
    optimiser: torch.optim.Optimizer
    steps_done: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the checkpoint as a whole file; raise DacliError, and leave the old one, if it cannot be written."""
        content = {name: part.state_dict() for name, part in self._parts().items()}
        file = io.BytesIO()
        torch.save(content | {"done": self.steps_done, "settings": dict(self.settings)}, file)
        files.write_file(path, file.getvalue())

    def load(self, path: Path) -> None:
        """Take the state of a checkpoint of the same model and settings; raise DacliError for any other file."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            self.check_settings(content["settings"], path)
            for name, part in self._parts().items():
                part.load_state_dict(content[name])
            self.steps_done = int(content["done"])
            self.average.n_averaged.fill_(1 + self.steps_done)
        except UNREADABLE_CHECKPOINT as error:
            reason = str(error).partition("\n")[0]
            raise DacliError(
                f"{display_path(path)} is not a checkpoint of this training ({reason})",
                "remove it to start again, or give another folder",
            ) from error

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """Return what a checkpoint holds the state of, by its name there."""
        return {"model": self.model, "average": self.average.module, "optimiser": self.optimiser}

    def check_settings(self, recorded: Mapping[str, str], path: Path) -> None:
        """Raise DacliError that names every setting in which the checkpoint differs."""
        different = [key for key in {**recorded, **self.settings} if recorded.get(key) != self.settings.get(key)]
        if different:
            reported = ", ".join(f"{key} {recorded.get(key)} instead of {self.settings.get(key)}" for key in different)
            raise DacliError(
                f"{display_path(path)} was made with other settings: {reported}",
                "give those, or train in another folder",
            )


def create_training_state(
    model: DepthModel, encoder_factor: float = 1.0, settings: Mapping[str, str] | None = None
) -> TrainingState:
    """Return the state at step 0, with AdamW (Loshchilov and Hutter 2019) without decay on biases and norms.

    The learning rate of the encoder is `encoder_factor` times that of the decoder.
    """
    use_channels_last(model)
    average = AveragedModel(model, multi_avg_fn=update_average, use_buffers=True).requires_grad_(requires_grad=False)
    average.n_averaged.fill_(1)  # the initial weights are the first of the average; at 0 torch would replace them
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((is_encoder_parameter(name), parameter.ndim >= 2), []).append(parameter)
    options = [
        {
            "params": parameters,
            "weight_decay": WEIGHT_DECAY if is_weight else 0.0,
            "share": encoder_factor if in_encoder else 1.0,
        }
        for (in_encoder, is_weight), parameters in groups.items()
    ]
    optimiser = torch.optim.AdamW(options, lr=0.0, betas=(0.9, 0.98), fused=True)
    return TrainingState(model, average, optimiser, settings=settings or {})


class FeatureAlignment:
    """Compares the features of a network in training with those of a frozen copy of its encoder at the start."""

    def __init__(self, model: DepthModel) -> None:
        encoder, layer = model.feature_encoder(), model.token_layer()
        self.frozen = copy.deepcopy(encoder).eval().requires_grad_(requires_grad=False)
        name = next(name for name, module in encoder.named_modules() if module is layer)
        self.frozen_features = TokenRecorder(self.frozen.get_submodule(name))
        self.model_features = TokenRecorder(layer)

    def loss(self, picture: Tensor) -> Tensor:
        """Return the loss [B] of the features of the latest forward pass of the model, on pictures [B, 3, H, W]."""
        with torch.no_grad():
            self.frozen(picture)
        return feature_alignment_loss(self.model_features.tokens, self.frozen_features.tokens)


@dataclass(frozen=True)
class TrainingClock:
    """Ends a training after a number of seconds: its schedule moves on at least as fast as the time passes.

    Steps that there is no time for are skipped evenly, so every stage gets its share of the time, and the learning rate
    reaches its end. `begin` is the step and `started` the time.monotonic() at which the clock starts.
    """

    seconds: float
    begin: int
    started: float

    def due_step(self, total: int) -> int:
        """Return the step at which a training of `total` steps has to be by now."""
        share = min(1.0, (time.monotonic() - self.started) / self.seconds)
        return self.begin + math.floor(share * (total - self.begin))


def learning_rate_at(step: int, total: int, peak: float) -> float:
    """Return the rate at a step of a cycle: linear warm-up, then half a cosine (Loshchilov 2017) to peak / 100."""
    warm = max(1, min(WARM_UP_STEPS, total // 6))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))) / 2)


def batch_loss(
    state: TrainingState, plan: TrainingPlan, picture: Tensor, truth: Tensor, alignment: FeatureAlignment | None
) -> Tensor:
    """Return the mean loss of pictures [B, 3, H, W] in 0…1 and inverse depth [B, R, H, W], on one device."""
    picture = state.model.normalize(picture)
    with torch.autocast(picture.device.type, plan.dtype, enabled=plan.dtype != torch.float32):
        prediction = state.model(picture)
        extra = alignment.loss(picture) if alignment else torch.zeros((), device=picture.device)
    each = loss_by_region(plan.objective.loss, prediction.float(), plan.objective.target(truth))
    return (each + extra).mean()


def training_step(
    state: TrainingState,
    plan: TrainingPlan,
    batch: tuple[Tensor, Tensor],
    world: TrainingWorld,
    *,
    learning_rate: float,
    alignment: FeatureAlignment | None = None,
) -> float:
    """Update the model by the mean gradient of all processes; return the loss of the batch before that."""
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate * group["share"]
    picture = batch[0].to(world.device, memory_format=torch.channels_last, non_blocking=True)
    loss = batch_loss(state, plan, picture, batch[1].to(world.device, non_blocking=True), alignment)
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    detached = loss.detach()
    average_over_world([detached, *(p.grad for p in state.model.parameters() if p.grad is not None)], world)
    nn.utils.clip_grad_norm_(state.model.parameters(), MAX_GRADIENT_NORM)
    state.optimiser.step()
    state.average.update_parameters(state.model)
    state.steps_done += 1
    return detached.item()


def update_average(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
    """Update running averages of weights and batch statistics, given the number of states that they average so far.

    The first states count for more than EMA_DECAY gives them. Integer buffers, which count batches, stay as they are.
    All tensors have one type: AveragedModel groups them.
    """
    if averages[0].is_floating_point():
        decay = min(EMA_DECAY, int(count) / (9 + int(count)))
        torch._foreach_lerp_(list(averages), list(values), 1 - decay)


def train_network(
    state: TrainingState,
    plan: TrainingPlan,
    folder: Path,
    world: TrainingWorld,
    *,
    workers: int,
    minutes: float,
    seconds: float | None = None,
    report: Callable[[dict[str, Any]], None],
    alignment: FeatureAlignment | None = None,
) -> None:
    """Run all stages, with a checkpoint in the folder every few minutes and at the end; skip the steps already done.

    Each cycle of the learning rate spans its stages. With `seconds` the training ends after that time, as TrainingClock
    says. `report` gets a row for every step. Raises DacliError if the loss
    is not finite, a file of the data is faulty or a checkpoint cannot be written; the last checkpoint stays valid.
    """
    saved, started = time.monotonic(), 0
    clock = TrainingClock(seconds, state.steps_done, saved) if seconds else None
    state.model.train()
    for peak, stages in plan.schedule.cycles:
        cycle, length = started, sum(stage.steps for stage in stages)
        for stage in stages:
            first, started = started, started + stage.steps
            if state.steps_done >= started:
                continue
            resumed = max(state.steps_done, first)
            stream = BatchStream(
                plan.batch_settings(stage), first, resumed, started, rank=world.rank, ranks=world.count
            )
            for batch in load_batches(stream, workers):
                rate = learning_rate_at(state.steps_done - cycle, length, peak)
                loss = training_step(state, plan, batch, world, learning_rate=rate, alignment=alignment)
                if clock is not None:
                    state.steps_done = max(state.steps_done, agree_on_step(clock.due_step(plan.schedule.steps), world))
                if not math.isfinite(loss):
                    fault = f"the loss of step {state.steps_done} is not a number"
                    raise DacliError(fault, "lower --rate; the last checkpoint is whole")
                report({"step": state.steps_done, "of": plan.schedule.steps, "size": stage.size, "loss": loss})
                if world.is_main and time.monotonic() - saved > 60 * minutes:
                    state.save(folder / CHECKPOINT_FILE)
                    saved = time.monotonic()
                if state.steps_done >= started:
                    break
    if world.is_main:
        state.save(folder / CHECKPOINT_FILE)
