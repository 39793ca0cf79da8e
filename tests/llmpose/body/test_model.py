"""A body model does what SMPL's equations say, for one pose or many, on any backend."""

import logging

import numpy as np
import pytest
import roma
import torch

from llmpose import Pose, UserError, load_body_model
from llmpose.body import model as model_module
from llmpose.body.files import ASSET, BodyData, Kind, read_stand_in
from llmpose.body.landmarks import LANDMARK_VERTICES
from llmpose.body.model import BodyModel


def random_pose(*batch: int, seed: int = 0) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    return Pose.from_axis_angle(
        torch.randn(*batch, 22, 3, generator=generator),
        torch.randn(*batch, 10, generator=generator),
        torch.randn(*batch, 3, generator=generator),
    )


def with_correctives(kind: Kind) -> BodyData:
    """The stand-in with pose correctives, which it does not have by itself."""
    from dataclasses import replace

    data = read_stand_in(kind)
    num_vertices, num_joints = data.weights.shape
    noise = np.random.default_rng(0).normal(size=(num_vertices, 3, 9 * (num_joints - 1))) * 1e-3
    return replace(data, pose_directions=noise)


def smpl_by_the_book(
    data: BodyData, rotmat: np.ndarray, betas: np.ndarray, trans_m: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """SMPL's equations for one body, joint by joint and in float64 (Loper et al. 2015, Eq. 2-10)."""
    assert data.pose_directions is not None
    shaped = data.vertices_m + data.shape_directions @ betas
    rest = data.joint_regressor @ shaped
    bent = shaped + data.pose_directions @ (rotmat[1:] - np.eye(3)).reshape(-1)
    world = np.zeros((len(rotmat), 4, 4))
    for joint, parent in enumerate(data.parents):
        local = np.eye(4)
        local[:3, :3] = rotmat[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if joint else 0)
        world[joint] = local if joint == 0 else world[parent] @ local
    skinned = np.zeros_like(bent)
    for joint in range(len(rotmat)):
        moved = (bent - rest[joint]) @ world[joint, :3, :3].T + world[joint, :3, 3]
        skinned += data.weights[:, joint, None] * moved
    return world[:, :3, 3] + trans_m, skinned + trans_m


@pytest.mark.parametrize("kind", ["smpl", "smplh"])
def test_joints_and_vertices_follow_smpls_equations(kind: Kind) -> None:
    data = with_correctives(kind)
    body, pose = BodyModel(data), random_pose(2)
    hands = torch.stack([roma.random_rotmat(30), roma.random_rotmat(30)]).float() if kind == "smplh" else "flat"
    output = body(pose, hands=hands)
    for index in range(2):
        rotmat = np.tile(np.eye(3), (body.num_joints, 1, 1))
        rotmat[:22] = pose.rotmat[index].double().numpy()
        if isinstance(hands, torch.Tensor):
            rotmat[22:] = hands[index].double().numpy()
        assert pose.betas is not None
        assert pose.trans_m is not None
        joints, vertices = smpl_by_the_book(data, rotmat, pose.betas[index].numpy(), pose.trans_m[index].numpy())
        np.testing.assert_allclose(output.joints_m[index], joints, atol=2e-6)
        np.testing.assert_allclose(output.vertices_m[index], vertices, atol=3e-6)


@pytest.mark.parametrize("kind", ["smpl", "smplh"])
def test_the_joints_only_path_agrees_and_builds_no_vertex(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    body, pose = load_body_model("stand-in", kind=kind), random_pose(3)
    expected = body(pose).joints_m
    monkeypatch.setattr(model_module, "skin", lambda *_: pytest.fail("a vertex was built"))
    monkeypatch.setattr(body, "vertices_rest", None)
    assert torch.equal(body.joints(pose), expected)
    assert expected.shape == (3, len(body.joint_names), 3)


def test_a_batch_gives_what_its_poses_give_one_by_one() -> None:
    body, pose = load_body_model("stand-in"), random_pose(2, 3)
    output = body(pose)
    assert output.vertices_m.shape == (2, 3, 6890, 3)
    one = body(pose[1, 2])
    torch.testing.assert_close(one.vertices_m, output.vertices_m[1, 2], atol=1e-6, rtol=0)
    torch.testing.assert_close(one.joints_m, output.joints_m[1, 2], atol=1e-6, rtol=0)


def test_batches_larger_than_what_is_built_at_once_and_empty_ones_keep_their_order() -> None:
    body, pose = load_body_model("stand-in"), random_pose(40)
    vertices = body(pose).vertices_m
    assert vertices.shape == (40, 6890, 3)
    torch.testing.assert_close(vertices[33:35], body(pose[33:35]).vertices_m, atol=1e-6, rtol=0)
    assert body(pose[:0]).vertices_m.shape == (0, 6890, 3)
    assert body.joints(pose[:0]).shape == (0, 24, 3)


def test_rotations_shape_and_translation_can_be_given_apart() -> None:
    body, pose = load_body_model("stand-in"), random_pose(2)
    expected = body(pose).vertices_m
    assert torch.equal(body(pose.rotmat, pose.betas, pose.trans_m).vertices_m, expected)
    assert pose.betas is not None
    moved = body(pose, betas=pose.betas[0], trans_m=torch.zeros(3)).joints_m
    assert torch.equal(moved, body(Pose(pose.rotmat, pose.betas[0])).joints_m)


def test_smpls_24_rotations_move_the_rigid_hands() -> None:
    body = load_body_model("stand-in")
    rotmat = torch.eye(3).repeat(24, 1, 1)
    rotmat[22] = roma.rotvec_to_rotmat(torch.tensor([0.0, 0, -1.0]))
    moved = (body(rotmat).vertices_m - body(rotmat[:22]).vertices_m).norm(dim=-1)
    assert moved[LANDMARK_VERTICES["left_index_tip"]] > 0.05
    assert moved[LANDMARK_VERTICES["right_index_tip"]] == 0


def test_relaxed_hands_curl_the_fingers() -> None:
    body = load_body_model("stand-in", kind="smplh")
    flat, relaxed = body(Pose.rest()).vertices_m, body(Pose.rest(), hands="relaxed").vertices_m
    for side in ("left", "right"):
        tip = LANDMARK_VERTICES[f"{side}_middle_tip"]
        assert flat[tip, 2] - relaxed[tip, 2] > 0.02  # the palm faces down: a curl lowers the tip


def test_the_root_turns_the_body_about_its_pelvis() -> None:
    body, pose = load_body_model("stand-in"), random_pose(4)
    pose = Pose(pose.rotmat, pose.betas)
    torch.testing.assert_close(body.joints(pose)[:, 0], body.rest_joints(pose.betas)[:, 0])


def test_numbers_stay_float32_under_autocast_and_on_half_input() -> None:
    body, pose = load_body_model("stand-in"), random_pose(2)
    expected = body(pose)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, joints = body(pose), body.joints(pose)
    assert torch.equal(output.vertices_m, expected.vertices_m)
    assert torch.equal(joints, expected.joints_m)
    assert body(pose.rotmat.half()).vertices_m.dtype == torch.float32


def test_gradients_reach_rotations_and_shape() -> None:
    body, pose = load_body_model("stand-in"), random_pose(2)
    axis_angle = pose.to_axis_angle().requires_grad_()
    betas = torch.zeros(2, 10, requires_grad=True)
    body.joints(Pose.from_axis_angle(axis_angle, betas)).square().sum().backward()
    for grad in (axis_angle.grad, betas.grad):
        assert grad is not None
        assert torch.isfinite(grad).all()
        assert grad.abs().sum() > 0


def test_a_body_has_no_parameters_and_no_saved_state() -> None:
    body = load_body_model("stand-in")
    assert not list(body.parameters())
    assert not body.state_dict()
    assert body.to("meta").joints_rest.device.type == "meta"  # every table moves along


def test_landmarks_are_points_on_the_skin() -> None:
    body = load_body_model("stand-in")
    landmarks = body.landmarks(body(Pose.rest(2)).vertices_m)
    assert landmarks["nose"].shape == (2, 3)
    nose, left_eye, right_eye, left_ear = (landmarks[f"{x}"][0] for x in ("nose", "left_eye", "right_eye", "left_ear"))
    assert left_eye[0] > 0.02 > -0.02 > right_eye[0]  # the person's left is the viewer's right
    assert left_eye[2] > nose[2]
    assert nose[1] < left_eye[1] < left_ear[1]  # the nose is nearest to the viewer


@pytest.mark.parametrize(
    ("rotmat", "message"),
    [
        (torch.eye(3).repeat(21, 1, 1), r"\(\.\.\., 22, 3, 3\) or \(\.\.\., 24, 3, 3\), got \(21, 3, 3\)"),
        (torch.zeros(2, 22, 6), r"got \(2, 22, 6\)"),
    ],
)
def test_wrong_numbers_of_joints_are_said(rotmat: torch.Tensor, message: str) -> None:
    body = load_body_model("stand-in")
    for call in (body, body.joints):
        with pytest.raises(UserError, match=message):
            call(rotmat)
    with pytest.raises(UserError, match="hands are"):
        body(Pose.rest(), hands=torch.eye(3).repeat(30, 1, 1))


def test_the_stand_in_is_noted_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMPOSE_BODY_MODELS", raising=False)
    monkeypatch.setattr(model_module, "_noted_stand_in", False)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            load_body_model()
            load_body_model("stand-in")
    assert [record.message for record in caplog.records if "stand-in" in record.message] == [
        "using the built-in stand-in body; set LLMPOSE_BODY_MODELS to the folder with your SMPL files to use SMPL"
    ]


def test_the_asset_is_small() -> None:
    assert ASSET.stat().st_size < 700_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_body() -> None:
    body, pose = load_body_model("stand-in", device="cuda"), random_pose(8)
    output, expected = body(pose.to("cuda")), load_body_model("stand-in")(pose)
    torch.testing.assert_close(output.vertices_m.cpu(), expected.vertices_m, atol=1e-5, rtol=0)
    torch.testing.assert_close(body.joints(pose.to("cuda")).cpu(), expected.joints_m, atol=1e-5, rtol=0)
