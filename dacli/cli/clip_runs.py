"""How commands run clips and report each result: paths or JSON on stdout, the rest on stderr."""

import json
import time
from collections.abc import Sequence
from functools import partial

from dacli.batch.jobs import Job
from dacli.batch.opening import OpenRun, check_formats, open_run
from dacli.batch.options import RunOptions
from dacli.batch.outcomes import Done, Failed, Outcome
from dacli.batch.summary import RunSummary
from dacli.cli.console import Console, ReportedInterrupt
from dacli.cli.runs import (
    check_all_options,
    end_command,
    mention_assumed_camera,
    report_failed_input,
    report_note,
    run_each,
)
from dacli.filters.table import parse_filters
from dacli.paths import display_path
from dacli.video.options import ClipOptions
from dacli.video.process import ClipInterrupt
from dacli.video.run import ClipJob, ClipOutcome, open_clip_job, run_clip


def run_video_command(
    runs: Sequence[tuple[Sequence[Job], RunOptions]], clip_options: ClipOptions, console: Console
) -> int:
    """Write the outputs of clips; return the exit code: 1 if one failed.

    Clips are opened before any weights are looked for.
    """
    check_all_options(runs)
    jobs, options = runs[0]
    parse_filters(options.post).check_clips()
    opened = [open_clip_job(job, index, clip_options, options.max_pixels) for index, job in enumerate(jobs)]
    failed = [clip for clip in opened if isinstance(clip, Failed)]
    for clip in failed:
        report_failed_input(clip, console)
    for note in (note for clip in opened if isinstance(clip, ClipJob) for note in clip.clip.notes):
        console.note(note)
    clips = {clip.job.source: clip.clip for clip in opened if isinstance(clip, ClipJob)}
    planned = [
        ([ClipJob(job, clips[job.source]) for job in jobs if job.source in clips], options) for jobs, options in runs
    ]
    summary = RunSummary(len(failed), failed=len(failed))
    if clips:
        run = partial(run_clips, clip_options=clip_options, console=console)
        summary.merge(run_each(planned, run, console, len))
    return end_command(summary, console, kinds=jobs[0].suffixes)


def run_clips(clips: Sequence[ClipJob], options: RunOptions, clip_options: ClipOptions, console: Console) -> RunSummary:
    """Write the outputs of clips by one network."""
    run = open_run(options, sum(len(clip_job.clip.pts) for clip_job in clips), console.note, console.download)
    check_formats(run.settings, clips[0].job.formats.values())
    summary = RunSummary(len(clips))
    for index, clip_job in enumerate(clips):
        summary.add(run_and_report_clip(clip_job, index, run, clip_options, console))
    return summary


def run_and_report_clip(clip_job: ClipJob, index: int, run: OpenRun, options: ClipOptions, console: Console) -> Outcome:
    """Write the outputs of one clip, report it, and return its outcome."""
    job, total = clip_job.job, len(clip_job.clip.pts)
    started = time.monotonic()
    try:
        with console.progress_of_batch(total) as show:

            def progress(done: int, rate: float) -> None:
                show(done, 0, rate, job.name)

            result = run_clip(clip_job, index, run, options, log=console.note, progress=progress)
    except ClipInterrupt as interrupt:
        name = display_path(job.source)
        if interrupt.kept:
            console.warn(
                f"interrupted after {interrupt.kept} of {total} frames of {name}; the same command goes on there"
            )
        else:
            console.warn(f"interrupted before the first frame of {name} was done")
        raise ReportedInterrupt from interrupt
    if isinstance(result.outcome, Failed):
        report_failed_input(result.outcome, console)
        return result.outcome
    report_note(result.outcome, console, mention_skipped=True)
    if isinstance(result.outcome, Done):
        mention_assumed_camera(result.outcome, run.settings, console)
        console.note(describe_clip(result, time.monotonic() - started))
    if console.json:
        console.result(json.dumps(result.json(run.settings)))
    else:
        for path in job.outputs.values():
            console.result(str(path))
    return result.outcome


def describe_clip(result: ClipOutcome, seconds: float) -> str:
    """Return how many frames of a clip were made, at which rate they are shown, and how long it took."""
    rate = result.frames / max(seconds, 1e-9)
    return f"{result.frames} frames at {float(result.fps):.5g} fps; {seconds:.1f} s, {rate:.2f} frames/s"
