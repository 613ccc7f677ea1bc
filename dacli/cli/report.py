"""dacli report: a page of the outputs below a folder."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from dacli.cli.console import Console
from dacli.cli.options import Json, Quiet


def report(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The output folder of a run, or one above several.")],
    page: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.html", help="[default: OUT/report.html]", rich_help_panel="Output"),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="DIR",
            help="Where the pictures are; by default where the run read them.",
            rich_help_panel="Input",
        ),
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """A page of the outputs below OUT, for a browser, without a server: each picture and its depth, values, points."""
    from dacli.report.writing import write_report

    console = Console(json=json_, quiet=quiet)
    started = time.perf_counter()
    with console.progress_bar() as bar:
        task = bar.add_task("pictures", total=None)
        written = write_report(
            out,
            page or out / "report.html",
            inputs,
            console.note,
            lambda done, of: bar.update(task, completed=done, total=of),
        )
    seconds = time.perf_counter() - started
    if json_:
        row = {"report": str(written.page), "inputs": written.inputs, "failed": written.failed, "made": written.made}
        console.result(json.dumps(row | {"seconds": round(seconds, 3)}))
        return
    console.result(str(written.page))
    console.note(
        f"inputs: {written.inputs}, failed: {written.failed}; pictures made: {written.made}, in {seconds:.1f} s"
    )
