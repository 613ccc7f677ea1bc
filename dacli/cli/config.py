"""dacli config: the settings, and where each comes from."""

import json

import typer

from dacli.cli.console import Console
from dacli.cli.options import Json
from dacli.cli.settings import SETTINGS_FILE, display_value, list_options, read_settings, settings_files
from dacli.paths import config_folder, display_path


def config(context: typer.Context, json_: Json = False) -> None:
    """Defaults of options from dacli.toml and DACLI_* variables, and where each comes from."""
    console = Console(json=json_)
    settings = read_settings(list_options(context.find_root().command))
    if json_:
        for each in settings:
            fields = {"command": each.command, "option": each.option.name, "value": each.value, "source": each.source}
            console.result(json.dumps(fields))
        return
    if settings:
        from dacli.cli.tables import print_columns

        commands: dict[tuple[str, str, str], list[str]] = {}
        for each in settings:
            row = each.option.name, display_value(each.value), each.source
            commands.setdefault(row, []).append(each.command)
        rows = [(name, value, ", ".join(names), source) for (name, value, source), names in commands.items()]
        print_columns(("option", "value", "for", "from"), rows)
    files = ", ".join(map(display_path, settings_files())) or "none"
    console.note(f"files: {files}")
    if not settings:
        user = display_path(config_folder() / SETTINGS_FILE)
        console.note(f"no settings: write {SETTINGS_FILE} here or as {user}, for example [defaults] size = 1600")
