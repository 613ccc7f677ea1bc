"""The options that commands share, each declared once, and what is checked at the door."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.types import TileMode

Source = Annotated[
    str, typer.Argument(metavar="IN", help="A folder, @FILE or - (a list of paths), or a pattern such as 'in/*.jpg'.")
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, made if need be.")]
Photos = Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="JPEG, PNG, WebP, TIFF, BMP or AVIF files.")]
Encoder = Annotated[
    str | None,
    typer.Option(
        help="vits, vitb, vitl, vitg, or tiny, the model inside the package. [default: vits; env DACLI_ENCODER]"
    ),
]
Model = Annotated[str, typer.Option(help="v2, v1: relative. indoor, outdoor: metres, to 20 m and 80 m.")]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="An own checkpoint, .pth or .safetensors.")]
Size = Annotated[
    int | None, typer.Option(metavar="PIXELS", help="Short side of what the network sees. [default: its own]")
]
Tile = Annotated[
    str, typer.Option(help="auto: one pass while that is better, tiles above; on; off: one pass at any size.")
]
Precision = Annotated[str, typer.Option(help="auto, fp32, fp16, bf16 or, by OpenVINO, int8.")]
Half = Annotated[bool, typer.Option("--fp16", help="Short for --precision fp16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
EngineName = Annotated[str, typer.Option("--engine", help="auto, torch or openvino.")]
Save = Annotated[str, typer.Option(help="Any of color,gray,png16,npy,side.")]
Colormap = Annotated[str, typer.Option(help="Any Matplotlib name, for color and side.")]
Near = Annotated[str, typer.Option(help="Which end of gray and png16 is near: white or black.")]
RangeText = Annotated[str, typer.Option("--range", help="What maps to black and white: auto, LO,HI or pLO,pHI.")]
MaxPixels = Annotated[float, typer.Option(metavar="MEGAPIXELS", help="Pictures larger than this are refused.")]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="DIR", help="Output folder. [default: beside the input]")
]
Include = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only what matches, by name or (with /) path; repeatable."),
]
Exclude = Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Nothing that matches; repeatable.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, its size and time, and do nothing.")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Only what failed in the last run.")]
Shard = Annotated[
    str | None, typer.Option(metavar="I/N", help="One of N parts. [default: SLURM_ARRAY_TASK_ID of its COUNT]")
]
Devices = Annotated[str | None, typer.Option(metavar="0,1", help="CUDA devices that share the work.")]
Batch = Annotated[str, typer.Option(metavar="N", help="Pictures that go through the network together: auto or N.")]
DepthUnit = Annotated[
    str | None,
    typer.Option("--unit", help="Of a depth file's numbers: m, cm, mm, 1/m (inverse depth), or metres as 0.001."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Redo what is already there.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per input on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes.")]


def check_size(size: int | None) -> int | None:
    """The size itself; raises UsageError for one that no network can take."""
    if size is not None and not 14 <= size <= 10_000:
        raise UsageError(
            f"--size {size} is not between 14 and 10000", "518 is what the published networks were trained at"
        )
    return size


def check_tile(tile: str) -> "TileMode":
    """The mode that --tile names; raises UsageError for one that is none."""
    if tile not in ("auto", "on", "off"):
        raise UsageError(f"--tile {tile} is none of auto, on and off", "auto takes tiles where they are better")
    return "auto" if tile == "auto" else "on" if tile == "on" else "off"


def pixel_limit(megapixels: float) -> int:
    """The limit in pixels; raises UsageError for one that is not above 0."""
    if not 0 < megapixels <= 1e6:
        raise UsageError(f"--max-pixels {megapixels:g} is no limit", "give megapixels, as 200")
    return int(megapixels * 1e6)


def chosen_precision(precision: str, *, half: bool) -> str:
    """The precision that --precision and --fp16 ask for; raises UsageError if they contradict each other."""
    if half and precision not in ("auto", "fp16"):
        raise UsageError(f"--fp16 and --precision {precision} contradict each other", "give one of them")
    return "fp16" if half else precision


def parse_shard(text: str | None, environment: Mapping[str, str]) -> tuple[int, int, str]:
    """Which part of how many, counted from 0, and a note that says why; (0, 1, "") is all.

    Without `text` the task of a Slurm array decides. Parts may be counted from 0 or from 1: N/N is 0/N. Raises
    UsageError for what is no part.
    """
    if text is None:
        return slurm_shard(environment)
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    index, count = (int(number) for number in found.groups()) if found else (0, 0)
    if not 0 <= index <= count or count == 0:
        raise UsageError(f"--shard {text} is no part of a whole", "give I/N, as 1/4 to 4/4")
    return index % count, count, ""


def slurm_shard(environment: Mapping[str, str]) -> tuple[int, int, str]:
    try:
        task, count, first, step = (
            int(environment.get(f"SLURM_ARRAY_TASK_{name}", default))
            for name, default in (("ID", ""), ("COUNT", ""), ("MIN", "0"), ("STEP", "1"))
        )
        index = (task - first) // step % count
    except (ValueError, ZeroDivisionError):
        return 0, 1, ""
    return index, count, f"part {index + 1} of {count}, by SLURM_ARRAY_TASK_ID; --shard 1/1 takes all"


def parse_batch(text: str) -> int | None:
    """The number of pictures in a batch, None for auto; raises UsageError for what is no number above 0."""
    if text == "auto":
        return None
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise UsageError(f"--batch {text} is neither auto nor a number from 1 to 9999", "leave it out for auto")
    return int(text)


def parse_devices(devices: str | None, device: str) -> list[str]:
    """The devices that share the work; raises UsageError for what is no list of numbers, or beside --device."""
    if devices is None:
        return [device]
    if device not in ("auto", "cuda"):
        raise UsageError(f"--devices {devices} and --device {device} contradict each other", "give one of them")
    if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", devices):
        raise UsageError(f"--devices {devices} is no list of CUDA devices", "give their numbers, as 0,1")
    return [f"cuda:{int(number)}" for number in dict.fromkeys(devices.split(","))]


def parse_list(text: str | None) -> list[str]:
    """What stands between commas, each once; nothing for None."""
    return list(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def parse_sizes(text: str | None) -> list[int | None]:
    """The sizes of a list, [None] for none; raises UsageError for what no network can take."""
    parts = parse_list(text)
    for part in parts:
        if not part.isdecimal() or not part.isascii():
            raise UsageError(f"--size {part} is no number of pixels", "give one, or several as 256,518")
    return [check_size(int(part)) for part in parts] or [None]
