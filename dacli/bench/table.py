"""The table of `dacli bench`: seconds, pictures per second, memory and error of networks, engines and sizes."""

import copy
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacli.batch.jobs import Job, plan_jobs
from dacli.batch.outcomes import Failed
from dacli.batch.pictures import PictureRun, run_pictures
from dacli.batch.settings import RunSettings
from dacli.bench import rivals
from dacli.bench.measure import make_photos, peak_memory, time_in_turns
from dacli.bench.rivals import RivalInput, Runner
from dacli.bench.setups import BenchSetup
from dacli.bench.subjects import MeasuredModel, open_measured_model
from dacli.callbacks import Reporter
from dacli.errors import DacliError
from dacli.evaluation import tables
from dacli.inference import loading, planning
from dacli.inference.device import ExecutionPlan
from dacli.inference.predictor import Predictor
from dacli.io import images
from dacli.models.depth_anything import DepthAnything
from dacli.outputs.formats import FORMATS

FOLDER_PICTURES = 16  # pictures in the folder that is timed
TILED_PICTURES = 4  # pictures in the folder where each is computed in tiles
FEWER_TURNS = 3  # turns of folders and tiles, at most
BENCH_SCORES = (
    *("seconds", "network_seconds", "pictures_per_second", "peak_gib", "relative_error"),
    *("times_pipeline", "times_pipeline_folder", "times_openvino"),
)
BenchRecord = dict[str, object]
TurnTimes = list[list[float]]


def measure_setups(
    todo: Sequence[BenchSetup], count: int, reporter: Reporter, *, against: bool
) -> Iterator[list[BenchRecord]]:
    """Yield the records of each network at each size; those of one list were timed in alternation, `count` times each.

    If a list cannot be measured, the error is reported and the list is empty.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        sources = make_photos(Path(name) / "photos", FOLDER_PICTURES)
        for choice in dict.fromkeys(setup.choice for setup in todo):
            with open_measured_model(choice, Path(name), reporter) as given:
                mine = [setup for setup in todo if setup.choice == choice]
                for size in dict.fromkeys(setup.size for setup in mine):
                    plans = [setup.plan for setup in mine if setup.size == size]
                    group = BenchGroup(given, size or given.network.spec.native_size, sources, Path(name), count)
                    found: list[BenchRecord] = []
                    try:
                        found = group.measure(plans, reporter, against=against)
                    except DacliError as error:
                        reporter.error(error)
                    yield found


@dataclass(frozen=True)
class BenchGroup:
    """A network at one size (short side in pixels), measured with several plans over the same files, in alternation."""

    given: MeasuredModel
    size: int
    sources: Sequence[Path]
    folder: Path
    turns: int

    def measure(self, plans: Sequence[ExecutionPlan], reporter: Reporter, *, against: bool) -> list[BenchRecord]:
        """Return the records of the plans, then those of the rivals if one pass sees the whole picture."""
        reporter.note(f"measuring {self.given.encoder} at {self.size} px")
        rgb = images.read_image(self.sources[0])
        ready = [self.predictor(plan) for plan in plans]
        seen = ready[0].prepare(rgb)
        count = 0 if seen.tiling is None else seen.tiling.count
        files = self.sources[: TILED_PICTURES if count else None]
        runners = [self.runner(one, rgb, files) for one in ready]
        if against and not count and type(self.given.network) is DepthAnything:
            same = RivalInput(
                self.given.network, rgb, seen.tensor[None], self.size, files, self.folder, plans[0].device
            )
            runners += rivals.rival_runners(same, reporter.warn)
        exact = self.predictor(planning.resolve_plan(plans[0].device, "fp32", "torch")).predict([rgb])[0].depth
        found_rows = [{"relative_error": relative_error(one.predict([rgb])[0].depth, exact)} for one in ready]
        setup = {
            "encoder": self.given.encoder,
            "model": self.given.model,
            "weights": self.given.weights,
            "size": self.size,
        }
        seconds = time_runners(runners, min(self.turns, FEWER_TURNS) if count else self.turns)
        for one, record in zip(ready, found_rows, strict=True):
            record["peak_gib"] = image_peak_memory(self.given, one.plan, self.size, self.sources[0], self.folder)
        times = summarize_turns(runners, seconds, len(files))
        found_rows += [{"relative_error": math.nan, "peak_gib": math.nan}] * (len(runners) - len(found_rows))
        return [
            {**setup, "engine": each.engine, "precision": each.precision, "tiles": count, **time, **more}
            for each, time, more in zip(runners, times, found_rows, strict=True)
        ]

    def predictor(self, plan: ExecutionPlan, pictures: int = 1) -> Predictor:
        return loading.build_predictor(copy.deepcopy(self.given.network), plan, self.size, pictures=pictures)

    def runner(self, ready: Predictor, rgb: NDArray[np.uint8 | np.uint16], files: Sequence[Path]) -> Runner:
        """Return the parts of dacli that are timed with the plan of a predictor."""
        plan, seen = ready.plan, ready.prepare(rgb)
        planned = plan_jobs(files, self.folder / "out", [FORMATS["gray"]])
        network = copy.deepcopy(self.given.network)
        many = loading.build_predictor(network, plan, self.size, batch=None, pictures=len(files))
        settings = RunSettings(
            encoder="",
            model="",
            weights="",
            quantity=many.spec.quantity,
            size=self.size,
            plan=plan,
            max_pixels=images.MAX_PIXELS,
            overwrite=True,
        )
        return Runner(
            plan.engine,
            plan.precision,
            whole=partial(ready.predict, [rgb]),
            network=None if seen.tiling else partial(ready.infer, [seen]),
            folder=partial(process_folder_once, planned, PictureRun(many, settings)),
        )


def process_folder_once(planned: Sequence[Job], run: PictureRun) -> None:
    """Run what dacli folder runs; raise DacliError for a picture that failed."""
    for outcome in run_pictures(planned, run):
        if isinstance(outcome, Failed):
            raise outcome.error


def relative_error(depth: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return ‖depth − exact‖ / ‖exact‖."""
    return float(np.linalg.norm(depth - exact) / np.linalg.norm(exact))


