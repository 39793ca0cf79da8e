"""The colours of a whole picture, point by point as a compiled loop or all at once as arrays: the same bits.

`picture.py` calls one or the other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.synth import backdrop, shading, two_ways
from data.synth.backdrop import arriving, reached, surroundings
from data.synth.shading import Array, film, lit_share, shaded, surface, unit
from data.synth.two_ways import both_ways

SOURCES = (two_ways, shading, backdrop)
"""What is compiled into the loop beside this file."""


@both_ways
def at(table: Array, k0: Any, k1: Any, k2: Any, w0: Any, w1: Any, w2: Any) -> Any:
    """Three numbers of a table of vertices, inside the face (k0, k1, k2)."""
    return (
        w0 * table[k0, 0] + w1 * table[k1, 0] + w2 * table[k2, 0],
        w0 * table[k0, 1] + w1 * table[k1, 1] + w2 * table[k2, 1],
        w0 * table[k0, 2] + w1 * table[k1, 2] + w2 * table[k2, 2],
    )


def shade_loop(
    face_id: NDArray[np.int32],
    bary: Array,
    samples: int,
    faces: NDArray[np.int32],
    vertices: Array,
    normals: Array,
    rest: Array,
    face_material: NDArray[np.int32],
    materials: Array,
    s: Array,
    noise: Array,
    lamp: Array,
    shadow_map: Array,
    eye: Array,
    across: Array,
    down: Array,
    ahead: Array,
    image: Array,
) -> None:
    """A row at a time, and for the row one step after the other: each step is short, so that the processor works on
    several points at once; all steps of one point are a chain in which each waits for the one before."""
    height, width = image.shape[0], image.shape[1]
    ox, oy, oz = eye[0], eye[1], eye[2]
    per_pixel = samples * samples
    share = 1.0 / per_pixel
    # Background: per pixel, as the surroundings are smooth. Meshes: per sample, `slot` says which of the row's.
    column = np.empty(width, np.int64)
    on_floor, on_side, is_backdrop = np.empty(width, np.bool_), np.empty(width, np.bool_), np.empty(width, np.bool_)
    ray, distance, behind_lit = np.empty((width, 3)), np.empty(width), np.empty(width)
    slot, face = np.empty(width * per_pixel, np.int64), np.empty(width * per_pixel, np.int64)
    weights, place, position = np.empty((len(slot), 3)), np.empty((len(slot), 3)), np.empty((len(slot), 3))
    normal, light = np.empty((len(slot), 3)), np.empty((len(slot), 3))
    colour, lit = np.empty((len(slot), 4)), np.empty(len(slot))
    for y in range(height):
        misses, hits = 0, 0
        for x in range(width):
            is_open = False
            for i in range(samples):
                for j in range(samples):
                    v, u = y * samples + i, x * samples + j
                    f = face_id[v, u]
                    if f < 0:
                        is_open = True
                    else:
                        face[hits] = f
                        slot[hits] = x * per_pixel + i * samples + j
                        weights[hits, 0], weights[hits, 1], weights[hits, 2] = (
                            bary[v, u, 0],
                            bary[v, u, 1],
                            bary[v, u, 2],
                        )
                        hits += 1
            if is_open:
                column[misses] = x
                misses += 1

        for k in range(misses):
            x = column[k]
            dx = across[x, 0] + down[y, 0] + ahead[0]
            dy = across[x, 1] + down[y, 1] + ahead[1]
            dz = across[x, 2] + down[y, 2] + ahead[2]
            on_floor[k], on_side[k], is_backdrop[k], distance[k] = reached(s, ox, oy, oz, dx, dy, dz)
            ray[k, 0], ray[k, 1], ray[k, 2] = dx, dy, dz
        for k in range(misses):
            far = distance[k]
            px, py, pz = ox + ray[k, 0] * far, oy + ray[k, 1] * far, oz + ray[k, 2] * far
            behind_lit[k] = lit_share(lamp, shadow_map, px, py, pz, 0.03)
        for k in range(misses):
            x = column[k]
            r, g, b = arriving(
                s,
                noise,
                on_floor[k],
                on_side[k],
                is_backdrop[k],
                distance[k],
                behind_lit[k],
                ox,
                oy,
                oz,
                ray[k, 0],
                ray[k, 1],
                ray[k, 2],
            )
            for i in range(x * per_pixel, x * per_pixel + per_pixel):
                light[i, 0], light[i, 1], light[i, 2] = r, g, b

        for k in range(hits):
            f = face[k]
            k0, k1, k2 = faces[f, 0], faces[f, 1], faces[f, 2]
            w0, w1, w2 = weights[k, 0], weights[k, 1], weights[k, 2]
            place[k, 0], place[k, 1], place[k, 2] = at(rest, k0, k1, k2, w0, w1, w2)
            position[k, 0], position[k, 1], position[k, 2] = at(vertices, k0, k1, k2, w0, w1, w2)
            nx, ny, nz = at(normals, k0, k1, k2, w0, w1, w2)
            normal[k, 0], normal[k, 1], normal[k, 2] = unit(nx, ny, nz)
        for k in range(hits):
            px, py, pz = position[k, 0], position[k, 1], position[k, 2]
            nx, ny, nz = normal[k, 0], normal[k, 1], normal[k, 2]
            lit[k] = lit_share(lamp, shadow_map, px + 0.015 * nx, py + 0.015 * ny, pz + 0.015 * nz, 0.012)
        for k in range(hits):
            colour[k, 0], colour[k, 1], colour[k, 2], colour[k, 3] = surface(
                materials[face_material[face[k]]], place[k, 0], place[k, 1], place[k, 2]
            )
        for k in range(hits):
            ex, ey, ez = unit(ox - position[k, 0], oy - position[k, 1], oz - position[k, 2])
            nx, ny, nz = normal[k, 0], normal[k, 1], normal[k, 2]
            i = slot[k]
            light[i, 0], light[i, 1], light[i, 2] = shaded(
                s, colour[k, 0], colour[k, 1], colour[k, 2], colour[k, 3], nx, ny, nz, ex, ey, ez, lit[k]
            )

        for x in range(width):
            for channel in range(3):
                total = 0.0
                for i in range(x * per_pixel, x * per_pixel + per_pixel):
                    total += light[i, channel]
                image[y, x, channel] = total * share
    values = image.reshape(-1)
    for k in range(values.shape[0]):  # a loop of its own: roots and divisions of several values at once
        values[k] = film(s, values[k])


def shade_arrays(
    face_id: NDArray[np.int32],
    bary: Array,
    samples: int,
    faces: NDArray[np.int32],
    vertices: Array,
    normals: Array,
    rest: Array,
    face_material: NDArray[np.int32],
    materials: Array,
    s: Array,
    noise: Array,
    lamp: Array,
    shadow_map: Array,
    eye: Array,
    across: Array,
    down: Array,
    ahead: Array,
    image: Array,
) -> None:
    """What `shade_loop` does, with arrays: all surroundings at once, then each material at once."""
    height, width = image.shape[:2]
    light = np.zeros((height * samples, width * samples, 3))
    with np.errstate(all="ignore"):
        behind = (face_id < 0).reshape(height, samples, width, samples).any((1, 3))
        if behind.any():
            rows, columns = np.nonzero(behind)
            dx, dy, dz = across[columns].T + down[rows].T + ahead[:, None]
            seen = np.zeros((height, width, 3))
            seen[behind] = np.stack(
                surroundings(s, noise, lamp, shadow_map, eye[0], eye[1], eye[2], dx, dy, dz), axis=1
            )
            light[:] = np.repeat(np.repeat(seen, samples, axis=0), samples, axis=1)
        owner = np.where(face_id >= 0, face_material[face_id], -1)
        for number in np.unique(owner[owner >= 0]):
            where = owner == number
            corners, weights = faces[face_id[where]].T, bary[where].T
            position, normal, place = (at(table, *corners, *weights) for table in (vertices, normals, rest))
            light[where] = np.stack(
                _point(materials[number], s, lamp, shadow_map, place, position, normal, eye[0], eye[1], eye[2]),
                axis=1,
            )
        light = light.reshape(height, samples, width, samples, 3)
        total = np.zeros((height, width, 3))
        for i in range(samples):
            for j in range(samples):
                total = total + light[:, i, :, j]
        image[:] = film(s, total * (1.0 / (samples * samples)))


def _point(
    m: Array,
    s: Array,
    lamp: Array,
    shadow_map: Array,
    rest: Any,
    position: Any,
    normal: Any,
    ox: float,
    oy: float,
    oz: float,
) -> Any:
    """Light from a point of a mesh: rest position, world position and normal (three numbers each), eye o."""
    px, py, pz = position
    nx, ny, nz = unit(normal[0], normal[1], normal[2])
    ex, ey, ez = unit(ox - px, oy - py, oz - pz)
    lit = lit_share(lamp, shadow_map, px + 0.015 * nx, py + 0.015 * ny, pz + 0.015 * nz, 0.012)
    r, g, b, gloss = surface(m, rest[0], rest[1], rest[2])
    return shaded(s, r, g, b, gloss, nx, ny, nz, ex, ey, ez, lit)
