"""Measured tables of this machine: seconds, pictures per second, memory and error of networks, engines and sizes."""

import copy
import json
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacli.batch.jobs import Job, plan_jobs
from dacli.batch.outcomes import Failed
from dacli.batch.pictures import PictureRun, run_pictures
from dacli.batch.settings import RunSettings
from dacli.bench import rivals
from dacli.bench.measure import peak, photos, turns
from dacli.bench.rivals import Given, Runner
from dacli.bench.subjects import Subject, subject
from dacli.callbacks import Reporter
from dacli.errors import DacliError
from dacli.evaluation import tables
from dacli.inference import device, loading
from dacli.inference.device import Plan
from dacli.inference.predictor import Predictor
from dacli.io import images
from dacli.models import registry
from dacli.models.depth_anything import DepthAnything
from dacli.outputs.formats import FORMATS

ENCODERS = ("vits", "tiny")
PICTURES = 16  # of a folder
FEW = 4  # of a folder where each is made of tiles
FEWER_TURNS = 3  # of folders and tiles, at most
SCORES = (
    *("seconds", "network_seconds", "pictures_per_second", "peak_gib", "relative_error"),
    *("times_pipeline", "times_pipeline_folder", "times_openvino"),
)
Record = dict[str, object]
Times = list[list[float]]


@dataclass(frozen=True)
class Setup:
    """A network, its input's short side (None: its own), and where and how it runs."""

    encoder: str
    size: int | None
    plan: Plan


def setups(
    encoders: Sequence[str],
    precisions: Sequence[str],
    engines: Sequence[str],
    place: str,
    sizes: Sequence[int | None],
) -> list[Setup]:
    """Every network at every size, by every engine in every precision; without a list, all that suit this machine.

    Raises UsageError for names that do not exist, DacliError for what this machine does not have.
    """
    choices = [registry.choose_model(name, "v2", None) for name in encoders or ENCODERS]
    usual = device.resolve(place, "int8" if "int8" in precisions and not engines else "auto")
    pairs = product(engines or ["torch", usual.engine], precisions or ["fp32", usual.precision])
    plans = [device.resolve(place, each, by) for by, each in pairs if engines or (by, each) != ("torch", "int8")]
    distinct = {(plan.engine, plan.precision): plan for plan in plans}
    return [Setup(str(choice.encoder), size, plan) for choice, size, plan in product(choices, sizes, distinct.values())]


