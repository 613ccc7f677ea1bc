"""The options of what stands around the network: filters of pictures and of depth, passes that are averaged."""

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import typer

from dacli.choices import EnsembleName
from dacli.cli.completion import complete_names
from dacli.filters.picture_table import PICTURE_FILTERS
from dacli.filters.table import FILTERS


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which filters pictures and depth pass, and which passes are averaged."""

    pre: Annotated[
        str,
        typer.Option(
            metavar="FILTERS",
            help=f"Filters of the picture before the network, in this order: any of {','.join(PICTURE_FILTERS)}.",
            autocompletion=complete_names(PICTURE_FILTERS),
            rich_help_panel="Input",
        ),
    ] = ""
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
        return {"pre": self.pre, "post": self.post, "ensemble": self.ensemble}
