"""dacli bench: measured tables of this machine, and a sheet of one picture seen by several networks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.cli.console import Console
from dacli.cli.expand import expand_options
from dacli.cli.options import DeviceName, Overwrite, Quiet
from dacli.cli.values import parse_list, parse_sizes
from dacli.errors import DacliError, UsageError
from dacli.paths import display_path

if TYPE_CHECKING:
    from dacli.bench.table import BenchSetup

SHEET_SIZES = (256, 518, 1036)  # without --size


@dataclass(frozen=True, kw_only=True)
class MeasuredNetworks:
    """What to measure: every encoder at every size, by every engine in every precision."""

    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="A,B", help="One or several. [default: vits,tiny]", rich_help_panel="Model"),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="PIXELS",
            help="Short sides, as 518,1600. [default: what each was trained at]",
            rich_help_panel="Model",
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="A,B",
            help="Of fp32,fp16,bf16,int8. [default: fp32 and what auto takes]",
            rich_help_panel="Machine",
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="A,B",
            help="Of torch,openvino. [default: torch and what auto takes]",
            rich_help_panel="Machine",
        ),
    ] = None
    device: DeviceName = "auto"


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """How to measure, and what to write."""

    against: Annotated[
        bool,
        typer.Option(
            "--against",
            help="Also the Transformers pipeline, ONNX Runtime and plain OpenVINO, alternating, where installed.",
            rich_help_panel="Run",
        ),
    ] = False
    turns: Annotated[
        int,
        typer.Option(
            min=1, help="How often each is timed, after once to warm up; the table has medians.", rich_help_panel="Run"
        ),
    ] = 7
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="PHOTO",
            help="Make a sheet of the photo's depth maps instead.",
            rich_help_panel="Output",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.png",
            help="The sheet. [default: PHOTO_sheet.png]",
            rich_help_panel="Output",
        ),
    ] = None


@expand_options
def bench(
    networks: MeasuredNetworks,
    options: BenchOptions,
    overwrite: Overwrite = False,
    json_: Annotated[
        bool,
        typer.Option("--json", help="One JSON object on stdout: machine and results.", rich_help_panel="Run"),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Seconds, pictures per second, memory and error on this machine; seeded random weights where none are here."""
    console = Console(json=json_, quiet=quiet)
    sheet = options.sheet
    target = sheet_file(sheet, options.out, against=options.against, overwrite=overwrite)
    from dacli.bench import machine, table
    from dacli.cli.tables import print_table

    sizes = parse_sizes(networks.size)
    todo = table.bench_setups(
        parse_list(networks.encoder),
        parse_list(networks.precision),
        parse_list(networks.engine),
        networks.device,
        list(SHEET_SIZES) if sheet is not None and networks.size is None else sizes,
    )
    if sheet is not None and target is not None:
        raise typer.Exit(make_sheet(todo, sheet, target, options.turns, console))
    found = list(table.measure_setups(todo, options.turns, console, against=options.against))
    records = [record for group in found for record in group]
    if json_:
        print(table.bench_json(machine.examine_machine(), records))
    elif records:
        print(machine.describe_machine(machine.examine_machine()))
        print_table(table.bench_title(records), records, table.known_scores(records), table.format_bench_score)
    raise typer.Exit(0 if all(found) else 1)


def make_sheet(todo: "Sequence[BenchSetup]", photo: Path, target: Path, turns: int, console: Console) -> int:
    """Write a sheet and print its path; return the exit code."""
    from dacli.bench import contact_sheet, machine
    from dacli.io import files, images

    rgb = images.read_image(photo)
    found = list(contact_sheet.measure_cells(todo, photo, rgb, turns, console))
    made = [cell for cell in found if cell is not None]
    if not made:
        raise DacliError("nothing could be measured", "the lines above say why")
    files.write_file(
        target,
        contact_sheet.draw_sheet(made, f"{display_path(photo)}: {machine.describe_machine(machine.examine_machine())}"),
    )
    print(json.dumps({"sheet": str(target)}) if console.json else target)
    return 0 if len(made) == len(found) else 1


def sheet_file(photo: Path | None, out: Path | None, *, against: bool, overwrite: bool) -> Path | None:
    """Return the path of the sheet, if there is one; raise UsageError for options that do not go together."""
    if photo is None:
        if out is not None:
            raise UsageError(f"-o {out} is the file of a sheet, and no sheet is asked for", "add --sheet PHOTO")
        return None
    if against:
        raise UsageError("--sheet and --against contradict each other", "give one of them")
    target = out or photo.with_name(f"{photo.stem}_sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"-o {target} is not a PNG", "a sheet is a PNG: give FILE.png")
    if target.exists() and not overwrite:
        raise DacliError(f"{display_path(target)} exists already", "--overwrite replaces it")
    return target
