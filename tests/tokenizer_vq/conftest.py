"""Poses to code and back: random but plausible bends, the root turned freely."""

import pytest
import roma
import torch
from torch import Tensor


@pytest.fixture
def poses() -> Tensor:
    """(64, 22, 3, 3)."""
    generator = torch.Generator().manual_seed(0)
    bend = torch.randn(64, 22, 3, generator=generator) * 0.3
    bend[:, 0] *= 4
    return roma.rotvec_to_rotmat(bend)
