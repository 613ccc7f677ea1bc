"""Radiance pictures (.hdr), brought from scene-linear light to sRGB."""

import re

import cv2
import numpy as np

from dacli.errors import DacliError
from dacli.io import light
from dacli.io.picture import OpenedPicture
from dacli.types import ImageArray

RADIANCE_SIGNATURES = (b"#?RADIANCE", b"#?RGBE")
_SIZE = re.compile(rb"\n([-+][XY]) (\d{1,7}) ([-+][XY]) (\d{1,7})\n")


def open_radiance(data: bytes, name: str) -> OpenedPicture:
    """Return a Radiance picture whose rows go from top to bottom; raise DacliError for others."""
    found = _SIZE.search(data[: 1 << 16])
    if found is None or (found[1], found[3]) != (b"-Y", b"+X"):
        raise DacliError(f"{name} is a Radiance picture with an unusual header", "export it again", "format")
    return OpenedPicture((int(found[4]), int(found[2])), lambda: _decode(data))


def _decode(data: bytes) -> ImageArray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    if pixels is None:
        raise EOFError
    return light.develop(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.float32))
