"""What all pictures of a run have in common, and whether one of them is made already."""

import contextlib
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dacli import __version__, types
from dacli.batch.jobs import Job, present
from dacli.batch.journal import Entry, Journal, done
from dacli.errors import DacliError
from dacli.inference.device import Plan
from dacli.io import files, png, records
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs import drawing
from dacli.paths import display_path


@dataclass(frozen=True)
class Style:
    """How depth is shown: colormap, which end of gray is near, what maps to black and white."""

    colormap: str = "Spectral_r"
    near: types.Near = "white"
    range: drawing.Range = drawing.AUTO


@dataclass(frozen=True)
class Task:
    """What all pictures of a run have in common.

    `weights` identifies the file, by name and SHA-256 or size; `size` is the network's short side in pixels, seen in
    tiles if `tiled`. `journal` and `out`, the folder that must not vanish, are those of a folder's run.
    """

    encoder: str
    model: str
    weights: str
    quantity: types.Quantity
    size: int
    plan: Plan
    style: Style
    max_pixels: int
    overwrite: bool
    journal: Journal | None = None
    out: Path | None = None
    tiled: bool = False

    @cached_property
    def settings(self) -> Mapping[str, object]:
        """All that decides the outputs' pixels besides the input."""
        how = {"encoder": self.encoder, "model": self.model, "weights": self.weights, "size": self.size}
        how = {**how, "tiled": self.tiled}
        arithmetic = {"precision": self.plan.precision, "engine": self.plan.engine}
        return {**how, **arithmetic, "style": asdict(self.style), "version": __version__}

    def told(
        self, job: Job, made: "Made", seconds: float, tiles: int, precision: str = "", *, kept: bool
    ) -> dict[str, object]:
        """The object of an input that was done, as the contract has it; the precision is the plan's if none is told."""
        return {
            "input": str(job.source),
            "ok": True,
            "outputs": {kind: str(path) for kind, path in job.outputs.items()},
            "encoder": self.encoder,
            "model": self.model,
            "quantity": self.quantity,
            "network_size": made.network_size,
            "tiles": tiles,
            "device": self.plan.device,
            "engine": self.plan.engine,
            "precision": precision or self.plan.precision,
            "seconds": round(seconds, 4),
            "range": list(made.range),
            "kept": kept,
        }


@dataclass(frozen=True)
class Made:
    """What is known of outputs: the network's input (H, W) in pixels, and the range in the depth's unit."""

    network_size: tuple[int, int]
    range: tuple[float, float]


def identity(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change in nanoseconds; -1, -1 for what is not there."""
    with contextlib.suppress(OSError, ValueError):
        info = path.stat()
        return info.st_size, info.st_mtime_ns
    return -1, -1


def fingerprint(source: tuple[int, int], task: Task) -> str:
    """A short hash of all that decides the outputs' pixels: the source's identity and the settings."""
    return hashlib.sha256(json.dumps([*source, task.settings]).encode()).hexdigest()[:16]


def in_journal(job: Job, task: Task) -> Made | None:
    """What the journal knows of outputs that are all there, made from this source with these settings."""
    if task.journal is None or job.name not in task.journal.entries:
        return None
    known = done(task.journal.entries, job, fingerprint(identity(job.source), task))
    return None if known is None else Made(known.network_size, known.range)


def recorded(job: Job, settings: str) -> Made | None:
    """What the records in the PNGs say if the outputs are all there, made so; None if not.

    An .npy holds no record, so the PNGs beside it know its checksum. Raises DacliError for a PNG that dacli did not
    make, or made from a picture of another name.
    """
    outputs = job.outputs
    pictures = [path for path in outputs.values() if path.suffix == ".png" and path.exists()]
    known = [record_in(path, job, lambda path: png.text(files.contents(path), display_path(path))) for path in pictures]
    if not known or not present(job):
        return None
    wanted = settings_with(settings, checksum_in(outputs["npy"])) if "npy" in outputs else settings
    if not all(f"{record.settings}+".startswith(f"{wanted}+") for record in known):
        return None
    return Made(known[0].network_size, (known[0].low, known[0].high))


def record_in(path: Path, job: Job, texts: Callable[[Path], Mapping[str, str]]) -> records.Record:
    """The record among an output's texts; raises DacliError for a file of somebody else's, or of another source."""
    name = display_path(path)
    try:
        record = records.parse_record(texts(path)[RECORD_KEYWORD], name)
    except (DacliError, KeyError):
        fault = f"{name} is there and is nothing whole that dacli made"
        raise DacliError(fault, "move it away, or replace it with --overwrite") from None
    if record.source != recorded_name(job):
        fault = f"{name} is there and was made from {display_path(Path(record.source))}"
        raise DacliError(fault, "choose another folder with -o, or replace it with --overwrite")
    return record


def recorded_name(job: Job) -> str:
    return job.source.name.encode("utf-8", "backslashreplace").decode()


def settings_with(settings: str, checksum: int | None) -> str:
    """Settings as a picture beside an .npy records them: with the checksum of the depth in it."""
    return settings if checksum is None else f"{settings}+{checksum:08x}"


def checksum_in(path: Path) -> int:
    """The checksum of the depth in an .npy; -1, which none has, if it holds none."""
    with contextlib.suppress(OSError, ValueError, EOFError, TypeError):
        return zlib.crc32(np.ascontiguousarray(np.load(path)).data)
    return -1


def entry(job: Job, source: tuple[int, int], settings: str, made: Made) -> Entry:
    """The journal's line for outputs that have just been made."""
    outputs = {kind: identity(path) for kind, path in job.outputs.items()}
    return Entry(job.name, *source, settings, "", outputs, made.network_size, made.range)
