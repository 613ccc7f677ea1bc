"""How the library reports what happens while it works: functions that the caller passes in."""

from collections.abc import Callable

Log = Callable[[str], None]  # takes one line of text
DownloadProgress = Callable[[int, int | None], None]  # takes the bytes so far and the bytes in all, if known
