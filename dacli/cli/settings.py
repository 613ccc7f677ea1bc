"""Defaults of options from dacli.toml and from variables of the environment, and where each of them comes from.

The first that has a value gives it: command line, preset, environment, dacli.toml of the project, that of the user.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacli.cli.presets import BUILT_IN_PRESETS
from dacli.cli.usage import suggest_name
from dacli.errors import UsageError
from dacli.paths import config_folder, display_path

SETTINGS_FILE = "dacli.toml"
DEFAULTS_TABLE, PRESET_TABLE = "defaults", "preset"
COMMON_COMMANDS = ("image", "folder", "video")  # that the table [defaults] and DACLI_SIZE are for
NO_OPTIONS = ("DACLI_CACHE", "DACLI_DEBUG", "DACLI_MIRRORS", "DACLI_WEIGHTS_DIR")
# An option on the command line, and the defaults that would contradict it.
CONTRADICTIONS = {
    "weights": ("encoder",),
    "encoder": ("weights",),
    "fp16": ("precision",),
    "precision": ("fp16",),
    "devices": ("device",),
    "device": ("devices",),
}
TRUTHS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class CommandOption:
    """An option of a command: its long name without dashes, the parameter behind it, and what values it takes."""

    name: str
    parameter: str
    is_flag: bool
    repeatable: bool


CommandOptions = Mapping[str, Mapping[str, CommandOption]]  # by command ("train teacher") and long name


@dataclass(frozen=True)
class Setting:
    """The default of an option of a command, and the file or the variable that it comes from."""

    command: str
    option: CommandOption
    value: str | bool | list[str]
    source: str


def list_options(group: Any) -> CommandOptions:
    """Return the options of all commands of the command line."""
    found: dict[str, dict[str, CommandOption]] = {}
    for name, command in group.commands.items():
        if nested := getattr(command, "commands", None):
            found |= {f"{name} {below}": _options_of(each) for below, each in nested.items()}
        else:
            found[name] = _options_of(command)
    return found


def _options_of(command: Any) -> dict[str, CommandOption]:
    options = {}
    for parameter in command.params:
        names = [name.removeprefix("--") for name in parameter.opts if name.startswith("--")]
        if parameter.param_type_name == "option" and names and names[0] not in ("help", "preset"):
            is_flag, repeatable = bool(parameter.is_flag), bool(parameter.multiple)
            options[names[0]] = CommandOption(names[0], parameter.name, is_flag, repeatable)
    return options


def settings_files() -> list[Path]:
    """Return the files of settings that exist: the user's, then that of the working folder or the nearest above it."""
    here = Path.cwd()
    project = next((path for folder in (here, *here.parents) if (path := folder / SETTINGS_FILE).is_file()), None)
    return [path for path in (config_folder() / SETTINGS_FILE, project) if path is not None and path.is_file()]


def find_preset(arguments: Sequence[str]) -> str | None:
    """Return the value of --preset on a command line."""
    for number, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--preset="):
            return argument.partition("=")[2]
        if argument == "--preset" and number + 1 < len(arguments):
            return arguments[number + 1]
    return None


def has_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Return whether there may be settings: without any, the options of the commands are not looked at."""
    variables = any(name.startswith("DACLI_") and name not in NO_OPTIONS for name in environment)
    return variables or find_preset(arguments) is not None or bool(settings_files())


def read_settings(
    options: CommandOptions, arguments: Sequence[str] = (), environment: Mapping[str, str] = os.environ
) -> list[Setting]:
    """Return the settings, one for each option of a command that has a default of the user's.

    Raises UsageError for a file that cannot be read, for names that do not exist, and for a preset that is not there.
    """
    found: dict[tuple[str, str], Setting] = {}
    preset, presets = find_preset(arguments), []
    for path in settings_files():
        tables = _read_tables(path)
        in_file = {name: each for name, each in tables.pop(PRESET_TABLE, {}).items() if isinstance(each, dict)}
        presets += [(path, name, table) for name, table in in_file.items()]
        found |= _by_option(_settings_of(tables, options, display_path(path)))
    found |= _by_option(_settings_of_environment(options, environment))
    if preset is not None:
        for source, table in find_preset_tables(preset, presets):
            found |= _by_option(_settings_of({DEFAULTS_TABLE: table}, options, source))
    return list(found.values())


def find_preset_tables(
    preset: str, presets: Sequence[tuple[Path, str, Mapping[str, Any]]]
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the settings of a preset and where they are from: its own of dacli, then those of files.

    Raises UsageError for a preset that does not exist.
    """
    tables = [(f"[preset.{name}] of {display_path(path)}", table) for path, name, table in presets if name == preset]
    if preset in BUILT_IN_PRESETS:
        tables.insert(0, (f"--preset {preset}", BUILT_IN_PRESETS[preset]))
    if not tables:
        known = sorted({name for _, name, _ in presets} | set(BUILT_IN_PRESETS))
        hint = f"{suggest_name(preset, known)}there are {', '.join(known)}"
        raise UsageError(f"there is no preset {preset!r}", hint)
    return tables


def preset_names() -> list[str]:
    """Return the names of the presets of dacli and in files of settings."""
    tables = [_read_tables(path).get(PRESET_TABLE, {}) for path in settings_files()]
    return sorted({name for table in tables for name in table} | set(BUILT_IN_PRESETS))


