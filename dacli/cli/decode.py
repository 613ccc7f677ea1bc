"""dacli decode: the floats back from 16-bit depth."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dacli.cli.console import Console
from dacli.cli.options import Json, Overwrite
from dacli.errors import DacliError
from dacli.paths import display_path


def decode(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A 16-bit PNG, clip or folder of frames that dacli wrote.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.npy", help="[default: FILE with .npy]", rich_help_panel="Output"),
    ] = None,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """The floats back from a 16-bit depth PNG (H × W), or from a clip or a folder of its frames (N × H × W)."""
    from dacli.io import depth_files, files, npy, records
    from dacli.outputs.formats import VIDEO_SUFFIXES
    from dacli.video import depth_clips

    target = out or file.parent / f"{file.stem}.npy"
    if target.exists() and not overwrite:
        raise DacliError(f"{display_path(target)} exists already", "--overwrite replaces it")
    if file.is_dir() or file.suffix.lower() in VIDEO_SUFFIXES:
        decode_clip = depth_clips.decode_depth_frames if file.is_dir() else depth_clips.decode_depth_clip
        record, count, depths = decode_clip(file)
        files.write_file(target, npy.encode_npy_stream(depths, count))
    else:
        depth, record = records.decode_depth(*depth_files.read_depth16(file), display_path(file))
        files.write_file(target, npy.encode_npy(depth))
    console = Console(json=json_)
    if json_:
        found = {"input": str(file), "output": str(target)} | asdict(record)
        console.result(json.dumps({name: value for name, value in found.items() if name not in ("settings", "unit")}))
        return
    network = record.encoder if record.encoder == record.model else f"{record.encoder} {record.model}"
    console.note(f"{record.quantity}, {record.low:g} to {record.high:g}, by {network}")
    console.result(str(target))
