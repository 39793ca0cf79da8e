"""HumanData of mmhuman3d: pickled dictionaries inside an .npz, and points kept only where a mask says so."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_kit import MakeImage, Read, camera_poses, expected_rotmat

from data.records import Rejects
from data.sources.humandata import COCO_OF_POINTS, NUM_POINTS
from llmpose.errors import UserError


def human_data(count: int) -> dict[str, Any]:
    """What `HumanData.dump` hands to numpy: lists, arrays, dictionaries and its own three attributes."""
    poses = camera_poses(count)
    return {
        "__key_strict__": False,
        "__temporal_len__": count,
        "__keypoints_compressed__": False,
        "image_path": [f"images/seq/{row:06d}.jpg" for row in range(count)],
        "bbox_xywh": np.tile([5.0, 6.0, 20.0, 30.0, 1.0], (count, 1)),
        "smpl": {
            "body_pose": poses[:, 3:].reshape(count, 23, 3),
            "global_orient": poses[:, :3],
            "betas": np.full((count, 10), 0.5),
        },
        "meta": {"gender": np.array(["m", "female"] * count)[:count]},
        "config": "3dpw",
    }


def points_of_people(count: int) -> np.ndarray:
    """(count, 190, 3): every point knows its own place, x = place, y = 2 place."""
    places = np.arange(NUM_POINTS, dtype=np.float64)
    return np.tile(np.stack([places, 2 * places, np.ones(NUM_POINTS)], axis=1), (count, 1, 1))


def test_dictionaries_inside_the_archive_become_poses(tmp_path: Path, read: Read, make_image: MakeImage) -> None:
    make_image(tmp_path / "images/seq/000000.jpg")
    np.savez_compressed(tmp_path / "eft_train.npz", **human_data(2))
    first, second = read("humandata", tmp_path)
    assert (first.id, first.split, first.image) == ("humandata/eft_train/0", "train", "images/seq/000000.jpg")
    assert first.box_xyxy_px.tolist() == [5, 6, 25, 36]
    assert [record.attributes["gender"] for record in (first, second)] == ["male", "female"]
    assert (second.frame, second.keypoints) == (1, None)
    for record, pose in zip((first, second), camera_poses(2), strict=True):
        assert np.allclose(record.pose_rotmat, expected_rotmat(pose), atol=1e-6)
        assert record.betas.tolist() == [0.5] * 10


def test_smplx_fits_and_flat_body_poses_are_read_too(tmp_path: Path, read: Read) -> None:
    held = human_data(2)
    poses = camera_poses(2)
    held["smplx"] = {**held.pop("smpl"), "body_pose": poses[:, 3:66].reshape(2, 21, 3), "jaw_pose": np.zeros((2, 3))}
    np.savez(tmp_path / "x.npz", **held)
    held = human_data(2)
    held["smpl"]["body_pose"] = poses[:, 3:]
    np.savez(tmp_path / "y.npz", **held)
    x0, _, y0, _ = read("humandata", tmp_path)
    assert np.allclose(x0.pose_rotmat, expected_rotmat(poses[0]), atol=1e-6)
    assert np.allclose(x0.pose_rotmat, y0.pose_rotmat)


@pytest.mark.parametrize("compressed", [False, True])
def test_points_are_cocos_compressed_by_their_mask_or_not(tmp_path: Path, read: Read, compressed: bool) -> None:
    mask = np.zeros(NUM_POINTS, dtype=int)
    mask[list(COCO_OF_POINTS)] = 1
    mask[COCO_OF_POINTS[0]] = 0  # no nose
    points = points_of_people(1)
    points[0, COCO_OF_POINTS[3], 2] = 0  # no confidence in the left ear
    held = {"keypoints2d": points[:, mask > 0] if compressed else points, "keypoints2d_mask": mask}
    np.savez(tmp_path / "a.npz", **human_data(1), **held)
    (record,) = read("humandata", tmp_path)
    places = np.array(COCO_OF_POINTS)
    expected = np.stack([places, 2 * places, np.full(17, 2)], axis=1)
    expected[[0, 3]] = 0
    assert (record.skeleton, record.keypoints.tolist()) == ("coco17", expected.tolist())


def test_smpls_hips_stand_in_where_there_are_no_others(tmp_path: Path, read: Read) -> None:
    mask = np.ones(NUM_POINTS, dtype=int)
    mask[[144, 145]] = 0
    np.savez(tmp_path / "a.npz", **human_data(1), keypoints2d=points_of_people(1), keypoints2d_mask=mask)
    (record,) = read("humandata", tmp_path)
    assert record.keypoints[11:13, 0].tolist() == [1, 2]  # left, then right, as COCO has them


def test_a_box_without_area_is_counted(tmp_path: Path, read: Read, rejects: Rejects) -> None:
    held = human_data(2)
    held["bbox_xywh"][0, 3] = -4  # as mmhuman3d's 3DPW has them
    np.savez(tmp_path / "a.npz", **held)
    assert [record.id for record in read("humandata", tmp_path)] == ["humandata/a/1"]
    assert rejects.counts["box of zero area"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"smpl": {"global_orient": np.zeros((3, 3)), "betas": np.zeros((3, 10))}}, "smpl lacks body_pose; it holds"),
        ({"smpl": [1, 2]}, "smpl is a ndarray, expected a dictionary"),
        (
            {"smpl": {**human_data(3)["smpl"], "betas": np.zeros((2, 10))}},
            r"betas is \(2, 10\).*each of the 3 pictures",
        ),
        ({"bbox_xywh": np.zeros((3, 3))}, r"bbox_xywh is \(3, 3\)"),
        ({"meta": {"gender": ["m"]}}, "gender has 1 entries for 3 pictures"),
        ({"keypoints2d": np.zeros((3, 144, 3))}, "expected HumanData's 190 points"),
        ({"image_path": None}, "lacks image_path"),
    ],
)
def test_a_file_of_another_shape_is_one_line(tmp_path: Path, read: Read, change: dict[str, Any], said: str) -> None:
    held = {name: value for name, value in {**human_data(3), **change}.items() if value is not None}
    np.savez(tmp_path / "a.npz", **held)
    with pytest.raises(UserError, match=said) as error:
        read("humandata", tmp_path)
    assert "a.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_in_a_pickled_dictionary_is_run(tmp_path: Path, read: Read) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    np.savez(tmp_path / "a.npz", **{**human_data(1), "meta": {"gender": Bomb()}})
    with pytest.raises(UserError, match=r"refused, nothing was run: it asks for builtins\.eval"):
        read("humandata", tmp_path)
    assert not (tmp_path / "ran").exists()
