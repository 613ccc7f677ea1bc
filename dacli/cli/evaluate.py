"""dacli eval, compare and scenes: how right networks are, how far two runs differ, and pictures with known depth."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.choices import AlignmentName, CropName
from dacli.cli.console import Console
from dacli.cli.expand import expand_options
from dacli.cli.options import (
    DepthUnitText,
    EngineOptions,
    FolderTarget,
    Json,
    MachineOptions,
    NetworkOptions,
    Overwrite,
    Quiet,
)
from dacli.cli.requests import run_combinations
from dacli.cli.values import parse_list, parse_names
from dacli.errors import DacliError, UsageError

if TYPE_CHECKING:
    from dacli.scenes.export import SceneRequest

ResultFolder = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="DIR", help="Write CSV, JSON and a picture there.", rich_help_panel="Output"),
]
EvaluationArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[DATA]",
        help="da2k (fetched), DA-2K.zip or its folder; a folder of dacli scenes, Hypersim or Virtual KITTI 2; or lines "
        "of picture, tab, depth. [default: rendered scenes]",
    ),
]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The data to evaluate on, and how depth is aligned to the truth."""

    align: Annotated[
        AlignmentName | None,
        typer.Option(help="Fit of inverse depth. [default: affine; in metres none]", rich_help_panel="Input"),
    ] = None
    unit: DepthUnitText = None
    min_depth: Annotated[
        float | None,
        typer.Option("--min-depth", metavar="METRES", help="Nearer depth does not count.", rich_help_panel="Input"),
    ] = None
    max_depth: Annotated[
        float | None,
        typer.Option("--max-depth", metavar="METRES", help="Farther depth does not count.", rich_help_panel="Input"),
    ] = None
    crop: Annotated[
        CropName,
        typer.Option(help="Only the part of a picture that papers on KITTI evaluate.", rich_help_panel="Input"),
    ] = "none"
    scenes: Annotated[
        int, typer.Option(min=1, help="Number of rendered scenes, without DATA.", rich_help_panel="Input")
    ] = 256
    seed: Annotated[
        int, typer.Option(min=0, help="The stream of scenes; training uses others.", rich_help_panel="Input")
    ] = 4242


