"""People with 3D: every layout in its own frame and units, all of them in ours afterwards."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch
from source_kit import MakeImage, Read

from data.records import Rejects
from data.sources import h36m, mpi_inf_3dhp, people
from data.sources.people import camera_to_world
from llmpose.body.model import load_body_model
from llmpose.body.pose import Pose
from llmpose.errors import UserError

WORLD_OF_CAMERA = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])


def camera_poses(count: int) -> np.ndarray:
    """(count, 72) axis-angle as SMPL has it, root in the camera's frame."""
    return np.random.default_rng(0).normal(0, 0.4, (count, 72)).astype(np.float32)


def expected_rotmat(axis_angle: np.ndarray) -> np.ndarray:
    """Worked apart from the reader: C R for the root, the rest as it is."""
    rotmat = roma.rotvec_to_rotmat(torch.from_numpy(axis_angle.reshape(24, 3)[:22].astype(np.float64))).numpy()
    rotmat[0] = WORLD_OF_CAMERA @ rotmat[0]
    return rotmat


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


# ---- Human3.6M ------------------------------------------------------------------------------------------------------


def test_an_evaluation_file_may_be_called_test_whatever_its_name(tmp_path: Path, read: Read) -> None:
    np.savez(tmp_path / "h36m_val_p2.npz", **hmr_arrays(1))
    assert [record.split for record in read("hmr", tmp_path)] == ["val"]
    assert [record.split for record in read("hmr", tmp_path, "test", called="test")] == ["test"]


def spin_arrays(names: list[str], num_points: int = 24) -> dict[str, Any]:
    rng = np.random.default_rng(2)
    count = len(names)
    ones = np.ones((count, num_points, 1))
    return {
        "imgname": np.array(names),
        "center": np.full((count, 2), 500.0),
        "scale": np.full(count, 2.0),
        "part": np.concatenate([rng.uniform(100, 900, (count, num_points, 2)), ones], axis=2),
        "S": np.concatenate([rng.normal(0, 1, (count, num_points, 3)), ones], axis=2),
    }


NAMES = [f"S{subject}_Directions_1.{camera}_000001.jpg" for subject in (1, 9) for camera in (54138969, 60457274)]


def test_h36m_spin_layout(tmp_path: Path, read: Read) -> None:
    arrays = spin_arrays(NAMES)
    np.savez(tmp_path / "h36m_all.npz", **arrays, pose=camera_poses(4), shape=np.zeros((4, 10)))
    first = read("h36m", tmp_path)[0]
    assert first.box_xyxy_px.tolist() == [300, 300, 700, 700]  # scale x 200 wide
    assert first.skeleton == "lsp14"
    assert np.allclose(first.keypoints[:, :2], arrays["part"][0, :14, :2], atol=1e-3)
    assert first.attributes["joints"] == "spin24"
    assert np.allclose(first.joints_m, camera_to_world(arrays["S"][0, :, :3]), atol=1e-6)
    assert np.allclose(first.pose_rotmat, expected_rotmat(camera_poses(4)[0]), atol=1e-6)


def test_h36m_splits_by_subject_and_protocol_two_looks_through_one_camera(
    tmp_path: Path, read: Read, rejects: Rejects
) -> None:
    np.savez(tmp_path / "h36m_all.npz", **spin_arrays(NAMES, 17))
    assert [record.split for record in read("h36m", tmp_path)] == ["train", "train", "test", "test"]
    (record,) = read("h36m", tmp_path, "test", protocol="2")
    assert (record.attributes["subject"], record.attributes["camera"]) == ("S9", "60457274")
    assert record.skeleton == record.attributes["joints"] == "h36m17"
    assert sum(rejects.left_out.values()) == 1


