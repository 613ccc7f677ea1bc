"""One training, from its options to a file of weights; an interrupted one resumes from its checkpoint."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open

from dacli import __version__
from dacli.callbacks import Log, ignore_log
from dacli.errors import UsageError
from dacli.inference import device
from dacli.io import files, ownership
from dacli.models import registry, tiny
from dacli.models.spec import DepthModel
from dacli.training import monitoring
from dacli.training.data import SceneSource, TrainingSource, validation_samples
from dacli.training.initialization import network_from_file, untrained_network
from dacli.training.loop import train_network
from dacli.training.parallel import TrainingWorld, check_batch_split, synchronize_batch_norms
from dacli.training.recipes import SCHEDULES, Objective, Schedule, TrainingPlan
from dacli.training.state import CHECKPOINT_FILE, TrainingState, create_training_state
from dacli.training.step import FeatureAlignment, checkpoint_activations

LOG_EVERY = 10  # steps between two rows of the log
VALIDATE_EVERY = 500  # steps between two validations
TRAINING_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

StepReport = Callable[[dict[str, Any]], None]  # takes a row of the log: step, of, size, loss, rate


@dataclass(frozen=True)
class TrainingOptions:
    """The options of a training; None stands for the value of the recipe.

    `init` is a file of weights to start from, `rate` the peak of the learning rate, `workers` the number of processes
    that make batches, `minutes` the time between two checkpoints, `seconds` the time after which the training ends.
    `compiled` networks go through torch.compile; `checkpoint_activations` trades time for memory.
    """

    folder: Path
    encoder: str | None = None
    init: Path | None = None
    seed: int = 1
    steps: int | None = None
    batch: int | None = None
    size: int | None = None
    rate: float | None = None
    precision: str = "auto"
    workers: int | None = None
    minutes: float = 5
    seconds: float | None = None
    compiled: bool = False
    checkpoint_activations: bool = False

    def schedule(self, encoder: str) -> Schedule:
        """Return the schedule of the recipe for this encoder, with the values of the options."""
        family, start = "tiny" if encoder == "tiny" else "vit", "scratch"
        if self.init is not None:
            start = "pretrained" if registry.encoder_in_file(self.init) is None else "encoder"
        schedule = SCHEDULES[family, start]
        return schedule.with_changes(steps=self.steps, batch=self.batch, size=self.size, rate=self.rate)


def run_training(
    options: TrainingOptions,
    command: str,
    objective: Objective,
    source: TrainingSource,
    data: str,
    world: TrainingWorld,
    report: StepReport,
    *,
    log: Log = ignore_log,
    is_stopping: Callable[[], bool] = lambda: False,
    strong: bool = False,
) -> Path:
    """Train, or resume from the checkpoint in the folder; return the file of weights, those of the running average.

    `data` identifies the pictures; `report` gets a row for every step, `log` lines for the user. Raises DacliError if
    the folder cannot be written, if its checkpoint belongs to another training, or if the data is faulty.
    """
    network, encoder = initial_network(options, objective)
    schedule, dtype = options.schedule(encoder), training_dtype(options.precision, world.device)
    for stage in (stage for _, stages in schedule.cycles for stage in stages):
        check_batch_split(stage.batch, world)
    plan = TrainingPlan(
        schedule=schedule,
        objective=objective,
        source=source,
        seed=options.seed,
        patch=network.spec.multiple,
        strong=strong,
        dtype=dtype,
    )
    settings = training_settings(options, command, encoder, data, dtype, strong=strong)
    state, alignment = prepare_training(
        network.to(world.device), plan, settings | schedule.settings(), world, pretrained=options.init is not None
    )
    if os.path.lexists(options.folder / CHECKPOINT_FILE):
        state.load(options.folder / CHECKPOINT_FILE)
        log(describe_resumption(state.steps_done, schedule.steps, options.folder))
    refuse_foreign_training(options.folder, encoder, settings)
    if options.checkpoint_activations:
        checkpoint_activations(state.model)
    if options.compiled:
        compile_for_training(state.model, world.device)
    train_network(
        state,
        plan,
        options.folder,
        world,
        workers=worker_count(source, world) if options.workers is None else options.workers,
        minutes=options.minutes,
        seconds=options.seconds,
        report=TrainingMonitor(state, plan, options.folder, report, settings) if world.is_main else report,
        log=log,
        is_stopping=is_stopping,
        alignment=alignment,
    )
    path = weights_file(options.folder, encoder)
    if world.is_main:
        write_average(path, state, plan, settings | source_of_init_file(options.init))
    return path


def weights_file(folder: Path, encoder: str) -> Path:
    """Return the file that a training writes its weights to."""
    return folder / f"{encoder}.safetensors"


def refuse_foreign_training(folder: Path, encoder: str, settings: dict[str, str]) -> None:
    """Raise DacliError for a file that the training writes and that, by its record, is not of this training.

    The checkpoint checks itself when it is loaded; the schedule may change.
    """
    checks = {
        monitoring.LOG_FILE: monitoring.is_log_of,
        monitoring.CURVE_FILE: ownership.has_purpose,
        monitoring.SHEET_FILE: ownership.has_purpose,
        weights_file(folder, encoder).name: are_weights_of,
    }
    for name, is_own in checks.items():

        def is_of_training(path: Path, is_own: Callable[[Path, dict[str, str]], bool] = is_own) -> bool:
            return is_own(path, settings)

        ownership.refuse_foreign_files([folder / name], is_of_training, "move it away, or train in another folder")


def are_weights_of(path: Path, settings: dict[str, str]) -> bool:
    """Return whether a file of weights was written by a training with these settings."""
    files.read_bytes(path, 1)  # which raises DacliError for a pipe, where safe_open() would wait
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, TypeError, SafetensorError):
        return False
    return settings.items() <= metadata.items()


def describe_resumption(done: int, steps: int, folder: Path) -> str:
    """Return from which step a training goes on; of one that is finished, its last validation."""
    if done < steps:
        return f"goes on after step {done} of {steps}"
    rows = [row for row in monitoring.read_log(folder) if "validation" in row]
    loss = f", validation loss {rows[-1]['validation']:.3f}" if rows else ""
    return f"finished at step {done}{loss}; more --steps go on from there"


def training_settings(
    options: TrainingOptions, command: str, encoder: str, data: str, dtype: torch.dtype, *, strong: bool
) -> dict[str, str]:
    """Return what a checkpoint and weights record of a training besides its schedule."""
    return {
        "command": command,
        "encoder": encoder,
        "init": describe_init_file(options.init),
        "seed": str(options.seed),
        "data": data,
        "strong": str(strong),
        "precision": str(dtype).removeprefix("torch."),
    }


def compile_for_training(network: DepthModel, device: str) -> None:
    """Compile the network in place, on a GPU with CUDA graphs; every size of picture is compiled when it comes up."""
    network.compile(mode="reduce-overhead" if device.startswith("cuda") else None, dynamic=False)


def worker_count(source: TrainingSource, world: TrainingWorld) -> int:
    """Return how many processes make batches: on a GPU all cores but one for the layouts of its scenes, or else two."""
    if world.device.startswith("cuda") and isinstance(source, SceneSource):
        return max(1, (os.cpu_count() or 2) // world.count - 1)
    return 2


def write_average(path: Path, state: TrainingState, plan: TrainingPlan, settings: dict[str, str]) -> None:
    """Write the weights of the running average, with the settings and the schedule as metadata."""
    max_depth = plan.objective.max_depth
    depth = {} if max_depth is None else {"max_depth": str(max_depth)}
    metadata = {"dacli": __version__, **depth, **settings, "cycles": json.dumps(plan.schedule.as_lists())}
    files.write_file(path, tiny.encode_weights(state.average.module.cpu(), metadata))


def initial_network(options: TrainingOptions, objective: Objective) -> tuple[DepthModel, str]:
    """Return the network to train and the name of its encoder; raise UsageError if there is no such encoder."""
    torch.manual_seed(options.seed)
    if options.encoder not in (None, *registry.model_names()):
        registry.choose_model(options.encoder, "v2", None)
    if options.init is not None:
        network = network_from_file(options.init, options.encoder, objective.max_depth)
    else:
        network = untrained_network(options.encoder or "tiny", objective.max_depth)
    return network, network.spec.name


def describe_init_file(path: Path | None) -> str:
    """Return the name and size of a file of weights, as checkpoints record it."""
    return "nothing" if path is None else f"{path.name} ({path.stat().st_size} bytes)"


def source_of_init_file(path: Path | None) -> dict[str, str]:
    """Return where the weights of a safetensors file came from, if it says so: their licence may ask for the credit."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (OSError, TypeError, SafetensorError):
        return {}
    source = metadata.get("source") or metadata.get("init source")
    return {"init source": source} if source else {}


