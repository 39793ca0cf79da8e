"""Noise for training poses (UniPose suppl. §B.1). Pure functions: random numbers come in, a new pose comes out.

Nothing is changed in place and nothing is returned unchanged by accident; a test holds both, because noise that was
added to a copy and thrown away has been published before.
"""

from collections.abc import Sequence

import roma
import torch
from torch import Tensor

from tokenizer_vq.config import BODY_PARTS


def orientation_noise(rotmat: Tensor, uniform: Tensor, *, yaw_deg: float = 45.0, tilt_deg: float = 20.0) -> Tensor:
    """Turn whole poses about the world's axes: up to ±yaw_deg about z, ±tilt_deg about x and y.

    rotmat (B, 22, 3, 3), uniform (B, 3) in [0, 1).
    """
    limits = torch.tensor([tilt_deg, tilt_deg, yaw_deg], device=rotmat.device)
    angles = torch.deg2rad((2 * uniform - 1) * limits)
    turn = roma.euler_to_rotmat("xyz", angles)
    return torch.cat([(turn @ rotmat[:, 0])[:, None], rotmat[:, 1:]], dim=1)


def part_noise(rotmat: Tensor, uniform: Tensor, normal: Tensor, *, scale_rad: float, share: float = 0.5) -> Tensor:
    """Turn every joint of one body part, in a share of the poses, by a random rotation of about scale_rad.

    rotmat (B, 22, 3, 3), uniform (B, 2), normal (B, 22, 3). The root is no part here.
    """
    parts = [list(joints) for part, joints in BODY_PARTS.items() if part != "root"]
    member = torch.zeros(len(parts), rotmat.shape[1], device=rotmat.device)
    for row, joints in enumerate(parts):
        member[row, joints] = 1.0
    part = (uniform[:, 0] * len(parts)).long().clamp(max=len(parts) - 1)
    chosen = member[part] * (uniform[:, 1:2] < share)
    return rotmat @ roma.rotvec_to_rotmat(normal * scale_rad * chosen[:, :, None])


def noise_scale(step: int, levels: Sequence[float], every: int) -> float:
    """The level reached at a step: the first for `every` steps, then the next, the last for ever."""
    return levels[min(step // every, len(levels) - 1)] if levels else 0.0
