"""The options of floats and of 3D outputs."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dacli.outputs.export import ExrDepth


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

    def run_fields(self) -> dict[str, Any]:
        """Return the fields of RunOptions; raise UsageError for a value out of range."""
        from dacli.outputs.export import ExportOptions, check_export

        return {"export": check_export(ExportOptions(exr_half=self.exr_half, exr_z=self.exr_z))}
