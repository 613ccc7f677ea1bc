"""The page of a report: its data, and the one file with style and script."""

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files as package_files
from pathlib import Path
from urllib.parse import quote

from dacli import __version__
from dacli.outputs import drawing
from dacli.paths import printable_text
from dacli.report.items import ReportItem, runs_of_items
from dacli.report.pictures import colormap_of, data_name, script_json, thumbnail_name

PAGE_MARK = b"<!doctype html>\n<!-- dacli report -->"  # the first bytes of a page
DATA_MARK = b"// dacli report\n"
_COLORMAPS = ("Spectral_r", "turbo", "viridis", "magma", "inferno", "plasma", "cividis", "gray")
_CLIP_KINDS = ("side", "color", "gray", "sbs", "half-sbs", "anaglyph")  # as a browser plays them, best first


def page_html(folder: str) -> bytes:
    """Return the page, whose pictures and data are in a folder of this name beside it."""
    parts = {name: package_files("dacli.report").joinpath(name).read_text("utf-8") for name in _PARTS}
    values = {
        "style": parts["page.css"],
        "script": parts["cloud.js"] + parts["page.js"].replace('"use strict";\n', "", 1),
        "folder": quote(folder, errors="surrogateescape"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], parts["page.html"]).encode()


_PARTS = ("page.html", "page.css", "cloud.js", "page.js")


def page_data(items: Sequence[tuple[str, ReportItem]], colormaps: Mapping[str, str], page: Path, folder: Path) -> bytes:
    """Return the script that gives the page its colormaps and its inputs, each with the name of its files."""
    runs = runs_of_items(item for _, item in items)
    numbers = {identity: number for number, identity in enumerate(runs)}
    thumbnails = {entry.name for entry in os.scandir(folder)}
    report = {
        "version": __version__,
        "folder": quote(folder.name, errors="surrogateescape"),
        "runs": [{"settings": run.settings, "at": run.at, "root": printable_text(run.root)} for run in runs.values()],
        "colormaps": colormaps,
        "inputs": [
            _item_data(identity, item, page.parent, thumbnails)
            | ({} if item.run is None else {"run": numbers[id(item.run)]})
            for identity, item in items
        ],
    }
    return DATA_MARK + f"globalThis.DACLI_REPORT = {script_json(report)};\n".encode()


def page_colormaps(items: Iterable[ReportItem]) -> dict[str, str]:
    """Return the colors of each colormap of the page, 256 times RGB in base64.

    This loads Matplotlib, for which the current folder is another one for a moment: call it before threads start.
    """
    tables = {}
    for name in dict.fromkeys([*_COLORMAPS, *map(colormap_of, items)]):
        tables[name] = b64encode(drawing.colormap_table(name).T.tobytes()).decode()
    return tables


def _item_data(identity: str, item: ReportItem, base: Path, existing: set[str]) -> dict[str, object]:
    """Return what the page shows of an item; keys without a value are left out."""
    thumbnail, script = thumbnail_name(identity), data_name(identity)
    clip = _clip_of(item)
    data: dict[str, object] = {
        "id": identity,
        "name": printable_text(item.name),
        "outputs": [[output.kind, file_address(output.path, base), output.size] for output in item.outputs],
        "thumbnail": thumbnail if thumbnail in existing else None,
        "data": script if script in existing else None,
        "clip": clip and file_address(clip, base),
        "source": item.source and [printable_text(str(item.source)), file_address(item.source, base)],
        **_network_data(item),
        **_entry_data(item),
    }
    return {key: value for key, value in data.items() if value is not None}


def _network_data(item: ReportItem) -> dict[str, object]:
    """Return what made the outputs and what they mean: by their record, or for a failed input by its run."""
    if (record := item.record) is None:
        settings: Mapping[str, object] = item.run.settings if item.run else {}
        return {
            "encoder": str(settings.get("encoder", "")),
            "model": str(settings.get("model", "")),
            "size": settings.get("size"),
        }
    return {
        "encoder": record.encoder,
        "model": record.model,
        "size": min(record.network_size),
        "network": record.network_size,
        "pixels": record.source_size,
        "quantity": record.quantity,
        "range": [record.low, record.high],
        "post": record.post,
        "camera": record.camera and asdict(record.camera),
        "version": record.version,
    }


def _entry_data(item: ReportItem) -> dict[str, object]:
    if item.entry is None:
        return {}
    return {"error": printable_text(item.entry.error) or None, "at": item.entry.at, "bytes": item.entry.size}


def _clip_of(item: ReportItem) -> Path | None:
    """Return the clip of an item that browsers play; None without one."""
    clips = {output.kind: output.path for output in item.outputs if output.is_clip and output.path.suffix == ".mp4"}
    return next((clips[kind] for kind in _CLIP_KINDS if kind in clips), None)


def file_address(path: Path, base: Path) -> str:
    """Return the address of a file for a page in the folder `base`, relative if both are on one drive."""
    try:
        relative = os.path.relpath(path, base).replace(os.sep, "/")
    except ValueError:  # Windows, another drive
        return path.absolute().as_uri()
    return "./" + quote(relative, errors="surrogateescape")
