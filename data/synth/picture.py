"""From meshes with materials to a picture: one z-buffer from the camera, one from the lamp, then a colour per pixel.

Rasterised at `samples` x `samples` points per pixel; what each point sees is kept, because labels (masks, visibility)
are read from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from data.synth import shading
from data.synth.pixels import look_up
from data.synth.shade_loop import SOURCES, shade_arrays, shade_loop
from llmpose.body.camera import Array, Camera
from llmpose.body.raster import Engine, choose_engine, compiled
from llmpose.body.render import GBuffer, mesh_normals, rasterize

_LAMP_DISTANCE_M = 12.0
_SHADOW_MAP_SIZE = 384


@dataclass(frozen=True, eq=False)
class Piece:
    """A mesh, its material, and whose it is."""

    vertices_m: Array
    """(V, 3) in the world."""
    faces: NDArray[np.int32]
    material: Array
    """(shading.MATERIAL_SIZE,)."""
    rest: Array
    """(V, 3) where each vertex lies on the body at rest; what the material's regions and patterns are read from."""
    owner: int = -1
    """Number of the person it belongs to; -1 for furniture."""
    is_skin: bool = False
    """The body itself, as against hair, skirts or furniture."""
    normals: Array | None = None
    """(V, 3) if already known."""


@dataclass(frozen=True, eq=False)
class Picture:
    rgb: Array
    """(H, W, 3) 0..1."""
    samples: int
    buffer: GBuffer
    """At `samples` times the size of the picture."""
    piece_id: NDArray[np.int32]
    """Which piece each sample sees, -1 for none."""
    owner: NDArray[np.int32]
    """Which person each sample sees, -1 for none."""


@dataclass(frozen=True, eq=False)
class _Assembly:
    """All pieces as one: numbers of vertices and faces run through."""

    vertices: Array
    normals: Array
    rest: Array
    faces: NDArray[np.int32]
    face_material: NDArray[np.int32]
    materials: Array


def paint(
    camera: Camera,
    pieces: Sequence[Piece],
    surroundings: Array,
    *,
    samples: int = 2,
    engine: Engine | None = None,
) -> Picture:
    """Draw the pieces in their surroundings (a row of shading.SURROUNDINGS_SIZE numbers)."""
    engine = choose_engine(engine)
    meshes = [(piece.vertices_m, piece.faces) for piece in pieces]
    buffer = rasterize(camera.scaled(samples), meshes, engine=engine)
    lamp_camera = _lamp(pieces, surroundings[shading.LIGHT : shading.LIGHT + 3])
    shadow_map = rasterize(lamp_camera, meshes, engine=engine, with_bary=False).depth_m
    whole = _assemble(pieces, engine)
    image = np.zeros((camera.height, camera.width, 3))
    arguments = (
        buffer.face_id,
        buffer.bary,
        samples,
        whole.faces,
        whole.vertices,
        whole.normals,
        whole.rest,
        whole.face_material,
        whole.materials,
        np.ascontiguousarray(surroundings, np.float64),
        noise_table(),
        _lamp_row(lamp_camera),
        shadow_map,
        camera.eye_m,
        *camera.ray_parts(),
        image,
    )
    if engine == "numba":
        compiled(shade_loop, *SOURCES)(*arguments)
    else:
        shade_arrays(*arguments)
    owners = np.array([piece.owner for piece in pieces], np.int32)
    return Picture(
        image,
        samples,
        buffer,
        look_up(buffer.face_id, whole.face_material, engine),
        look_up(buffer.face_id, owners[whole.face_material], engine),
    )


def extent(meshes: Sequence[Array]) -> tuple[Array, Array]:
    """(D,) lowest and highest coordinates of all points (N, D), read along rows as long as the meshes: that is fast."""
    rows = [np.ascontiguousarray(points.T) for points in meshes]
    return np.min([row.min(1) for row in rows], axis=0), np.max([row.max(1) for row in rows], axis=0)


@cache
def noise_table() -> Array:
    """(256, 256) 0..1, smooth, repeating: the grain of floors and walls, clouds, leaves. The same in every world."""
    rng = np.random.default_rng(20)
    total = np.zeros((256, 256))
    for cells, weight in ((8, 0.5), (32, 0.3), (128, 0.2)):
        grid = rng.random((cells, cells))
        position = np.arange(256) * cells / 256
        index = position.astype(np.int64)
        blend = position - index
        blend = blend * blend * (3 - 2 * blend)
        rows = grid[index] * (1 - blend)[:, None] + grid[(index + 1) % cells] * blend[:, None]
        total += weight * (rows[:, index] * (1 - blend) + rows[:, (index + 1) % cells] * blend)
    return (total - total.min()) / (total.max() - total.min())


def _lamp(pieces: Sequence[Piece], direction: Array) -> Camera:
    """The lamp as a camera whose picture just holds everyone (else: the origin)."""
    low, high = extent([piece.vertices_m for piece in pieces if piece.owner >= 0] or [np.zeros((1, 3))])
    middle = (low + high) / 2
    radius = max(float(np.linalg.norm(high - low)) / 2, 0.6)
    fov_deg = 2 * np.degrees(np.arcsin(min(radius * 1.05 / _LAMP_DISTANCE_M, 0.8)))
    return Camera.look_at(middle + direction * _LAMP_DISTANCE_M, middle, width=_SHADOW_MAP_SIZE, fov_deg=fov_deg)


def _lamp_row(lamp: Camera) -> Array:
    row = np.zeros(shading.LAMP_SIZE)
    row[:9], row[9:12], row[12], row[13:15] = lamp.R.ravel(), lamp.t, lamp.focal_px, lamp.centre_px
    return row


def _assemble(pieces: Sequence[Piece], engine: Engine) -> _Assembly:
    starts = np.cumsum([0, *[len(piece.vertices_m) for piece in pieces]])
    normals = [
        mesh_normals(piece.vertices_m, piece.faces, engine=engine) if piece.normals is None else piece.normals
        for piece in pieces
    ]
    return _Assembly(
        np.concatenate([np.asarray(piece.vertices_m, np.float64) for piece in pieces]),
        np.concatenate(normals),
        np.concatenate([piece.rest for piece in pieces]),
        np.concatenate([piece.faces + np.int32(start) for piece, start in zip(pieces, starts, strict=False)]),
        np.repeat(np.arange(len(pieces), dtype=np.int32), [len(piece.faces) for piece in pieces]),
        np.stack([piece.material for piece in pieces]),
    )
