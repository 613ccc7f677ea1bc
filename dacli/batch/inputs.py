"""The input files of a run: those below a folder, those of a list, or those that match a pattern."""

import errno
import fnmatch
import glob
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
    | {".hif", ".ppm", ".pgm", ".pnm"}
)
# What a folder may hold that a picture command does not take: the kind and its suffixes.
OTHER_KINDS = {
    "video": (".mp4", ".mov", ".m4v", ".mkv", ".avi", ".webm", ".mts", ".mpg", ".mpeg", ".wmv"),
    "camera RAW file": (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw"),
    "OpenEXR file": (".exr",),
    "Photoshop file": (".psd", ".psb"),
    "SVG": (".svg",),
    "PDF": (".pdf",),
    "JPEG XL file": (".jxl",),
    "JPEG 2000 file": (".jp2", ".j2k"),
}
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in OTHER_KINDS.items() for suffix in suffixes}
_RECORD_MARK = re.compile(rb"(?:tEXt|iTXt|zTXt)" + RECORD_KEYWORD.encode() + rb"\0")
_PICTURE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|GIF8[79]a|....ftyp(?:avi[fs]|hei[cxms]|mif1)",
    re.DOTALL,
)
PathFilter = Callable[[str], bool]


@dataclass(frozen=True)
class Inputs:
    """Input files in a stable order, and the root folder: outputs keep the paths below it.

    `left_out` counts the files of OTHER_KINDS, which a run over pictures does not take.
    """

    root: Path
    files: tuple[Path, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def describe_left_out(self) -> str:
        """Return what is left out, such as "2 videos (use dacli video), 1 PDF"; "" if that is nothing."""
        return ", ".join(
            f"{count} {kind}{'s' if count > 1 else ''}{' (use dacli video)' if kind == 'video' else ''}"
            for kind in OTHER_KINDS
            if (count := self.left_out.get(kind, 0))
        )


def gather_inputs(text: str, out: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Inputs:
    """Return the input files of IN: a folder, a list of paths (`@FILE`, or `-` for stdin), or a pattern (`a/*.jpg`).

    A folder and a pattern give their pictures (see find_pictures), a list gives every path. `include` and `exclude` are
    patterns too: for the name, or with a slash for the path below the root; `*` matches slashes as well. Raises
    DacliError for any other IN.
    """
    wanted = path_filter(include, exclude)
    path = Path(text)
    if path.is_dir():
        left_out: Counter[str] = Counter()
        return Inputs(path, find_pictures(path, out, wanted, left_out), left_out)
    if text == "-" or text.startswith("@"):
        return inputs_of_list(read_path_list(text), wanted)
    if glob.has_magic(text) and not path.exists():
        return inputs_of_pattern(text, out, wanted)
    if path.exists():
        raise DacliError(
            f"{display_path(path)} is not a folder", "dacli image takes single files, @FILE a list of paths"
        )
    raise DacliError(f"{display_path(path)} does not exist", "name a folder, @FILE, - or a pattern such as 'in/*.jpg'")


def exclude_own_outputs(paths: Sequence[Path], is_own: Callable[[str], bool]) -> tuple[list[Path], str]:
    """Return the files that dacli did not make itself, and a note on those left out: a shell's `*.png` names both.

    Raises DacliError if no file remains.
    """
    left_out = {path for path in paths if is_own(str(path))}
    if not left_out:
        return list(paths), ""
    kept, first = [path for path in paths if path not in left_out], display_path(min(left_out))
    if not kept:
        raise DacliError(f"{first} is an output of dacli", "name the picture that it was made from")
    many = f"{len(left_out)} outputs of dacli are left out, such as {first}"
    return kept, many if len(left_out) > 1 else f"{first} is left out: it is an output of dacli"


def path_filter(include: Sequence[str], exclude: Sequence[str]) -> PathFilter:
    """Return a filter of paths below the root: they match one of `include`, if there are any, and none of `exclude`."""
    included, excluded = compile_patterns(include), compile_patterns(exclude)

    def wanted(path: str) -> bool:
        return (not include or included(path)) and not excluded(path)

    return wanted


def compile_patterns(texts: Sequence[str]) -> PathFilter:
    paths = [re.compile(fnmatch.translate(text), re.IGNORECASE) for text in texts if "/" in text]
    names = [re.compile(fnmatch.translate(text), re.IGNORECASE) for text in texts if "/" not in text]
    return lambda path: any(p.match(path) for p in paths) or any(p.match(path.rpartition("/")[2]) for p in names)


def find_pictures(
    root: Path,
    out: Path | None = None,
    wanted: PathFilter = lambda _: True,
    left_out: Counter[str] | None = None,
) -> tuple[Path, ...]:
    """Return the pictures below a folder, by the extension in any case, sorted by path.

    A file without an extension counts if its first bytes are those of a picture. Left out are hidden names, files below
    `out`, pictures that dacli made, pipes, sockets and links in a circle. Linked folders are not entered. A folder that
    cannot be listed is itself returned, so that the run reports it. `left_out` counts the wanted files of OTHER_KINDS.
    Raises DacliError if `root` cannot be listed.
    """
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise DacliError(f"{display_path(root)} {reason}", "name a folder that holds pictures")
    start = len(os.path.join(root, ""))
    kept = []
    for path, is_folder in walk_files(str(root), resolved_output_folder(root, out)):
        if not wanted(path[start:].replace(os.sep, "/")):
            continue
        if is_folder or is_picture(path):
            kept.append(path)
        elif left_out is not None and (kind := _KIND_OF_SUFFIX.get(os.path.splitext(path)[1].lower())):
            left_out[kind] += 1
    return tuple(Path(path) for path in sorted(kept, key=lambda path: path.split(os.sep)))


def resolved_output_folder(root: Path, out: Path | None) -> str | None:
    """Return the output folder without links; None if there is none, or if it is the root itself."""
    resolved = None if out is None else os.path.realpath(out)
    return None if resolved == os.path.realpath(root) else resolved


def walk_files(root: str, out: str | None) -> Iterator[tuple[str, bool]]:
    """Yield the visible files below a folder but those below `out`, and with True the folders that cannot be listed."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                visible = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if folder == root:
                message = f"{display_path(Path(root))} cannot be listed: {error.strerror}"
                raise DacliError(message, "check its permissions") from error
            yield folder, True
            continue
        for entry in visible:
            if entry.is_dir(follow_symlinks=False):
                if out is None or os.path.realpath(entry.path) != out:
                    folders.append(entry.path)
            elif is_file(entry):
                yield entry.path, False


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a file, or a broken link, which the run then reports."""
    try:
        return stat.S_ISREG(entry.stat().st_mode) if entry.is_symlink() else entry.is_file()
    except OSError as error:
        return error.errno != errno.ELOOP


def is_picture(path: str) -> bool:
    """Return whether a file is a picture, by its extension or else its first bytes, and not made by dacli itself."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix:
        return suffix in PICTURE_SUFFIXES and not is_own_picture(path)
    return _PICTURE_STARTS.match(read_start(path, 32)) is not None


def is_own_picture(path: str) -> bool:
    return (
        path.endswith(tuple(row.suffix for row in FORMATS.values()))
        and _RECORD_MARK.search(read_start(path, 1024)) is not None
    )


def read_start(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def read_path_list(text: str) -> list[Path]:
    """Return the paths in `@FILE` or on stdin (`-`): one a line, or separated by NUL as `find -print0` writes them."""
    if text == "-":
        data = sys.stdin.buffer.read()
    else:
        path = Path(text[1:])
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise DacliError(
                f"the list {display_path(path)} cannot be read ({reason})", "check the path after @"
            ) from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\0" if b"\0" in data else b"\n")
    return [Path(os.fsdecode(line)) for line in (line.rstrip(b"\r\n") for line in lines) if line.strip()]


def inputs_of_list(paths: Sequence[Path], wanted: PathFilter) -> Inputs:
    """Return the paths of a list; the root is the current folder, or the folder they share if one is outside it."""
    folders = [os.path.realpath(folder) for folder in {path.parent for path in paths}]
    current = os.path.realpath(os.curdir)
    if all(folder == current or folder.startswith(os.path.join(current, "")) for folder in folders):
        return inputs_below(Path(), paths, wanted)
    try:
        return inputs_below(Path(os.path.commonpath(folders)), paths, wanted)
    except ValueError:
        raise DacliError("the paths of the list lie on several drives", "give one list for each drive") from None


def inputs_of_pattern(text: str, out: Path, wanted: PathFilter) -> Inputs:
    """Return the pictures that match a pattern; the root is the folder before its first wildcard."""
    parts = Path(text).parts
    first_magic = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root, out_start = Path(*parts[:first_magic]), os.path.join(os.path.realpath(out), "")
    matches = sorted(glob.glob(text, recursive=True), key=lambda path: path.split(os.sep))
    files = [Path(path) for path in matches if os.path.isfile(path) and is_picture(path)]
    outside = [path for path in files if not os.path.realpath(path).startswith(out_start) or is_within(root, out_start)]
    return inputs_below(root, outside, wanted)


def is_within(folder: Path, start: str) -> bool:
    """Return whether a folder is one whose path, which ends in a slash, is `start`, or is below it."""
    return os.path.join(os.path.realpath(folder), "").startswith(start)


def inputs_below(root: Path, paths: Sequence[Path], wanted: PathFilter) -> Inputs:
    real_root = os.path.realpath(root)
    kept = []
    for path in paths:
        relative = os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), real_root)
        if wanted(relative.replace(os.sep, "/")):
            kept.append(path)
    return Inputs(root, tuple(kept))
