"""Several networks, sizes and precisions judged on the same pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dacli.callbacks import Reporter
from dacli.errors import DacliError, UsageError
from dacli.evaluation import accuracy, da2k, datasets, scoring, tables
from dacli.evaluation.scoring import EvaluationData, EvaluationResult
from dacli.inference import loading, planning
from dacli.inference.loading import LoadedPredictor
from dacli.io import depth_files, files
from dacli.io.depth_files import DepthUnit
from dacli.models import registry
from dacli.models.registry import ModelChoice
from dacli.paths import display_path
from dacli.scenes import metric_places

EVALUATION_FILES = {"csv": "eval.csv", "json": "eval.json", "png": "eval.png"}
PUBLISHED = "da2k"  # the name that fetches DA-2K


@dataclass(frozen=True)
class EvaluationSetup:
    """One network, its input's short side (None: its own), and device, precision and engine as they were asked for."""

    choice: ModelChoice
    size: int | None
    machine: tuple[str, str, str]


def choose_networks(encoders: Sequence[str], model: str, weights: Sequence[Path]) -> list[ModelChoice]:
    """Return the networks that the options name.

    Raise UsageError for names that do not exist or contradict each other.
    """
    named: Sequence[str | None] = encoders or [None]
    if weights and len(named) > 1:
        raise UsageError(
            "several encoders and --weights contradict each other", "the encoder is recognised from the file"
        )
    files_of: Sequence[Path | None] = weights or [None]
    return [registry.choose_model(name, model, file) for name, file in product(named, files_of)]


def evaluation_setups(
    choices: Sequence[ModelChoice], sizes: Sequence[int | None], precisions: Sequence[str], place: str, engine: str
) -> list[EvaluationSetup]:
    """Return every network at every size in every precision.

    Raise UsageError for a device or a precision that is none.
    """
    machines = [(place, precision, engine) for precision in precisions or ["auto"]]
    for machine in machines:
        planning.resolve_plan(*machine)
    return [EvaluationSetup(*each) for each in product(choices, sizes, machines)]


def choose_alignment(how: str | None, model: str) -> str:
    """Return the alignment asked for, or what suits the model.

    Raise UsageError for one that does not exist or cannot be.
    """
    metres = registry.MODELS[model] is not None
    if how is None:
        return "none" if metres else "affine"
    if how not in accuracy.ALIGNMENTS:
        raise UsageError(f"--align {how} is not an alignment", f"choose one of {', '.join(accuracy.ALIGNMENTS)}")
    if how == "none" and not metres:
        hint = "choose median, scale or affine, or a model in metres: indoor, outdoor"
        raise UsageError("--align none judges metres, and relative depth has no scale", hint)
    return how


def rendered_data(count: int, seed: int, align: str, model: str) -> EvaluationData:
    """Return rendered scenes; for a model in metres those that metres are learned with, as far as it reaches."""
    if model not in metric_places.METRIC_PLACES:
        return scoring.rendered_scenes(count, seed, align)
    return scoring.rendered_scenes(
        count, seed, align, f"{model} scenes", metric_places.METRIC_PLACES[model], registry.METRIC_RANGES[model]
    )


def open_evaluation_data(text: str, align: str, unit: DepthUnit | None, reporter: Reporter) -> EvaluationData:
    """Return what DATA names: DA-2K or pictures with depth; raise DacliError for neither.

    Raises UsageError if inverse depth of any scale is to judge metres.
    """
    if unit == depth_files.INVERSE and align == "none":
        hint = "choose --align median, scale or affine"
        raise UsageError("--align none judges metres, and inverse depth of any scale has none", hint)
    path = Path(text)
    if text.lower() in (PUBLISHED, "da-2k") and not path.exists():
        return da2k.open_da2k(da2k.fetch_da2k(reporter.note, reporter.download))
    if not path.exists():
        hint = "give a folder, a list of pairs, DA-2K.zip, or da2k to fetch that"
        raise DacliError(f"{display_path(path)} does not exist", hint)
    if da2k.is_da2k(path):
        return da2k.open_da2k(path)
    return scoring.data_of_pairs(display_path(path), datasets.find_pairs(path, unit), align)


def evaluation_title(data: EvaluationData, align: str) -> str:
    """Return what was judged, and how depth was brought to the truth's scale; points of DA-2K need none of that."""
    if data.points:
        return f"{data.title}: pairs in the right order"
    how = "without an alignment" if align == "none" else f"after a fit of inverse depth ({align})"
    return f"{data.title}; δ1 and all after it {how}"


def evaluate_setups(
    todo: Sequence[EvaluationSetup], data: EvaluationData, align: str, reporter: Reporter
) -> Iterator[tuple[dict[str, object], bool]]:
    """Yield the record of each network as it is ready, and whether all pictures could be judged.

    Each fault is reported once.
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
        with reporter.progress_bar() as bar:
            task = bar.add_task(opened.encoder, total=len(data.names))
            found = scoring.evaluate_predictor(opened.predictor, data, lambda done: bar.update(task, completed=done))  # noqa: B023
        for fault in (fault for name, fault in found.faults.items() if name not in reported):
            reporter.error(fault)
        reported |= set(found.faults)
        if not found.pictures:
            raise DacliError(f"none of the {data.title} could be judged", "each is named above")
        yield evaluation_record(opened, align, found), not found.faults


def evaluation_record(opened: LoadedPredictor, align: str, found: EvaluationResult) -> dict[str, object]:
    """Return what was judged, how it ran, and after `seconds` its scores."""
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
        "pictures": found.pictures,
        "failed": len(found.faults),
        "seconds": round(found.seconds, 4),
        **found.scores,
    }


def score_names(records: Sequence[tables.ScoreRecord]) -> list[str]:
    """Return the names of the scores: what stands after the seconds."""
    keys = list(dict.fromkeys(key for record in records for key in record))
    return keys[keys.index("seconds") + 1 :]


def record_labels(records: Sequence[tables.ScoreRecord]) -> list[str]:
    """Return a name for each record: its encoder, and of the rest that in which the records differ."""
    reported = [key for key in ("model", "weights", "size", "precision") if len({str(r[key]) for r in records}) > 1]
    return [" ".join(str(record[key]) for key in ("encoder", *reported)) for record in records]


def check_not_there(out: Path | None, names: Sequence[str], *, overwrite: bool) -> None:
    """Raise DacliError if a file that is to be written is there already."""
    for name in names if out is not None and not overwrite else ():
        if out is not None and (out / name).exists():
            raise DacliError(f"{display_path(out / name)} is there already", "--overwrite replaces it")


def save_evaluation(out: Path, records: Sequence[tables.ScoreRecord], title: str) -> list[Path]:
    """Write CSV, JSON lines and bars into a folder; their paths."""
    scores = score_names(records)
    lines = "".join(tables.record_json(record) + "\n" for record in records)
    made = {"csv": tables.records_csv(records), "json": lines.encode()}
    made["png"] = tables.draw_score_bars(records, scores, record_labels(records), title)
    for kind, data in made.items():
        files.write_file(out / EVALUATION_FILES[kind], data)
    return [out / name for name in EVALUATION_FILES.values()]
