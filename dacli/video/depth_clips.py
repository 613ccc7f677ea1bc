"""Depth clips written by dacli: their metadata, and their depth as floats."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dacli.batch.fingerprint import Fingerprint, hash_settings, stamp_file
from dacli.batch.finished import read_own_record
from dacli.batch.jobs import Job
from dacli.batch.settings import RunSettings
from dacli.errors import DacliError
from dacli.io import depth_files, files
from dacli.io.names import RECORD_KEYWORD
from dacli.io.records import Record, decode_depth, parse_record
from dacli.io.scales import choose_scale
from dacli.outputs.formats import FORMATS, VIDEO_SUFFIXES, is_video_file
from dacli.paths import display_path
from dacli.types import DepthArray
from dacli.video import decoding
from dacli.video.clip import Clip
from dacli.video.options import ClipOptions
from dacli.video.segments import FRAMES_FILE

VARYING_UNIT = "varying"  # the unit of 16-bit values whose range differs per frame and is stored in the sidecar


def fingerprint_clip(clip: Clip, settings: RunSettings, options: ClipOptions) -> Fingerprint:
    """Return the fingerprint of everything that determines the outputs: stamps of the clip's files, and settings."""
    sources = [[path.name, *stamp_file(path)] for path in clip.pictures or (clip.path,)]
    return hash_settings([sources, settings.decisive, options.decisive])


def find_finished_clip(job: Job, wanted: Fingerprint) -> Record | None:
    """Return the record of the outputs if all of them exist with the wanted fingerprint; None otherwise.

    Raises DacliError for a file that dacli did not write, or that it wrote for a clip with another name.
    """
    records = [read_own_record(path, job, read_metadata) for path in job.outputs.values() if os.path.lexists(path)]
    for path in sidecar_paths(job):
        if os.path.lexists(path):
            read_own_record(path, job, sidecar_texts)
    complete = len(records) == len(job.outputs) and all(path.is_file() for path in sidecar_paths(job))
    same = all(Fingerprint.parse(record.settings).covers(wanted) for record in records)
    return records[0] if complete and same else None


def sidecar_paths(job: Job) -> list[Path]:
    """Return the paths of the files, next to 16-bit clips, that hold the scale and shift of every frame."""
    formats = job.formats
    return [
        path.with_suffix(".json")
        for kind, path in job.outputs.items()
        if formats[kind].bits == 16 and is_video_file(path)
    ]


def is_own_clip(path: str) -> bool:
    """Return whether a clip or a folder of frames is an output of dacli, according to its name and its record."""
    clips = tuple(row.suffix_for("clip", video) for row in FORMATS.values() for video in VIDEO_SUFFIXES)
    suffixes = (*clips, *(row.suffix_for("frames") for row in FORMATS.values()))
    with contextlib.suppress(DacliError):
        return path.endswith(suffixes) and RECORD_KEYWORD in read_metadata(Path(path))
    return False


def read_metadata(path: Path) -> Mapping[str, str]:
    """Return the tags of a clip, or the sidecar of a folder of frames."""
    if path.is_file():
        return decoding.read_tags(path)
    return sidecar_texts(path / FRAMES_FILE)


def sidecar_texts(path: Path) -> Mapping[str, str]:
    """Return the content of a sidecar as texts by key, as the tags of a clip are."""
    return {key: json.dumps(value) for key, value in read_sidecar(path).items()}


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the content of a sidecar; raise DacliError if it does not exist or is damaged."""
    try:
        sidecar = json.loads(files.read_bytes(path))
    except ValueError:
        sidecar = None
    if not isinstance(sidecar, dict):
        raise DacliError(f"{display_path(path)} is damaged", "make the clip again with dacli")
    return sidecar


def decode_depth_clip(path: Path) -> tuple[Record, int, Iterator[DepthArray]]:
    """Return the record of a 16-bit depth clip, its number of frames, and an iterator of their depth [H, W].

    The floats are those of --save npy, to half a quantization step. A copy of the clip in another container may have
    lost its tags: then the record is that of the JSON file beside it. Raises DacliError for any other file, and at the
    first damaged frame.
    """
    name = display_path(path)
    values, tags, count = decoding.read_depth16_clip(path)
    if RECORD_KEYWORD not in tags and path.with_suffix(".json").is_file():
        tags |= sidecar_texts(path.with_suffix(".json"))
    if RECORD_KEYWORD not in tags:
        raise DacliError(f"{name} does not say what its values mean", "decode takes the 16-bit files that dacli wrote")
    record = parse_record(tags[RECORD_KEYWORD], name)
    if record.unit != VARYING_UNIT:
        return record, count, (record.decode(frame) for frame in values)
    rows = read_sidecar(path.with_suffix(".json")).get("frames", [])
    if len(rows) != count:
        raise DacliError(f"{name} and its .json file do not belong together", "make the clip again with dacli")
    scales = (choose_scale(row["low"], row["high"], record.quantity, record.near) for row in rows)
    return record, count, (scale.decode(frame) for frame, scale in zip(values, scales, strict=False))


def decode_depth_frames(folder: Path) -> tuple[Record, int, Iterator[DepthArray]]:
    """Return the record of a folder of 16-bit frames, their number, and an iterator of their depth [H, W].

    Raises DacliError for a folder that dacli did not write, and at the first frame that is missing or damaged.
    """
    name = display_path(folder)
    if not (folder / FRAMES_FILE).is_file():
        raise DacliError(f"{name} has no {FRAMES_FILE}", "decode takes the folder that --save png16 --frames writes")
    sidecar = sidecar_texts(folder / FRAMES_FILE)
    paths, count = sorted(folder.glob("*.png")), len(json.loads(sidecar.get("frames", "[]")))
    if not paths or len(paths) != count:
        raise DacliError(f"{name} has {len(paths)} PNGs of {count} frames", "make the frames again with dacli")
    record = parse_record(sidecar.get(RECORD_KEYWORD, ""), name)
    depths = (decode_depth(*depth_files.read_depth16(path), display_path(path))[0] for path in paths)
    return record, count, depths
