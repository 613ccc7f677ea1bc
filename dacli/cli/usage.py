"""Errors of usage in one line, like every other error, with the option that was probably meant."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from dacli.errors import UsageError

CLICK_USAGE_ERROR = typer.BadParameter.__mro__[1]  # Click's UsageError, or that of the copy inside Typer
# Options of other tools that users type, and what dacli calls them.
OTHER_TOOLS = {
    "--input-size": "use --size",
    "--input_size": "use --size",
    "--resolution": "use --size",
    "--img-size": "use --size",
    "--outdir": "use -o",
    "--output": "use -o",
    "--output-dir": "use -o",
    "--img-path": "name the files: dacli image PHOTO..., or dacli folder IN OUT",
    "--img_path": "name the files: dacli image PHOTO..., or dacli folder IN OUT",
    "--video-path": "name the clips: dacli video CLIP...",
    "--pred-only": "--save color is the depth alone; --save side puts the picture beside it",
    "--pred_only": "--save color is the depth alone; --save side puts the picture beside it",
    "--resume": "leave it out: the same command goes on where it was stopped",
    "--grayscale": "use --save gray, or --save png16 for 16 bits",
    "--checkpoint": "use --weights FILE",
    "--ckpt": "use --weights FILE",
    "--load-from": "use --weights FILE",
    "--half": "use --fp16",
    "--cpu": "use --device cpu",
    "--gpu": "use --device cuda",
    "-V": "use dacli --version",
    "--start-number": "use --first-frame",
}
# What a value is not, by the type of pydantic's error.
BAD_VALUES = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "greater_than_equal": "is below {ge:g}",
    "less_than_equal": "is above {le:g}",
}
SINGLE_DASH = ("-overwrite", "-out", "-quiet")
# Commands of other tools that users type, and what dacli calls them.
OTHER_COMMANDS = {
    "help": "use dacli --help, or dacli COMMAND --help",
    "version": "use dacli --version",
    "download": "use dacli weights get NAME",
    "run": "use dacli image, folder or video",
    "predict": "use dacli image, folder or video",
}
# Values of other tools that users type, and what dacli calls them.
OTHER_VALUES = {
    **dict.fromkeys(("small", "s", "vit-s", "vit_s"), "vits"),
    **dict.fromkeys(("base", "b", "vit-b", "vit_b"), "vitb"),
    **dict.fromkeys(("large", "l", "vit-l", "vit_l"), "vitl"),
    **dict.fromkeys(("giant", "g", "vit-g", "vit_g"), "vitg"),
    **dict.fromkeys(("half", "float16", "16"), "fp16"),
    **dict.fromkeys(("full", "float32", "float", "32"), "fp32"),
    "bfloat16": "bf16",
}


def refuse_single_dash(arguments: Sequence[str]) -> None:
    """Raise UsageError for -overwrite, which would otherwise be -o with the folder `verwrite`."""
    for argument in arguments:
        if argument == "--":
            return
        if argument in SINGLE_DASH:
            raise UsageError(f"there is no option {argument}", f"did you mean -{argument}?")


def describe_usage_error(error: Any) -> UsageError:
    """Return the error for one of Click's: what is wrong, why, and what to do, in one line."""
    kind, context = type(error).__name__, getattr(error, "ctx", None)
    if kind == "NoSuchOption":
        return describe_unknown_option(error)
    if kind == "MissingParameter":
        return UsageError(f"{parameter_name(error)} is missing", f"use {describe_arguments(context)}")
    if value := re.search(r"'(.*)' is not one of (.*)", error.message, re.DOTALL):
        name, choices = parameter_name(error).removeprefix("--"), re.findall(r"'([^']*)'", value[2])
        return UsageError(
            f"unknown {name} {value[1]!r}", f"{suggest_name(value[1], choices)}choose {join_choices(choices)}"
        )
    if kind == "BadParameter":
        return describe_bad_value(error)
    if command := re.match(r"No such command ['\"](.*?)['\"]", error.message, re.DOTALL):
        if Path(command[1]).exists():
            return describe_path_as_command(Path(command[1]))
        if command[1] in OTHER_COMMANDS:
            return UsageError(f"there is no command {command[1]!r}", OTHER_COMMANDS[command[1]])
        known = list(getattr(getattr(context, "command", None), "commands", ()))
        hint = f"{suggest_name(command[1], known)}{command_path(context)} --help lists the commands"
        return UsageError(f"there is no command {command[1]!r}", hint)
    return UsageError(clean_message(error.message), f"see {command_path(context)} --help")


