"""Names of outputs from a template, and several networks, sizes or precisions in one run, each under its own names."""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from dacli.batch.options import RunOptions
from dacli.errors import UsageError

NAME_FIELDS = ("stem", "encoder", "model", "weights", "size", "precision")
FRAME_NUMBER = re.compile(r"%0?\d*d|##+")  # in a pattern of numbered pictures, such as shot.%04d.exr
_UNSAFE = re.compile(r'[\x00-\x1f/\\:*?"<>|]')  # in a name on any system


@dataclass(frozen=True)
class OutputName:
    """How outputs are named, before the ending of their kind: `template` with `{stem}`, the input's name, and values.

    A plain name is the stem alone.
    """

    template: str = "{stem}"
    values: Mapping[str, str] = field(default_factory=dict)

    def apply(self, stem: str) -> str:
        """Return the name of the outputs of an input with this stem."""
        return self.template.format(stem=stem, **self.values)

    @property
    def variant(self) -> str:
        """Return what tells these outputs from others of the same input: the name without the stem; "" if plain."""
        return self.apply("")


PLAIN_NAME = OutputName()


def stem_of_pattern(path: Path) -> str:
    """Return the name of what a pattern of numbered pictures shows: shot for shot.%04d.exr, else that of its folder."""
    stem = re.sub(rf"[._ -]*(?:{FRAME_NUMBER.pattern})", "", path.stem)
    return stem or path.absolute().parent.name or "frames"


@dataclass(frozen=True)
class RunVariant:
    """One network at one size in one precision, of those that a command names, and how its outputs are named."""

    options: RunOptions
    name: OutputName = PLAIN_NAME


@dataclass(frozen=True, kw_only=True)
class VariantValues:
    """The values of which each combination is a variant; an empty list stands for the value of the options."""

    encoders: Sequence[str] = ()
    weights: Sequence[Path] = ()
    sizes: Sequence[int] = ()
    precisions: Sequence[str] = ()

    def combinations(self, options: RunOptions) -> list[RunOptions]:
        """Return the options of each combination, the precision varying first."""
        encoders: Sequence[str | None] = self.encoders or [options.encoder]
        weights: Sequence[Path | None] = self.weights or [options.weights]
        sizes: Sequence[int | None] = self.sizes or [options.size]
        return [
            replace(options, encoder=encoder, weights=file, size=size, precision=precision)
            for encoder, file, size, precision in product(
                encoders, weights, sizes, self.precisions or [options.precision]
            )
        ]

    def varying(self) -> list[str]:
        """Return the fields of a name that differ between variants."""
        counts = {"encoder": self.encoders, "weights": self.weights, "size": self.sizes, "precision": self.precisions}
        return [name for name, values in counts.items() if len(values) > 1]


def make_variants(options: RunOptions, values: VariantValues, template: str | None) -> list[RunVariant]:
    """Return a variant for each combination of values; by default a name has the fields that differ.

    Raises UsageError for a template that is not one, or under which two variants would have the same names.
    """
    if template is None:
        template = "_".join("{" + name + "}" for name in ("stem", *values.varying()))
    fields = parse_template(template)
    variants = [
        RunVariant(each, OutputName(template, {name: describe_field(name, each) for name in fields - {"stem"}}))
        for each in values.combinations(options)
    ]
    names = [variant.name.variant for variant in variants]
    if len(set(names)) < len(names):
        missing = [name for name in values.varying() if name not in fields]
        hint = f"add {{{missing[0]}}}" if missing else "name each value once"
        raise UsageError(f"--name {template} would give several results the same name", hint)
    return variants


def parse_template(template: str) -> set[str]:
    """Return the fields of a template of names; raise UsageError for one that is not allowed."""
    known = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError:
        raise UsageError(f"--name {template} has a brace without its partner", f"its fields are {known}") from None
    for _, name, spec, conversion in parts:
        if name is not None and (name not in NAME_FIELDS or spec or conversion):
            raise UsageError(f"--name {template} has an unknown field {{{name}}}", f"its fields are {known}")
    if _UNSAFE.search("".join(text for text, *_ in parts)):
        raise UsageError(
            f"--name {template} has a character that no file name may have", "the folder is named apart from it"
        )
    fields = [name for _, name, *_ in parts if name is not None]
    if fields.count("stem") != 1:
        raise UsageError(f"--name {template} must have {{stem}} once", "it is the input's name without its extension")
    return set(fields)


def describe_field(name: str, options: RunOptions) -> str:
    """Return the value of a field of a name; raise UsageError if it is not known before the network is loaded."""
    if name == "encoder" and options.weights is None:
        from dacli.models import registry  # loads torch

        return _UNSAFE.sub("_", registry.choose_model(options.encoder, options.model, None).network_name)
    if name == "precision" and options.precision == "auto":
        from dacli.inference import planning  # loads torch

        return planning.resolve_plan(options.devices[0], "auto", options.engine).precision
    value = getattr(options, name)
    if value is None:
        raise UsageError(f"--name has {{{name}}}, and there is no --{name}", f"give --{name}, or leave {{{name}}} out")
    return _UNSAFE.sub("_", value.stem if isinstance(value, Path) else str(value))
