"""The options that say how a picture was taken, and which of its distances are known."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """The camera, and known distances that turn relative depth into metres."""

    fov: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES", help="Horizontal field of view. [default: by EXIF, or 55]", rich_help_panel="Camera"
        ),
    ] = None
    focal_px: Annotated[
        float | None,
        typer.Option(metavar="PIXELS", help="Focal length in pixels of the picture.", rich_help_panel="Camera"),
    ] = None
    near_far: Annotated[
        str | None,
        typer.Option(
            metavar="LO,HI",
            help="Metres of the nearest and farthest point: they make metres of relative depth.",
            rich_help_panel="Camera",
        ),
    ] = None
    calibrate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y=METRES",
            help="Metres of a pixel: they make metres of relative depth; twice for two pixels.",
            rich_help_panel="Camera",
        ),
    ] = None

    def run_fields(self) -> dict[str, Any]:
        """Return the fields of RunOptions; raise UsageError for a value out of range."""
        from dacli.io.camera import choose_camera
        from dacli.outputs.calibration import parse_calibration

        return {
            "camera": choose_camera(self.fov, self.focal_px),
            "calibration": parse_calibration(self.near_far, self.calibrate or ()),
        }
