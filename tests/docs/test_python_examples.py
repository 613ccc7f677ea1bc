"""The Python of the pages runs as it stands there, on the CPU, with the model inside the package."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import footage
from tests.support.commands import photo

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a reader: a photo, a folder of photos, a clip, and no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    photo(home / "photo.jpg")
    (home / "photos").mkdir()
    for number in (1, 2):
        photo(home / "photos" / f"{number}.jpg", number)
    footage.make_clip(home / "clip.mp4", *footage.H264, frames=4)
    return home


@pytest.mark.parametrize(
    ("page", "written"),
    [
        ("README.md", ["photo_depth.png"]),
        (
            "docs/python.md",
            ["photo_depth.png", "photo_depth.npy", "photo_color.png", "depth/1_depth16.png", "depth/clip_gray.mp4"],
        ),
    ],
)
def test_the_examples_run(desk: Path, page: str, written: list[str]) -> None:
    names: dict[str, Any] = {}
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)
    assert names["result"].depth.shape == (24, 36)
    assert not [name for name in written if not (desk / name).is_file()]
