"""A z-buffer: which triangle is nearest in every pixel, how far it is, and where in the triangle the pixel lies.

Two engines with the same answer to the last bit: a loop compiled by numba where numba is installed, and numpy otherwise
(about ten times slower). They agree because both do the same float64 operations in the same order; nothing here may be
reordered in one of them alone, and the loops are compiled without "fast" arithmetic.
"""

import hashlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmpose.errors import UserError

Array = NDArray[np.float64]
Faces = NDArray[np.int32]

Engine: TypeAlias = Literal["numba", "numpy"]

NEAR_M = 1e-3
"""Triangles with a corner nearer than this are left out whole; nothing is clipped."""

_MAX_CANDIDATES = 4_000_000
"""Pixels the numpy engine looks at in one go: bounds its memory to a few hundred megabytes."""


@cache
def default_engine() -> Engine:
    """numba where it is installed, unless LLMPOSE_NUMBA=0."""
    wanted = os.environ.get("LLMPOSE_NUMBA", "1") != "0"
    return "numba" if wanted and importlib.util.find_spec("numba") else "numpy"


def choose_engine(engine: Engine | None) -> Engine:
    """The engine to use; asking for numba where it is missing is an error."""
    if engine not in (None, "numba", "numpy"):
        raise UserError(f"unknown raster engine {engine!r}; choose numba or numpy")
    if engine == "numba" and not importlib.util.find_spec("numba"):
        raise UserError("the raster engine 'numba' needs the package numba; install it with: pip install numba")
    return engine or default_engine()


@cache
def compiled(function: Callable[..., Any], *sources: ModuleType) -> Callable[..., Any]:
    """`function` compiled by numba at its first use, kept on disk. Importing numba only now saves half a second.

    numba looks for changes in the function's own file only: `sources` are the others whose functions it calls.
    """
    import numba

    if sources:
        content = b"".join(inspect.getsource(source).encode() for source in sources)
        function = FunctionType(function.__code__, function.__globals__, function.__name__)
        # The name on disk comes from this one: other sources, another file.
        function.__qualname__ = f"{function.__name__}_{hashlib.sha256(content).hexdigest()[:12]}"
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder for the compiled code can be written: compile once per process
        return numba.njit(**options)(function)


def fill_triangles(
    pixels: Array,
    depth_m: Array,
    faces: Faces,
    first_face: int,
    face_id: NDArray[np.int32],
    nearest_m: Array,
    bary: Array,
    engine: Engine,
) -> None:
    """Draw faces (F, 3) over corners `pixels` (V, 2) and `depth_m` (V,) into the three buffers, in place.

    Faces whose corners run clockwise as seen (their backs) are left out. Of two faces at exactly the same depth the one
    with the smaller number stays. An empty `bary` (0, 0, 3) is left alone.

        face_id (H, W)   -1 = nothing         nearest_m (H, W)   inf = nothing        bary (H, W, 3)
    """
    if engine == "numba":
        compiled(_fill_loop)(pixels, depth_m, faces, first_face, face_id, nearest_m, bary)
    else:
        _fill_arrays(pixels, depth_m, faces, first_face, face_id, nearest_m, bary)


def vertex_normals(vertices: Array, faces: Faces, engine: Engine) -> Array:
    """(V, 3) unit normals: the sum of the faces around a vertex, weighted by their area. Outward if faces are."""
    if engine == "numba":
        return compiled(_normals_loop)(vertices, faces)
    return _normals_arrays(vertices, faces)


# ---- numba ----------------------------------------------------------------------------------------------------------


def _fill_loop(
    pixels: Array,
    depth_m: Array,
    faces: Faces,
    first_face: int,
    face_id: NDArray[np.int32],
    nearest_m: Array,
    bary: Array,
) -> None:
    height, width = face_id.shape
    keeps_bary = bary.shape[0] > 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        za, zb, zc = depth_m[a], depth_m[b], depth_m[c]
        if not (za > NEAR_M and zb > NEAR_M and zc > NEAR_M):
            continue
        ax, ay, bx, by, cx, cy = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if not area < 0:
            continue
        left, right, top, bottom = min(ax, bx, cx), max(ax, bx, cx), min(ay, by, cy), max(ay, by, cy)
        if right < 0 or bottom < 0 or left > width or top > height:
            continue
        x0, x1 = int(np.ceil(max(left, 0.0) - 0.5)), int(np.floor(min(right, width) - 0.5))
        y0, y1 = int(np.ceil(max(top, 0.0) - 0.5)), int(np.floor(min(bottom, height) - 0.5))
        for y in range(y0, y1 + 1):
            py = y + 0.5
            for x in range(x0, x1 + 1):
                px = x + 0.5
                across_b = (px - ax) * (cy - ay) - (py - ay) * (cx - ax)
                across_c = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
                if across_b > 0 or across_c > 0:  # the area is negative: outside, known before the slow divisions
                    continue
                wb, wc = across_b / area, across_c / area
                wa = 1.0 - wb - wc
                if wa < 0:
                    continue
                # 1 / depth is linear on the screen, so the true depth and barycentrics come from it.
                depth = 1.0 / (wa / za + wb / zb + wc / zc)
                if depth < nearest_m[y, x]:
                    nearest_m[y, x] = depth
                    face_id[y, x] = first_face + f
                    if keeps_bary:
                        bary[y, x, 0] = wa / za * depth
                        bary[y, x, 1] = wb / zb * depth
                        bary[y, x, 2] = wc / zc * depth


