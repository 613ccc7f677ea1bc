"""One step of a training: loss, gradients, update of the weights and of their running average."""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dacli.models.spec import DepthModel
from dacli.training.initialization import TokenRecorder
from dacli.training.losses import feature_alignment_loss, loss_by_region
from dacli.training.parallel import TrainingWorld, average_over_world
from dacli.training.recipes import TrainingPlan
from dacli.training.state import TrainingState

MAX_GRADIENT_NORM = 1.0  # of all gradients together


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


def checkpoint_activations(model: DepthModel) -> None:
    """Let the blocks of the encoder compute their activations again in the backward pass instead of keeping them.

    Gradients stay the same (Chen et al. 2016, arXiv 1604.06174). Copies of the model must be made before.
    """
    for block in model.encoder_blocks():
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


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
    parts: int = 1,
) -> Tensor:
    """Update the model by the mean gradient of all processes; return the loss [] of the batch before that.

    The batch goes through the network in that many `parts`, which needs less memory; batch norms then see a part each.
    The loss stays on the device: reading it waits for all that was asked of the device before.
    """
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate * group["share"]
    state.optimiser.zero_grad()
    losses = []
    for picture, truth in zip(*(values.chunk(parts) for values in batch), strict=True):
        moved = picture.to(world.device, memory_format=torch.channels_last, non_blocking=True)
        loss = batch_loss(state, plan, moved, truth.to(world.device, non_blocking=True), alignment)
        loss = loss * (len(picture) / len(batch[0]))
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    total = torch.stack(losses).sum()
    average_over_world([total, *(p.grad for p in state.model.parameters() if p.grad is not None)], world)
    nn.utils.clip_grad_norm_(state.model.parameters(), MAX_GRADIENT_NORM)
    state.optimiser.step()
    state.average.update_parameters(state.model)
    state.steps_done += 1
    return total
