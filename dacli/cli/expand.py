"""Options that are declared once: dataclasses of options become parameters of the commands that take them."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with its dataclass parameters replaced by one keyword parameter for each of their fields.

    Annotations and defaults are those of the fields. Typer reads the new signature; the command itself is called with
    the dataclasses, filled with the values of their fields.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        annotation = hints[name]
        if isinstance(annotation, type) and is_dataclass(annotation):
            expanded_fields = expand_dataclass(annotation)
            groups[name] = annotation, [field.name for field in expanded_fields]
            parameters += expanded_fields
        else:
            parameters.append(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=parameter.default, annotation=annotation
                )
            )

    @wraps(command)
    def expanded(**values: Any) -> None:
        for name, (annotation, names) in groups.items():
            values[name] = annotation(**{field: values.pop(field) for field in names})
        command(**values)

    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": None}
    del expanded.__wrapped__
    return expanded


def expand_dataclass(annotation: type) -> list[inspect.Parameter]:
    """Return a keyword parameter for each field of a dataclass."""
    hints = get_type_hints(annotation, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(annotation)
    ]
