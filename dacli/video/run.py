"""A run over clips: each made or failed by itself, and each result told."""

import json
from collections.abc import Sequence

from dacli.batch import session
from dacli.batch.jobs import Job
from dacli.batch.options import RunOptions
from dacli.batch.settings import Made, Task
from dacli.callbacks import Reporter
from dacli.errors import DacliError, unforeseen
from dacli.inference.predictor import Predictor
from dacli.paths import display_path
from dacli.video import process
from dacli.video.probe import Clip
from dacli.video.process import Developed, Showing


def screen(planned: Sequence[Job], chosen: RunOptions, showing: Showing, voice: Reporter) -> int:
    """Make the outputs of all clips; the exit code: 1 if one failed."""
    session.check(chosen)
    opened = [(job, process) for job in planned if (process := opened_or_told(job, chosen, showing, voice))]
    failed = len(planned) - len(opened)
    if opened:
        predictors, task = session.prepare(chosen, voice, sum(len(clip.pts) for _, clip in opened))
        failed += sum(not shoot(job, clip, predictors, task, showing, voice) for job, clip in opened)
    return 1 if failed else 0


def opened_or_told(job: Job, chosen: RunOptions, showing: Showing, voice: Reporter) -> Clip | None:
    """The clip, or None after its fault was told."""
    try:
        return process.open_clip(job.source, showing, chosen.max_pixels)
    except DacliError as error:
        fail(job, error, voice)
        return None


def shoot(job: Job, clip: Clip, predictors: Sequence[Predictor], task: Task, showing: Showing, voice: Reporter) -> bool:
    """Make the outputs of one clip and tell of it; False if that failed."""
    done = 0
    try:
        with voice.counting(len(clip.pts)) as count:

            def show(ended: int, rate: float) -> None:
                nonlocal done
                done = ended
                count(ended, 0, rate, job.name)

            made = process.develop(job, clip, predictors, task, showing, voice.note, show)
    except KeyboardInterrupt:
        voice.insist(
            f"interrupted after {done} of {len(clip.pts)} frames of {display_path(job.source)}; --resume goes on"
        )
        raise
    except DacliError as error:
        fail(job, error, voice)
    except Exception as error:  # noqa: BLE001 - it is told, or raised for who looks for it
        fail(job, unforeseen(error, display_path(job.source)), voice)
    else:
        tell(job, made, clip, task, voice)
        return True
    return False


def fail(job: Job, error: DacliError, voice: Reporter) -> None:
    voice.fault(error)
    if voice.json:
        voice.result(json.dumps({"input": str(job.source), "ok": False, "error": str(error)}))


def tell(job: Job, made: Developed, clip: Clip, task: Task, voice: Reporter) -> None:
    """A clip's result: JSON or paths on stdout."""
    if made.kept:
        voice.note(f"{display_path(job.source)} is done already; --overwrite redoes it")
    if not voice.json:
        for path in job.outputs.values():
            voice.result(str(path))
        return
    record = made.record
    size, limits = record.network_size, (record.low, record.high)
    done = task.told(job, Made(size, limits), made.network, made.tiles, kept=made.kept)
    voice.result(json.dumps(done | {"frames": made.count, "fps": float(clip.rate)}))
