"""A pinhole camera: world points in metres to pixels, and pixels back to rays.

World: x = viewer's right, y = away from the viewer, z = up. Camera: x right, y down, z forward.
Pixels: x right, y down, the centre of the top left pixel is (0.5, 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmpose.errors import UserError

Array = NDArray[np.float64]

VIEWER_ROTATION: Array = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""World to camera for a level camera that looks along +y: the viewer."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics in pixels and a world-to-camera motion: p_camera = R @ p_world + t."""

    focal_px: float
    centre_px: tuple[float, float]
    width: int
    height: int
    R: Array
    t: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "R", np.asarray(self.R, np.float64))
        object.__setattr__(self, "t", np.asarray(self.t, np.float64))
        if self.R.shape != (3, 3) or self.t.shape != (3,):
            raise UserError(f"a camera has R (3, 3) and t (3,), got {self.R.shape} and {self.t.shape}")
        if self.focal_px <= 0 or self.width <= 0 or self.height <= 0:
            raise UserError(
                f"a camera has a positive focal length and size, got {self.focal_px} px, {self.width} x {self.height}"
            )

    @classmethod
    def look_at(
        cls,
        eye_m: Sequence[float] | Array,
        target_m: Sequence[float] | Array,
        *,
        width: int,
        height: int | None = None,
        fov_deg: float = 40.0,
        roll_deg: float = 0.0,
    ) -> "Camera":
        """From `eye_m` towards `target_m`, upright (z up), turned by `roll_deg` about the line of sight.

        `fov_deg` is the angle across the longer side of the image; the principal point is its middle.
        """
        height = width if height is None else height
        eye, target = np.asarray(eye_m, np.float64), np.asarray(target_m, np.float64)
        forward = target - eye
        distance = float(np.linalg.norm(forward))
        if distance < 1e-9:
            raise UserError("a camera cannot look at the point where it stands")
        forward = forward / distance
        # Straight up or down there is no horizon: keep +y (away from the viewer) at the top of the image.
        up = np.array([0.0, 0.0, 1.0]) if abs(forward[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
        right = _cross(forward, up)
        right /= np.linalg.norm(right)
        down = _cross(forward, right)
        roll = np.radians(roll_deg)
        right, down = np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right
        rotation = np.stack([right, down, forward])
        focal = 0.5 * max(width, height) / np.tan(np.radians(fov_deg) / 2)
        return cls(float(focal), (width / 2, height / 2), width, height, rotation, -rotation @ eye)

    @property
    def eye_m(self) -> Array:
        """(3,) where the camera stands in the world."""
        return -self.R.T @ self.t

    def to_camera(self, points_m: ArrayLike) -> Array:
        """(..., 3) world -> (..., 3) camera frame."""
        return np.asarray(points_m, np.float64) @ self.R.T + self.t

    def project(self, points_m: ArrayLike) -> tuple[Array, Array]:
        """(..., 3) world points -> pixels (..., 2) and depth along the line of sight (...), <= 0 if behind."""
        points = self.to_camera(points_m)
        depth = points[..., 2]
        safe = np.where(np.abs(depth) < 1e-9, 1e-9, depth)
        pixels = np.empty((*depth.shape, 2))
        for axis in (0, 1):  # column by column: numpy is slow where the last axis has two entries
            pixels[..., axis] = points[..., axis] / safe * self.focal_px + self.centre_px[axis]
        return pixels, depth

    def scaled(self, factor: float) -> "Camera":
        """The same view in an image `factor` times as large."""
        width, height = round(self.width * factor), round(self.height * factor)
        centre = (self.centre_px[0] * factor, self.centre_px[1] * factor)
        return Camera(self.focal_px * factor, centre, width, height, self.R, self.t)

    def rays(self) -> Array:
        """(height, width, 3) world directions through the pixel centres, one metre deep (not unit length)."""
        across, down, ahead = self.ray_parts()
        rays = np.empty((self.height, self.width, 3))
        for axis in range(3):
            rays[..., axis] = across[:, axis] + down[:, axis, None] + ahead[axis]
        return rays

    def ray_parts(self) -> tuple[Array, Array, Array]:
        """What `rays` are the sum of: one part per column (width, 3), one per row (height, 3), and one for all (3,)."""
        x = (np.arange(self.width) + 0.5 - self.centre_px[0]) / self.focal_px
        y = (np.arange(self.height) + 0.5 - self.centre_px[1]) / self.focal_px
        return x[:, None] * self.R[0], y[:, None] * self.R[1], self.R[2].copy()

    def to_dict(self) -> dict[str, Any]:
        """What annotation files keep."""
        return {
            "focal_px": self.focal_px,
            "centre_px": list(self.centre_px),
            "width": self.width,
            "height": self.height,
            "R": self.R.tolist(),
            "t": self.t.tolist(),
        }


def _cross(a: Array, b: Array) -> Array:
    """Of two vectors (3,): np.cross spends most of its time on axes that these do not have."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
