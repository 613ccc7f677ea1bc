"""Folders of numbered pictures, read as clips."""

import re
from fractions import Fraction
from pathlib import Path

from dacli.batch.inputs import PICTURE_SUFFIXES
from dacli.errors import DacliError
from dacli.io import files, images
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.video.clip import Clip

FOLDER_RATE = Fraction(24)


def probe_sequence(path: Path, rate: Fraction) -> Clip:
    """Return the content of a folder of numbered pictures to show at `rate`; raise DacliError if it has none."""
    try:
        found = [
            entry for entry in path.iterdir() if entry.suffix.lower() in PICTURE_SUFFIXES and _is_frame(entry.name)
        ]
    except OSError as error:
        raise DacliError(
            f"{display_path(path)} cannot be listed ({files.os_reason(error)})", "check its permissions"
        ) from error
    if not found:
        raise DacliError(f"{display_path(path)} holds no pictures", "use a video file or a folder of numbered pictures")
    frames = tuple(sorted(found, key=natural_key))
    height, width = images.read_image(frames[0]).shape[:2]
    times = tuple(range(len(frames)))
    end, square = len(times), Fraction(1)
    return Clip(path, "", "", width, height, square, 1 / rate, times, end, rate, variable=False, pictures=frames)


def _is_frame(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(tuple(row.suffix for row in FORMATS.values()))


def natural_key(path: Path) -> tuple[tuple[tuple[int, str], ...], str]:
    """Return a sort key that compares numbers in file names by value: frame2 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts if part), path.name
