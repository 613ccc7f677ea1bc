"""dacli weights: the checkpoints."""

import json
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import dacli
from dacli.cli.completion import complete_checkpoints
from dacli.cli.console import Console, ReportedInterrupt
from dacli.cli.help import GroupedCommand
from dacli.cli.options import Json, Quiet
from dacli.errors import DacliError

BUNDLED_FILE = Path(dacli.__file__).with_name("assets") / "tiny.safetensors"
STATES = {"missing": "not downloaded"}

CheckpointNames = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Names of the list.", autocompletion=complete_checkpoints)
]
OptionalNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Names of the list.", autocompletion=complete_checkpoints),
]
CheckpointName = Annotated[
    str, typer.Argument(metavar="NAME", help="A name of the list.", autocompletion=complete_checkpoints)
]

weights_app = typer.Typer(help="The checkpoints: list, download, check, find.", no_args_is_help=True)


class CheckpointRow(NamedTuple):
    """A row of the list: a checkpoint, its size if known, its licence, its state, and where it is or belongs."""

    name: str
    bytes: int | None
    licence: str
    state: str
    path: str


@weights_app.command("list", cls=GroupedCommand)
def list_weights(json_: Json = False) -> None:
    """All checkpoints: name, size, licence and whether they are here."""
    from dacli.cli.tables import print_columns
    from dacli.weights import checkpoints, manifest

    bundled = CheckpointRow("tiny", BUNDLED_FILE.stat().st_size, "Apache-2.0", "inside the package", str(BUNDLED_FILE))
    rows = [bundled]
    for row in manifest.read_manifest():
        status = checkpoints.checkpoint_status(row)
        state = STATES.get(status.state, status.state)
        rows.append(CheckpointRow(row.name, row.bytes or None, row.licence, state, str(status.path)))
    if json_:
        for each in rows:
            Console().result(json.dumps(each._asdict()))
        return
    texts = [(row.name, f"{row.bytes / 1e6:.0f}" if row.bytes else "?", row.licence, row.state) for row in rows]
    print_columns(("name", "MB", "licence", "state"), texts)


@weights_app.command("get", cls=GroupedCommand)
def get_weights(names: CheckpointNames, quiet: Quiet = False) -> None:
    """Download and check checkpoints; those that are here already are only checked."""
    from dacli.weights import checkpoints, manifest

    console = Console(quiet=quiet)
    rows = [manifest.checkpoint_named(name) for name in names]
    failed = 0
    for row in rows:
        try:
            with console.download(row.file) as progress:
                console.result(str(checkpoints.obtain_checkpoint(row, console.note, progress)))
        except DacliError as error:
            failed += 1
            console.error(error)
        except KeyboardInterrupt as interrupt:
            console.warn(f"interrupted at {row.file}; the same command goes on from there")
            raise ReportedInterrupt from interrupt
    raise typer.Exit(1 if failed else 0)


@weights_app.command("verify", cls=GroupedCommand)
def verify_weights(names: OptionalNames = None) -> None:
    """Read every byte of checkpoints and check their SHA-256; without names, of all that are here."""
    from dacli.weights import checkpoints, manifest

    rows = [manifest.checkpoint_named(name) for name in names] if names else manifest.read_manifest()
    bad = 0
    for row in rows:
        status = checkpoints.verify_checkpoint(row)
        bad += status.state == "damaged" or (bool(names) and status.state == "missing")
        if names or status.state != "missing":
            Console().result(f"{row.name}: {status.state} {status.path} {status.fault}".rstrip())
    if not names and all(checkpoints.checkpoint_status(row).state == "missing" for row in rows):
        Console().note("no checkpoint is downloaded yet: dacli weights get NAME")
    raise typer.Exit(1 if bad else 0)


@weights_app.command("path", cls=GroupedCommand)
def path_of_weights(name: CheckpointName) -> None:
    """Where a checkpoint is, or where a file that you fetch by hand belongs (then the exit code is 1)."""
    from dacli.weights import checkpoints, manifest

    status = checkpoints.checkpoint_status(manifest.checkpoint_named(name))
    Console().result(str(status.path))
    if status.state == "damaged":
        Console().warn(f"{status.path} is damaged: {status.fault}; use dacli weights get {name}")
    if status.state == "missing":
        Console().warn(f"not downloaded yet: use dacli weights get {name}, or put the file there")
    raise typer.Exit(1 if status.state in ("missing", "damaged") else 0)
