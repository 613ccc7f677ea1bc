"""The rule for files that exist already: what dacli did not make for the same purpose, by a record of it, stays."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from dacli.errors import DacliError
from dacli.paths import display_path

REPLACE_HINT = "move it away, or replace it with --overwrite"


def foreign_file_error(path: Path, hint: str = REPLACE_HINT) -> DacliError:
    """Return the error for a file in the way that has no record of dacli."""
    return DacliError(f"{display_path(path)} exists and is not a complete output of dacli", hint)


def refuse_foreign_files(paths: Iterable[Path], is_own: Callable[[Path], bool], hint: str = REPLACE_HINT) -> None:
    """Raise DacliError for the first path that exists, also as a broken link, and that `is_own` does not accept.

    `is_own` may raise DacliError for a file that it cannot read.
    """
    for path in paths:
        if os.path.lexists(path) and not accepts_file(path, is_own):
            raise foreign_file_error(path, hint)


def accepts_file(path: Path, is_own: Callable[[Path], bool]) -> bool:
    """Return whether `is_own` accepts a file; one that it cannot read is not accepted."""
    try:
        return is_own(path)
    except DacliError:
        return False
