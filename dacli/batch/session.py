"""One run of a command: the network opened, the work done, each result told."""

import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dacli import memory, paths
from dacli.batch import journal, pipeline
from dacli.batch.jobs import Job
from dacli.batch.journal import Entry, Journal
from dacli.batch.options import RunOptions, style
from dacli.batch.pipeline import Work
from dacli.batch.settings import Task, fingerprint, identity
from dacli.callbacks import Reporter
from dacli.errors import DacliError
from dacli.inference import device
from dacli.inference.loading import batch_for, load_predictor
from dacli.inference.predictor import Predictor
from dacli.models import registry

SAMPLES = 3  # pictures that a dry run takes the time of


@dataclass
class Tally:
    """How a run stands: pictures by what became of them, and the seconds that the stages took."""

    total: int
    done: int = 0
    kept: int = 0
    failed: int = 0
    reading: float = 0.0
    network: float = 0.0
    writing: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    def add(self, work: Work) -> None:
        """Count one more."""
        self.failed += work.error is not None
        self.kept += work.kept
        self.done += work.error is None and not work.kept
        self.reading += work.reading
        self.network += work.network
        self.writing += work.writing

    @property
    def ended(self) -> int:
        """Pictures that need nothing more."""
        return self.done + self.kept + self.failed

    @property
    def rate(self) -> float:
        """Pictures per second that were really made."""
        return self.done / max(time.perf_counter() - self.begun, 1e-9)

    def __str__(self) -> str:
        text = f"{self.done} done, {self.kept} skipped, {self.failed} failed"
        if self.done:
            text += (
                f"; {self.rate:.2f} pictures/s (seconds of work: reading {self.reading:.1f}, network "
                f"{self.network:.1f}, writing {self.writing:.1f})"
            )
        return text


def prepare(chosen: RunOptions, voice: Reporter, pictures: int = 1) -> tuple[list[Predictor], Task]:
    """The predictors for so many pictures, one for each that is computed at a time, and what the pictures share."""
    memory.few_heaps()
    look = style(chosen.colormap, chosen.near, chosen.range)
    choice = registry.choose(chosen.encoder, chosen.model, chosen.weights)
    machines = [(one, chosen.precision, chosen.engine) for one in chosen.devices]
    found = [load_predictor(choice, chosen.size, machine, voice, pictures, chosen.tile) for machine in machines]
    ready = [predictor for predictor, _ in found]
    first, opened = found[0]
    for one in ready:
        one.batch = batch_for(one) if chosen.batch is None else chosen.batch
    ready = [each for one in ready for each in one.shared()]
    return ready, Task(
        opened.encoder, opened.model, opened.weights, first.quantity, first.size, first.engine.plan, look,
        chosen.max_pixels, chosen.overwrite, tiled=first.tiled,
    )  # fmt: skip


def go(planned: Sequence[Job], predictors: Sequence[Predictor], task: Task, voice: Reporter) -> Tally:
    """Do the work, telling each result; an interrupt says how to go on."""
    tally = Tally(len(planned))
    works = pipeline.run(planned, predictors, task)
    try:
        with contextlib.closing(works), voice.counting(len(planned)) as show:

            def tell_tile(done: int, count: int) -> None:
                show(tally.ended + done / count, tally.failed, tally.rate, f"tile {done} of {count}")

            for one in predictors:
                one.report = tell_tile
            for work in works:
                tally.add(work)
                report(work, task, voice)
                show(tally.ended, tally.failed, tally.rate, work.job.name)
    except KeyboardInterrupt:
        voice.insist(f"interrupted after {tally.ended} of {tally.total}; the same command goes on from there")
        raise
    return tally


