"""The plan of a run: which files are written for which input, under names that never collide."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dacli.batch.naming import FRAME_NUMBER, PLAIN_NAME, OutputName, stem_of_pattern
from dacli.errors import DacliError, UsageError
from dacli.outputs.formats import DEFAULT_VIDEO, FORMATS, Medium, OutputFormat
from dacli.paths import display_path

_STEM_BYTES = 230  # of a stem in UTF-8: with its suffix a name stays below 255 bytes, the limit of file systems


@dataclass(frozen=True, slots=True)
class Job:
    """One input and the files to write for it.

    `name` is the input's path below the root of the run, with slashes; `suffixes` are the ends of the outputs' names,
    by format. `variant` tells the outputs from those of other networks or sizes in the same folder. `exposures` are
    further exposures of the same view, which are merged with the source.
    """

    source: Path
    name: str
    folder: Path
    stem: str
    suffixes: Mapping[str, str]
    variant: str = ""
    exposures: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Return what journals know the job by."""
        return journal_key(self.name, self.variant)

    @property
    def root(self) -> Path:
        """Return the folder, without links, that `name` is a path below."""
        folder = Path(os.path.realpath(self.source.parent))
        return folder.parents[self.name.count("/") - 1] if "/" in self.name else folder

    @property
    def outputs(self) -> dict[str, Path]:
        """Return the files to write, by format."""
        return {kind: self.folder / (self.stem + suffix) for kind, suffix in self.suffixes.items()}

    @property
    def formats(self) -> dict[str, OutputFormat]:
        """Return the rows of the table of formats, by name."""
        return {kind: FORMATS[kind] for kind in self.suffixes}

    @property
    def source_name(self) -> str:
        """Return the input's file name as records hold it."""
        return self.source.name.encode("utf-8", "backslashreplace").decode()

    def is_present(self) -> bool:
        """Return whether every output exists; files are written whole, so each is complete."""
        return all(path.is_file() for path in self.outputs.values())


def journal_key(name: str, variant: str) -> str:
    """Return what journals know the outputs of an input by."""
    return f"{name}\0{variant}" if variant else name


def plan_jobs(
    sources: Sequence[Path],
    out: Path | None,
    formats: Sequence[OutputFormat],
    *,
    root: Path | None = None,
    medium: Medium = "picture",
    video: str = DEFAULT_VIDEO,
    name: OutputName = PLAIN_NAME,
) -> tuple[Job, ...]:
    """Return one job for each distinct source, in their order; no file is written twice, and no source overwritten.

    Outputs are beside their source, or in `out`; with `root`, in the same tree below `out`. `name` makes the name of an
    output from that of its source; clips have the extension `video`. Sources that would share a name (also one that
    differs only in case or Unicode form) all get a longer one, whatever their order: with the extension, then with the
    parent folder, then with a hash of the path. Raises DacliError for a source outside `root`.
    """
    suffixes = {row.name: row.suffix_for(medium, video) for row in formats}
    files = _distinct(sources)
    real_root = os.path.realpath(root) if root is not None else None
    places = {parent: _Place(parent, source, out, root, real_root) for (parent, _), source in files.items()}
    folders = {parent: place.real_folder for parent, place in places.items()}
    parts = [_name_parts(source, file, medium) for (_, file), source in files.items()]
    stems = _stems(list(files), parts, folders, tuple(suffixes.values()), name)
    return tuple(
        Job(source, places[parent].below + file, places[parent].folder, stem, suffixes, name.variant)
        for ((parent, file), source), stem in zip(files.items(), stems, strict=True)
    )


def refuse_shared_outputs(runs: Iterable[Sequence[Job]]) -> None:
    """Raise UsageError if jobs of different runs would write the same file, also if only the case of letters differs.

    Jobs of one run never do.
    """
    seen: set[str] = set()
    for jobs in runs:
        paths = {_folded(str(path)): path for job in jobs for path in job.outputs.values()}
        if shared := seen & paths.keys():
            name = paths[min(shared)].name
            hint = "separate the fields of --name, as in {stem}_{encoder}_{size}"
            raise UsageError(f"{name} would be made by two networks or sizes", hint)
        seen |= paths.keys()


def add_exposures(jobs: Sequence[Job], exposures: Sequence[Path]) -> tuple[Job, ...]:
    """Return jobs whose sources are merged with further exposures; raise UsageError if there are none."""
    if not exposures:
        fault = "--merge-exposures needs several pictures"
        raise UsageError(fault, "name all exposures of one view, such as a.jpg b.jpg c.jpg")
    return tuple(replace(job, exposures=tuple(exposures)) for job in jobs)


