"""Soft shapes to model with: ellipsoids, capsules and lofted tubes as signed distances, joined by a smooth minimum.

A distance is negative inside. `blend_m`, the radius of the minimum, is how far one shape melts into the others. A blob
is evaluated only inside its own box, which makes a body of seventy of them cheap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from scipy.interpolate import PchipInterpolator

Vector: TypeAlias = Sequence[float]


@dataclass(frozen=True)
class Blob:
    """One primitive: its signed distance, the box outside of which it plays no part, and how it joins the rest."""

    distance: Callable[[np.ndarray], np.ndarray]
    low: np.ndarray
    high: np.ndarray
    blend_m: float = 0.0
    carve: bool = False
    """Taken away instead of added."""

    def join(self, so_far: np.ndarray, points: np.ndarray) -> np.ndarray:
        mine = self.distance(points)
        return -smooth_min(-so_far, mine, self.blend_m) if self.carve else smooth_min(so_far, mine, self.blend_m)


def smooth_min(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Minimum whose corner is rounded over `radius` (quadratic)."""
    if radius <= 0:
        return np.minimum(a, b)
    overlap = np.maximum(radius - np.abs(a - b), 0) / radius
    return np.minimum(a, b) - overlap**2 * radius / 4


def smooth_max(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    return -smooth_min(-a, -b, radius)


def ellipsoid(blend_m: float, centre: Vector, radii: Vector, *, carve: bool = False) -> Blob:
    """Radii along x, y, z. The distance is the usual first-order one: exact on the surface."""
    middle, size = np.array(centre, float), np.array(radii, float)

    def distance(points: np.ndarray) -> np.ndarray:
        scaled = (points - middle) / size
        length = np.linalg.norm(scaled, axis=-1)
        return length * (length - 1) / np.maximum(np.linalg.norm(scaled / size, axis=-1), 1e-9)

    return Blob(distance, middle - size, middle + size, blend_m, carve)


def capsule(blend_m: float, start: Vector, end: Vector, radius_start: float, radius_end: float) -> Blob:
    """A rounded stick that may taper."""
    a, b = np.array(start, float), np.array(end, float)
    axis = b - a

    def distance(points: np.ndarray) -> np.ndarray:
        along = np.clip((points - a) @ axis / (axis @ axis), 0, 1)
        radius = radius_start + (radius_end - radius_start) * along
        return np.linalg.norm(points - a - along[..., None] * axis, axis=-1) - radius

    reach = max(radius_start, radius_end)
    return Blob(distance, np.minimum(a, b) - reach, np.maximum(a, b) + reach, blend_m)


@dataclass(frozen=True)
class Loft:
    """A tube from `start` to `end` whose cross-section changes along the way.

    rows: (t, r1, r2, o1, o2): at t in 0..1 the half-widths along `side` and along axis x side, the centre's offsets.
    `roundness` 2 is an ellipse, more is squarer. `caps`: how far the two ends bulge, as a share of the radius there.
    """

    start: Vector
    end: Vector
    side: Vector
    rows: Sequence[Sequence[float]]
    caps: tuple[float, float] = (1.0, 1.0)
    roundness: float = 2.0
    steps: int = field(default=256, repr=False)

    @cached_property
    def _table(self) -> np.ndarray:
        rows = np.array([[*row, *([0.0] * (5 - len(row)))] for row in self.rows])
        return PchipInterpolator(rows[:, 0], rows[:, 1:], axis=0)(np.linspace(0, 1, self.steps + 1))

    def blob(self, blend_m: float) -> Blob:
        a, b = np.array(self.start, float), np.array(self.end, float)
        length = float(np.linalg.norm(b - a))
        axis = (b - a) / length
        side = np.array(self.side, float) - (np.array(self.side) @ axis) * axis
        side /= np.linalg.norm(side)
        front = np.cross(axis, side)
        table, power = self._table, self.roundness

        def distance(points: np.ndarray) -> np.ndarray:
            offset = points - a
            height = offset @ axis
            place = np.clip(height / length, 0, 1) * self.steps
            below = np.minimum(place.astype(int), self.steps - 1)
            share = (place - below)[..., None]
            row = table[below] * (1 - share) + table[below + 1] * share
            thin = np.minimum(row[..., 0], row[..., 1])
            beyond = height - np.clip(height, 0, length)
            cap = thin * np.where(beyond < 0, self.caps[0], self.caps[1])
            x = np.abs((offset @ side - row[..., 2]) / row[..., 0])
            y = np.abs((offset @ front - row[..., 3]) / row[..., 1])
            z = np.abs(beyond) / cap
            return ((x**power + y**power + z**power) ** (1 / power) - 1) * thin

        reach = self._table[:, :2].max() + np.abs(self._table[:, 2:]).max()
        return Blob(distance, np.minimum(a, b) - reach, np.maximum(a, b) + reach, blend_m)
