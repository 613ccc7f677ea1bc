"""The clips that arguments name: files, folders of numbered pictures, folders of clips, and patterns."""

import glob
from collections.abc import Iterable
from pathlib import Path

from dacli.batch.left_out import SUFFIXES_OF_CLIPS
from dacli.errors import DacliError
from dacli.io import files
from dacli.paths import display_path
from dacli.video.sequences import frame_paths, natural_key


def expand_clips(arguments: Iterable[str]) -> list[Path]:
    """Return the clips that arguments name, in their order.

    A folder without pictures stands for the clips in it, a pattern for what it matches. Raises DacliError for a folder
    that cannot be listed, and for a pattern that matches nothing.
    """
    return [path for argument in arguments for path in _expand(argument)]


def _expand(argument: str) -> list[Path]:
    path = Path(argument)
    if glob.has_magic(argument) and not path.exists():
        matches = [Path(match) for match in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 - the pattern may be absolute
        if not matches:
            raise DacliError(f"no clip matches {display_path(path)}", "check the pattern, and quote it")
        return matches
    if path.is_dir() and not frame_paths(path):
        try:
            clips = [entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES_OF_CLIPS and entry.is_file()]
        except OSError as error:
            fault = f"{display_path(path)} cannot be listed ({files.os_reason(error)})"
            raise DacliError(fault, "check its permissions") from error
        return sorted((clip for clip in clips if not clip.name.startswith(".")), key=natural_key) or [path]
    return [path]
