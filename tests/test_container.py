"""The Dockerfile copies files that exist, fits pyproject.toml, and gives a program that works without a network."""

import fnmatch
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import dacli
from tests.support.commands import photo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
INSTRUCTIONS = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
IGNORED = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line and line[0] != "#"]


def copied() -> list[str]:
    """The paths of the repository that the Dockerfile copies."""
    lines = [line.split()[1:] for line in INSTRUCTIONS if line.startswith("COPY ") and "--from" not in line]
    return [name for line in lines for name in line[:-1]]


def is_sent(name: str) -> bool:
    """Whether .dockerignore lets a path through: the last line that fits counts."""
    sent = True
    for line in IGNORED:
        if fnmatch.fnmatch(name, line.removeprefix("!")):
            sent = line.startswith("!")
    return sent


def test_what_is_copied_exists_and_is_sent_to_docker() -> None:
    assert "dacli" in copied()
    for name in copied():
        assert (ROOT / name).exists(), name
        assert is_sent(name), name


def test_what_the_build_of_the_wheel_reads_is_copied() -> None:
    project, wheel = PROJECT["project"], PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    read = {"pyproject.toml", project["readme"], *project["license-files"], *wheel["packages"], *wheel["force-include"]}
    assert read == set(copied())


def test_nothing_else_is_sent() -> None:
    names = [path.name for path in ROOT.iterdir()]
    assert {name for name in names if is_sent(name)} == set(copied())


def test_its_python_and_its_extras_are_those_of_the_project() -> None:
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", DOCKERFILE, re.MULTILINE))
    assert f"Programming Language :: Python :: {arguments['PYTHON']}" in PROJECT["project"]["classifiers"]
    least = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert [int(part) for part in arguments["PYTHON"].split(".")] >= [int(part) for part in least.split(".")]
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_the_program_is_not_root_and_not_the_other_dacli_of_pypi() -> None:
    last = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    assert re.search(r"^USER dacli$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["dacli"\]$', last, re.MULTILINE)
    for line in INSTRUCTIONS:
        for command in re.findall(r"pip install ([^&]*)", line):
            assert command.split()[-1].strip('"')[0] == ".", f"not from the checkout: {command}"


def docker(*arguments: str | Path, timeout: int = 120) -> str:
    """Run docker, and return its output."""
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def has_docker() -> bool:
    """Whether a Docker engine answers; the client alone is not enough."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.slow
def test_the_image_builds_and_finds_depth_without_a_network(tmp_path: Path) -> None:
    if not has_docker():
        pytest.skip("no Docker engine answers")
    docker("build", "-t", "dacli:test", ".", timeout=3000)
    assert docker("run", "--rm", "dacli:test", "--version") == f"dacli {dacli.__version__}\n"
    photo(tmp_path / "photo.png", shape=(48, 64))
    tmp_path.chmod(0o777)
    options = ("--rm", "--network", "none", "--user", "1234:1234", "-v", f"{tmp_path}:/work")
    docker("run", *options, "dacli:test", "image", "photo.png", "--encoder", "tiny", "--save", "png16")
    with Image.open(tmp_path / "photo_depth16.png") as depth:
        assert depth.size == (64, 48)
