"""The predictor and the settings of a run, from the options that ask for them."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import NamedTuple

from dacli import memory
from dacli.batch.options import RunOptions
from dacli.batch.settings import RunSettings
from dacli.callbacks import DownloadProgress, Log
from dacli.errors import UsageError
from dacli.filters.picture_table import parse_picture_filters
from dacli.filters.table import parse_filters
from dacli.inference import planning
from dacli.inference.ensemble import parse_ensemble
from dacli.inference.loading import load_predictor
from dacli.inference.predictor import Predictor
from dacli.models import registry
from dacli.outputs.calibration import METRES_HINT
from dacli.outputs.drawing import colormap_table
from dacli.outputs.encoders import SPREAD_FAULT, SPREAD_HINT
from dacli.outputs.formats import OutputFormat
from dacli.outputs.style import DepthStyle, parse_depth_range

Download = Callable[[str], AbstractContextManager[DownloadProgress]]


class OpenRun(NamedTuple):
    """A predictor, and what all inputs of its run have in common."""

    predictor: Predictor
    settings: RunSettings


def open_run(options: RunOptions, pictures: int, log: Log, download: Download) -> OpenRun:
    """Return the predictor for a number of pictures and the settings of their run; `log` gets one line that says both.

    Raises DacliError for weights or a device that are not available, UsageError for options that contradict each other.
    """
    memory.limit_heaps()
    style, ensemble = make_style(options), parse_ensemble(options.ensemble)
    pre, post = parse_picture_filters(options.pre), parse_filters(options.post)
    loaded = load_predictor(
        registry.choose_model(options.encoder, options.model, options.weights),
        size=options.size,
        devices=options.devices,
        precision=options.precision,
        engine=options.engine,
        tile=options.tile,
        batch=options.batch,
        ensemble=ensemble,
        pictures=pictures,
        log=log,
        download=download,
    )
    predictor = loaded.predictor
    post.check_quantity(predictor.spec.quantity)
    settings = RunSettings(
        encoder=loaded.encoder,
        model=loaded.model,
        weights=loaded.weights,
        quantity=predictor.spec.quantity,
        size=predictor.size,
        plan=predictor.plan,
        style=style,
        max_pixels=options.max_pixels,
        overwrite=options.overwrite,
        alpha=options.alpha,
        tiled=predictor.tiled,
        pre=pre,
        post=post,
        ensemble=ensemble,
        max_depth=predictor.spec.max_depth,
        needs_focal=predictor.spec.needs_focal,
        camera=options.camera,
        calibration=options.calibration,
        export=options.export,
    )
    check_calibration(settings)
    return OpenRun(predictor, settings)


def check_calibration(settings: RunSettings) -> None:
    """Raise UsageError if known distances are given for a network that gives metres itself."""
    if settings.calibration and settings.quantity == "metres":
        fault = f"{settings.calibration.given} is for relative depth, and this network gives metres"
        raise UsageError(fault, "leave it out, or choose a relative model such as --model v2")


def check_formats(settings: RunSettings, formats: Iterable[OutputFormat]) -> None:
    """Raise UsageError for a kind of output that needs metres where depth is relative, or an ensemble without one."""
    for row in formats:
        if row.needs_metres and settings.output_quantity != "metres":
            raise UsageError(f"--save {row.name} needs metres, and this network gives relative depth", METRES_HINT)
        if row.needs_spread and not settings.ensemble:
            raise UsageError(f"--save {row.name} {SPREAD_FAULT}", SPREAD_HINT)


def check_options(options: RunOptions) -> None:
    """Raise the error that open_run() would raise for wrong options, before any folder is created."""
    make_style(options)
    parse_picture_filters(options.pre)
    parse_filters(options.post)
    parse_ensemble(options.ensemble)
    registry.choose_model(options.encoder, options.model, options.weights)
    for device in options.devices:
        planning.resolve_plan(device, options.precision, options.engine)


def make_style(options: RunOptions) -> DepthStyle:
    """Return how depth is shown; raise UsageError for an unknown colormap, near end or range."""
    if options.near not in ("white", "black"):
        raise UsageError(f"--near {options.near} is neither white nor black", "white makes near things bright")
    colormap_table(options.colormap)
    return DepthStyle(
        colormap=options.colormap,
        near="white" if options.near == "white" else "black",
        range=parse_depth_range(options.range),
    )
