"""Runs over clips: each clip is done, skipped or failed independently of the others."""

from dataclasses import dataclass
from fractions import Fraction

from dacli.batch.jobs import Job
from dacli.batch.opening import OpenRun
from dacli.batch.outcomes import Done, Failed, Outcome, Skipped, StageSeconds, outcome_json
from dacli.batch.settings import RunSettings
from dacli.callbacks import Log
from dacli.errors import DacliError, unexpected_error
from dacli.paths import display_path
from dacli.video import codecs
from dacli.video.clip import Clip
from dacli.video.options import ClipOptions
from dacli.video.process import ClipResult, FrameProgress, open_clip, process_clip


@dataclass(frozen=True)
class ClipJob:
    """A clip that could be opened, and the output files to write."""

    job: Job
    clip: Clip


@dataclass(frozen=True)
class ClipOutcome:
    """The outcome of a clip; `frames` and `fps` are those of its outputs."""

    outcome: Outcome
    frames: int
    fps: Fraction

    def json(self, settings: RunSettings) -> dict[str, object]:
        """Return the JSON object of one clip, as `--json` prints it."""
        fields = outcome_json(self.outcome, settings)
        if isinstance(self.outcome, Failed):
            return fields
        return fields | {"frames": self.frames, "fps": float(self.fps)}


def open_clip_job(job: Job, index: int, options: ClipOptions, max_pixels: int) -> ClipJob | Failed:
    """Return a clip limited to the part to process, or the failure to open it."""
    try:
        clip = open_clip(job.source, options, max_pixels)
        if not options.as_frames:
            size = (clip.width, clip.height)
            codecs.check_clip_size(display_path(job.source), size, job.formats.values(), options.codec)
        return ClipJob(job, clip)
    except DacliError as error:
        return Failed(job, index, error)


def run_clip(
    clip_job: ClipJob, index: int, run: OpenRun, options: ClipOptions, *, log: Log, progress: FrameProgress
) -> ClipOutcome:
    """Return the outcome of one clip; a clip that fails does not stop the others."""
    job, clip = clip_job.job, clip_job.clip
    try:
        result = process_clip(job, clip, run, options, log=log, progress=progress)
    except DacliError as error:
        return ClipOutcome(Failed(job, index, error), 0, clip.rate)
    except Exception as error:  # noqa: BLE001 - it becomes the outcome of this clip
        return ClipOutcome(Failed(job, index, unexpected_error(error, display_path(job.source))), 0, clip.rate)
    return ClipOutcome(clip_result_outcome(job, index, result), result.count, clip.rate)


def clip_result_outcome(job: Job, index: int, result: ClipResult) -> Outcome:
    """Return the outcome of a clip that was processed, or whose outputs already existed."""
    size, limits = result.record.network_size, (result.record.low, result.record.high)
    if result.skipped:
        return Skipped(job, index, size, limits, result.record.source_size, result.record.camera)
    return Done(
        job=job,
        index=index,
        network_size=size,
        source_size=result.record.source_size,
        camera=result.record.camera,
        range=limits,
        source=(-1, -1),
        fingerprint=result.record.settings,
        tiles=result.tiles,
        seconds=StageSeconds(network=result.network),
    )
