"""A pose keeps its meaning through formats, frames, mirrors and turns."""

import math

import numpy as np
import pytest
import roma
import torch

from llmpose import Pose, UserError
from llmpose.body.model import load_body_model
from llmpose.body.pose import JOINT_NAMES, MIRROR_JOINTS, geodesic_deg
from llmpose.body.rotations import rotation_error


def random_pose(*batch: int, seed: int = 0, translation: bool = False) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    axis_angle = torch.randn(*batch, 22, 3, generator=generator)
    trans_m = torch.randn(*batch, 3, generator=generator) if translation else None
    return Pose.from_axis_angle(axis_angle, torch.randn(*batch, 10, generator=generator), trans_m)


def test_every_rotation_format_comes_back_the_same() -> None:
    pose = random_pose(4)
    returned = [
        Pose.from_axis_angle(pose.to_axis_angle()),
        Pose.from_axis_angle(pose.to_axis_angle().flatten(-2)),
        Pose.from_quaternion(pose.to_quaternion()),
        Pose.from_quaternion(-2.5 * pose.to_quaternion()),
        *(Pose.from_rot6d(pose.to_rot6d(layout=x), layout=x) for x in ("columns", "interleaved", "rows")),
    ]
    for other in returned:
        torch.testing.assert_close(other.rotmat, pose.rotmat, atol=2e-6, rtol=0)
        assert other.rotmat.dtype == torch.float32


def test_6d_layouts_hold_the_numbers_they_say() -> None:
    rotmat = roma.random_rotmat(22).float()
    pose, r = Pose(rotmat), rotmat[5]
    assert pose.to_rot6d()[5].tolist() == [*r[:, 0].tolist(), *r[:, 1].tolist()]
    assert pose.to_rot6d(layout="interleaved")[5].tolist() == r[:, :2].flatten().tolist()
    assert pose.to_rot6d(layout="rows")[5].tolist() == [*r[0].tolist(), *r[1].tolist()]


def test_quaternions_have_their_real_part_last() -> None:
    half_turn_about_z = torch.tensor([0.0, 0.0, 1.0, 0.0]).expand(22, 4)
    torch.testing.assert_close(
        Pose.from_quaternion(half_turn_about_z).rotmat[3],
        torch.diag(torch.tensor([-1.0, -1.0, 1.0])),
        atol=1e-6,
        rtol=0,
    )


def test_smpl_and_smplh_vectors_keep_their_first_22_joints() -> None:
    flat = torch.randn(3, 156, generator=torch.Generator().manual_seed(0))
    expected = Pose.from_axis_angle(flat[:, :66]).rotmat
    for width in (72, 156):
        assert torch.equal(Pose.from_axis_angle(flat[:, :width]).rotmat, expected)


def test_at_rest_the_body_stands_upright_and_faces_the_viewer() -> None:
    joints = dict(zip(JOINT_NAMES, load_body_model("stand-in").joints(Pose.rest()), strict=False))
    assert joints["head"][2] > joints["pelvis"][2] + 0.4  # up is z
    assert joints["left_wrist"][0] > 0.5  # its left is the viewer's right
    assert joints["left_foot"][1] < joints["left_ankle"][1] - 0.05  # toes towards the viewer
    assert Pose.rest().yaw_deg.item() == 0


