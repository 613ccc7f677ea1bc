"""How commands run pictures and folders and report each result: paths or JSON on stdout, the rest on stderr."""

import contextlib
import json
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from dacli.api.depth import Depth
from dacli.batch.folder import FolderOptions, FolderPlan, FolderRun, plan_folder
from dacli.batch.jobs import Job
from dacli.batch.opening import check_formats, check_options, open_run
from dacli.batch.options import RunOptions
from dacli.batch.outcomes import Done, Failed, Outcome, Skipped, failed_json, outcome_json
from dacli.batch.settings import RunSettings
from dacli.batch.summary import RunSummary
from dacli.callbacks import TileProgress
from dacli.cli.console import Console, ReportedInterrupt
from dacli.errors import DacliError, StopError
from dacli.io import files, images
from dacli.io.camera import ASSUMED_FOV
from dacli.paths import display_path

Planned = TypeVar("Planned")


def run_each(
    runs: Sequence[tuple[Planned, RunOptions]],
    run: Callable[[Planned, RunOptions], RunSummary],
    console: Console,
    count: Callable[[Planned], int],
) -> RunSummary:
    """Run every network, size and precision of a command, and return the summary of them all.

    One that cannot be loaded does not stop the others, and is reported once; its inputs, by `count`, have failed.
    """
    if len(runs) == 1:
        return run(*runs[0])
    summary, reported = RunSummary(0), set()
    for planned, options in runs:
        try:
            summary.merge(run(planned, options))
        except StopError:
            raise
        except DacliError as error:
            if str(error) not in reported:
                console.error(error)
            reported.add(str(error))
            summary.merge(RunSummary(count(planned), failed=count(planned)))
    return summary


def check_all_options(runs: Sequence[tuple[object, RunOptions]]) -> None:
    """Raise the error of the first network, size and precision that cannot be, before anything is done for another."""
    for _, options in runs:
        check_options(options)


PNG16_HINT = (
    "png16 is data, not a picture: open it with 16 bits, without color management; near is white, but dark in metres, "
    "which are stored as millimetres; dacli decode gives the floats (docs/outputs.md)"
)


def end_command(summary: RunSummary, console: Console, shard: str = "", *, kinds: Iterable[str] = ()) -> int:
    """Print the summary of a command as its last JSON object; return the exit code: 1 if something failed."""
    if summary.done and "png16" in kinds:
        console.hint(PNG16_HINT)
    if console.json:
        console.result(json.dumps({"summary": summary.json() | ({"shard": shard} if shard else {})}))
    return int(summary.failed > 0)


def run_image_command(runs: Sequence[tuple[Sequence[Job], RunOptions]], console: Console) -> int:
    """Write the outputs of single pictures; return the exit code: 1 if one failed.

    If none of them can be a picture, this is reported before any weights are looked for.
    """
    check_all_options(runs)
    jobs, _ = runs[0]
    faults = [images.picture_fault(job.source) for job in jobs]
    if all(faults):
        for index, (job, fault) in enumerate(zip(jobs, faults, strict=True)):
            if fault:
                report_failed_input(Failed(job, index, fault), console)
        return end_command(RunSummary(len(jobs), failed=len(jobs)), console)
    summary = run_each(runs, partial(run_images, console=console), console, len)
    return end_command(summary, console, kinds=jobs[0].suffixes)


def run_images(jobs: Sequence[Job], options: RunOptions, console: Console) -> RunSummary:
    """Write the outputs of single pictures by one network."""
    depth = Depth(open_run(options, len(jobs), console.note, console.download))
    check_formats(depth.settings, jobs[0].formats.values())
    summary = report_all(
        lambda tile: depth.write_outputs(jobs, tile),
        len(jobs),
        depth.settings,
        console,
        mention_size=options.size is not None,
    )
    if summary.skipped and len(jobs) > 1:
        console.note(f"{summary.skipped} of {len(jobs)} were done already; --overwrite makes them again")
    if summary.done and len(jobs) > 1:
        console.note(str(summary))
    return summary


def run_folder_command(runs: Sequence[tuple[FolderOptions, RunOptions]], console: Console, shard: str = "") -> int:
    """Write the outputs of a folder's pictures and list those that failed; return the exit code: 1 if one failed."""
    check_all_options(runs)
    summary = run_each(runs, partial(run_folder, console=console), console, lambda folder: len(folder.jobs))
    kinds = {kind for folder, _ in runs for job in folder.jobs[:1] for kind in job.suffixes}
    return end_command(summary, console, shard, kinds=kinds)


def run_folder(folder: FolderOptions, options: RunOptions, console: Console) -> RunSummary:
    """Write the outputs of a folder's pictures by one network."""
    with FolderRun(folder, options, console.note, console.download) as run:
        if not run.jobs:
            console.note("nothing to do: no input failed" if folder.only_failed else "nothing to do in this part")
            return RunSummary(0)
        summary = report_all(run.outcomes, len(run.jobs), run.settings, console, has_journal=True)
        console.note(str(summary))
        report_failures(run, summary.failed, console)
        return summary