def select_shard(jobs: Sequence[Job], index: int, count: int) -> tuple[Job, ...]:
    """Return the jobs of one of `count` machines: a hash of the name decides, so that machines need not communicate."""
    return tuple(job for job in jobs if int(_digest(job.name)[:15], 16) % count == index)


class _Place:
    """Where the outputs of one folder's files go: the folder, its path without links, and its path below the root."""

    def __init__(self, real: str, source: Path, out: Path | None, root: Path | None, real_root: str | None) -> None:
        self.below = "" if root is None or real_root is None else _below(real, source, root, real_root)
        self.folder = source.parent if out is None else out / self.below
        self.real_folder = os.path.realpath(self.folder)


def _below(real: str, source: Path, root: Path, real_root: str) -> str:
    path = os.path.relpath(real, real_root)
    if path == os.pardir or path.startswith(os.pardir + os.sep):
        raise DacliError(f"{display_path(source)} is not below {display_path(root)}", "name files below the folder")
    return "" if path == os.curdir else path.replace(os.sep, "/") + "/"


def _distinct(sources: Sequence[Path]) -> dict[tuple[str, str], Path]:
    real: dict[str, str] = {}
    files: dict[tuple[str, str], Path] = {}
    for source in sources:
        parent, name = os.path.split(str(source))
        if parent not in real:
            real[parent] = os.path.realpath(parent)
        files.setdefault((real[parent], name), source)
    return files


def _name_parts(source: Path, name: str, medium: Medium) -> tuple[str, str]:
    """Return the stem and the extension of a source's name; folders of pictures have no extension."""
    if medium != "picture" and source.is_dir():
        return name, ""
    stem, suffix = os.path.splitext(name)
    is_pattern = medium != "picture" and FRAME_NUMBER.search(name) is not None and not source.exists()
    return (stem_of_pattern(source) if is_pattern else stem), suffix


def _stems(
    keys: Sequence[tuple[str, str]],
    parts: Sequence[tuple[str, str]],
    folders: Mapping[str, str],
    suffixes: Sequence[str],
    output: OutputName,
) -> list[str]:
    """Return a stem for each source (folder, name), such that no output has the path of another or of a source.

    `parts` are their stems and extensions, `folders` are the output folders by source folder. No suffix of a kind is
    the end of another, so outputs of different kinds never have the same path, and it is enough that the stems differ.
    """
    taken = {_folded(f"{parent}{os.sep}{name}") for parent, name in keys}
    ends = tuple(suffix for suffix in suffixes if any(path.endswith(suffix) for path in taken))
    starts = {parent: _folded(folder + os.sep) for parent, folder in folders.items()}
    levels = [0] * len(keys)
    stems = [_stem(parent, *part, 0, output) for (parent, _), part in zip(keys, parts, strict=True)]
    paths = [starts[parent] + _folded(stem) for (parent, _), stem in zip(keys, stems, strict=True)]
    while clashing := _clashing(paths, taken, ends):
        for index in clashing:
            parent, _ = keys[index]
            levels[index] += 1
            stems[index] = _stem(parent, *parts[index], levels[index], output)
            paths[index] = starts[parent] + _folded(stems[index])
    return stems


def _clashing(paths: Sequence[str], taken: set[str], ends: Sequence[str]) -> list[int]:
    count = Counter(paths)
    return [i for i, path in enumerate(paths) if count[path] > 1 or any(path + end in taken for end in ends)]


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _stem(parent: str, stem: str, suffix: str, level: int, output: OutputName) -> str:
    parts = [stem]
    if level >= 1:
        parts.append(suffix.removeprefix("."))
    if level >= 2:
        parts.insert(0, os.path.basename(parent))
    if level >= 3:
        parts.append(_digest(os.path.join(parent, stem + suffix))[: 8 * (level - 2)])
    return output.apply(_fitting("_".join(filter(None, parts)), _STEM_BYTES - len(_bytes(output.variant))))


def _fitting(stem: str, limit: int) -> str:
    if len(stem) * 4 <= limit or len(_bytes(stem)) <= limit:
        return stem
    digest = "_" + _digest(stem)[:12]
    while stem and len(_bytes(stem + digest)) > limit:
        stem = stem[:-1]
    return stem + digest


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
