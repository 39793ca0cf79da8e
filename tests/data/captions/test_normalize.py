import pytest
import torch

from data.captions import facing_viewer, text_joints, turned_with
from data.synth.poses import sample_poses
from llmpose.body.pose import Pose


@pytest.fixture(scope="module")
def rotmat() -> torch.Tensor:
    return torch.as_tensor(sample_poses(40, seed=9)[0])


def test_the_heading_goes_and_the_tilt_stays(rotmat: torch.Tensor) -> None:
    facing = facing_viewer(rotmat)
    assert Pose(facing).yaw_deg.abs().max() < 1e-3
    # how high each joint is does not depend on the heading
    assert torch.allclose(text_joints(facing)[..., 2], text_joints(rotmat)[..., 2], atol=1e-5)


def test_without_any_orientation_everybody_is_upright(rotmat: torch.Tensor) -> None:
    upright = facing_viewer(rotmat, orientation="all")
    assert torch.equal(upright[:, 0], Pose.rest(len(rotmat)).rotmat[:, 0])
    assert torch.equal(upright[:, 1:], rotmat[:, 1:])


def test_the_second_of_a_pair_keeps_its_heading_relative_to_the_first(rotmat: torch.Tensor) -> None:
    first, second = rotmat[:20], rotmat[20:]
    turned = turned_with(first, second)
    expected = torch.remainder(Pose(second).yaw_deg - Pose(first).yaw_deg + 180, 360) - 180
    assert torch.allclose(Pose(turned).yaw_deg, expected, atol=1e-2)


def test_shape_plays_no_part_and_no_poses_give_no_joints(rotmat: torch.Tensor) -> None:
    assert text_joints(rotmat).shape == (40, 24, 3)
    assert text_joints(rotmat[:0]).shape == (0, 24, 3)
    bones = (text_joints(rotmat)[:, 4] - text_joints(rotmat)[:, 1]).norm(dim=-1)
    assert bones.std() < 1e-5
