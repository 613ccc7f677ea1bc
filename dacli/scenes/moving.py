"""Rendered clips with exact depth: a camera that pans, dollies or is held by hand through layouts of scenes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dacli.scenes.furniture import add_person
from dacli.scenes.layouts import Layout, render_layouts
from dacli.scenes.parts import Array, Parts
from dacli.scenes.raycast import ROOM
from dacli.types import FloatArray

SolidRows = dict[str, Array]  # of solids
SolidMotion = Callable[[SolidRows, float], SolidRows]
SampledValues = NDArray[np.float64]
CAMERA_PERIOD = 8.0  # seconds in which a camera goes its way and comes back
TREMOR = np.array([0.7, 1.3, 2.9])  # Hz of a hand
FAR_DISTANCE = 1e7  # metres at which the sky is put when its pixels are followed
SAME_SURFACE = 0.02  # relative difference of depth up to which two pixels show one point


@dataclass(frozen=True)
class CameraMotion:
    """How far a camera goes: turned (radians), forward and sideways (typical depths), shaken (radians).

    With `passer`, a person goes to and fro close before it.
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
    """A picture [H, W, 3] (sRGB-like), its depth [H, W] in metres (inf: sky), its time, shot, camera and focal length.

    The columns of the rotation are right, down and forward; the focal length is in pixels.
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
    """Yield the frames of a clip of `size` = (H, W): the layouts one after the other, with a hard cut between them.

    `noise` is the standard deviation, in steps of 255, of gray noise that is new in every frame.
    """
    rng = np.random.default_rng(seed)
    for shot, numbers in enumerate(np.array_split(np.arange(frames), len(layouts))):
        first = numbers[:1] / fps
        for seconds, view in camera_views(layouts[shot], motion, numbers / fps - first, rng):
            found = render_layouts([view], *size)
            rgb = add_noise(found.rgb[0].permute(1, 2, 0).numpy(), noise, rng)
            time, focal = float(first[0] + seconds), float(found.focal[0])
            yield RenderedFrame(rgb, found.depth[0].numpy(), time, shot, view.position, view.rotation, focal)


def camera_views(
    layout: Layout, motion: CameraMotion, times: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[float, Layout]]:
    """Yield the layout as it is at each time, with the camera where it is then."""
    poses = list(camera_path(layout, motion, times, rng))
    clear = unobstructed(layout, np.array([position for position, _ in poses]))
    walk = add_passer(layout, rng) if motion.passer else keep_still
    for seconds, (position, rotation) in zip(times.tolist(), poses, strict=True):
        yield seconds, replace(clear, solids=walk(clear.solids, seconds), position=position, rotation=rotation)


def camera_path(
    layout: Layout, motion: CameraMotion, seconds: NDArray[np.float64], rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Yield position [3] and rotation [3, 3] of the camera at each time.

    At 0 s, but for the shake, it is the layout's.
    """
    typical = typical_depth(layout)
    phases = rng.uniform(0, 2 * np.pi, (6, len(TREMOR)))
    for t in seconds:
        swing = 2 * np.pi * t / CAMERA_PERIOD
        tremor = motion.shake * np.sin(2 * np.pi * TREMOR * t + phases).mean(1)
        way = np.array([motion.sideways * np.sin(swing), 0, motion.forward * (1 - np.cos(swing)) / 2])
        turned = rotation_matrices(np.array([0, motion.yaw * np.sin(swing), 0]) + tremor[:3])
        yield layout.position + typical * (layout.rotation @ (way + tremor[3:] / 2)), layout.rotation @ turned


def typical_depth(layout: Layout) -> float:
    """Return median depth, in metres, of what is not sky; 1 where all is."""
    depth = render_layouts([layout], 24, 32).depth.numpy()
    known = depth[np.isfinite(depth)]
    return float(np.median(known)) if known.size else 1.0


