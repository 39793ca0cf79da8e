"""Noise changes what it should, by as much as it should, and nothing in place."""

import roma
import torch
from torch import Tensor

from tokenizer_vq.augment import noise_scale, orientation_noise, part_noise
from tokenizer_vq.config import BODY_PARTS


def _angle_deg(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg(roma.rotmat_geodesic_distance(a, b))


def test_orientation_noise_turns_every_root_and_no_other_joint(poses: Tensor) -> None:
    before = poses.clone()
    turned = orientation_noise(poses, torch.rand(64, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(poses, before)
    assert (_angle_deg(turned[:, 0], poses[:, 0]) > 0.1).all()
    assert torch.equal(turned[:, 1:], poses[:, 1:])


def test_orientation_noise_is_about_the_world_axes_and_within_its_limits(poses: Tensor) -> None:
    upright = torch.eye(3).repeat(3, 22, 1, 1)
    edge = torch.tensor([[0.5, 0.5, 1.0], [1.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    turned = orientation_noise(upright, edge, yaw_deg=45, tilt_deg=20)[:, 0]
    angles = torch.rad2deg(roma.rotmat_to_rotvec(turned))
    expected = torch.tensor([[0, 0, 45.0], [20, 0, 0], [0, -20, 0]])
    assert torch.allclose(angles, expected, atol=1e-3)
    # The turn comes from the left: the world's axes, not the body's.
    assert torch.allclose(orientation_noise(poses[:3], edge)[:, 0], turned @ poses[:3, 0], atol=1e-6)


def test_part_noise_bends_one_part_of_about_half_the_poses(poses: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    uniform, normal = torch.rand(64, 2, generator=generator), torch.randn(64, 22, 3, generator=generator)
    before = poses.clone()
    bent = part_noise(poses, uniform, normal, scale_rad=0.1)
    assert torch.equal(poses, before)
    moved = _angle_deg(bent, poses) > 0.05
    parts = [set(joints) for part, joints in BODY_PARTS.items() if part != "root"]
    touched = [set(row.nonzero().flatten().tolist()) for row in moved]
    assert 20 <= sum(bool(joints) for joints in touched) <= 44
    assert all(any(joints <= part for part in parts) for joints in touched if joints)
    assert {part for joints in touched if joints for part in range(len(parts)) if joints <= parts[part]} == set(
        range(6)
    )


def test_part_noise_grows_with_its_scale(poses: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    uniform, normal = torch.rand(64, 2, generator=generator), torch.randn(64, 22, 3, generator=generator)
    small, large = (
        _angle_deg(part_noise(poses, uniform, normal, scale_rad=s, share=1.0), poses).mean() for s in (0.01, 0.1)
    )
    assert 8 < large / small < 12


def test_the_schedule_by_hand() -> None:
    levels = [0.01, 0.05, 0.1]
    assert [noise_scale(step, levels, 5000) for step in (0, 4999, 5000, 10_000, 99_999)] == [0.01, 0.01, 0.05, 0.1, 0.1]
    assert noise_scale(7, [], 5000) == 0.0
