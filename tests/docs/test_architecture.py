"""The page and the picture of the architecture know every package, in the order of the rows that imports follow."""

import re
from pathlib import Path

from tests.test_imports import ROWS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_lists_the_rows_from_the_top() -> None:
    table = re.findall(
        r"^\| (`[^|]*`) \| [^|]+ \| [^|]*\|$", (DOCS / "architecture.md").read_text("utf-8"), re.MULTILINE
    )
    listed = [set(re.findall(r"`(\w+)`", cell)) for cell in table]
    rows = [set(row.split()) for row in reversed(ROWS)]
    assert listed == [rows[0] | rows[1], *rows[2:]]  # __main__ beside cli


def test_the_picture_shows_the_rows_from_the_top() -> None:
    svg = (DOCS / "images" / "rooms.svg").read_text("utf-8")
    shown = [set(text.split(" · ")) for text in re.findall(r'font-weight="bold">([^<]+)<', svg)]
    assert shown == [set(row.split()) for row in reversed(ROWS)]
