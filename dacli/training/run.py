"""One training, from its options to a file of weights, or on from where it was broken off."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dacli import __version__
from dacli.errors import UsageError
from dacli.inference import device
from dacli.io import files
from dacli.models import registry, tiny
from dacli.models.spec import DepthModel
from dacli.training import monitoring
from dacli.training.data import Source, watched
from dacli.training.initialization import from_file, from_scratch
from dacli.training.loop import CHECKPOINT, Alignment, Course, Run, start, train
from dacli.training.parallel import World, share, synchronise
from dacli.training.recipes import SCHEDULES, Objective, Schedule

LOGGED = 10  # steps between two rows of the log
WATCHED = 500  # steps between two looks at the held-out samples
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Wanted:
    """What the options say about a training; None: as its recipe has it."""

    folder: Path
    encoder: str | None = None
    init: Path | None = None
    seed: int = 1
    steps: int | None = None
    batch: int | None = None
    size: int | None = None
    rate: float | None = None
    precision: str = "auto"
    workers: int = 2
    minutes: float = 5

    def schedule(self, encoder: str) -> Schedule:
        """The row of the recipes for this start, changed as wanted."""
        family = "tiny" if encoder == "tiny" else "vit"
        row = SCHEDULES[family, "pretrained" if self.init else "scratch"]
        return row.changed(self.steps, self.batch, self.size, self.rate)


def teach(
    wanted: Wanted, command: str, objective: Objective, source: Source, data: str, world: World, report: Report,
    *, strong: bool = False,
) -> Path:  # fmt: skip
    """Train, or go on where the folder's checkpoint left off; the file of weights, which is the running average.

    `data` tells these pictures from others; `report` gets a row for every step. Raises DacliError if the folder cannot
    be written, its checkpoint is another training's, or the data is faulty.
    """
    network, encoder = beginning(wanted, objective)
    schedule, dtype = wanted.schedule(encoder), arithmetic(wanted.precision, world.device)
    for _, stages in schedule.cycles:
        for stage in stages:
            share(stage.batch, world)
    course = Course(schedule, objective, source, wanted.seed, network.spec.multiple, strong, dtype)
    settings = {
        "command": command, "encoder": encoder, "init": told(wanted.init), "seed": str(wanted.seed), "data": data,
        "strong": str(strong), "precision": str(dtype).removeprefix("torch."),
    }  # fmt: skip
    made = settings | schedule.settings()
    run, alignment = ready(network.to(world.device), course, made, world, aligned=wanted.init is not None)
    if (wanted.folder / CHECKPOINT).exists():
        run.load(wanted.folder / CHECKPOINT)
    look = Watch(run, course, wanted.folder, report) if world.leads else report
    train(run, course, wanted.folder, world, wanted.workers, wanted.minutes, look, alignment)
    path = wanted.folder / f"{encoder}.safetensors"
    if world.leads:
        depth = {} if objective.max_depth is None else {"max_depth": str(objective.max_depth)}
        about = {"dacli": __version__, **depth, **settings, "cycles": json.dumps(schedule.plain())}
        files.write(path, tiny.to_bytes(run.average.cpu(), about))
    return path


def beginning(wanted: Wanted, objective: Objective) -> tuple[DepthModel, str]:
    """The network to train, and the name of its encoder."""
    torch.manual_seed(wanted.seed)
    if wanted.encoder not in (None, *registry.model_names()):
        registry.choose_model(wanted.encoder, "v2", None)
    if wanted.init is not None:
        network = from_file(wanted.init, wanted.encoder, objective.max_depth)
    else:
        network = from_scratch(wanted.encoder or "tiny", objective.max_depth)
    return network, network.spec.name


def told(path: Path | None) -> str:
    return "nothing" if path is None else f"{path.name} ({path.stat().st_size} bytes)"


def arithmetic(precision: str, place: str) -> torch.dtype:
    """The type of the products: bfloat16 where the device has it, the rest is float32 anyway."""
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(f"cannot train in precision {precision!r}", f"choose auto, {' or '.join(PRECISIONS)}")
    if precision != "auto":
        return PRECISIONS[precision]
    fast = torch.cuda.is_bf16_supported(False) if place.startswith("cuda") else bool(device.has_fast_bf16())  # noqa: FBT003
    return PRECISIONS["bf16" if fast and place != "mps" else "fp32"]


def ready(
    network: DepthModel, course: Course, settings: dict[str, str], world: World, *, aligned: bool
) -> tuple[Run, Alignment | None]:
    """The run at its first step, and what its features are aligned with, if they are."""
    if world.count > 1:
        synchronise(network)
    run = start(network, course.schedule.encoder, settings)
    return run, Alignment(network) if course.objective.aligned and aligned else None


class Watch:
    """Writes down how a run goes, and looks at its held-out samples now and then."""

    def __init__(self, run: Run, course: Course, folder: Path, report: Report) -> None:
        self.run, self.course, self.folder, self.report = run, course, folder, report
        self.rows = monitoring.resume(folder, run.done)
        self.samples = watched(course.lesson(course.schedule.cycles[-1][1][-1]))
        self.begun, self.first = time.monotonic(), run.done

    def __call__(self, row: dict[str, Any]) -> None:
        """Take a step's row: tell it with the rate, and write every tenth down."""
        rate = (row["step"] - self.first) / max(1e-9, time.monotonic() - self.begun)
        self.report({**row, "rate": rate})
        last = row["step"] == row["of"]
        if row["step"] % LOGGED == 0 or last:
            self.add({**row, "rate": round(rate, 4), "time": round(time.time(), 1)})
        if row["step"] % WATCHED == 0 or last:
            self.look(row["step"])

    def look(self, step: int) -> None:
        """Measure and draw the held-out samples and the curve."""
        objective = self.course.objective
        loss, found = monitoring.validate(self.run.average, objective, self.samples)
        self.add({"step": step, "validation": loss})
        files.write(self.folder / monitoring.CURVE, monitoring.curve(self.rows))
        files.write(self.folder / monitoring.SHEET, monitoring.sheet(objective, self.samples, found))

    def add(self, row: dict[str, Any]) -> None:
        monitoring.append(self.folder, row)
        self.rows.append(row)
