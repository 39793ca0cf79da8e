"""One thing in a picture: lit, shadowed, seen by a camera with known intrinsics, its keypoints tested for visibility.

The thing stands on a floor or floats (fish); the camera goes round it and looks a little down. Every
picture is a pure function of its random generator.
"""

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.synth.objects import Category, Thing
from data.synth.solids import Array, rotation_about
from llmpose.body.camera import Camera
from llmpose.body.render import GBuffer, rasterize

SUPERSAMPLING = 2
SHADOW_MAP_PX = 160
FACES_VIEWER_DEG = 100.0
"""A thing is seen from within this angle of its front: its left and right stay tellable."""
HIDDEN_BEHIND = 0.06
"""A keypoint is hidden when the picture's surface lies nearer to the camera by more than this share of its size."""


@dataclass(frozen=True)
class ObjectPicture:
    """A rendered thing and its annotation, in pixels of the image."""

    image: Image.Image
    category: str
    keypoints: NDArray[np.float32]
    """(K,3): x, y, and 2 visible, 1 hidden by something, 0 outside the picture."""
    box_xyxy_px: NDArray[np.float32]
    mask: NDArray[np.bool_]


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Array:
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)))


def _mesh(thing: Thing) -> tuple[Array, NDArray[np.int32], Array]:
    """All solids as one mesh: vertices, faces, one colour per face."""
    vertices, faces, colours, start = [], [], [], 0
    for solid in thing.solids:
        vertices.append(solid.vertices_m)
        faces.append(solid.faces + start)
        colours.append(np.broadcast_to(solid.colour, (len(solid.faces), 3)))
        start += len(solid.vertices_m)
    return np.concatenate(vertices), np.concatenate(faces).astype(np.int32), np.concatenate(colours)


