"""The inputs of a report: outputs of one input together, with its result in the journal and its picture."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from dacli.batch.entries import Entry
from dacli.batch.fingerprint import stamp_file
from dacli.batch.inputs import is_own_picture
from dacli.io.records import Record
from dacli.report.found import OutputFile
from dacli.report.runs import JournalResults, JournalRun


@dataclass(frozen=True)
class ReportItem:
    """An input: its name below the folder of inputs, outputs, journal entry and run, and its file, if that is there."""

    name: str
    stem: str
    outputs: Sequence[OutputFile] = ()
    entry: Entry | None = None
    run: JournalRun | None = None
    source: Path | None = None

    @property
    def record(self) -> Record | None:
        """Return the record of the first output."""
        return self.outputs[0].record if self.outputs else None

    def output(self, *kinds: str) -> OutputFile | None:
        """Return the output of a picture of the first of these kinds that there is; None without one."""
        by_kind = {output.kind: output for output in self.outputs if not output.is_clip}
        return next((by_kind[kind] for kind in kinds if kind in by_kind), None)


def make_items(
    outputs: Iterable[OutputFile], journals: Sequence[JournalResults], out: Path, inputs: Path | None
) -> list[ReportItem]:
    """Return the inputs by name: those that have outputs below `out`, and those that failed.

    `inputs` is a folder in which their files are searched first.
    """
    groups: dict[str, list[OutputFile]] = {}
    for output in outputs:
        groups.setdefault(output.stem, []).append(output)
    index = _ResultIndex(journals)
    items = [_item_of_outputs(stem, group, index, out, inputs) for stem, group in groups.items()]
    used = {id(item.entry) for item in items}
    for results in journals:
        for key, entry in results.entries.items():
            if entry.error and id(entry) not in used:
                stem = str(results.folder / key.replace("\0", "_"))
                items.append(_item_of_entry(stem, (), (results, entry), inputs))
    return sorted(items, key=lambda item: (item.name, item.stem))


class _ResultIndex:
    """Finds the journal's result of an input by the folder of its outputs and its file's name in records."""

    def __init__(self, journals: Sequence[JournalResults]) -> None:
        self.found: dict[tuple[str, str], list[tuple[JournalResults, Entry]]] = {}
        for results in journals:
            for entry in results.entries.values():
                folder, _, name = entry.name.rpartition("/")
                known_as = name.encode("utf-8", "backslashreplace").decode()
                place = os.path.normpath(results.folder / folder)
                self.found.setdefault((place, known_as), []).append((results, entry))

    def find(self, group: Sequence[OutputFile]) -> tuple[JournalResults, Entry] | None:
        """Return the result whose outputs these files are: by size and time, or the only one of this name."""
        candidates = self.found.get((os.path.normpath(group[0].path.parent), group[0].record.source), [])
        stamps = {(output.kind, output.size, output.mtime_ns) for output in group}
        for results, entry in candidates:
            if stamps & {(kind, *stamp) for kind, stamp in entry.outputs.items()}:
                return results, entry
        return candidates[0] if len(candidates) == 1 else None


def _item_of_outputs(
    stem: str, group: list[OutputFile], index: _ResultIndex, out: Path, inputs: Path | None
) -> ReportItem:
    outputs = sorted(group, key=lambda output: output.path)
    if found := index.find(group):
        return _item_of_entry(stem, outputs, found, inputs)
    folder, name = outputs[0].path.parent, outputs[0].record.source
    below = os.path.relpath(folder, out).replace(os.sep, "/")
    whole = name if below == "." else f"{below}/{name}"
    places = (place for place in (inputs and inputs / below / name, inputs and inputs / name, folder / name) if place)
    return ReportItem(whole, stem, outputs, source=_find_source(places, name, None))


def _item_of_entry(
    stem: str, outputs: Sequence[OutputFile], found: tuple[JournalResults, Entry], inputs: Path | None
) -> ReportItem:
    """Return an item with its result, its run, and its file where the run had it, unless that has changed since."""
    results, entry = found
    run = results.runs.get(entry.key)
    roots: Iterator[Path] = chain([inputs] if inputs else [], [Path(run.root)] if run and run.root else [])
    places = (root / entry.name for root in chain(roots, [results.folder]))
    return ReportItem(entry.name, stem, outputs, entry, run, _find_source(places, entry.name, entry))


def _find_source(places: Iterable[Path], name: str, entry: Entry | None) -> Path | None:
    """Return the first place with the file of an input that the outputs were made from; None without one.

    Names that lead out of the folder of inputs, which only a foreign file would hold, are not followed.
    """
    parts = PurePosixPath(name)
    if not name or "\0" in name or parts.is_absolute() or ".." in parts.parts:
        return None
    for place in places:
        is_same = entry is None or stamp_file(place) == (entry.size, entry.mtime_ns)
        if is_same and place.is_file() and not is_own_picture(str(place)):
            return place
    return None


def runs_of_items(items: Iterable[ReportItem]) -> Mapping[int, JournalRun]:
    """Return the runs of items by id, the first one first."""
    runs = {id(item.run): item.run for item in items if item.run is not None}
    return dict(sorted(runs.items(), key=lambda pair: pair[1].at))
