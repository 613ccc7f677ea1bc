"""dacli export: networks as files for other programs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from dacli.choices import EncoderName
from dacli.cli.console import Console
from dacli.cli.expand import expand_options
from dacli.cli.help import GroupedCommand
from dacli.cli.options import Json, NetworkOptions, Overwrite, Quiet
from dacli.cli.values import parse_names, parse_ratio, parse_sizes
from dacli.errors import DacliError, UsageError
from dacli.paths import display_path

if TYPE_CHECKING:
    from dacli.models.choice import ModelChoice, OpenModel

export_app = typer.Typer(help="Networks as files for other programs: onnx.", no_args_is_help=True)


@export_app.callback()
def export_options() -> None:
    """Networks as files for other programs."""


@export_app.command(
    "onnx",
    cls=GroupedCommand,
    short_help="a network as an ONNX file",
    epilog="Example: dacli export onnx --encoder tiny --ratio 16:9 -o tiny.onnx",
)
@expand_options
def export_onnx(
    network: NetworkOptions,
    ratio: Annotated[
        str,
        typer.Option(metavar="W:H", help="Shape of the pictures, for the fixed size.", rich_help_panel="Model"),
    ] = "1:1",
    dynamic: Annotated[
        bool,
        typer.Option("--dynamic", help="Any size and any number of pictures, not one fixed.", rich_help_panel="Model"),
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Weights and arithmetic in half precision.", rich_help_panel="Model")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE.onnx", help="[default: named by its model]", rich_help_panel="Output"
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """A network as an ONNX file: in goes RGB in 0 to 1, the graph normalises it, out comes depth at the same size."""
    from dacli.inference import onnx_export
    from dacli.io import files
    from dacli.models import provenance, registry

    choice, short_side = one_network(network)
    if dynamic and (network.size or ratio != "1:1"):
        raise UsageError("--dynamic and a fixed size contradict each other", "leave --size and --ratio out")
    width, height = parse_ratio(ratio)
    onnx_export.import_onnx()
    if out is not None:
        refuse_target(out, overwrite=overwrite)
    console = Console(quiet=quiet, json=json_)
    opened = registry.open_model(choice, half=False, log=console.note, progress=console.download)
    spec = opened.network.spec
    size = None if dynamic else spec.input_size(height, width, short_side or spec.native_size)
    target = out or Path(default_name(opened, size, half=fp16))
    refuse_target(target, overwrite=overwrite)
    licence, sha256 = provenance.licence_and_sha256(choice, opened)
    about = onnx_export.describe_export(spec, size)
    about |= {"encoder": opened.encoder, "model": opened.model, "licence": licence, "weights_sha256": sha256}
    files.write_file(target, onnx_export.build_onnx(opened.network, size, half=fp16, metadata=about))
    if json_:
        console.result(json.dumps({"file": str(target)} | about))
        return
    sides = f"sides that are multiples of {spec.multiple}" if size is None else f"{size[0]} × {size[1]} pixels"
    console.note(f"{opened.encoder} {spec.quantity}, {sides}, {'fp16' if fp16 else 'fp32'}; licence {licence}")
    console.result(str(target))


def one_network(network: NetworkOptions) -> "tuple[ModelChoice, int | None]":
    """Return the one network and the short side that options name; raise UsageError if they name several."""
    from dacli.models import registry

    encoders: list[str | None] = [*parse_names(network.encoder, "encoder", get_args(EncoderName))] or [None]
    weights: list[Path | None] = [*(network.weights or [])] or [None]
    sizes: list[int | None] = [*parse_sizes(network.size)] or [None]
    if len(encoders) * len(weights) * len(sizes) > 1:
        raise UsageError("this command takes one encoder, size and file of weights", "start it once for each")
    return registry.choose_model(encoders[0], network.model, weights[0]), sizes[0]


def refuse_target(target: Path, *, overwrite: bool) -> None:
    """Raise DacliError for a file that exists already, or whose folder cannot be written."""
    from dacli.io import files

    if target.is_dir():
        raise DacliError(f"{display_path(target)} is a folder", "-o takes the name of a file")
    if target.exists() and not overwrite:
        raise DacliError(f"{display_path(target)} exists already", "--overwrite replaces it")
    if fault := files.folder_fault(target.parent):
        raise fault


def default_name(opened: "OpenModel", size: tuple[int, int] | None, *, half: bool) -> str:
    """Return the name of a file from what it holds, such as vits-indoor-518x518-fp16.onnx."""
    model = opened.model if opened.model not in ("v2", opened.encoder) else ""
    parts = (
        opened.encoder,
        model.replace(" ", "-"),
        f"{size[0]}x{size[1]}" if size else "dynamic",
        "fp16" if half else "",
    )
    return f"{'-'.join(filter(None, parts))}.onnx"
