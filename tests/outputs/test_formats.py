"""The table of output formats: what `--save` takes, and how a new row becomes an output everywhere."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.errors import DacliError, UsageError
from dacli.io.scales import DepthScale
from dacli.outputs import encoders
from dacli.outputs.formats import FORMATS, OutputFormat, parse_formats
from dacli.outputs.style import DepthStyle
from dacli.outputs.view import DepthView
from tests.support.commands import SMALL, Run, photo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("color", ["color"]),
        ("png16,color", ["png16", "color"]),
        (" Gray , npy,gray ", ["gray", "npy"]),
        ("color,gray,png16,npy,side", ["color", "gray", "png16", "npy", "side"]),
    ],
)
def test_a_list_of_names_is_a_list_of_formats_each_once(text: str, expected: list[str]) -> None:
    assert [row.name for row in parse_formats(text)] == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("colour", "did you mean color?"),
        ("png", "png16"),
        ("", "--save"),
        ("color,", "--save"),
        ("openexr", "did you mean exr?"),
        ("half", "--save"),
    ],
)
def test_an_unknown_format_is_refused_with_the_nearest_name(text: str, word: str) -> None:
    with pytest.raises(UsageError, match="cannot save") as caught:
        parse_formats(text)
    assert word in caught.value.hint


def test_no_suffix_ends_in_another() -> None:
    ends = [row.suffix for row in FORMATS.values() if row.offered]
    assert not [(a, b) for a in ends for b in ends if a != b and a.endswith(b)]


def test_a_new_kind_of_output_is_one_row(dacli: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(view: DepthView) -> NDArray[np.uint8]:
        return np.where(view.depth > np.median(view.depth), 255, 0).astype(np.uint8)

    row = OutputFormat(
        name="nearer-half",
        summary="white where the picture is nearer than its median",
        suffix="_nearer.png",
        clip_suffix="_nearer.mp4",
        draw=draw,
        encode=encoders.png_encoder(draw),
    )
    monkeypatch.setitem(FORMATS, row.name, row)
    photo(home / "a.png")
    run = dacli("image", "a.png", *SMALL, "--save", "nearer-half,npy", "--json")
    assert run.objects[0]["outputs"] == {"nearer-half": "a_nearer.png", "npy": "a_depth.npy"}
    depth = np.load(home / "a_depth.npy")
    assert np.array_equal(np.asarray(Image.open(home / "a_nearer.png")) > 0, depth > np.median(depth))
    assert dacli("image", "a.png", *SMALL, "--save", "nearer-half,npy", "--json").objects[0]["kept"]
    assert "nearer-half" in dacli("image", "a.png", "--save", "nearer").err[0]


def view(depth: NDArray[np.float32], quantity: str = "inverse depth") -> DepthView:
    scale = DepthScale(0, 1)
    record: Any = SimpleNamespace(text=lambda: {"dacli": "{}"}, quantity=quantity)
    return DepthView(depth=depth, record=record, style=DepthStyle(), scale8=scale, scale16=scale)


def test_labels_are_float16_and_depth_beyond_it_is_named() -> None:
    found = np.load(io.BytesIO(FORMATS["half"].encode(view(np.array([[0, 1 / 3, 65504]], np.float32)))))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, [[0, 1 / 3, 65504]], rtol=1e-3)
    with pytest.raises(DacliError, match="reaches 70000, beyond float16"):
        FORMATS["half"].encode(view(np.array([[1, 70000]], np.float32)))
    with pytest.raises(DacliError, match="labels are inverse depth, and this network predicts metres"):
        FORMATS["half"].encode(view(np.array([[1, 2]], np.float32), "metres"))
