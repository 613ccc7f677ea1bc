"""dacli demo: a photo and a rendered scene through the bundled model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dacli.cli.console import Console
from dacli.cli.options import Json, Overwrite


def demo(
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="Output folder.", rich_help_panel="Output")
    ] = Path("dacli-demo"),
    seed: Annotated[int, typer.Option(help="Which scene.", rich_help_panel="Input")] = 10,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Depth of a photo and of a rendered scene by the bundled model, and its accuracy, with no network."""
    from dacli.evaluation import demonstration

    shown = demonstration.run_demonstration(out, seed, overwrite=overwrite)
    console = Console(json=json_)
    if json_:
        console.result(json.dumps(shown.as_json()))
        return
    for path in shown.outputs.values():
        console.result(str(path))
    console.note(f"{shown.scores}")
