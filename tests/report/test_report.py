"""dacli report: what the page is given equals the records, the journal and the floats; what stands in its way."""

import base64
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dacli.batch.inputs import find_pictures
from dacli.io.names import RECORD_START
from tests.support.commands import SMALL, Run, photo

pytestmark = pytest.mark.usefixtures("home")
STRANGE = "<script>alert(1)<!--.png", 'it\'s "q" & 50%.png', "n\x1b[31m.png", os.fsdecode(b"n\xff.png")


def report_data(page: Path) -> dict[str, Any]:
    text = (page.with_name(f"{page.stem}_files") / "inputs.js").read_text("ascii")
    data: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return data


def script_data(page: Path, row: dict[str, Any]) -> dict[str, Any]:
    text = (page.with_name(f"{page.stem}_files") / row["data"]).read_text("ascii")
    data: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return data


def picture(address: str) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def page_values(data: dict[str, Any]) -> NDArray[np.float64]:
    """Return depth as the page has it: two bytes from low to high, unknown where blue is 255."""
    high, low, unknown = picture(data["depth"]).astype(np.float64).transpose(2, 0, 1)
    values = data["low"] + (data["high"] - data["low"]) * (256 * high + low) / 65535
    return np.where(unknown == 255, np.nan, values)


def npy_with_record(path: Path, depth: NDArray[Any], record: dict[str, Any]) -> None:
    file = io.BytesIO()
    np.save(file, depth)
    np.save(file, np.frombuffer(json.dumps(record).encode(), np.uint8))
    path.write_bytes(file.getvalue())


def rgba(path: Path) -> None:
    rows, columns = np.mgrid[:24, :36]
    pixels = np.dstack([7 * columns, 10 * rows, 40 + 0 * rows, 255 + 0 * rows]).astype(np.uint8)
    pixels[:5, :7, 3] = 0
    Image.fromarray(pixels).save(path)


