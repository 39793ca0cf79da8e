"""Rotation maths of the tokenizer: 6D edges, and rotations relative to the pelvis instead of the parent joint.

Everything is float32: a 6D pair made orthonormal in bfloat16 is off by degrees, and GPUs lack a bfloat16 `cross`.
"""

import roma
import torch
from torch import Tensor

from tokenizer_vq.config import PARENTS, Rot6dLayout


def rotmat_to_rot6d(rotmat: Tensor, layout: Rot6dLayout = "columns") -> Tensor:
    """(..., 3, 3) -> (..., 6): the first two columns (or rows) one after the other."""
    pair = rotmat[..., :2].transpose(-1, -2) if layout == "columns" else rotmat[..., :2, :]
    return pair.flatten(-2)


def rot6d_to_rotmat(rot6d: Tensor, layout: Rot6dLayout = "columns") -> Tensor:
    """(..., 6) -> (..., 3, 3), always a rotation (Gram-Schmidt)."""
    pair = rot6d.float().unflatten(-1, (2, 3)).transpose(-1, -2)
    rotmat = roma.special_gramschmidt(pair, epsilon=1e-8)  # pyright: ignore[reportArgumentType]
    return rotmat if layout == "columns" else rotmat.transpose(-1, -2)


def to_pelvis_frame(rotmat: Tensor) -> Tensor:
    """(B, 22, 3, 3) relative to parents -> relative to the pelvis; the root stays as it is.

    An arm seen from the pelvis does not swing when the spine is a little wrong: a code's error stays in its own part.
    """
    seen: list[Tensor] = [torch.eye(3, dtype=rotmat.dtype, device=rotmat.device).expand(len(rotmat), 3, 3)]
    for joint in range(1, rotmat.shape[1]):
        seen.append(seen[PARENTS[joint]] @ rotmat[:, joint])
    return torch.stack([rotmat[:, 0], *seen[1:]], dim=1)


def from_pelvis_frame(rotmat: Tensor) -> Tensor:
    """Inverse of `to_pelvis_frame`."""
    parents = torch.tensor([max(PARENTS[j], 0) for j in range(rotmat.shape[1])], device=rotmat.device)
    seen = rotmat.clone()
    seen[:, 0] = torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)
    local = seen[:, parents].transpose(-1, -2) @ seen
    return torch.cat([rotmat[:, :1], local[:, 1:]], dim=1)
