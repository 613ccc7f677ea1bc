"""The Python of the pages runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import footage
from tests.support.commands import photo

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_examples_run(home: Path, page: str) -> None:
    photo(home / "photo.jpg")
    (home / "photos").mkdir()
    photo(home / "photos" / "a.png", 1)
    photo(home / "photos" / "b.png", 2)
    footage.make(home / "clip.mp4", *footage.H264, frames=4)
    names: dict[str, Any] = {}
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)
    assert names["result"].depth.ndim == 2
    assert (home / "photo_depth.png").exists()
