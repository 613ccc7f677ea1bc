"""Paths as text, and dacli's folders for cached files and for settings."""

import os
import sys
from pathlib import Path


def display_path(path: Path) -> str:
    """Return a path as text that any terminal can show; unprintable characters become backslash escapes."""
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cache_folder() -> Path:
    r"""Return dacli's cache folder, which may not exist yet.

    That is DACLI_CACHE, else `dacli` in XDG_CACHE_HOME, else `~/.cache/dacli` on Linux, `~/Library/Caches/dacli` on
    macOS and `%LOCALAPPDATA%\dacli\cache` on Windows.

    platformdirs has the same defaults on Linux and macOS, but ignores XDG_CACHE_HOME on Windows, and elsewhere if its
    value begins with `~` or is relative; it also ignores a changed LOCALAPPDATA. dacli would then not find checkpoints
    of gigabytes and download them again. Importing it also takes about 25 ms.
    """
    if folder := os.environ.get("DACLI_CACHE"):
        return Path(folder).expanduser().absolute()
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches, "dacli").expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "dacli", "cache").expanduser()
    return Path("~/Library/Caches/dacli" if sys.platform == "darwin" else "~/.cache/dacli").expanduser()


def config_folder() -> Path:
    r"""Return the folder of the user's settings, which may not exist.

    That is `dacli` in XDG_CONFIG_HOME, else `~/.config/dacli` on Linux, `~/Library/Application Support/dacli` on macOS
    and `%APPDATA%\dacli` on Windows.
    """
    if folder := os.environ.get("XDG_CONFIG_HOME"):
        return Path(folder, "dacli").expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or "~/AppData/Roaming", "dacli").expanduser()
    return Path("~/Library/Application Support/dacli" if sys.platform == "darwin" else "~/.config/dacli").expanduser()
