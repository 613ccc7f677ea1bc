"""dacli bench: measured tables of this machine, and a sheet of one picture seen by several networks."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.cli.console import Console, ReportedInterrupt
from dacli.cli.expand import expand_options
from dacli.cli.options import DeviceName, Overwrite, Quiet
from dacli.cli.values import parse_list, parse_sizes
from dacli.errors import DacliError, UsageError
from dacli.paths import display_path

if TYPE_CHECKING:
    from dacli.bench.setups import BenchSetup
    from dacli.bench.sheet_files import SheetFiles

SHEET_SIZES = (256, 518, 1036)  # without --size


@dataclass(frozen=True, kw_only=True)
class MeasuredNetworks:
    """What to measure: every encoder at every size, by every engine in every precision."""

    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="A,B", help="One or several. [default: vits,tiny]", rich_help_panel="Model"),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="A,B",
            help="Of v2,v1,indoor,outdoor (hypersim, vkitti),da3,da3-metric, hf:ORG/NAME. [default: v2]",
            rich_help_panel="Model",
        ),
    ] = None
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            "--weights", metavar="FILE", help="Also your own checkpoint; repeatable.", rich_help_panel="Model"
        ),
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
            help="Of torch,openvino,onnxruntime. [default: torch and what auto takes]",
            rich_help_panel="Machine",
        ),
    ] = None
    device: DeviceName = "auto"

    def setups(self, sizes: Sequence[int | None]) -> "list[BenchSetup]":
        """Return what is to be measured; `sizes` count where no size is named."""
        from dacli.bench.setups import BenchValues

        values = BenchValues(
            encoders=parse_list(self.encoder),
            models=parse_list(self.model),
            weights=self.weights or (),
            precisions=parse_list(self.precision),
            engines=parse_list(self.engine),
            device=self.device,
            sizes=parse_sizes(self.size) or sizes,
        )
        return values.setups()


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
            help="Make a sheet of the photo's depth maps instead, each timed once.",
            rich_help_panel="Output",
        ),
    ] = None
    crop: Annotated[
        str | None,
        typer.Option(
            metavar="X,Y,WIDTH,HEIGHT",
            help="Show this part of the sheet's photo large below each map, in pixels of the photo.",
            rich_help_panel="Output",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.png",
            help="The sheet; its table is FILE.csv. [default: PHOTO_sheet.png]",
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
    target = sheet_file(options, overwrite=overwrite)
    if options.sheet is not None and target is not None:
        todo = networks.setups(SHEET_SIZES)
        raise typer.Exit(run_sheet(todo, options.sheet, options.crop, target, console))
    raise typer.Exit(run_table(networks, options, console))


def run_table(networks: MeasuredNetworks, options: BenchOptions, console: Console) -> int:
    """Print the table of measurements; return the exit code."""
    from dacli.bench import machine, table
    from dacli.cli.tables import print_table

    todo = networks.setups([None])
    found = list(table.measure_setups(todo, options.turns, console, against=options.against))
    records = [record for group in found for record in group]
    if console.json:
        console.result(table.bench_json(machine.examine_machine(), records))
    elif records:
        console.result(machine.describe_machine(machine.examine_machine()))
        print_table(table.bench_title(records), records, table.known_scores(records), table.format_bench_score)
    return 0 if all(found) else 1


def run_sheet(todo: "list[BenchSetup]", path: Path, crop: str | None, target: Path, console: Console) -> int:
    """Write a sheet and its table, print them, and return the exit code; an interrupt keeps what is done."""
    from dacli.bench import contact_sheet, sheet_files

    photo = sheet_files.read_photo(path, crop)
    sheet = sheet_files.SheetFiles(target, photo)
    with contextlib.closing(contact_sheet.measure_cells(todo, photo, console)) as cells:
        try:
            for cell in cells:
                sheet.add(cell)
        except KeyboardInterrupt as interrupt:
            kept = f", which are in {display_path(target)}" if sheet.cells else ""
            console.warn(f"interrupted after {len(sheet.cells)} of {len(todo)} maps{kept}")
            raise ReportedInterrupt from interrupt
        finally:
            sheet.save()
    if not sheet.cells:
        raise DacliError("nothing could be measured", "the lines above say why")
    print_sheet(sheet, console)
    return 0 if len(sheet.cells) == len(todo) else 1


def print_sheet(sheet: "SheetFiles", console: Console) -> None:
    """Print the table of a sheet and the path of its picture."""
    from dacli.bench import machine, table
    from dacli.cli.tables import print_table

    if console.json:
        row = {"sheet": str(sheet.target)} | json.loads(table.bench_json(machine.examine_machine(), sheet.records))
        console.result(json.dumps(row))
        return
    if not console.quiet:
        print_table(sheet.title, sheet.records, table.known_scores(sheet.records), table.format_bench_score)
    console.result(str(sheet.target))


def sheet_file(options: BenchOptions, *, overwrite: bool) -> Path | None:
    """Return the path of the sheet, if there is one; raise UsageError for options that do not go together."""
    if options.sheet is None:
        for name, value in (("-o", options.out), ("--crop", options.crop)):
            if value is not None:
                raise UsageError(f"{name} {value} is of a sheet, and no sheet is asked for", "add --sheet PHOTO")
        return None
    if options.against:
        raise UsageError("--sheet and --against contradict each other", "give one of them")
    target = options.out or options.sheet.with_name(f"{options.sheet.stem}_sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"-o {target} is not a PNG", "a sheet is a PNG: give FILE.png")
    for path in (target, target.with_suffix(".csv")):
        if path.exists() and not overwrite:
            raise DacliError(f"{display_path(path)} exists already", "--overwrite replaces it")
    return target
