"""Pictures with known depth: finding the pairs of files, and reading them."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dacli import types
from dacli.batch import inputs, jobs
from dacli.errors import DacliError, UsageError
from dacli.io import depth_files, files, images
from dacli.io.depth_files import HYPERSIM, LABEL, UNIT_CHOICES, UNITS, DepthUnit
from dacli.outputs import formats
from dacli.paths import display_path
from dacli.types import DepthArray

NAMED_FAULTS = 10  # missing files that an error names
FEWEST_PAIRS = 2  # for a training: one to train on and one to validate on


@dataclass(frozen=True)
class DepthPair:
    """A picture and the file of its depth in `unit`; None means metres, or the unit that a PNG states."""

    picture: Path
    depth: Path
    unit: DepthUnit | None = None


def find_pairs(source: Path, unit: DepthUnit | None = None) -> tuple[DepthPair, ...]:
    """Return the pairs of a list, or of a folder of Hypersim, Virtual KITTI 2 or dacli scenes, in a stable order.

    The first two of these have a unit of their own. Raises DacliError if there are no pairs, or if files of them are
    missing: it names them, up to ten.
    """
    found = pairs_in_folder(source, unit) if source.is_dir() else tuple(read_pair_list(source, unit))
    if not found:
        hint = "name a folder of dacli scenes, Hypersim or Virtual KITTI 2, or a list: picture, tab, depth"
        raise DacliError(f"no pictures with depth in {display_path(source)}", hint)
    missing = [file for pair in found for file in (pair.picture, pair.depth) if not file.is_file()]
    if missing:
        more = f" and {len(missing) - NAMED_FAULTS} more" if len(missing) > NAMED_FAULTS else ""
        names = ", ".join(display_path(file) for file in missing[:NAMED_FAULTS])
        fault = f"{len(missing)} files of {display_path(source)} are missing: {names}{more}"
        raise DacliError(fault, "put them there, or take their lines out")
    return found


def find_training_pairs(source: Path, unit: DepthUnit | None) -> tuple[DepthPair, ...]:
    """Return the pairs of find_pairs() for a training, which needs the unit of a list, and two pairs or more.

    Raises UsageError without the unit, for depth that is taken for another is not noticed in a training.
    """
    if unit is None and not source.is_dir():
        raise UsageError(f"the list {display_path(source)} needs the unit of its depth", f"--unit takes {UNIT_CHOICES}")
    found = find_pairs(source, unit)
    if len(found) < FEWEST_PAIRS:
        raise DacliError(f"{display_path(source)} names {len(found)} pairs", f"training needs {FEWEST_PAIRS} at least")
    return found


def find_labelled_pairs(source: str, labels: Path) -> tuple[tuple[DepthPair, ...], int]:
    """Return the pictures of IN with their labels by dacli train label, and how many pictures have none.

    Raises DacliError if hardly any has.
    """
    found = inputs.gather_inputs(source, labels)
    planned = jobs.plan_jobs(found.files, labels, [formats.FORMATS["half"]], root=found.root)
    pairs = tuple(DepthPair(job.source, job.outputs["half"], LABEL) for job in planned if job.is_present())
    if len(pairs) < FEWEST_PAIRS:
        fault = f"{display_path(labels)} holds labels of {len(pairs)} of the {len(planned)} pictures in {source}"
        raise DacliError(fault, f"make them with dacli train label {source} {display_path(labels)}")
    return pairs, len(planned) - len(pairs)


def read_pair_list(path: Path, unit: DepthUnit | None) -> Iterator[DepthPair]:
    """Yield the pairs of a list: a picture and its depth in each line, with a tab, a comma or spaces between.

    Paths start from the list's folder; empty lines and those that begin with # are skipped.
    """
    try:
        lines = files.read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DacliError(f"{display_path(path)} is not a list of pairs", "give a text file or a folder") from None
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            between = next((mark for mark in "\t," if mark in line), None)
            fields = [field.strip() for field in line.split(between)]
            if len(fields) != 2 or not all(fields):
                fault = f"line {number} of {display_path(path)} holds {len(fields)} names instead of 2"
                raise DacliError(fault, "write picture, tab, depth; with a tab names may hold spaces and commas")
            if number == 1 and is_header(fields):
                continue
            yield DepthPair(path.parent / fields[0], path.parent / fields[1], unit)


def is_header(fields: Sequence[str]) -> bool:
    """Return whether the first line of a list names its columns, as `image,depth` does."""
    names = ({"image", "picture", "rgb", "photo", "input"}, {"depth", "truth", "gt", "target", "label"})
    return all(field.lower() in known for field, known in zip(fields, names, strict=True))


def pairs_in_folder(root: Path, unit: DepthUnit | None) -> tuple[DepthPair, ...]:
    return tuple(hypersim_pairs(root)) or tuple(virtual_kitti_pairs(root)) or tuple(described_pairs(root, unit))


def hypersim_pairs(root: Path) -> Iterator[DepthPair]:
    """Yield pictures and distances of ROOT/ai_001_001/images/scene_cam_00_final_preview and _geometry_hdf5."""
    for depth in sorted(root.glob("**/images/scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5")):
        folder = depth.parent.name.replace("_geometry_hdf5", "_final_preview")
        name = depth.name.replace("depth_meters.hdf5", "tonemap.jpg")
        yield DepthPair(depth.parents[1] / folder / name, depth, HYPERSIM)


def virtual_kitti_pairs(root: Path) -> Iterator[DepthPair]:
    """Yield pictures and depth of ROOT/Scene01/clone/frames/rgb/Camera_0 and depth/Camera_0."""
    for depth in sorted(root.glob("**/frames/depth/Camera_*/depth_*.png")):
        name = re.sub(r"^depth_(\d+)\.png$", r"rgb_\1.jpg", depth.name)
        yield DepthPair(depth.parents[2] / "rgb" / depth.parent.name / name, depth, UNITS["cm"])


def described_pairs(folder: Path, unit: DepthUnit | None) -> Iterator[DepthPair]:
    """Yield the pairs that JSON files below a folder name with `picture` and `depth`."""
    for path in sorted(folder.rglob("*.json")):
        found = read_scene_description(path)
        if isinstance(found, dict) and isinstance(found.get("picture"), str) and "depth" in found:
            depth = found["depth"]
            one = next(iter(depth.values()), None) if isinstance(depth, dict) else depth
            if not isinstance(one, str):
                raise DacliError(f"{display_path(path)} names no file of depth", "make it again with dacli scenes")
            yield DepthPair(path.parent / found["picture"], path.parent / one, unit)


def read_scene_description(path: Path) -> Any:
    try:
        return json.loads(files.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DacliError(f"{display_path(path)} is not JSON ({error})", "make it again, or move it away") from None


def read_pair(pair: DepthPair) -> tuple[types.ImageArray, DepthArray]:
    """Return the picture [H, W, 3] and its inverse depth [H, W].

    Raise DacliError if one is bad or their sizes differ.
    """
    rgb, depth = images.read_image(pair.picture), depth_files.read_depth_file(pair.depth, pair.unit)
    if rgb.shape[:2] != depth.shape:
        mine, other = (f"{shape[1]} × {shape[0]}" for shape in (rgb.shape, depth.shape))
        fault = f"{display_path(pair.picture)} has {mine} pixels, its depth {display_path(pair.depth)} {other}"
        raise DacliError(fault, "give depth of the picture's size")
    return rgb, depth


def digest_pairs(pairs: Sequence[DepthPair], root: Path) -> str:
    """Return the identity of these pairs: their number, and a hash of their names below the root."""
    text = "\n".join(f"{os.path.relpath(p.picture, root)}\t{os.path.relpath(p.depth, root)}\t{p.unit}" for p in pairs)
    return f"{len(pairs)} pairs {hashlib.sha256(os.fsencode(text)).hexdigest()[:12]}"
