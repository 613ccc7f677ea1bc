"""Folders of numbered pictures, read as clips."""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path, PurePath

from dacli.batch.inputs import PICTURE_SUFFIXES
from dacli.batch.naming import FRAME_NUMBER
from dacli.errors import DacliError
from dacli.io import files, images
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.video.clip import Clip

FOLDER_RATE = Fraction(24)


def probe_sequence(path: Path, rate: Fraction) -> Clip:
    """Return the content of a folder or pattern of numbered pictures to show at `rate`.

    Raises DacliError if it has no pictures.
    """
    frames = frame_paths(path)
    if not frames and is_frame_pattern(path):
        raise DacliError(f"no picture matches {display_path(path)}", "check the pattern, such as 'shot.%04d.exr'")
    if not frames:
        fault = f"{display_path(path)} holds no pictures and no clips"
        raise DacliError(fault, "use a video file, a folder of numbered pictures, or a folder of video files")
    labels, note = number_pictures(frames)
    height, width = images.read_image(frames[0]).shape[:2]
    return Clip(
        path=path,
        codec="",
        pixel_format="",
        width=width,
        height=height,
        sample_aspect=Fraction(1),
        time_base=1 / rate,
        pts=tuple(range(len(frames))),
        end=len(frames),
        rate=rate,
        variable=False,
        pictures=frames,
        labels=labels,
        notes=(f"{display_path(path)}: {note}",) if note else (),
    )


def is_frame_pattern(path: Path) -> bool:
    """Return whether a path is a pattern of numbered pictures, such as shot.%04d.exr or shot.####.exr, and no file."""
    return FRAME_NUMBER.search(path.name) is not None and path.suffix.lower() in PICTURE_SUFFIXES and not path.exists()


def frame_paths(path: Path) -> tuple[Path, ...]:
    """Return the pictures of a folder or pattern in the order of their numbers, without those that dacli made.

    Raises DacliError for a folder that cannot be listed.
    """
    pattern = is_frame_pattern(path)
    folder = path.parent if pattern else path
    wanted = _pattern_filter(path.name) if pattern else _is_frame
    try:
        found = [entry for entry in folder.iterdir() if wanted(entry.name)]
    except OSError as error:
        fault = f"{display_path(folder)} cannot be listed ({files.os_reason(error)})"
        raise DacliError(fault, "check its permissions") from error
    return tuple(sorted(found, key=natural_key))


def number_pictures(pictures: Sequence[Path]) -> tuple[tuple[str, ...], str]:
    """Return the last number in each name, with as many digits as the longest, and a note on gaps.

    No numbers are returned if not all have one, or if two share one, as the note says then.
    """
    found = [re.findall(r"\d+", path.stem)[-1:] for path in pictures]
    if not all(found):
        return (), "" if not any(found) else "some names have no number, so frames are counted from 0"
    numbers = [int(text) for (text,) in found]
    digits = max(len(text) for (text,) in found)
    for (first, second), (one, other) in zip(pairwise(numbers), pairwise(pictures), strict=True):
        if first == second:
            return (), f"{one.name} and {other.name} have the same number, so frames are counted from 0"
    if len(set(numbers)) < len(numbers):
        return (), "some pictures have the same number, so frames are counted from 0"
    return tuple(f"{number:0{digits}d}" for number in numbers), describe_gaps(numbers)


def describe_gaps(numbers: Sequence[int]) -> str:
    """Return which numbers are missing between the first and the last of a rising sequence."""
    gaps = [(before + 1, after - 1) for before, after in pairwise(sorted(numbers)) if after > before + 1]
    if not gaps:
        return ""
    first, last = gaps[0]
    count = sum(last - first + 1 for first, last in gaps)
    named = str(first) if first == last else f"{first} to {last}"
    more = f" and others, {count} in all" if len(gaps) > 1 else ""
    return f"frames {named}{more} are missing: those beside a gap are shown one after the other"


def _is_frame(name: str) -> bool:
    is_output = name.endswith(tuple(row.suffix for row in FORMATS.values()))
    return PurePath(name).suffix.lower() in PICTURE_SUFFIXES and not name.startswith(".") and not is_output


def _pattern_filter(name: str) -> Callable[[str], bool]:
    """Return whether a name is one of a pattern, whose numbers have as many digits as it says, or more."""
    begin, found, end = _split_pattern(name)
    digits = len(found) if found.startswith("#") else int(found[1:-1] or 1)
    matches = re.compile(rf"{re.escape(begin)}\d{{{max(1, digits)},}}{re.escape(end)}").fullmatch
    return lambda each: matches(each) is not None


def _split_pattern(name: str) -> tuple[str, str, str]:
    """Return what is before the last mark of a number in a pattern, the mark, and what is after it."""
    mark = list(FRAME_NUMBER.finditer(name))[-1]
    return name[: mark.start()], mark[0], name[mark.end() :]


def natural_key(path: Path) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return a sort key that compares numbers in file names by value: frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts if part), path.name