def test_h36m_cameras_come_from_mmposes_pickle(tmp_path: Path, read: Read) -> None:
    folder = tmp_path / "annotation_body3d"
    (folder / "fps50").mkdir(parents=True)
    nested = [f"S9/S9_Eating_1.54138969/S9_Eating_1.54138969_{frame:06d}.jpg" for frame in (1, 6)]
    np.savez(folder / "fps50/h36m_test.npz", **spin_arrays(nested, 17))
    camera = {"f": np.array([[1145.0], [1144.0]]), "c": np.array([[512.5], [515.4]]), "R": np.eye(3), "w": 1000}
    (folder / "cameras.pkl").write_bytes(pickle.dumps({("S9", "54138969"): camera}))
    first = read("h36m", tmp_path)[0]
    assert first.camera == {"focal_px": 1144.5, "centre_px": [512.5, 515.4]}
    assert first.split == "test"


def test_h36m_raw_joints(tmp_path: Path, read: Read, rejects: Rejects) -> None:
    cdflib = pytest.importorskip("cdflib")
    rng = np.random.default_rng(3)
    deep, flat = rng.normal(0, 500, (11, 32, 3)) + np.array([0, 0, 4000]), rng.uniform(100, 900, (11, 32, 2))
    for folder, poses in (("D3_Positions_mono", deep), ("D2_Positions", flat)):
        path = tmp_path / f"S9/MyPoseFeatures/{folder}/Eating 1.54138969.cdf"
        path.parent.mkdir(parents=True)
        _write_cdf(cdflib, path, poses.reshape(1, 11, -1).astype(np.float32))
    _write_cdf(
        cdflib, tmp_path / "S9/MyPoseFeatures/D3_Positions_mono/_ALL.54138969.cdf", np.zeros((1, 3, 96), np.float32)
    )
    (tmp_path / "S9/MyPoseFeatures/D3_Positions_mono/Cut 1.54138969.cdf").write_bytes(b"half")
    (tmp_path / "images").mkdir()
    records = read("h36m", tmp_path)
    assert [record.frame for record in records] == [1, 6, 11]
    second = records[1]
    assert second.split == "test"
    assert second.image == "images/S9_Eating_1.54138969_000006.jpg"
    assert second.attributes["camera"] == "54138969"
    picked = deep[5][[0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]] / 1000
    assert np.allclose(second.joints_m, camera_to_world(picked), atol=1e-5)  # millimetres became metres
    assert np.allclose(second.keypoints[:, :2], flat[5][list(h36m.JOINTS_OF_32)], atol=1e-3)
    assert rejects.counts == {"joint file not readable": 1}


def _write_cdf(cdflib: Any, path: Path, pose: np.ndarray) -> None:
    writer = cdflib.cdfwrite.CDF(str(path), delete=True)
    # 21 is CDF's 4-byte real; the whole array is one record, as in the published files.
    spec = {
        "Variable": "Pose",
        "Data_Type": 21,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(pose.shape[1:]),
    }
    writer.write_var(spec, var_data=pose)
    writer.close()


# ---- MPI-INF-3DHP ---------------------------------------------------------------------------------------------------


def test_3dhp_seventeen_points(tmp_path: Path, read: Read) -> None:
    (tmp_path / "annotations").mkdir()
    arrays = spin_arrays([f"S1_Seq1_Cam0_{frame:06d}.jpg" for frame in (1, 2)], 17)
    np.savez(tmp_path / "annotations/mpi_inf_3dhp_train.npz", **arrays)
    first = read("mpi_inf_3dhp", tmp_path)[0]
    assert first.skeleton == first.attributes["joints"] == "mpi_inf_3dhp17"
    assert first.split == "train"


