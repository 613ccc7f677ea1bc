"""The input files of a run: those below a folder, those of a list, or those that match a pattern."""

import codecs
import errno
import fnmatch
import glob
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dacli.batch.left_out import KNOWN_OTHERS, LeftOut
from dacli.errors import DacliError, UsageError
from dacli.io.camera_raw import RAW_SUFFIXES, reads_camera_raw
from dacli.io.names import RECORD_KEYWORD, RECORD_START, THUMBNAIL_MARK, THUMBNAIL_SUFFIX
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
    | {".hif", ".ppm", ".pgm", ".pnm", ".pbm", ".mpo", ".exr", ".dpx", ".hdr", ".psd", ".tga", ".jxl", ".jp2", ".j2k"}
    | {".j2c", ".jpx", ".jpf"}
)
_RECORD_MARK = re.compile(
    rb"(?:tEXt|iTXt|zTXt)" + RECORD_KEYWORD.encode() + rb"\0|" + re.escape(RECORD_START) + rb"|" + THUMBNAIL_MARK
)
_PICTURE_STARTS = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP|II[*+]\0|MM\0[*+]|BM....\0\0\0\0|GIF8[79]a|P[1-6]\s[\d#]"
    rb"|....ftyp(?:avi[fs]|hei[cxms]|hev[cx]|m[is]f1)|\x76\x2f\x31\x01|SDPX\0|XPDS|8BPS\0\x01|#\?RADIANCE|\xff\x4f\xff\x51"
    rb"|\0\0\0\x0c(?:JXL |jP  )\r\n",
    re.DOTALL,
)
_OWN_SUFFIXES = (*(row.suffix for row in FORMATS.values()), THUMBNAIL_SUFFIX)
_OWN_ENDS = (*_OWN_SUFFIXES, f"{os.sep}failures.jsonl")  # of what runs write beside pictures
PathFilter = Callable[[str], bool]


@dataclass(frozen=True)
class Inputs:
    """Input files in a stable order, and the root folder: outputs keep the paths below it.

    `left_out` counts the files below it that a run over pictures does not take.
    """

    root: Path
    files: tuple[Path, ...]
    left_out: LeftOut = field(default_factory=LeftOut)


def gather_inputs(text: str, out: Path, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Inputs:
    """Return the input files of IN: a folder, a list of paths (`@FILE`, or `-` for stdin), or a pattern (`a/*.jpg`).

    A folder and a pattern give their pictures (see find_pictures), a list gives every path. `include` and `exclude` are
    patterns too: for the name, or with a slash for the path below the root; `*` matches slashes as well. Raises
    DacliError for any other IN.
    """
    if not text:
        raise UsageError("IN is empty", "name a folder, @FILE, - or a pattern; the current folder is .")
    wanted = path_filter(include, exclude)
    path = Path(text)
    if path.is_dir():
        left_out = LeftOut()
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
    left_out: LeftOut | None = None,
) -> tuple[Path, ...]:
    """Return the pictures below a folder, by the extension in any case, sorted by path.

    A file with an unknown extension counts if its first bytes are those of a picture. Left out are hidden
    names, files below `out`, pictures that dacli made, pipes, sockets and links in a circle. Linked folders are not
    entered. A folder that cannot be listed is itself returned, so that the run reports it. `left_out` counts the wanted
    files that are no pictures. Raises DacliError if `root` cannot be listed.
    """
    if not root.is_dir():
        reason = "is not a folder" if root.exists() else "does not exist"
        raise DacliError(f"{display_path(root)} {reason}", "name a folder that holds pictures")
    start = len(os.path.join(root, ""))
    kept, counts = [], left_out if left_out is not None else LeftOut()
    for path, is_folder in walk_files(str(root), resolved_output_folder(root, out)):
        if not wanted(path[start:].replace(os.sep, "/")):
            continue
        if is_folder or is_wanted_picture(path, counts):
            kept.append(path)
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


def is_wanted_picture(path: str, counts: LeftOut) -> bool:
    """Return whether a file is a picture, by its extension or else its first bytes, and not made by dacli itself.

    `counts` gets what is no picture, and what is one by its bytes though its extension is of no known kind.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in PICTURE_SUFFIXES or (suffix in RAW_SUFFIXES and reads_camera_raw()):
        return not is_own_picture(path)
    is_known = suffix in KNOWN_OTHERS or path.endswith("~")
    if not is_known and _PICTURE_STARTS.match(read_start(path, 32)):
        counts.by_content += bool(suffix)
        return True
    if not path.endswith(_OWN_ENDS):
        counts.add(path)
    return False


def is_own_picture(path: str) -> bool:
    return path.endswith(_OWN_SUFFIXES) and _RECORD_MARK.search(read_start(path, 4096)) is not None


def read_start(path: str, size: int) -> bytes:
    """Return the first bytes of a file; no bytes of anything else: reading a pipe could wait without end."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(size)
    except (OSError, ValueError):
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
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as PowerShell's > writes
        data = data.decode("utf-16", "replace").encode()
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\0" if b"\0" in data else b"\n")
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
    left_out, inside = LeftOut(), is_within(root, out_start)
    paths = [path for path in matches if inside or not os.path.realpath(path).startswith(out_start)]
    files = [Path(path) for path in paths if os.path.isfile(path) and is_wanted_picture(path, left_out)]
    return replace(inputs_below(root, files, wanted), left_out=left_out)


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
