"""From the implicit body to a closed triangle mesh with SMPL's own counts: 6890 vertices, 13776 faces.

A closed surface without handles has F = 2 V - 4 faces (Euler). So if the left half, open along x = 0, has exactly V - 2
faces, the welded whole has V vertices: the half is decimated to just below that and single edges are split to reach it.

    march the half grid -> decimate (finer at the head and hands) -> relax on the surface -> mirror and weld
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from data.synth.body_surface import BodySurface

_LOW_M, _HIGH_M = np.array([0.0, -1.20, -0.17]), np.array([0.90, 0.60, 0.20])
_ZOOMS: tuple[tuple[tuple[float, float, float], float, float], ...] = (
    # centre, size, gain: where the eye wants detail
    ((0.0, 0.41, 0.10), 0.06, 1.3),
    ((0.82, 0.214, -0.035), 0.06, 1.2),
    ((0.12, -1.15, 0.12), 0.05, 0.3),
)


@dataclass(frozen=True)
class Mesh:
    vertices_m: np.ndarray
    """(V, 3)."""
    faces: np.ndarray
    """(F, 3), counter-clockwise seen from outside."""
    mirror: np.ndarray
    """(V,) the vertex at the mirrored place; itself on the midline."""


def body_mesh(surface: BodySurface, *, num_vertices: int = 6890, cell_m: float = 0.004) -> Mesh:
    """The stand-in's mesh. Deterministic: the same libraries give the same bytes."""
    vertices, faces = _march(surface, cell_m)
    vertices, faces = _decimate(vertices, faces, num_vertices - 2)
    for _ in range(4):
        vertices = _relax(surface, vertices, faces, rounds=4)
        faces = _flip_edges(vertices, faces)
    vertices[_rim(faces), 0] = 0.0
    return _mirrored(vertices, faces)


def edges(faces: np.ndarray) -> np.ndarray:
    """(E, 2) every side of every face, smaller index first; inner edges come twice."""
    return np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)


def neighbours(faces: np.ndarray, num_vertices: int) -> sp.csr_matrix:
    """(V, V) each row averages the vertices that share an edge with it."""
    return _average(np.unique(edges(faces), axis=0), num_vertices)


def _average(pairs: np.ndarray, num_vertices: int) -> sp.csr_matrix:
    both = np.concatenate([pairs, pairs[:, ::-1]])
    touch = sp.coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(num_vertices, num_vertices)).tocsr()
    count = np.asarray(touch.sum(axis=1)).ravel()
    return sp.csr_matrix(sp.diags(1 / np.maximum(count, 1)) @ touch)


def _rim(faces: np.ndarray) -> np.ndarray:
    """Vertices on the open border of the half."""
    unique, count = np.unique(edges(faces), axis=0, return_counts=True)
    return np.unique(unique[count == 1])