def test_3dhp_raw_training_files(tmp_path: Path, read: Read) -> None:
    from scipy.io import savemat

    folder = tmp_path / "S2/Seq1"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(4)
    flat = [rng.uniform(100, 1900, (21, 56)) for _ in range(14)]
    deep = [rng.normal(0, 500, (21, 84)) + 1000 for _ in range(14)]
    cells = {name: np.empty((14, 1), dtype=object) for name in ("annot2", "annot3")}
    for camera in range(14):
        cells["annot2"][camera, 0], cells["annot3"][camera, 0] = flat[camera], deep[camera]
    savemat(folder / "annot.mat", cells)
    blocks = [
        f"name          {camera}\n  sensor 10 10\n  size          2048 2048\n  animated      0\n"
        f"  intrinsic     {1400 + camera} 0 1024 0 0 {1400 + camera} 1050 0 0 0 1 0 0 0 0 1\n"
        "  extrinsic     1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n  radial        0\n"
        for camera in range(14)
    ]
    (folder / "camera.calibration").write_text("Skeletool Camera Calibration File V1.0\n" + "".join(blocks))
    with pytest.raises(UserError, match=r"extract the frames first: mkdir -p .* ffmpeg -i"):
        read("mpi_inf_3dhp", tmp_path)
    for camera in range(9):
        (folder / f"imageFrames/video_{camera}").mkdir(parents=True)
    records = read("mpi_inf_3dhp", tmp_path)
    assert len(records) == 8 * 3  # eight cameras, every tenth of 21 frames
    last = records[-1]
    assert last.image == "S2/Seq1/imageFrames/video_8/frame_000021.jpg"
    assert last.camera == {"focal_px": 1408.0, "centre_px": [1024.0, 1050.0]}
    order = list(mpi_inf_3dhp.JOINTS_OF_28)
    assert np.allclose(last.joints_m, camera_to_world(deep[8][20].reshape(28, 3)[order] / 1000), atol=1e-5)
    assert np.allclose(last.keypoints[:, :2], flat[8][20].reshape(28, 2)[order], atol=1e-2)
    # SPIN names the root 4 and puts the left hip at 18: the two published lists agree.
    assert (order[14], order[11], order[8]) == (4, 18, 23)


def test_3dhp_raw_test_files(tmp_path: Path, read: Read, rejects: Rejects) -> None:
    h5py = pytest.importorskip("h5py")
    folder = tmp_path / "mpi_inf_3dhp_test_set/TS1"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    flat, deep = rng.uniform(0, 2048, (6, 1, 17, 2)), rng.normal(0, 500, (6, 1, 17, 3))
    with h5py.File(folder / "annot_data.mat", "w") as file:
        file["annot2"], file["univ_annot3"], file["annot3"] = flat, deep, deep * 2
        file["valid_frame"] = np.array([[1], [0], [1], [0], [0], [1]], dtype=np.float64)
    records = read("mpi_inf_3dhp", tmp_path, "test")
    assert [record.frame for record in records] == [1, 3, 6]
    assert records[1].image == "mpi_inf_3dhp_test_set/TS1/imageSequence/img_000003.jpg"
    assert np.allclose(records[1].joints_m, camera_to_world(deep[2, 0] / 1000), atol=1e-5)
    assert rejects.left_out == {"marked invalid by the authors": 3}


# ---- 3DPW -----------------------------------------------------------------------------------------------------------


def pw3d_sequence(frames: int) -> dict[str, Any]:
    rng = np.random.default_rng(6)
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3] = roma.rotvec_to_rotmat(torch.from_numpy(rng.normal(0, 1, (frames, 3)))).numpy()
    cameras[:, :3, 3] = rng.normal(0, 1, (frames, 3))
    points = rng.uniform(10, 50, (frames, 3, 18))
    points[:, 2] = 0.9
    return {
        "sequence": "downtown_walk_00",
        "poses": [rng.normal(0, 0.5, (frames, 72)) for _ in range(2)],
        "trans": [np.zeros((frames, 3))] * 2,
        "betas": [np.arange(300) / 100.0] * 2,
        "genders": ["m", "f"],
        "poses2d": [points, points * 0],
        "jointPositions": [rng.normal(0, 1, (frames, 72)) for _ in range(2)],
        "cam_poses": cameras,
        "cam_intrinsics": np.array([[1961.0, 0, 540], [0, 1969.0, 960], [0, 0, 1]]),
        "campose_valid": [np.array([1, 0, 1] * frames)[:frames], np.ones(frames, int)],
        "img_frame_ids": np.arange(frames),
    }