def describe_bad_value(error: Any) -> UsageError:
    """Return the error for a value that its option or argument does not take: a text for a number, or out of range."""
    name, hint = parameter_name(error), f"see {command_path(getattr(error, 'ctx', None))} --help"
    details: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if not details or details[0]["type"] not in BAD_VALUES:
        return UsageError(f"{name}: {clean_message(error.message)}", hint)
    value, limits = str(details[0]["input"]), details[0].get("ctx", {})
    number = re.match(r"\d+", value)
    if getattr(getattr(error, "param", None), "param_type_name", "") == "argument":
        hint = f"use {describe_arguments(getattr(error, 'ctx', None))}"
    elif number and details[0]["type"].endswith("_parsing"):
        hint = f"for example {name} {number[0]}"
    return UsageError(f"{name} {value} {BAD_VALUES[details[0]['type']].format(**limits)}", hint)


def describe_path_as_command(path: Path) -> UsageError:
    """Return the error for a path where a command should be: the command that takes it."""
    from dacli.io.images import picture_fault

    if fault := picture_fault(path):
        return UsageError(fault.message, fault.hint)
    return UsageError(f"{path} is not a command", f"use dacli image {path}")


def describe_unknown_option(error: Any) -> UsageError:
    """Return the error for an option that a command does not have."""
    name, context = str(error.option_name), getattr(error, "ctx", None)
    if name in OTHER_TOOLS:
        return UsageError(f"there is no option {name}", OTHER_TOOLS[name])
    parameters = getattr(getattr(context, "command", None), "params", ())
    known = [option for parameter in parameters for option in parameter.opts if option.startswith("--")]
    hint = f"{suggest_name(name, known)}{command_path(context)} --help lists the options"
    return UsageError(f"there is no option {name}", hint)


def describe_arguments(context: Any) -> str:
    """Return a command with its arguments, such as `dacli folder IN OUT`."""
    parameters = getattr(getattr(context, "command", None), "params", ())
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    return " ".join([command_path(context), *(str(each.metavar or each.human_readable_name) for each in arguments)])


def parameter_name(error: Any) -> str:
    """Return the option or argument that an error is about, as users type it."""
    parameter = getattr(error, "param", None)
    if parameter is None:
        return str(getattr(error, "param_hint", None) or "an argument")
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.human_readable_name)
    return str(max(parameter.opts, key=len))


def command_path(context: Any) -> str:
    """Return the command that was typed, such as `dacli image`."""
    return str(getattr(context, "command_path", "dacli"))


def suggest_name(name: str, known: Sequence[str]) -> str:
    """Return "did you mean …? " with the most similar of the known names, or "" if none is similar."""
    if OTHER_VALUES.get(name.lower()) in known:
        return f"did you mean {OTHER_VALUES[name.lower()]}? "
    similar = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {similar[0]}? " if similar else ""


def join_choices(choices: Sequence[str]) -> str:
    """Return choices as "a, b or c"."""
    return " or ".join([", ".join(choices[:-1]), choices[-1]]) if len(choices) > 1 else choices[0]


def clean_message(message: str) -> str:
    """Return Click's message without its full stop, beginning in lower case."""
    text = re.sub(r"^Value error, ", "", message.strip(), flags=re.IGNORECASE).rstrip(".")
    return text[:1].lower() + text[1:]
