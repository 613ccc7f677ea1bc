"""Rendered pictures and clips as files: depth in metres, intrinsics and camera pose beside each picture."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dacli import __version__, types
from dacli.errors import DacliError, UsageError
from dacli.io import files, npy, ownership, png, records, scales
from dacli.io.names import RECORD_KEYWORD
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.scenes import moving
from dacli.scenes.kinds import make_scene, scene_kind
from dacli.scenes.layouts import render_layouts
from dacli.scenes.moving import RenderedFrame

DEPTH_STEPS = (0.001, 0.01, 0.1, 1.0)  # metres that one step of a 16-bit PNG can stand for
LARGEST_SIDE = 4096  # pixels
DEPTH_KINDS = ("npy", "png16")
Y_DOWN = np.array([1.0, -1.0, 1.0])  # flips the y axis of the world


@dataclass(frozen=True)
class SceneRequest:
    """What to render: the seed of the stream, size (H, W), kinds of depth; for clips motion, frames and frame rate.

    `scene_kinds`, names in SCENE_KINDS, leaves only scenes of these kinds in the stream; without any it has all.
    """

    seed: int
    size: tuple[int, int]
    kinds: Sequence[str]
    motion: str | None = None
    frames: int = 1
    fps: float = 30.0
    scene_kinds: Sequence[str] = ()

    def scene_kind(self, index: int) -> str:
        """Return the name of the kind of scene number `index`."""
        return scene_kind(self.seed, index, self.scene_kinds)

    def fingerprint(self, index: int, frame: int) -> dict[str, object]:
        """Return everything that a picture and its depth depend on, besides the size."""
        still: dict[str, object] = {"seed": self.seed, "scene": index, "version": __version__}
        if self.scene_kinds:
            still["kinds"] = sorted(self.scene_kinds)
        if self.motion is None:
            return still
        return still | {"motion": self.motion, "frame": frame, "frames": self.frames, "fps": self.fps}


def check_scene_request(request: SceneRequest) -> None:
    """Raise UsageError if the request cannot be rendered."""
    if not all(16 <= side <= LARGEST_SIDE for side in request.size):
        height, width = request.size
        raise UsageError(f"{width} × {height} pixels cannot be rendered", f"choose sides from 16 to {LARGEST_SIDE}")
    if unknown := [kind for kind in request.kinds if kind not in DEPTH_KINDS]:
        raise UsageError(f"cannot save {unknown[0]!r}", f"--save takes any of {','.join(DEPTH_KINDS)}")
    if not request.kinds:
        raise UsageError("--save names no kind of depth", f"give any of {','.join(DEPTH_KINDS)}")
    if request.motion is not None and request.motion not in moving.MOTIONS:
        raise UsageError(f"there is no motion {request.motion!r}", f"choose one of {', '.join(moving.MOTIONS)}")
    if not 0 < request.fps <= 1000:
        raise UsageError(f"--fps {request.fps:g} is not a rate", "give frames per second, such as 30")


def write_scene(folder: Path, request: SceneRequest, index: int, *, overwrite: bool) -> Iterator[Path]:
    """Write scene number `index` below the folder and yield the path of each picture; skip it if it is complete.

    Raises DacliError if files of this name were made with other settings or not by dacli, if a folder below this one is
    a link out of it, or if a file cannot be written.
    """
    name = f"scene_{index:06d}"
    stems = [name] if request.motion is None else [f"{name}/frame_{frame:06d}" for frame in range(request.frames)]
    fingerprints = [request.fingerprint(index, frame) for frame in range(len(stems))]
    complete = [
        not overwrite and is_scene_written(folder / stem, request, fingerprint)
        for stem, fingerprint in zip(stems, fingerprints, strict=True)
    ]
    if all(complete):
        yield from (folder / f"{stem}.png" for stem in stems)
        return
    try:
        files.make_folder(folder, None)
        files.make_folder((folder / stems[0]).parent, folder)
    except OSError as error:
        raise files.write_error(folder / f"{stems[0]}.png", error) from error
    for stem, fingerprint, frame in zip(stems, fingerprints, render_frames(request, index), strict=True):
        yield write_scene_frame(folder / stem, frame, request.kinds, fingerprint)


def render_frames(request: SceneRequest, index: int) -> Iterator[RenderedFrame]:
    """Yield the one frame of a still scene, or the frames of a clip."""
    layout = make_scene(request.seed, index, request.scene_kinds)
    if request.motion is not None:
        motion = moving.MOTIONS[request.motion]
        yield from moving.render_clip([layout], motion, request.frames, request.size, fps=request.fps, seed=index)
        return
    rendering = render_layouts([layout], *request.size)
    yield RenderedFrame(
        rgb=rendering.rgb[0].permute(1, 2, 0).numpy(),
        depth=rendering.depth[0].numpy(),
        seconds=0.0,
        shot=0,
        position=layout.position,
        rotation=layout.rotation,
        focal=float(rendering.focal[0]),
    )


def write_scene_frame(stem: Path, frame: RenderedFrame, kinds: Sequence[str], fingerprint: dict[str, object]) -> Path:
    """Write a picture, its depth and, last, its description, each as a whole file; return the path of the picture."""
    picture = stem.with_name(f"{stem.name}.png")
    purpose = scene_purpose(fingerprint, frame.depth.shape)
    text = ownership.purpose_text(purpose)
    encode = {
        "npy": lambda: npy.encode_npy(frame.depth, text[RECORD_KEYWORD]),
        "png16": lambda: encode_depth16(frame.depth, picture.name, ownership.purpose_digest(purpose)),
    }
    files.write_file(picture, png.encode_png(np.ascontiguousarray(frame.rgb), text))
    for kind in kinds:
        files.write_file(scene_file_name(stem, kind), encode[kind]())
    description = describe_frame(stem, frame, kinds, fingerprint)
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in description.items())
    files.write_file(stem.with_name(f"{stem.name}.json"), ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    return picture


def scene_file_name(stem: Path, kind: str) -> Path:
    return stem.with_name(stem.name + FORMATS[kind].suffix)


def describe_frame(
    stem: Path, frame: RenderedFrame, kinds: Sequence[str], fingerprint: dict[str, object]
) -> dict[str, object]:
    """Return the content of the JSON file of a picture: files, size, intrinsics, camera pose, time, what it depends on.

    The intrinsics are in pixels; the centre of the first pixel is 0, 0. `camera_to_world` [4, 4] is in metres; its
    columns are right, down and forward, as in OpenCV, and the position. The y axis of the world points up while scenes
    are built and down in this matrix, so that its left part is a rotation.
    """
    height, width = frame.depth.shape
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Y_DOWN[:, None] * frame.rotation, Y_DOWN * frame.position
    return {
        "picture": f"{stem.name}.png",
        "depth": {kind: scene_file_name(stem, kind).name for kind in kinds},
        "size": [height, width],
        "intrinsics": [[frame.focal, 0, (width - 1) / 2], [0, frame.focal, (height - 1) / 2], [0, 0, 1]],
        "camera_to_world": pose.tolist(),
        "seconds": frame.seconds,
        "made_of": fingerprint,
    }


def is_scene_written(stem: Path, request: SceneRequest, fingerprint: dict[str, object]) -> bool:
    """Return whether all files of a picture exist; raise DacliError if they were made with other settings.

    Files without their description, which is written last, are those of a killed run if their records say so.
    """
    described = described_files(stem, request, fingerprint)
    made = [stem.with_name(f"{stem.name}.png"), *(scene_file_name(stem, kind) for kind in request.kinds)]
    if all(file.name in described and file.is_file() and file.stat().st_size > 0 for file in made):
        return True
    purpose = scene_purpose(fingerprint, request.size)
    ownership.refuse_foreign_files(made, lambda file: ownership.has_purpose(file, purpose))
    return False


def described_files(stem: Path, request: SceneRequest, fingerprint: dict[str, object]) -> set[str]:
    """Return the names of files in the description of a picture, none if there is no description.

    Raises DacliError if it is of other settings, or is damaged.
    """
    path = stem.with_name(f"{stem.name}.json")
    if not os.path.lexists(path):
        return set()
    try:
        description = json.loads(files.read_bytes(path))
        if description["made_of"] == fingerprint and description["size"] == list(request.size):
            return {description["picture"], *description["depth"].values()}
    except (DacliError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        pass
    fault = f"{display_path(path)} was made with other settings"
    raise DacliError(fault, "choose another folder, or replace it with --overwrite")


def scene_purpose(fingerprint: dict[str, object], size: Sequence[int]) -> list[object]:
    """Return what the files of a picture were made for, as their records hold it."""
    return [fingerprint, list(size)]


def encode_depth16(depth: types.DepthArray, source: str, settings: str = "") -> bytes:
    """Return a 16-bit PNG of depth [H, W] in metres, in the finest of DEPTH_STEPS that holds the largest depth.

    The sky is 65535.
    """
    finite = np.isfinite(depth)
    known = depth[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    step = next((step for step in DEPTH_STEPS if high < (scales.TOP16 - 1) * step), DEPTH_STEPS[-1])
    values = np.full(depth.shape, scales.TOP16, np.uint16)
    values[finite] = np.clip(np.rint(depth[finite].astype(np.float64) / step), 1, scales.TOP16 - 1)
    size = (depth.shape[0], depth.shape[1])
    record = records.Record(
        black=0.0,
        white=scales.TOP16 * step,
        near="black",
        unit="millimetres" if step == DEPTH_STEPS[0] else "steps",
        quantity="metres",
        low=low,
        high=high,
        encoder="rendered",
        model="scenes",
        network_size=size,
        source_size=size,
        version=__version__,
        source=source,
        settings=settings,
    )
    return png.encode_png(values, record.text())
