"""DA-2K: photos in which people said which of two points is nearer (Depth Anything V2, section 6)."""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dacli.callbacks import DownloadProgress, Log
from dacli.errors import DacliError
from dacli.evaluation.scoring import EvaluationData, EvaluationSample, PairOrder, Point, ScoreParts
from dacli.io import files, images
from dacli.paths import display_path
from dacli.types import FloatArray
from dacli.weights import checkpoints, locations
from dacli.weights.manifest import Checkpoint

ARCHIVE = Checkpoint(
    "DA-2K",
    "",
    "",
    "",
    "datasets/depth-anything/DA-2K",
    "DA-2K.zip",
    "528f83c26f02a6a7a11c5a036dfc9ee19907ebd9",
    "ff0e48e7cc53273efd1312610e51f1ec87bea0b8a22daf37125fd81246592b81",
    "Apache-2.0",
    native_size=0,
)
ANNOTATIONS = "annotations.json"
TOP = "DA-2K"  # the folder in the archive


@dataclass(frozen=True)
class AnnotatedPlace:
    """A folder or a ZIP archive of DA-2K: its path, and the function that reads a file beside the annotations."""

    path: Path
    read: Callable[[str], bytes]


def fetch_da2k(say: Log, progress: Callable[[str], AbstractContextManager[DownloadProgress]]) -> Path:
    """Return the published archive; download and check it first if necessary; raise DacliError if that fails."""
    try:
        with progress(ARCHIVE.file) as shown_progress:
            return checkpoints.obtain_checkpoint(ARCHIVE, say, shown_progress)
    except DacliError as error:
        address = locations.download_origins(ARCHIVE)[0].address
        raise DacliError(error.message, f"fetch {address} elsewhere and give the file: dacli eval DA-2K.zip") from error


def is_da2k(path: Path) -> bool:
    """Return whether a path may be DA-2K: an archive, or a folder with annotations."""
    return path.suffix.lower() == ".zip" or any(map(Path.is_file, annotations_below(path)))


def annotations_below(folder: Path) -> list[Path]:
    return [folder / ANNOTATIONS, folder / TOP / ANNOTATIONS]


def open_da2k(path: Path) -> EvaluationData:
    """Return the pictures of a folder or an archive with their points; raise DacliError for anything else."""
    files.refuse_special_file(path)
    place = da2k_in_archive(path) if path.is_file() else da2k_in_folder(path)
    orders = read_annotations(place)
    names = list(orders)
    count = sum(map(len, orders.values()))

    def read(index: int) -> EvaluationSample:
        name = names[index]
        rgb = images.decode_image(place.read(name), path / name)
        check_pairs(orders[name], (rgb.shape[0], rgb.shape[1]), display_path(path / name))
        return EvaluationSample(rgb, partial(score_pairs, scene_of(name), orders[name]), pairs=orders[name])

    return EvaluationData(f"{len(names)} pictures and {count} pairs of {display_path(path)}", names, read, points=True)


def da2k_in_folder(path: Path) -> AnnotatedPlace:
    top = next((file.parent for file in annotations_below(path) if file.is_file()), path)
    return AnnotatedPlace(path, lambda name: files.read_bytes(top / name))


def da2k_in_archive(path: Path) -> AnnotatedPlace:
    """Return the archive; single entries are read from it, and nothing is unpacked.

    Raise DacliError for a file that is not a ZIP.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DacliError(
            f"{display_path(path)} is not a complete ZIP archive ({files.os_reason(error)})", "fetch it again"
        ) from None
    top = f"{TOP}/" if f"{TOP}/{ANNOTATIONS}" in entries else ""
    return AnnotatedPlace(path, lambda name: read_archive_entry(path, entries.get(top + name), top + name))


def read_archive_entry(path: Path, info: zipfile.ZipInfo | None, name: str) -> bytes:
    if info is None:
        raise DacliError(f"{display_path(path)} holds no {name}", "fetch it again")
    if info.file_size > files.MAX_BYTES:
        raise DacliError(f"{name} in {display_path(path)} is too large (over 2 GiB)", "check what made it")
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(info)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise DacliError(f"{name} in {display_path(path)} is damaged ({error})", "fetch it again") from None


def read_annotations(place: AnnotatedPlace) -> dict[str, tuple[PairOrder, ...]]:
    """Return the pairs of points by the picture's name, `images/SCENE/FILE`.

    Raise DacliError that names the faulty one.
    """
    name = f"{ANNOTATIONS} in {display_path(place.path)}"
    try:
        found = json.loads(place.read(ANNOTATIONS))
    except (ValueError, RecursionError) as error:
        raise DacliError(f"{name} is not JSON ({error})", "fetch it again") from None
    if not isinstance(found, dict) or not found:
        raise DacliError(f"{name} names no pictures", "fetch it again")
    return {picture: picture_orders(picture, pairs, name) for picture, pairs in found.items()}


def picture_orders(picture: str, pairs: object, name: str) -> tuple[PairOrder, ...]:
    parts = PurePosixPath(picture).parts
    if len(parts) != 3 or parts[0] != "images" or ".." in parts:
        raise DacliError(f"{name} names a picture {picture!r}", "names look like images/indoor/0001.jpg")
    try:
        if not isinstance(pairs, list) or not pairs:
            raise ValueError("no list of pairs")
        return tuple(map(pair_order, pairs))
    except (KeyError, TypeError, ValueError) as error:
        hint = 'a pair is {"point1": [row, column], "point2": [row, column], "closer_point": "point1" or "point2"}'
        raise DacliError(f"{name} has a faulty pair of {picture} ({type(error).__name__}: {error})", hint) from None


def pair_order(pair: Mapping[str, Any]) -> PairOrder:
    first, second = annotated_point(pair["point1"]), annotated_point(pair["point2"])
    if pair["closer_point"] not in ("point1", "point2"):
        raise ValueError(f"closer_point is {pair['closer_point']!r}")
    return (first, second) if pair["closer_point"] == "point1" else (second, first)


def annotated_point(found: Any) -> Point:
    row, column = found
    if type(row) is not int or type(column) is not int:
        raise ValueError(f"a point is {found!r}")
    return row, column


def check_pairs(pairs: tuple[PairOrder, ...], size: tuple[int, int], name: str) -> None:
    """Raise DacliError for a point outside a picture of `size` = (H, W) pixels."""
    for row, column in (point for pair in pairs for point in pair):
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            fault = f"the point [{row}, {column}] lies outside {name}, which has {size[0]} rows and {size[1]} columns"
            raise DacliError(fault, "points are [row, column], from 0")


def scene_of(name: str) -> str:
    return PurePosixPath(name).parts[1]


def score_pairs(scene: str, pairs: tuple[PairOrder, ...], inverse_depth: FloatArray) -> ScoreParts:
    """Return how many pairs are in the right order, and of how many, by scene and in all; equal ones count half."""
    near, far = (np.array([inverse_depth[point] for point in points]) for points in zip(*pairs, strict=True))
    right = float((1 + np.sign(near - far)).sum() / 2)
    return {"all": (right, len(pairs)), scene: (right, len(pairs))}
