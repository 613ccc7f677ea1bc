"""The last step of the network stage: depth at the size of the source, after the filters of `--post`."""

from dataclasses import replace
from typing import Any

from dacli.batch.settings import RunSettings
from dacli.batch.stages import Predicted
from dacli.inference.predictor import Prediction, Predictor


def finish_prediction(
    predicted: Predicted[Any], predictor: Predictor, settings: RunSettings, focal_px: float | None = None
) -> Prediction:
    """Return the depth of an input at its own size, filtered; filters need `predicted.image`.

    `focal_px` is its focal length in pixels, on which the metres of some networks depend.
    """
    prediction = predictor.finish(predicted.raw, focal_px)
    if not settings.post.steps:
        return prediction
    if predicted.image is None:
        raise ValueError("filters need the picture: keep it until depth is finished")
    return replace(prediction, depth=settings.post.apply(prediction.depth, predicted.image))
