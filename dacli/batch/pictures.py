"""Pictures through the network and into files; each is done, skipped or failed by itself."""

import contextlib
import math
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from dacli.batch.entries import Entry
from dacli.batch.fingerprint import FileStamp, Fingerprint, depth_checksum, fingerprint_picture, stamp_file
from dacli.batch.finished import (
    claimed_kinds,
    describe_replaced,
    find_in_journal,
    find_on_disk,
    read_output_records,
)
from dacli.batch.finishing import finish_prediction
from dacli.batch.jobs import Job
from dacli.batch.journal import Journal
from dacli.batch.outcomes import Done, Failed, Outcome, Skipped, named_error
from dacli.batch.preparing import prepare_picture
from dacli.batch.settings import RunSettings
from dacli.batch.stages import Loaded, Predicted, Stages, infer_group, run_stages, timed_read, timed_write
from dacli.batch.views import calibrate_prediction, view_prediction
from dacli.callbacks import TileProgress, ignore_progress
from dacli.errors import DacliError
from dacli.filters.exposures import merge_exposures
from dacli.inference.predictor import Predictor
from dacli.io import files, images
from dacli.io.camera import find_camera, read_exif_focal
from dacli.io.picture import Picture
from dacli.outputs.style import put_far
from dacli.paths import display_path


@dataclass(frozen=True)
class PictureRun:
    """What the stages of a run over pictures need: predictor and settings, and for a folder its journal.

    `out` is the output folder, which is not created again if it disappears during the run.
    """

    predictor: Predictor
    settings: RunSettings
    journal: Journal | None = None
    out: Path | None = None

    @property
    def prefix(self) -> str:
        """Return the prefix of the names of temporary files."""
        return "" if self.journal is None else self.journal.prefix

    def claims(self, job: Job) -> Collection[str]:
        """Return the kinds of output that the journal, if there is one, says were made for a job."""
        return () if self.journal is None else claimed_kinds(self.journal.entries, job)


@dataclass(frozen=True)
class PictureInfo:
    """A picture's job and index in the run, and its size, time of change and fingerprint when it was read.

    `note` is on outputs of other settings and on further pages, `exif_focal` the focal length by EXIF, in diagonals.
    """

    job: Job
    index: int
    source: tuple[int, int]
    fingerprint: Fingerprint
    note: str = ""
    exif_focal: float | None = None


def run_pictures(
    jobs: Iterable[Job], run: PictureRun, progress: TileProgress = ignore_progress
) -> Generator[Outcome, None, None]:
    """Yield the outcome of every job, in their order; a picture that fails never stops the others.

    Raises StopError when no job can succeed any more. `progress(done, of)` is called after every tile of a picture.
    """
    skipped, remaining = split_finished(jobs, run)
    stages: Stages[tuple[int, Job], PictureInfo, Outcome] = Stages(
        read=lambda indexed: read_picture(indexed, run),
        write=lambda predicted: write_outputs(predicted, run),
        fail=fail_picture,
    )
    with contextlib.closing(run_stages(remaining, stages, run.predictor, progress)) as outcomes:
        yield from log_outcomes(restore_order(outcomes, skipped), run.journal)


def process_one(job: Job, predictor: Predictor, settings: RunSettings) -> Outcome:
    """Return the outcome of one picture, without threads and without a journal."""
    run = PictureRun(predictor, settings)
    value = timed_read((0, job), lambda indexed: read_picture(indexed, run))
    (value,) = infer_group([value], predictor, fail_picture)
    outcome: Outcome = (
        timed_write(value, lambda predicted: write_outputs(predicted, run)) if isinstance(value, Predicted) else value
    )
    return outcome


def split_finished(jobs: Iterable[Job], run: PictureRun) -> tuple[dict[int, Outcome], Iterable[tuple[int, Job]]]:
    """Return the outcomes of jobs that the journal has as done, by index, and the other jobs with their index.

    This is faster than passing all jobs through the stages.
    """
    if run.settings.overwrite or run.journal is None:
        return {}, enumerate(jobs)
    finished: dict[int, Outcome] = {}
    remaining = []
    for index, job in enumerate(jobs):
        if skipped := find_in_journal(run.journal.entries, job, index, run.settings):
            finished[index] = skipped
        else:
            remaining.append((index, job))
    return finished, remaining


