"""Lists of filters as users write them: names, each with a number after a colon if it takes one."""

import difflib
from collections.abc import Mapping
from typing import Protocol, TypeVar

from dacli.errors import UsageError


class FilterRow(Protocol):
    """What a list of filters has to know of each: its name, and what its number means, by default and at its limits.

    A filter without an `amount` takes no number.
    """

    @property
    def name(self) -> str: ...
    @property
    def amount(self) -> str: ...
    @property
    def default(self) -> float: ...
    @property
    def limits(self) -> tuple[float, float]: ...


Row = TypeVar("Row", bound=FilterRow)


def parse_steps(text: str, table: Mapping[str, Row], option: str) -> tuple[tuple[Row, float], ...]:
    """Return the filters of a table that a list such as `sharpen,median:3` names, in its order, with their amounts.

    Raises UsageError, with the option's name, for a name that is no filter, or an amount beyond its limits.
    """
    names = [part.strip().lower() for part in text.split(",")] if text.strip() else []
    return tuple(_parse_step(part, table, option) for part in names)


def describe_steps(steps: tuple[tuple[FilterRow, float], ...]) -> str:
    """Return filters as a list that parse_steps() takes."""
    return ",".join(f"{row.name}:{amount:g}" if amount else row.name for row, amount in steps)


def _parse_step(part: str, table: Mapping[str, Row], option: str) -> tuple[Row, float]:
    name, colon, amount = part.partition(":")
    if name not in table:
        similar = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
        guess = f"did you mean {similar[0]}? " if similar else ""
        raise UsageError(f"there is no filter {name!r}", f"{guess}{option} takes any of {','.join(table)}")
    row = table[name]
    if not colon:
        return row, row.default
    if not row.amount:
        raise UsageError(f"{option} {name} takes no number", f"write {name} alone")
    low, high = row.limits
    try:
        value = float(amount)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or (name == "median" and value not in row.limits):
        raise UsageError(
            f"{option} {part} is not possible", f"the number is the {row.amount}, from {low:g} to {high:g}"
        )
    return row, value
