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
from dacli.training.data import TrainingSource, validation_samples
from dacli.training.initialization import network_from_file, untrained_network
from dacli.training.loop import (
    CHECKPOINT_FILE,
    FeatureAlignment,
    TrainingPlan,
    TrainingState,
    create_training_state,
    train_network,
)
from dacli.training.parallel import TrainingWorld, check_batch_split, synchronize_batch_norms
from dacli.training.recipes import SCHEDULES, Objective, Schedule

LOG_EVERY = 10  # steps between two rows of the log
VALIDATE_EVERY = 500  # steps between two looks at the held-out samples
TRAINING_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

StepReport = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainingOptions:
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
        """Return the row of the recipes for this start, with the changes that were asked for."""
        family = "tiny" if encoder == "tiny" else "vit"
        row = SCHEDULES[family, "pretrained" if self.init else "scratch"]
        return row.changed(self.steps, self.batch, self.size, self.rate)


def run_training(
    wanted: TrainingOptions,
    command: str,
    objective: Objective,
    source: TrainingSource,
    data: str,
    world: TrainingWorld,
    report: StepReport,
    *,
    strong: bool = False,
) -> Path:
    """Train, or go on where the folder's checkpoint left off; the file of weights, which is the running average.

    `data` identifies these pictures; `report` gets a row for every step. Raises DacliError if the folder cannot
    be written, its checkpoint is another training's, or the data is faulty.
    """
    network, encoder = initial_network(wanted, objective)
    schedule, dtype = wanted.schedule(encoder), training_dtype(wanted.precision, world.device)
    for _, stages in schedule.cycles:
        for stage in stages:
            check_batch_split(stage.batch, world)
    course = TrainingPlan(schedule, objective, source, wanted.seed, network.spec.multiple, strong, dtype)
    settings = {
        "command": command,
        "encoder": encoder,
        "init": describe_init_file(wanted.init),
        "seed": str(wanted.seed),
        "data": data,
        "strong": str(strong),
        "precision": str(dtype).removeprefix("torch."),
    }
    made = settings | schedule.settings()
    run, alignment = prepare_training(network.to(world.device), course, made, world, aligned=wanted.init is not None)
    if (wanted.folder / CHECKPOINT_FILE).exists():
        run.load(wanted.folder / CHECKPOINT_FILE)
    look = TrainingMonitor(run, course, wanted.folder, report) if world.is_main else report
    train_network(run, course, wanted.folder, world, wanted.workers, wanted.minutes, look, alignment)
    path = wanted.folder / f"{encoder}.safetensors"
    if world.is_main:
        depth = {} if objective.max_depth is None else {"max_depth": str(objective.max_depth)}
        about = {"dacli": __version__, **depth, **settings, "cycles": json.dumps(schedule.plain())}
        files.write_file(path, tiny.encode_weights(run.average.cpu(), about))
    return path


def initial_network(wanted: TrainingOptions, objective: Objective) -> tuple[DepthModel, str]:
    """Return the network to train, and the name of its encoder."""
    torch.manual_seed(wanted.seed)
    if wanted.encoder not in (None, *registry.model_names()):
        registry.choose_model(wanted.encoder, "v2", None)
    if wanted.init is not None:
        network = network_from_file(wanted.init, wanted.encoder, objective.max_depth)
    else:
        network = untrained_network(wanted.encoder or "tiny", objective.max_depth)
    return network, network.spec.name


def describe_init_file(path: Path | None) -> str:
    return "nothing" if path is None else f"{path.name} ({path.stat().st_size} bytes)"


def training_dtype(precision: str, place: str) -> torch.dtype:
    """Return the type of the products: bfloat16 where the device has it, the rest is float32 anyway."""
    if precision not in ("auto", *TRAINING_PRECISIONS):
        raise UsageError(f"cannot train in precision {precision!r}", f"choose auto, {' or '.join(TRAINING_PRECISIONS)}")
    if precision != "auto":
        return TRAINING_PRECISIONS[precision]
    fast = torch.cuda.is_bf16_supported(False) if place.startswith("cuda") else bool(device.has_fast_bf16())  # noqa: FBT003
    return TRAINING_PRECISIONS["bf16" if fast and place != "mps" else "fp32"]


def prepare_training(
    network: DepthModel, course: TrainingPlan, settings: dict[str, str], world: TrainingWorld, *, aligned: bool
) -> tuple[TrainingState, FeatureAlignment | None]:
    """Return the run at its first step, and what its features are aligned with, if they are."""
    if world.count > 1:
        synchronize_batch_norms(network)
    run = create_training_state(network, course.schedule.encoder, settings)
    return run, FeatureAlignment(network) if course.objective.aligned and aligned else None


class TrainingMonitor:
    """Writes down how a run goes, and looks at its held-out samples now and then."""

    def __init__(self, run: TrainingState, course: TrainingPlan, folder: Path, report: StepReport) -> None:
        self.run, self.course, self.folder, self.report = run, course, folder, report
        self.rows = monitoring.resume_log(folder, run.done)
        self.samples = validation_samples(course.lesson(course.schedule.cycles[-1][1][-1]))
        self.started, self.first = time.monotonic(), run.done

    def __call__(self, row: dict[str, Any]) -> None:
        """Take a step's row: tell it with the rate, and write every tenth down."""
        rate = (row["step"] - self.first) / max(1e-9, time.monotonic() - self.started)
        self.report({**row, "rate": rate})
        last = row["step"] == row["of"]
        if row["step"] % LOG_EVERY == 0 or last:
            self.add({**row, "rate": round(rate, 4), "time": round(time.time(), 1)})
        if row["step"] % VALIDATE_EVERY == 0 or last:
            self.look(row["step"])

    def look(self, step: int) -> None:
        """Measure and draw the held-out samples and the curve."""
        objective = self.course.objective
        loss, found = monitoring.validate_network(self.run.average, objective, self.samples)
        self.add({"step": step, "validation": loss})
        files.write_file(self.folder / monitoring.CURVE_FILE, monitoring.draw_loss_curve(self.rows))
        files.write_file(
            self.folder / monitoring.SHEET_FILE, monitoring.draw_sample_sheet(objective, self.samples, found)
        )

    def add(self, row: dict[str, Any]) -> None:
        monitoring.append_log_row(self.folder, row)
        self.rows.append(row)
