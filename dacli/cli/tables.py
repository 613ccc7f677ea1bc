"""Results as tables on the terminal."""

import sys
from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dacli.evaluation.tables import ScoreRecord, score_title, score_value, varying_fields


def print_table(
    title: str, records: Sequence[ScoreRecord], scores: Sequence[str], show: Callable[[str, float], str]
) -> None:
    """Print records as a table on stdout; in a pipe it is as wide as its content."""
    print(title)
    console = Console(width=None if sys.stdout.isatty() else 240)
    console.print(build_table(records, scores, show))


def build_table(records: Sequence[ScoreRecord], scores: Sequence[str], show: Callable[[str, float], str]) -> Table:
    """Return records as a table: first the fields in which they differ, then the scores."""
    table = Table(box=SIMPLE_HEAD)
    fields = varying_fields(records, scores)
    for key in fields:
        table.add_column(key.replace("_", " "))
    for name in scores:
        table.add_column(score_title(name), justify="right")
    for record in records:
        numbers = [show(name, score_value(record.get(name))) for name in scores]
        table.add_row(*(str(record[key]) for key in fields), *numbers)
    return table
