import csv
import io
import json
import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from dacli.cli.tables import fit_tables
from dacli.evaluation import tables

RECORDS = [
    {"encoder": "tiny", "size": 256, "device": "cpu", "ordinal": 0.866, "abs_rel": 0.325},
    {"encoder": "vits", "size": 256, "device": "cpu", "ordinal": 0.95, "abs_rel": math.nan},
]
SCORES = ["ordinal", "abs_rel"]


def printed(records: list[dict[str, object]], scores: list[str], width: int = 200) -> list[list[str]]:
    file = io.StringIO()
    console = Console(file=file, width=width)
    for table in fit_tables(records, scores, tables.format_score, console):
        console.print(table)
    assert all(len(line) <= width for line in file.getvalue().splitlines())
    return [line.split() for line in file.getvalue().splitlines() if line.strip()]


def picture(data: bytes) -> NDArray[np.uint8]:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return np.asarray(found, np.uint8)


def test_a_table_shows_what_differs_and_every_score() -> None:
    heads, _, first, second = printed(RECORDS, SCORES)
    assert heads == ["encoder", "order", "AbsRel"]
    assert first == ["tiny", "86.6", "%", "0.325"]
    assert second == ["vits", "95.0", "%", "-"]


def test_a_table_of_one_record_names_only_the_first_field() -> None:
    assert printed(RECORDS[:1], SCORES)[0] == ["encoder", "order", "AbsRel"]
    sizes = [RECORDS[0], RECORDS[0] | {"size": 518}]
    assert printed(sizes, SCORES)[0] == ["encoder", "size", "order", "AbsRel"]


def test_a_narrow_terminal_gets_columns_or_lists_and_every_number_whole() -> None:
    scores = [*SCORES, "rmse", "silog", "log10", "boundary_f1"]
    records = [record | dict.fromkeys(scores[2:], 12.3456) for record in RECORDS]
    whole, columns, lists = (printed(records, scores, width) for width in (100, 40, 24))
    assert [len(row) for row in whole[2:]] == [8, 8]
    assert columns[:3] == [["encoder", "tiny", "vits"], ["order", "86.6", "%", "95.0", "%"], ["AbsRel", "0.325", "-"]]
    assert [row for row in lists if row[0] == "order"] == [["order", "86.6", "%"], ["order", "95.0", "%"]]
    assert (len(columns), len(lists)) == (7, 14)
    assert sum(word == "12.346" for row in columns for word in row) >= 4


def test_scenes_keep_their_names_and_are_shares() -> None:
    assert tables.score_title("adverse_style") == "adverse style"
    assert tables.format_score("adverse_style", 0.957) == "95.7 %"
    assert tables.format_score("rmse", 29.37849) == "29.378"


def test_csv_reads_back_with_every_digit_and_every_field() -> None:
    rows: list[dict[str, object]] = [{"picture": 'a,"b"\n', "mean": 1 / 3}, {"picture": "é", "row": 5}]
    found = list(csv.DictReader(io.StringIO(tables.records_csv(rows).decode())))
    assert found == [
        {"picture": 'a,"b"\n', "mean": repr(1 / 3), "row": ""},
        {"picture": "é", "mean": "", "row": "5"},
    ]


def test_json_has_null_for_what_is_no_finite_number() -> None:
    text = tables.record_json({"a": math.nan, "b": math.inf, "c": 0.5, "d": "nan", "e": True})
    assert "\n" not in text
    assert json.loads(text) == {"a": None, "b": None, "c": 0.5, "d": "nan", "e": True}


def heights(records: list[dict[str, object]], scores: list[str]) -> list[int]:
    """Rows that each record's bar fills, by its color (Matplotlib's first three); its mark in the legend is lower."""
    pixels = picture(tables.draw_score_bars(records, scores, ["a", "b", "c"][: len(records)], "")).astype(int)
    colors = [(180, 119, 31), (14, 127, 255), (44, 160, 44)][: len(records)]
    filled = [(np.abs(pixels - color).sum(-1) < 9).any(1) for color in colors]
    return [max(map(len, "".join("x" if row else " " for row in rows).split())) for rows in filled]


@pytest.mark.parametrize("score", ["delta1", "rmse"])
def test_bars_are_as_high_as_their_numbers(score: str) -> None:
    one, half, fifth = heights([{score: value} for value in (1.0, 0.5, 0.2)], [score])
    assert half / one == pytest.approx(0.5, abs=0.02)
    assert fifth / one == pytest.approx(0.2, abs=0.02)


def test_what_is_not_known_has_no_bar() -> None:
    half, unknown, missing = heights([{"delta1": 0.5}, {"delta1": math.nan}, {}], ["delta1"])
    assert max(unknown, missing) < half / 10


def test_names_are_no_formulas_and_need_no_glyphs() -> None:
    name = "$x^{_写"
    pixels = picture(tables.draw_score_bars([{name: 0.5}], [name], [f"a {name}"], f"{name} $"))
    assert pixels.std() > 0
