"""The files of a run: those below a folder, in a list, or that match a pattern."""

import errno
import fnmatch
import glob
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
    | {".hif", ".ppm", ".pgm", ".pnm"}
)
_RECORD_MARK = re.compile(rb"(?:tEXt|iTXt|zTXt)" + RECORD_KEYWORD.encode() + rb"\0")
_PICTURE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0|GIF8[79]a|....ftyp(?:avi[fs]|hei[cxms]|mif1)",
    re.DOTALL,
)
Wanted = Callable[[str], bool]


@dataclass(frozen=True)
class Inputs:
    """Files in a stable order, and the folder that the tree of their outputs starts from."""

    root: Path
    files: tuple[Path, ...]


def gather(text: str, out: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Inputs:
    """Return what IN names: a folder, `@FILE` or `-` (a list of paths, there or on stdin), or a pattern as `a/*.jpg`.

    Of a folder and a pattern the pictures are taken (see find), of a list every path. `include` and `exclude` are
    patterns too, for the name or, with a slash, for the path below the root; `*` matches slashes as well. Raises
    DacliError for what is none of these.
    """
    wanted = matching(include, exclude)
    path = Path(text)
    if path.is_dir():
        return Inputs(path, find(path, out, wanted=wanted))
    if text == "-" or text.startswith("@"):
        return listed(read_list(text), wanted)
    if glob.has_magic(text) and not path.exists():
        return globbed(text, out, wanted)
    if path.exists():
        raise DacliError(
            f"{display_path(path)} is not a folder", "dacli image takes single files, @FILE a list of paths"
        )
    raise DacliError(f"{display_path(path)} does not exist", "name a folder, @FILE, - or a pattern such as 'in/*.jpg'")


def foreign(paths: Sequence[Path], own: Callable[[str], bool]) -> tuple[list[Path], str]:
    """Return the files without dacli's `own` ones, which a shell's `*.png` names too, and a note on what was left out.

    Raises DacliError if nothing remains.
    """
    left = {path for path in paths if own(str(path))}
    if not left:
        return list(paths), ""
    kept, first = [path for path in paths if path not in left], display_path(min(left))
    if not kept:
        raise DacliError(f"{first} is an output of dacli", "name what it was made of")
    many = f"{len(left)} outputs of dacli are left out, as {first}"
    return kept, many if len(left) > 1 else f"{first} is left out: it is an output of dacli"


def matching(include: Sequence[str], exclude: Sequence[str]) -> Wanted:
    """Return whether a path below the root is wanted: it matches one of `include`, if there are any, and no exclude."""
    taken, left = patterns(include), patterns(exclude)

    def wanted(path: str) -> bool:
        return (not include or taken(path)) and not left(path)

    return wanted


def patterns(texts: Sequence[str]) -> Wanted:
    whole = [re.compile(fnmatch.translate(text), re.IGNORECASE) for text in texts if "/" in text]
    names = [re.compile(fnmatch.translate(text), re.IGNORECASE) for text in texts if "/" not in text]
    return lambda path: any(p.match(path) for p in whole) or any(p.match(path.rpartition("/")[2]) for p in names)


def find(root: Path, out: Path | None = None, wanted: Wanted = lambda _: True) -> tuple[Path, ...]:
    """Return the pictures below a folder, by the extension in any case, sorted by path.

    A name without any extension counts if the file starts as a picture does. Left out are hidden names, what lies below
    `out`, the pictures dacli made, pipes, sockets and links that lead round. Linked folders are not entered. A folder
    below that cannot be listed is returned itself, so that it fails by name. Raises DacliError for `root`.
    """
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise DacliError(f"{display_path(root)} {reason}", "name a folder that holds pictures")
    found = walk(str(root), own_folder(root, out))
    skip = len(os.path.join(root, ""))
    kept = (path for path in found if wanted(path[skip:].replace(os.sep, "/")))
    return tuple(Path(path) for path in sorted(kept, key=lambda path: path.split(os.sep)))


def own_folder(root: Path, out: Path | None) -> str | None:
    own = None if out is None else os.path.realpath(out)
    return None if own == os.path.realpath(root) else own


def walk(root: str, own: str | None) -> Iterator[str]:
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                shown_ones = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if folder == root:
                fault = f"{display_path(Path(root))} cannot be listed: {error.strerror}"
                raise DacliError(fault, "check its permissions") from error
            yield folder
            continue
        for entry in shown_ones:
            if entry.is_dir(follow_symlinks=False):
                if own is None or os.path.realpath(entry.path) != own:
                    folders.append(entry.path)
            elif is_file(entry) and is_picture(entry.path):
                yield entry.path


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file, or a link that leads nowhere, which is to fail by name."""
    try:
        return stat.S_ISREG(entry.stat().st_mode) if entry.is_symlink() else entry.is_file()
    except OSError as error:
        return error.errno != errno.ELOOP


def is_picture(path: str) -> bool:
    """Whether a file is a picture by its extension, or without one by its first bytes, and not of dacli's making."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix:
        return suffix in PICTURE_SUFFIXES and not made_by_dacli(path)
    return _PICTURE_STARTS.match(start_of(path, 32)) is not None


def made_by_dacli(path: str) -> bool:
    return (
        path.endswith(tuple(row.suffix for row in FORMATS.values()))
        and _RECORD_MARK.search(start_of(path, 1024)) is not None
    )


def start_of(path: str, size: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(size)
    except OSError:
        return b""


def read_list(text: str) -> list[Path]:
    """The paths in `@FILE` or on stdin (`-`): one a line, or with NUL between them as `find -print0` writes them."""
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


def listed(paths: Sequence[Path], wanted: Wanted) -> Inputs:
    """Paths as a list has them; the root is the current folder, or the one they share if one lies outside it."""
    places = {path.parent for path in paths}
    real = [os.path.realpath(place) for place in places]
    here = os.path.realpath(os.curdir)
    if all(place == here or place.startswith(os.path.join(here, "")) for place in real):
        return below(Path(), paths, wanted)
    try:
        return below(Path(os.path.commonpath(real)), paths, wanted)
    except ValueError:
        raise DacliError("the paths of the list lie on several drives", "give one list for each drive") from None


def globbed(text: str, out: Path, wanted: Wanted) -> Inputs:
    """The pictures that match a pattern; the root is the folder before its first wildcard."""
    parts = Path(text).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root, own = Path(*parts[:fixed]), os.path.join(os.path.realpath(out), "")
    found = sorted(glob.glob(text, recursive=True), key=lambda path: path.split(os.sep))
    files = [Path(path) for path in found if os.path.isfile(path) and is_picture(path)]
    outside = [path for path in files if not os.path.realpath(path).startswith(own) or is_within(root, own)]
    return below(root, outside, wanted)


def is_within(folder: Path, own: str) -> bool:
    return os.path.join(os.path.realpath(folder), "").startswith(own)


def below(root: Path, paths: Sequence[Path], wanted: Wanted) -> Inputs:
    top = os.path.realpath(root)
    kept = []
    for path in paths:
        place = os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), top)
        if wanted(place.replace(os.sep, "/")):
            kept.append(path)
    return Inputs(root, tuple(kept))
