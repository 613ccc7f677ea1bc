"""Weights and activations of a converted network in 8 bits, by NNCF: calibrated after training on rendered scenes."""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dacli.errors import DacliError
from dacli.inference.preprocess import normalize_image
from dacli.models.spec import DepthModel

if TYPE_CHECKING:
    import openvino
    from torch import Tensor

CALIBRATION_SEED = 777  # of the rendered scenes
CALIBRATION_SCENES = 16
CALIBRATION_FORMATS = ((3, 4), (4, 3), (1, 1), (9, 16))  # height and width
# A ViT's head is not quantised: the error of a random vits is then 0.017 instead of 0.22, in the same time.
UNQUANTIZED = ".*depth_head.*"


def calibration_pictures(network: DepthModel) -> "Iterator[Tensor]":
    """Yield rendered scenes in several formats as the network sees them at its native size: normalised [1, 3, h, w]."""
    from dacli.scenes.kinds import make_scene
    from dacli.scenes.layouts import render_layouts

    spec = network.spec
    for index in range(CALIBRATION_SCENES):
        height, width = CALIBRATION_FORMATS[index % len(CALIBRATION_FORMATS)]
        size = spec.input_size(height, width, spec.native_size)
        rgb = render_layouts([make_scene(CALIBRATION_SEED, index)], *size).rgb[0].permute(1, 2, 0)
        yield normalize_image(rgb.numpy(), size, mean=spec.mean, std=spec.std)[None]


def quantize_model(model: "openvino.Model", inputs: Sequence[list[NDArray[np.float32]]]) -> "openvino.Model":
    """Return the model with its convolutions and matrix products in 8 bits, with ranges measured on the inputs.

    Raises DacliError if NNCF cannot be loaded.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # NNCF prints progress bars and a log
        warnings.simplefilter("ignore")
        try:
            import nncf
        except ImportError as error:
            raise DacliError(f"NNCF cannot be loaded ({error})", "pip install --force-reinstall nncf") from error
        return nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(patterns=[UNQUANTIZED], validate=False),  # tiny has none
        )
