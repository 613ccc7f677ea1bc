"""What progress bars say."""

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress, ProgressColumn

from dacli.cli import console, progress
from tests.support.commands import Run


def shown(columns: list[ProgressColumn], total: float, steps: list[dict[str, object]], width: int = 100) -> str:
    """Return the line of a bar after one update a second."""
    now = 0.0
    terminal = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    bar = Progress(*columns, console=terminal, get_time=lambda: now, disable=True)
    task = bar.add_task("", total=total, rate=0.0, failed=0, file="")
    for step in steps:
        now += 1
        bar.update(task, **step)  # type: ignore[arg-type]
    with terminal.capture() as capture:
        terminal.print(bar.make_tasks_table(bar.tasks))
    return " ".join(capture.get().split())


def test_a_batch_shows_its_rate_its_failures_and_labelled_times() -> None:
    def steps(*failed: int) -> list[dict[str, object]]:
        return [
            {"completed": n, "rate": 2.5, "failed": each, "file": f"{n}.jpg"} for n, each in enumerate(failed, start=1)
        ]

    good = shown(progress.batch_columns(), 10, steps(0, 0, 0))
    assert re.search(r"3/10 2\.50/s 0:03 so far, 0:0[78] left 3\.jpg$", good)
    assert "2.50/s, 1 failed" in shown(progress.batch_columns(), 10, steps(0, 1))
    nothing_yet = shown(progress.batch_columns(), 1, [{"completed": 0, "rate": 0.0, "failed": 0, "file": "a.jpg"}])
    assert re.search(r"0/1 0:01 so far a\.jpg$", nothing_yet)


def test_a_long_name_is_cut_and_not_the_times_at_80_columns() -> None:
    steps: list[dict[str, object]] = [
        {"completed": n, "rate": 0.02, "failed": 12, "file": f"{'folder/' * 20}{n}.jpg"} for n in (1000, 2000)
    ]
    line = shown(progress.batch_columns(), 100_000, steps, width=80)
    assert re.search(r"0\.02/s, 12 failed 0:02 so far, 1:38 left", line)
    assert "…" in line


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")]
)
def test_durations_are_clocks(seconds: float, text: str) -> None:
    assert progress.clock(seconds) == text


def test_an_interrupt_is_answered_by_one_line(dacli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dacli.weights.checkpoints.obtain_checkpoint", interrupted)
    run = dacli("weights", "get", "vits")
    assert (run.code, run.out) == (130, "")
    assert run.err == ["interrupted at depth_anything_v2_vits.pth; the same command goes on from there"]
    monkeypatch.setattr(console.Console, "result", interrupted)
    run = dacli("weights", "list", "--json")
    assert (run.code, run.out, run.err) == (130, "", ["interrupted"])
