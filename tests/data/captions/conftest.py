"""Poses for the tests of texts: sampled ones, named ones, and their mirror images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from data.captions import facing_viewer, text_joints
from data.synth.angles import to_rotmat
from data.synth.poses import sample_poses
from data.synth.primitives import BY_NAME, tables
from llmpose.body.pose import MIRROR_JOINTS, Pose


@dataclass(frozen=True)
class Poses:
    """N poses as texts see them."""

    rotmat: Tensor
    joints_m: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: Tensor | np.ndarray | slice) -> "Poses":
        names = [self.names[i] for i in torch.arange(len(self))[rows].tolist()]
        return Poses(self.rotmat[rows], self.joints_m[rows], names)

    def mirrored(self) -> "Poses":
        """Exactly: joints are swapped and turned in sign, so no last digit differs."""
        order = [*MIRROR_JOINTS, 23, 22]
        joints = self.joints_m[:, order] * torch.tensor([-1.0, 1.0, 1.0])
        return Poses(Pose(self.rotmat).mirrored().rotmat, joints, self.names)


@pytest.fixture(scope="session")
def poses() -> Poses:
    rotmat, names = sample_poses(1000, seed=3)
    facing = facing_viewer(rotmat)
    return Poses(facing, text_joints(facing), names)


@pytest.fixture(scope="session")
def t_pose() -> Tensor:
    """(1, 24, 3) joints of the rest pose."""
    return text_joints(Pose.rest(1).rotmat)


@pytest.fixture(scope="session")
def named_joints() -> Callable[..., Tensor]:
    """(1, 24, 3) joints of a primitive of the pose sampler, without variation."""

    def joints(name: str, amount: float = 0.5) -> Tensor:
        low, high = (table[BY_NAME[name]][None] for table in tables())
        return text_joints(torch.as_tensor(to_rotmat((1 - amount) * low + amount * high, np.zeros(1))))

    return joints
