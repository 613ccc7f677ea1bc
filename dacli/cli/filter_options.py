"""The options of what stands around the network: passes that are averaged, filters of depth."""

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import typer

from dacli.choices import EnsembleName
from dacli.cli.completion import complete_names
from dacli.filters.table import FILTERS


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which passes are averaged, and which filters depth passes."""

    post: Annotated[
        str,
        typer.Option(
            metavar="FILTERS",
            help=f"Filters of depth, in this order: any of {', '.join(FILTERS)}; with a number: median:3.",
            autocompletion=complete_names(FILTERS),
            rich_help_panel="Output",
        ),
    ] = ""
    ensemble: Annotated[
        str,
        typer.Option(
            metavar="PASSES",
            help="Average several passes: flip (mirrored too), sizes (also at 1.5 times the size), or flip,sizes.",
            autocompletion=complete_names(get_args(EnsembleName)),
            rich_help_panel="Model",
        ),
    ] = ""

    def run_fields(self) -> dict[str, Any]:
        """Return the fields of RunOptions."""
        return {"post": self.post, "ensemble": self.ensemble}
