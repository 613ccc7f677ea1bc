"""What an output is drawn from: one depth map, its record, and how it is shown."""

from dataclasses import dataclass, replace

import numpy as np

from dacli.io.camera import ANY_CAMERA, PinholeCamera, find_camera
from dacli.io.records import Record
from dacli.io.scales import TONES, DepthScale
from dacli.outputs.export import DEFAULT_EXPORT, ExportOptions
from dacli.outputs.style import DepthStyle
from dacli.types import DepthArray, ImageArray, PixelMask

_NEAREST = 0.01  # metres, so that 1 / metres is finite


@dataclass(frozen=True)
class DepthView:
    """Depth [H, W] in the unit of `record.quantity`, and all that a format needs to draw or encode it.

    `scale8` and `scale16` say what the values of 8-bit and 16-bit pictures stand for. `image` is the input
    picture, RGB [H, W, 3], set only if a format needs it. `tones` [H, W] in 0 … 1 are shown instead of the depth in a
    steady clip. `transparent` [H, W] marks pixels without depth of their own: `depth` and `tones` are far there.
    `spread`
    [H, W] is how far the members of an ensemble are apart, in shares of the range. `export` says what programs expect
    of floats and 3D.
    """

    depth: DepthArray
    record: Record
    style: DepthStyle
    scale8: DepthScale
    scale16: DepthScale
    image: ImageArray | None = None
    tones: DepthArray | None = None
    transparent: PixelMask | None = None
    spread: DepthArray | None = None
    export: ExportOptions = DEFAULT_EXPORT

    @property
    def known_depth(self) -> DepthArray:
        """Return the depth [H, W], with NaN where the picture is transparent."""
        return self.depth if self.transparent is None else np.where(self.transparent, np.float32(np.nan), self.depth)

    @property
    def camera(self) -> PinholeCamera:
        """Return the camera of the record, or an assumed one."""
        height, width = self.depth.shape
        return self.record.camera or find_camera(ANY_CAMERA, width, height)

    @property
    def shown(self) -> tuple[DepthArray, float, float]:
        """Return the values [H, W] to draw, and those that map to the two ends."""
        if self.tones is None:
            return self.depth, self.record.low, self.record.high
        return self.tones, 0.0, 1.0

    @property
    def nearness(self) -> DepthArray:
        """Return how near each pixel [H, W] is, from 0 at the far end of what is shown to 1 at its near end.

        Metres count by their inverse, as parallax does.
        """
        values, low, high = self.shown
        if self.record.quantity == "metres" and self.tones is None:
            values = np.asarray(1 / np.maximum(values, _NEAREST), np.float32)
            low, high = 1 / max(high, _NEAREST), 1 / max(low, _NEAREST)
        elif self.record.quantity != "inverse depth":
            values, low, high = -values, -high, -low
        if low == high:
            return np.zeros(values.shape, np.float32)
        return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)

    @property
    def values16(self) -> DepthArray:
        """Return the values [H, W] that `scale16` encodes."""
        return self.depth if self.tones is None or self.scale16.unit != TONES else self.tones

    def record_for(self, bits: int) -> Record:
        """Return the record of an output of 8 or 16 bits."""
        scale = self.scale16 if bits == 16 else self.scale8
        return replace(self.record, black=scale.black, white=scale.white, near=scale.near, unit=scale.unit)
