"""The options that commands share, each declared once, and what is checked before anything else is done."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from dacli.choices import AlphaMode, EncoderName, ModelName, Near, PrecisionName, TileMode
from dacli.cli.completion import complete_colormaps, complete_names, complete_presets
from dacli.cli.presets import BUILT_IN_PRESETS
from dacli.cli.values import parse_output_folder, parse_shard
from dacli.inference.engines.table import ENGINES
from dacli.outputs.formats import offered_formats

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[("auto", *ENGINES)]

# Arguments
Photos = Annotated[
    list[Path],
    typer.Argument(metavar="PHOTO...", help="Pictures (JPEG, PNG, TIFF, WebP, HEIC, EXR and more), or - (stdin)."),
]
FolderSource = Annotated[
    str, typer.Argument(metavar="IN", help="A folder, @FILE or - (a list of paths), or a pattern such as 'in/*.jpg'.")
]
FolderTarget = Annotated[
    Path,
    typer.Argument(metavar="OUT", help="Output folder, created if it does not exist.", parser=parse_output_folder),
]
# Options of one word
OutputFolder = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--out",
        metavar="DIR",
        parser=parse_output_folder,
        help="Output folder. [default: beside the input]",
        rich_help_panel="Output",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs that already exist.", rich_help_panel="Output")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes.", rich_help_panel="Run")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object for each input on stdout.", rich_help_panel="Run")]
DeviceName = Annotated[
    str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel="Machine")
]
DepthUnitText = Annotated[
    str | None,
    typer.Option(
        "--unit",
        help="Unit of a depth file's numbers: m, cm, mm, 1/m (inverse depth), or metres of one step, such as 0.001.",
        rich_help_panel="Input",
    ),
]


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which networks run, and the sizes of their input."""

    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="vits, vitb, vitl, vitg, or tiny, the model inside the package; several: vits,vitl. "
            "[default: vits; env DACLI_ENCODER]",
            autocompletion=complete_names(get_args(EncoderName)),
            rich_help_panel="Model",
        ),
    ] = None
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="v2, v1: relative depth. indoor, outdoor (hypersim, vkitti): metres, up to 20 m and 80 m. "
            "da3, da3-metric: Depth Anything 3 (vitl), relative or metres. "
            "hf:ORG/NAME, or a folder: any depth model of Transformers.",
            autocompletion=complete_names((*get_args(ModelName), "hf:")),
            rich_help_panel="Model",
        ),
    ] = "v2"
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Your own checkpoint, .pth or .safetensors; repeatable.", rich_help_panel="Model"
        ),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Short side of the network's input; several: 800,1600. [default: the size it was trained at]",
            rich_help_panel="Model",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class TileOptions:
    """Whether depth is computed in tiles."""

    tile: Annotated[
        TileMode,
        typer.Option(
            help="auto: tiles at sizes where one pass is worse; on: tiles below that too; off: one pass at any size.",
            rich_help_panel="Model",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """Where the network runs, and in which precision."""

    precision: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="auto, fp32, fp16, bf16, or int8, which needs OpenVINO; several: fp32,bf16.",
            autocompletion=complete_names(get_args(PrecisionName)),
            rich_help_panel="Machine",
        ),
    ] = "auto"
    fp16: Annotated[bool, typer.Option("--fp16", help="Short for --precision fp16.", rich_help_panel="Machine")] = False
    device: DeviceName = "auto"


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which engine runs the network."""

    engine: Annotated[
        EngineName, typer.Option("--engine", help="The library that runs the network.", rich_help_panel="Machine")
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class SharingOptions:
    """How the work is shared among GPUs and batches."""

    devices: Annotated[
        str | None,
        typer.Option(metavar="0,1", help="CUDA devices that share the work.", rich_help_panel="Machine"),
    ] = None
    batch: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Pictures that go through the network together: auto or N.",
            rich_help_panel="Machine",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Which outputs are written, and how depth is shown in them."""

    save: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help=f"Any of {', '.join(offered_formats())}, from one pass, with commas between.",
            autocompletion=complete_names(offered_formats()),
            rich_help_panel="Output",
        ),
    ] = "color"
    colormap: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Any Matplotlib name, for color and side.",
            autocompletion=complete_colormaps,
            rich_help_panel="Output",
        ),
    ] = "Spectral_r"
    near: Annotated[Near, typer.Option(help="Which end of gray and png16 is near.", rich_help_panel="Output")] = "white"
    range_: Annotated[
        str,
        typer.Option(
            "--range",
            metavar="RANGE",
            help="What maps to black and white: auto, LO,HI or percentiles such as p2,p98.",
            rich_help_panel="Output",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class AlphaChoices:
    """What is done with transparent pixels."""

    background: Annotated[
        str,
        typer.Option(
            metavar="COLOR",
            help="What is put below transparent pixels: a name or #rrggbb.",
            rich_help_panel="Input",
        ),
    ] = "white"
    alpha: Annotated[
        AlphaMode,
        typer.Option(
            help="Transparent pixels: over: have the depth of the background; mask: are far, and NaN in npy.",
            rich_help_panel="Input",
        ),
    ] = "over"


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Which inputs are refused before they are decoded."""

    max_pixels: Annotated[
        float,
        typer.Option(metavar="MEGAPIXELS", help="Pictures larger than this are refused.", rich_help_panel="Input"),
    ] = 200


@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Which inputs of a folder are taken."""

    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Only files that match, by name or (with /) by path; repeatable.",
            rich_help_panel="Input",
        ),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="No files that match; repeatable.", rich_help_panel="Input"),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Only inputs that failed in the last run.", rich_help_panel="Input")
    ] = False
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N|slurm",
            help="Only part I of N; slurm: the part of this task of a Slurm array.",
            rich_help_panel="Input",
        ),
    ] = None

    def shard_text(self) -> str:
        """Return the part of this machine as I/N, counted from 1, or "" for all."""
        index, count, _ = parse_shard(self.shard, os.environ)
        return f"{index + 1}/{count}" if self.shard else ""


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What a run prints and logs."""

    json_: Json = False
    quiet: Quiet = False
    log_file: Annotated[
        Path | None,
        typer.Option(
            "--log-file", metavar="FILE", help="Append all lines to this file, with times.", rich_help_panel="Run"
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Settings for a program: {', '.join(BUILT_IN_PRESETS)}, or [preset.NAME] of dacli.toml.",
            autocompletion=complete_presets,
            rich_help_panel="Run",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class NameOptions:
    """How outputs are named."""

    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Names of outputs, with {stem}, {encoder}, {model}, {weights}, {size}, {precision}. "
            "[default: {stem}, and what has several values]",
            rich_help_panel="Output",
        ),
    ] = None