def read_picture(indexed: tuple[int, Job], run: PictureRun) -> Loaded[PictureInfo] | Outcome:
    """Return a picture as the network takes it; its outcome if its outputs exist already, or if it cannot be read."""
    index, job = indexed
    source, wanted = FileStamp(-1, -1), Fingerprint("")
    try:
        source = stamp_file(job.source)
        wanted = fingerprint_picture(source, run.settings, [stamp_file(path) for path in job.exposures])
        existing = {} if run.settings.overwrite else read_output_records(job, run.claims(job))
        if skipped := find_on_disk(job, index, wanted, existing):
            return replace(skipped, source=source, fingerprint=str(wanted))
        if run.out is not None:
            files.refuse_link_out(job.folder, run.out)
        # A run over a folder brings all to its settings: a note for each picture would hide the other notes.
        replaces = describe_replaced(existing) if run.journal is None else ""
        data = files.read_bytes(job.source)
        rgb, transparent = decode_source(data, job, run.settings)
        note = "; ".join(filter(None, (replaces, images.describe_left_out_pictures(data))))
        exif_focal = read_exif_focal(data)
        del data
        shown = run.settings.post.steps or any(row.needs_image for row in job.formats.values())
        image = rgb if shown else None
        info = PictureInfo(job, index, source, wanted, note, exif_focal)
        return Loaded(info, prepare_picture(rgb, run.predictor, run.settings), image, transparent)
    except Exception as error:  # noqa: BLE001 - it becomes the outcome of this picture
        return Failed(job, index, named_error(job, error), source, str(wanted))


def decode_source(data: bytes, job: Job, settings: RunSettings) -> Picture:
    """Return the picture of a job from the bytes of its file, merged with its further exposures.

    All exposures together have the limit of pixels of one picture. Raises DacliError if they differ in size.
    """
    limit = settings.max_pixels // (1 + len(job.exposures))
    picture = images.decode_picture(data, job.source, limit, settings.alpha)
    if not job.exposures:
        return picture
    exposures = [picture.rgb]
    for path in job.exposures:
        exposures.append(images.read_image(path, limit))
        if exposures[-1].shape != picture.rgb.shape:
            fault = f"{display_path(path)} and {display_path(job.source)} differ in size"
            raise DacliError(fault, "--merge-exposures takes pictures of one view")
    return picture._replace(rgb=merge_exposures(exposures))


def fail_picture(loaded: Loaded[PictureInfo], error: Exception) -> Outcome:
    """Return the outcome of a picture whose pass through the network failed."""
    info = loaded.about
    return Failed(info.job, info.index, named_error(info.job, error), info.source, str(info.fingerprint))


def write_outputs(predicted: Predicted[PictureInfo], run: PictureRun) -> Outcome:
    """Write all outputs of a picture and return its outcome; if one cannot be written, those before it stay."""
    info = predicted.about
    try:
        height, width = predicted.raw.source
        camera = find_camera(run.settings.camera, width, height, info.exif_focal)
        finished = finish_prediction(predicted, run.predictor, run.settings, camera.fx)
        prediction, fit = calibrate_prediction(finished, run.settings)
        known_depth = put_far(prediction.depth, math.nan, predicted.transparent)
        checksum = depth_checksum(known_depth) if "npy" in info.job.suffixes else None
        view = view_prediction(
            prediction,
            run.settings,
            source=info.job.source_name,
            fingerprint=replace(info.fingerprint, depth_crc=checksum),
            camera=camera,
            calibration=fit,
            image=predicted.image,
            transparent=predicted.transparent,
        )
        for kind, path in info.job.outputs.items():
            files.write_file(path, info.job.formats[kind].encode(view), below=run.out, prefix=run.prefix)
    except Exception as error:  # noqa: BLE001 - it becomes the outcome of this picture
        return Failed(info.job, info.index, named_error(info.job, error), info.source, str(info.fingerprint))
    return Done(
        job=info.job,
        index=info.index,
        network_size=prediction.network_size,
        source_size=view.record.source_size,
        camera=camera,
        range=(view.record.low, view.record.high),
        source=info.source,
        fingerprint=str(info.fingerprint),
        tiles=prediction.tiles,
        precision=prediction.precision,
        note="; ".join(filter(None, (info.note, prediction.note))),
    )


def restore_order(outcomes: Iterable[Outcome], waiting: dict[int, Outcome]) -> Iterator[Outcome]:
    """Yield outcomes in the order of their index; those that overtook others wait, without their pictures."""
    expected = 0
    for outcome in chain([None], outcomes):
        if outcome is not None:
            waiting[outcome.index] = outcome
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1


def log_outcomes(outcomes: Iterable[Outcome], journal: Journal | None) -> Iterator[Outcome]:
    """Yield the outcomes, each after it is written to the journal, unless they come from there."""
    for outcome in outcomes:
        from_journal = isinstance(outcome, Skipped) and not outcome.fingerprint
        if journal is not None and not from_journal:
            journal.add(journal_entry(outcome))
        yield outcome


def journal_entry(outcome: Outcome) -> Entry:
    """Return the journal's line for an outcome."""
    job, source = outcome.job, outcome.source
    if isinstance(outcome, Failed):
        error, kind = str(outcome.error), outcome.error.kind
        return Entry(job.name, *source, settings=outcome.fingerprint, error=error, error_kind=kind, variant=job.variant)
    outputs = {kind: stamp_file(path) for kind, path in job.outputs.items()}
    return Entry(
        job.name,
        *source,
        variant=job.variant,
        settings=outcome.fingerprint,
        outputs=outputs,
        network_size=outcome.network_size,
        source_size=outcome.source_size,
        range=outcome.range,
        camera=outcome.camera,
    )
