"""dacli image: the depth of single pictures."""

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
    merge_exposures: Annotated[
        bool,
        typer.Option(
            "--merge-exposures",
            help="The pictures are exposures of one view: merge them into one, with the name of the first.",
            rich_help_panel="Input",
        ),
    ] = False,
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
        shown = without_results(console) if piped.to_stdout else console
        code = write_pictures(piped, kinds, variants, shown, merge=merge_exposures)
        raise typer.Exit(piped.finish(code))


def write_pictures(
    piped: PipedPictures,
    kinds: "Sequence[OutputFormat]",
    variants: "Sequence[RunVariant]",
    console: Console,
    *,
    merge: bool,
) -> int:
    """Write the outputs of all variants, of one picture if all are merged; return the exit code."""
    from dacli.batch import inputs, jobs
    from dacli.cli.runs import run_image_command

    named, left_out = inputs.exclude_own_outputs(piped.photos, inputs.is_own_picture)
    if left_out:
        console.note(left_out)
    sources = named[:1] if merge else named
    planned = [(jobs.plan_jobs(sources, piped.out, kinds, name=each.name), each.options) for each in variants]
    if merge:
        planned = [(jobs.add_exposures(each, named[1:]), options) for each, options in planned]
    jobs.refuse_shared_outputs(each for each, _ in planned)
    return run_image_command(planned, console)
