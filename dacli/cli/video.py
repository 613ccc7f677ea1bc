"""The command for clips."""

import contextlib
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.batch import inputs, jobs
from dacli.batch.options import RunOptions
from dacli.cli.console import Voice
from dacli.cli.options import (
    Batch,
    Colormap,
    Device,
    Devices,
    Encoder,
    EngineName,
    Half,
    Json,
    MaxPixels,
    Model,
    Near,
    Out,
    Overwrite,
    Precision,
    Quiet,
    RangeText,
    Save,
    Size,
    Tile,
    Weights,
    check_size,
    check_tile,
    chosen_precision,
    parse_batch,
    parse_devices,
    pixel_limit,
)
from dacli.errors import UsageError
from dacli.outputs import formats

if TYPE_CHECKING:
    from dacli.video.options import Steadiness as SteadyMode

Clips = Annotated[
    list[str], typer.Argument(metavar="CLIP...", help="Video files, folders of numbered pictures, or - (a pipe).")
]
Start = Annotated[str | None, typer.Option(metavar="TIME", help="Leave out what is before: seconds or H:MM:SS.")]
End = Annotated[str | None, typer.Option(metavar="TIME", help="Leave out what is from there on.")]
MaxFps = Annotated[float | None, typer.Option("--max-fps", help="Leave frames out, to this many a second.")]
Rate = Annotated[str, typer.Option(metavar="FPS", help="Frames per second of a folder of pictures: 24, 24000/1001.")]
Steadiness = Annotated[str, typer.Option("--steady", help="Steady depth: on, off, or two-pass (twice the time).")]
Quality = Annotated[int, typer.Option("--crf", min=0, max=51, help="Quality of H.264: 0 is lossless, 51 the worst.")]
Folders = Annotated[bool, typer.Option("--frames", help="Folders of numbered PNGs instead of video.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a job that was killed ended.")]
Truncated = Annotated[bool, typer.Option("--allow-truncated", help="Make do with what a damaged clip still holds.")]


def video(
    clips: Clips,
    out: Out = None,
    start: Start = None,
    end: End = None,
    max_fps: MaxFps = None,
    rate: Rate = "24",
    steady: Steadiness = "on",
    crf: Quality = 18,
    frames: Folders = False,
    resume: Resume = False,
    allow_truncated: Truncated = False,
    encoder: Encoder = None,
    model: Model = "v2",
    weights: Weights = None,
    size: Size = None,
    tile: Tile = "auto",
    precision: Precision = "auto",
    fp16: Half = False,
    device: Device = "auto",
    devices: Devices = None,
    engine: EngineName = "auto",
    batch: Batch = "auto",
    save: Save = "color",
    colormap: Colormap = "Spectral_r",
    near: Near = "white",
    range_: RangeText = "auto",
    max_pixels: MaxPixels = 200,
    overwrite: Overwrite = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Depth of a clip as a clip: its frames, its times, its sound; steady from frame to frame."""
    voice = Voice(json_, quiet)
    kinds = formats.parse_formats(save)
    chosen = RunOptions(
        encoder,
        model,
        weights,
        check_size(size),
        chosen_precision(precision, half=fp16),
        parse_devices(devices, device),
        engine,
        colormap,
        near,
        range_,
        pixel_limit(max_pixels),
        overwrite,
        parse_batch(batch),
        check_tile(tile),
    )
    span = (parse_time(start, "--start"), parse_time(end, "--end"))
    if max_fps is not None and max_fps <= 0:
        raise UsageError(f"--max-fps {max_fps:g} is no rate", "give frames per second, as 24")
    mode, pace = parse_steady(steady), parse_rate(rate)
    from dacli.cli.runs import run_video_command
    from dacli.video import depth_clips
    from dacli.video import probe as media
    from dacli.video.options import ClipOptions

    options = ClipOptions(
        start=span[0],
        end=span[1],
        max_fps=max_fps,
        rate=pace,
        steady=mode,
        crf=crf,
        as_frames=frames,
        resume=resume,
        allow_truncated=allow_truncated,
    )
    with contextlib.ExitStack() as stack:
        sources, left_out = inputs.exclude_own_outputs(
            [Path(clip) for clip in clips if clip != "-"], depth_clips.is_own_clip
        )
        if left_out:
            voice.note(left_out)
        if "-" in clips:
            sources.append(stack.enter_context(media.spool_stream(sys.stdin.buffer)))
            out = out or Path()
        planned = jobs.plan_jobs(sources, out, kinds, medium="frames" if frames else "clip")
        raise typer.Exit(run_video_command(planned, chosen, options, voice))


def parse_steady(text: str) -> "SteadyMode":
    """The way to steady depth; raises UsageError for none that is known."""
    known: dict[str, SteadyMode] = {"on": "on", "off": "off", "two-pass": "two-pass"}
    if text in known:
        return known[text]
    raise UsageError(f"--steady {text} is none of on, off and two-pass", "on is what most clips need")


def parse_time(text: str | None, option: str) -> float | None:
    """Seconds of a time as 90, 1:30 or 0:01:30.5; raises UsageError for what is none."""
    if text is None:
        return None
    if not re.fullmatch(r"(\d{1,6}:){0,2}\d{1,9}(\.\d{1,9})?", text):
        raise UsageError(f"{option} {text} is no time", "give seconds or H:MM:SS, as 90 or 1:30.5")
    seconds = 0.0
    for part in text.split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def parse_rate(text: str) -> Fraction:
    """Frames per second as a whole number, a decimal or a ratio; raises UsageError for what is none."""
    if re.fullmatch(r"\d{1,6}(/\d{1,6}|\.\d{1,6})?", text):
        with contextlib.suppress(ZeroDivisionError):
            if (rate := Fraction(text)) > 0:
                return rate
    raise UsageError(f"--rate {text} is no number of frames per second", "give it as 24, 29.97 or 24000/1001")
