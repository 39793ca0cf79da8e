"""Poses as texts see them: neutral body without shape, at its place, facing the viewer (UniPose suppl. §A.1).

Only the heading is taken away: somebody who lies down still lies down. For pairs from one motion the second pose keeps
its heading relative to the first, and the turn between them is told.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from llmpose.body.model import BodyModel, load_body_model
from llmpose.body.pose import Pose

Orientation = Literal["heading", "all"]
"""What is taken away from the root: its heading (PoseScript), or all of it (the body upright in its own frame)."""

CHUNK = 16_384


def facing_viewer(rotmat: Tensor | np.ndarray, *, orientation: Orientation = "heading") -> Tensor:
    """(N, 22, 3, 3) world rotations -> the same without heading, or upright and facing the viewer."""
    pose = Pose(torch.as_tensor(np.asarray(rotmat), dtype=torch.float32))
    if orientation == "heading":
        return pose.without_yaw().rotmat
    upright = Pose.rest().rotmat[:1].expand(*pose.batch_shape, 1, 3, 3)
    return torch.cat([upright, pose.rotmat[..., 1:, :, :]], dim=-3)


def text_joints(rotmat: Tensor | np.ndarray, body: BodyModel | None = None) -> Tensor:
    """(N, J, 3) joints of (N, 22, 3, 3) rotations on the neutral body with zero shape: z up, metres.

    J is 24 for SMPL; of other kinds the first 22 joints are kept, which all share.
    """
    body = load_body_model() if body is None else body
    rotations = torch.as_tensor(np.asarray(rotmat), dtype=torch.float32)
    with torch.no_grad():
        parts = [body.joints(rotations[start : start + CHUNK]) for start in range(0, len(rotations), CHUNK)]
    joints = torch.cat(parts) if parts else torch.zeros(0, body.num_joints, 3)
    return joints if body.kind == "smpl" else joints[:, :22]


def turned_with(first: Tensor, second: Tensor) -> Tensor:
    """(N, 22, 3, 3): the second poses with the turn that takes away the heading of the first ones."""
    return Pose(second).turned(-Pose(first).yaw_deg).rotmat
