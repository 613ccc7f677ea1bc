"""Paths as text, and the folders that dacli keeps files in."""

import os
import sys
from pathlib import Path


def display_path(path: Path) -> str:
    """Return a path as text that any terminal can show: what is not printable stands as a backslash escape."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cache_folder() -> Path:
    """Return dacli's cache folder, which may not exist yet: DACLI_CACHE, or where this system keeps caches."""
    if own := os.environ.get("DACLI_CACHE"):
        return Path(own).expanduser().absolute()
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches, "dacli").expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "dacli", "cache").expanduser()
    return Path("~/Library/Caches/dacli" if sys.platform == "darwin" else "~/.cache/dacli").expanduser()