def write_pw3d(root: Path, sequence: dict[str, Any], protocol: int = 2) -> Path:
    path = root / "sequenceFiles/test/downtown_walk_00.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(sequence, protocol=protocol))
    return path


def test_3dpw_turns_the_root_by_the_camera(tmp_path: Path, read: Read, rejects: Rejects) -> None:
    sequence = pw3d_sequence(4)
    write_pw3d(tmp_path, sequence)
    records = read("3dpw", tmp_path)
    assert [(record.attributes["person"], record.frame) for record in records] == [
        *((0, frame) for frame in (0, 2, 3)),
        *((1, frame) for frame in range(4)),
    ]
    third = records[1]
    rotmat = roma.rotvec_to_rotmat(torch.from_numpy(sequence["poses"][0][2].reshape(24, 3)[:22])).numpy()
    camera = sequence["cam_poses"][2]
    rotmat[0] = WORLD_OF_CAMERA @ camera[:3, :3] @ rotmat[0]
    assert np.allclose(third.pose_rotmat, rotmat, atol=1e-5)
    joints = sequence["jointPositions"][0][2].reshape(24, 3) @ camera[:3, :3].T + camera[:3, 3]
    assert np.allclose(third.joints_m, joints @ WORLD_OF_CAMERA.T, atol=1e-5)
    assert np.allclose(third.betas, np.arange(10) / 100)
    assert third.image == "imageFiles/downtown_walk_00/image_00002.jpg"
    assert third.camera == {"focal_px": 1965.0, "centre_px": [540.0, 960.0]}
    assert third.attributes["gender"] == "male"
    assert rejects.left_out["with a camera marked invalid by the authors"] == 1


def test_3dpw_points_follow_coco_and_an_unseen_person_has_no_box(tmp_path: Path, read: Read) -> None:
    sequence = pw3d_sequence(1)
    # OpenPose-18: 5 is the left shoulder, 15 the left eye, 14 the right eye.
    sequence["poses2d"][0][0][:2, [5, 15, 14]] = [[11, 12, 13], [21, 22, 23]]
    write_pw3d(tmp_path, sequence)
    seen, unseen = read("3dpw", tmp_path)
    assert seen.keypoints[[5, 1, 2], :2].tolist() == [[11, 21], [12, 22], [13, 23]]
    low, high = seen.keypoints[:, :2].min(0), seen.keypoints[:, :2].max(0)
    assert np.isclose(seen.box_xyxy_px[2] - seen.box_xyxy_px[0], 1.2 * (high - low).max())
    assert unseen.keypoints is None
    assert unseen.box_xyxy_px is None


def test_a_malicious_3dpw_pickle_is_refused_by_name(tmp_path: Path, read: Read, rejects: Rejects) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    write_pw3d(tmp_path, {**pw3d_sequence(1), "extra": Bomb()})
    assert read("3dpw", tmp_path) == []
    (example,) = rejects.examples["sequence file not readable"]
    assert "refused, nothing was run" in example
    assert not (tmp_path / "ran").exists()


def test_3dpw_in_spins_layout(tmp_path: Path, read: Read) -> None:
    arrays = spin_arrays(["imageFiles/courtyard/image_00000.jpg"])
    del arrays["part"], arrays["S"]
    np.savez(
        tmp_path / "3dpw_test.npz", **arrays, pose=camera_poses(1), shape=np.zeros((1, 10)), gender=np.array(["f"])
    )
    (record,) = read("3dpw", tmp_path)
    assert record.keypoints is None
    assert record.joints_m is None
    assert record.attributes["gender"] == "female"
    assert np.allclose(record.pose_rotmat, expected_rotmat(camera_poses(1)[0]), atol=1e-6)
