"""A stream as a temporary file, because a clip is read more than once."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dacli.errors import DacliError
from dacli.io import files
from dacli.paths import display_path


@contextlib.contextmanager
def spool_stream(stream: BinaryIO) -> Iterator[Path]:
    """Yield the path of a temporary file with the whole stream; it is removed at the end of the context."""
    with tempfile.TemporaryDirectory(prefix="dacli-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "stdin")
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)
        except OSError as error:
            fault = f"standard input cannot be saved in {display_path(path.parent)} ({files.os_reason(error)})"
            raise DacliError(
                fault, "free some space there, set TMPDIR to another folder, or use a file as input"
            ) from error
        yield path
