"""What hangs fails a test, and does not hang it."""

import threading
from collections.abc import Callable
from typing import Any

TIME_LIMIT = 30.0  # seconds after which a test calls something hung


def in_time(action: Callable[[], Any]) -> Any:
    """What the action returns or raises; a failed test, and not a hung one, if it takes too long."""
    found: list[Any] = []

    def act() -> None:
        try:
            found.append((action(), None))
        except BaseException as error:  # noqa: BLE001 - raised again below
            found.append((None, error))

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(TIME_LIMIT)
    assert not thread.is_alive(), "it hangs"
    result, error = found[0]
    if error is not None:
        raise error
    return result