def report_failures(run: FolderRun, failed: int, console: Console) -> None:
    """Write the list of failures, and print where it is, or why it is not written."""
    try:
        listed = f", listed in {failures}" if (failures := run.write_failures()) else ""
    except StopError:
        raise
    except DacliError as error:
        console.error(error)
        listed = ""
    if failed:
        console.warn(f"{failed} failed{listed}")


def show_folder_plan(jobs: Sequence[Job], out: Path, options: RunOptions, console: Console) -> None:
    """Print the files that a run would write, the size of its inputs, and the time that it would take."""
    for job in jobs:
        console.planned(str(job.source), {kind: str(path) for kind, path in job.outputs.items()})
    console.warn(describe_plan(plan_folder(jobs, out, options, console.note, console.download)))


def report_unwritable(out: Path, console: Console) -> int:
    """Print why a run could not write to its output folder; return the exit code: 1 if it could not."""
    fault = files.folder_fault(out)
    if fault is not None:
        console.error(fault)
    return int(fault is not None)


def describe_plan(plan: FolderPlan) -> str:
    """Return a plan as one line."""
    text = f"{len(plan.jobs)} pictures, {plan.bytes / 1e6:,.0f} MB"
    if plan.seconds is None:
        return f"{text}; the time is unknown until the weights are downloaded (dacli weights get)"
    if plan.done == len(plan.jobs):
        return f"{text}, all done already"
    rest = describe_duration(plan.seconds)
    samples = f"{plan.seconds_each:.2f} s each, by {plan.samples} samples"
    return f"{text}, {plan.done} done already; about {rest} for the rest ({samples})"


def describe_duration(seconds: float) -> str:
    """Return seconds as hours and minutes, minutes, or seconds."""
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def report_all(
    start: Callable[[TileProgress], Generator[Outcome, None, None]],
    total: int,
    settings: RunSettings,
    console: Console,
    *,
    has_journal: bool = False,
    mention_size: bool = False,
) -> RunSummary:
    """Run pictures and report each outcome, with a progress bar; an interrupt says how to go on."""
    summary, knows_camera = RunSummary(total), False
    try:
        with console.progress_of_batch(total) as show:

            def show_tile(done: int, count: int) -> None:
                show(summary.ended + done / count, summary.failed, summary.rate, f"tile {done} of {count}")

            with contextlib.closing(start(show_tile)) as outcomes:
                for outcome in outcomes:
                    summary.add(outcome)
                    report_outcome(
                        outcome,
                        settings,
                        console,
                        mention_skipped=not has_journal and total == 1,
                        mention_size=mention_size,
                    )
                    knows_camera = knows_camera or mention_assumed_camera(outcome, settings, console)
                    show(summary.ended, summary.failed, summary.rate, outcome.job.name)
    except KeyboardInterrupt as interrupt:
        console.warn(f"interrupted after {summary.ended} of {total}; the same command goes on from there")
        raise ReportedInterrupt from interrupt
    return summary


def mention_assumed_camera(outcome: Outcome, settings: RunSettings, console: Console) -> bool:
    """Print that a field of view is assumed, if depth or outputs depend on it; return whether it was printed."""
    if not (isinstance(outcome, Done) and outcome.camera and outcome.camera.source == "assumed"):
        return False
    if not (settings.needs_focal or any(row.needs_camera for row in outcome.job.formats.values())):
        return False
    console.note(f"the field of view is assumed to be {ASSUMED_FOV:g} degrees: --fov or --focal-px say what it is")
    return True


def report_outcome(
    outcome: Outcome, settings: RunSettings, console: Console, *, mention_skipped: bool, mention_size: bool
) -> None:
    """Print one input's result: JSON or paths on stdout, its error or note on stderr."""
    report_note(outcome, console, mention_skipped=mention_skipped)
    if isinstance(outcome, Done) and mention_size and settings.size >= 2 * min(outcome.source_size):
        name, short_side = display_path(outcome.job.source), min(outcome.source_size)
        console.note(f"{name} is smaller ({short_side} px) than --size {settings.size}, which shows no more of it")
    if console.json:
        console.result(json.dumps(outcome_json(outcome, settings)))
    elif not isinstance(outcome, Failed):
        for path in outcome.job.outputs.values():
            console.result(str(path))


def report_note(outcome: Outcome, console: Console, *, mention_skipped: bool) -> None:
    """Print one input's error or note on stderr."""
    name = display_path(outcome.job.source)
    if isinstance(outcome, Failed):
        console.error(outcome.error)
    elif isinstance(outcome, Skipped) and mention_skipped:
        console.note(f"{name} is done already; --overwrite makes it again")
    elif isinstance(outcome, Done) and outcome.note:
        console.note(f"{name}: {outcome.note}")


def report_failed_input(failed: Failed, console: Console) -> None:
    """Print why an input failed that no network has seen."""
    console.error(failed.error)
    if console.json:
        console.result(json.dumps(failed_json(failed)))
