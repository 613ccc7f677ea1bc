"""The options of floats and of 3D outputs."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from dacli.choices import ExrDepth, NormalY


@dataclass(frozen=True, kw_only=True)
class ExportChoices:
    """How floats and 3D are written."""

    exr_half: Annotated[bool, typer.Option("--exr-half", help="16-bit floats in exr.", rich_help_panel="Output")] = (
        False
    )
    exr_z: Annotated[
        ExrDepth,
        typer.Option(
            "--exr-z", help="Channel Z of exr: metres, or 1 / metres, as Nuke has it.", rich_help_panel="Output"
        ),
    ] = "z"
    normal_y: Annotated[
        NormalY,
        typer.Option("--normal-y", help="Green of normal: opengl is up, directx down.", rich_help_panel="Output"),
    ] = "opengl"
    normal_bits: Annotated[
        Literal["8", "16"], typer.Option("--normal-bits", help="Bits of normal.", rich_help_panel="Output")
    ] = "8"
    max_points: Annotated[
        int,
        typer.Option("--max-points", metavar="N", help="Points of ply, vertices of glb.", rich_help_panel="Output"),
    ] = 1_000_000
    edge: Annotated[
        float,
        typer.Option("--edge", metavar="SHARE", help="Jump of depth that tears ply and glb.", rich_help_panel="Output"),
    ] = 0.04
    parallax: Annotated[
        float,
        typer.Option("--parallax", metavar="PERCENT", help="Of the width, in stereo.", rich_help_panel="Output"),
    ] = 2.5
    convergence: Annotated[
        float,
        typer.Option(
            "--convergence",
            metavar="SHARE",
            help="What is on the screen in stereo: 0 the farthest point, 1 the nearest.",
            rich_help_panel="Output",
        ),
    ] = 0.5

    def run_fields(self) -> dict[str, Any]:
        """Return the fields of RunOptions; raise UsageError for a value out of range."""
        from dacli.outputs.export import ExportOptions, check_export_options

        options = ExportOptions(
            exr_half=self.exr_half,
            exr_z=self.exr_z,
            normal_y=self.normal_y,
            normal_bits=int(self.normal_bits),
            max_points=self.max_points,
            edge=self.edge,
            parallax=self.parallax,
            convergence=self.convergence,
        )
        return {"export": check_export_options(options)}
