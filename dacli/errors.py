"""The errors that dacli raises, each with one line for the user."""

import os
from typing import Literal

# What is wrong with an input, for programs that read JSON: it is missing, may not be read, is of another format, is
# damaged, has too many pixels, needs more memory, or its outputs cannot be written; or a fault of dacli; or else.
ErrorKind = Literal["missing", "permission", "format", "damaged", "too large", "memory", "output", "internal", "other"]


class DacliError(Exception):
    """An error that the user can act on; the command line prints it in one line and ends with exit code 1.

    `message` says what went wrong, `hint` what to do about it. Both are one line: line breaks become spaces. `kind` is
    for programs.
    """

    def __init__(self, message: str, hint: str = "", kind: ErrorKind = "other") -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        self.kind = kind
        super().__init__(f"{self.message}: {self.hint}" if self.hint else self.message)


class UsageError(DacliError, ValueError):
    """An error in an argument (an unknown name, a value out of range): exit code 2; from Python also a ValueError."""


class StopError(DacliError):
    """An error that would occur for all further inputs too, such as a full disk: the run stops."""


class MemoryShortError(DacliError):
    """A device has too little memory for a pass: a smaller batch or smaller tiles may fit."""


def unexpected_error(error: Exception, name: str = "") -> DacliError:
    """Return a DacliError for an exception that dacli does not expect, with the name of the input unless it is empty.

    With DACLI_DEBUG=1 the exception itself is raised, so that its traceback is shown.
    """
    if os.environ.get("DACLI_DEBUG") == "1":
        raise error
    about = f"{name}: " if name else ""
    message = f"{about}{type(error).__name__}: {error}"
    return DacliError(message, "this is a fault of dacli: DACLI_DEBUG=1 shows where", "internal")
