"""Skeletons are data: the fourteen of the field hold together, and a mistake in somebody's own is told in one line."""

from pathlib import Path

import pytest

from llmpose.body.model import load_body_model
from llmpose.body.pose import JOINT_NAMES
from llmpose.body.skeleton import Skeleton, load_skeleton, skeleton_from_dict, skeleton_names
from llmpose.errors import UserError

COUNTS = {
    "coco17": 17,
    "smpl24": 24,
    "mpii16": 16,
    "lsp14": 14,
    "h36m17": 17,
    "mpi_inf_3dhp17": 17,
    "ap10k": 17,
    "animalpose": 20,
    "animal_kingdom": 23,
    "animalweb": 9,
    "carfusion": 14,
    "humanart21": 21,
    "aic14": 14,
    "crowdpose14": 14,
}
OWN = """
name: stool
keypoints:
  seat: the round seat
  left foot: the foot on the left
  right foot: the foot on the right
links: [[seat, left foot], [0, 2]]
"""


def test_the_library_brings_fourteen() -> None:
    assert {name: load_skeleton(name).num_keypoints for name in skeleton_names()} == COUNTS


@pytest.mark.parametrize("name", COUNTS)
def test_every_keypoint_is_described_in_a_sentence_of_its_own(name: str) -> None:
    skeleton = load_skeleton(name)
    sentences = [skeleton.descriptions[keypoint] for keypoint in skeleton.keypoints]
    assert len(set(sentences)) == len(sentences)
    assert min(len(sentence.split()) for sentence in sentences) >= 3


@pytest.mark.parametrize("name", COUNTS)
def test_mirroring_twice_changes_nothing_and_swaps_left_and_right(name: str) -> None:
    skeleton = load_skeleton(name)
    order = skeleton.flip_permutation
    assert tuple(order[index] for index in order) == tuple(range(skeleton.num_keypoints))
    for index, keypoint in enumerate(skeleton.keypoints):
        words = ["right" if word == "left" else "left" if word == "right" else word for word in keypoint.split()]
        assert skeleton.keypoints[order[index]] == " ".join(words)


@pytest.mark.parametrize("name", COUNTS)
def test_links_reach_every_keypoint_that_is_ever_labelled(name: str) -> None:
    skeleton = load_skeleton(name)
    reached = {index for link in skeleton.links for index in link}
    never_labelled = {8, 13} if name == "carfusion" else set()
    assert reached == set(range(skeleton.num_keypoints)) - never_labelled


@pytest.mark.parametrize("name", COUNTS)
def test_every_skeleton_has_sigmas_and_both_sides_have_the_same(name: str) -> None:
    skeleton = load_skeleton(name)
    assert skeleton.sigmas is not None
    if name in ("aic14", "animalpose"):  # published with sides that differ, and taken over as they are
        return
    assert all(skeleton.sigmas[left] == skeleton.sigmas[right] for left, right in skeleton.flip_pairs)


def test_sigmas_of_coco_and_ap10k_are_one_list_reordered() -> None:
    coco, ap10k = load_skeleton("coco17").sigmas, load_skeleton("ap10k").sigmas
    assert coco is not None
    assert ap10k is not None
    assert sorted(coco) == sorted(ap10k)
    assert coco[:3] == (0.026, 0.025, 0.025)


def test_smpl24_has_the_joints_of_a_pose_first_and_the_links_of_the_body_model() -> None:
    skeleton = load_skeleton("smpl24")
    assert skeleton.keypoints[:22] == tuple(name.replace("_", " ") for name in JOINT_NAMES)
    parents = load_body_model("stand-in", kind="smpl").parents
    assert {tuple(sorted(link)) for link in skeleton.links} == {(parents[j], j) for j in range(1, 24)}


def test_own_file_loads_and_flip_pairs_come_from_the_names(tmp_path: Path) -> None:
    (tmp_path / "stool.yaml").write_text(OWN)
    skeleton = load_skeleton(tmp_path / "stool.yaml")
    assert skeleton.flip_pairs == ((1, 2),)
    assert skeleton.links == ((0, 1), (0, 2))
    assert skeleton.sigmas is None
    assert skeleton.describe("Left_Foot ") == "the foot on the left"
    assert skeleton_from_dict(skeleton.to_dict(), "again") == skeleton


