"""The writing of a report: what stands in its way, its pictures by several threads, then the page."""

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dacli.callbacks import Log
from dacli.errors import DacliError
from dacli.io import files, ownership
from dacli.paths import display_path
from dacli.prefetch import Prefetch
from dacli.report.found import find_outputs
from dacli.report.items import ReportItem, make_items
from dacli.report.page import DATA_MARK, PAGE_MARK, page_colormaps, page_data, page_html
from dacli.report.pictures import item_id, make_item_files
from dacli.report.runs import read_results

DATA_FILE = "inputs.js"
_OWN_NAME = re.compile(r"[0-9a-f]{16}(\.js|_thumb\.jpg)")
_NOT_OURS_HINT = "move it away, or give the page another name with -o"


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written: the page, its inputs, those that failed, and those whose pictures are new."""

    page: Path
    inputs: int
    failed: int
    made: int


def write_report(
    out: Path, page: Path, inputs: Path | None, log: Log, advance: Callable[[int, int], None]
) -> WrittenReport:
    """Write the report of an output folder, and its pictures into a folder beside it; existing pictures are kept.

    `inputs` is a folder in which the pictures of the run are searched first. `advance(done, of)` is called after each
    input. Raises DacliError for a folder without outputs of dacli, or for a page that cannot be written.
    """
    _check_places(out, page)
    outputs = list(find_outputs(out))
    journals = read_results(out, {output.path.parent for output in outputs})
    items = make_items(outputs, journals, out, inputs)
    if not items:
        raise DacliError(f"{display_path(out)} holds no outputs of dacli", "name the output folder of a run")
    folder = picture_folder(page)
    files.write_file(folder / DATA_FILE, DATA_MARK)  # an error of the disk or of permissions comes before the work
    colormaps = page_colormaps(items)
    named = [(item_id(item), item) for item in items]
    made = _make_pictures(named, folder, advance)
    files.write_file(folder / DATA_FILE, page_data(named, colormaps, page, folder))
    files.write_file(page, page_html(folder.name))
    _delete_old_pictures(folder, {identity for identity, _ in named})
    failed = sum(bool(item.entry and item.entry.error) for item in items)
    if not any(item.output("npy", "png16") for item in items):
        log("no output has 16-bit depth or floats: with --save png16 the page also shows values and points")
    return WrittenReport(page, len(items), failed, made)


def picture_folder(page: Path) -> Path:
    """Return the folder of the pictures of a page."""
    return page.with_name(f"{page.stem}_files")


def _check_places(out: Path, page: Path) -> None:
    """Raise DacliError if `out` is no folder, or if what dacli did not make is where the report should be."""
    if not out.is_dir():
        reason = "is not a folder" if out.exists() else "does not exist"
        raise DacliError(f"{display_path(out)} {reason}", "name the output folder of a run")
    if page.is_dir():
        raise DacliError(f"{display_path(page)} is a folder", "give the name of the page with -o, such as report.html")
    for path, mark in ((page, PAGE_MARK), (picture_folder(page) / DATA_FILE, DATA_MARK)):
        if os.path.lexists(path) and not _begins_with(path, mark):
            raise DacliError(f"{display_path(path)} exists and is not a report of dacli", _NOT_OURS_HINT)


def _begins_with(path: Path, mark: bytes) -> bool:
    return ownership.accepts_file(path, lambda own: files.read_bytes(own, len(mark)) == mark)


def _make_pictures(items: list[tuple[str, ReportItem]], folder: Path, advance: Callable[[int, int], None]) -> int:
    """Write the pictures of all items that have outputs; return how many items were not done already."""
    with_outputs = [(identity, item) for identity, item in items if item.outputs]
    stage = Prefetch(
        with_outputs, lambda named: make_item_files(named[1], named[0], folder), lambda _: 0, os.cpu_count() or 1
    )
    count = 0
    with contextlib.closing(stage):
        for done, is_new in enumerate(stage, 1):
            count += is_new
            advance(done, len(with_outputs))
    return count


def _delete_old_pictures(folder: Path, identities: set[str]) -> None:
    """Delete the pictures of inputs that are no longer in the report, or whose files have changed since."""
    for entry in list(os.scandir(folder)):
        if _OWN_NAME.fullmatch(entry.name) and entry.name[:16] not in identities:
            with contextlib.suppress(OSError):
                Path(entry.path).unlink()
