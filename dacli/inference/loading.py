"""A predictor from the names of a model and of devices, and the line that says what was decided."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from dacli.callbacks import DownloadProgress, Log, ignore_log
from dacli.choices import EnsembleName, TileMode
from dacli.inference import planning
from dacli.inference.batching import measure_batch_size
from dacli.inference.device import ExecutionPlan
from dacli.inference.engine_pool import EnginePool, PooledEngine
from dacli.inference.engines.table import start_engine
from dacli.inference.ensemble import EnsemblePredictor, check_ensemble, larger_size
from dacli.inference.predictor import Predictor
from dacli.inference.tiling import uses_tiles
from dacli.models.choice import ModelChoice, OpenModel
from dacli.models.registry import open_model
from dacli.models.spec import DepthModel, ModelSpec

TILE_STREAMS = 64  # tiles of one picture that may be in the network at the same time
PICTURES_IN_TILES = 2  # whose tiles share the streams of an engine: the second picture keeps all streams busy


class LoadedPredictor(NamedTuple):
    """A predictor, and the names that outputs carry; `weights` identifies the file of weights."""

    predictor: Predictor
    encoder: str
    model: str
    weights: str


def load_predictor(
    choice: ModelChoice,
    *,
    size: int | None = None,
    devices: Sequence[str] = ("auto",),
    precision: str = "auto",
    engine: str = "auto",
    tile: TileMode = "auto",
    batch: int | None = 1,
    ensemble: Sequence[EnsembleName] = (),
    pictures: int = 1,
    log: Log,
    download: Callable[[str], AbstractContextManager[DownloadProgress]],
) -> LoadedPredictor:
    """Return the predictor for a number of pictures, on all devices; `log` gets a line for each with what was decided.

    `size` None means the network's own, `batch` None the fastest one as measured. Raises DacliError for weights or a
    device that are not available, UsageError for names that do not exist, or for a network that has no `ensemble`.
    """
    plans = [planning.resolve_plan(name, precision, engine) for name in devices]
    asked = {precision, engine, *devices} != {"auto"}
    models: list[OpenModel] = []
    engines: list[PooledEngine] = []
    for plan in plans:
        opened = open_model(choice, half=plan.half_weights, log=log, progress=download)
        engines.append(_start_engine(opened.network, plan, size, tile, pictures, log))
        models.append(opened)
        log(describe_decision(opened, engines[-1].engine.plan, size, tile, ensemble, with_reason=asked))
    first = models[0]
    predictor = _pool_engines(first.network.spec, engines, size, tile, batch, ensemble)
    return LoadedPredictor(predictor, first.encoder, first.model, first.weights)


def build_predictor(
    network: DepthModel,
    plan: ExecutionPlan,
    size: int | None = None,
    *,
    tile: TileMode = "auto",
    batch: int | None = 1,
    ensemble: Sequence[EnsembleName] = (),
    pictures: int = 1,
    log: Log = ignore_log,
) -> Predictor:
    """Return the predictor of a network that is in memory, on one device, for a number of pictures."""
    spec = network.spec
    return _pool_engines(spec, [_start_engine(network, plan, size, tile, pictures, log)], size, tile, batch, ensemble)


def _start_engine(
    network: DepthModel, plan: ExecutionPlan, size: int | None, tile: TileMode, pictures: int, log: Log
) -> PooledEngine:
    streams, threads = engine_streams(plan, network.spec, size, tile, pictures)
    return PooledEngine(start_engine(network, plan, streams, log), threads)


def _pool_engines(
    spec: ModelSpec,
    engines: Sequence[PooledEngine],
    size: int | None,
    tile: TileMode,
    batch: int | None,
    ensemble: Sequence[EnsembleName],
) -> Predictor:
    short_side = size or spec.native_size
    tiled = uses_tiles(tile, short_side, spec)
    shape = batch_shape(spec, short_side, tiled=tiled)
    batch_size = batch or min(measure_batch_size(pooled.engine, shape) for pooled in engines)
    pool = EnginePool(engines, batch_size)
    if not ensemble:
        return Predictor(spec, pool, size=short_side, tiled=tiled)
    check_ensemble(spec)
    second = larger_size(spec, short_side)
    larger = Predictor(spec, pool, size=second, tiled=uses_tiles(tile, second, spec)) if "sizes" in ensemble else None
    return EnsemblePredictor(spec, pool, size=short_side, tiled=tiled, mirrored="flip" in ensemble, larger=larger)


def engine_streams(
    plan: ExecutionPlan, spec: ModelSpec, size: int | None, tile: TileMode, pictures: int
) -> tuple[int, int]:
    """Return the streams of an engine, and how many threads may use it at the same time.

    Where all streams work on the tiles of one picture, two pictures share them.
    """
    short_side = size or spec.native_size
    streams = planning.stream_count(plan, pictures)
    if uses_tiles(tile, short_side, spec) and short_side > spec.native_size:
        return planning.stream_count(plan, TILE_STREAMS), min(PICTURES_IN_TILES, streams)
    return streams, streams


def batch_shape(spec: ModelSpec, size: int, *, tiled: bool) -> tuple[int, int]:
    """Return the size (h, w) at which the batch size is measured: that of a 3:4 picture, or of a tile."""
    seen = min(size, spec.native_size) if tiled else size
    return spec.input_size(3 * seen, 4 * seen, seen)  # a rule may never enlarge


def describe_decision(
    opened: OpenModel,
    plan: ExecutionPlan,
    size: int | None,
    tile: TileMode,
    ensemble: Sequence[EnsembleName] = (),
    *,
    with_reason: bool,
) -> str:
    """Return the line that says which model runs where and how; and why, which matters where something was asked for.

    `dacli doctor` has the reasons of what is chosen without being asked.
    """
    spec = opened.network.spec
    short_side = size or spec.native_size
    why = f" ({plan.reason})" if plan.reason and with_reason else ""
    tiles = describe_tiles(spec, short_side, tile)
    if "sizes" in ensemble:
        second = larger_size(spec, short_side)
        tiles += f" and {second} px{describe_tiles(spec, second, tile)}"
    mirrored = ", also mirrored," if "flip" in ensemble else ""
    return f"{opened.encoder} {spec.quantity} at {short_side} px{tiles}{mirrored} on {plan.place}{why}"


def describe_tiles(spec: ModelSpec, size: int, tile: TileMode) -> str:
    """Return the words about tiles in that line: whether they are used, and at which sizes they should be."""
    best = spec.largest_pass
    if uses_tiles(tile, size, spec):
        return f" in tiles of {spec.native_size}" + (f" (one pass is better up to {best})" if size <= best else "")
    return f" in one pass (tiles are better above {best})" if spec.tiles_allowed and size > best else ""
