"""A time limit for actions of tests: what hangs fails its test instead of stopping the run."""

import threading
from collections.abc import Callable
from typing import Any

TIME_LIMIT = 30.0  # seconds


def in_time(action: Callable[[], Any], limit: float = TIME_LIMIT) -> Any:
    """Return what the action returns, or raise what it raises; fail the test after `limit` seconds."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((action(), None))
        except BaseException as error:  # noqa: BLE001 - raised again below
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    assert not thread.is_alive(), "it hangs"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result
