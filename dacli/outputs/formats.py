"""The kinds of output, one row for each: what `--save` takes, how files are named, and what draws and encodes them."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from dacli.errors import UsageError
from dacli.outputs.encoders import (
    anaglyph_picture,
    color_picture,
    confidence_picture,
    deep_gray_picture,
    depth16_picture,
    exr_file,
    full_pair_picture,
    glb_file,
    gray_picture,
    half_file,
    half_pair_picture,
    normal_file,
    npy_file,
    npz_file,
    pfm_file,
    ply_file,
    png_encoder,
    side_picture,
    tiff_file,
    vr180_picture,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dacli.outputs.view import DepthView

DEFAULT_VIDEO = ".mp4"
VIDEO_SUFFIXES = (DEFAULT_VIDEO, ".mkv", ".mov")
Medium = Literal["picture", "clip", "frames"]  # one file, a video file, or a folder with a file for each frame


@dataclass(frozen=True)
class OutputFormat:
    """One kind of output; a new kind is one more row of FORMATS.

    `name` is what `--save` takes. `suffix` ends the name of a picture's file; `clip_suffix` that of a clip's file, or,
    without an extension, of a folder with one file for each frame. `draw` returns the picture of a view, 8 or 16 bits,
    [H, W] or [H, W, 3]; it is None for an output that is not a picture. `draw_deep` draws the same with 16 bits, for
    clips. `encode` returns the bytes of a file, with a record, so that a later run knows whether dacli made it, and
    from what. `needs_image`: it shows the input picture too; `needs_camera`: the focal length decides what it shows;
    `needs_metres`: relative depth does not do; `needs_spread`: it takes an ensemble; `offered`: `--save` takes it.
    """

    name: str
    summary: str
    suffix: str
    clip_suffix: str
    encode: Callable[["DepthView"], bytes]
    draw: "Callable[[DepthView], NDArray[Any]] | None" = None
    draw_deep: "Callable[[DepthView], NDArray[Any]] | None" = None
    bits: int = 8
    needs_image: bool = False
    needs_camera: bool = False
    needs_metres: bool = False
    needs_spread: bool = False
    offered: bool = True

    def suffix_for(self, medium: Medium, video: str = DEFAULT_VIDEO) -> str:
        """Return the end of an output's file name; clips that can be of any codec have the extension `video`."""
        if medium == "picture":
            return self.suffix
        return self.clip_suffix.replace(DEFAULT_VIDEO, video) if medium == "clip" else PurePath(self.clip_suffix).stem


