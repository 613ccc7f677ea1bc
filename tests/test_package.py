"""What a user installs: one version, all files that the program reads, and a command that starts."""

import fnmatch
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import dacli

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_version_stands_in_two_places_and_is_the_same() -> None:
    assert PROJECT["project"]["version"] == dacli.__version__


def test_python_m_dacli_starts() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dacli", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == f"dacli {dacli.__version__}\n"
    assert run.stderr == ""


def test_the_command_is_the_main_of_the_command_line() -> None:
    from dacli.cli.main import main

    assert PROJECT["project"]["scripts"] == {"dacli": "dacli.cli.main:main"}
    (command,) = entry_points(group="console_scripts", name="dacli")
    assert command.load() is main


def test_the_wheel_holds_the_list_of_checkpoints() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["dacli"]
    assert wheel["force-include"] == {"weights.toml": "dacli/weights.toml"}
    assert (ROOT / "weights.toml").is_file()


@pytest.mark.parametrize("name", ["py.typed", "assets/tiny.safetensors", "training/__init__.py"])
def test_the_wheel_holds_every_file_of_the_package(name: str) -> None:
    """Hatchling takes all files below a package except what .gitignore names."""
    assert (ROOT / "dacli" / name).is_file()
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()]
    parts = ("dacli", *name.split("/"))
    assert not [(part, pattern) for part in parts for pattern in ignored if fnmatch.fnmatch(part, pattern)]


def test_the_bundled_model_is_small_enough_to_ship() -> None:
    assert (ROOT / "dacli" / "assets" / "tiny.safetensors").stat().st_size <= 15e6


def test_the_source_distribution_holds_what_the_tests_need() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert {"dacli", "tests", "weights.toml", "README.md", "LICENSE", ".ci"} <= set(included)
    assert all((ROOT / name).exists() for name in included)


def test_the_bounds_that_spare_a_machine_gigabytes() -> None:
    needed = PROJECT["project"]["dependencies"]
    assert "torch>=2.10,<2.14" in needed
    assert "opencv-python-headless>=4.10,<6" in needed
    assert PROJECT["project"]["requires-python"] == ">=3.11"