def _march(surface: BodySurface, cell_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes on x >= 0 with x = 0 a grid plane, so the open rim lies exactly on it."""
    from skimage.measure import marching_cubes

    axes = [np.arange(low, high, cell_m) for low, high in zip(_LOW_M, _HIGH_M, strict=True)]
    found = marching_cubes(surface.on_grid(axes), 0.0, spacing=(cell_m,) * 3)
    vertices, faces = np.asarray(found[0], float) + _LOW_M, np.asarray(found[1], np.int64)
    vertices[vertices[:, 0] < cell_m * 0.02, 0] = 0.0
    return _weld(vertices, faces)


def _weld(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge equal vertices and drop what collapses: zero-area faces would break the count of faces."""
    keys = np.round(vertices / 1e-7).astype(np.int64)
    _, first, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    faces = index.ravel()[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (a != c)]
    used, index = np.unique(faces, return_inverse=True)
    return vertices[first][used], index.reshape(faces.shape)


# ---- decimation -----------------------------------------------------------------------------------------------------


def _zoom(points: np.ndarray) -> np.ndarray:
    """Magnify the regions of `_ZOOMS`: the decimation measures errors there as if they were larger.

    Around each centre the distance r becomes r + gain * size * tanh(r / size): stretched by 1 + gain inside, shifted
    outside, smooth, and never folded.
    """
    for centre, size, gain in _ZOOMS:
        offset = points - np.array(centre)
        length = np.linalg.norm(offset, axis=1, keepdims=True)
        points = np.array(centre) + offset * (1 + gain * size * np.tanh(length / size) / np.maximum(length, 1e-9))
    return points


def _unzoom(points: np.ndarray) -> np.ndarray:
    """Inverse of `_zoom`; Newton's method on the distance, which is concave, so it converges from below."""
    for centre, size, gain in reversed(_ZOOMS):
        offset = points - np.array(centre)
        zoomed = np.linalg.norm(offset, axis=1, keepdims=True)
        length = np.maximum(zoomed - gain * size, zoomed / (1 + gain))
        for _ in range(30):
            tanh = np.tanh(length / size)
            length -= (length + gain * size * tanh - zoomed) / (1 + gain * (1 - tanh**2))
        points = np.array(centre) + offset * length / np.maximum(zoomed, 1e-9)
    return points


def _decimate(vertices: np.ndarray, faces: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadric decimation to at most `target` faces, then edge splits to exactly that many."""
    import fast_simplification

    zoomed: Any = _zoom(vertices).astype(np.float32)
    small, triangles = zoomed, faces
    for fewer in range(40):  # it may stop a few faces above its goal
        result: Any = fast_simplification.simplify(zoomed, faces.astype(np.int32), target_count=target - fewer, agg=5.0)
        small, triangles = _weld(np.asarray(result[0], float), np.asarray(result[1], np.int64))
        if len(triangles) <= target:
            break
    small = _unzoom(small)
    small[_rim(triangles), 0] = 0.0  # magnifying the hand bends the plane a little
    while len(triangles) < target:  # splitting a rim edge adds one face, an inner edge two
        unique, count = np.unique(edges(triangles), axis=0, return_counts=True)
        pool = unique[count == (1 if (target - len(triangles)) % 2 else 2)]
        longest = np.linalg.norm(small[pool[:, 0]] - small[pool[:, 1]], axis=1).argmax()
        small, triangles = _split(small, triangles, *pool[longest])
    return small, triangles


def _split(vertices: np.ndarray, faces: np.ndarray, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    middle = len(vertices)
    touched = (faces == a).any(axis=1) & (faces == b).any(axis=1)
    halves = np.concatenate([np.where(faces[touched] == end, middle, faces[touched]) for end in (b, a)])
    return np.concatenate([vertices, (vertices[[a]] + vertices[[b]]) / 2]), np.concatenate([faces[~touched], halves])


# ---- relaxation -----------------------------------------------------------------------------------------------------


def _relax(surface: BodySurface, vertices: np.ndarray, faces: np.ndarray, rounds: int) -> np.ndarray:
    """Slide vertices towards the middle of their neighbours along the surface, and put them back on it. The rim stays
    on x = 0 and listens to the rim only."""
    unique, count = np.unique(edges(faces), axis=0, return_counts=True)
    on_rim = np.zeros(len(vertices), bool)
    on_rim[_rim(faces)] = True
    inner, border = _average(unique, len(vertices)), _average(unique[count == 1], len(vertices))
    for _ in range(rounds):
        goal = np.where(on_rim[:, None], border @ vertices, inner @ vertices)
        normal = surface.gradient(vertices)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
        step = goal - vertices
        step -= (step * normal).sum(axis=1, keepdims=True) * normal
        vertices = _project(surface, vertices + 0.35 * step)
        vertices[:, 0] = np.where(on_rim, 0.0, np.maximum(vertices[:, 0], 1e-4))
    return vertices


def _project(surface: BodySurface, points: np.ndarray, longest_m: float = 0.004) -> np.ndarray:
    """One Newton step towards the surface, of bounded length."""
    slope = surface.gradient(points)
    step = (surface(points) / np.maximum((slope**2).sum(axis=1), 0.05))[:, None] * slope
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return points - step * np.minimum(1, longest_m / np.maximum(length, 1e-12))


def _flip_edges(vertices: np.ndarray, faces: np.ndarray, passes: int = 2) -> np.ndarray:
    """Replace the shared edge of two nearly coplanar triangles by the other diagonal where that makes fatter ones.

      c                c
     / \\              /|\\        the angles at c and d add up to more than 180 degrees (Delaunay's test)
    a---b    ->      a | b
     \\ /              \\|/
      d                d
    """
    faces = faces.copy()
    for _ in range(passes):
        a, b, c, d, first, second = _inner_edges(faces)
        va, vb, vc, vd = (vertices[index] for index in (a, b, c, d))
        normal_1, normal_2 = np.cross(vb - va, vc - va), np.cross(va - vb, vd - vb)
        new_1, new_2 = np.cross(vd - va, vc - va), np.cross(vb - vd, vc - vd)
        length_1, length_2 = (np.linalg.norm(normal, axis=1) + 1e-20 for normal in (normal_1, normal_2))
        mean = normal_1 / length_1[:, None] + normal_2 / length_2[:, None]
        flat = (normal_1 * normal_2).sum(axis=1) / (length_1 * length_2) > 0.7
        fits = ((new_1 * mean).sum(axis=1) > 0) & ((new_2 * mean).sum(axis=1) > 0)
        better = _angle(vc, va, vb) + _angle(vd, va, vb) > np.pi + 0.05
        existing = {tuple(pair) for pair in np.unique(edges(faces), axis=0).tolist()}
        touched = np.zeros(len(faces), bool)
        flips = 0
        for index in np.flatnonzero(flat & fits & better):
            i, j = first[index], second[index]
            new = (min(c[index], d[index]), max(c[index], d[index]))
            if touched[i] or touched[j] or new in existing:
                continue
            faces[i], faces[j] = (a[index], d[index], c[index]), (d[index], b[index], c[index])
            touched[[i, j]] = True
            existing.add(new)
            flips += 1
        if not flips:
            break
    return faces


def _inner_edges(faces: np.ndarray) -> tuple[np.ndarray, ...]:
    """For each edge with two faces: face `first` is (a, b, c) in its winding, face `second` (b, a, d)."""
    starts, ends, tips = faces.T.ravel(), np.roll(faces, -1, axis=1).T.ravel(), np.roll(faces, -2, axis=1).T.ravel()
    owner = np.tile(np.arange(len(faces)), 3)
    size = len(faces) * 3 + faces.max() + 1
    key, reverse = starts * size + ends, ends * size + starts
    order = np.argsort(key)
    place = np.searchsorted(key[order], reverse)
    place[place == len(key)] = 0
    partner = order[place]
    keep = (key[partner] == reverse) & (starts < ends)
    return starts[keep], ends[keep], tips[keep], tips[partner][keep], owner[keep], owner[partner][keep]


def _angle(corner: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    x, y = a - corner, b - corner
    cosine = (x * y).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1) + 1e-15)
    return np.arccos(np.clip(cosine, -1, 1))


def _mirrored(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    """Left half and its mirror image, sharing the rim."""
    half = len(vertices)
    inner = np.ones(half, bool)
    inner[_rim(faces)] = False
    other = np.arange(half)
    other[inner] = half + np.arange(inner.sum())
    mirror = np.concatenate([other, np.flatnonzero(inner)])
    return Mesh(
        np.concatenate([vertices, vertices[inner] * [-1, 1, 1]]),
        np.concatenate([faces, other[faces][:, ::-1]]),
        mirror,
    )
