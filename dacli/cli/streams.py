"""Standard input, output and error of the process: there when they were closed, and free of lines of C libraries."""

import logging
import os
import sys
import warnings
from contextlib import suppress
from typing import Any

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by file descriptor
BROKEN_PIPE_CODE = 141  # as a shell reports a process that SIGPIPE ended


def prepare_streams() -> None:
    """Open closed streams to nowhere, and keep lines of other libraries from standard error, unless DACLI_DEBUG=1."""
    for number, (name, mode) in enumerate(STREAMS):
        if getattr(sys, name) is None:
            open_to_nowhere(number, name, mode)
    if os.environ.get("DACLI_DEBUG") == "1":
        return
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # or what libraries log would be printed
    from dacli.io.foreign_lines import divert_foreign_lines

    divert_foreign_lines()


def open_to_nowhere(number: int, name: str, mode: str) -> None:
    """Open a standard stream to the null device, at its own number, so that no file of the run gets that number."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def give_up_stdout() -> int:
    """Send what is still to be printed to nowhere, after its reader has gone; return the exit code."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    return BROKEN_PIPE_CODE


def flush_stream(stream: Any) -> bool:
    """Return whether what a stream holds could be written; a full disk or a closed pipe does not raise."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True
