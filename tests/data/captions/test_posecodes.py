import subprocess
import sys
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from data.captions.aggregate import fact_table, mirror_fact
from data.captions.codes import CODE_INDEX, CODES, KINDS, NOT_TOLD, SUPER_CODES, alignment_pairs
from data.captions.posecodes import CATEGORY_NAMES, NOT_MEASURED, NUM_CODES, _bin, posecodes


def test_the_table_has_the_published_number_of_codes_of_each_kind() -> None:
    kinds = Counter(code.kind for code in CODES)
    assert kinds == {
        "angle": 4, "distance": 70, "x": 54, "y": 61, "z": 57, "upright": 13, "ground": 6,
        "incline": 1, "twist": 1, "sway": 1, "head_pitch": 1, "head_turn": 1, "head_roll": 1,
    }  # fmt: skip
    assert len(SUPER_CODES) == 150
    assert len(alignment_pairs()) == 48


def test_every_category_that_is_named_in_the_table_exists() -> None:
    for code in CODES:
        names = set(KINDS[code.kind].categories) - {NOT_TOLD}
        assert code.usual | code.rare | code.absolute | code.unless_super <= names
        assert len(KINDS[code.kind].categories) == len(KINDS[code.kind].thresholds) + 1
    for code in SUPER_CODES:
        for recipe in code.recipes:
            for key, names in recipe:
                assert names <= set(CATEGORY_NAMES[CODE_INDEX[key]])


def test_the_rest_pose_has_the_codes_one_sees(t_pose: Tensor) -> None:
    codes = posecodes(t_pose)

    def name(kind: str, *points: str) -> str:
        return codes.name(0, CODE_INDEX[kind, points])

    assert name("angle", "left_shoulder", "left_elbow", "left_wrist") == "straight"
    assert name("upright", "right_shoulder", "right_elbow") == "horizontal"
    assert name("upright", "pelvis", "neck") == "vertical"
    assert name("distance", "left_hand", "right_hand") == "wide"
    assert name("x", "left_hand", "right_hand") == "at_left"
    assert name("y", "left_hip", "left_knee") == "above"
    assert name("ground", "left_foot") == "on_ground"
    assert name("head_turn", "spine1", "head") == NOT_TOLD
    assert int(codes.category[0, CODE_INDEX["head_turn", ("spine1", "head")]]) == NOT_MEASURED


def test_a_value_on_a_threshold_belongs_to_the_bin_below() -> None:
    value = torch.full((3, NUM_CODES), float("nan"))
    column = CODE_INDEX["distance", ("left_hand", "right_hand")]
    value[:, column] = torch.tensor([0.2, np.nextafter(np.float32(0.2), np.float32(1)), 0.8])
    category, _ = _bin(value, None)
    assert category[:, column].tolist() == [0, 1, 2]


def test_exactly_straight_limbs_are_straight_and_not_nan(t_pose: Tensor) -> None:
    joints = t_pose.clone()
    joints[0, 18] = (joints[0, 16] + joints[0, 20]) / 2
    codes = posecodes(joints)
    column = CODE_INDEX["angle", ("left_shoulder", "left_elbow", "left_wrist")]
    assert abs(float(codes.value[0, column]) - 180) < 0.1
    assert codes.name(0, column) == "straight"


def test_noise_moves_values_by_no_more_than_their_tolerance(poses) -> None:
    exact = posecodes(poses.joints_m)
    noisy = posecodes(poses.joints_m, noise=torch.Generator().manual_seed(0))
    assert torch.equal(exact.value.nan_to_num(), noisy.value.nan_to_num())
    changed = (exact.category != noisy.category)[:, :NUM_CODES]
    assert 0.02 < changed.float().mean() < 0.25
    for column in torch.nonzero(changed.any(0))[:, 0].tolist():
        rule = KINDS[CODES[column].kind]
        values = exact.value[changed[:, column], column]
        distance = (values[:, None] - torch.tensor(rule.thresholds)).abs().amin(1)
        assert bool((distance <= rule.tolerance + 1e-5).all())


def test_told_facts_of_mirrored_poses_are_the_mirrored_facts(poses) -> None:
    table = fact_table()

    def facts(batch) -> list[set]:
        codes = posecodes(batch.joints_m, rotmat=batch.rotmat)
        told, category = codes.told.numpy() > 0, codes.category.numpy()
        return [{table[c][category[row, c]] for c in np.flatnonzero(told[row])} for row in range(len(batch))]

    for original, mirrored in zip(facts(poses), facts(poses.mirrored()), strict=True):
        assert {mirror_fact(fact) for fact in original} == mirrored


def test_codes_that_only_support_others_are_never_told(poses) -> None:
    told = posecodes(poses.joints_m).told
    for column, code in enumerate(CODES):
        if not code.usual and not code.rare:
            assert int(told[:, column].max()) == 0


def test_the_posecodes_of_100_000_poses_stay_under_4_gib() -> None:
    script = """
import resource, torch
from data.captions import posecodes, text_joints
from llmpose.body.pose import Pose
joints = text_joints(Pose.rest(1).rotmat).repeat(100_000, 1, 1)
assert len(posecodes(joints)) == 100_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 4 * 2**20
