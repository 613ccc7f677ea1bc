"""Write the reference of the command line, docs/cli.md, from the commands themselves.

python docs/make_cli_reference.py > docs/cli.md      writes the page
python docs/make_cli_reference.py --check            exits with 1 if docs/cli.md is not that page

It reads the signatures of the commands, because what Typer makes of them differs from version to version.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from dacli.cli.main import app

PAGE = Path(__file__).with_name("cli.md")
INTRO = """\
# Commands and options

This page is made from the commands: change them, then run `python docs/make_cli_reference.py > docs/cli.md`.
`dacli COMMAND --help` prints the same in a terminal, and `dacli --install-completion` teaches your shell the options.
"""
GROUPS = ("Input", "Model", "Training", "Output", "Machine", "Run")  # groups of other names follow
OTHER_OPTIONS = "Options"
TYPE_NAMES = {int: "number", float: "number", str: "text", Path: "path"}


@dataclass(frozen=True)
class Parameter:
    """An argument or option of a command: `kind` is the type of its value, `info` what Typer is told about it."""

    name: str
    kind: Any
    info: Any
    default: Any

    @property
    def is_option(self) -> bool:
        """Return whether it is an option."""
        return type(self.info).__name__ == "OptionInfo"

    @property
    def group(self) -> str:
        """Return the group of the help that it stands in."""
        return str(getattr(self.info, "rich_help_panel", None) or OTHER_OPTIONS)

    @property
    def metavar(self) -> str:
        """Return what stands for its value in the help, if that is said."""
        return str(getattr(self.info, "metavar", None) or "")

    @property
    def usage(self) -> str:
        """Return what stands for an argument in the usage."""
        name = self.metavar or self.name.upper()
        optional = self.default is not inspect.Parameter.empty and not name.startswith("[")
        return f"[{name}]" if optional else name


def make_page() -> str:
    """Return the reference as Markdown."""
    commands = list(walk_commands("dacli", app))
    index = "".join(f"- [{name}](#{name.replace(' ', '-')}): {summary(info)}\n" for name, info in commands)
    return f"{INTRO}\n{index}{''.join(describe_command(name, info) for name, info in commands)}"


def walk_commands(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the full name of every command of a Typer application, and what Typer is told about it."""
    for info in group.registered_commands:
        yield f"{prefix} {info.name or info.callback.__name__}", info
    for info in group.registered_groups:
        yield from walk_commands(f"{prefix} {info.name}", info.typer_instance)


def summary(info: Any) -> str:
    """Return what a command does, in one line."""
    line = one_line(info.short_help or re.split(r"[.;:,(]", info.callback.__doc__)[0])
    return line[:1].lower() + line[1:]


def describe_command(name: str, info: Any) -> str:
    """Return the section of one command."""
    parameters = read_parameters(info.callback)
    arguments = [each for each in parameters if not each.is_option]
    groups = group_options([each for each in parameters if each.is_option])
    usage = " ".join([name, *(each.usage for each in arguments), *(["[OPTIONS]"] if groups else [])])
    parts = [f"\n## {name}\n\n```\n{usage}\n```\n\n{one_line(info.callback.__doc__)}\n"]
    if info.epilog:
        title, _, command = one_line(info.epilog).partition(": ")
        parts.append(f"\n{title}: `{command}`\n")
    if helped := [each for each in arguments if help_of(each)]:
        rows = "".join(f"| `{cell(each.usage)}` | {help_of(each)} |\n" for each in helped)
        parts.append(f"\n| Argument | means |\n|---|---|\n{rows}")
    for group, options in groups.items():
        rows = "".join(map(describe_option, options))
        parts.append(f"\n| {group} | values | default | means |\n|---|---|---|---|\n{rows}")
    return "".join(parts)


def read_parameters(command: Any) -> list[Parameter]:
    """Return the arguments and options of a command, in the order of its signature."""
    found = []
    for each in inspect.signature(command, eval_str=True).parameters.values():
        kind, info = each.annotation, None
        if get_origin(kind) is Annotated:
            kind, info, *_ = get_args(kind)
        found.append(Parameter(each.name.strip("_"), without_none(kind), info, each.default))
    return [each for each in found if not getattr(each.info, "hidden", False)]


def without_none(kind: Any) -> Any:
    """Return the type that `kind` is when it is not None."""
    others = [each for each in get_args(kind) if each is not NoneType]
    return others[0] if NoneType in get_args(kind) and len(others) == 1 else kind


def group_options(options: list[Parameter]) -> dict[str, list[Parameter]]:
    """Return options by the group that the help shows them in."""
    found: dict[str, list[Parameter]] = {}
    for option in options:
        found.setdefault(option.group, []).append(option)
    others = [name for name in found if name not in (*GROUPS, OTHER_OPTIONS)]
    return {name: found[name] for name in (*GROUPS, *others, OTHER_OPTIONS) if name in found}


def describe_option(option: Parameter) -> str:
    """Return the row of one option."""
    declared = (option.info.default, *(option.info.param_decls or ()))  # with Annotated the first name is the "default"
    names = [name for name in declared if isinstance(name, str) and name.startswith("-")]
    shown = ", ".join(f"`{name}`" for name in names or [f"--{option.name.replace('_', '-')}"])
    return f"| {shown} | {describe_values(option)} | {describe_default(option)} | {help_of(option)} |\n"


def describe_values(option: Parameter) -> str:
    """Return what an option takes: its choices, its metavar, or its type and limits; nothing for a flag."""
    kind = get_args(option.kind)[0] if get_origin(option.kind) is list else option.kind
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if kind is bool:
        return ""
    if option.metavar:
        return f"`{cell(option.metavar)}`"
    low, high = option.info.min, option.info.max
    limits = "" if low is None else f"from {low}"
    limits += "" if high is None else f" to {high}"
    return f"{TYPE_NAMES.get(kind, kind.__name__)} {limits}".strip()


def describe_default(option: Parameter) -> str:
    """Return the default of an option; nothing where there is none, or where the help says it in words."""
    if option.default in (None, False, inspect.Parameter.empty):
        return ""
    return f"`{cell(str(option.default))}`"


def help_of(parameter: Parameter) -> str:
    """Return the help of an argument or option, for a cell of a table."""
    return cell(one_line(getattr(parameter.info, "help", None)))


def one_line(text: str | None) -> str:
    """Return text without line breaks and repeated spaces."""
    return " ".join((text or "").split())


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("|", "\\|")


def main() -> None:
    """Print the page, or compare docs/cli.md with it."""
    page = make_page()
    if sys.argv[1:] == ["--check"]:
        fresh = PAGE.is_file() and PAGE.read_text("utf-8") == page
        sys.exit(0 if fresh else "docs/cli.md is out of date: run python docs/make_cli_reference.py > docs/cli.md")
    sys.stdout.buffer.write(page.encode("utf-8"))


if __name__ == "__main__":
    main()
