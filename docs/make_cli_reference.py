"""Make docs/cli.md from the commands: python docs/make_cli_reference.py > docs/cli.md, or --check to compare."""

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from dacli.cli.help import SECTIONS
from dacli.cli.main import app

PAGE = Path(__file__).with_name("cli.md")


def make_page() -> str:
    """Return the reference as Markdown."""
    intro = "# Commands and options\n\nMade from the commands by `python docs/make_cli_reference.py > docs/cli.md`.\n"
    return intro + "".join(describe_command(name, command) for name, command in walk_commands("dacli", app))


def walk_commands(prefix: str, group: Any) -> Iterator[tuple[str, Callable[..., None]]]:
    """Yield every command of a Typer application with its full name."""
    for command in group.registered_commands:
        yield f"{prefix} {command.name or command.callback.__name__}", command.callback
    for child in group.registered_groups:
        yield from walk_commands(f"{prefix} {child.name}", child.typer_instance)


def describe_command(name: str, command: Callable[..., None]) -> str:
    """Return the section of one command."""
    arguments: list[tuple[inspect.Parameter, Any, Any]] = []
    options: list[tuple[inspect.Parameter, Any, Any]] = []
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind, info = split_annotation(parameter.annotation)
        is_option = info is not None and type(info).__name__ == "OptionInfo"
        (options if is_option else arguments).append((parameter, kind, info))
    names = [str(getattr(info, "metavar", None) or parameter.name.upper()) for parameter, _, info in arguments]
    usage = " ".join([name, *names, *(["[OPTIONS]"] if options else [])])
    text = " ".join((command.__doc__ or "").split())
    parts = [f"\n## {name}\n\n```\n{usage}\n```\n\n{text}\n"]
    if arguments:
        rows = [f"| `{shown}` | {cell(info)} |\n" for shown, (_, _, info) in zip(names, arguments, strict=True)]
        parts.append("\n| argument | means |\n|---|---|\n" + "".join(rows))
    if options:
        options.sort(key=lambda each: SECTIONS.index(section_of(each[2])))
        rows = [describe_option(*each) for each in options]
        parts.append("\n| group | option | default | means |\n|---|---|---|---|\n" + "".join(rows))
    return "".join(parts)


def split_annotation(annotation: Any) -> tuple[Any, Any]:
    """Return the type of a parameter without None, and what Typer knows of it."""
    kind, *more = get_args(annotation) if hasattr(annotation, "__metadata__") else (annotation,)
    choices = [each for each in get_args(kind) if each is not NoneType]
    if get_origin(kind) is not Literal and len(choices) == 1 and NoneType in get_args(kind):
        kind = choices[0]
    return kind, more[0] if more else None


def describe_option(parameter: inspect.Parameter, kind: Any, info: Any) -> str:
    """Return the row of one option."""
    first = [info.default] if isinstance(info.default, str) else []  # in Annotated, Typer takes it for a name
    typed = [*first, *(info.param_decls or ())] or ["--" + parameter.name.replace("_", "-")]
    names = ", ".join(f"`{name}`" for name in typed)
    values = ", ".join(f"`{each}`" for each in get_args(kind)) if get_origin(kind) is Literal else ""
    if not values and kind is not bool:
        values = f"`{info.metavar}`" if info.metavar else ""
    default = parameter.default
    shown = f"`{default}`" if default not in (None, False, inspect.Parameter.empty) else ""
    return f"| {section_of(info)} | {names} {values} | {shown} | {cell(info)} |\n"


def section_of(info: Any) -> str:
    return str(info.rich_help_panel or "Options")


def cell(info: Any) -> str:
    return " ".join((getattr(info, "help", None) or "").split()).replace("|", "\\|")


def main() -> None:
    """Print the page, or with --check exit with 1 if docs/cli.md is not that page."""
    page = make_page()
    if sys.argv[1:] == ["--check"]:
        hint = "docs/cli.md is old: python docs/make_cli_reference.py > docs/cli.md"
        sys.exit(0 if PAGE.read_text("utf-8") == page else hint)
    sys.stdout.write(page)


if __name__ == "__main__":
    main()