def training_dtype(precision: str, place: str) -> torch.dtype:
    """Return the type of matrix products: bfloat16 if the device is fast at it; everything else is float32."""
    if precision not in ("auto", *TRAINING_PRECISIONS):
        raise UsageError(f"cannot train in precision {precision!r}", f"choose auto, {' or '.join(TRAINING_PRECISIONS)}")
    if precision != "auto":
        return TRAINING_PRECISIONS[precision]
    fast = torch.cuda.is_bf16_supported(False) if place.startswith("cuda") else bool(device.has_fast_bf16())  # noqa: FBT003
    return TRAINING_PRECISIONS["bf16" if fast and place != "mps" else "fp32"]


def prepare_training(
    network: DepthModel, plan: TrainingPlan, settings: dict[str, str], world: TrainingWorld, *, pretrained: bool
) -> tuple[TrainingState, FeatureAlignment | None]:
    """Return the state at step 0, and the alignment of features if the objective has one for pretrained networks."""
    if world.count > 1:
        synchronize_batch_norms(network)
    state = create_training_state(network, plan.schedule.encoder_factor, settings)
    return state, FeatureAlignment(network) if plan.objective.align_features and pretrained else None


class TrainingMonitor:
    """Logs the steps of a training and validates its running average from time to time."""

    def __init__(
        self, state: TrainingState, plan: TrainingPlan, folder: Path, report: StepReport, settings: dict[str, str]
    ) -> None:
        self.state, self.plan, self.folder, self.report = state, plan, folder, report
        self.rows = monitoring.resume_log(folder, state.steps_done, settings)
        self.text = ownership.purpose_text(settings)  # the record of pictures
        self.samples = validation_samples(plan.batch_settings(plan.schedule.cycles[-1][1][-1]))
        self.started, self.first = time.monotonic(), state.steps_done
        self.step = state.steps_done  # the last one that was reported

    def __call__(self, row: dict[str, Any]) -> None:
        """Report the row of a step with the steps per second; log every tenth step and validate after every 500th."""
        rate = (row["step"] - self.first) / max(1e-9, time.monotonic() - self.started)
        self.report({**row, "rate": rate})
        last = row["step"] == row["of"]
        before, self.step = self.step, row["step"]
        if row["step"] // LOG_EVERY > before // LOG_EVERY or last:
            self.log({**row, "rate": round(rate, 4), "time": round(time.time(), 1)})
        if row["step"] // VALIDATE_EVERY > before // VALIDATE_EVERY or last:
            self.validate(row["step"])

    def validate(self, step: int) -> None:
        """Log the loss of the held-out samples; draw them and the curve of the loss."""
        objective = self.plan.objective
        loss, predictions = monitoring.validate_network(
            cast(DepthModel, self.state.average.module), objective, self.samples
        )
        self.log({"step": step, "validation": loss})
        files.write_file(self.folder / monitoring.CURVE_FILE, monitoring.draw_loss_curve(self.rows, self.text))
        sheet = monitoring.draw_sample_sheet(objective, self.samples, predictions, self.text)
        files.write_file(self.folder / monitoring.SHEET_FILE, sheet)

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to the log."""
        monitoring.append_log_row(self.folder, row)
        self.rows.append(row)
