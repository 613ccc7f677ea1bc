"""What all inputs of a run have in common."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

from dacli import __version__
from dacli.choices import EnsembleName, Quantity
from dacli.filters.picture_table import UNFILTERED, PictureFilterChain
from dacli.filters.table import NO_FILTERS, FilterChain
from dacli.inference.device import ExecutionPlan
from dacli.io.background import AlphaOptions
from dacli.io.camera import ANY_CAMERA, CameraChoice
from dacli.io.scales import DepthScale, metric_scale
from dacli.outputs.calibration import Calibration
from dacli.outputs.export import DEFAULT_EXPORT, ExportOptions
from dacli.outputs.style import FULL_RANGE, DepthStyle


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What all inputs of a run have in common: the network, where it runs, and how depth is shown.

    `weights` identifies the file of weights, by name and SHA-256, or by size and time; `size` is the network's
    short side in pixels, in tiles if `tiled`; pictures of more than `max_pixels` are refused. With `overwrite`,
    existing outputs are replaced. `alpha` says what is done with transparent pixels; `pre` are the filters before
    the network, `post` those between network and outputs, `ensemble` the further passes that are averaged. The network
    gives `quantity`, up to `max_depth` metres if that is known; with a `calibration` outputs are in metres all the
    same.
    """

    encoder: str
    model: str
    weights: str
    quantity: Quantity
    size: int
    plan: ExecutionPlan
    style: DepthStyle = field(default_factory=DepthStyle)
    max_pixels: int = 200_000_000
    overwrite: bool = False
    tiled: bool = False
    pre: PictureFilterChain = UNFILTERED
    post: FilterChain = NO_FILTERS
    ensemble: tuple[EnsembleName, ...] = ()
    alpha: AlphaOptions = field(default_factory=AlphaOptions)
    max_depth: float | None = None
    needs_focal: bool = False
    camera: CameraChoice = ANY_CAMERA
    calibration: Calibration | None = None
    export: ExportOptions = DEFAULT_EXPORT

    @property
    def output_quantity(self) -> Quantity:
        """Return what the numbers of outputs mean."""
        return "metres" if self.calibration else self.quantity

    @property
    def uses_metric_scale(self) -> bool:
        """Return whether 16-bit outputs have the one scale of metres."""
        return self.output_quantity == "metres" and self.style.range == FULL_RANGE

    @property
    def metric_scale(self) -> DepthScale:
        """Return the scale of all 16-bit outputs in metres."""
        return metric_scale(self.calibration.farthest if self.calibration else self.max_depth)

    @cached_property
    def decisive(self) -> Mapping[str, object]:
        """Return the settings that the pixels of outputs depend on, as plain values for JSON."""
        return {
            "encoder": self.encoder,
            "model": self.model,
            "weights": self.weights,
            "size": self.size,
            "tiled": self.tiled,
            "precision": self.plan.precision,
            "engine": self.plan.engine + self.plan.provider,
            "style": asdict(self.style),
            "pre": str(self.pre),
            "post": str(self.post),
            "ensemble": self.ensemble,
            "alpha": asdict(self.alpha),
            "camera": asdict(self.camera),
            "calibration": self.calibration and self.calibration.given,
            "export": asdict(self.export),
            "version": __version__,
        }
