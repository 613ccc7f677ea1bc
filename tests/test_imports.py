"""Imports go one way, and the command line starts without what only work needs."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dacli"
# The house, ground floor first: a module may import what stands on a lower row, and nothing else of dacli.
ROWS = (
    "errors",
    "hub png jobs locks memory",
    "download files inputs stream timing",
    "journal",
    "checkpoints",
    "device dinov2 dpt tiny textures raycast metrics cuts tables",
    "depth_anything shading parts accuracy flicker matching",
    "loading plants",
    "networks furnishing preprocess engine render pictures ffmpeg steady",
    "tiling task clips depthfiles scenes",
    "quantisation dwellings",
    "openvino_engine",
    "predictor decoding encoding labelled",
    "pipeline muxing",
    "segments frames",
    "film",
    "train.augment train.losses train.starting train.parallel comparison",
    "evaluation tile_evaluation moving",
    "train.data demonstration diagnosis steadiness da2k scene_files",
    "train.recipes",
    "train.loop train.watch",
    "train.teach train.measure voice options",
    "bench session cli_weights",
    "bench_clips screening trials rivals machine subjects",
    "benchmark",
    "contact_sheet",
    "cli_train cli_video cli_judge",
    "cli_bench",
    "cli",
    "__main__",
)
FLOOR = {name: floor for floor, row in enumerate(ROWS) for name in row.split()} | {"": -1, "train": -1}
HEAVY = ("torch", "cv2", "numpy", "matplotlib", "PIL", "safetensors", "openvino", "nncf", "rich.progress", "rich.table")


def modules() -> dict[str, Path]:
    found = {path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in sources()}
    return {name.removesuffix("__init__").rstrip("."): path for name, path in found.items()}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module of dacli that a file imports, wherever in the file; `dacli.` is left out."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.partition(".")[0] == "dacli":
                yield module_of(name.removeprefix("dacli").removeprefix("."))


def module_of(name: str) -> str:
    """The module in which a name such as `predictor.Predictor` stands."""
    while name not in modules():
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_lower_rows(name: str) -> None:
    assert name in FLOOR, f"place {name} in a row of ROWS"
    above = {other for other in imports(modules()[name]) if other and FLOOR[other] >= FLOOR[name]}
    assert not above, f"{name} imports from its own row or above: {', '.join(sorted(above))}"


def test_no_module_stands_twice_in_the_house() -> None:
    placed = " ".join(ROWS).split()
    assert len(placed) == len(set(placed))


@pytest.mark.parametrize(
    "statement", ["import dacli.cli", "from dacli.cli import app; import typer.main as t; t.get_command(app)"]
)
def test_the_command_line_starts_without_what_only_work_needs(statement: str) -> None:
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(HEAVY) & set(json.loads(run.stdout))


@pytest.mark.parametrize("arguments", [["--help"], ["image", "--help"], ["weights", "path", "vits"]])
def test_help_and_paths_load_neither_torch_nor_cv2(arguments: list[str]) -> None:
    code = (
        "import sys; from dacli.cli import main\ntry: main(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout
    assert not {"torch", "cv2", "numpy"} & set(run.stderr.split())
