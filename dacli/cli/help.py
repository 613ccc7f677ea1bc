"""What all commands have in common: help in plain text and in sections, and a word about an interrupt."""

import re
from typing import Any

from typer.core import TyperCommand

from dacli.cli.console import Console, ReportedInterrupt

RANGE = re.compile(r"; x>=\d+| *\[x>=\d+\]")  # which says little: a value that is too small is refused by name
SECTIONS = ("Arguments", "Input", "Model", "Camera", "Training", "Output", "Machine", "Run", "Options")


class GroupedCommand(TyperCommand):
    """A command whose help has a section for each group of options: Input, Model, Output, Machine, Run."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; say that it was interrupted where it did not say so itself."""
        try:
            return super().invoke(ctx)
        except ReportedInterrupt:
            raise
        except KeyboardInterrupt:
            Console().warn("interrupted")
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line after the command's name."""
        arguments = [parameter for parameter in self.get_params(ctx) if parameter.param_type_name == "argument"]
        return [self.options_metavar or "", *(str(argument.metavar or argument.name) for argument in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options, each in its section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is None:
                continue
            if parameter.param_type_name == "argument":
                title, record = (
                    "Arguments",
                    (str(parameter.metavar or parameter.name), getattr(parameter, "help", None) or ""),
                )
            else:
                title = getattr(parameter, "rich_help_panel", None) or "Options"
            sections.setdefault(title, []).append((record[0], RANGE.sub("", record[1])))
        for title in sorted(sections, key=SECTIONS.index):
            with formatter.section(title):
                formatter.write_dl(sections[title], col_max=26)
