"""dacli eval, compare and scenes: how right networks are, how far two runs differ, and pictures with known depth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dacli.cli.console import Voice
from dacli.cli.options import DepthUnit, Device, EngineName, Json, Model, Overwrite, Quiet, Target
from dacli.errors import DacliError, UsageError

judge_app = typer.Typer()

Folder = Annotated[Path | None, typer.Option("-o", "--out", metavar="DIR", help="Write CSV, JSON and a picture there.")]
Judged = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="da2k (fetched), DA-2K.zip or its folder; a folder of dacli scenes, Hypersim or Virtual KITTI 2; or lines "
        "of picture, tab, depth. [default: rendered scenes]",
    ),
]
Encoders = Annotated[str | None, typer.Option("--encoder", metavar="A,B", help="One or several, as tiny,vits.")]
Files = Annotated[list[Path] | None, typer.Option("--weights", metavar="FILE", help="An own checkpoint; repeatable.")]
Sizes = Annotated[
    str | None, typer.Option("--size", metavar="PIXELS", help="Short sides of what the network sees, as 256,518.")
]
Precisions = Annotated[str, typer.Option("--precision", help="One or several of auto,fp32,fp16,bf16,int8.")]
Align = Annotated[
    str | None,
    typer.Option(help="Fit of inverse depth: none, median, scale, affine. [default: affine; in metres none]"),
]
Motion = Annotated[
    str | None, typer.Option("--clip", metavar="MOTION", help="still, pan, dolly, truck, hand-held or passer.")
]


@judge_app.command("eval", epilog="Example: dacli eval da2k --encoder vits,vitb --precision fp32,bf16 -o scores")
def evaluate(
    data: Judged = None,
    encoder: Encoders = None,
    model: Model = "v2",
    weights: Files = None,
    size: Sizes = None,
    precision: Precisions = "auto",
    device: Device = "auto",
    engine: EngineName = "auto",
    align: Align = None,
    unit: DepthUnit = None,
    scenes: Annotated[int, typer.Option(min=1, help="How many, where DATA is left out.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="The stream of scenes; training uses others.")] = 4242,
    out: Folder = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy of one or several networks on DA-2K, on pictures with known depth, or on rendered scenes."""
    from dacli.cli import options
    from dacli.cli.tables import print_table
    from dacli.evaluation import sweeps, tables
    from dacli.io import depth_files
    from dacli.weights import checkpoints

    voice = Voice(json_, quiet)
    sizes, step = options.parse_sizes(size), depth_files.parse_depth_unit(unit)
    choices = sweeps.choose_networks(options.parse_list(encoder), model, weights or ())
    kind = checkpoints.MODEL_ALIASES.get(model, model)
    how = sweeps.choose_alignment(align, kind)
    todo = sweeps.evaluation_setups(choices, sizes, options.parse_list(precision), device, engine)
    sweeps.check_not_there(out, list(sweeps.EVALUATION_FILES.values()), overwrite=overwrite)
    judged_on = (
        sweeps.rendered_data(scenes, seed, how, kind)
        if data is None
        else sweeps.open_evaluation_data(data, how, step, voice)
    )
    records, whole = [], True
    for record, complete in sweeps.evaluate_setups(todo, judged_on, how, voice):
        records.append(record)
        whole = whole and complete
        if json_:
            voice.result(tables.record_json(record))
    title = sweeps.evaluation_title(judged_on, how)
    if not json_:
        print_table(title, records, sweeps.score_names(records), tables.format_score)
    if out is not None:
        tell(sweeps.save_evaluation(out, records, title), voice)
    raise typer.Exit(0 if whole else 1)


@judge_app.command(epilog="Example: dacli compare out-fp32 out-bf16 --align none -o differences")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Output folder of a run, with npy or png16.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="That of another run over the same pictures.")],
    align: Annotated[str, typer.Option(help="Fit of B to A: none, median, scale or affine.")] = "affine",
    out: Folder = None,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """How much the depths of two runs over the same pictures differ, and where."""
    from dacli.cli.tables import print_table
    from dacli.evaluation import accuracy, comparison, sweeps, tables

    voice = Voice(json_, quiet)
    if align not in accuracy.ALIGNMENTS:
        raise UsageError(f"--align {align} is no alignment", f"choose one of {', '.join(accuracy.ALIGNMENTS)}")
    sweeps.check_not_there(out, list(comparison.COMPARISON_FILES.values()), overwrite=overwrite)
    first, second = comparison.find_depth_outputs(a), comparison.find_depth_outputs(b)
    names, lacking = comparison.pair_outputs(first, second)
    for line in lacking:
        voice.insist(line)
    found, faults = comparison.compare_outputs(names, first, second, align)
    for fault in faults:
        voice.fault(fault)
    if not found:
        raise DacliError("no picture could be compared", "each is named above")
    for record in comparison.score_records(found) if json_ else ():
        voice.result(tables.record_json(record))
    if not json_:
        print_table(
            comparison.comparison_title(align),
            comparison.comparison_rows(found),
            comparison.COMPARISON_SCORES,
            comparison.format_difference,
        )
    if out is not None:
        tell(comparison.save_comparison(out, found, first, second, align), voice)
    raise typer.Exit(1 if lacking or faults else 0)


@judge_app.command(epilog="Example: dacli scenes 100 rooms --seed 7 --save npy,png16")
def scenes(
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many scenes, or clips.")],
    out: Target,
    seed: Annotated[int, typer.Option(min=0, help="The stream of scenes.")] = 1,
    width: Annotated[int, typer.Option(metavar="PIXELS", help="Of the pictures.")] = 640,
    height: Annotated[int, typer.Option(metavar="PIXELS", help="Of the pictures.")] = 480,
    save: Annotated[str, typer.Option(help="Depth as npy, png16 or both, in metres.")] = "npy",
    clip: Motion = None,
    frames: Annotated[int, typer.Option(min=1, help="Of a clip.")] = 60,
    fps: Annotated[float, typer.Option(help="Frames per second of a clip.")] = 30.0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Rendered pictures with exact depth, intrinsics and camera; clips as one folder of frames each."""
    from dacli.cli import options
    from dacli.scenes import export

    voice = Voice(quiet=quiet)
    kinds = options.parse_list(save)
    order = export.SceneOrder(seed, (height, width), kinds, clip, frames if clip else 1, fps)
    export.check_scene_order(order)
    with voice.bar() as bar:
        task = bar.add_task("scenes", total=count * order.frames)
        for index in range(count):
            for path in export.write_scene(out, order, index, overwrite=overwrite):
                voice.result(str(path))
                bar.advance(task)


def tell(paths: Sequence[Path], voice: Voice) -> None:
    for path in paths:
        voice.note(f"wrote {path}")
