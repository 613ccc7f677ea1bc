"""Help in groups, plain enough for a pipe: the sections Input, Model, Output, Machine and Run of a command."""

from typing import Any

from typer.core import TyperCommand

SECTIONS = ("Arguments", "Input", "Model", "Training", "Output", "Machine", "Run", "Options")


class GroupedCommand(TyperCommand):
    """A command whose help has a section for each group of options."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what stands after the command's name in the line of usage."""
        arguments = [each for each in self.get_params(ctx) if each.param_type_name == "argument"]
        return [self.options_metavar or "", *(str(each.metavar or each.name) for each in arguments)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and then the options by their group."""
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
            sections.setdefault(title, []).append(record)
        for title in sorted(sections, key=SECTIONS.index):
            with formatter.section(title):
                formatter.write_dl(sections[title], col_max=26)
