"""The last step of the network stage: depth at the size of the source, after the filters of `--post`."""

from dataclasses import replace
from typing import Any

from dacli.batch.settings import RunSettings
from dacli.batch.stages import Predicted
from dacli.inference.predictor import Prediction, Predictor


def finish_prediction(predicted: Predicted[Any], predictor: Predictor, settings: RunSettings) -> Prediction:
    """Return the depth of an input at its own size, filtered; filters need `predicted.image`."""
    prediction = predictor.finish(predicted.raw)
    if not settings.post.steps:
        return prediction
    if predicted.image is None:
        raise ValueError("filters need the picture: keep it until depth is finished")
    return replace(prediction, depth=settings.post.apply(prediction.depth, predicted.image))
