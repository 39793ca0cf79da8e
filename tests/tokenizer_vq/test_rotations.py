"""6D layouts and the pelvis frame."""

import pytest
import torch
from torch import Tensor

from tokenizer_vq.rotations import from_pelvis_frame, rot6d_to_rotmat, rotmat_to_rot6d, to_pelvis_frame


@pytest.mark.parametrize("layout", ["columns", "rows"])
def test_rot6d_round_trip(poses: Tensor, layout) -> None:
    assert torch.allclose(rot6d_to_rotmat(rotmat_to_rot6d(poses, layout), layout), poses, atol=1e-6)


def test_layouts_by_hand() -> None:
    matrix = torch.arange(9.0).reshape(3, 3)
    assert rotmat_to_rot6d(matrix, "columns").tolist() == [0, 3, 6, 1, 4, 7]
    assert rotmat_to_rot6d(matrix, "rows").tolist() == [0, 1, 2, 3, 4, 5]


def test_pelvis_frame_round_trip(poses: Tensor) -> None:
    seen = to_pelvis_frame(poses)
    assert torch.allclose(from_pelvis_frame(seen), poses, atol=1e-5)
    assert torch.equal(seen[:, 0], poses[:, 0])


def test_from_the_pelvis_a_bent_spine_carries_the_head() -> None:
    """Ninety degrees at spine1: neck and head turn with it as seen from the pelvis, the legs do not."""
    bend = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    pose = torch.eye(3).repeat(1, 22, 1, 1)
    pose[0, 3] = bend
    seen = to_pelvis_frame(pose)[0]
    assert torch.allclose(seen[15], bend)
    assert torch.allclose(seen[21], bend)
    assert torch.allclose(seen[7], torch.eye(3))


def test_gradients_of_exact_rotations_are_finite() -> None:
    rot6d = rotmat_to_rot6d(torch.eye(3).repeat(2, 1, 1)).requires_grad_()
    rot6d_to_rotmat(rot6d).square().sum().backward()
    assert rot6d.grad is not None
    assert torch.isfinite(rot6d.grad).all()
