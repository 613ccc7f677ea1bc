"""Set before torch is imported: its threads spin while they wait, and more of them than idle cores cost five times."""

import os
import signal
from collections.abc import Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(autouse=True)
def no_handler_of_ended_children() -> Iterator[None]:
    """Take back the handler that torch's data loaders leave: after OpenVINO has run here it ends the process."""
    yield
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
