"""dacli image: the depth of single pictures."""

import typer

from dacli.cli.console import Console
from dacli.cli.expand import expand_options
from dacli.cli.options import (
    EngineOptions,
    LimitOptions,
    MachineOptions,
    NetworkOptions,
    OutputFolder,
    Overwrite,
    Photos,
    ReportOptions,
    ShowOptions,
    TileOptions,
    run_options,
    style_fields,
)
from dacli.cli.values import pixel_limit


@expand_options
def image(
    photos: Photos,
    limits: LimitOptions,
    network: NetworkOptions,
    tiles: TileOptions,
    show: ShowOptions,
    machine: MachineOptions,
    engine: EngineOptions,
    report: ReportOptions,
    out: OutputFolder = None,
    overwrite: Overwrite = False,
) -> None:
    """Depth of one or more pictures."""
    from dacli.batch import inputs, jobs
    from dacli.outputs import formats

    console = Console(json=report.json_, quiet=report.quiet)
    kinds = formats.parse_formats(show.save)
    options = run_options(
        network,
        machine,
        tile=tiles.tile,
        engine=engine.engine,
        max_pixels=pixel_limit(limits.max_pixels),
        overwrite=overwrite,
        **style_fields(show),
    )
    named, left_out = inputs.exclude_own_outputs(photos, inputs.is_own_picture)
    if left_out:
        console.note(left_out)
    planned = jobs.plan_jobs(named, out, kinds)
    from dacli.cli.runs import run_image_command

    raise typer.Exit(run_image_command(planned, options, console))
