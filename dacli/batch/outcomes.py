"""The outcome of an input: done, skipped or failed."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

from dacli.batch.jobs import Job
from dacli.batch.settings import RunSettings
from dacli.errors import DacliError, StopError, unexpected_error
from dacli.io.camera import PinholeCamera
from dacli.paths import display_path


class StageSeconds(NamedTuple):
    """The seconds that each stage took for one input; those of the network are a share of its batch."""

    reading: float = 0.0
    network: float = 0.0
    writing: float = 0.0


NO_SECONDS = StageSeconds()


@dataclass(frozen=True)
class Done:
    """Outputs that were written, with the network's input (h, w) in pixels and the range of the depth in its unit.

    `source_size` is the upright input's (h, w) in pixels; (0, 0) if an old journal does not say it.

    `source` is the input's size in bytes and time of change when it was read, `fingerprint` that of the outputs'
    records; `note` says what differs from the plan.
    """

    job: Job
    index: int
    network_size: tuple[int, int]
    range: tuple[float, float]
    source: tuple[int, int]
    fingerprint: str
    source_size: tuple[int, int] = (0, 0)
    camera: PinholeCamera | None = None
    tiles: int = 0
    precision: str = ""
    note: str = ""
    seconds: StageSeconds = NO_SECONDS
    nbytes: int = 0


@dataclass(frozen=True)
class Skipped:
    """Outputs that existed already, made from this input with these settings.

    `source` and `fingerprint` are as in Done if the outputs themselves say so, and empty if the journal does.
    """

    job: Job
    index: int
    network_size: tuple[int, int]
    range: tuple[float, float]
    source_size: tuple[int, int] = (0, 0)
    camera: PinholeCamera | None = None
    source: tuple[int, int] = (-1, -1)
    fingerprint: str = ""
    seconds: StageSeconds = NO_SECONDS
    nbytes: int = 0


@dataclass(frozen=True)
class Failed:
    """An input that failed, with an error that names it and the reason in one line."""

    job: Job
    index: int
    error: DacliError
    source: tuple[int, int] = (-1, -1)
    fingerprint: str = ""
    seconds: StageSeconds = NO_SECONDS
    nbytes: int = 0


Outcome = Done | Skipped | Failed


def named_error(job: Job, error: Exception) -> DacliError:
    """Return the error of one input as a DacliError that names the input, so that the others can go on.

    Raises the error itself if other inputs cannot succeed either (StopError), and, with DACLI_DEBUG=1, if it is not an
    expected one.
    """
    name = display_path(job.source)
    if isinstance(error, StopError):
        raise error
    if isinstance(error, DacliError):
        message = error.message if name in error.message else f"{name}: {error.message}"
        return DacliError(message, error.hint, error.kind)
    if isinstance(error, MemoryError):
        hint = "make the picture smaller, or save fewer kinds at once"
        return DacliError(f"{name}: not enough memory", hint, "memory")
    return unexpected_error(error, name)


def failed_json(failed: Failed) -> dict[str, object]:
    """Return the JSON object of an input that failed."""
    error = failed.error
    return {"input": str(failed.job.source), "ok": False, "error": str(error), "error_kind": error.kind}


def outcome_json(outcome: Outcome, settings: RunSettings) -> dict[str, object]:
    """Return the JSON object of one input, as `--json` prints it."""
    if isinstance(outcome, Failed):
        return failed_json(outcome)
    done = outcome if isinstance(outcome, Done) else None
    return {
        "input": str(outcome.job.source),
        "ok": True,
        **({"exposures": [str(path) for path in outcome.job.exposures]} if outcome.job.exposures else {}),
        "outputs": {kind: str(path) for kind, path in outcome.job.outputs.items()},
        "encoder": settings.encoder,
        "model": settings.model,
        "quantity": settings.output_quantity,
        "source_size": list(outcome.source_size) if any(outcome.source_size) else None,
        "camera": outcome.camera and asdict(outcome.camera),
        "network_size": outcome.network_size,
        "tiles": done.tiles if done else 0,
        "device": settings.plan.device,
        "engine": settings.plan.engine,
        **({"provider": settings.plan.provider} if settings.plan.provider else {}),
        **({"pre": str(settings.pre)} if settings.pre.steps else {}),
        **({"ensemble": list(settings.ensemble)} if settings.ensemble else {}),
        "precision": (done.precision if done else "") or settings.plan.precision,
        "seconds": round(done.seconds.network if done else 0.0, 4),
        "range": list(outcome.range),
        "kept": done is None,
    }
