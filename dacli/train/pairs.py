"""Pictures and their depth: which file belongs to which."""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dacli import inputs, jobs, pictures
from dacli.errors import DacliError, UsageError
from dacli.jobs import shown
from dacli.train import depthfiles
from dacli.train.depthfiles import HYPERSIM, INVERSE, PSEUDO, UNITS, VIRTUAL_KITTI, Map

NAMED = 10  # missing files that an error names
FEWEST = 2  # one to learn from and one to watch


@dataclass(frozen=True)
class Pair:
    """A picture and its depth, whose numbers are in `unit` (see depthfiles.read)."""

    picture: Path
    depth: Path
    unit: str


def find(source: Path, unit: str | None) -> list[Pair]:
    """The pairs that a list names, or that a folder of Hypersim or Virtual KITTI 2 holds.

    A list has a line for each pair: picture, tab, comma or space, depth; paths start at the list's folder. It needs a
    unit, the folders have theirs. Raises DacliError for what is neither, and if files are missing, with their names.
    """
    if source.is_dir():
        found = list(hypersim(source)) or list(virtual_kitti(source))
        if not found:
            hint = "give such a folder, or a list of pairs: picture, tab, depth"
            raise DacliError(f"{shown(source)} has the layout of neither Hypersim nor Virtual KITTI 2", hint)
    else:
        if unit not in (*UNITS, INVERSE):
            said = "needs the unit of its depth" if unit is None else f"cannot have the unit {unit!r}"
            raise UsageError(f"the list {shown(source)} {said}", f"--unit takes {', '.join(UNITS)} or {INVERSE}")
        found = [Pair(picture, depth, unit) for picture, depth in lines(source)]
    demand([path for pair in found for path in (pair.picture, pair.depth)], source)
    if len(found) < FEWEST:
        raise DacliError(f"{shown(source)} names {len(found)} pairs", f"training needs {FEWEST} at least")
    return found


def lines(source: Path) -> Iterable[tuple[Path, Path]]:
    try:
        text = source.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise DacliError(f"the list {shown(source)} cannot be read ({error})", "check the path") from error
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        mark = next((mark for mark in ("\t", ",") if mark in line), None)
        parts = [part.strip() for part in line.split(mark)]
        if len(parts) != 2:
            fault = f"line {number} of {shown(source)} holds {len(parts)} names instead of 2"
            raise DacliError(fault, "write picture, tab, depth; with a tab names may hold spaces and commas")
        yield source.parent / parts[0], source.parent / parts[1]


def demand(paths: Sequence[Path], source: Path) -> None:
    """Raises DacliError, with the first ten names, if some of the files are not there."""
    missing = [shown(path) for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        fault = f"{len(missing)} files of {shown(source)} are missing: {', '.join(missing[:NAMED])}{more}"
        raise DacliError(fault, "put them there, or take their lines out")


def hypersim(root: Path) -> Iterable[Pair]:
    """Tone-mapped pictures and distances of ROOT/ai_001_001/images/scene_cam_00_final_preview and _geometry_hdf5."""
    for depth in sorted(root.glob("**/images/scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5")):
        folder = depth.parent.name.replace("_geometry_hdf5", "_final_preview")
        name = depth.name.replace("depth_meters.hdf5", "tonemap.jpg")
        yield Pair(depth.parents[1] / folder / name, depth, HYPERSIM)


def virtual_kitti(root: Path) -> Iterable[Pair]:
    """Pictures and depth of ROOT/Scene01/clone/frames/rgb/Camera_0 and depth/Camera_0."""
    for depth in sorted(root.glob("**/frames/depth/Camera_*/depth_*.png")):
        name = re.sub(r"^depth_(\d+)\.png$", r"rgb_\1.jpg", depth.name)
        yield Pair(depth.parents[2] / "rgb" / depth.parent.name / name, depth, VIRTUAL_KITTI)


def labelled(source: str, labels: Path) -> tuple[list[Pair], int]:
    """The pictures that IN names with the labels that dacli train label made of them, and how many have none.

    Raises DacliError if hardly any has.
    """
    found = inputs.gather(source, labels)
    planned = jobs.plan(found.files, labels, tuple(jobs.LABELS), root=found.root, suffixes=jobs.LABELS)
    pairs = [Pair(job.source, job.outputs["half"], PSEUDO) for job in planned if jobs.present(job)]
    if len(pairs) < FEWEST:
        fault = f"{shown(labels)} holds labels of {len(pairs)} of the {len(planned)} pictures in {source}"
        raise DacliError(fault, f"make them with dacli train label {source} {shown(labels)}")
    return pairs, len(planned) - len(pairs)


def read(pair: Pair, max_pixels: int = pictures.MAX_PIXELS) -> tuple[NDArray[np.uint8], Map]:
    """The picture [H, W, 3] with 8 bits and its inverse depth [H, W]; raises DacliError if their sizes differ."""
    rgb = pictures.read(pair.picture, max_pixels)
    depth = depthfiles.read(pair.depth, pair.unit)
    if rgb.shape[:2] != depth.shape:
        sizes = [f"{height} × {width}" for height, width in (rgb.shape[:2], depth.shape)]
        fault = f"{shown(pair.picture)} has {sizes[0]} pixels and its depth {shown(pair.depth)} {sizes[1]}"
        raise DacliError(fault, "a pair needs one size")
    return (rgb >> 8 if rgb.dtype == np.uint16 else rgb).astype(np.uint8, copy=False), depth


def digest(pairs: Sequence[Pair], root: Path) -> str:
    """What tells these pairs from others: how many there are, and a hash of their names below the root."""
    text = "\n".join(f"{os.path.relpath(p.picture, root)}\t{os.path.relpath(p.depth, root)}\t{p.unit}" for p in pairs)
    return f"{len(pairs)} pairs {hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"
