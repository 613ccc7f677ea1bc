"""dacli bench: measured tables of this machine, and a sheet of one picture seen by several networks."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.cli.console import Voice
from dacli.cli.options import Device, Overwrite, Quiet
from dacli.errors import DacliError, UsageError
from dacli.io import files
from dacli.paths import display_path

if TYPE_CHECKING:
    from dacli.bench.table import BenchSetup

SHEET = (256, 518, 1036)  # sizes of a sheet where none are named

bench_app = typer.Typer()

Encoders = Annotated[str | None, typer.Option("--encoder", metavar="A,B", help="One or several. [default: vits,tiny]")]
Precisions = Annotated[
    str | None,
    typer.Option("--precision", metavar="A,B", help="Of fp32,fp16,bf16,int8. [default: fp32 and what auto takes]"),
]
Engines = Annotated[
    str | None, typer.Option("--engine", metavar="A,B", help="Of torch,openvino. [default: torch and what auto takes]")
]
Sizes = Annotated[
    str | None, typer.Option("--size", metavar="PIXELS", help="Short sides, as 518,1600. [default: each its own]")
]
Against = Annotated[
    bool,
    typer.Option(
        "--against", help="Also the Transformers pipeline, ONNX Runtime and plain OpenVINO, in turns, where installed."
    ),
]
Turns = Annotated[int, typer.Option(min=1, help="How often each is timed, after once to warm up; medians are told.")]
Photo = Annotated[
    Path | None, typer.Option("--sheet", metavar="PHOTO", help="Make a sheet of the photo's depth maps instead.")
]
File = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="FILE.png", help="The sheet. [default: PHOTO_sheet.png]")
]
OneLine = Annotated[bool, typer.Option("--json", help="One JSON object on stdout: machine and results.")]


@bench_app.command("bench", epilog="Example: dacli bench --encoder vits,vitb --size 518,1600 --against --json")
def bench(
    encoder: Encoders = None,
    precision: Precisions = None,
    engine: Engines = None,
    device: Device = "auto",
    size: Sizes = None,
    against: Against = False,
    turns: Turns = 7,
    sheet: Photo = None,
    out: File = None,
    overwrite: Overwrite = False,
    json_: OneLine = False,
    quiet: Quiet = False,
) -> None:
    """Seconds, pictures per second, memory and error on this machine; seeded random weights where none are here."""
    voice = Voice(json_, quiet)
    target = sheet_file(sheet, out, against=against, overwrite=overwrite)
    from dacli.bench import machine, table
    from dacli.cli import options
    from dacli.cli.tables import print_table

    sizes, names = options.parse_sizes(size), options.parse_list
    if sheet is not None and target is not None:
        todo = table.bench_setups(
            names(encoder), names(precision), names(engine), device, sizes if size else list(SHEET)
        )
        raise typer.Exit(make_sheet(todo, sheet, target, turns, voice))
    todo = table.bench_setups(names(encoder), names(precision), names(engine), device, sizes)
    found = list(table.measure_setups(todo, turns, voice, against=against))
    records = [record for group in found for record in group]
    if json_:
        print(table.bench_json(machine.examine_machine(), records))
    elif records:
        print(machine.describe_machine(machine.examine_machine()))
        print_table(table.bench_title(records), records, table.known_scores(records), table.format_bench_score)
    raise typer.Exit(0 if all(found) else 1)


def make_sheet(todo: "Sequence[BenchSetup]", photo: Path, target: Path, turns: int, voice: Voice) -> int:
    """Write a sheet and tell its path; the exit code."""
    from dacli.bench import contact_sheet, machine
    from dacli.io import images

    rgb = images.read_image(photo)
    found = list(contact_sheet.measure_cells(todo, photo, rgb, turns, voice))
    made = [cell for cell in found if cell is not None]
    if not made:
        raise DacliError("nothing could be measured", "each is named above")
    files.write_file(
        target,
        contact_sheet.draw_sheet(made, f"{display_path(photo)}: {machine.describe_machine(machine.examine_machine())}"),
    )
    print(json.dumps({"sheet": str(target)}) if voice.json else target)
    return 0 if len(made) == len(found) else 1


def sheet_file(photo: Path | None, out: Path | None, *, against: bool, overwrite: bool) -> Path | None:
    """Where the sheet goes, if there is to be one; raises UsageError for options that contradict each other."""
    if photo is None:
        if out is not None:
            raise UsageError(f"-o {out} is where a sheet goes, and there is none", "add --sheet PHOTO")
        return None
    if against:
        raise UsageError("--sheet and --against contradict each other", "give one of them")
    target = out or photo.with_name(f"{photo.stem}_sheet.png")
    if target.suffix.lower() != ".png":
        raise UsageError(f"-o {target} is no PNG", "a sheet is one: give FILE.png")
    if target.exists() and not overwrite:
        raise DacliError(f"{display_path(target)} is there already", "--overwrite replaces it")
    return target
