"""The options that change depth between the network and the outputs."""

from dataclasses import dataclass
from typing import Annotated

import typer

from dacli.cli.completion import complete_names
from dacli.filters.table import FILTERS


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Which filters depth passes."""

    post: Annotated[
        str,
        typer.Option(
            metavar="FILTERS",
            help=f"Filters of depth, in this order: any of {', '.join(FILTERS)}; with a number: median:3.",
            autocompletion=complete_names(FILTERS),
            rich_help_panel="Output",
        ),
    ] = ""
