"""Teach a network relative depth on rendered scenes, from nothing to a file of weights."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from dacli import __version__, files
from dacli.tiny import Tiny, to_bytes
from dacli.train.data import Stage
from dacli.train.loop import start, train

Cycles = Sequence[tuple[float, Sequence[Stage]]]

CYCLES: Cycles = (
    (
        1e-3,
        (
            Stage(steps=5000, size=96, batch=32, fresh=2, canvas=144),
            Stage(steps=2400, size=128, batch=32, fresh=2, canvas=192),
            Stage(steps=1200, size=192, batch=24, fresh=2, canvas=288),
            Stage(steps=500, size=256, batch=16, fresh=2, canvas=384),
        ),
    ),
    (3e-4, (Stage(steps=1200, size=256, batch=16, fresh=2, canvas=384),)),
)  # the peak of the learning rate, which falls to a hundredth over the stages that follow it
STEPS = sum(stage.steps for _, stages in CYCLES for stage in stages)


def teach(
    folder: Path, seed: int, workers: int, report: Callable[[dict[str, Any]], None], cycles: Cycles = CYCLES
) -> Path:
    """Train tiny, or go on where the folder's checkpoint left off; the file of weights, which is the running average.

    Raises DacliError if the folder cannot be written or its checkpoint cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    run, before = start(Tiny()), 0
    if (folder / "checkpoint.pt").exists():
        run.load(folder / "checkpoint.pt")
    for peak, stages in cycles:
        train(run, stages, seed, peak, folder, workers, 5, report, before)
        before += sum(stage.steps for stage in stages)
    made = {"dacli": __version__, "seed": str(seed), "cycles": json.dumps(plain(cycles))}
    files.write(folder / "tiny.safetensors", to_bytes(run.average, made))
    return folder / "tiny.safetensors"


def plain(cycles: Cycles) -> list[list[object]]:
    """The cycles as JSON takes them."""
    return [[peak, [vars(stage) for stage in stages]] for peak, stages in cycles]