@expand_options
def evaluate(
    data_options: DataOptions,
    network: NetworkOptions,
    machine: MachineOptions,
    engine: EngineOptions,
    data: EvaluationArgument = None,
    out: ResultFolder = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy of one or several networks on DA-2K, on pictures with known depth, or on rendered scenes."""
    from dacli.cli.tables import print_table
    from dacli.evaluation import sweeps, tables
    from dacli.io import depth_files
    from dacli.weights import manifest

    console = Console(json=json_, quiet=quiet)
    step = depth_files.parse_depth_unit(data_options.unit)
    todo = [sweeps.evaluation_setup(options) for options in run_combinations(network, machine, engine=engine.engine)]
    kind = manifest.MODEL_ALIASES.get(network.model, network.model)
    how = sweeps.choose_alignment(data_options.align, kind)
    area = sweeps.choose_area(data_options.min_depth, data_options.max_depth, data_options.crop, data, step)
    sweeps.refuse_existing_files(out, list(sweeps.EVALUATION_FILES.values()), overwrite=overwrite)
    evaluation_data = (
        sweeps.rendered_data(data_options.scenes, data_options.seed, how, kind)
        if data is None
        else sweeps.open_evaluation_data(data, how, step, area, console)
    )
    results = []
    for result in sweeps.evaluate_setups(todo, evaluation_data, how, console):
        results.append(result)
        if json_:
            console.result(tables.record_json(result.record))
    records = [result.record for result in results]
    title = sweeps.evaluation_title(evaluation_data, how)
    if not json_:
        print_table(title, records, sweeps.score_names(records), tables.format_score)
    if out is not None:
        report_files(sweeps.save_evaluation(out, results, title), console)
    raise typer.Exit(0 if all(result.complete for result in results) else 1)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Output folder of a run, with npy or png16; or a photo.")],
    b: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Output folder of another run over the same pictures.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Make a sheet of these models on the photo A: vits,vitl-indoor,tiny,hf:Intel/dpt-large, or files.",
            rich_help_panel="Model",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Sizes of these models: 518,1036. [default: what each was trained at]",
            rich_help_panel="Model",
        ),
    ] = None,
    align: Annotated[AlignmentName, typer.Option(help="Fit of B to A.", rich_help_panel="Input")] = "affine",
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The folder that both runs took; the sheet of -o shows it.", rich_help_panel="Input"
        ),
    ] = None,
    out: ResultFolder = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """How much the depths of two runs over the same pictures differ, and where; or several models on one photo."""
    console = Console(json=json_, quiet=quiet)
    if models is not None:
        from dacli.cli.model_sheet import compare_models

        if b is not None or photos is not None:
            raise UsageError("--models takes one photo", "leave the second folder and --photos out")
        raise typer.Exit(compare_models(a, models, size, out, overwrite=overwrite, console=console))
    if b is None or size is not None:
        raise UsageError(
            "a second folder is missing" if b is None else "--size is for --models", "see dacli compare --help"
        )
    compare_runs(a, b, align, photos, out, overwrite=overwrite, console=console)


def compare_runs(
    a: Path,
    b: Path,
    align: AlignmentName,
    photos: Path | None,
    out: Path | None,
    *,
    overwrite: bool,
    console: Console,
) -> None:
    """Print how much two runs differ, and write the sheet of it if there is a folder for it."""
    from dacli.cli.tables import print_table
    from dacli.evaluation import compared_files, comparison, comparison_sheet, sweeps, tables

    if photos is not None and out is None:
        raise UsageError("--photos is for the sheet, which only -o writes", "give -o DIR, or leave --photos out")
    sweeps.refuse_existing_files(out, list(comparison_sheet.COMPARISON_FILES.values()), overwrite=overwrite)
    first, second = compared_files.find_depth_outputs(a), compared_files.find_depth_outputs(b)
    names, lacking = comparison.pair_outputs(first, second)
    shown = {} if out is None else comparison_sheet.find_photos(names, photos, (a, b))
    for line in lacking:
        console.warn(line)
    found, errors = comparison.compare_outputs(names, first, second, align)
    for error in errors:
        console.error(error)
    if not found:
        raise DacliError("no picture could be compared", "the lines above say why")
    for record in comparison.score_records(found) if console.json else ():
        console.result(tables.record_json(record))
    if not console.json:
        print_table(
            comparison.comparison_title(align),
            comparison.comparison_rows(found),
            comparison.COMPARISON_SCORES,
            comparison.format_difference,
        )
    if out is not None:
        sides = comparison_sheet.column_names(a, b)
        sheet = comparison_sheet.ComparisonSheet(first, second, sides, align, shown)
        report_files(comparison_sheet.save_comparison(out, found, sheet), console)
        if not shown:
            console.note("the sheet has no photos: --photos DIR names the folder that both runs took")
    raise typer.Exit(1 if lacking or errors else 0)


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """The scenes to render, and what is written."""

    seed: Annotated[int, typer.Option(min=0, help="The stream of scenes.", rich_help_panel="Input")] = 1
    width: Annotated[int, typer.Option(metavar="PIXELS", help="Of the pictures.", rich_help_panel="Output")] = 640
    height: Annotated[int, typer.Option(metavar="PIXELS", help="Of the pictures.", rich_help_panel="Output")] = 480
    save: Annotated[
        str, typer.Option(metavar="KINDS", help="Depth as npy, png16 or both, in metres.", rich_help_panel="Output")
    ] = "npy"
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KINDS",
            help="Only rooms, streets, landscapes, close-ups, from-above, near-and-far, upwards, through-frames or "
            "gatherings; several: rooms,streets. [default: all]",
            rich_help_panel="Input",
        ),
    ] = None
    clip: Annotated[
        str | None,
        typer.Option(
            "--clip",
            metavar="MOTION",
            help="Clips: still, pan, dolly, truck, hand-held or passer.",
            rich_help_panel="Input",
        ),
    ] = None
    frames: Annotated[int, typer.Option(min=1, help="Of a clip.", rich_help_panel="Input")] = 60
    fps: Annotated[float, typer.Option(help="Frames per second of a clip.", rich_help_panel="Input")] = 30.0


@expand_options
def scenes(
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many scenes, or clips.")],
    out: FolderTarget,
    options: SceneOptions,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Rendered pictures with exact depth, intrinsics and camera; clips as one folder of frames each."""
    from dacli.scenes import export, kinds

    console = Console(json=json_, quiet=quiet)
    order = scene_request(options)
    export.check_scene_request(order)
    if options.kind is None and str(out) in kinds.SCENE_KINDS:
        console.note(f"{out} is the output folder, scenes are of all kinds: --kind {out} renders only {out}")
    with console.progress_bar() as bar:
        task = bar.add_task("scenes", total=count * order.frames)
        for index in range(count):
            written = []
            for path in export.write_scene(out, order, index, overwrite=overwrite):
                written.append(str(path))
                if not json_:
                    console.result(str(path))
                bar.advance(task)
            if json_:
                known = {"scene": index, "seed": options.seed, "kind": order.scene_kind(index)}
                console.result(json.dumps(known | {"pictures": written}))


def scene_request(options: SceneOptions) -> "SceneRequest":
    """Return the request that options make; raise UsageError for kinds of scenes that do not exist."""
    from dacli.scenes.export import SceneRequest
    from dacli.scenes.kinds import SCENE_KINDS

    names = parse_names(options.kind, "kind", list(SCENE_KINDS))
    if options.kind is not None and not names:
        raise UsageError("--kind names no kind of scene", f"give any of {','.join(SCENE_KINDS)}")
    return SceneRequest(
        options.seed,
        (options.height, options.width),
        parse_list(options.save),
        options.clip,
        options.frames if options.clip else 1,
        options.fps,
        names,
    )


def report_files(paths: Sequence[Path], console: Console) -> None:
    """Print the files that were written."""
    for path in paths:
        console.note(f"wrote {path}")