def time_runners(runners: Sequence[Runner], count: int) -> dict[str, TurnTimes]:
    """Return the seconds of each turn of each runner, by the part that is timed; none where a runner lacks the part."""
    found: dict[str, TurnTimes] = {}
    for kind, often in (("whole", count), ("network", count), ("folder", min(count, FEWER_TURNS))):
        doing = [measure_setups for runner in runners if (measure_setups := getattr(runner, kind)) is not None]
        taken = iter(time_in_turns(*doing, count=often))
        found[kind] = [[] if getattr(runner, kind) is None else next(taken) for runner in runners]
    return found


def summarize_turns(runners: Sequence[Runner], seconds: Mapping[str, TurnTimes], files: int) -> list[BenchRecord]:
    """Return the medians of each runner, and how many times as fast it is as a rival.

    The median of the turns' ratios.
    """
    names = [runner.engine for runner in runners]

    def times(kind: str, rival: str, mine: list[float]) -> float:
        other = seconds[kind][names.index(rival)] if rival in names else []
        return median_or_nan([b / a for a, b in zip(mine, other, strict=False)])

    made: list[BenchRecord] = []
    for whole, network, folder in zip(*(seconds[kind] for kind in ("whole", "network", "folder")), strict=True):
        made.append(
            {
                "seconds": median_or_nan(whole),
                "network_seconds": median_or_nan(network),
                "pictures_per_second": files / median_or_nan(folder),
                "times_pipeline": times("whole", rivals.PIPELINE, whole),
                "times_pipeline_folder": times("folder", rivals.PIPELINE, folder),
                "times_openvino": times("network", rivals.OPENVINO, network),
            }
        )
    return made


def median_or_nan(values: Sequence[float]) -> float:
    """Return the median, or NaN for no values."""
    return statistics.median(values) if values else math.nan


def image_peak_memory(given: MeasuredModel, plan: ExecutionPlan, size: int, photo: Path, folder: Path) -> float:
    """Return the peak resident memory in GiB of `dacli image` on a photo."""
    how = ["--device", plan.device, "--engine", plan.engine, "--precision", plan.precision, "--size", str(size)]
    return peak_memory("image", str(photo), "-o", str(folder / "peak"), "--overwrite", "-q", *how, *given.options)


def known_scores(records: Sequence[BenchRecord]) -> list[str]:
    """Return the names of the scores that at least one record has."""
    return [
        name for name in BENCH_SCORES if any(not math.isnan(tables.score_value(record.get(name))) for record in records)
    ]


def format_bench_score(score: str, value: float) -> str:
    """Return a number of the table as text."""
    if math.isnan(value):
        return "-"
    shown = {"relative_error": ".1e", "peak_gib": ".2f"}.get(score, ".2f" if score.startswith("times") else ".3g")
    return f"{value:{shown}}"


def bench_title(records: Sequence[BenchRecord]) -> str:
    """Return the title of the table, with the settings that are the same in all rows."""
    same = [
        key for key in ("weights", "size", "engine", "precision") if len({str(record[key]) for record in records}) == 1
    ]
    common = "".join(f", {key} {records[0][key]}" for key in same)
    return f"one picture of 2 megapixels, a folder of them{common}; medians"


def bench_json(found: Mapping[str, object], records: Sequence[BenchRecord]) -> str:
    """Return one line of JSON with the machine and the results; missing numbers are null."""
    results = [
        {key: None if tables.is_missing_number(each) else each for key, each in record.items()} for record in records
    ]
    return json.dumps({"machine": found, "results": results}, allow_nan=False)
