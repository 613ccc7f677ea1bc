"""Ray casting of solids into pictures with exact depth: batched tensors on any device.

Every solid is a unit shape under an affine map, so a ray of the camera is a ray in the coordinates of the solid with
the same parameter t. Ray directions have length 1 along the optical axis, so t is the depth along that axis (z-depth).
Only the pixels inside the projected bounds of a solid are tested; a scatter-minimum is the depth buffer. Solids are
seen from outside, except rooms, which are seen from inside.
"""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

BOX, ELLIPSOID, FRUSTUM, ROOM = range(4)
NEAR_PLANE = 1e-3


@dataclass
class Solids:
    """The N solids of a batch of B scenes, one row each; colors are linear RGB, lengths in metres."""

    scene: Tensor  # [N] index of its scene
    kind: Tensor  # [N] BOX, ELLIPSOID, FRUSTUM (taper 0 is a cylinder, 1 a cone) or ROOM (a box seen from inside)
    to_local: Tensor  # [N, 3, 4] world to unit shape
    half: Tensor  # [N, 3] half lengths
    taper: Tensor  # [N]
    colors: Tensor  # [N, 3, 3] the first texture mixes two of them, the second adds the third
    texture: Tensor  # [N, 2] indices
    tile_size: Tensor  # [N, 2] metres that one tile of each texture covers
    overlay: Tensor  # [N] strength of the second texture
    gloss: Tensor  # [N]
    emission: Tensor  # [N] light that it emits
    clear: Tensor  # [N] share of the light from behind that comes through; 0 is opaque
    bend: Tensor  # [N] how far clear solids shift what is behind them, in heights of the picture

    def to(self, device: torch.device | str) -> Self:
        """Return the same solids on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def rows(self, index: Tensor) -> Self:
        """Return the solids at index [n]."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


@dataclass
class Camera:
    """B cameras whose rays are affine in the pixel (x, y): origin and direction = c[0] + x·c[1] + y·c[2]."""

    origin: Tensor  # [B, 3, 3]
    direction: Tensor  # [B, 3, 3]
    project: Tensor  # [B, 3, 4] world to homogeneous pixel coordinates
    pixel: Tensor  # [B] width of a pixel at depth 1


def perspective_camera(position: Tensor, rotation: Tensor, focal: Tensor, height: int, width: int) -> Camera:
    """Return pinhole cameras at position [B, 3] with rotation [B, 3, 3] and focal length [B] in pixels.

    The columns of the rotation are right, down and forward.
    """
    zero = torch.zeros_like(position)
    right, down, forward = rotation.unbind(-1)
    f = focal[:, None]
    corner = forward - right * (width - 1) / (2 * f) - down * (height - 1) / (2 * f)
    intrinsics = focal.new_zeros(len(focal), 3, 3)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = (width - 1) / 2, (height - 1) / 2, 1
    world = rotation.transpose(1, 2)
    extrinsics = torch.cat([world, -(world @ position[..., None])], -1)
    return Camera(
        torch.stack([position, zero, zero], 1),
        torch.stack([corner, right / f, down / f], 1),
        intrinsics @ extrinsics,
        1 / focal,
    )


def orthographic_camera(centre: Tensor, towards: Tensor, extent: Tensor, texels: int) -> Camera:
    """Return cameras with parallel rays that look against the direction `towards` [B, 3].

    They see squares of half width `extent` [B] in metres around `centre` [B, 3], as `texels` × `texels` pixels.
    """
    forward = -towards
    other = centre.new_tensor([0.31, 0.11, 0.94]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, other), dim=-1)
    down = torch.linalg.cross(forward, right)
    step = (2 * extent / texels)[:, None]
    back = 4 * extent[:, None]
    start = centre - forward * back - (right + down) * step * (texels - 1) / 2
    rows = torch.stack([right / step, down / step], 1)
    offset = (texels - 1) / 2 - (rows @ centre[..., None])
    last = centre.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(centre), 1, 4)
    zero = torch.zeros_like(centre)
    return Camera(
        torch.stack([start, right * step, down * step], 1),
        torch.stack([forward, zero, zero], 1),
        torch.cat([torch.cat([rows, offset], -1), last], 1),
        step[:, 0],
    )


