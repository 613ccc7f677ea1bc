"""Color of what rays hit: textures, sun with shadows, a lamp, fog, sky; once per pixel, for its nearest solid."""

from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from torch import Tensor

from dacli.scenes.raycast import (
    BOX,
    FRUSTUM,
    ROOM,
    Camera,
    Solids,
    cast_rays,
    gather_columns,
    orthographic_camera,
    rays_at_pixels,
)
from dacli.scenes.textures import sample_texture

SHADOW_TEXELS = 320


@dataclass
class Lights:
    """The lights of each of B scenes: a sun, a lamp, ambient light, fog and sky."""

    sun: Tensor  # [B, 3] unit vector towards the sun
    sun_color: Tensor  # [B, 3]
    lamp: Tensor  # [B, 3] position
    lamp_color: Tensor  # [B, 3]
    lamp_reach: Tensor  # [B] metres
    ambient: Tensor  # [B, 3]
    fog_color: Tensor  # [B, 3]
    fog: Tensor  # [B] extinction per metre
    sky: Tensor  # [B, 2, 3] colors at the zenith and at the horizon
    clouds: Tensor  # [B, 4] texture, scale, offset, strength
    centre: Tensor  # [B, 3] middle of the region where shadows are computed
    extent: Tensor  # [B] half width of that region

    def to(self, device: torch.device | str) -> Self:
        """Return the same lights on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})


@dataclass
class SurfacePoints:
    """The n points on solids that are visible in pixels."""

    scene: Tensor  # [n] index of its scene
    solid: Tensor  # [n] index of the solid it lies on
    world: Tensor  # [3, n] position
    view: Tensor  # [3, n] unit vector from the camera
    pixel: Tensor  # [n] metres that its pixel is wide on a surface that faces the camera


class SurfaceNormal(NamedTuple):
    """Points on the unit shapes of their solids, their normals there, and their normals in the world, [3, n] each."""

    local: Tensor
    normal_local: Tensor
    normal: Tensor


def render_solids(solids: Solids, lights: Lights, camera: Camera, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return linear RGB [B, 3, H, W] and depth along the optical axis [B, H, W] in metres, infinite in the sky.

    The depth of clear solids is their own, not that of what is seen through them.
    """
    is_clear = solids.clear > 0
    color, depth = render_opaque_solids(solids.rows(torch.nonzero(~is_clear)[:, 0]), lights, camera, height, width)
    if is_clear.any():
        return add_clear_solids(solids.rows(torch.nonzero(is_clear)[:, 0]), lights, camera, color, depth)
    return color, depth