def rotation_matrices(angles: Array) -> Array:
    """Return the rotation [3, 3] by angles [3] in radians about the camera's right, down and forward axes."""
    product = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[[i, j], [i, j]] = np.cos(angle)
        one[j, i], one[i, j] = np.sin(angle), -np.sin(angle)
        product = product @ one
    return product


def keep_still(solids: SolidRows, _seconds: float) -> SolidRows:
    """Return the solids as they are."""
    return solids


def add_passer(layout: Layout, rng: np.random.Generator) -> SolidMotion:
    """Return what adds to a layout's solids, at a time, a person as tall as the picture who crosses it twice in 8 s."""
    parts = Parts(rng)
    add_person(parts, np.zeros(3), 0.0)
    near = 0.45 * typical_depth(layout)
    size = 1.2 * near * np.tan(layout.field_of_view / 2)
    figure = parts.solids()
    linear = figure["to_local"][..., :3] @ (layout.rotation * [1, -1, 1]).T / size

    def at(solids: SolidRows, seconds: float) -> SolidRows:
        across = -2.5 * size * np.cos(2 * np.pi * seconds / CAMERA_PERIOD)
        origin = layout.position + layout.rotation @ [across, 0.9 * size, near]
        offset = figure["to_local"][..., 3] - linear @ origin
        moved = figure | {"to_local": np.concatenate([linear, offset[..., None]], -1), "half": figure["half"] * size}
        return {name: np.concatenate([rows, moved[name]]) for name, rows in solids.items()}

    return at


def unobstructed(layout: Layout, positions: Array) -> Layout:
    """Return the layout without the solids that the camera would touch at positions [n, 3]."""
    solids = layout.solids
    local = np.einsum("nij,pj->npi", solids["to_local"][..., :3], positions) + solids["to_local"][:, None, :, 3]
    reach = solids["half"].max(1) * (np.abs(local).max(2) - 1).min(1)
    keep = (reach > 0.12) | (solids["kind"] == ROOM)
    return replace(layout, solids={name: rows[keep] for name, rows in solids.items()})


def add_noise(rgb: NDArray[np.uint8], noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture [H, W, 3] with gray noise of that standard deviation."""
    if not noise:
        return rgb
    grain = rng.normal(0, noise, (*rgb.shape[:2], 1))
    return np.clip(np.rint(rgb + grain), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class FrameMatch:
    """Where each pixel of a frame was in the one before: x and y [H, W] in pixels, and whether it was seen there."""

    x: SampledValues
    y: SampledValues
    seen: NDArray[np.bool_]


def match_frames(now: RenderedFrame, before: RenderedFrame) -> FrameMatch:
    """Return where the pixels of a frame were in the one before, by its depth and both cameras, in a still scene.

    Seen are those that project inside and there on an inverse depth within 2 % of their own.
    """
    height, width = now.depth.shape
    depth = np.where(np.isinf(now.depth), FAR_DISTANCE, now.depth).astype(np.float64)
    y, x = np.indices(depth.shape)
    rays = np.stack([(x - (width - 1) / 2) / now.focal, (y - (height - 1) / 2) / now.focal, np.ones_like(depth)])
    world = np.einsum("ij,jhw->ihw", now.rotation, rays * depth) + (now.position - before.position)[:, None, None]
    right, down, far = np.einsum("ji,jhw->ihw", before.rotation, world)
    ahead = far > 0
    far = np.where(ahead, far, 1)
    x, y = right / far * before.focal + (width - 1) / 2, down / far * before.focal + (height - 1) / 2
    inside = ahead & (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    met = np.abs(sample_bilinear(before.inverse_depth, x, y) - 1 / far) <= SAME_SURFACE / far + 2 / FAR_DISTANCE
    return FrameMatch(x, y, inside & met)


def sample_bilinear(values: FloatArray, x: FloatArray, y: FloatArray) -> SampledValues:
    """Return the map's values [H, W] at x, y in pixels, bilinear; beyond the border those of the border."""
    height, width = values.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = x - left, y - top
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[below, left] * (1 - across) + values[below, right] * across
    return np.asarray(upper * (1 - down) + lower * down, np.float64)
