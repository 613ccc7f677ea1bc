"""The options that commands share, each declared once, and what is checked at the door."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dacli.errors import UsageError

if TYPE_CHECKING:
    from dacli.pipeline import Style

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
Precision = Annotated[str, typer.Option(help="auto, fp32, fp16 or bf16.")]
Half = Annotated[bool, typer.Option("--fp16", help="Short for --precision fp16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
EngineName = Annotated[str, typer.Option("--engine", help="auto or torch.")]
Save = Annotated[str, typer.Option(help="Any of color,gray,png16,npy,side.")]
Colormap = Annotated[str, typer.Option(help="Any Matplotlib name, for color and side.")]
Near = Annotated[str, typer.Option(help="Which end of gray and png16 is near: white or black.")]
RangeText = Annotated[str, typer.Option("--range", help="What maps to black and white: auto, LO,HI or pLO,pHI.")]
MaxPixels = Annotated[float, typer.Option(metavar="MEGAPIXELS", help="Pictures larger than this are refused.")]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="DIR", help="Output folder. [default: beside the input]")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Redo what is already there.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per input on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes.")]


def check_size(size: int | None) -> None:
    """Raise UsageError for a size that no network takes."""
    if size is not None and not 14 <= size <= 10_000:
        raise UsageError(
            f"--size {size} is not between 14 and 10000", "518 is what the published networks were trained at"
        )


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


def style(colormap: str, near: str, range_: str) -> "Style":
    """The style that the options make; raises UsageError for a colormap, an end or a range that is none."""
    from dacli import pipeline, render

    if near not in ("white", "black"):
        raise UsageError(f"--near {near} is neither white nor black", "white makes near things bright")
    render.colors(colormap)
    return pipeline.Style(colormap, "white" if near == "white" else "black", render.parse_range(range_))
