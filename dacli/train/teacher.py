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

PEAK = 1e-3
STAGES = (
    Stage(steps=5000, size=96, batch=32, fresh=2, canvas=144),
    Stage(steps=2400, size=128, batch=32, fresh=2, canvas=192),
    Stage(steps=1200, size=192, batch=24, fresh=2, canvas=288),
    Stage(steps=500, size=256, batch=16, fresh=2, canvas=384),
)


def teach(
    folder: Path, seed: int, workers: int, report: Callable[[dict[str, Any]], None], stages: Sequence[Stage] = STAGES
) -> Path:
    """Train tiny, or go on where the folder's checkpoint left off; the file of weights, which is the running average.

    Raises DacliError if the folder cannot be written or its checkpoint cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    run = start(Tiny())
    if (folder / "checkpoint.pt").exists():
        run.load(folder / "checkpoint.pt")
    train(run, stages, seed, PEAK, folder, workers, 5, report)
    made = {"dacli": __version__, "seed": str(seed), "stages": json.dumps([vars(s) for s in stages])}
    files.write(folder / "tiny.safetensors", to_bytes(run.average, made))
    return folder / "tiny.safetensors"
