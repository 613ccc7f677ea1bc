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


def no_home(_: object) -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without HOME and without an entry in passwd, as in a container; the folder of temporary files."""
    for name in ("DACLI_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    paths.temporary_home.cache_clear()
    return tmp_path


def test_without_a_home_the_cache_is_temporary_and_private(homeless: Path) -> None:
    home = homeless / f"dacli-{os.getuid()}"
    assert paths.cache_folder() == home / ".cache" / "dacli"
    assert paths.config_folder() == home / ".config" / "dacli"
    assert home.stat().st_mode & 0o777 == 0o700
    line = f"no home folder: the cache is {home / '.cache' / 'dacli'}; DACLI_CACHE names another"
    assert paths.describe_temporary_cache() == line


def test_with_a_home_or_a_cache_of_its_own_nothing_is_said(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(homeless))
    assert paths.describe_temporary_cache() == ""
    monkeypatch.undo()
    assert paths.describe_temporary_cache() == ""


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_a_temporary_home_that_others_made_is_not_used(homeless: Path, kind: str) -> None:
    home = homeless / f"dacli-{os.getuid()}"
    if kind == "a link":
        (homeless / "trap").mkdir(mode=0o700)
        home.symlink_to("trap")
    else:
        home.mkdir()
        home.chmod(0o777)
    found = paths.temporary_home()
    assert found not in (home, homeless / "trap")
    assert found.parent == homeless
