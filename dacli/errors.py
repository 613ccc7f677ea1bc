"""The errors that dacli raises, each in one line for its user."""

import os


class DacliError(Exception):
    """What went wrong and what to do about it, each in one line for the user; the command ends with exit code 1."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = " ".join(message.split())
        self.hint = " ".join(hint.split())
        super().__init__(f"{self.message}: {self.hint}" if self.hint else self.message)


class UsageError(DacliError, ValueError):
    """A DacliError that the command line itself caused (an unknown name, a value out of range): exit code 2."""


class StopError(DacliError):
    """A DacliError after which nothing else can succeed either (a full disk): it ends the run, not one input."""


def unexpected_error(error: Exception, name: str = "") -> DacliError:
    """Return the error that a fault of dacli becomes for its user; with DACLI_DEBUG=1 it is raised as it is."""
    if os.environ.get("DACLI_DEBUG") == "1":
        raise error
    about = f"{name}: " if name else ""
    return DacliError(f"{about}{type(error).__name__}: {error}", "this is a fault of dacli: DACLI_DEBUG=1 shows where")


class MemoryShortError(DacliError):
    """A DacliError of a device whose memory does not suffice: less at once may do."""
