"""PoseScript and PoseFix: ids lead to AMASS frames, pairs of one motion keep the turn, and broken ids are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from source_kit import Read, WriteJson

from data.prepare import prepare
from data.records import PairRecord, PairSet, Record, RecordSet, Rejects
from llmpose.body.pose import Pose
from llmpose.errors import BadUsage, UserError

PLACES = {
    "0": ["AMASS", "CMU/01/01_01_poses.npz", 3],
    "1": ["AMASS", "CMU/01/01_01_poses.npz", 7],
    "2": ["AMASS", "BioMotionLab_NTroje/rub001/0000_jump_poses.npz", 0],
    "3": ["AMASS", "CMU/01/01_01_poses.npz", 5000],
    "4": ["AMASS", "CMU/99/gone_poses.npz", 1],
}


@pytest.fixture
def release(tmp_path: Path, write_json: WriteJson) -> Path:
    """A PoseScript and a PoseFix release, and an AMASS whose subsets carry the new names."""
    for name, seed in (("CMU/01/01_01_poses.npz", 0), ("BMLrub/rub001/0000_jump_poses.npz", 1)):
        path = tmp_path / "amass" / name
        path.parent.mkdir(parents=True)
        np.savez(path, poses=np.random.default_rng(seed).normal(0, 0.6, (10, 156)), gender="male")
    script, fix = tmp_path / "posescript_release", tmp_path / "posefix_release"
    write_json(script / "ids_2_dataset_sequence_and_frame_index_100k.json", PLACES)
    write_json(script / "train_ids_100k.json", [0, 2, 3, 4])
    write_json(script / "test_ids_100k.json", [1])
    write_json(script / "posescript_human_6293.json", {"0": "He kneels.", "3": ["Too late."], "1": ["a", "b"]})
    write_json(
        script / "posescript_auto_100k.json", {number: [f"auto {number} {k}" for k in range(3)] for number in PLACES}
    )
    write_json(fix / "pair_id_2_pose_ids.json", [[0, 1], [0, 2], [1, 4], [2, 1]])
    write_json(fix / "train_in_sequence_pair_ids.json", [0])
    write_json(fix / "train_out_sequence_pair_ids.json", [1, 2, 77])
    write_json(fix / "val_out_sequence_pair_ids.json", [3])
    write_json(fix / "posefix_human_6157.json", {"0": ["Turn left."], "2": ["x"], "3": "Sit down.", "77": ["?"]})
    write_json(fix / "posefix_auto_135305.json", {"1": ["Lower it.", "Bend.", "Down."]})
    return tmp_path


def amass_pose(root: Path, name: str, frame: int) -> np.ndarray:
    poses = np.load(root / "amass" / name)["poses"]
    return Pose.from_axis_angle(torch.from_numpy(poses[frame, :66])).rotmat.numpy()


def test_ids_lead_to_frames_and_every_text_comes_along(release: Path, read: Read) -> None:
    first, *_ = read("posescript", release, "train", texts="human,auto")
    assert (first.id, first.split, first.frame) == ("posescript/0", "train", 3)
    assert first.sequence == "CMU/01/01_01_poses.npz"
    assert first.texts == ["He kneels.", "auto 0 0", "auto 0 1", "auto 0 2"]
    assert np.array_equal(first.pose_rotmat, amass_pose(release, "CMU/01/01_01_poses.npz", 3))
    (other,) = read("posescript", release, "test")
    assert other.texts == ["a", "b"]


def test_a_split_is_its_ids_that_have_a_text(release: Path, read: Read, rejects: Rejects) -> None:
    assert [record.id for record in read("posescript", release, "train")] == ["posescript/0"]
    assert rejects.left_out == {"without such a text": 2}


def test_subsets_are_found_under_their_new_names(release: Path, read: Read) -> None:
    found = {record.id: record for record in read("posescript", release, "train", texts="auto")}
    assert np.array_equal(
        found["posescript/2"].pose_rotmat, amass_pose(release, "BMLrub/rub001/0000_jump_poses.npz", 0)
    )


def test_frames_and_files_that_do_not_exist_are_counted(release: Path, read: Read, rejects: Rejects) -> None:
    read("posescript", release, texts="auto")
    assert rejects.counts == {"frame does not exist": 1, "motion file missing": 1}
    assert rejects.examples["frame does not exist"] == ["CMU/01/01_01_poses.npz frame 5000 of 10"]


def test_an_empty_caption_is_set_aside(release: Path, write_json: WriteJson, tmp_path: Path) -> None:
    write_json(release / "posescript_release/posescript_human_6293.json", {"0": "He kneels.", "2": " "})
    rejects = Rejects(max_share=0.9)
    records = prepare("posescript", release, tmp_path / "out", split="train", rejects=rejects)
    assert isinstance(records, RecordSet)
    assert records.ids() == ["posescript/0"]
    assert rejects.counts == {"empty text": 1}


def test_texts_that_nothing_can_use_are_counted(release: Path, read: Read, write_json: WriteJson, rejects: Rejects):
    write_json(release / "posescript_release/posescript_human_6293.json", {"0": "He kneels.", "1": [], "9": "Who?"})
    assert [record.id for record in read("posescript", release)] == ["posescript/0"]
    assert rejects.left_out == {"without such a text": 4, "texts whose id stands in no split": 1}


def test_pairs_of_one_motion_know_how_far_the_body_turned(release: Path, read: Read) -> None:
    items = read("posefix", release, "train", texts="human,auto")
    pairs = {item.id: item for item in items if isinstance(item, PairRecord)}
    poses = {item.id: item for item in items if isinstance(item, Record)}
    same, other = pairs["posefix/0"], pairs["posefix/1"]
    assert (same.a, same.b, same.in_sequence, same.texts) == ("posescript/0", "posescript/1", True, ["Turn left."])
    a, b = (poses[name].pose() for name in (same.a, same.b))
    # Turning A by this angle gives it B's heading.
    turned = a.turned(same.attributes["turn_deg"])
    assert torch.allclose(turned.yaw_deg, b.yaw_deg, atol=1e-3)
    assert -180 <= same.attributes["turn_deg"] < 180
    assert not other.in_sequence
    assert other.attributes == {}
    assert other.texts == ["Lower it.", "Bend.", "Down."]


def test_pairs_become_a_set_and_what_is_broken_is_counted(release: Path, tmp_path: Path) -> None:
    rejects = Rejects(max_share=0.9)
    pairs = prepare("posefix", release, tmp_path / "out", rejects=rejects)
    assert isinstance(pairs, PairSet)
    assert {pair.id: pair.split for pair in pairs} == {"posefix/0": "train", "posefix/3": "val"}
    assert sorted(pairs.records.ids()) == ["posescript/0", "posescript/1", "posescript/2"]
    assert rejects.counts == {
        "motion file missing": 1,
        "pair names a pose that is not there": 1,
        "pair id that the release does not define": 1,
    }


def test_a_limit_reads_only_the_poses_of_its_pairs(release: Path, tmp_path: Path) -> None:
    pairs = prepare("posefix", release, tmp_path / "out", limit=1)
    assert isinstance(pairs, PairSet)
    assert (len(pairs), len(pairs.records)) == (1, 2)


def test_what_is_missing_is_said(release: Path, read: Read, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no posefix_paraphrases.*choose other texts with --option texts=human,auto"):
        read("posefix", release, texts="paraphrases")
    with pytest.raises(BadUsage, match="option texts 'robot'"):
        read("posescript", release, texts="robot")
    with pytest.raises(UserError, match="no such folder"):
        read("posescript", release, amass=str(tmp_path / "nowhere"))
    (release / "amass").rename(release / "motion")
    with pytest.raises(BadUsage, match="--option amass="):
        read("posescript", release)
    with pytest.raises(UserError, match="not the posescript release"):
        read("posescript", release / "motion")


def test_ids_of_another_form_are_one_line(release: Path, read: Read, write_json: WriteJson) -> None:
    broken: Any = {"0": "CMU/01/01_01_poses.npz"}
    write_json(release / "posescript_release/ids_2_dataset_sequence_and_frame_index_100k.json", broken)
    with pytest.raises(UserError, match=r"expected \{\"0\": \[\"AMASS\""):
        read("posescript", release)


def test_pairs_and_texts_of_another_form_are_one_line(release: Path, read: Read, write_json: WriteJson) -> None:
    fix = release / "posefix_release"
    write_json(fix / "pair_id_2_pose_ids.json", [[0, 1, 2]])
    with pytest.raises(UserError, match=r"pair_id_2_pose_ids.json: expected \[\[id of pose A"):
        read("posefix", release)
    write_json(fix / "posefix_human_6157.json", {"0": 3})
    with pytest.raises(UserError, match=r"posefix_human_6157\.json: expected id -> text or texts"):
        read("posefix", release)


def test_what_our_builders_add_is_read_too(release: Path, read: Read, write_json: WriteJson) -> None:
    """poses/ of its own, an image for a pose, texts refined by a language model; no AMASS needed for these."""
    script = release / "posescript_release"
    (release / "amass").rename(release / "elsewhere")
    path = script / "poses/coco/train_poses.npz"
    path.parent.mkdir(parents=True)
    np.savez(path, poses=np.random.default_rng(5).normal(0, 0.5, (3, 156)))
    places = {"0": ["coco", "coco/train_poses.npz", 2], "1": PLACES["1"]}
    write_json(script / "ids_2_dataset_sequence_and_frame_index_100k.json", places)
    write_json(script / "posescript_refined_6250.json", {"0": "Kneeling, arms up."})
    write_json(
        script / "ids_2_image_100k.json", {"0": {"image": "images/coco/0000000.jpg", "box_xyxy_px": [1, 2, 3, 4]}}
    )
    (record,) = read("posescript", release, "train", texts="refined")
    assert record.texts == ["Kneeling, arms up."]
    assert record.image == "posescript_release/images/coco/0000000.jpg"
    assert record.box_xyxy_px.tolist() == [1, 2, 3, 4]
    expected = Pose.from_axis_angle(torch.from_numpy(np.load(path)["poses"][2, :66])).rotmat.numpy()
    assert np.array_equal(record.pose_rotmat, expected)
    assert read("posescript", release, "train", texts="all")[0].texts == [
        "He kneels.",
        "auto 0 0",
        "auto 0 1",
        "auto 0 2",
        "Kneeling, arms up.",
    ]
