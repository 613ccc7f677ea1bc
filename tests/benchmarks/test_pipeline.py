"""The benchmark of the pipeline runs at its smallest, and its table is of the cores that there are."""

import re

import pytest

from benchmarks import pipeline


def test_every_core_and_step_has_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pipeline, "TURNS", 1)
    monkeypatch.setattr(pipeline, "REPEATS", 1)
    monkeypatch.setattr(pipeline, "usable_cores", lambda: 1)
    pipeline.main(["--pictures", "2", "--size", "64"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    names = [re.split(r" ?\| ?|, ", row)[1] for row in rows]
    assert names == ["cores", "1", "step", "decode", "prepare", "resize", "draw", "write"]
    assert all(float(number) > 0 for row in rows[1:2] + rows[3:] for number in re.findall(r"\d+\.\d+", row))