def _normals_loop(vertices: Array, faces: Faces) -> Array:
    normals = np.zeros(vertices.shape, np.float64)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        wx, wy, wz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(vertices.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        length = np.sqrt(x * x + y * y + z * z) + 1e-12
        normals[i, 0] = x / length
        normals[i, 1] = y / length
        normals[i, 2] = z / length
    return normals


# ---- numpy ----------------------------------------------------------------------------------------------------------


def _fill_arrays(
    pixels: Array,
    depth_m: Array,
    faces: Faces,
    first_face: int,
    face_id: NDArray[np.int32],
    nearest_m: Array,
    bary: Array,
) -> None:
    height, width = face_id.shape
    corners, depths = pixels[faces], depth_m[faces]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low, high = corners.min(1), corners.max(1)
    seen = (area < 0) & (depths > NEAR_M).all(1) & (high >= 0).all(1) & (low <= (width, height)).all(1)
    front = np.flatnonzero(seen)
    first = np.ceil(np.maximum(low[front], 0.0) - 0.5).astype(np.int64)
    last = np.floor(np.minimum(high[front], (width, height)) - 0.5).astype(np.int64)
    columns, rows = (np.maximum(last - first + 1, 0)).T
    counts = columns * rows
    start = 0
    while start < len(front):
        stop = max(start + 1, int(np.searchsorted(np.cumsum(counts[start:]), _MAX_CANDIDATES, "right")) + start)
        part = slice(start, stop)
        owner = np.repeat(np.arange(start, stop), counts[part])
        place = np.arange(len(owner)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        x, y = first[owner, 0] + place % columns[owner], first[owner, 1] + place // columns[owner]
        _keep_nearest(
            front[owner], x, y, a, b, c, area, depths, first_face, face_id=face_id, nearest_m=nearest_m, bary=bary
        )
        start = stop


def _keep_nearest(
    face: NDArray[np.int64],
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    a: Array,
    b: Array,
    c: Array,
    area: Array,
    depths: Array,
    first_face: int,
    *,
    face_id: NDArray[np.int32],
    nearest_m: Array,
    bary: Array,
) -> None:
    """Candidate pixels (x, y) of `face`: those inside and nearest so far are written."""
    px, py = x + 0.5, y + 0.5
    ax, ay, bx, by, cx, cy = a[face, 0], a[face, 1], b[face, 0], b[face, 1], c[face, 0], c[face, 1]
    wb = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) / area[face]
    wc = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / area[face]
    wa = 1.0 - wb - wc
    inside = (wa >= 0) & (wb >= 0) & (wc >= 0)
    face, x, y = face[inside], x[inside], y[inside]
    wa, wb, wc = wa[inside], wb[inside], wc[inside]
    za, zb, zc = depths[face].T
    depth = 1.0 / (wa / za + wb / zb + wc / zc)
    nearer = depth < nearest_m[y, x]
    # Written from far to near, later faces first: what is written last to a pixel stays.
    order = np.lexsort((-face[nearer], -depth[nearer]))
    kept = np.flatnonzero(nearer)[order]
    at = y[kept], x[kept]
    nearest_m[at] = depth[kept]
    face_id[at] = first_face + face[kept]
    if not len(bary):
        return
    for corner, (weight, z) in enumerate(((wa, za), (wb, zb), (wc, zc))):
        bary[(*at, corner)] = weight[kept] / z[kept] * depth[kept]


def _normals_arrays(vertices: Array, faces: Faces) -> Array:
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    u, w = b - a, c - a
    normal = np.stack(
        [
            u[:, 1] * w[:, 2] - u[:, 2] * w[:, 1],
            u[:, 2] * w[:, 0] - u[:, 0] * w[:, 2],
            u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0],
        ],
        axis=1,
    )
    # bincount adds in the order of the faces, as the loop does.
    sums = [np.bincount(faces.ravel(), np.repeat(normal[:, axis], 3), len(vertices)) for axis in range(3)]
    x, y, z = sums
    length = np.sqrt(x * x + y * y + z * z) + 1e-12
    return np.stack([x / length, y / length, z / length], axis=1)
