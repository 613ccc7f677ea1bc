"""The files of the demonstration, and those that it leaves alone."""

from pathlib import Path

import pytest

from dacli.evaluation import demonstration
from tests.support.commands import Run

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demonstration, "DEMO_HEIGHT", 64)
    monkeypatch.setattr(demonstration, "DEMO_WIDTH", 96)


def test_a_file_that_is_not_of_a_demonstration_stays(dacli: Run) -> None:
    Path("shown").mkdir()
    mine = Path("shown/demo_side.png")
    mine.write_bytes(b"mine")
    run = dacli("demo", "-o", "shown")
    assert (run.code, run.out) == (1, "")
    assert run.errors == [
        "error: shown/demo_side.png exists and is not a complete output of dacli: "
        "move it away, or replace it with --overwrite"
    ]
    assert [path.name for path in Path("shown").iterdir()] == ["demo_side.png"]
    assert dacli("demo", "-o", "shown", "--overwrite").code == 0
    assert mine.read_bytes()[:4] == b"\x89PNG"


def test_a_demonstration_may_be_shown_again_with_another_scene(dacli: Run) -> None:
    first = dacli("demo", "-o", "shown")
    before = Path("shown/demo_scene.png").read_bytes()
    again = dacli("demo", "-o", "shown", "--seed", "11")
    assert (first.code, again.code, first.out) == (0, 0, again.out)
    assert Path("shown/demo_scene.png").read_bytes() != before