def _smooth_normals(vertices: Array, faces: NDArray[np.int32]) -> Array:
    """(V,3); corners of boxes do not share vertices, so they stay sharp."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, faces[:, k], flat)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def picture(category: Category, rng: np.random.Generator, size_px: int = 160) -> ObjectPicture:
    """Sample one thing of the category and take its picture."""
    thing = category.sample(rng)
    vertices, faces, colours = _mesh(thing)
    low, high = vertices.min(0), vertices.max(0)
    extent = float(np.linalg.norm(high - low))
    middle = (low + high) / 2
    around, above = rng.uniform(-FACES_VIEWER_DEG, FACES_VIEWER_DEG), rng.uniform(4, 34)
    turn = rotation_about((0, 0, 1), around) @ rotation_about((1, 0, 0), -above)
    fov = rng.uniform(24, 45)
    distance = extent * rng.uniform(0.58, 0.80) / np.tan(np.radians(fov) / 2)
    eye = middle + turn @ np.array([0.0, -distance, 0.0])
    aim = middle + rng.uniform(-0.09, 0.09, 3) * extent
    camera = Camera.look_at(eye, aim, width=size_px, fov_deg=fov, roll_deg=rng.uniform(-8, 8))
    fine = camera.scaled(SUPERSAMPLING)
    buffer = rasterize(fine, [(vertices, faces)])
    floor_z = float(low[2]) if rng.random() < 0.75 and "fish" not in category.super_category else None
    image = _shade(buffer, fine, vertices, faces, colours, floor_z, extent, rng)
    small = image.reshape(size_px, SUPERSAMPLING, size_px, SUPERSAMPLING, 3).mean((1, 3))
    hit = buffer.hit.reshape(size_px, SUPERSAMPLING, size_px, SUPERSAMPLING).mean((1, 3)) >= 0.5
    rows, columns = np.flatnonzero(hit.any(1)), np.flatnonzero(hit.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    return ObjectPicture(
        image=Image.fromarray((np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)),
        category=category.name,
        keypoints=_keypoints(thing, camera, fine, buffer, extent),
        box_xyxy_px=box,
        mask=hit,
    )


def _keypoints(thing: Thing, camera: Camera, fine: Camera, buffer: GBuffer, extent: float) -> NDArray[np.float32]:
    pixels, depth = camera.project(thing.keypoints_m)
    inside = (pixels >= 0).all(1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height) & (depth > 0)
    at = np.clip((pixels * SUPERSAMPLING).astype(int), 0, fine.width - 1)
    in_front = buffer.depth_m[at[:, 1], at[:, 0]] < depth - HIDDEN_BEHIND * extent
    visibility = np.where(inside, np.where(in_front, 1, 2), 0)
    points = np.where(inside[:, None], pixels, 0.0)
    return np.concatenate([points, visibility[:, None]], 1).astype(np.float32)


def _shade(
    buffer: GBuffer, camera: Camera, vertices: Array, faces: NDArray[np.int32], colours: Array,
    floor_z: float | None, extent: float, rng: np.random.Generator,
) -> Array:  # fmt: skip
    """Background, floor with the thing's shadow, the thing with diffuse light and its own shadow."""
    height, width = buffer.face_id.shape
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.25)
    light = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    ambient, strength = rng.uniform(0.36, 0.5), rng.uniform(0.5, 0.72)
    middle = (vertices.min(0) + vertices.max(0)) / 2
    lamp = Camera.look_at(middle + light * extent * 12, middle, width=SHADOW_MAP_PX, fov_deg=7.5)
    nearest = rasterize(lamp, [(vertices, faces)]).depth_m

    def lit(points: Array) -> NDArray[np.bool_]:
        pixels, depth = lamp.project(points)
        at = np.floor(pixels).astype(int)
        inside = ((at >= 0) & (at < SHADOW_MAP_PX)).all(-1)
        at = np.clip(at, 0, SHADOW_MAP_PX - 1)
        return ~(inside & (nearest[at[..., 1], at[..., 0]] < depth - 0.03 * extent))

    top, bottom = _colour(rng, (0.0, 0.45), (0.35, 0.95)), _colour(rng, (0.0, 0.45), (0.3, 0.9))
    blend = np.linspace(0, 1, height)[:, None, None]
    image = np.broadcast_to(top * (1 - blend) + bottom * blend, (height, width, 3)).copy()
    for _ in range(rng.integers(0, 7)):  # clutter behind the thing
        patch = _colour(rng, (0.0, 0.7), (0.2, 0.95))
        x0, y0 = rng.integers(0, width), rng.integers(0, int(height * 0.8))
        w, h = (int(v) for v in rng.uniform(0.05, 0.35, 2) * width)
        image[y0 : y0 + h, x0 : x0 + w] = 0.5 * image[y0 : y0 + h, x0 : x0 + w] + 0.5 * patch
    if floor_z is not None:
        rays = camera.rays()
        steps = (floor_z - camera.eye_m[2]) / np.where(np.abs(rays[..., 2]) < 1e-6, -1e-6, rays[..., 2])
        floor = (steps > 0) & (steps < extent * 40)
        points = camera.eye_m + rays[floor] * steps[floor][:, None]
        tile = extent * rng.uniform(0.15, 0.6)
        first, second = _colour(rng, (0.0, 0.4), (0.3, 0.9)), _colour(rng, (0.0, 0.4), (0.3, 0.9))
        if rng.random() < 0.5:
            second = first
        odd = (np.floor(points[:, :2] / tile).sum(1) % 2).astype(bool)
        ground = np.where(odd[:, None], first, 0.75 * first + 0.25 * second)
        image[floor] = ground * (ambient + strength * light[2] * lit(points))[:, None]
    hit = buffer.hit
    face = buffer.face_id[hit]
    corners = faces[face]
    weights = buffer.bary[hit][..., None]
    points = (vertices[corners] * weights).sum(1)
    normals = (_smooth_normals(vertices, faces)[corners] * weights).sum(1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    facing = np.clip(normals @ light, 0, None)
    sky = 0.5 + 0.5 * normals[:, 2]
    shade = ambient * (0.7 + 0.5 * sky) + strength * facing * lit(points + normals * 0.02 * extent)
    image[hit] = colours[face] * shade[:, None]
    return np.clip(image + rng.normal(0, 0.012, image.shape), 0, 1)
