"""A run over a folder: its journal, the list of failures, and the plan that a dry run shows."""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from dacli.batch.fingerprint import stamp_file
from dacli.batch.finished import find_in_journal
from dacli.batch.jobs import Job
from dacli.batch.journal import JOURNAL_FOLDER, Journal, read_journals
from dacli.batch.opening import Download, check_formats, check_options, open_run
from dacli.batch.options import RunOptions
from dacli.batch.outcomes import Outcome
from dacli.batch.pictures import PictureRun, fail_picture, read_picture, run_pictures
from dacli.batch.settings import RunSettings
from dacli.batch.stages import infer_group
from dacli.callbacks import Log, TileProgress, ignore_progress
from dacli.errors import DacliError
from dacli.inference import planning
from dacli.inference.predictor import Predictor
from dacli.models import registry
from dacli.paths import display_path

SAMPLES = 3  # pictures whose time a dry run measures


@dataclass(frozen=True)
class FolderOptions:
    """What a run over a folder does: its jobs, the sources of all jobs (also of other shards) by key, and where to.

    With `only_failed`, only the inputs whose last result is an error are done again.
    """

    jobs: Sequence[Job]
    sources: Mapping[str, Path]
    out: Path
    only_failed: bool = False


class FolderRun:
    """A run over a folder, as a context: it keeps the journal open, and lists the failures if an error ends it.

    `jobs` are those that remain to be done; without any, no network is loaded. Raises DacliError if the network or the
    journal cannot be opened, UsageError for options that contradict each other.
    """

    def __init__(self, folder: FolderOptions, options: RunOptions, log: Log, download: Download) -> None:
        check_options(options)
        self._folder, self._overwrite = folder, options.overwrite
        self._journal = Journal(folder.out)
        if lines := self._journal.damaged_lines:
            log(
                f"{lines} lines of the journals in {display_path(folder.out / JOURNAL_FOLDER)} are damaged and left out"
            )
        try:
            self.jobs = self._remaining()
            self._opened = open_run(options, len(self.jobs), log, download) if self.jobs else None
            if self._opened is not None:
                check_formats(self._opened.settings, self.jobs[0].formats.values())
                self._journal.begin(self._opened.settings.decisive, self.jobs[0].root)
                self._journal.delete_leftovers({job.folder for job in folder.jobs})
        except BaseException:
            self._journal.close()
            raise

    def _remaining(self) -> list[Job]:
        entries = self._journal.entries
        if not self._folder.only_failed:
            return list(self._folder.jobs)
        return [job for job in self._folder.jobs if job.key in entries and entries[job.key].error]

    @property
    def settings(self) -> RunSettings:
        """Return what all inputs have in common; only a run with jobs has settings."""
        if self._opened is None:
            raise ValueError("a run without jobs has no settings")
        return self._opened.settings

    def outcomes(self, progress: TileProgress = ignore_progress) -> Generator[Outcome, None, None]:
        """Yield the outcome of every job, in their order; raise StopError when no job can succeed any more."""
        if self._opened is not None:
            run = PictureRun(*self._opened, journal=self._journal, out=self._folder.out)
            yield from run_pictures(self.jobs, run, progress)

    def write_failures(self) -> Path | None:
        """Write the list of inputs of the whole folder that failed last, and return its path; None if none did.

        Raises DacliError if a file of its name is not one that dacli wrote.
        """
        return self._journal.write_failures(self._folder.sources, overwrite=self._overwrite)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.closing(self._journal):
            if error is not None and self.jobs:
                with contextlib.suppress(DacliError):  # the error that ended the run says more
                    self.write_failures()


@dataclass(frozen=True)
class FolderPlan:
    """What a run over a folder would do: its inputs, their bytes, and how many are done already.

    `seconds` is the time for the rest, from `samples` pictures of `seconds_each`; None without the weights.
    """

    jobs: Sequence[Job]
    bytes: int
    done: int = 0
    seconds: float | None = None
    seconds_each: float = 0.0
    samples: int = 0


def plan_folder(jobs: Sequence[Job], out: Path, options: RunOptions, log: Log, download: Download) -> FolderPlan:
    """Return what a run would do, and its time, from that of a few pictures; nothing is written."""
    plan = FolderPlan(jobs, sum(max(0, stamp_file(job.source).size) for job in jobs))
    choice = registry.choose_model(options.encoder, options.model, options.weights)
    place = planning.resolve_plan(options.devices[0], options.precision, options.engine)
    if not registry.has_weights(choice, half=place.half_weights):
        return plan
    predictor, settings = open_run(replace(options, batch=1), 1, log, download)
    entries = read_journals(out)
    remaining = [job for job in jobs if not find_in_journal(entries, job, 0, settings)]
    samples = remaining[:: max(1, len(remaining) // SAMPLES)][:SAMPLES]
    seconds = [elapsed for job in samples if (elapsed := sample_seconds(job, predictor, settings))]
    seconds_each = sum(seconds) / max(1, len(seconds)) / predictor.concurrency
    return replace(
        plan,
        done=len(jobs) - len(remaining),
        seconds=seconds_each * len(remaining),
        seconds_each=seconds_each,
        samples=len(seconds),
    )


def sample_seconds(job: Job, predictor: Predictor, settings: RunSettings) -> float:
    """Return the network's seconds for one picture, in the second of two passes; 0 if it fails. Nothing is written."""
    value = read_picture((0, job), PictureRun(predictor, replace(settings, overwrite=True)))
    seconds = 0.0
    for _ in range(2):
        (result,) = infer_group([value], predictor, fail_picture)
        seconds = result.seconds.network
    return seconds
