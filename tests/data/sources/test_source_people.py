"""People with 3D: every layout in its own frame and units, all of them in ours afterwards."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roma
import torch
from source_kit import WORLD_OF_CAMERA, Read, camera_poses, expected_rotmat

from data.records import Rejects
from data.sources import h36m, mpi_inf_3dhp
from data.sources.people import camera_to_world
from llmpose.errors import UserError

# ---- Human3.6M ------------------------------------------------------------------------------------------------------


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
