import os
from pathlib import Path

import pytest

from dacli import paths


def test_cache_folder_of_each_system_and_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DACLI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert paths.cache_folder() == tmp_path / ".cache" / "dacli"
    monkeypatch.setattr("sys.platform", "darwin")
    assert paths.cache_folder() == tmp_path / "Library" / "Caches" / "dacli"
    monkeypatch.setattr("sys.platform", "win32")
    assert paths.cache_folder() == tmp_path / "dacli" / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_folder() == tmp_path / "xdg" / "dacli"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert paths.cache_folder() == tmp_path / "xdg" / "dacli"
    monkeypatch.setenv("DACLI_CACHE", "~/own")
    assert paths.cache_folder() == tmp_path / "own"


def test_a_path_is_shown_without_control_characters() -> None:
    assert paths.display_path(Path("写真 día.jpg")) == "写真 día.jpg"
    assert paths.display_path(Path(os.fsdecode(b"a\n\x1b[2J\xff.png"))) == r"a\n\x1b[2J\udcff.png"
