"""AMASS and MOYO: the frames that are taken, the frame they stand in, the splits, and what broken files do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from source_kit import Read

from data.records import RecordSet, Rejects
from data.sources.amass import split_of
from data.sources.joblib_files import load_joblib
from data.sources.motion import middle_frames
from llmpose.body.pose import Pose
from llmpose.errors import BadUsage, UserError


def motion(frames: int, seed: int = 0) -> np.ndarray:
    """(F, 156) axis-angle; the last hand joint says which frame it is."""
    poses = np.random.default_rng(seed).normal(0, 0.3, (frames, 156))
    poses[:, -1] = np.arange(frames)
    return poses


def write_amass(root: Path, name: str, poses: np.ndarray, **more: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        "poses": poses,
        "betas": np.arange(16.0) / 10,
        "trans": np.zeros((len(poses), 3)),
        "dmpls": np.zeros((len(poses), 8)),
        "gender": np.array(b"female"),
        "mocap_framerate": np.array(120.0),
        **more,
    }
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def test_amass_takes_the_middle_and_every_tenth_frame_as_it_stands(tmp_path: Path, read: Read) -> None:
    poses = motion(100)
    write_amass(tmp_path, "CMU/01/01_01_poses.npz", poses)
    records = read("amass", tmp_path)
    assert [record.frame for record in records] == [20, 30, 40, 50, 60, 70]
    first = records[0]
    assert first.id == "amass/CMU/01/01_01_poses/20"
    assert first.sequence == "CMU/01/01_01_poses.npz"
    assert first.attributes == {"subset": "CMU", "gender": "female", "frames_per_second": 120.0}
    # AMASS is z-up as we are, so nothing turns.
    expected = Pose.from_axis_angle(torch.from_numpy(poses[20, :66])).rotmat.numpy()
    assert np.array_equal(first.pose_rotmat, expected)
    assert np.allclose(first.betas, np.arange(10) / 10)


@pytest.mark.parametrize(
    ("count", "trim", "step", "first", "number"), [(1000, 0.2, 10, 200, 60), (100, 0.1, 5, 10, 16)]
)
def test_frames_as_tokenhmr_takes_them(count: int, trim: float, step: int, first: int, number: int) -> None:
    chosen = middle_frames(count, trim=trim, step=step)
    assert (chosen[0], len(chosen)) == (first, number)


def test_a_sequence_too_short_to_trim_gives_its_middle() -> None:
    assert middle_frames(1, trim=0.2, step=10).tolist() == [0]
    assert middle_frames(0, trim=0.2, step=10).tolist() == []


def test_amass_splits_hold_under_old_and_new_names() -> None:
    for old, new in (
        ("MPI_HDM05", "HDM05"),
        ("MPI_mosh", "MoSh"),
        ("SSM_synced", "SSM"),
        ("Transitions_mocap", "Transitions"),
    ):
        assert split_of(old) == split_of(new) != "train"
    assert {name: split_of(name) for name in ("HumanEva", "SFU", "SSM", "KIT", "BioMotionLab_NTroje")} == {
        "HumanEva": "val",
        "SFU": "val",
        "SSM": "test",
        "KIT": "train",
        "BioMotionLab_NTroje": "train",
    }


def test_amass_reads_chosen_subsets_and_splits(tmp_path: Path, read: Read) -> None:
    for subset in ("CMU", "BioMotionLab_NTroje", "HumanEva", "SSM_synced"):
        write_amass(tmp_path, f"{subset}/s1/walk_poses.npz", motion(20))
    assert {record.attributes["subset"] for record in read("amass", tmp_path, "val")} == {"HumanEva"}
    assert {record.split for record in read("amass", tmp_path)} == {"train", "val", "test"}
    assert {record.attributes["subset"] for record in read("amass", tmp_path, subsets="BMLrub")} == {"BMLrub"}
    with pytest.raises(BadUsage, match="no AMASS subset 'KITT'; it has BioMotionLab_NTroje, CMU"):
        read("amass", tmp_path, subsets="KITT")
    with pytest.raises(BadUsage, match="no option 'stepp'"):
        read("amass", tmp_path, stepp=3)
    with pytest.raises(BadUsage, match="no split 'dev'"):
        read("amass", tmp_path, "dev")


def test_newer_amass_files_keep_root_and_body_apart(tmp_path: Path, read: Read) -> None:
    poses = motion(10)
    path = tmp_path / "KIT/3/run_stageii.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, root_orient=poses[:, :3], pose_body=poses[:, 3:66], betas=np.zeros(300), gender="male")
    (record,) = read("amass", tmp_path, step=100)
    assert np.array_equal(record.pose_rotmat, Pose.from_axis_angle(torch.from_numpy(poses[2, :66])).rotmat.numpy())


def test_broken_motion_files_are_set_aside_and_the_rest_is_read(tmp_path: Path, read: Read, rejects: Rejects) -> None:
    good = write_amass(tmp_path, "CMU/01/good_poses.npz", motion(50))
    (tmp_path / "CMU/01/cut_poses.npz").write_bytes(good.read_bytes()[:5000])
    np.savez(tmp_path / "CMU/01/empty_poses.npz", betas=np.zeros(16))
    write_amass(tmp_path, "CMU/01/narrow_poses.npz", np.zeros((50, 63)))
    write_amass(tmp_path, "CMU/01/none_poses.npz", np.zeros((0, 156)))
    assert {record.sequence for record in read("amass", tmp_path)} == {"CMU/01/good_poses.npz"}
    assert rejects.counts == {"motion file not readable": 4}


def test_frames_with_nan_never_become_records(tmp_path: Path, read: Read) -> None:
    poses = motion(1000)
    poses[300, 5] = np.nan
    poses[400, 5] = np.inf
    write_amass(tmp_path, "CMU/01/nan_poses.npz", poses)
    rejects = Rejects(max_share=0.1)
    records = RecordSet.write(tmp_path / "out", read("amass", tmp_path), rejects=rejects)
    assert rejects.counts == {"pose holds NaN or infinite numbers": 2}
    assert {300, 400}.isdisjoint(records.column("frame"))


def test_another_folder_is_told_in_one_line(tmp_path: Path, read: Read) -> None:
    (tmp_path / "photos").mkdir()
    for source in ("amass", "moyo"):
        with pytest.raises(UserError, match=r"expected .*; found photos/$"):
            read(source, tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read("amass", tmp_path / "gone")


# ---- MOYO -----------------------------------------------------------------------------------------------------------


def moyo_sequence(frames: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "global_orient": rng.normal(0, 1, (frames, 3)).astype(np.float32),
        "body_pose": rng.normal(0, 0.3, (frames, 69)).astype(np.float32),
        "transl": np.zeros((frames, 3), np.float32),
        "betas": np.tile(np.arange(10, dtype=np.float32), (frames, 1)),
    }


@pytest.mark.parametrize("compress", [0, 3])
def test_moyo_reads_joblib_pickles_and_drops_the_rigid_hands(tmp_path: Path, read: Read, compress: int) -> None:
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "20220923_20220926_with_hands/mosh_smpl/val/tree.pkl"
    path.parent.mkdir(parents=True)
    sequence = moyo_sequence(100)
    joblib.dump(sequence, path, compress=compress)
    records = read("moyo", tmp_path, "val")
    assert [record.frame for record in records] == list(range(10, 90, 5))
    axis_angle = np.concatenate([sequence["global_orient"], sequence["body_pose"][:, :63]], axis=1)
    expected = Pose.from_axis_angle(torch.from_numpy(axis_angle[10].astype(np.float64))).rotmat.numpy()
    assert np.array_equal(records[0].pose_rotmat, expected)
    assert np.array_equal(records[0].betas, np.arange(10))
    assert read("moyo", tmp_path, "train") == []


def test_moyo_reads_its_amass_export(tmp_path: Path, read: Read) -> None:
    write_amass(tmp_path, "train/yogi/tree_poses.npz", motion(40))
    assert [record.split for record in read("moyo", tmp_path)] == ["train"] * 7


def test_a_joblib_file_that_wants_to_run_something_is_refused(tmp_path: Path) -> None:
    import os
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps({"global_orient": Bomb()}))
    with pytest.raises(UserError, match=r"refused, nothing was run: it asks for posix\.system"):
        load_joblib(tmp_path / "bomb.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_joblib_file_cut_off_is_told(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    joblib.dump(moyo_sequence(50), tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes((tmp_path / "a.pkl").read_bytes()[:-200])
    with pytest.raises(UserError, match="it may be cut off"):
        load_joblib(tmp_path / "a.pkl")
