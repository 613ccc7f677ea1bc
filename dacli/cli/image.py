"""dacli image: the depth of single pictures."""

import typer

from dacli.cli.expand import expand_options
from dacli.cli.options import (
    EngineOptions,
    LimitOptions,
    MachineOptions,
    NameOptions,
    NetworkOptions,
    OutputFolder,
    Overwrite,
    Photos,
    ReportOptions,
    ShowOptions,
    TileOptions,
)
from dacli.cli.requests import open_console, run_variants, style_fields
from dacli.cli.values import pixel_limit


@expand_options
def image(
    photos: Photos,
    limits: LimitOptions,
    network: NetworkOptions,
    tiles: TileOptions,
    show: ShowOptions,
    naming: NameOptions,
    machine: MachineOptions,
    engine: EngineOptions,
    report: ReportOptions,
    out: OutputFolder = None,
    overwrite: Overwrite = False,
) -> None:
    """Depth of one or more pictures; of several networks, sizes or precisions too, each under names of its own."""
    from dacli.batch import inputs, jobs
    from dacli.outputs import formats

    console = open_console(report)
    kinds = formats.parse_formats(show.save)
    variants = run_variants(
        network,
        machine,
        name=naming.name,
        tile=tiles.tile,
        engine=engine.engine,
        max_pixels=pixel_limit(limits.max_pixels),
        overwrite=overwrite,
        **style_fields(show),
    )
    named, left_out = inputs.exclude_own_outputs(photos, inputs.is_own_picture)
    if left_out:
        console.note(left_out)
    planned = [(jobs.plan_jobs(named, out, kinds, name=variant.name), variant.options) for variant in variants]
    jobs.refuse_shared_outputs(each for each, _ in planned)
    from dacli.cli.runs import run_image_command

    raise typer.Exit(run_image_command(planned, console))