@pytest.mark.parametrize(
    "names",
    ["left_eye, right_eye", "Left eye, Right eye", "LEFT-EYE, right_eye", "eye left , eye right", "L_Eye, R_Eye"],
)
def test_twins_are_found_however_their_names_are_written(tmp_path: Path, names: str) -> None:
    (tmp_path / "own.yaml").write_text(f"keypoints: [{names}, tail]")
    skeleton = load_skeleton(tmp_path / "own.yaml")
    assert skeleton.flip_pairs == ((0, 1),)
    assert skeleton.keypoints == (*(name.strip() for name in names.split(",")), "tail")
    assert skeleton.mirrors


def test_pairs_links_and_sentences_find_a_name_however_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "keypoints: [Left_Eye, right-eye, Tail]\nflip_pairs: [[left eye, RIGHT_EYE]]\nlinks: [[tail, left-eye]]\n"
        "descriptions: {TAIL: behind}"
    )
    skeleton = load_skeleton(tmp_path / "own.yaml")
    assert (skeleton.flip_pairs, skeleton.links) == (((0, 1),), ((2, 0),))
    assert skeleton.descriptions == {"Tail": "behind"}
    assert [skeleton.index(name) for name in ("left eye", "RIGHT-eye ", "tail")] == [0, 1, 2]


def test_only_what_has_both_its_sides_follows_a_mirrored_image() -> None:
    assert Skeleton("both", ("left eye", "right eye", "tail"), ((0, 1),)).mirrors
    assert not Skeleton("one fin", ("left eye", "right eye", "Left_fin"), ((0, 1),)).mirrors
    assert not Skeleton("no sides", ("tip", "end")).mirrors


def test_descriptions_may_stand_apart(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("keypoints: [tip, end]\ndescriptions: {tip: the sharp end}")
    skeleton = load_skeleton(tmp_path / "a.yaml")
    assert skeleton.name == "a"
    assert skeleton.descriptions == {"tip": "the sharp end"}
    assert skeleton.describe("end") == "end"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keypoints: [a, b, a]", "'a' stands there twice"),
        ("keypoints:\n  a: x\n  a: y", "'a' stands there twice"),
        ("keypoints: [Nose, nose]", "'Nose' and 'nose' are one name twice"),
        ("keypoints: [left_eye, left eye]\nflip_pairs: []", "'left_eye' and 'left eye' are one name twice"),
        ("keypoints: [left-eye, Left  eye]\nflip_pairs: []", "'left-eye' and 'Left  eye' are one name twice"),
        ("keypoints: [a, '']", "keypoint 2 of 2 has no name: ''"),
        ("keypoints: [' ', b]", "keypoint 1 of 2 has no name: ' '"),
        ("keypoints: [a, _, b]", "keypoint 2 of 3 has no name: '_'"),
        ("keypoints: [left ear, nose]", "no partner 'right ear'"),
        ("keypoints: [left_ear, nose]", "'left_ear' has no partner 'right ear'"),
        ("keypoints: [Right-Ear, nose]", "'Right-Ear' has no partner 'left ear'"),
        ("keypoints: [Left_ear, right ear]\nflip_pairs: []", "add [Left_ear, right ear]"),
        ("keypoints: [left ear, right ear]\nflip_pairs: []", "no flip pair"),
        ("keypoints: [left ear, right ear]\nflip_pairs: [[left ear]]", "lacks its partner"),
        ("keypoints: [a, b]\nflip_pairs: [[a, c]]", "names 'c', no such keypoint"),
        ("keypoints: [a, b]\nlinks: [[0, 2]]", "out of range: there are 2, 0 to 1"),
        ("keypoints: [a, b]\nlinks: [[a, a]]", "with itself"),
        ("keypoints: [a, b]\nsigmas: [0.1]", "1 sigmas for 2 keypoints"),
        ("keypoints: [a, b]\nsigmas: [0.1, -1]", "positive"),
        ("keypoints: [a, b]\nflips: []", "unknown key 'flips'"),
        ("keypoints: [a, b]\ndescriptions: {c: over there}", "describes 'c', which is none of its keypoints"),
        ("keypoints: [a, b]\ndescriptions: [a]", "a sentence each"),
        ("joints: [a, b]", "not a skeleton"),
        ("keypoints: [a, yes]", "quote"),
        ("keypoints: [a", "not a readable YAML file"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_skeleton(path)
    assert said in str(error.value)
    assert "mine.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_names_get_the_nearest_suggested() -> None:
    with pytest.raises(UserError, match="did you mean 'coco17'"):
        load_skeleton("coco_17")
    with pytest.raises(UserError, match="did you mean 'left wrist'"):
        load_skeleton("coco17").index("left wirst")


def test_a_skeleton_can_be_a_key() -> None:
    assert len({load_skeleton("coco17"), load_skeleton("coco17"), Skeleton("one", ("a",))}) == 2