def test_the_page_is_given_what_records_and_journal_say(dacli: Run) -> None:
    Path("in/deep").mkdir(parents=True)
    photo(Path("in/a.png"))
    photo(Path("in/deep/b.png"), 1)
    Path("in/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert dacli("folder", "in", "out", *SMALL, "--save", "color,npy").code == 1
    made = dacli("report", "out", "--json")
    assert (made.code, made.objects[0]["inputs"], made.objects[0]["failed"]) == (0, 3, 1)
    report = report_data(Path("out/report.html"))
    rows = {row["name"]: row for row in report["inputs"]}
    assert list(rows) == ["a.png", "broken.png", "deep/b.png"]
    with Image.open("out/deep/b_color.png") as image:
        record = json.loads(image.info["dacli"])
    row = rows["deep/b.png"]
    assert [row[key] for key in ("encoder", "model", "quantity", "network", "pixels", "version", "camera")] == [
        record[key] for key in ("encoder", "model", "quantity", "network_size", "source_size", "version", "camera")
    ]
    assert row["range"] == [record["low"], record["high"]]
    outputs = {
        kind: (Path("out", os.fsdecode(unquote_to_bytes(address))), size) for kind, address, size in row["outputs"]
    }
    assert outputs == {
        kind: (Path("out/deep", name), Path("out/deep", name).stat().st_size)
        for kind, name in (("color", "b_color.png"), ("npy", "b_depth.npy"))
    }
    (journal,) = Path("out/.dacli").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    (failure,) = (line for line in lines if line.get("name") == "broken.png")
    assert (rows["broken.png"]["error"], rows["broken.png"]["at"]) == (failure["error"], failure["at"])
    assert report["runs"][row["run"]]["settings"] == lines[0]["settings"]
    assert row["source"][0] == str(Path("in/deep/b.png").resolve())


def test_depth_and_picture_of_the_page_are_those_of_the_files(dacli: Run) -> None:
    rgba(Path("clear.png"))
    assert dacli("image", "clear.png", *SMALL, "--alpha", "mask", "--save", "npy,png16,color").code == 0
    assert dacli("report", ".").code == 0
    (row,) = report_data(Path("report.html"))["inputs"]
    data = script_data(Path("report.html"), row)
    depth = np.load("clear_depth.npy")
    assert np.isnan(depth).sum() == 35
    step = (np.nanmax(depth) - np.nanmin(depth)) / 65535
    np.testing.assert_allclose(page_values(data), depth, atol=0.51 * step)
    shown = picture(data["picture"])[10:]  # opaque, so it is the source but for JPEG's losses
    assert np.abs(shown - np.asarray(Image.open("clear.png").convert("RGB"), np.float64)[10:]).mean() < 5


def test_depth_of_16_bits_is_what_decode_gives_and_large_depth_keeps_the_values_of_its_pixels(dacli: Run) -> None:
    photo(Path("wide.png"), 2, (10, 3300))
    assert dacli("image", "wide.png", *SMALL, "--tile", "off", "--save", "png16").code == 0
    assert dacli("decode", "wide_depth16.png", "-o", "wide.npy").code == 0
    assert dacli("report", ".", "-o", "page.html").code == 0
    (row,) = report_data(Path("page.html"))["inputs"]
    data = script_data(Path("page.html"), row)
    depth = np.load("wide.npy")
    assert data["step"] == 3
    np.testing.assert_allclose(page_values(data), depth[::3, ::3], atol=np.ptp(depth) / 65535)


def test_thumbnails_are_small_whole_and_no_input_of_a_later_run(dacli: Run) -> None:
    photo(Path("tall.png"), 3, (700, 500))
    assert dacli("image", "tall.png", *SMALL, "--save", "npy,color", "-o", "out").code == 0
    assert dacli("report", "out").code == 0
    (thumbnail,) = Path("out/report_files").glob("*.jpg")
    with Image.open(thumbnail) as image:
        image.load()
        assert image.size == (229, 320)
        small = np.asarray(image.convert("RGB"), np.float64)
    color = np.asarray(Image.open("out/tall_color.png").convert("RGB").resize((229, 320), Image.Resampling.BOX))
    assert np.abs(small - color).mean() < 12
    assert find_pictures(Path("out")) == ()


def test_a_side_picture_gives_both_halves(dacli: Run) -> None:
    photo(Path("a.png"), 4, (200, 300))
    assert dacli("image", "a.png", *SMALL, "--save", "side", "-o", "out").code == 0
    ran = dacli("report", "out")
    assert "--save png16" in ran.err[-2]
    (row,) = report_data(Path("out/report.html"))["inputs"]
    data = script_data(Path("out/report.html"), row)
    side = np.asarray(Image.open("out/a_side.png").convert("RGB"), np.float64)
    for key, half in (("picture", side[:, :300]), ("drawn", side[:, 300:])):
        assert picture(data[key]).shape == (200, 300, 3)
        assert abs(picture(data[key]).mean() - half.mean()) < 3
    assert "source" not in row


def test_names_are_data_and_never_markup(dacli: Run) -> None:
    Path("in").mkdir()
    for seed, name in enumerate(STRANGE):
        photo(Path("in", name), seed)
    assert dacli("folder", "in", "out", *SMALL, "--save", "npy", "--json").code == 0
    assert dacli("report", "out").code == 0
    text = Path("out/report_files/inputs.js").read_text("ascii")
    assert not {"<", ">", "\x1b"} & set(text)
    rows = report_data(Path("out/report.html"))["inputs"]
    assert {row["name"] for row in rows} == {*STRANGE[:2], "n\\x1b[31m.png", "n\\udcff.png"}
    for row in rows:
        ((_, address, _),) = row["outputs"]
        assert address.startswith("./")  # a name such as javascript:x.png is no address of its own
        assert Path("out", os.fsdecode(unquote_to_bytes(address))).is_file()
        assert row["source"]
    assert "alert(" not in Path("out/report.html").read_text("utf-8")


def test_a_second_report_makes_only_what_changed(dacli: Run) -> None:
    for seed, name in enumerate(("a.png", "b.png")):
        photo(Path(name), seed)
    dacli("image", "a.png", "b.png", *SMALL, "--save", "npy", "-o", "out")
    assert dacli("report", "out", "--json").objects[0]["made"] == 2
    before = {path: path.stat().st_mtime_ns for path in Path("out/report_files").glob("*.js")}
    dacli("image", "b.png", *SMALL, "--save", "npy", "-o", "out", "--overwrite")
    assert dacli("report", "out", "--json").objects[0]["made"] == 1
    after = {path: path.stat().st_mtime_ns for path in Path("out/report_files").glob("*.js")}
    assert len(after) == len(before) == 3
    assert len(before.keys() & after.keys()) == 2  # that of a.png, and the list of inputs
    assert len(list(Path("out/report_files").glob("*.jpg"))) == 2


def test_a_damaged_output_and_a_changed_source_are_said_or_left_out(dacli: Run) -> None:
    Path("in").mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        photo(Path("in", name), seed)
    dacli("folder", "in", "out", *SMALL, "--save", "png16")
    whole = Path("out/a_depth16.png").read_bytes()
    Path("out/a_depth16.png").write_bytes(whole[:-30])
    photo(Path("in/b.png"), 9, (50, 60))
    with Image.open("out/b_depth16.png") as image:
        record = json.loads(image.info["dacli"]) | {"source": "c.png"}
    npy_with_record(Path("out/c_depth.npy"), np.zeros((0, 5), np.float32), record)
    assert dacli("report", "out").code == 0
    first, second, third = report_data(Path("out/report.html"))["inputs"]
    assert "c_depth.npy holds no pixels" in script_data(Path("out/report.html"), third)["fault"]
    assert "a_depth16.png is truncated" in script_data(Path("out/report.html"), first)["fault"]
    assert "source" in first
    assert "source" not in second
    assert "picture" not in script_data(Path("out/report.html"), second)


def test_a_record_cannot_lead_to_a_file_outside(dacli: Run) -> None:
    Path("out").mkdir()
    photo(Path("secret.png"))
    dacli("image", "secret.png", *SMALL, "--save", "npy", "-o", "out")
    data = Path("out/secret_depth.npy").read_bytes()
    start = data.index(RECORD_START)
    record = json.loads(data[start:]) | {"source": "../secret.png"}
    npy_with_record(Path("out/secret_depth.npy"), np.load("out/secret_depth.npy"), record)
    assert dacli("report", "out").code == 0
    (row,) = report_data(Path("out/report.html"))["inputs"]
    assert "source" not in row
    assert row["name"] == "../secret.png"


def test_pictures_that_were_moved_are_found_by_input(dacli: Run) -> None:
    Path("in").mkdir()
    photo(Path("in/a.png"))
    dacli("folder", "in", "out", *SMALL, "--save", "npy")
    shutil.move("in", "moved")
    assert dacli("report", "out").code == 0
    assert "source" not in report_data(Path("out/report.html"))["inputs"][0]
    assert dacli("report", "out", "--input", "moved").code == 0
    assert report_data(Path("out/report.html"))["inputs"][0]["source"][1] == "./../moved/a.png"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["empty"], "error: empty holds no outputs of dacli: name the output folder of a run"),
        (["gone"], "error: gone does not exist: name the output folder of a run"),
        (["notes.txt"], "error: notes.txt is not a folder: name the output folder of a run"),
        (["out", "-o", "notes.txt"], "error: notes.txt exists and is not a report of dacli: move it away, or give the"),
        (["out", "-o", "empty"], "error: empty is a folder: give the name of the page with -o, such as report.html"),
        (["out", "-o", "notes.txt/a.html"], "error: cannot write notes.txt/a_files/inputs.js (a file stands where"),
        (["out", "-o", "taken.html"], "error: taken_files/inputs.js exists and is not a report of dacli: move it away"),
    ],
)
def test_what_stands_in_the_way_is_said_in_one_line_and_stays(dacli: Run, arguments: list[str], line: str) -> None:
    for folder in ("empty", "out", "taken_files"):
        Path(folder).mkdir()
    Path("notes.txt").write_text("mine")
    Path("taken_files/inputs.js").write_text("mine")
    photo(Path("empty/plain.png"))
    photo(Path("a.png"))
    dacli("image", "a.png", *SMALL, "--save", "npy", "-o", "out")
    ran = dacli("report", *arguments)
    assert (ran.code, len(ran.err)) == (1, 1)
    assert ran.err[0].startswith(line)
    assert Path("notes.txt").read_text() == Path("taken_files/inputs.js").read_text() == "mine"
    assert not list(Path().rglob("*.part"))
