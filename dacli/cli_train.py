"""dacli train: networks taught on rendered scenes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dacli.options import Quiet
from dacli.voice import Voice

train_app = typer.Typer(help="Train networks on rendered scenes.", no_args_is_help=True)


@train_app.command("teacher", epilog="Example: dacli train teacher runs/tiny")
def train_teacher(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Checkpoints, log and weights; training goes on there.")
    ],
    seed: Annotated[int, typer.Option(help="Of the weights and of the scenes.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that render scenes.")] = 2,
    quiet: Quiet = False,
) -> None:
    """Train tiny on rendered scenes; the weights end up in DIR/tiny.safetensors."""
    from dacli.train import teacher

    with Voice(quiet=quiet).bar() as bar:
        shown = bar.add_task("training", total=teacher.STEPS)

        def report(row: dict[str, Any]) -> None:
            bar.update(shown, completed=row["step"], description=f"{row['size']} px, loss {row['loss']:.3f}")

        print(teacher.teach(folder, seed, workers, report))
