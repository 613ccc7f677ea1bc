"""Rendered pictures and clips as files: depth in metres, intrinsics and the camera's place beside each picture."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dacli import __version__, types
from dacli.errors import DacliError, UsageError
from dacli.io import files, npy, png, records, scales
from dacli.outputs.formats import FORMATS
from dacli.paths import display_path
from dacli.scenes import moving
from dacli.scenes.layouts import make_scene, render_layouts
from dacli.scenes.moving import RenderedFrame

DEPTH_STEPS = (0.001, 0.01, 0.1, 1.0)  # metres that one step of a 16-bit PNG may mean
LARGEST_SIDE = 4096  # pixels
DEPTH_KINDS = ("npy", "png16")
DOWN = np.array([1.0, -1.0, 1.0])  # turns the world's y axis round


@dataclass(frozen=True)
class SceneOrder:
    """What to render: the stream, pictures' (H, W), kinds of depth; of clips the motion, their frames and the rate."""

    seed: int
    size: tuple[int, int]
    kinds: Sequence[str]
    motion: str | None = None
    frames: int = 1
    fps: float = 30.0

    def made_of(self, index: int, frame: int) -> dict[str, object]:
        """Return all that decides a picture's files."""
        made: dict[str, object] = {"seed": self.seed, "scene": index, "version": __version__}
        return (
            made
            if self.motion is None
            else made | {"motion": self.motion, "frame": frame, "frames": self.frames, "fps": self.fps}
        )


def check_scene_order(order: SceneOrder) -> None:
    """Raise UsageError for what cannot be rendered."""
    if not all(16 <= side <= LARGEST_SIDE for side in order.size):
        height, width = order.size
        raise UsageError(f"{width} × {height} pixels cannot be rendered", f"choose sides from 16 to {LARGEST_SIDE}")
    if unknown := [kind for kind in order.kinds if kind not in DEPTH_KINDS]:
        raise UsageError(f"cannot save {unknown[0]!r}", f"--save takes any of {','.join(DEPTH_KINDS)}")
    if not order.kinds:
        raise UsageError("--save names no kind of depth", f"give any of {','.join(DEPTH_KINDS)}")
    if order.motion is not None and order.motion not in moving.MOTIONS:
        raise UsageError(f"there is no motion {order.motion!r}", f"choose one of {', '.join(moving.MOTIONS)}")
    if not 0 < order.fps <= 1000:
        raise UsageError(f"--fps {order.fps:g} is not a rate", "give frames per second, as 30")


def write_scene(folder: Path, order: SceneOrder, index: int, *, overwrite: bool) -> Iterator[Path]:
    """Write scene number `index` below the folder, unless it is there already, and yield each picture's path.

    Raises DacliError for files of another order there, and if it cannot write.
    """
    name = f"scene_{index:06d}"
    stems = [name] if order.motion is None else [f"{name}/frame_{frame:06d}" for frame in range(order.frames)]
    made = [order.made_of(index, frame) for frame in range(len(stems))]
    there = [
        not overwrite and is_scene_written(folder / stem, order, what) for stem, what in zip(stems, made, strict=True)
    ]
    if all(there):
        yield from (folder / f"{stem}.png" for stem in stems)
        return
    for stem, what, frame in zip(stems, made, render_frames(order, index), strict=True):
        yield write_scene_frame(folder / stem, frame, order.kinds, what)


def render_frames(order: SceneOrder, index: int) -> Iterator[RenderedFrame]:
    """Yield the one frame of a still scene, or those of a clip."""
    layout = make_scene(order.seed, index)
    if order.motion is not None:
        motion = moving.MOTIONS[order.motion]
        yield from moving.render_clip([layout], motion, order.frames, order.size, fps=order.fps, seed=index)
        return
    found = render_layouts([layout], *order.size)
    rgb, depth = found.rgb[0].permute(1, 2, 0).numpy(), found.depth[0].numpy()
    yield RenderedFrame(rgb, depth, 0.0, 0, layout.position, layout.rotation, float(found.focal[0]))


def write_scene_frame(stem: Path, frame: RenderedFrame, kinds: Sequence[str], made_of: dict[str, object]) -> Path:
    """Write a picture, its depth and last its description, each whole; the picture's path."""
    picture = stem.with_name(f"{stem.name}.png")
    files.write_file(picture, png.encode_png(np.ascontiguousarray(frame.rgb)))
    encode = {"npy": lambda: npy.encode_npy(frame.depth), "png16": lambda: encode_depth16(frame.depth, picture.name)}
    for kind in kinds:
        files.write_file(scene_file_name(stem, kind), encode[kind]())
    lines = (
        f" {json.dumps(key)}: {json.dumps(what)}" for key, what in describe_frame(stem, frame, kinds, made_of).items()
    )
    files.write_file(stem.with_name(f"{stem.name}.json"), ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    return picture


def scene_file_name(stem: Path, kind: str) -> Path:
    return stem.with_name(stem.name + FORMATS[kind].suffix)


def describe_frame(
    stem: Path, frame: RenderedFrame, kinds: Sequence[str], made_of: dict[str, object]
) -> dict[str, object]:
    """Return what a picture's JSON says.

    Files, intrinsics in pixels (the first pixel's centre is 0, 0), and the camera.

    `camera_to_world` [4, 4] is in metres, its columns right, down and forward, as OpenCV has them, and the place; the
    world's y axis, which points up where scenes are made, points down in it, so that it is a rotation.
    """
    height, width = frame.depth.shape
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = DOWN[:, None] * frame.rotation, DOWN * frame.position
    return {
        "picture": f"{stem.name}.png",
        "depth": {kind: scene_file_name(stem, kind).name for kind in kinds},
        "size": [height, width],
        "intrinsics": [[frame.focal, 0, (width - 1) / 2], [0, frame.focal, (height - 1) / 2], [0, 0, 1]],
        "camera_to_world": pose.tolist(),
        "seconds": frame.seconds,
        "made_of": made_of,
    }


def is_scene_written(stem: Path, order: SceneOrder, made_of: dict[str, object]) -> bool:
    """Return whether all files of a picture are there; raise DacliError if they are of another order."""
    path = stem.with_name(f"{stem.name}.json")
    if not path.exists():
        return False
    try:
        found = json.loads(files.read_bytes(path))
        same = found["made_of"] == made_of and found["size"] == list(order.size)
    except (ValueError, TypeError, KeyError):
        same = False
    if not same:
        raise DacliError(f"{display_path(path)} is there, made otherwise", "choose another folder, or --overwrite it")
    return stem.with_name(f"{stem.name}.png").exists() and all(
        scene_file_name(stem, kind).exists() for kind in order.kinds
    )


def encode_depth16(depth: types.DepthArray, source: str) -> bytes:
    """Return the 16-bit PNG of depth [H, W] in metres, in the finest of STEPS that reaches the farthest.

    65535 is the sky.
    """
    known = depth[np.isfinite(depth)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    step = next((step for step in DEPTH_STEPS if high < (scales.TOP16 - 1) * step), DEPTH_STEPS[-1])
    values = np.full(depth.shape, scales.TOP16, np.uint16)
    seen = np.isfinite(depth)
    values[seen] = np.clip(np.rint(depth[seen].astype(np.float64) / step), 1, scales.TOP16 - 1)
    size = (depth.shape[0], depth.shape[1])
    unit = "millimetres" if step == DEPTH_STEPS[0] else "steps"
    white = scales.TOP16 * step
    record = records.Record(
        0.0, white, "black", unit, "metres", low, high, "rendered", "scenes", size, size, __version__, source, ""
    )
    return png.encode_png(values, record.text())
