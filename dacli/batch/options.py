"""The options of a run, before model, device, engine and precision are resolved."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dacli.io.background import AlphaOptions
from dacli.io.camera import ANY_CAMERA, CameraChoice
from dacli.outputs.export import DEFAULT_EXPORT, ExportOptions

if TYPE_CHECKING:
    from dacli.choices import TileMode
    from dacli.outputs.calibration import Calibration


@dataclass(frozen=True)
class RunOptions:
    """The options of a run, as names: the network, the machine, and how depth is shown.

    `encoder` and `model` name a checkpoint, or `weights` is a file of your own; `size` is the short side of the
    network's input in pixels. `batch` is how many pictures go through the network together (None: measured on a GPU).
    Pictures of more than `max_pixels` are refused; `alpha` says what is done with transparent pixels. `pre` are
    the filters of pictures, such as "exposure", `post` those of depth, such as "sharpen,median:3", `ensemble` the
    passes that are averaged, such as "flip"; `camera` is what is known of the camera, `calibration` what turns relative
    depth into metres, `export` how floats and 3D are written.
    """

    encoder: str | None = None
    model: str = "v2"
    weights: Path | None = None
    size: int | None = None
    precision: str = "auto"
    devices: Sequence[str] = ("auto",)
    engine: str = "auto"
    colormap: str = "Spectral_r"
    near: str = "white"
    range: str = "auto"
    pre: str = ""
    post: str = ""
    ensemble: str = ""
    max_pixels: int = 200_000_000
    overwrite: bool = False
    batch: int | None = None
    tile: "TileMode" = "auto"
    alpha: AlphaOptions = field(default_factory=AlphaOptions)
    camera: CameraChoice = ANY_CAMERA
    calibration: "Calibration | None" = None
    export: ExportOptions = DEFAULT_EXPORT
