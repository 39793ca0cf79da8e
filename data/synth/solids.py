"""Small closed solids (blobs, limbs, boxes, plates) from which the built-in world's things are put together.

A solid is a triangle mesh with outward winding and one colour. Solids of one thing simply overlap: the z-buffer decides
what is seen, so nothing has to be welded. Frame: world, z up, metres. Everything here is a pure function.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """One closed mesh with one colour (RGB, 0..1)."""

    vertices_m: Array
    faces: NDArray[np.int32]
    colour: Colour


@lru_cache(maxsize=8)
def _unit_sphere(rings: int, segments: int) -> tuple[Array, NDArray[np.int32]]:
    """Latitude–longitude sphere of radius 1 around z; two poles and `rings` rings between them."""
    theta = np.linspace(0.0, np.pi, rings + 2)[1:-1]
    phi = np.arange(segments) * 2 * np.pi / segments
    ring = np.stack(
        [
            np.outer(np.sin(theta), np.cos(phi)),
            np.outer(np.sin(theta), np.sin(phi)),
            np.outer(np.cos(theta), np.ones_like(phi)),
        ],
        -1,
    ).reshape(-1, 3)
    vertices = np.concatenate([[[0.0, 0.0, 1.0]], ring, [[0.0, 0.0, -1.0]]])
    faces: list[tuple[int, int, int]] = []
    last = len(vertices) - 1
    for s in range(segments):
        t = (s + 1) % segments
        faces.append((0, 1 + s, 1 + t))
        faces.append((last, last - segments + t, last - segments + s))
        for r in range(rings - 1):
            a, b = 1 + r * segments + s, 1 + r * segments + t
            faces += [(a, a + segments, b), (b, a + segments, b + segments)]
    return vertices, np.asarray(faces, np.int32)


def axes_from(direction: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Array:
    """(3,3) rotation whose columns are side, forward-up completion and `direction` (as z)."""
    z = np.asarray(direction, float)
    z = z / max(float(np.linalg.norm(z)), 1e-12)
    hint = np.asarray(up, float)
    if abs(float(z @ hint)) > 0.98 * float(np.linalg.norm(hint)):
        hint = np.array([0.0, 1.0, 0.0]) if abs(z[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    x = np.cross(hint, z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z], axis=1)


def blob(centre: ArrayLike, radii: ArrayLike, colour: Colour, rotation: Array | None = None) -> Solid:
    """An ellipsoid; `radii` along its own x, y, z, turned by `rotation`."""
    vertices, faces = _unit_sphere(9, 16)
    points = vertices * np.asarray(radii, float)
    if rotation is not None:
        points = points @ rotation.T
    return Solid(points + np.asarray(centre, float), faces, colour)


def limb(start: ArrayLike, end: ArrayLike, radius_start: float, radius_end: float, colour: Colour) -> Solid:
    """A round-ended, tapered tube from start to end."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    length = float(np.linalg.norm(b - a))
    vertices, faces = _unit_sphere(8, 12)
    upper = vertices[:, 2] >= 0
    radius = np.where(upper, radius_end, radius_start)[:, None]
    points = vertices * radius
    points[upper, 2] += length
    return Solid(points @ axes_from(b - a).T + a, faces, colour)


def box(centre: ArrayLike, size: ArrayLike, colour: Colour, rotation: Array | None = None) -> Solid:
    """A box; flat faces do not share vertices, so that it is shaded flat."""
    corner = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    vertices = np.concatenate([corner[list(quad)] for quad in quads]) * np.asarray(size, float)
    faces = np.concatenate([[[4 * k, 4 * k + 1, 4 * k + 2], [4 * k, 4 * k + 2, 4 * k + 3]] for k in range(6)]).astype(
        np.int32
    )
    if rotation is not None:
        vertices = vertices @ rotation.T
    return Solid(vertices + np.asarray(centre, float), faces, colour)


def wedge(points_bottom: ArrayLike, points_top: ArrayLike, colour: Colour) -> Solid:
    """The solid between two quadrilaterals with corresponding corners (counter-clockwise seen from the top)."""
    bottom, top = np.asarray(points_bottom, float), np.asarray(points_top, float)
    quads = [bottom[::-1], top]
    quads += [np.stack([bottom[k], bottom[(k + 1) % 4], top[(k + 1) % 4], top[k]]) for k in range(4)]
    vertices = np.concatenate(quads)
    faces = np.concatenate([[[4 * k, 4 * k + 1, 4 * k + 2], [4 * k, 4 * k + 2, 4 * k + 3]] for k in range(6)]).astype(
        np.int32
    )
    return Solid(vertices, faces, colour)


def plate(outline: Sequence[ArrayLike], thickness: float, colour: Colour) -> Solid:
    """A thin slab over a flat, star-shaped outline (a fin, a wing, a leaf): thickened along its normal."""
    ring = np.asarray(outline, float)
    centre = ring.mean(0)
    normal = np.cross(ring - centre, np.roll(ring, -1, axis=0) - centre).sum(0)
    normal /= max(float(np.linalg.norm(normal)), 1e-12)
    count = len(ring)
    half = normal * thickness / 2
    vertices = np.concatenate([ring + half, ring - half, [centre + half, centre - half]])
    faces: list[tuple[int, int, int]] = []
    for k in range(count):
        j = (k + 1) % count
        faces += [
            (2 * count, k, j),
            (2 * count + 1, count + j, count + k),
            (k, count + k, j),
            (j, count + k, count + j),
        ]
    return Solid(vertices, np.asarray(faces, np.int32), colour)


def volume(solid: Solid) -> float:
    """Signed volume; positive when the winding is outward."""
    a, b, c = (solid.vertices_m[solid.faces[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def rotation_about(axis: ArrayLike, angle_deg: float) -> Array:
    """(3,3) right-handed rotation about an axis."""
    x, y, z = np.asarray(axis, float) / max(float(np.linalg.norm(np.asarray(axis, float))), 1e-12)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(angle_deg)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
