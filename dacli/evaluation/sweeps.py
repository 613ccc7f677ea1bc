"""Sweeps: several networks, sizes and precisions evaluated on the same pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dacli.batch.options import RunOptions
from dacli.callbacks import Reporter
from dacli.choices import CropName
from dacli.errors import DacliError, UsageError
from dacli.evaluation import accuracy, da2k, datasets, scoring, tables
from dacli.evaluation.scoring import EvaluationData, EvaluationResult, ValidArea
from dacli.evaluation.worst import WorstPictures, draw_worst_pictures
from dacli.inference import loading, planning
from dacli.inference.loading import LoadedPredictor
from dacli.io import depth_files, files
from dacli.io.depth_files import DepthUnit
from dacli.models import registry
from dacli.models.choice import MODELS, ModelChoice, is_in_transformers
from dacli.models.weight_files import METRIC_RANGES
from dacli.paths import display_path
from dacli.scenes import metric_places

EVALUATION_FILES = {
    "csv": "eval.csv",
    "json": "eval.json",
    "png": "eval.png",
    "pictures": "per_picture.csv",
    "worst": "worst.png",
}
DA2K_NAME = "da2k"  # as data, it stands for the published archive, which is downloaded


@dataclass(frozen=True)
class EvaluationSetup:
    """One network, the short side of its input (None: its own), and the device, precision and engine of the options."""

    choice: ModelChoice
    size: int | None
    machine: tuple[str, str, str]


def evaluation_setup(options: RunOptions) -> EvaluationSetup:
    """Return the setup of a run's options; raise UsageError for names that do not exist or do not go together."""
    machine = options.devices[0], options.precision, options.engine
    planning.resolve_plan(*machine)
    choice = registry.choose_model(options.encoder, options.model, options.weights)
    return EvaluationSetup(choice, options.size, machine)


def choose_alignment(how: str | None, model: str) -> str:
    """Return the alignment of the options, or the usual one of the model.

    Raises UsageError for one that does not exist, or that the model does not allow.
    """
    metres = MODELS.get(model) is not None
    if how is None:
        return "none" if metres else "affine"  # the unit of a model of Transformers is known when it is loaded
    if how not in accuracy.ALIGNMENTS:
        raise UsageError(f"--align {how} is not an alignment", f"choose one of {', '.join(accuracy.ALIGNMENTS)}")
    if how == "none" and not metres and not is_in_transformers(model):
        raise unaligned_error()
    return how


def unaligned_error() -> UsageError:
    """Return the error for relative depth that should be compared with metres as it is."""
    hint = "choose median, scale or affine, or a model in metres: indoor, outdoor"
    return UsageError("--align none needs metres, and relative depth has no scale", hint)


def rendered_data(count: int, seed: int, align: str, model: str) -> EvaluationData:
    """Return rendered scenes; for a metric model those of its training, up to its largest depth."""
    if model not in metric_places.METRIC_PLACES:
        return scoring.rendered_scenes(count, seed, align)
    return scoring.rendered_scenes(
        count, seed, align, f"{model} scenes", metric_places.METRIC_PLACES[model], METRIC_RANGES[model]
    )


def open_evaluation_data(
    text: str, align: str, unit: DepthUnit | None, area: ValidArea, reporter: Reporter
) -> EvaluationData:
    """Return the data set that DATA names: DA-2K, or pictures with depth; raise DacliError for anything else.

    Raises UsageError where metres would be compared with inverse depth of unknown scale.
    """
    if unit == depth_files.INVERSE and align == "none":
        hint = "choose --align median, scale or affine"
        raise UsageError("--align none needs metres, and inverse depth of unknown scale has none", hint)
    path = Path(text)
    if text.lower() in (DA2K_NAME, "da-2k") and not path.exists():
        return da2k.open_da2k(da2k.fetch_da2k(reporter.note, reporter.download))
    if not path.exists():
        hint = "give a folder, a list of pairs, DA-2K.zip, or da2k to fetch that"
        raise DacliError(f"{display_path(path)} does not exist", hint)
    if da2k.is_da2k(path):
        return da2k.open_da2k(path)
    return scoring.data_of_pairs(display_path(path), datasets.find_pairs(path, unit), align, area)


def choose_area(
    nearest: float | None, farthest: float | None, crop: CropName, data: str | None, unit: DepthUnit | None
) -> ValidArea:
    """Return where depth counts; raise UsageError for a range that is empty, or for data that has no such range."""
    area = ValidArea(nearest or 0.0, np.inf if farthest is None else farthest, crop)
    if area != scoring.EVERYWHERE and (data is None or data.lower() in (DA2K_NAME, "da-2k")):
        raise UsageError("--min-depth, --max-depth and --crop need pictures with depth in files", "name them as DATA")
    if not 0 <= area.nearest < area.farthest:
        raise UsageError(
            f"no depth is from {area.nearest:g} to {area.farthest:g} m", "give --min-depth below --max-depth"
        )
    if unit == depth_files.INVERSE and (nearest is not None or farthest is not None):
        raise UsageError(
            "--min-depth and --max-depth need metres, not inverse depth of unknown scale", "leave them out"
        )
    return area


