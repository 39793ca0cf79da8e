"""Rotation formats that `roma` leaves open: how six numbers hold a rotation, and how far a matrix is from being one."""

from typing import Literal, TypeAlias

import roma
import torch
from torch import Tensor

Rot6dLayout: TypeAlias = Literal["columns", "interleaved", "rows"]
"""How six numbers hold two vectors of a matrix R.

columns      [R00 R10 R20 | R01 R11 R21]   first column, then second (4D-Humans, TokenHMR; ours)
interleaved  [R00 R01 | R10 R11 | R20 R21] the 3x2 left part, row by row (VPoser, SPIN)
rows         [R00 R01 R02 | R10 R11 R12]   first row, then second (pytorch3d)
"""


def rot6d_to_rotmat(rot6d: Tensor, *, layout: Rot6dLayout = "columns") -> Tensor:
    """(..., 6) -> (..., 3, 3) by Gram-Schmidt (Zhou et al. 2019, Eq. 15)."""
    if layout == "interleaved":
        pair = rot6d.unflatten(-1, (3, 2))
    else:
        pair = rot6d.unflatten(-1, (2, 3)).transpose(-1, -2)
    rotmat = roma.special_gramschmidt(pair)
    return rotmat.transpose(-1, -2) if layout == "rows" else rotmat


def rotmat_to_rot6d(rotmat: Tensor, *, layout: Rot6dLayout = "columns") -> Tensor:
    """(..., 3, 3) -> (..., 6)."""
    if layout == "rows":
        return rotmat[..., :2, :].flatten(-2)
    pair = rotmat[..., :2]
    return (pair if layout == "interleaved" else pair.transpose(-1, -2)).flatten(-2)


def rotation_error(rotmat: Tensor) -> Tensor:
    """(...) how far (..., 3, 3) matrices are from rotations: largest of |R^T R - I| and |det R - 1|."""
    gram = rotmat.transpose(-1, -2) @ rotmat
    off = (gram - torch.eye(3, dtype=rotmat.dtype, device=rotmat.device)).abs().amax((-1, -2))
    return torch.maximum(off, (torch.linalg.det(rotmat) - 1).abs())
