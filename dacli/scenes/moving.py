"""Rendered clips with exact depth: scenes seen by a camera that pans, dollies, trucks or is held by hand."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dacli.scenes.figures import add_person
from dacli.scenes.layouts import Layout, render_layouts
from dacli.scenes.parts import Array, Parts
from dacli.scenes.raycast import ROOM
from dacli.types import FloatArray

SolidRows = dict[str, Array]  # solids by field of raycast.Solids
SolidMotion = Callable[[SolidRows, float], SolidRows]  # the solids at a time in seconds
SampledValues = NDArray[np.float64]
CAMERA_PERIOD = 8.0  # seconds until a camera is back where it started
TREMOR_FREQUENCIES = np.array([0.7, 1.3, 2.9])  # Hz, of the camera in a hand
SKY_DISTANCE = 1e7  # metres, the distance of the sky where its pixels are matched
SURFACE_TOLERANCE = 0.02  # largest relative difference in depth of two pixels that show the same point


@dataclass(frozen=True)
class CameraMotion:
    """How far a camera moves: yaw and shake in radians, forward and sideways in typical depths of the scene.

    With `passer`, a person walks back and forth close to the camera.
    """

    yaw: float = 0.0
    forward: float = 0.0
    sideways: float = 0.0
    shake: float = 0.0
    passer: bool = False


MOTIONS = {
    "still": CameraMotion(),
    "pan": CameraMotion(yaw=0.4),
    "dolly": CameraMotion(forward=0.3),
    "truck": CameraMotion(sideways=0.2),
    "hand-held": CameraMotion(yaw=0.06, forward=0.06, shake=0.03),
    "passer": CameraMotion(yaw=0.06, passer=True),
}


@dataclass(frozen=True)
class RenderedFrame:
    """A picture [H, W, 3] (sRGB-like), its depth [H, W] in metres (inf: sky), its time, shot and camera.

    `position` [3] is in metres, the columns of `rotation` [3, 3] are right, down and forward, `focal` is in pixels.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    seconds: float
    shot: int
    position: Array
    rotation: Array
    focal: float

    @property
    def inverse_depth(self) -> NDArray[np.float32]:
        """Return 1 / depth, 0 in the sky, [H, W]."""
        return np.asarray(1 / self.depth, np.float32)