def fill_folder(
    mine: Sequence[Job], names: Sequence[str], out: Path, chosen: RunOptions, voice: Reporter, *, only_failed: bool
) -> int:
    """Do a folder's part of the work and write down what failed of the whole; the exit code."""
    check(chosen)
    with Journal(out) as log:
        known = log.entries
        todo = [job for job in mine if not only_failed or (job.name in known and known[job.name].error)]
        if not todo:
            voice.note("nothing to do: no input failed" if only_failed else "nothing to do in this part")
            return 0
        predictors, task = prepare(chosen, voice, len(todo))
        log.begin(task.settings)
        log.sweep({job.folder for job in mine})
        try:
            tally = go(todo, predictors, replace(task, journal=log, out=out), voice)
        except BaseException:
            with contextlib.suppress(DacliError):  # what went wrong before says more
                log.write_failures(names)
            raise
        voice.note(str(tally))
        failures = log.write_failures(names)
        if tally.failed:
            tell_failures(log.entries, [job.name for job in todo], voice)
            voice.insist(f"listed in {failures}")
        return 1 if tally.failed else 0


def check(chosen: RunOptions) -> None:
    """Raises what prepare() would raise for options that nothing can be made with, before a folder is made."""
    style(chosen.colormap, chosen.near, chosen.range)
    registry.choose(chosen.encoder, chosen.model, chosen.weights)
    for one in chosen.devices:
        device.resolve(one, chosen.precision, chosen.engine)


def tell_failures(known: Mapping[str, Entry], names: Sequence[str], voice: Reporter) -> None:
    failed = [name for name in names if name in known and known[name].error]
    voice.insist(f"{len(failed)} failed:")
    for name in failed:
        voice.insist(f"  {known[name].error}")


def show_plan(mine: Sequence[Job], out: Path, chosen: RunOptions, voice: Reporter) -> None:
    """Tell what a run would make of what, how much that is, and how long a few of the pictures take."""
    for job in mine:
        voice.planned(str(job.source), {kind: str(path) for kind, path in job.outputs.items()})
    size = sum(max(0, identity(job.source)[0]) for job in mine)
    text = f"{len(mine)} pictures, {size / 1e6:,.0f} MB"
    choice = registry.choose(chosen.encoder, chosen.model, chosen.weights)
    plan = device.resolve(chosen.devices[0], chosen.precision, chosen.engine)
    if not registry.is_here(choice, half=plan.half_weights):
        voice.insist(f"{text}; the time is unknown until the weights are here (dacli weights get)")
        return
    predictors, task = prepare(replace(chosen, batch=1), voice)
    known = journal.read(out)
    todo = [job for job in mine if not is_done(known, job, task)]
    few = todo[:: max(1, len(todo) // SAMPLES)][:SAMPLES]
    seconds = [taken for job in few if (taken := sample(job, predictors[0], task))]
    text += f", {len(mine) - len(todo)} done already"
    each = sum(seconds) / max(1, len(seconds)) / len(predictors)
    rest = duration(each * len(todo))
    voice.insist(f"{text}; about {rest} for the rest ({each:.2f} s each, by {len(seconds)} samples)")


def is_done(known: Mapping[str, Entry], job: Job, task: Task) -> bool:
    return not task.overwrite and journal.done(known, job, fingerprint(identity(job.source), task)) is not None


def sample(job: Job, ready: Predictor, task: Task) -> float:
    """Seconds of the network, which is what a run takes, for one picture; 0 if it fails."""
    work = pipeline.read(0, job, ready, replace(task, overwrite=True))
    for _ in range(2):
        if work.error is None:
            with pipeline.own_fault(work):
                pipeline.alone(work, ready)
    return work.network if work.error is None else 0.0


def duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def report(work: Work, task: Task, voice: Reporter) -> None:
    """One input's result: JSON or paths on stdout, its fault or note on stderr."""
    if work.error is not None:
        voice.fault(work.error)
    elif work.kept and task.journal is None:
        voice.note(f"{paths.display_path(work.job.source)} is done already; --overwrite redoes it")
    elif work.note:
        voice.note(f"{paths.display_path(work.job.source)}: {work.note}")
    if voice.json:
        voice.result(json.dumps(as_json(work, task)))
    elif work.error is None:
        for path in work.job.outputs.values():
            voice.result(str(path))


def as_json(work: Work, task: Task) -> dict[str, object]:
    """The object of one input, as the contract has it."""
    if work.error is not None or work.made is None:
        return {"input": str(work.job.source), "ok": False, "error": str(work.error)}
    return task.told(work.job, work.made, work.network, work.tiles, work.precision, kept=work.kept)
