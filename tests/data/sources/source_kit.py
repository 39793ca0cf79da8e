"""Types of the fixtures in conftest.py, and the camera's poses that several layouts hold, for the tests of readers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch

Read = Callable[..., list[Any]]
MakeImage = Callable[..., Path]
WriteJson = Callable[[Path, Any], Path]

WORLD_OF_CAMERA = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])


def camera_poses(count: int) -> np.ndarray:
    """(count, 72) axis-angle as SMPL has it, root in the camera's frame."""
    return np.random.default_rng(0).normal(0, 0.4, (count, 72)).astype(np.float32)


def expected_rotmat(axis_angle: np.ndarray) -> np.ndarray:
    """Worked apart from the reader: C R for the root, the rest as it is."""
    rotmat = roma.rotvec_to_rotmat(torch.from_numpy(axis_angle.reshape(24, 3)[:22].astype(np.float64))).numpy()
    rotmat[0] = WORLD_OF_CAMERA @ rotmat[0]
    return rotmat