def render_opaque_solids(
    solids: Solids, lights: Lights, camera: Camera, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Return linear RGB [B, 3, H, W] and depth [B, H, W] in metres, as render_solids."""
    depth, index = cast_rays(solids, camera, height, width)
    places = [torch.arange(n, device=depth.device) for n in depth.shape]
    scene, y, x = (v.reshape(-1) for v in torch.meshgrid(*places, indexing="ij"))
    rays = torch.cat([camera.origin, camera.direction], 1).permute(1, 2, 0).contiguous()
    origin, direction = rays_at_pixels(rays, scene, x, y)
    color = sky_color(lights, direction, scene)
    hit = torch.nonzero(index.view(-1) >= 0)[:, 0]
    t, at = depth.view(-1)[hit], scene[hit]
    points = points_on_rays(camera, at, index.view(-1)[hit], origin[:, hit], direction[:, hit], t)
    clear = torch.exp(-lights.fog[at] * t)
    own = surface_color(solids, lights, points, surface_normal(solids, points))
    color[:, hit] = own * clear + lights.fog_color[at].T * (1 - clear)
    return color.view(3, *depth.shape).transpose(0, 1), depth


def add_clear_solids(
    solids: Solids, lights: Lights, camera: Camera, color: Tensor, depth: Tensor
) -> tuple[Tensor, Tensor]:
    """Return RGB [B, 3, H, W] and depth [B, H, W] with clear solids before what they are given.

    What is seen through a solid is the picture itself, shifted along the normal of the surface: cheaper than refraction
    or a reflection, and as hard to see through.
    """
    height, width = depth.shape[1:]
    nearest, index = cast_rays(solids, camera, height, width)
    scene, y, x = torch.nonzero(nearest < depth, as_tuple=True)
    if len(scene) == 0:
        return color, depth
    t = nearest[scene, y, x]
    rays = torch.cat([camera.origin, camera.direction], 1).permute(1, 2, 0).contiguous()
    origin, direction = rays_at_pixels(rays, scene, x, y)
    points = points_on_rays(camera, scene, index[scene, y, x], origin, direction, t)
    surface = surface_normal(solids, points)
    right, down = (torch.nn.functional.normalize(camera.direction[scene, axis], dim=1).T for axis in (1, 2))
    shift = solids.bend[points.solid] * height
    column, row = (
        (place + shift * (surface.normal * axis).sum(0)).round().long().clamp(0, size - 1)
        for place, axis, size in ((x, right, width), (y, down, height))
    )
    clear = solids.clear[points.solid]
    own = surface_color(solids, lights, points, surface)
    result = color.clone()
    result[scene, :, y, x] = (own + clear * (color[scene, :, row, column].T - own)).T
    return result, torch.minimum(depth, nearest)


def points_on_rays(
    camera: Camera, scene: Tensor, solid: Tensor, origin: Tensor, direction: Tensor, t: Tensor
) -> SurfacePoints:
    """Return the points at t [n] on rays [3, n], which lie on `solid` [n] in `scene` [n]."""
    view = direction / direction.square().sum(0).sqrt()
    return SurfacePoints(scene, solid, origin + t * direction, view, t * camera.pixel[scene])


def sky_color(lights: Lights, direction: Tensor, scene: Tensor) -> Tensor:
    """Return color [3, n] of the sky along directions [3, n]: a gradient from horizon to zenith, clouds on a plane."""
    up = (direction[1] / direction.square().sum(0).sqrt()).clamp(0, 1)
    zenith, horizon = lights.sky[scene].permute(1, 2, 0).unbind()
    color = horizon + (zenith - horizon) * up.sqrt()
    kind, scale, offset, strength = lights.clouds[scene].unbind(1)
    flat = scale / (direction[1].clamp_min(0) + 0.15)
    u, v = direction[0] * flat + offset, direction[2] * flat
    return color + (1 - color) * strength * sample_texture(kind.long(), u, v, torch.zeros_like(u))


def surface_color(solids: Solids, lights: Lights, points: SurfacePoints, surface: SurfaceNormal) -> Tensor:
    """Return the color [3, n] of the points: ambient, sun and lamp on their albedo, emission, and a highlight."""
    index, (local, normal_local, normal) = points.solid, surface
    facing = -(points.view * normal).sum(0)
    footprint = points.pixel / facing.abs().clamp_min(0.15)
    albedo = surface_albedo(solids, index, local, normal_local, footprint)
    diffuse, shine = sunlight(lights, solids, points, normal)
    light = diffuse + lamplight(lights, points, normal) + lights.ambient[points.scene].T * (0.7 + 0.3 * normal[1])
    return albedo * (light + solids.emission[index]) + solids.gloss[index] * shine


def surface_normal(solids: Solids, points: SurfacePoints) -> SurfaceNormal:
    """Return where the points lie on their solids, and the normals of the surface there."""
    to_local = gather_columns(solids.to_local.permute(1, 2, 0), points.solid)
    local = (to_local[:, :3] * points.world).sum(1) + to_local[:, 3]
    normal_local = local_normal(solids.kind[points.solid], local, solids.taper[points.solid])
    normal = (to_local[:, :3] * normal_local[:, None]).sum(0)
    return SurfaceNormal(local, normal_local, normal / normal.square().sum(0).sqrt().clamp_min(1e-9))


def surface_albedo(solids: Solids, index: Tensor, local: Tensor, normal: Tensor, footprint: Tensor) -> Tensor:
    """Return color [3, n] of two textures, projected along the axis that the surface faces most.

    They are filtered to `footprint` [n], the metres that a pixel covers on the surface.
    """
    half = gather_columns(solids.half.T, index)
    metres = local * half
    x, y, z = (normal / half).abs()
    sideways = (x >= y) & (x >= z)
    u = torch.where(sideways, metres[2], metres[0])
    v = torch.where((y >= z) & ~sideways, metres[2], metres[1])
    first, second, over = gather_columns(solids.colors.permute(1, 2, 0), index).unbind()
    values = []
    for layer in (0, 1):
        tile_size = solids.tile_size[index, layer]
        values.append(sample_texture(solids.texture[index, layer], u / tile_size, v / tile_size, footprint / tile_size))
    base = first + (second - first) * values[0]
    return base + (over - base) * (values[1] * solids.overlay[index])


def sunlight(lights: Lights, solids: Solids, points: SurfacePoints, normal: Tensor) -> tuple[Tensor, Tensor]:
    """Return the diffuse light and the highlight (Blinn 1977) [3, n] of the sun.

    Points that lie behind the depth map seen from the sun are in shadow.
    """
    towards = lights.sun[points.scene].T
    cosine = (normal * towards).sum(0)
    camera = orthographic_camera(lights.centre, lights.sun, lights.extent, SHADOW_TEXELS)
    casters = torch.nonzero(solids.kind != ROOM)[:, 0]
    shadow, _ = cast_rays(solids.rows(casters), camera, SHADOW_TEXELS, SHADOW_TEXELS)
    texel = camera.pixel[points.scene]
    raised = points.world + normal * (1.5 * texel + points.pixel)
    p = camera.project[points.scene].permute(1, 2, 0)
    xy = (p[:2, :3] * raised).sum(1) + p[:2, 3]
    distance = (-towards * (raised - camera.origin[points.scene, 0].T)).sum(0)
    strength = lights.sun_color[points.scene].T * sun_visibility(shadow, points.scene, xy, distance - texel)
    half = torch.nn.functional.normalize(towards - points.view, dim=0)
    return strength * cosine.clamp_min(0), strength * (half * normal).sum(0).clamp_min(0) ** 24


def sun_visibility(shadow: Tensor, scene: Tensor, xy: Tensor, distance: Tensor) -> Tensor:
    """Return the share [n] of the four texels around xy [2, n] of the depth map [B, T, T] that let the sun through."""
    corner = xy.floor()
    part = xy - corner
    light = torch.zeros_like(distance)
    for right, low in ((0, 0), (1, 0), (0, 1), (1, 1)):
        column, row = (corner + corner.new_tensor([[right], [low]])).long().clamp(0, SHADOW_TEXELS - 1)
        weight = (part[0] if right else 1 - part[0]) * (part[1] if low else 1 - part[1])
        light += weight * (distance < shadow[scene, row, column])
    inside = ((xy > 0) & (xy < SHADOW_TEXELS - 1)).all(0)
    return torch.where(inside, light, 1.0)


def lamplight(lights: Lights, points: SurfacePoints, normal: Tensor) -> Tensor:
    """Return diffuse light [3, n] of the lamp: half at its reach, by the inverse square far beyond it."""
    towards = lights.lamp[points.scene].T - points.world
    distance = towards.square().sum(0).sqrt().clamp_min(1e-3)
    cosine = ((towards * normal).sum(0) / distance).clamp_min(0)
    return lights.lamp_color[points.scene].T * cosine / (1 + (distance / lights.lamp_reach[points.scene]) ** 2)


def local_normal(kind: Tensor, p: Tensor, taper: Tensor) -> Tensor:
    """Return the outward normal [3, n] at p [3, n], both in the coordinates of the unit shape."""
    size = p.abs()
    face = (size == size.amax(0)) * p.sign()
    cap = size[1] > 0.9995
    slope = (taper / 2) * (p[0] ** 2 + p[2] ** 2).sqrt()
    side = torch.stack([p[0], slope, p[2]])
    end = torch.stack([torch.zeros_like(p[0]), p[1].sign(), torch.zeros_like(p[0])])
    round_ = torch.where(kind == FRUSTUM, torch.where(cap, end, side), p)
    return torch.where(kind == BOX, face, torch.where(kind == ROOM, -face, round_))
