"""dacli video: the depth of clips."""

import contextlib
import math
import re
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.choices import CodecName, DeinterlaceMode, SteadyMode
from dacli.cli.camera_options import CameraOptions
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
    ReportOptions,
    SharingOptions,
    ShowOptions,
    TileOptions,
)
from dacli.cli.requests import alpha_options, open_console, run_variants, style_fields
from dacli.cli.values import pixel_limit
from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.outputs.formats import Medium
    from dacli.video.options import ClipOptions

ClipArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP...",
        help="Video files, numbered pictures (a folder, shot.%04d.exr), folders of video files, patterns, - (a pipe).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class ClipInputOptions:
    """Options for the part of a clip to process."""

    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Start at this time: seconds or H:MM:SS.", rich_help_panel="Input"),
    ] = None
    end: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Stop before this time: seconds or H:MM:SS.", rich_help_panel="Input"),
    ] = None
    max_fps: Annotated[
        float | None,
        typer.Option(
            "--max-fps", metavar="FPS", help="Drop frames to at most this many per second.", rich_help_panel="Input"
        ),
    ] = None
    cfr: Annotated[
        bool,
        typer.Option(
            "--cfr",
            help="Constant rate: repeat and drop frames of a clip with a variable one.",
            rich_help_panel="Input",
        ),
    ] = False
    rate: Annotated[
        str,
        typer.Option(
            "--rate",
            "--fps",
            metavar="FPS",
            help="Frames per second of numbered pictures, for example 24 or 24000/1001.",
            rich_help_panel="Input",
        ),
    ] = "24"
    stream: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Number of the video stream, where a file has several. [default: the one that players show]",
            rich_help_panel="Input",
        ),
    ] = None
    deinterlace: Annotated[
        DeinterlaceMode,
        typer.Option(
            help="Make whole frames of two fields; telecine: of film that TV shows at 30 frames.",
            rich_help_panel="Input",
        ),
    ] = "auto"
    allow_truncated: Annotated[
        bool,
        typer.Option(
            "--allow-truncated",
            help="Accept a damaged clip; use the frames that can be decoded.",
            rich_help_panel="Input",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class ClipOutputOptions:
    """Options for the output of a clip."""

    steady: Annotated[
        SteadyMode,
        typer.Option(
            "--steady", help="Remove flicker from depth; two-pass takes twice the time.", rich_help_panel="Output"
        ),
    ] = "on"
    codec: Annotated[
        CodecName,
        typer.Option(
            help="Of color, gray and side: h264 (.mp4), h265 with 10 bits (.mp4), prores 422 HQ with 10 bits (.mov), "
            "ffv1, lossless (.mkv).",
            rich_help_panel="Output",
        ),
    ] = "h264"
    crf: Annotated[
        int,
        typer.Option(
            "--crf",
            min=0,
            max=51,
            help="Quality of H.264 and H.265, from 0 (lossless) to 51 (worst).",
            rich_help_panel="Output",
        ),
    ] = 18
    frames: Annotated[
        bool,
        typer.Option("--frames", help="Write folders of numbered PNGs instead of video.", rich_help_panel="Output"),
    ] = False
    first_frame: Annotated[
        int | None,
        typer.Option(
            "--first-frame",
            min=0,
            metavar="N",
            help="Number of the first file in folders of frames. [default: that of the source, or 0]",
            rich_help_panel="Output",
        ),
    ] = None


@expand_options
def video(
    clips: ClipArguments,
    clip_input: ClipInputOptions,
    limits: LimitOptions,
    alpha: AlphaChoices,
    network: NetworkOptions,
    tiles: TileOptions,
    show: ShowOptions,
    filters: FilterOptions,
    camera: CameraOptions,
    export: ExportChoices,
    naming: NameOptions,
    clip_output: ClipOutputOptions,
    machine: MachineOptions,
    engine: EngineOptions,
    sharing: SharingOptions,
    report: ReportOptions,
    out: OutputFolder = None,
    overwrite: Overwrite = False,
) -> None:
    """Depth of a clip as a clip, with the same frames, times and sound, and without flicker."""
    from dacli.batch import inputs, jobs
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
    clip_options = make_clip_options(clip_input, clip_output)
    from dacli.cli.clip_runs import run_video_command
    from dacli.video.options import refuse_known_points

    refuse_known_points(variants[0].options.calibration)
    from dacli.video import codecs, depth_clips
    from dacli.video.inputs import expand_clips

    with contextlib.ExitStack() as stack:
        paths = expand_clips(clip for clip in clips if clip != "-")
        sources, left_out = inputs.exclude_own_outputs(paths, depth_clips.is_own_clip)
        if left_out:
            console.note(left_out)
        if "-" in clips:
            sources.append(stack.enter_context(spool_stdin()))
            out = out or Path()
        codec = codecs.find_codec(clip_output.codec)
        medium: Medium = "frames" if clip_output.frames else "clip"
        planned = [
            (
                jobs.plan_jobs(sources, out, kinds, medium=medium, video=codec.suffix, name=variant.name),
                variant.options,
            )
            for variant in variants
        ]
        jobs.refuse_shared_outputs(each for each, _ in planned)
        raise typer.Exit(run_video_command(planned, clip_options, console))


def spool_stdin() -> AbstractContextManager[Path]:
    """Return a context with the clip on standard input as a file; raise UsageError if that is closed."""
    from dacli.video.spool import spool_stream

    if sys.stdin is None:
        raise UsageError("- is standard input, which is closed", "pipe a clip into it, or name a file")
    return spool_stream(sys.stdin.buffer)


def make_clip_options(clip_input: ClipInputOptions, clip_output: ClipOutputOptions) -> "ClipOptions":
    """Return the options for clips; raise UsageError for invalid values."""
    start, end = parse_time(clip_input.start, "--start"), parse_time(clip_input.end, "--end")
    if clip_input.max_fps is not None and not 0 < clip_input.max_fps < math.inf:
        raise UsageError(f"--max-fps {clip_input.max_fps:g} is not a rate", "use frames per second, for example 24")
    if start is not None and end is not None and end <= start:
        raise UsageError(
            f"--end {clip_input.end} is not after --start {clip_input.start}", "swap them, or leave one out"
        )
    rate = parse_rate(clip_input.rate)
    from dacli.video.options import ClipOptions

    return ClipOptions(
        start=start,
        end=end,
        max_fps=clip_input.max_fps,
        constant_rate=clip_input.cfr,
        rate=rate,
        steady=clip_output.steady,
        codec=clip_output.codec,
        crf=clip_output.crf,
        as_frames=clip_output.frames,
        first_frame=clip_output.first_frame,
        allow_truncated=clip_input.allow_truncated,
        stream=clip_input.stream,
        deinterlace=clip_input.deinterlace,
    )


def parse_time(text: str | None, option: str) -> float | None:
    """Return a time such as 90, 1:30 or 0:01:30.5 in seconds; raise UsageError for any other text."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d{1,6}:){0,2}\d{1,9}(\.\d{1,9})?", text):
        raise UsageError(f"{option} {text} is not a time", "use seconds or H:MM:SS, for example 90 or 1:30.5")
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_rate(text: str) -> Fraction:
    """Return frames per second from an integer, a decimal or a ratio; raise UsageError for any other text."""
    if re.fullmatch(r"\d{1,6}(/\d{1,6}|\.\d{1,6})?", text):
        with contextlib.suppress(ZeroDivisionError):
            if (rate := Fraction(text)) > 0:
                return rate
    raise UsageError(f"--rate {text} is not a number of frames per second", "use for example 24, 29.97 or 24000/1001")
