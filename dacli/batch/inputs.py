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
PathFilter = Callable[[str], bool]


@dataclass(frozen=True)
class Inputs:
    """Files in a stable order, and the folder that the tree of their outputs starts from."""

    root: Path
    files: tuple[Path, ...]


def gather_inputs(text: str, out: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Inputs:
    """Return what IN names: a folder, `@FILE` or `-` (a list of paths, there or on stdin), or a pattern as `a/*.jpg`.

    Of a folder and a pattern the pictures are taken (see find), of a list every path. `include` and `exclude` are
    patterns too, for the name or, with a slash, for the path below the root; `*` matches slashes as well. Raises
    DacliError for what is none of these.
    """
    wanted = path_filter(include, exclude)
    path = Path(text)
    if path.is_dir():
        return Inputs(path, find_pictures(path, out, wanted=wanted))
    if text == "-" or text.startswith("@"):
        return inputs_of_list(read_path_list(text), wanted)
    if glob.has_magic(text) and not path.exists():
        return inputs_of_pattern(text, out, wanted)
    if path.exists():
        raise DacliError(
            f"{display_path(path)} is not a folder", "dacli image takes single files, @FILE a list of paths"
        )
    raise DacliError(f"{display_path(path)} does not exist", "name a folder, @FILE, - or a pattern such as 'in/*.jpg'")


def exclude_own_outputs(paths: Sequence[Path], own: Callable[[str], bool]) -> tuple[list[Path], str]:
    """Return the files without dacli's `own` ones, which a shell's `*.png` names too, and a note on what was left out.

    Raises DacliError if nothing remains.
    """
    left = {path for path in paths if own(str(path))}
    if not left:
        return list(paths), ""
    kept, first = [path for path in paths if path not in left], display_path(min(left))
    if not kept:
        raise DacliError(f"{first} is an output of dacli", "name the picture that it was made from")
    many = f"{len(left)} outputs of dacli are left out, as {first}"
    return kept, many if len(left) > 1 else f"{first} is left out: it is an output of dacli"


def path_filter(include: Sequence[str], exclude: Sequence[str]) -> PathFilter:
    """Return whether a path below the root is wanted: it matches one of `include`, if there are any, and no exclude."""
    taken, left = compile_patterns(include), compile_patterns(exclude)

    def wanted(path: str) -> bool:
        return (not include or taken(path)) and not left(path)

    return wanted


def compile_patterns(texts: Sequence[str]) -> PathFilter:
    whole = [re.compile(fnmatch.translate(text), re.IGNORECASE) for text in texts if "/" in text]
    names = [re.compile(fnmatch.translate(text), re.IGNORECASE) for text in texts if "/" not in text]
    return lambda path: any(p.match(path) for p in whole) or any(p.match(path.rpartition("/")[2]) for p in names)


def find_pictures(root: Path, out: Path | None = None, wanted: PathFilter = lambda _: True) -> tuple[Path, ...]:
    """Return the pictures below a folder, by the extension in any case, sorted by path.

    A name without any extension counts if the file starts as a picture does. Left out are hidden names, what lies below
    `out`, the pictures dacli made, pipes, sockets and links that lead round. Linked folders are not entered. A folder
    below that cannot be listed is returned itself, so that it fails by name. Raises DacliError for `root`.
    """
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise DacliError(f"{display_path(root)} {reason}", "name a folder that holds pictures")
    found = walk_pictures(str(root), resolved_output_folder(root, out))
    skip = len(os.path.join(root, ""))
    kept = (path for path in found if wanted(path[skip:].replace(os.sep, "/")))
    return tuple(Path(path) for path in sorted(kept, key=lambda path: path.split(os.sep)))


def resolved_output_folder(root: Path, out: Path | None) -> str | None:
    own = None if out is None else os.path.realpath(out)
    return None if own == os.path.realpath(root) else own


def walk_pictures(root: str, own: str | None) -> Iterator[str]:
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
    """Return whether it is a file, or a link that leads nowhere, which is to fail by name."""
    try:
        return stat.S_ISREG(entry.stat().st_mode) if entry.is_symlink() else entry.is_file()
    except OSError as error:
        return error.errno != errno.ELOOP


def is_picture(path: str) -> bool:
    """Return whether a file is a picture by its extension, or without one by its first bytes.

    Not of dacli's making.
    """
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
    """Return the paths in `@FILE` or on stdin (`-`).

    One a line, or with NUL between them as `find -print0` writes them.
    """
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
    """Return paths as a list has them; the root is the current folder, or the one they share if one lies outside it."""
    places = {path.parent for path in paths}
    real = [os.path.realpath(place) for place in places]
    here = os.path.realpath(os.curdir)
    if all(place == here or place.startswith(os.path.join(here, "")) for place in real):
        return inputs_below(Path(), paths, wanted)
    try:
        return inputs_below(Path(os.path.commonpath(real)), paths, wanted)
    except ValueError:
        raise DacliError("the paths of the list lie on several drives", "give one list for each drive") from None


def inputs_of_pattern(text: str, out: Path, wanted: PathFilter) -> Inputs:
    """Return the pictures that match a pattern; the root is the folder before its first wildcard."""
    parts = Path(text).parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    root, own = Path(*parts[:fixed]), os.path.join(os.path.realpath(out), "")
    found = sorted(glob.glob(text, recursive=True), key=lambda path: path.split(os.sep))
    files = [Path(path) for path in found if os.path.isfile(path) and is_picture(path)]
    outside = [path for path in files if not os.path.realpath(path).startswith(own) or is_within(root, own)]
    return inputs_below(root, outside, wanted)


def is_within(folder: Path, own: str) -> bool:
    return os.path.join(os.path.realpath(folder), "").startswith(own)


def inputs_below(root: Path, paths: Sequence[Path], wanted: PathFilter) -> Inputs:
    top = os.path.realpath(root)
    kept = []
    for path in paths:
        place = os.path.relpath(os.path.join(os.path.realpath(path.parent), path.name), top)
        if wanted(place.replace(os.sep, "/")):
            kept.append(path)
    return Inputs(root, tuple(kept))