FORMATS: Mapping[str, OutputFormat] = {
    row.name: row
    for row in (
        OutputFormat(
            name="color",
            summary="depth in color",
            suffix="_color.png",
            clip_suffix="_color.mp4",
            draw=color_picture,
            encode=png_encoder(color_picture),
        ),
        OutputFormat(
            name="gray",
            summary="8-bit gray",
            suffix="_gray.png",
            clip_suffix="_gray.mp4",
            draw=gray_picture,
            draw_deep=deep_gray_picture,
            encode=png_encoder(gray_picture),
        ),
        OutputFormat(
            name="png16",
            summary="16-bit gray, which dacli decode turns back into depth",
            suffix="_depth16.png",
            clip_suffix="_depth16.mkv",
            draw=depth16_picture,
            encode=png_encoder(depth16_picture, bits=16),
            bits=16,
        ),
        OutputFormat(
            name="npy",
            summary="float32 depth for NumPy",
            suffix="_depth.npy",
            clip_suffix="_depth",
            encode=npy_file,
        ),
        OutputFormat(
            name="side",
            summary="the picture and its depth in color, side by side",
            suffix="_side.png",
            clip_suffix="_side.mp4",
            draw=side_picture,
            encode=png_encoder(side_picture),
            needs_image=True,
        ),
        OutputFormat(
            name="exr",
            summary="OpenEXR with 32-bit floats: Z in metres, or disparity",
            suffix="_depth.exr",
            clip_suffix="_exr",
            encode=exr_file,
        ),
        OutputFormat(
            name="pfm", summary="portable float map", suffix="_depth.pfm", clip_suffix="_pfm", encode=pfm_file
        ),
        OutputFormat(
            name="tiff",
            summary="TIFF with 32-bit floats",
            suffix="_depth.tiff",
            clip_suffix="_tiff",
            encode=tiff_file,
        ),
        OutputFormat(
            name="npz",
            summary="depth, valid pixels, intrinsics and record for NumPy",
            suffix="_depth.npz",
            clip_suffix="_npz",
            encode=npz_file,
        ),
        OutputFormat(
            name="normal",
            summary="normals of surfaces as a picture; needs metres",
            suffix="_normal.png",
            clip_suffix="_normal",
            encode=normal_file,
            needs_camera=True,
            needs_metres=True,
        ),
        OutputFormat(
            name="ply",
            summary="point cloud with colors and normals; needs metres",
            suffix="_points.ply",
            clip_suffix="_ply",
            encode=ply_file,
            needs_image=True,
            needs_camera=True,
            needs_metres=True,
        ),
        OutputFormat(
            name="glb",
            summary="mesh with the picture on it; needs metres",
            suffix="_mesh.glb",
            clip_suffix="_glb",
            encode=glb_file,
            needs_image=True,
            needs_camera=True,
            needs_metres=True,
        ),
        OutputFormat(
            name="sbs",
            summary="the picture and a view for the right eye, side by side",
            suffix="_LRF_Full_SBS.png",
            clip_suffix="_LRF_Full_SBS.mp4",
            draw=full_pair_picture,
            encode=png_encoder(full_pair_picture),
            needs_image=True,
        ),
        OutputFormat(
            name="half-sbs",
            summary="both views, each at half its width",
            suffix="_LR.png",
            clip_suffix="_LR.mp4",
            draw=half_pair_picture,
            encode=png_encoder(half_pair_picture),
            needs_image=True,
        ),
        OutputFormat(
            name="anaglyph",
            summary="both views for red-cyan glasses",
            suffix="_redcyan.png",
            clip_suffix="_redcyan.mp4",
            draw=anaglyph_picture,
            encode=png_encoder(anaglyph_picture),
            needs_image=True,
        ),
        OutputFormat(
            name="vr180",
            summary="both views as half spheres, for headsets",
            suffix="_LR_180.png",
            clip_suffix="_LR_180.mp4",
            draw=vr180_picture,
            encode=png_encoder(vr180_picture),
            needs_image=True,
            needs_camera=True,
        ),
        OutputFormat(
            name="confidence",
            summary="where the members of an ensemble agree: white; needs --ensemble",
            suffix="_confidence.png",
            clip_suffix="_confidence.mp4",
            draw=confidence_picture,
            encode=png_encoder(confidence_picture),
            needs_spread=True,
        ),
        OutputFormat(
            name="half",
            summary="float16 depth for NumPy: pseudo-labels of dacli train label",
            suffix="_depth.npy",
            clip_suffix="_depth",
            encode=half_file,
            offered=False,
        ),
    )
}


def is_video_file(path: PurePath) -> bool:
    """Return whether the output of a clip is a video file; otherwise it is a folder of frames, whatever its name."""
    return path.suffix in VIDEO_SUFFIXES


def offered_formats() -> tuple[str, ...]:
    """Return the names that `--save` takes."""
    return tuple(name for name, row in FORMATS.items() if row.offered)


def parse_formats(text: str) -> tuple[OutputFormat, ...]:
    """Return the formats that a list such as `color,png16` names, in its order and each once.

    Raises UsageError for a name that `--save` does not take.
    """
    return choose_formats([name.strip().lower() for name in text.split(",")])


def choose_formats(names: Sequence[str]) -> tuple[OutputFormat, ...]:
    """Return the formats of these names, each once; raise UsageError for a name that `--save` does not take."""
    offered = offered_formats()
    for name in names:
        if name not in offered:
            similar = difflib.get_close_matches(name, offered, n=1, cutoff=0.5)
            guess = f"did you mean {similar[0]}? " if similar else ""
            raise UsageError(f"cannot save {name!r}", f"{guess}--save takes any of {','.join(offered)}")
    return tuple(FORMATS[name] for name in dict.fromkeys(names))