def _by_option(settings: Iterator[Setting]) -> dict[tuple[str, str], Setting]:
    return {(setting.command, setting.option.name): setting for setting in settings}


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{display_path(path)} is not valid TOML ({error})", "correct it, or move it away") from error
    except OSError as error:
        raise UsageError(f"{display_path(path)} cannot be read ({error.strerror})", "check its permissions") from error


def _settings_of(tables: Mapping[str, Any], options: CommandOptions, source: str) -> Iterator[Setting]:
    """Yield the settings of a file, those of [defaults] first."""
    for title in sorted(tables, key=lambda title: title != DEFAULTS_TABLE):
        table = tables[title]
        if not isinstance(table, dict):
            raise UsageError(f"{source}: {title} is outside of a table", "write it below [defaults] or [image]")
        if title == DEFAULTS_TABLE:
            yield from _common_settings(table, options, source)
            continue
        nested = {f"{title} {name}": each for name, each in table.items() if isinstance(each, dict)}
        for command, values in (nested or {title: table}).items():
            if command not in options:
                guess = suggest_name(command, [*options, DEFAULTS_TABLE, PRESET_TABLE])
                raise UsageError(f"{source}: there is no command for [{title}]", f"{guess}dacli --help lists them")
            for name, value in values.items():
                if (option := options[command].get(name)) is None:
                    raise _unknown_option(source, name, options[command], command)
                yield Setting(command, option, _convert(option, value, source), source)


def _common_settings(table: Mapping[str, Any], options: CommandOptions, source: str) -> Iterator[Setting]:
    known = {name: each for command in COMMON_COMMANDS for name, each in options[command].items()}
    for name, value in table.items():
        if name not in known:
            raise _unknown_option(source, name, known, "image, folder or video")
        converted = _convert(known[name], value, source)
        for command in COMMON_COMMANDS:
            if name in options[command]:
                yield Setting(command, options[command][name], converted, source)


def _settings_of_environment(options: CommandOptions, environment: Mapping[str, str]) -> Iterator[Setting]:
    """Yield the settings of variables: DACLI_SIZE for the common commands, DACLI_BENCH_SIZE for one command.

    Other variables are somebody else's, or not an option; DACLI_ENCODER is for every command that takes one network.
    """
    for command in sorted(options, key=lambda name: name not in COMMON_COMMANDS):
        for name, option in options[command].items():
            own = f"DACLI_{command}_{name}".replace(" ", "_").replace("-", "_").upper()
            common = f"DACLI_{name}".replace("-", "_").upper() if command in COMMON_COMMANDS else own
            variable = own if own in environment else common
            if environment.get(variable) and variable not in NO_OPTIONS:
                yield Setting(command, option, _convert(option, environment[variable], variable), variable)


def _convert(option: CommandOption, value: Any, source: str) -> str | bool | list[str]:
    """Return a value as the command line would give it; raise UsageError for one that no option takes."""
    if option.is_flag:
        truth = value if isinstance(value, bool) else TRUTHS.get(str(value).lower())
        if truth is None:
            raise UsageError(f"{source}: {option.name} {value} is neither true nor false", "write true or false")
        return truth
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool | dict | list) for item in items):
        raise UsageError(f"{source}: {option.name} has no value of this kind", f"write it as after --{option.name}")
    return [str(item) for item in items] if option.repeatable else ",".join(map(str, items))


def _unknown_option(source: str, name: str, known: Mapping[str, CommandOption], command: str) -> UsageError:
    hint = f"{suggest_name(name, list(known))}dacli {command.partition(',')[0]} --help lists the options"
    return UsageError(f"{source}: {command} has no option {name!r}", hint)


def used_settings(settings: Sequence[Setting], arguments: Sequence[str]) -> list[Setting]:
    """Return the settings of the command that is called, without those that its own options replace or contradict."""
    words = [argument for argument in arguments[:2] if not argument.startswith("-")]
    given = {argument.removeprefix("--").partition("=")[0] for argument in arguments if argument.startswith("--")}
    given |= {"quiet"} if "-q" in arguments else set()
    replaced = given | {other for name in given for other in CONTRADICTIONS.get(name, ())}
    commands = (" ".join(words), words[0]) if words else ()
    return [each for each in settings if each.command in commands and each.option.name not in replaced]


def default_map(settings: Sequence[Setting]) -> dict[str, Any]:
    """Return settings as Click takes them: values by parameter, in one level for each command and group."""
    tree: dict[str, Any] = {}
    for setting in settings:
        level = tree
        for name in setting.command.split():
            level = level.setdefault(name, {})
        level[setting.option.parameter] = setting.value
    return tree


def describe_settings(settings: Sequence[Setting]) -> str:
    """Return a line that says which settings a command uses, and where they come from."""
    by_source: dict[str, list[str]] = {}
    for setting in settings:
        value = "" if setting.value is True else f" {display_value(setting.value)}"
        by_source.setdefault(setting.source, []).append(setting.option.name + value)
    return "; ".join(f"{', '.join(values)} (from {source})" for source, values in by_source.items())


def display_value(value: str | bool | list[str]) -> str:
    """Return a value as text."""
    return ",".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else value


def blame_setting(error: UsageError, settings: Sequence[Setting]) -> UsageError:
    """Return the error of a value with the file or variable that the value comes from, if it is not typed."""
    for setting in settings:
        value = display_value(setting.value)
        named = f"--{setting.option.name}" in error.message or f"unknown {setting.option.name}" in error.message
        if value in error.message and (named or repr(value) in error.message):
            return UsageError(f"{error.message} (from {setting.source})", error.hint)
    return error
