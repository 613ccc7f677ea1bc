"""dacli image: the depth of single pictures."""

from typing import TYPE_CHECKING

import typer

from dacli.cli.camera_options import CameraOptions
from dacli.cli.console import Console
from dacli.cli.expand import expand_options
from dacli.cli.export_options import ExportChoices
from dacli.cli.filter_options import FilterOptions
from dacli.cli.options import (
    AlphaChoices,
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
from dacli.cli.pipes import PipedPictures, open_pipes, without_results
from dacli.cli.requests import alpha_options, open_console, run_variants, style_fields
from dacli.cli.values import pixel_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dacli.batch.naming import RunVariant
    from dacli.outputs.formats import OutputFormat


@expand_options
def image(
    photos: Photos,
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
    report: ReportOptions,
    out: OutputFolder = None,
    overwrite: Overwrite = False,
) -> None:
    """Depth of one or more pictures; of several networks, sizes or precisions too, each under names of its own."""
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
        alpha=alpha_options(alpha),
        **style_fields(show),
        **filters.run_fields(),
        **camera.run_fields(),
        **export.run_fields(),
    )
    with open_pipes(photos, out, len(kinds) * len(variants)) as piped:
        code = write_pictures(piped, kinds, variants, without_results(console) if piped.to_stdout else console)
        raise typer.Exit(piped.finish(code))


def write_pictures(
    piped: PipedPictures, kinds: "Sequence[OutputFormat]", variants: "Sequence[RunVariant]", console: Console
) -> int:
    """Write the outputs of all variants; return the exit code."""
    from dacli.batch import inputs, jobs
    from dacli.cli.runs import run_image_command

    named, left_out = inputs.exclude_own_outputs(piped.photos, inputs.is_own_picture)
    if left_out:
        console.note(left_out)
    planned = [(jobs.plan_jobs(named, piped.out, kinds, name=each.name), each.options) for each in variants]
    jobs.refuse_shared_outputs(each for each, _ in planned)
    return run_image_command(planned, console)
