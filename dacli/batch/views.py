"""From a prediction to what outputs are drawn from: metres by known distances, the camera, the record."""

from dataclasses import replace

from dacli import __version__
from dacli.batch.fingerprint import Fingerprint
from dacli.batch.settings import RunSettings
from dacli.inference.predictor import Prediction
from dacli.io.camera import PinholeCamera
from dacli.io.metric_fit import MetricFit
from dacli.io.records import Record
from dacli.io.scales import DepthScale, choose_scale
from dacli.outputs.calibration import calibrate_depth
from dacli.outputs.style import depth_limits, put_far
from dacli.outputs.view import DepthView
from dacli.types import ImageArray, PixelMask


def calibrate_prediction(prediction: Prediction, settings: RunSettings) -> tuple[Prediction, MetricFit | None]:
    """Return a prediction in the unit of outputs, and how it was made; raise the errors of calibrate_depth()."""
    if settings.calibration is None:
        return prediction, None
    depth, fit = calibrate_depth(prediction.depth, settings.quantity, settings.calibration)
    return replace(prediction, depth=depth), fit


def view_prediction(
    prediction: Prediction,
    settings: RunSettings,
    *,
    source: str,
    fingerprint: Fingerprint,
    camera: PinholeCamera,
    calibration: MetricFit | None,
    image: ImageArray | None = None,
    transparent: PixelMask | None = None,
) -> DepthView:
    """Return the view that outputs are drawn from: a calibrated prediction, and a record of what made it.

    Where the picture is `transparent`, depth is the far end of the range that is shown.
    """
    depth, style, quantity = prediction.depth, settings.style, settings.output_quantity
    low, high = depth_limits(depth, style.range, transparent)
    depth = put_far(depth, low if quantity == "inverse depth" else high, transparent)
    record = make_record(
        settings,
        DepthScale(low, high, style.near),
        (low, high),
        network_size=prediction.network_size,
        source_size=(depth.shape[0], depth.shape[1]),
        source=source,
        fingerprint=fingerprint,
        camera=camera,
        calibration=calibration,
    )
    scale = choose_scale(low, high, quantity, style.near)
    return DepthView(
        depth=depth,
        record=record,
        style=style,
        scale8=scale,
        scale16=settings.metric_scale if settings.uses_metric_scale else scale,
        image=image,
        transparent=transparent,
        spread=prediction.spread,
        export=settings.export,
    )


def make_record(
    settings: RunSettings,
    scale: DepthScale,
    span: tuple[float, float],
    *,
    network_size: tuple[int, int],
    source_size: tuple[int, int],
    source: str,
    fingerprint: Fingerprint,
    camera: PinholeCamera,
    calibration: MetricFit | None = None,
) -> Record:
    """Return the record of depth from span[0] to span[1], whose 16-bit values mean what `scale` says."""
    return Record(
        black=scale.black,
        white=scale.white,
        near=scale.near,
        unit=scale.unit,
        quantity=settings.output_quantity,
        low=span[0],
        high=span[1],
        encoder=settings.encoder,
        model=settings.model,
        network_size=network_size,
        source_size=source_size,
        version=__version__,
        source=source,
        settings=str(fingerprint),
        pre=str(settings.pre),
        post=str(settings.post),
        ensemble=",".join(settings.ensemble),
        camera=camera,
        calibration=calibration,
    )
