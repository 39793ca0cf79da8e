"""HMR 2.0's evaluation files, and the frame that every 3D source of the camera enters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch
from source_kit import MakeImage, Read, camera_poses, expected_rotmat

from data.sources import people
from data.sources.people import camera_to_world
from llmpose.body.model import load_body_model
from llmpose.body.pose import Pose
from llmpose.errors import UserError

# ---- frames ---------------------------------------------------------------------------------------------------------


def test_a_person_upright_before_the_camera_faces_the_viewer_in_our_frame() -> None:
    upright = np.zeros((1, 72), np.float32)
    upright[0, 0] = np.pi
    rotmat = people.viewer_poses(upright, Path("x"))
    assert np.allclose(rotmat[0], Pose.rest().rotmat, atol=1e-6)
    joints = load_body_model("stand-in", kind="smpl").joints(torch.from_numpy(rotmat))[0]
    head, left, right = joints[15], joints[16], joints[17]
    assert head[2] > joints[0][2]  # up is z
    assert left[0] > right[0]  # facing us, the left shoulder is on our right


def test_joints_and_poses_enter_the_same_frame() -> None:
    """The body's joints in the camera, turned by the reader, are the body's joints of the turned pose."""
    body = load_body_model("stand-in", kind="smpl")
    axis_angle = camera_poses(4)
    rotmat = roma.rotvec_to_rotmat(torch.from_numpy(axis_angle.reshape(4, 24, 3)[:, :22]))
    in_camera = body.joints(rotmat)
    ours = body.joints(torch.from_numpy(people.viewer_poses(axis_angle, Path("x"))))
    turned = camera_to_world((in_camera - in_camera[:, :1]).numpy())
    assert np.allclose(turned, (ours - ours[:, :1]).numpy(), atol=1e-5)


# ---- HMR 2.0 --------------------------------------------------------------------------------------------------------


def hmr_arrays(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    body = rng.uniform(5, 40, (count, 25, 3))
    body[..., 2] = 1
    return {
        "imgname": np.array([f"seq/image_{row:05d}.jpg" for row in range(count)]),
        "center": np.full((count, 2), 30.0),
        "scale": np.full((count, 2), (20.0, 40.0)),
        "body_pose": camera_poses(count),
        "has_body_pose": np.ones(count),
        "betas": np.zeros((count, 10)),
        "has_betas": np.ones(count),
        "body_keypoints_2d": body,
        "extra_keypoints_2d": np.zeros((count, 19, 3)),
        "body_keypoints_3d": np.zeros((count, 25, 4)),
        "extra_keypoints_3d": np.concatenate([rng.normal(0, 1, (count, 19, 3)), np.ones((count, 19, 1))], axis=2),
        "gender": np.array(["m", "f"] * count)[:count],
    }


def test_hmr_rows_become_records(tmp_path: Path, read: Read, make_image: MakeImage) -> None:
    arrays = hmr_arrays(3)
    arrays["has_body_pose"][1] = 0
    arrays["has_betas"][1] = 0
    np.savez(tmp_path / "3dpw_test.npz", **arrays)
    make_image(tmp_path / "images/seq/image_00000.jpg")
    first, second, _ = read("hmr", tmp_path)
    assert (first.id, first.split, first.image) == ("hmr/3dpw_test/0", "test", "images/seq/image_00000.jpg")
    assert np.allclose(first.pose_rotmat, expected_rotmat(arrays["body_pose"][0]), atol=1e-6)
    # `scale` is pixels here, the box's own width and height; not divided by 200 as SPIN's.
    assert first.box_xyxy_px.tolist() == [20, 10, 40, 50]
    assert first.frame == 0
    assert first.attributes["gender"] == "male"
    assert second.pose_rotmat is None
    assert second.betas is None


def test_hmr_keypoints_are_cocos_where_openpose_saw_any_else_lsps(tmp_path: Path, read: Read) -> None:
    arrays = hmr_arrays(2)
    # OpenPose's order: 5 is the left shoulder, 2 the right one, 16 the left eye.
    arrays["body_keypoints_2d"][0, [5, 2, 16], :2] = [[1, 2], [3, 4], [5, 6]]
    arrays["body_keypoints_2d"][1] = 0
    arrays["extra_keypoints_2d"][1, 13] = [7, 8, 0.3]
    np.savez(tmp_path / "a_val.npz", **arrays)
    first, second = read("hmr", tmp_path)
    assert first.skeleton == "coco17"
    assert first.keypoints[[5, 6, 1], :2].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert second.skeleton == "lsp14"
    assert second.keypoints[13].tolist() == [7, 8, 2]
    assert second.keypoints[0].tolist() == [0, 0, 0]


def test_hmr_joints_are_turned_and_unknown_ones_told(tmp_path: Path, read: Read) -> None:
    arrays = hmr_arrays(1)
    arrays["extra_keypoints_3d"][0, 3] = [1, 2, 3, 1]
    arrays["extra_keypoints_3d"][0, 4, 3] = 0
    arrays["body_keypoints_3d"][0, :, 3] = 1
    np.savez(tmp_path / "a.npz", **arrays)
    (record,) = read("hmr", tmp_path)
    assert record.joints_m.shape == (44, 3)
    assert record.joints_m[28].tolist() == [1, 3, -2]  # x right, z forward becomes y, y down becomes -z
    assert record.attributes["joints_known"] == [0, *range(15, 29), *range(30, 44)]  # OpenPose's limbs do not count


def test_one_scale_makes_a_square(tmp_path: Path, read: Read) -> None:
    np.savez(tmp_path / "a.npz", **{**hmr_arrays(2), "scale": np.array([10.0, 20.0])})
    assert [record.box_xyxy_px.tolist() for record in read("hmr", tmp_path)] == [[25, 25, 35, 35], [20, 20, 40, 40]]


def test_names_stored_as_objects_are_read_without_running_anything(tmp_path: Path, read: Read) -> None:
    arrays = hmr_arrays(2)
    np.savez(tmp_path / "a.npz", **{**arrays, "imgname": arrays["imgname"].astype(object)})
    assert [record.image for record in read("hmr", tmp_path)] == arrays["imgname"].tolist()

    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    np.savez(tmp_path / "a.npz", **{**arrays, "imgname": np.array([Bomb(), Bomb()], dtype=object)})
    with pytest.raises(UserError, match=r"refused, nothing was run: it asks for builtins\.eval"):
        read("hmr", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body_pose": np.zeros((3, 60), np.float32)}, r"poses are \(3, 60\)"),
        ({"center": np.zeros((2, 2))}, "differ in length"),
        ({"betas": np.zeros((3, 11))}, "betas is"),
        ({"imgname": None}, "lacks imgname"),
    ],
)
def test_an_hmr_file_of_another_shape_is_one_line(
    tmp_path: Path, read: Read, change: dict[str, Any], said: str
) -> None:
    arrays = {name: value for name, value in {**hmr_arrays(3), **change}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=said) as error:
        read("hmr", tmp_path)
    assert "a.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_npz_is_one_line(tmp_path: Path, read: Read) -> None:
    np.savez(tmp_path / "a.npz", **hmr_arrays(3))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"a\.npz: not a readable \.npz .*it may be cut off"):
        read("hmr", tmp_path)


def test_an_evaluation_file_may_be_called_test_whatever_its_name(tmp_path: Path, read: Read) -> None:
    np.savez(tmp_path / "h36m_val_p2.npz", **hmr_arrays(1))
    assert [record.split for record in read("hmr", tmp_path)] == ["val"]
    assert [record.split for record in read("hmr", tmp_path, "test", called="test")] == ["test"]
