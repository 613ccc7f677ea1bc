"""Results as tables on the terminal."""

import sys
from collections.abc import Callable, Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from dacli.evaluation.tables import ScoreRecord, score_title, score_value, varying_fields
from dacli.paths import printable_text

PIPE_WIDTH = 240  # characters: in a pipe a table is as wide as its content


def print_table(
    title: str, records: Sequence[ScoreRecord], scores: Sequence[str], show: Callable[[str, float], str]
) -> None:
    """Print records as a table on stdout."""
    print(terminal_text(title))
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    for table in fit_tables(records, scores, show, console):
        console.print(table)


def terminal_text(value: object) -> str:
    """Return a value as text, on a terminal with its control characters escaped."""
    return printable_text(str(value)) if sys.stdout.isatty() else str(value)


def fit_tables(
    records: Sequence[ScoreRecord], scores: Sequence[str], show: Callable[[str, float], str], console: Console
) -> list[Table]:
    """Return records as a table: the fields in which they differ, then the scores.

    Where the terminal is too narrow for that, a record is a column, or else each is a table of its own: no number is
    cut.
    """
    fields = varying_fields(records, scores)
    headers = [*(key.replace("_", " ") for key in fields), *map(score_title, scores)]
    rows = [
        [
            *(terminal_text(record[key]) for key in fields),
            *(show(name, score_value(record.get(name))) for name in scores),
        ]
        for record in records
    ]
    whole = build_table(headers, rows, numbers_from=len(fields))
    if table_width(whole, console) <= console.width:
        return [whole]
    turned = build_table([""] * (len(rows) + 1), [list(column) for column in zip(headers, *rows, strict=True)])
    if table_width(turned, console) <= console.width:
        return [turned]
    return [build_table(["", ""], [list(pair) for pair in zip(headers, row, strict=True)]) for row in rows]


def build_table(headers: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> Table:
    """Return a table whose columns hold numbers from a column on; without headers if all are empty."""
    table = Table(box=SIMPLE_HEAD, show_header=any(headers))
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number >= numbers_from else "left")
    for row in rows:
        table.add_row(*map(terminal_text, row))
    return table


def table_width(table: Table, console: Console) -> int:
    """Return how many characters a table needs to show everything."""
    options = console.options.update(max_width=10 * PIPE_WIDTH)
    return Measurement.get(console, options, table).maximum


def print_columns(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of text in columns on stdout; long ones go on in the next line."""
    table = Table(*headers, box=None)
    for row in rows:
        table.add_row(*map(terminal_text, row))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)
