"""What the options of a run ask for: its console, the options of each network, and the names of outputs."""

from typing import TYPE_CHECKING, Any, get_args

from dacli.choices import EncoderName
from dacli.cli.console import Console, open_log
from dacli.cli.options import AlphaChoices, MachineOptions, NetworkOptions, ReportOptions, SharingOptions, ShowOptions
from dacli.cli.values import choose_precisions, parse_batch, parse_devices, parse_names, parse_sizes
from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.batch.naming import RunVariant, VariantValues
    from dacli.batch.options import RunOptions
    from dacli.io.background import AlphaOptions


def open_console(report: ReportOptions) -> Console:
    """Return the console of a command, which logs if the options say so; raise DacliError if the log cannot be."""
    if report.log_file is not None:
        open_log(report.log_file)
    return Console(json=report.json_, quiet=report.quiet)


def run_variants(
    network: NetworkOptions,
    machine: MachineOptions,
    sharing: SharingOptions | None = None,
    *,
    name: str | None = None,
    **further_fields: Any,
) -> "list[RunVariant]":
    """Return the options of each network, size and precision that are named, and the names of their outputs.

    `further_fields` are fields of RunOptions that stay as they are. Raises UsageError for values that are out of range
    or contradict each other.
    """
    from dacli.batch.naming import make_variants

    options, values = parse_run_options(network, machine, sharing, **further_fields)
    return make_variants(options, values, name)


def run_combinations(network: NetworkOptions, machine: MachineOptions, **further_fields: Any) -> "list[RunOptions]":
    """Return the options of each network, size and precision that are named; errors are those of run_variants()."""
    options, values = parse_run_options(network, machine, **further_fields)
    return values.combinations(options)


def parse_run_options(
    network: NetworkOptions, machine: MachineOptions, sharing: SharingOptions | None = None, **further_fields: Any
) -> "tuple[RunOptions, VariantValues]":
    """Return what all runs have in common, and the values in which they may differ."""
    from dacli.batch.naming import VariantValues
    from dacli.batch.options import RunOptions

    encoders = parse_names(network.encoder, "encoder", get_args(EncoderName))
    if network.weights and len(encoders) > 1:
        hint = "leave --encoder out: the file says which encoder it is"
        raise UsageError("several encoders and --weights contradict each other", hint)
    values = VariantValues(
        encoders=encoders,
        weights=network.weights or (),
        sizes=parse_sizes(network.size),
        precisions=choose_precisions(machine.precision, half=machine.fp16),
    )
    options = RunOptions(
        model=network.model,
        devices=[machine.device] if sharing is None else parse_devices(sharing.devices, machine.device),
        batch=1 if sharing is None else parse_batch(sharing.batch),
        **further_fields,
    )
    return options, values


def run_options(
    network: NetworkOptions, machine: MachineOptions, sharing: SharingOptions, **further_fields: Any
) -> "RunOptions":
    """Return the options of a command that runs one network; raise UsageError if several are named."""
    variants = run_variants(network, machine, sharing, **further_fields)
    if len(variants) > 1:
        raise UsageError("this command takes one encoder, size and precision", "start it once for each")
    return variants[0].options


def style_fields(show: ShowOptions) -> dict[str, Any]:
    """Return the fields of RunOptions that say how depth is shown."""
    return {"colormap": show.colormap, "near": show.near, "range": show.range_}


def alpha_options(alpha: AlphaChoices) -> "AlphaOptions":
    """Return what is done with transparent pixels; raise UsageError for a color that does not exist."""
    from dacli.io.background import AlphaOptions, parse_background

    return AlphaOptions(parse_background(alpha.background), mask=alpha.alpha == "mask")
