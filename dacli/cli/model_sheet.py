"""dacli compare --models: one photo through several models, as one sheet with times and memory."""

from pathlib import Path

from dacli.cli.bench import run_sheet
from dacli.cli.console import Console
from dacli.cli.values import parse_list, parse_sizes
from dacli.errors import DacliError, UsageError
from dacli.paths import display_path


def compare_models(
    photo: Path, models: str, sizes: str | None, out: Path | None, *, overwrite: bool, console: Console
) -> int:
    """Write the sheet of a photo's depth by several models, and its table; return the exit code.

    `models` are names that dacli.load() takes, separated by commas. Raises UsageError for names that do not exist.
    """
    from dacli.api.depth import options_for_model
    from dacli.bench.setups import BenchSetup
    from dacli.inference.planning import resolve_plan
    from dacli.models.registry import choose_model

    target = (out or photo.parent) / f"{photo.stem}_models.png"
    for path in (target, target.with_suffix(".csv")):
        if path.exists() and not overwrite:
            raise DacliError(f"{display_path(path)} exists already", "--overwrite replaces it")
    plan = resolve_plan()
    choices = []
    for name in parse_list(models):
        try:
            options = options_for_model(name)
        except ValueError as error:
            raise UsageError(str(error)) from error
        choices.append(choose_model(options.encoder, options.model, options.weights))
    if not choices:
        raise UsageError("--models names no model", "give names such as vits,tiny,hf:Intel/dpt-large")
    short_sides: list[int | None] = [*parse_sizes(sizes)] or [None]
    setups = [BenchSetup(choice, size, plan, real_weights=True) for choice in choices for size in short_sides]
    return run_sheet(setups, photo, None, target, console)
