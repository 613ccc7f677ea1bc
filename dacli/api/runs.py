"""The depth of folders and clips from Python, written to files as the commands write it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dacli.api.depth import options_for_model
from dacli.batch import inputs
from dacli.batch.folder import FolderOptions, FolderRun
from dacli.batch.jobs import plan_jobs
from dacli.batch.opening import check_formats, open_run
from dacli.batch.outcomes import Outcome
from dacli.batch.summary import RunSummary
from dacli.callbacks import Log, ignore_download, ignore_log, ignore_progress
from dacli.choices import Quantity, SteadyMode
from dacli.errors import DacliError
from dacli.filters.table import parse_filters
from dacli.outputs.formats import choose_formats
from dacli.video.options import ClipOptions, refuse_known_points
from dacli.video.process import open_clip, process_clip


def process_folder(
    source: str | Path,
    out: str | Path,
    *,
    model: str | Path = "vits",
    save: Sequence[str] = ("color",),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    on_outcome: Callable[[Outcome, RunSummary], None] | None = None,
    log: Log = ignore_log,
    **options: Any,
) -> RunSummary:
    """Write the depth of every picture below a folder, in the same tree below `out`; return how many were done.

    Pictures that were done already with the same settings are skipped, a picture that fails does not stop the others,
    and `out`/failures.jsonl lists those that failed. `save` holds names that `--save` takes. `on_outcome` is called
    after every picture. `options` are the fields of dacli.batch.options.RunOptions, such as size, precision, colormap,
    overwrite, and `device`. Raises ValueError for an unknown value of an option, DacliError if there are no pictures or
    the model cannot be loaded.
    """
    target = Path(out)
    gathered = inputs.gather_inputs(str(source), target, include, exclude)
    jobs = plan_jobs(gathered.files, target, choose_formats(list(save)), root=gathered.root)
    if not jobs:
        raise DacliError(f"no pictures in {source}", "check the path, include and exclude")
    if line := gathered.left_out.describe_line():
        log(line)
    folder = FolderOptions(jobs, {job.key: job.source for job in jobs}, target)
    summary = RunSummary(len(jobs))
    with FolderRun(folder, options_for_model(model, **options), log, ignore_download) as run:
        for outcome in run.outcomes():
            summary.add(outcome)
            if on_outcome is not None:
                on_outcome(outcome, summary)
        run.write_failures()
    return summary


@dataclass(frozen=True)
class ClipOutputs:
    """The outputs of a clip by kind, its number of frames and frames per second; `skipped`: they existed already."""

    outputs: dict[str, Path]
    frames: int
    fps: float
    quantity: Quantity
    skipped: bool


def process_video(
    clip: str | Path,
    out: str | Path | None = None,
    *,
    model: str | Path = "vits",
    save: Sequence[str] = ("color",),
    steady: SteadyMode = "on",
    start: float | None = None,
    end: float | None = None,
    max_fps: float | None = None,
    rate: float = 24.0,
    as_frames: bool = False,
    progress: Callable[[int, float], None] | None = None,
    log: Log = ignore_log,
    **options: Any,
) -> ClipOutputs:
    """Write the depth of a clip (or of a folder of numbered pictures) as clips beside it, or in the folder `out`.

    `start` and `end` are seconds, `rate` the frames per second of a folder of pictures; `steady` makes depth steady
    from frame to frame ("on", "off" or "two-pass"). `progress(frames done, frames per second)` is called after every
    frame. `options` are the fields of dacli.batch.options.RunOptions, and `device`. Raises ValueError for an unknown
    value of an option, DacliError for a clip that cannot be read or written.
    """
    chosen = options_for_model(model, **options)
    parse_filters(chosen.post).check_clips()
    refuse_known_points(chosen.calibration)
    clip_options = ClipOptions(
        start=start,
        end=end,
        max_fps=max_fps,
        rate=Fraction(rate).limit_denominator(1001),
        steady=steady,
        as_frames=as_frames,
    )
    formats = choose_formats(list(save))
    (job,) = plan_jobs(
        [Path(clip)], None if out is None else Path(out), formats, medium="frames" if as_frames else "clip"
    )
    opened = open_clip(job.source, clip_options, chosen.max_pixels)
    run = open_run(chosen, len(opened.pts), log, ignore_download)
    check_formats(run.settings, formats)
    result = process_clip(job, opened, run, clip_options, log=log, progress=progress or ignore_progress)
    return ClipOutputs(job.outputs, result.count, float(opened.rate), run.settings.output_quantity, result.skipped)
