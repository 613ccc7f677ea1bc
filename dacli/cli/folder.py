"""dacli folder: the depth of every picture below a folder."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.cli.camera_options import CameraOptions
from dacli.cli.console import Console
from dacli.cli.expand import expand_options
from dacli.cli.export_options import ExportChoices
from dacli.cli.filter_options import FilterOptions
from dacli.cli.options import (
    AlphaChoices,
    EngineOptions,
    FolderSource,
    FolderTarget,
    LimitOptions,
    MachineOptions,
    NameOptions,
    NetworkOptions,
    Overwrite,
    ReportOptions,
    SelectionOptions,
    SharingOptions,
    ShowOptions,
    TileOptions,
)
from dacli.cli.requests import alpha_options, open_console, run_variants, style_fields
from dacli.cli.values import parse_shard, pixel_limit
from dacli.errors import DacliError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dacli.batch.folder import FolderOptions
    from dacli.batch.naming import RunVariant
    from dacli.batch.options import RunOptions
    from dacli.outputs.formats import OutputFormat


@expand_options
def folder(
    source: FolderSource,
    out: FolderTarget,
    selection: SelectionOptions,
    limits: LimitOptions,
    alpha: AlphaChoices,
    network: NetworkOptions,
    tiles: TileOptions,
    show: ShowOptions,
    filters: FilterOptions,
    camera: CameraOptions,
    export: ExportChoices,
    naming: NameOptions,
    machine: MachineOptions,
    engine: EngineOptions,
    sharing: SharingOptions,
    report: ReportOptions,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan, its size and time, and do nothing.", rich_help_panel="Run"),
    ] = False,
) -> None:
    """Depth of every picture below IN, in the same tree below OUT; a second run goes on where the last one ended."""
    from dacli.outputs import formats

    console = open_console(report)
    kinds = formats.parse_formats(show.save)
    variants = run_variants(
        network,
        machine,
        sharing,
        name=naming.name,
        tile=tiles.tile,
        engine=engine.engine,
        max_pixels=pixel_limit(limits.max_pixels),
        overwrite=overwrite,
        alpha=alpha_options(alpha),
        **style_fields(show),
        **filters.run_fields(),
        **camera.run_fields(),
        **export.run_fields(),
    )
    planned = plan_folder_runs(source, out, selection, kinds, variants, console)
    from dacli.cli import runs

    if dry_run:
        for folder_run, options in planned:
            runs.show_folder_plan(folder_run.jobs, out, options, console)
        raise typer.Exit(runs.report_unwritable(out, console))
    raise typer.Exit(runs.run_folder_command(planned, console, selection.shard_text()))


def plan_folder_runs(
    source: str,
    out: Path,
    selection: SelectionOptions,
    kinds: "Sequence[OutputFormat]",
    variants: "Sequence[RunVariant]",
    console: Console,
) -> "list[tuple[FolderOptions, RunOptions]]":
    """Return the jobs of a folder, or of this machine's part of it, for each variant of its outputs.

    Raises DacliError if the folder has no pictures.
    """
    from dacli.batch import inputs, jobs
    from dacli.batch.folder import FolderOptions

    index, count, why = parse_shard(selection.shard, os.environ)
    gathered = inputs.gather_inputs(source, out, selection.include or (), selection.exclude or ())
    planned = [jobs.plan_jobs(gathered.files, out, kinds, root=gathered.root, name=each.name) for each in variants]
    left_out = gathered.left_out.describe()
    if not gathered.files:
        hint = "check the path, --include and --exclude"
        raise DacliError(f"no pictures in {source}", f"it holds {left_out}" if left_out else hint)
    jobs.refuse_shared_outputs(planned)
    if line := gathered.left_out.describe_line():
        console.note(line)
    if why:
        console.warn(why)
    sources = {job.key: job.source for each in planned for job in each}
    return [
        (
            FolderOptions(jobs.select_shard(each, index, count), sources, out, only_failed=selection.retry_failed),
            variant.options,
        )
        for each, variant in zip(planned, variants, strict=True)
    ]
