"""The training loop: one function, resumable at any checkpoint."""

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dacli.engine import channels_last
from dacli.train.data import Stage, loader
from dacli.train.losses import relative_depth

WARM_UP = 200
DECAY = 0.05
AVERAGING = 0.999


@dataclass
class Run:
    """Everything a checkpoint holds: model, its running average, optimiser, steps done."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    done: int = 0

    def save(self, path: Path) -> None:
        """Write the checkpoint whole, or leave the old one."""
        state = {name: getattr(self, name).state_dict() for name in ("model", "average", "optimiser")}
        part = path.with_suffix(".part")
        torch.save(state | {"done": self.done}, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint of the same model."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("model", "average", "optimiser"):
            getattr(self, name).load_state_dict(state[name])
        self.done = state["done"]


def start(model: nn.Module) -> Run:
    """A run at step 0, AdamW without decay on biases and norms."""
    channels_last(model)
    flat = [p for p in model.parameters() if p.ndim < 2]
    deep = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": deep, "weight_decay": DECAY}, {"params": flat, "weight_decay": 0.0}]
    average = copy.deepcopy(model).requires_grad_(requires_grad=False)
    return Run(model, average, torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98)))


def rate(step: int, total: int, peak: float) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * (step - WARM_UP) / max(1, total - WARM_UP))) / 2)


def step(run: Run, picture: Tensor, truth: Tensor, learning_rate: float) -> float:
    """One update; the loss before it."""
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
    """Move the running average, faster while it is young."""
    keep = min(AVERAGING, (1 + run.done) / (10 + run.done))
    for weight, newer in zip(run.average.parameters(), run.model.parameters(), strict=True):
        weight.lerp_(newer, 1 - keep)
    for buffer, latest in zip(run.average.buffers(), run.model.buffers(), strict=True):
        buffer.copy_(latest)


def train(
    run: Run, stages: Sequence[Stage], seed: int, peak: float, folder: Path, workers: int,
    minutes: float, report: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    """Run all stages to their end, a checkpoint every few minutes; goes on where folder/checkpoint.pt left off."""
    total, begun = sum(s.steps for s in stages), 0
    log = folder / "log.jsonl"
    saved = time.monotonic()
    run.model.train()
    for stage in stages:
        first, begun = begun, begun + stage.steps
        if run.done >= begun:
            continue
        for picture, truth in loader(stage, seed, max(run.done, first), begun, workers):
            loss = step(run, picture, truth, rate(run.done, total, peak))
            row = {"step": run.done, "of": total, "size": stage.size, "loss": round(loss, 5)}
            report(row)
            if run.done % 50 == 0:
                with log.open("a") as file:
                    file.write(json.dumps(row | {"time": round(time.time(), 1)}) + "\n")
            if time.monotonic() - saved > 60 * minutes:
                run.save(folder / "checkpoint.pt")
                saved = time.monotonic()
    run.save(folder / "checkpoint.pt")