def evaluation_title(data: EvaluationData, align: str) -> str:
    """Return the title of a table: the data set, and how depth was aligned (DA-2K needs no alignment)."""
    if data.points:
        return f"{data.title}: pairs in the right order"
    how = "without an alignment" if align == "none" else f"after a fit of inverse depth ({align})"
    return f"{data.title}; δ1 and all after it {how}"


class SetupResult(NamedTuple):
    """The record of a setup, one of each picture, the pictures with the lowest scores, and whether all were scored."""

    record: dict[str, object]
    pictures: list[dict[str, object]]
    worst: WorstPictures
    complete: bool


def evaluate_setups(
    todo: Sequence[EvaluationSetup], data: EvaluationData, align: str, reporter: Reporter
) -> Iterator[SetupResult]:
    """Yield the result of each setup when it is ready.

    Each error is reported once.
    """
    reported: set[str] = set()
    for setup in todo:
        place, precision, engine = setup.machine
        opened = loading.load_predictor(
            setup.choice,
            size=setup.size,
            devices=[place],
            precision=precision,
            engine=engine,
            log=reporter.note,
            download=reporter.download,
        )
        if align == "none" and opened.predictor.spec.quantity != "metres" and not data.points:
            raise unaligned_error()
        worst = WorstPictures()
        with reporter.progress_bar() as bar:
            show = partial(bar.update, bar.add_task(opened.encoder, total=len(data.names)))
            result = scoring.evaluate_predictor(opened.predictor, data, lambda done: show(completed=done), worst)  # noqa: B023
        for error in (error for name, error in result.errors.items() if name not in reported):
            reporter.error(error)
        reported |= set(result.errors)
        if not result.pictures:
            raise DacliError(f"none of the {data.title} could be evaluated", "the lines above say why")
        record = evaluation_record(opened, align, result)
        setup_fields = {name: record[name] for name in ("encoder", "model", "weights", "size", "precision")}
        pictures = [{**setup_fields, "picture": name, **scores} for name, scores in result.by_picture.items()]
        yield SetupResult(record, pictures, worst, not result.errors)


def evaluation_record(opened: LoadedPredictor, align: str, result: EvaluationResult) -> dict[str, object]:
    """Return what was evaluated, how it ran, its seconds a picture, and after them its scores."""
    plan = opened.predictor.plan
    return {
        "encoder": opened.encoder,
        "model": opened.model,
        "weights": opened.weights.rsplit(" ", 2)[0],
        "size": opened.predictor.size,
        "precision": plan.precision,
        "engine": plan.engine,
        "device": plan.device,
        "align": align,
        "pictures": result.pictures,
        "failed": len(result.errors),
        "seconds": round(result.seconds, 4),
        **result.scores,
    }


def score_names(records: Sequence[tables.ScoreRecord]) -> list[str]:
    """Return the names of the scores: the fields after `seconds`."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    return keys[keys.index("seconds") + 1 :]


def record_labels(records: Sequence[tables.ScoreRecord]) -> list[str]:
    """Return a label for each record: its encoder, and the settings in which the records differ."""
    differing = [key for key in ("model", "weights", "size", "precision") if len({str(r[key]) for r in records}) > 1]
    return [" ".join(str(record[key]) for key in ("encoder", *differing)) for record in records]


def refuse_existing_files(out: Path | None, names: Sequence[str], *, overwrite: bool) -> None:
    """Raise DacliError if a file to be written exists already."""
    for name in names if out is not None and not overwrite else ():
        if out is not None and (out / name).exists():
            raise DacliError(f"{display_path(out / name)} exists already", "--overwrite replaces it")


def save_evaluation(out: Path, results: Sequence[SetupResult], title: str) -> list[Path]:
    """Write the tables, bars, scores of each picture and the worst pictures into a folder; return the paths."""
    records = [result.record for result in results]
    labels = record_labels(records)
    made = {
        "csv": tables.records_csv(records),
        "json": "".join(tables.record_json(record) + "\n" for record in records).encode(),
        "png": tables.draw_score_bars(records, score_names(records), labels, title),
        "pictures": tables.records_csv([row for result in results for row in result.pictures]),
        "worst": draw_worst_pictures(dict(zip(labels, (result.worst for result in results), strict=True)), title),
    }
    for kind, data in made.items():
        files.write_file(out / EVALUATION_FILES[kind], data)
    return [out / name for name in EVALUATION_FILES.values()]