def cast_rays(solids: Solids, camera: Camera, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return depth [B, H, W] (infinite where nothing is hit) and the index [B, H, W] of the solid hit (-1: none)."""
    batch = len(camera.origin)
    depth = torch.full((batch * height * width,), torch.inf, device=camera.origin.device)
    rays = local_rays(solids, camera)
    hits = [hits_of_kind(kind, solids, rays, camera, height, width) for kind in (BOX, ELLIPSOID, FRUSTUM, ROOM)]
    where, which, t = (torch.cat(parts) for parts in zip(*hits, strict=True))
    depth.scatter_reduce_(0, where, t, "amin")
    is_nearest = t == depth[where]
    index = torch.full(depth.shape, -1, device=depth.device)
    index.scatter_reduce_(0, where[is_nearest], which[is_nearest], "amax")
    return depth.view(batch, height, width), index.view(batch, height, width)


def local_rays(solids: Solids, camera: Camera) -> Tensor:
    """Return the camera in the coordinates of each solid, [6, 3, N]: three rows of origin, three of direction."""
    linear, offset = solids.to_local[..., :3], solids.to_local[..., 3]
    rows = torch.cat([camera.origin, camera.direction], 1)[solids.scene] @ linear.transpose(1, 2)
    rows[:, 0] += offset
    return rows.permute(1, 2, 0).contiguous()


def screen_bounds(solids: Solids, camera: Camera, height: int, width: int) -> Tensor:
    """Return a pixel rectangle [N, 4] (x, y, width, height) around each solid; its width is 0 if it is not visible."""
    signs = torch.cartesian_prod(*[solids.half.new_tensor([-1.0, 1.0])] * 3)
    to_world = torch.linalg.inv(solids.to_local[..., :3])
    corners = (signs - solids.to_local[:, None, :, 3]) @ to_world.transpose(1, 2)
    projection = camera.project[solids.scene]
    seen = corners @ projection[..., :3].transpose(1, 2) + projection[:, None, :, 3]
    w = seen[..., 2]
    xy = seen[..., :2] / w.clamp_min(NEAR_PLANE)[..., None]
    limit = seen.new_tensor([width, height])
    low = torch.minimum(xy.amin(1).floor().clamp_min(0), limit)
    high = torch.maximum(torch.minimum(xy.amax(1).ceil() + 1, limit), low)
    around = ((w <= NEAR_PLANE).any(1) | (solids.kind == ROOM))[:, None]
    low, high = torch.where(around, 0, low), torch.where(around, limit, high)
    size = torch.where((w <= NEAR_PLANE).all(1)[:, None] & (solids.kind != ROOM)[:, None], 0, high - low)
    return torch.cat([low, size], 1).long()


def hits_of_kind(
    kind: int, solids: Solids, rays: Tensor, camera: Camera, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the flat pixel index, the solid and t of every hit of one kind of solid, [n] each."""
    rows = torch.nonzero(solids.kind == kind)[:, 0]
    solids_of_kind = solids.rows(rows)
    box = screen_bounds(solids_of_kind, camera, height, width)
    count = box[:, 2] * box[:, 3]
    left, top, across, first, which = torch.repeat_interleave(
        torch.stack([*box[:, :3].T, count.cumsum(0) - count, torch.arange(len(rows), device=box.device)]), count, 1
    )
    place = torch.arange(len(which), device=which.device) - first
    row = torch.div(place, across, rounding_mode="floor")
    x, y = left + place - row * across, top + row
    o, d = rays_at_pixels(rays[:, :, rows], which, x, y)
    t = INTERSECTIONS[kind](o, d, solids_of_kind.taper.take(which))
    hit = torch.nonzero(torch.isfinite(t))[:, 0]
    pixel = (solids_of_kind.scene[which[hit]] * height + y[hit]) * width + x[hit]
    return pixel, rows[which[hit]], t[hit]


def gather_columns(table: Tensor, index: Tensor) -> Tensor:
    """Return columns `index` [n] of a table [..., N]; row by row, which is faster than indexing columns."""
    rows = [row.take(index) for row in table.flatten(0, -2)]
    return torch.stack(rows).view(*table.shape[:-1], len(index))


def rays_at_pixels(rays: Tensor, index: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the origin and direction [3, n] of rays `index` [n] of the table [6, 3, N] at pixels x, y [n]."""
    x, y = x.to(rays.dtype), y.to(rays.dtype)
    ends = []
    for start in (0, 3):
        point = gather_columns(rays[start], index)
        for step, place in ((rays[start + 1], x), (rays[start + 2], y)):
            point = point.addcmul_(gather_columns(step, index), place) if step.any() else point
        ends.append(point)
    return ends[0], ends[1]


def slab_distances(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return where rays [3, n] enter and leave the cube −1 … 1, [n] each (Kay and Kajiya 1986).

    A ray misses the cube unless it enters before it leaves.
    """
    inverse = 1 / torch.where(d.abs() < 1e-9, 1e-9, d)
    a, b = (-1 - o) * inverse, (1 - o) * inverse
    return torch.minimum(a, b).amax(0), torch.maximum(a, b).amin(0)


def box_entry(o: Tensor, d: Tensor, _taper: Tensor) -> Tensor:
    """Return t [n] where rays [3, n] enter the cube; infinite for rays that miss it or start inside."""
    enter, leave = slab_distances(o, d)
    return torch.where((enter < leave) & (enter > NEAR_PLANE), enter, torch.inf)


def room_exit(o: Tensor, d: Tensor, _taper: Tensor) -> Tensor:
    """Return t [n] where rays [3, n] leave the cube: its far walls, seen from inside or through the near ones."""
    enter, leave = slab_distances(o, d)
    return torch.where((enter < leave) & (leave > NEAR_PLANE), leave, torch.inf)


def ellipsoid_entry(o: Tensor, d: Tensor, _taper: Tensor) -> Tensor:
    """Return the smaller root t [n] of |o + t·d|² = 1; infinite for rays that miss the ball or start inside.

    The distance from the centre to the ray decides, not b² − a·c, whose digits cancel out for flat balls far away
    (Haines, Günther and Akenine-Möller 2019, Ray Tracing Gems, chapter 7).
    """
    a = (d * d).sum(0)
    nearest = -(o * d).sum(0) / a
    inside = 1 - (o + nearest * d).square().sum(0)
    t = nearest - (inside.clamp_min(0) / a).sqrt()
    return torch.where((inside > 0) & (t > NEAR_PLANE), t, torch.inf)


def frustum_entry(o: Tensor, d: Tensor, taper: Tensor) -> Tensor:
    """Return the first t [n] on the side or the ends of a frustum around the y axis; infinite for rays that miss it.

    Its radius is 1 at y = −1 and 1 − taper at y = 1.
    """
    q = -taper / 2
    radius = 1 + q + q * o[1]
    a = d[0] * d[0] + d[2] * d[2] - (q * d[1]) ** 2
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    b = o[0] * d[0] + o[2] * d[2] - q * d[1] * radius
    c = o[0] * o[0] + o[2] * o[2] - radius * radius
    root = b * b - a * c
    spread = root.clamp_min(0).sqrt()
    best = torch.full_like(b, torch.inf)
    for t in ((-b - spread) / a, (-b + spread) / a):
        good = (root > 0) & (t > NEAR_PLANE) & ((o[1] + t * d[1]).abs() <= 1)
        best = torch.where(good & (t < best), t, best)
    rise = torch.where(d[1].abs() < 1e-9, 1e-9, d[1])
    for side, end in ((-1.0, torch.ones_like(taper)), (1.0, 1 - taper)):
        t = (side - o[1]) / rise
        good = ((o[0] + t * d[0]) ** 2 + (o[2] + t * d[2]) ** 2 <= end * end) & (t > NEAR_PLANE)
        best = torch.where(good & (t < best), t, best)
    return best


INTERSECTIONS = {BOX: box_entry, ELLIPSOID: ellipsoid_entry, FRUSTUM: frustum_entry, ROOM: room_exit}
