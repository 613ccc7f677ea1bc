"""Imports go one way, from room to room, and the command line starts without what only work needs."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dacli"
# Lowest first: a package imports only from its own row's package and from rows before it.
ROWS = (
    "errors",
    "choices paths",
    "types callbacks",
    "memory",
    "prefetch",
    "io",
    "weights",
    "models",
    "filters",
    "outputs",
    "scenes",
    "inference",
    "batch",
    "video",
    "evaluation",
    "report",
    "training",
    "bench",
    "api",
    "cli",
    "__main__",
)
ROW = {"": -1} | {name: number for number, row in enumerate(ROWS) for name in row.split()}
HEAVY = ("torch", "cv2", "numpy", "matplotlib", "PIL", "safetensors", "openvino", "nncf", "rich.progress", "rich.table")


@cache
def modules() -> dict[str, Path]:
    found = {path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path for path in sources()}
    return {name.removesuffix("__init__").rstrip("."): path for name, path in found.items()}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def nodes(tree: ast.AST, *, typing_too: bool) -> Iterator[ast.AST]:
    """Yield all nodes; those that only type checkers see if they are asked for."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if typing_too or not (isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING"):
            yield from nodes(child, typing_too=typing_too)


@cache
def imports(path: Path, *, typing_too: bool = True) -> frozenset[str]:
    """Return every module of dacli that a file imports, wherever in the file, without `dacli.`.

    The package itself imports its interface only when one of its names is asked for.
    """
    found = set()
    for node in nodes(ast.parse(path.read_text("utf-8")), typing_too=typing_too):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.partition(".")[0] == "dacli" and path != PACKAGE / "__init__.py":
                found.add(module_of(name.removeprefix("dacli").removeprefix(".")))
    return frozenset(found)


def module_of(name: str) -> str:
    while name not in modules():
        name = name.rpartition(".")[0]
    return name


def room_of(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_its_own_room_and_lower_rows(name: str) -> None:
    room = room_of(name)
    assert room in ROW, f"place {room} in a row of ROWS"
    above = {other for other in imports(modules()[name]) if room_of(other) != room and ROW[room_of(other)] >= ROW[room]}
    assert not above, f"{name} imports from its own row or above: {', '.join(sorted(above))}"


def test_no_module_of_a_room_imports_in_a_circle() -> None:
    graph = {name: set(imports(path, typing_too=False)) - {name} for name, path in modules().items()}
    done: set[str] = set()
    while ready := {name for name, others in graph.items() if name not in done and others <= done}:
        done |= ready
    assert done == set(graph), f"imports go in a circle among {', '.join(sorted(set(graph) - done))}"


def test_pictures_load_no_video_code() -> None:
    reached, remaining = set(), {"cli.image", "cli.runs"}
    while remaining:
        reached |= remaining
        remaining = {name for each in remaining for name in imports(modules()[each], typing_too=False)} - reached
    assert "inference.predictor" in reached
    assert not {name for name in reached if room_of(name) == "video"}


def top_level_names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_a_public_top_level_name_exists_once_in_the_package() -> None:
    places: dict[str, list[str]] = {}
    for module, path in modules().items():
        for name in set(top_level_names(path)):
            if not name.startswith("_"):
                places.setdefault(name, []).append(module)
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert not twice


@pytest.mark.parametrize("name", sorted(name for name in modules() if room_of(name) not in ("cli", "__main__")))
def test_only_the_command_line_prints_and_knows_typer_and_rich(name: str) -> None:
    tree = ast.parse(modules()[name].read_text("utf-8"))
    used = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not {"print", "input"} & used
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {"typer", "click", "rich"} & {module.partition(".")[0] for module in found}


@pytest.mark.parametrize("name", sorted(modules()))
def test_only_one_module_imports_matplotlib_because_it_reads_a_matplotlibrc_then(name: str) -> None:
    found = nodes(ast.parse(modules()[name].read_text("utf-8")), typing_too=False)
    imported = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    found = nodes(ast.parse(modules()[name].read_text("utf-8")), typing_too=False)
    imported |= {str(node.module) for node in found if isinstance(node, ast.ImportFrom)}
    assert name == "outputs.plain_matplotlib" or "matplotlib" not in {each.partition(".")[0] for each in imported}


def test_every_module_says_in_its_first_line_what_lives_there() -> None:
    silent = [name for name, path in modules().items() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert not silent


@pytest.mark.parametrize(
    "statement",
    [
        "import dacli",
        "import dacli.cli.main",
        "from dacli.cli.main import app; import typer.main as t; t.get_command(app)",
    ],
)
def test_the_command_line_starts_without_what_only_work_needs(statement: str) -> None:
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(HEAVY) & set(json.loads(run.stdout))


@pytest.mark.parametrize("arguments", [["--help"], ["image", "--help"], ["weights", "path", "vits"]])
def test_help_and_paths_load_neither_torch_nor_cv2(arguments: list[str]) -> None:
    code = (
        "import sys; from dacli.cli.main import main\n"
        "try: main(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout
    assert not {"torch", "cv2", "numpy"} & set(run.stderr.split())
