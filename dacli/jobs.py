import difflib
import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dacli.errors import DacliError, UsageError

KINDS: Mapping[str, str] = {
    "color": "_color.png",
    "gray": "_gray.png",
    "png16": "_depth16.png",
    "npy": "_depth.npy",
    "side": "_side.png",
}
CLIP_KINDS: Mapping[str, str] = {
    "color": "_color.mp4",
    "gray": "_gray.mp4",
    "png16": "_depth16.mkv",
    "npy": "_depth.npz",
    "side": "_side.mp4",
}
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
    | {".hif", ".ppm", ".pgm", ".pnm"}
)
RECORD_KEYWORD = "dacli"
_STEM_BYTES = 230
_RECORD_MARK = re.compile(rb"(?:tEXt|iTXt|zTXt)" + RECORD_KEYWORD.encode() + rb"\0")


@dataclass(frozen=True)
class Job:
    """One input and the files to make of it, by kind."""

    source: Path
    outputs: Mapping[str, Path]


def shown(path: Path) -> str:
    """Return a path as text that any terminal can show: what is not printable stands as a backslash escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def parse_kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of output that a list such as `color,png16` names, in its order and each once.

    Raises UsageError for a name that is none of KINDS.
    """
    names = [name.strip().lower() for name in text.split(",")]
    for name in names:
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.5)
            guess = f"did you mean {near[0]}? " if near else ""
            raise UsageError(f"cannot save {name!r}", f"{guess}--save takes any of {','.join(KINDS)}")
    return tuple(dict.fromkeys(names))


def find(root: Path, out: Path | None = None, suffixes: frozenset[str] = PICTURE_SUFFIXES) -> tuple[Path, ...]:
    """Return the files below a folder whose names end in one of the suffixes, sorted by path.

    Left out are hidden names, what lies below `out` and the pictures dacli made. Linked folders are not entered. A
    folder below that cannot be listed is returned itself, so that it fails by name. Raises DacliError for `root`.
    """
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise DacliError(f"{shown(root)} {reason}", "name a folder that holds pictures")
    return tuple(sorted(_walk(root, out, suffixes)))


def _walk(root: Path, out: Path | None, suffixes: frozenset[str]) -> Iterator[Path]:
    barred: list[OSError] = []
    own = os.path.realpath(out) if out is not None else None
    if own == os.path.realpath(root):
        own = None
    for folder, below, names in os.walk(root, onerror=barred.append):
        below[:] = [n for n in below if not n.startswith(".") and os.path.realpath(Path(folder, n)) != own]
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            if path.suffix.lower() in suffixes and not _made_by_dacli(path):
                yield path
    for error in barred:
        if Path(error.filename) == root:
            raise DacliError(f"{shown(root)} cannot be listed: {error.strerror}", "check its permissions")
        yield Path(error.filename)


def _made_by_dacli(path: Path) -> bool:
    if not path.name.endswith(tuple(KINDS.values())):
        return False
    try:
        with path.open("rb") as file:
            return _RECORD_MARK.search(file.read(1024)) is not None
    except OSError:
        return False


def plan(
    sources: Sequence[Path],
    out: Path | None,
    kinds: Sequence[str],
    *,
    root: Path | None = None,
    suffixes: Mapping[str, str] = KINDS,
) -> tuple[Job, ...]:
    """Return one job per distinct source, in their order, such that no file is written twice and no source at all.

    Outputs stand beside their source, or in `out`; with `root`, in the same tree below `out`. Sources that would share
    a name (also one that differs only in case or Unicode form) all take a longer one, whatever their order: with the
    extension, then with the parent folder, then with a hash of the path. Raises DacliError for a source outside `root`.
    """
    places = {parent: os.path.realpath(parent) for parent in {source.parent for source in sources}}
    files: dict[Path, Path] = {}
    for source in sources:
        files.setdefault(Path(places[source.parent], source.name), source)
    folders = {key: _folder(key, source, out, root) for key, source in files.items()}
    homes = {folder: os.path.realpath(folder) for folder in set(folders.values())}
    taken = {_folded(str(key)) for key in folders}
    levels = dict.fromkeys(folders, 0)

    def names(key: Path) -> Mapping[str, str]:
        stem = _stem(key, levels[key])
        return {kind: stem + suffixes[kind] for kind in kinds}

    while clashing := _clashes({key: (homes[folders[key]], names(key)) for key in folders}, taken):
        for key in clashing:
            levels[key] += 1
    return tuple(
        Job(files[key], {kind: folder / name for kind, name in names(key).items()}) for key, folder in folders.items()
    )


def present(job: Job) -> bool:
    """Return whether every output of the job is there; files are written whole, so each is complete."""
    return all(path.is_file() for path in job.outputs.values())


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _folder(place: Path, source: Path, out: Path | None, root: Path | None) -> Path:
    if out is None:
        return source.parent
    if root is None:
        return out
    try:
        return out / place.parent.relative_to(os.path.realpath(root))
    except ValueError:
        raise DacliError(f"{shown(source)} is not below {shown(root)}", "name files below the folder") from None


def _clashes(outputs: Mapping[Path, tuple[str, Mapping[str, str]]], taken: set[str]) -> set[Path]:
    owners: defaultdict[str, set[Path]] = defaultdict(set)
    for key, (home, names) in outputs.items():
        for name in names.values():
            owners[_folded(f"{home}{os.sep}{name}")].add(key)
    return {key for name, keys in owners.items() if len(keys) > 1 or name in taken for key in keys}


def _stem(path: Path, level: int) -> str:
    parts = [path.stem]
    if level >= 1:
        parts.append(path.suffix.removeprefix("."))
    if level >= 2:
        parts.insert(0, path.parent.name)
    if level >= 3:
        parts.append(_digest(str(path))[: 8 * (level - 2)])
    return _fitting("_".join(filter(None, parts)))


def _fitting(stem: str) -> str:
    if len(_bytes(stem)) <= _STEM_BYTES:
        return stem
    mark = "_" + _digest(stem)[:12]
    while len(_bytes(stem + mark)) > _STEM_BYTES:
        stem = stem[:-1]
    return stem + mark


def _digest(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
