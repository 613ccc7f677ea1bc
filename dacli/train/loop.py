"""The training loop: one function, resumable at any checkpoint."""

import copy
import io
import json
import math
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dacli import files
from dacli.engine import channels_last
from dacli.errors import DacliError
from dacli.train.data import Stage, loader
from dacli.train.losses import relative_depth

WARM_UP = 200
DECAY = 0.05
AVERAGING = 0.999
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    pickle.UnpicklingError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)


@dataclass
class Run:
    """Everything a checkpoint holds: model, its running average, optimiser, steps done."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    done: int = 0

    def save(self, path: Path) -> None:
        """Write the checkpoint whole, or leave the old one; raises DacliError if it cannot be written."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimiser")}
        file = io.BytesIO()
        torch.save(state | {"done": self.done}, file)
        files.write(path, file.getvalue())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same model; raises DacliError for any other file."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name in ("model", "average", "optimiser"):
                getattr(self, name).load_state_dict(state[name])
            self.done = int(state["done"])
        except UNREADABLE as error:
            reason = str(error).partition("\n")[0]
            raise DacliError(
                f"{path} is no checkpoint of this training ({reason})",
                "remove it to start anew, or give another folder",
            ) from error


def start(model: nn.Module) -> Run:
    """A run at step 0: AdamW (Loshchilov and Hutter 2019) without decay on biases and norms."""
    channels_last(model)
    flat = [p for p in model.parameters() if p.ndim < 2]
    deep = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": deep, "weight_decay": DECAY}, {"params": flat, "weight_decay": 0.0}]
    average = copy.deepcopy(model).requires_grad_(requires_grad=False)
    return Run(model, average, torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), fused=True))


def rate(step: int, total: int, peak: float) -> float:
    """The learning rate: linear warm-up, then half a cosine (Loshchilov and Hutter 2017) to a hundredth of the peak."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, total - WARM_UP))) / 2)


def step(run: Run, picture: Tensor, truth: Tensor, learning_rate: float) -> float:
    """The loss of a batch of normalised pictures [B, 3, H, W] and inverse depth [B, H, W], before one update by it."""
    for group in run.optimiser.param_groups:
        group["lr"] = learning_rate
    device = next(run.model.parameters()).device
    picture = picture.to(device, memory_format=torch.channels_last, non_blocking=True)
    with torch.autocast(device.type, torch.bfloat16):
        prediction = run.model(picture)
    loss = relative_depth(prediction.float(), truth.to(device, non_blocking=True))
    run.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    run.optimiser.step()
    follow(run)
    run.done += 1
    return loss.item()


@torch.no_grad()
def follow(run: Run) -> None:
    """Move the running average of the weights, faster while it is young; batch statistics are copied."""
    keep = min(AVERAGING, (1 + run.done) / (10 + run.done))
    torch._foreach_lerp_(list(run.average.parameters()), list(run.model.parameters()), 1 - keep)
    torch._foreach_copy_(list(run.average.buffers()), list(run.model.buffers()))


def train(
    run: Run, stages: Sequence[Stage], seed: int, peak: float, folder: Path, workers: int,
    minutes: float, report: Callable[[dict[str, Any]], None], before: int = 0,
) -> None:  # fmt: skip
    """Run all stages to their end, a checkpoint every few minutes; steps that the run has done already are left out.

    One cycle of the learning rate spans the stages; `before` is how many steps earlier cycles have.
    """
    total, begun = sum(s.steps for s in stages), before
    log = folder / "log.jsonl"
    saved = time.monotonic()
    run.model.train()
    for stage in stages:
        first, begun = begun, begun + stage.steps
        if run.done >= begun:
            continue
        for picture, truth in loader(stage, seed, max(run.done, first), begun, workers):
            loss = step(run, picture, truth, rate(run.done - before, total, peak))
            row = {"step": run.done, "of": before + total, "size": stage.size, "loss": round(loss, 5)}
            report(row)
            if run.done % 50 == 0:
                with log.open("a") as file:
                    file.write(json.dumps(row | {"time": round(time.time(), 1)}) + "\n")
            if time.monotonic() - saved > 60 * minutes:
                run.save(folder / "checkpoint.pt")
                saved = time.monotonic()
    run.save(folder / "checkpoint.pt")