def render_clip(
    layouts: Sequence[Layout],
    motion: CameraMotion,
    frames: int,
    size: tuple[int, int],
    *,
    fps: float = 30.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Iterator[RenderedFrame]:
    """Yield the frames of a clip of `size` = (H, W): the layouts one after the other, with hard cuts between them.

    `noise` is the standard deviation, in steps of 255, of gray noise that differs in every frame.
    """
    rng = np.random.default_rng(seed)
    for shot, numbers in enumerate(np.array_split(np.arange(frames), len(layouts))):
        first = numbers[:1] / fps
        for seconds, view in camera_views(layouts[shot], motion, numbers / fps - first, rng):
            rendering = render_layouts([view], *size)
            yield RenderedFrame(
                rgb=add_noise(rendering.rgb[0].permute(1, 2, 0).numpy(), noise, rng),
                depth=rendering.depth[0].numpy(),
                seconds=float(first[0] + seconds),
                shot=shot,
                position=view.position,
                rotation=view.rotation,
                focal=float(rendering.focal[0]),
            )


def camera_views(
    layout: Layout, motion: CameraMotion, times: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[float, Layout]]:
    """Yield each time and the layout at that time, with its camera and solids moved."""
    poses = list(camera_path(layout, motion, times, rng))
    clear = clear_camera_path(layout, np.array([position for position, _ in poses]))
    move = add_passer(layout, rng, float(times[-1])) if motion.passer else no_motion
    for seconds, (position, rotation) in zip(times.tolist(), poses, strict=True):
        yield seconds, replace(clear, solids=move(clear.solids, seconds), position=position, rotation=rotation)


def camera_path(
    layout: Layout, motion: CameraMotion, seconds: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Yield the position [3] and rotation [3, 3] of the camera at each time in seconds.

    At 0 s the pose is that of the layout, apart from the shake.
    """
    typical = typical_depth(layout)
    phases = rng.uniform(0, 2 * np.pi, (6, len(TREMOR_FREQUENCIES)))
    for t in seconds:
        swing = 2 * np.pi * t / CAMERA_PERIOD
        tremor = motion.shake * np.sin(2 * np.pi * TREMOR_FREQUENCIES * t + phases).mean(1)
        shift = np.array([motion.sideways * np.sin(swing), 0, motion.forward * (1 - np.cos(swing)) / 2])
        rotation = rotation_matrices(np.array([0, motion.yaw * np.sin(swing), 0]) + tremor[:3])
        yield layout.position + typical * (layout.rotation @ (shift + tremor[3:] / 2)), layout.rotation @ rotation


def typical_depth(layout: Layout) -> float:
    """Return the median depth in metres of all pixels but those of the sky; 1 if all are sky."""
    depth = render_layouts([layout], 24, 32).depth.numpy()
    known = depth[np.isfinite(depth)]
    return float(np.median(known)) if known.size else 1.0


def rotation_matrices(angles: Array) -> Array:
    """Return the rotation [3, 3] by angles [3] in radians about the camera's right, down and forward axes."""
    product = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        rotation = np.eye(3)
        rotation[[i, j], [i, j]] = np.cos(angle)
        rotation[j, i], rotation[i, j] = np.sin(angle), -np.sin(angle)
        product = product @ rotation
    return product


def no_motion(solids: SolidRows, _seconds: float) -> SolidRows:
    """Return the solids unchanged."""
    return solids


def add_passer(layout: Layout, rng: np.random.Generator, length: float) -> SolidMotion:
    """Return a motion that adds a person as tall as the picture to the solids, who crosses it twice in 8 s.

    The person is in the middle of the picture at 2 s, or half-way through a shot of `length` < 4 seconds.
    """
    parts = Parts(rng)
    add_person(parts, np.zeros(3), 0.0)
    near = 0.45 * typical_depth(layout)
    size = 1.2 * near * np.tan(layout.field_of_view / 2)
    figure = parts.solids()
    linear = figure["to_local"][..., :3] @ (layout.rotation * [1, -1, 1]).T / size
    middle = min(CAMERA_PERIOD / 2, length) / 2

    def at(solids: SolidRows, seconds: float) -> SolidRows:
        across = 2.5 * size * np.sin(2 * np.pi * (seconds - middle) / CAMERA_PERIOD)
        origin = layout.position + layout.rotation @ [across, 0.9 * size, near]
        offset = figure["to_local"][..., 3] - linear @ origin
        moved = figure | {"to_local": np.concatenate([linear, offset[..., None]], -1), "half": figure["half"] * size}
        return {name: np.concatenate([rows, moved[name]]) for name, rows in solids.items()}

    return at


def clear_camera_path(layout: Layout, positions: Array) -> Layout:
    """Return the layout without the solids that the camera would touch at any of the positions [n, 3]."""
    solids = layout.solids
    local = np.einsum("nij,pj->npi", solids["to_local"][..., :3], positions) + solids["to_local"][:, None, :, 3]
    reach = solids["half"].max(1) * (np.abs(local).max(2) - 1).min(1)
    keep = (reach > 0.12) | (solids["kind"] == ROOM)
    return replace(layout, solids={name: rows[keep] for name, rows in solids.items()})


def add_noise(rgb: NDArray[np.uint8], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture [H, W, 3] with gray noise of that standard deviation, in steps of 255."""
    if not noise:
        return rgb
    gray = rng.normal(0, noise, (*rgb.shape[:2], 1))
    return np.clip(np.rint(rgb + gray), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class FrameMatch:
    """Where each pixel of a frame was in the previous one: x and y [H, W] in pixels, and whether it was visible."""

    x: SampledValues
    y: SampledValues
    seen: NDArray[np.bool_]


def match_frames(now: RenderedFrame, before: RenderedFrame) -> FrameMatch:
    """Return where the pixels of a frame were in the previous frame, from its depth and both cameras, in a still scene.

    A pixel was visible if it projects inside the previous frame, onto an inverse depth within 2 % of its own.
    """
    height, width = now.depth.shape
    depth = np.where(np.isinf(now.depth), SKY_DISTANCE, now.depth).astype(np.float64)
    y, x = np.indices(depth.shape)
    rays = np.stack([(x - (width - 1) / 2) / now.focal, (y - (height - 1) / 2) / now.focal, np.ones_like(depth)])
    world = np.einsum("ij,jhw->ihw", now.rotation, rays * depth) + (now.position - before.position)[:, None, None]
    right, down, far = np.einsum("ji,jhw->ihw", before.rotation, world)
    ahead = far > 0
    far = np.where(ahead, far, 1)
    x, y = right / far * before.focal + (width - 1) / 2, down / far * before.focal + (height - 1) / 2
    inside = ahead & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    same = np.abs(sample_bilinear(before.inverse_depth, x, y) - 1 / far) <= SURFACE_TOLERANCE / far + 2 / SKY_DISTANCE
    return FrameMatch(x, y, inside & same)


def sample_bilinear(values: FloatArray, x: FloatArray, y: FloatArray) -> SampledValues:
    """Return the bilinear values of a map [H, W] at x, y in pixels; beyond the border, those of the border."""
    height, width = values.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[below, left] * (1 - across) + values[below, right] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float64)
