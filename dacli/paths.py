"""Paths as text, and dacli's folders for cached files and for settings."""

import os
import stat
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path


def display_path(path: Path) -> str:
    """Return a path as text that any terminal can show; unprintable characters become backslash escapes."""
    return printable_text(str(path))


def printable_text(text: str) -> str:
    """Return a text with backslash escapes for its unprintable characters.

    A terminal would obey the control characters in a file name or in the answer of a server.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def expand_home(path: Path) -> Path:
    """Return a path with the home folder in place of `~`.

    For a user without HOME and without an entry in passwd, as in containers, that is a private temporary
    folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        return temporary_home().joinpath(*path.parts[1:])


def has_home() -> bool:
    """Return whether the user has a home folder."""
    try:
        Path("~").expanduser()
    except RuntimeError:
        return False
    return True


@cache
def temporary_home() -> Path:
    """Return a temporary folder that only this user can write, the same in the next run, or a new one."""
    import tempfile  # 10 ms, which a user with a home does not need

    user = getattr(os, "getuid", lambda: 0)()  # Windows has no such number
    folder = Path(tempfile.gettempdir(), f"dacli-{user}")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        info = folder.lstat()
        if stat.S_ISDIR(info.st_mode) and info.st_uid == user and not info.st_mode & 0o077:
            return folder
    return Path(tempfile.mkdtemp(prefix="dacli-"))


def describe_temporary_cache() -> str:
    """Return the line about a cache in the temporary home; "" if the cache is elsewhere."""
    if has_home() or os.environ.get("DACLI_CACHE") or os.environ.get("XDG_CACHE_HOME"):
        return ""
    return f"no home folder: the cache is {cache_folder()}; DACLI_CACHE names another"


def cache_folder() -> Path:
    r"""Return dacli's cache folder, which may not exist yet.

    That is DACLI_CACHE, else `dacli` in XDG_CACHE_HOME, else `~/.cache/dacli` on Linux, `~/Library/Caches/dacli` on
    macOS and `%LOCALAPPDATA%\dacli\cache` on Windows.

    platformdirs has the same defaults on Linux and macOS, but ignores XDG_CACHE_HOME on Windows, and elsewhere if its
    value begins with `~` or is relative; it also ignores a changed LOCALAPPDATA. dacli would then not find checkpoints
    of gigabytes and download them again. Importing it also takes about 25 ms.
    """
    if folder := os.environ.get("DACLI_CACHE"):
        return expand_home(Path(folder)).absolute()
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return expand_home(Path(caches, "dacli"))
    if sys.platform == "win32":
        return expand_home(Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local", "dacli", "cache"))
    return expand_home(Path("~/Library/Caches/dacli" if sys.platform == "darwin" else "~/.cache/dacli"))


def config_folder() -> Path:
    r"""Return the folder of the user's settings, which may not exist.

    That is `dacli` in XDG_CONFIG_HOME, else `~/.config/dacli` on Linux, `~/Library/Application Support/dacli` on macOS
    and `%APPDATA%\dacli` on Windows.
    """
    if folder := os.environ.get("XDG_CONFIG_HOME"):
        return expand_home(Path(folder, "dacli"))
    if sys.platform == "win32":
        return expand_home(Path(os.environ.get("APPDATA") or "~/AppData/Roaming", "dacli"))
    return expand_home(Path("~/Library/Application Support/dacli" if sys.platform == "darwin" else "~/.config/dacli"))
