"""What programs downstream expect of floats, normals, points and meshes."""

from dataclasses import dataclass

from dacli.choices import ExrDepth, NormalY
from dacli.errors import UsageError


@dataclass(frozen=True)
class ExportOptions:
    """How floats, normals, points and meshes are written.

    `exr_half` writes 16-bit floats, `exr_z` says what the channel Z of metres holds. `normal_y` is the direction of
    green in normals, of `normal_bits`. `max_points` limits the points of a cloud and the vertices of a mesh; `edge` is
    the relative jump of depth at which surfaces are separate. `parallax` is how far the views of both eyes lie apart
    between the nearest and the farthest point, in percent of the width; `convergence` is what lies in the plane of the
    screen, from 0 (the farthest point) to 1 (the nearest).
    """

    exr_half: bool = False
    exr_z: ExrDepth = "z"
    normal_y: NormalY = "opengl"
    normal_bits: int = 8
    max_points: int = 1_000_000
    edge: float = 0.04
    parallax: float = 2.5
    convergence: float = 0.5


DEFAULT_EXPORT = ExportOptions()


def check_export_options(options: ExportOptions) -> ExportOptions:
    """Return the options; raise UsageError for a value out of range."""
    if not 100 <= options.max_points <= 100_000_000:
        raise UsageError(f"--max-points {options.max_points} is not between 100 and 100000000", "for example 500000")
    if not 0 < options.edge <= 10:
        raise UsageError(f"--edge {options.edge:g} is not above 0 and at most 10", "0.04 is a jump of 4 percent")
    if not 0 < options.parallax <= 20:
        raise UsageError(f"--parallax {options.parallax:g} is not above 0 and at most 20 percent", "2.5 is comfortable")
    if not 0 <= options.convergence <= 1:
        fault = f"--convergence {options.convergence:g} is not between 0 and 1"
        raise UsageError(fault, "0 puts the farthest point on the screen, 1 the nearest")
    return options