def run(todo: Sequence[Setup], count: int, voice: Reporter, *, against: bool) -> Iterator[list[Record]]:
    """The records of each network at each size, those of one list timed in `count` turns.

    What could not be measured is told, and its list is empty.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        sources = photos(Path(name) / "photos", PICTURES)
        for encoder in dict.fromkeys(setup.encoder for setup in todo):
            with subject(encoder, Path(name), voice) as given:
                mine = [setup for setup in todo if setup.encoder == encoder]
                for size in dict.fromkeys(setup.size for setup in mine):
                    plans = [setup.plan for setup in mine if setup.size == size]
                    group = Group(given, size or given.network.spec.native_size, sources, Path(name), count)
                    found: list[Record] = []
                    try:
                        found = group.measure(plans, voice, against=against)
                    except DacliError as error:
                        voice.fault(error)
                    yield found


@dataclass(frozen=True)
class Group:
    """A network at one size (short side in pixels), which all plans see over the same files, in turns."""

    given: Subject
    size: int
    sources: Sequence[Path]
    folder: Path
    turns: int

    def measure(self, plans: Sequence[Plan], voice: Reporter, *, against: bool) -> list[Record]:
        """The records of the plans, then those of what runs against them where one pass sees the picture."""
        voice.note(f"measuring {self.given.encoder} at {self.size} px")
        rgb = images.read(self.sources[0])
        ready = [self.predictor(plan) for plan in plans]
        seen = ready[0].prepare(rgb)
        count = 0 if seen.tiling is None else seen.tiling.count
        files = self.sources[: FEW if count else None]
        runners = [self.runner(one, rgb, files) for one in ready]
        if against and not count and isinstance(self.given.network, DepthAnything):
            same = Given(self.given.network, rgb, seen.tensor[None], self.size, files, self.folder, plans[0].device)
            runners += rivals.runners(same, voice.insist)
        exact = self.predictor(device.resolve(plans[0].device, "fp32", "torch")).predict([rgb])[0].depth
        told = [{"relative_error": error(one.predict([rgb])[0].depth, exact)} for one in ready]
        setup = {"encoder": self.given.encoder, "weights": self.given.weights, "size": self.size}
        seconds = timed(runners, min(self.turns, FEWER_TURNS) if count else self.turns)
        for one, record in zip(ready, told, strict=True):
            record["peak_gib"] = memory(self.given, one.plan, self.size, self.sources[0], self.folder)
        times = summaries(runners, seconds, len(files))
        told += [{"relative_error": math.nan, "peak_gib": math.nan}] * (len(runners) - len(told))
        return [
            {**setup, "engine": each.engine, "precision": each.precision, "tiles": count, **time, **more}
            for each, time, more in zip(runners, times, told, strict=True)
        ]

    def predictor(self, plan: Plan, pictures: int = 1) -> Predictor:
        return loading.build_predictor(copy.deepcopy(self.given.network), plan, self.size, pictures=pictures)

    def runner(self, ready: Predictor, rgb: NDArray[np.uint8 | np.uint16], files: Sequence[Path]) -> Runner:
        """What of dacli itself is timed with the plan of a predictor."""
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
            folder=partial(fill, planned, PictureRun(many, settings)),
        )


def fill(planned: Sequence[Job], run: PictureRun) -> None:
    """Do what dacli folder does; raise DacliError for a picture that failed."""
    for outcome in run_pictures(planned, run):
        if isinstance(outcome, Failed):
            raise outcome.error


def error(depth: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """‖depth − exact‖ / ‖exact‖."""
    return float(np.linalg.norm(depth - exact) / np.linalg.norm(exact))


def timed(runners: Sequence[Runner], count: int) -> dict[str, Times]:
    """Seconds of each turn of each runner, by what is timed; nothing where it does not do that."""
    found: dict[str, Times] = {}
    for kind, often in (("whole", count), ("network", count), ("folder", min(count, FEWER_TURNS))):
        doing = [run for runner in runners if (run := getattr(runner, kind)) is not None]
        taken = iter(turns(*doing, count=often))
        found[kind] = [[] if getattr(runner, kind) is None else next(taken) for runner in runners]
    return found


def summaries(runners: Sequence[Runner], seconds: Mapping[str, Times], files: int) -> list[Record]:
    """The medians of each runner, and how many times as fast it is as a rival: the median of the turns' ratios."""
    names = [runner.engine for runner in runners]

    def times(kind: str, rival: str, mine: list[float]) -> float:
        other = seconds[kind][names.index(rival)] if rival in names else []
        return median([b / a for a, b in zip(mine, other, strict=False)])

    made: list[Record] = []
    for whole, network, folder in zip(*(seconds[kind] for kind in ("whole", "network", "folder")), strict=True):
        made.append(
            {
                "seconds": median(whole),
                "network_seconds": median(network),
                "pictures_per_second": files / median(folder),
                "times_pipeline": times("whole", rivals.PIPELINE, whole),
                "times_pipeline_folder": times("folder", rivals.PIPELINE, folder),
                "times_openvino": times("network", rivals.OPENVINO, network),
            }
        )
    return made


def median(values: Sequence[float]) -> float:
    """The median, NaN of nothing."""
    return statistics.median(values) if values else math.nan


def memory(given: Subject, plan: Plan, size: int, photo: Path, folder: Path) -> float:
    """Peak resident memory in GiB of `dacli image` on a photo, as bench.peak."""
    how = ["--device", plan.device, "--engine", plan.engine, "--precision", plan.precision, "--size", str(size)]
    return peak("image", str(photo), "-o", str(folder / "peak"), "--overwrite", "-q", *how, *given.options)


def known_scores(records: Sequence[Record]) -> list[str]:
    """Return the scores that at least one record has."""
    return [name for name in SCORES if any(not math.isnan(tables.number(record[name])) for record in records)]


def text(score: str, value: float) -> str:
    """A number of the table."""
    if math.isnan(value):
        return "-"
    shown = {"relative_error": ".1e", "peak_gib": ".2f"}.get(score, ".2f" if score.startswith("times") else ".3g")
    return f"{value:{shown}}"


def title(records: Sequence[Record]) -> str:
    """What the table shows of, as far as it is the same in all its rows."""
    same = [
        key for key in ("weights", "size", "engine", "precision") if len({str(record[key]) for record in records}) == 1
    ]
    common = "".join(f", {key} {records[0][key]}" for key in same)
    return f"one picture of 2 megapixels, a folder of them{common}; medians"


def as_json(found: Mapping[str, object], records: Sequence[Record]) -> str:
    """All in one line of JSON: the machine, and the results, in which what is no number is null."""
    results = [{key: None if tables.is_lost(each) else each for key, each in record.items()} for record in records]
    return json.dumps({"machine": found, "results": results}, allow_nan=False)
