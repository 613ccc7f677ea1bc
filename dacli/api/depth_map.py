"""The depth of one picture as Python users get it: drawn, and saved as a file."""

from dataclasses import dataclass
from pathlib import Path

from dacli.batch.fingerprint import Fingerprint
from dacli.batch.outcomes import NO_SECONDS, StageSeconds
from dacli.batch.settings import RunSettings
from dacli.batch.views import view_prediction
from dacli.choices import Near, Quantity
from dacli.inference.predictor import Prediction
from dacli.io import files
from dacli.io.camera import PinholeCamera
from dacli.io.metric_fit import MetricFit
from dacli.outputs.drawing import draw_color, draw_gray
from dacli.outputs.formats import FORMATS, offered_formats
from dacli.outputs.style import depth_limits
from dacli.types import DepthArray, Gray8, Image8, ImageArray

KIND_BY_SUFFIX = {
    ".npy": "npy",
    ".png": "png16",
    ".exr": "exr",
    ".pfm": "pfm",
    ".tiff": "tiff",
    ".tif": "tiff",
    ".npz": "npz",
    ".ply": "ply",
    ".glb": "glb",
}  # what a file holds if its kind is not given


@dataclass(frozen=True)
class DepthMap:
    """The depth of one picture, and how it was computed.

    `depth` is float32 [H, W] at the picture's size: inverse depth, near = large and without a unit, or metres along the
    optical axis, by `quantity`. `network_size` is the network's input (h, w) in pixels, `tiles` the number of tiles (0:
    one pass). `camera` has focal length and centre in pixels, `calibration` is how metres were made of relative depth.
    `spread` [H, W] is how far the members of an ensemble are apart, in shares of the whole range, if there is one.
    `note` says what differs from the plan, such as a pass in float32 because half precision overflowed.
    """

    depth: DepthArray
    quantity: Quantity
    network_size: tuple[int, int]
    tiles: int
    precision: str
    note: str
    settings: RunSettings
    camera: PinholeCamera
    calibration: MetricFit | None = None
    source: str = ""
    image: ImageArray | None = None
    spread: DepthArray | None = None
    index: int = 0
    seconds: StageSeconds = NO_SECONDS

    @property
    def nbytes(self) -> int:
        """Return the bytes that it holds."""
        return self.depth.nbytes + sum(each.nbytes for each in (self.image, self.spread) if each is not None)

    def colorize(self, colormap: str = "Spectral_r", *, low: float | None = None, high: float | None = None) -> Image8:
        """Return RGB [H, W, 3], 8 bits, in a Matplotlib colormap whose last color is near.

        `low` and `high` are the depths at its two ends, in the unit of the depth (default: the smallest and the largest
        depth). Raises ValueError (a UsageError) for a colormap that Matplotlib does not have.
        """
        return draw_color(self.depth, *self._limits(low, high), self.quantity, colormap)

    def gray(self, near: Near = "white", *, low: float | None = None, high: float | None = None) -> Gray8:
        """Return 8-bit gray [H, W], linear between the depths `low` and `high` (default: the smallest and largest)."""
        return draw_gray(self.depth, *self._limits(low, high), self.quantity, near)

    def save(self, path: str | Path, kind: str | None = None) -> Path:
        """Write one output file, whole or not at all, and return its path.

        `kind` is one of the names that `--save` takes; by default `.npy`, `.npz`, `.exr`, `.pfm` and `.tiff` hold the
        floats, and `.png` 16-bit depth that `dacli decode` turns back into floats. Raises ValueError for another
        extension or kind, DacliError if the file cannot be written.
        """
        target = Path(path)
        chosen = kind or KIND_BY_SUFFIX.get(target.suffix.lower())
        kinds = offered_formats()
        if chosen not in kinds:
            ends = ", ".join(KIND_BY_SUFFIX)
            raise ValueError(
                f"cannot save {target.name}: end its name in {ends}, or set kind to one of {', '.join(kinds)}"
            )
        view = view_prediction(
            Prediction(self.depth, self.network_size, self.tiles, self.precision, self.note, self.spread),
            self.settings,
            source=self.source,
            fingerprint=Fingerprint(""),
            camera=self.camera,
            calibration=self.calibration,
            image=self.image,
        )
        files.write_file(target, FORMATS[chosen].encode(view))
        return target

    def _limits(self, low: float | None, high: float | None) -> tuple[float, float]:
        smallest, largest = depth_limits(self.depth)
        return (smallest if low is None else low), (largest if high is None else high)
