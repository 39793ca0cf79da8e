import re

import pytest
import torch
from torch import Tensor

from data.captions.points import POINT_INDEX, POINTS, check_joints, find_faults, named_points
from llmpose.errors import UserError


def test_rule_axes_put_the_left_hand_left_the_head_up_and_the_toes_in_front(t_pose: Tensor) -> None:
    points = named_points(t_pose)[0]
    at = {name: points[POINT_INDEX[name]] for name in POINTS}
    assert at["pelvis"].tolist() == [0, 0, 0]
    assert at["left_wrist"][0] > 0.5 > -0.5 > at["right_wrist"][0]
    assert at["head"][1] > 0.4
    assert at["left_foot"][2] > at["left_ankle"][2] + 0.05


def test_points_are_means_of_their_joints(t_pose: Tensor) -> None:
    points = named_points(t_pose)[0]
    at = {name: points[POINT_INDEX[name]] for name in POINTS}
    assert torch.allclose(at["left_thigh"], (at["left_hip"] + at["left_knee"]) / 2)
    assert torch.allclose(at["right_forearm"], (at["right_elbow"] + at["right_wrist"]) / 2)
    assert torch.allclose(at["torso"], (at["pelvis"] + at["neck"] + at["spine3"]) / 3, atol=1e-6)
    assert torch.allclose(at["left_hand"], (at["left_wrist"] + at["left_finger"]) / 2)


def test_the_finger_is_137_mm_beyond_the_wrist_whether_22_or_24_joints_come(t_pose: Tensor) -> None:
    for joints in (t_pose, t_pose[:, :22]):
        points = named_points(joints)[0]
        reach = points[POINT_INDEX["left_finger"]] - points[POINT_INDEX["left_wrist"]]
        assert float(reach.norm()) == pytest.approx(0.1367, abs=1e-5)


def test_52_joints_use_the_second_phalanx_of_the_middle_finger(t_pose: Tensor) -> None:
    joints = torch.cat([t_pose[:, :22], torch.zeros(1, 30, 3)], 1)
    joints[0, 26], joints[0, 41] = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([-1.0, 2.0, 3.0])
    points = named_points(joints)[0]
    pelvis = t_pose[0, 0]
    expected = torch.tensor([1.0 - pelvis[0], 3.0 - pelvis[2], -2.0 + pelvis[1]])
    assert torch.allclose(points[POINT_INDEX["left_finger"]], expected)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda joints: joints * 1000, "look like millimetres"),
        (lambda joints: joints * 100, "look like centimetres"),
        (lambda joints: joints * 3, "is expected"),
        (lambda joints: joints * float("nan"), "not a number"),
        (lambda joints: joints * 0, "all joints are at the same place"),
        (lambda joints: joints[:, :17], "expected (N, 22, 3)"),
        (lambda joints: joints[0], "expected (N, 22, 3)"),
    ],
)
def test_joints_that_cannot_be_described_are_named(t_pose: Tensor, spoil, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_joints(spoil(t_pose))


def test_faults_say_which_poses_they_are(t_pose: Tensor) -> None:
    joints = t_pose.repeat(4, 1, 1)
    joints[1, 5, 0] = float("inf")
    joints[3] *= 1000
    faults = find_faults(joints)
    assert [fault.index for fault in faults] == [1, 3]
    with pytest.raises(UserError, match="2 of 4"):
        check_joints(joints)
