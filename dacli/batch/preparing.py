"""The first step before the network: a picture as the network takes it, after the filters of `--pre`."""

from dacli.batch.settings import RunSettings
from dacli.inference.predictor import Predictor, PreparedImage
from dacli.types import ImageArray


def prepare_picture(rgb: ImageArray, predictor: Predictor, settings: RunSettings) -> PreparedImage:
    """Return an RGB picture [H, W, 3], filtered, as the network takes it; the picture itself does not change."""
    return predictor.prepare(settings.pre.apply(rgb))