def test_what_a_camera_sees_upright_is_upright_in_the_world() -> None:
    """In a camera frame (y down) an upright person who faces the camera is turned by 180 degrees about x."""
    camera_rotmat = torch.eye(3).repeat(22, 1, 1)
    camera_rotmat[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    pose = Pose.from_camera(camera_rotmat)
    torch.testing.assert_close(pose.rotmat, Pose.rest().rotmat)
    torch.testing.assert_close(pose.to_camera().rotmat, camera_rotmat)


def test_changing_frames_moves_every_vertex_by_the_same_rotation() -> None:
    body, pose = load_body_model("stand-in"), random_pose(3, translation=True)
    pelvis = body.rest_joints(pose.betas)[:, 0]
    camera_to_world = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    in_camera = pose.to_camera(pelvis_m=pelvis)
    torch.testing.assert_close(
        body(in_camera).vertices_m @ camera_to_world.T, body(pose).vertices_m, atol=2e-6, rtol=1e-5
    )
    back = Pose.from_camera(in_camera.rotmat, in_camera.betas, in_camera.trans_m, pelvis_m=pelvis)
    torch.testing.assert_close(back.trans_m, pose.trans_m, atol=1e-6, rtol=0)


def test_a_translation_cannot_change_frames_without_the_pelvis() -> None:
    with pytest.raises(UserError, match="needs pelvis_m"):
        random_pose(translation=True).to_camera()


def test_mirroring_a_pose_mirrors_every_vertex() -> None:
    body, pose = load_body_model("stand-in"), random_pose(2, translation=True)
    with np.load(body_asset()) as asset:
        mirror = torch.from_numpy(asset["mirror"].astype(np.int64))
    expected = body(pose).vertices_m[:, mirror] * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(body(pose.mirrored()).vertices_m, expected, atol=2e-6, rtol=0)
    assert torch.equal(pose.mirrored().mirrored().rotmat, pose.rotmat)
    assert [JOINT_NAMES[joint] for joint in MIRROR_JOINTS[1:3]] == ["right_hip", "left_hip"]


def body_asset() -> str:
    from llmpose.body.files import ASSET

    return str(ASSET)


def test_the_yaw_is_the_z_angle_of_the_root_and_removing_it_keeps_the_other_two() -> None:
    """R = Rz(c) Ry(b) Rx(a), built by hand from the three angles."""
    a, b, c = 0.7, -0.4, 2.1
    root = rotation("z", c) @ rotation("y", b) @ rotation("x", a)
    rotmat = torch.eye(3).repeat(22, 1, 1)
    rotmat[0] = root
    pose = Pose(rotmat)
    assert pose.yaw_deg.item() == pytest.approx(math.degrees(c), abs=1e-3)
    torch.testing.assert_close(pose.without_yaw().rotmat[0], rotation("y", b) @ rotation("x", a), atol=1e-6, rtol=0)
    assert torch.equal(pose.without_yaw().rotmat[1:], rotmat[1:])
    torch.testing.assert_close(pose.without_yaw().turned(math.degrees(c)).rotmat, rotmat, atol=1e-6, rtol=0)


def rotation(axis: str, angle: float) -> torch.Tensor:
    vector = torch.zeros(3)
    vector["xyz".index(axis)] = angle
    return roma.rotvec_to_rotmat(vector)


def test_turning_left_turns_towards_the_bodys_left() -> None:
    """A body that faces the viewer has its left at +x; a quarter turn to the left makes it face +x."""
    nose = load_body_model("stand-in")(Pose.rest().turned(90.0)).vertices_m[332]
    assert nose[0] > 0.1


def test_a_batch_is_indexed_stacked_and_flattened_over_its_leading_dimensions() -> None:
    pose = random_pose(2, 3, translation=True)
    assert len(pose) == 2
    assert pose[1, 2].batch_shape == ()
    assert pose[:, 1].batch_shape == (2,)
    assert torch.equal(Pose.stack([pose[0], pose[1]]).rotmat, pose.rotmat)
    assert torch.equal(pose.flat()[5].rotmat, pose[1, 2].rotmat)
    assert pose[0, 0].flat().batch_shape == (1,)
    assert Pose.stack([Pose.rest(), random_pose()]).betas is None  # one has no shape: the stack has none
    assert Pose.rest(4, 2).batch_shape == (4, 2)


def test_one_shape_goes_with_all_poses_of_a_batch() -> None:
    pose = Pose(Pose.rest(5).rotmat, betas=torch.arange(10.0))
    assert pose.betas is not None
    assert pose.betas.shape == (5, 10)


def test_gradients_pass_through_the_formats() -> None:
    rot6d = random_pose(2).to_rot6d().requires_grad_()
    Pose.from_rot6d(rot6d).to_rot6d().square().sum().backward()
    assert rot6d.grad is not None
    assert torch.isfinite(rot6d.grad).all()


def test_the_angle_between_poses_is_in_degrees_per_joint() -> None:
    pose = Pose.rest(2)
    turned = pose.turned(torch.tensor([0.0, 90.0]))
    assert geodesic_deg(pose, turned).shape == (2, 22)
    torch.testing.assert_close(geodesic_deg(pose, turned)[:, 0], torch.tensor([0.0, 90.0]), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pose(torch.eye(3).repeat(24, 1, 1)), r"\(\.\.\., 22, 3, 3\) rotation matrices, got \(24, 3, 3\)"),
        (lambda: Pose.from_axis_angle(torch.zeros(5, 63)), r"flat \(\.\.\., 66\), got \(5, 63\)"),
        (lambda: Pose.from_axis_angle(torch.zeros(17, 3)), r"got \(17, 3\)"),
        (lambda: Pose.from_rot6d(torch.zeros(22, 9)), r"flat \(\.\.\., 132\), got \(22, 9\)"),
        (lambda: Pose(Pose.rest().rotmat, betas=torch.zeros(16)), r"betas of a pose is \(\.\.\., 10\), got \(16,\)"),
        (lambda: Pose(Pose.rest(3).rotmat, trans_m=torch.zeros(4, 3)), "does not go with poses of batch shape"),
        (lambda: Pose.stack([]), "empty list"),
    ],
)
def test_wrong_shapes_are_said(make, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_nan_and_non_rotations_are_found_and_placed() -> None:
    nan, scaled, flipped = (random_pose(3).rotmat.clone() for _ in range(3))
    nan[1, 4, 0, 0] = float("nan")
    scaled[2, 7] *= 1.01
    flipped[0, 3, :, 0] *= -1
    for rotmat, message in (
        (nan, r"walk\.npz: rotmat holds NaN or infinite numbers \(first at \[1, 4, 0, 0\], 1 of 594\)"),
        (scaled, r"walk\.npz: not a rotation \(first at \[2, 7\], 1 of 66\)"),
        (flipped, r"walk\.npz: not a rotation \(first at \[0, 3\]"),
    ):
        with pytest.raises(UserError, match=message):
            Pose(rotmat).check("walk.npz")
    assert rotation_error(scaled)[2, 7] > 0.02
