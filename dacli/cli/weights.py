"""dacli weights: the checkpoints."""

import sys
from typing import Annotated

import typer

from dacli.cli.console import Voice
from dacli.cli.options import Quiet
from dacli.errors import DacliError
from dacli.weights import checkpoints

weights_app = typer.Typer(help="The checkpoints: list, download, check, find.", no_args_is_help=True)


@weights_app.command("list")
def list_weights() -> None:
    """All checkpoints: name, size, licence and whether they are here."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "MB", "licence", "state", box=None)
    for row in checkpoints.read_manifest():
        size = f"{row.bytes / 1e6:.0f}" if row.bytes else "?"
        table.add_row(row.name, size, row.licence, checkpoints.checkpoint_state(row).state)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@weights_app.command("get")
def get_weights(names: Annotated[list[str], typer.Argument(metavar="NAME...")], quiet: Quiet = False) -> None:
    """Download and check checkpoints; those that are here already are only checked."""
    voice = Voice(quiet=quiet)
    rows = [checkpoints.checkpoint_named(name) for name in names]
    failed = 0
    for row in rows:
        try:
            with voice.download(row.file) as progress:
                print(checkpoints.obtain_checkpoint(row, voice.note, progress))
        except DacliError as error:
            failed += 1
            voice.fault(error)
    raise typer.Exit(1 if failed else 0)


@weights_app.command("verify")
def verify_weights(names: Annotated[list[str] | None, typer.Argument(metavar="[NAME...]")] = None) -> None:
    """Read every byte again and compare; without names, all that are here."""
    rows = [checkpoints.checkpoint_named(name) for name in names] if names else checkpoints.read_manifest()
    bad = 0
    for row in rows:
        standing = checkpoints.verify_checkpoint(row)
        bad += standing.state == "damaged" or (bool(names) and standing.state == "missing")
        if names or standing.state != "missing":
            print(f"{row.name}: {standing.state} {standing.path} {standing.fault}".rstrip())
    raise typer.Exit(1 if bad else 0)


@weights_app.command("path")
def path_of_weights(name: str) -> None:
    """Where a checkpoint is, or where a file fetched by hand belongs (then the exit code is 1)."""
    standing = checkpoints.checkpoint_state(checkpoints.checkpoint_named(name))
    print(standing.path)
    raise typer.Exit(1 if standing.state in ("missing", "damaged") else 0)
