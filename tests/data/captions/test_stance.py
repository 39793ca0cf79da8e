import re

import pytest

from data.captions import describe, text_joints
from data.captions.brief import Row, measure_stances
from data.captions.limb_states import Elbow, Forearm, Hand, Towards, pack_arm, unpack_arm
from data.captions.stance import Posture
from llmpose.body.pose import JOINT_NAMES, Pose

POSTURES = {
    "stand": "STAND", "t_pose": "STAND", "arms_up": "STAND", "bow": "STAND", "hands_on_hips": "STAND",
    "tree": "ONE_LEG", "kick_front": "ONE_LEG", "knee_strike": "ONE_LEG", "march": "ONE_LEG", "dancer": "ONE_LEG",
    "side_lunge": "SIDE_LUNGE", "toe_touch": "BEND_OVER", "pick_up": "BEND_OVER", "squat": "SQUAT", "crouch": "SQUAT",
    "sit_chair": "SIT", "sit_typing": "SIT", "sit_lean_forward": "SIT", "sit_lean_back": "SIT",
    "sit_floor": "SIT_FLOOR", "sit_reach_toes": "SIT_FLOOR", "sit_cross": "SIT_CROSSED", "kneel": "KNEEL",
    "seiza": "SIT_HEELS", "child_pose": "SIT_HEELS", "kneel_one": "KNEEL_ONE", "proposal": "KNEEL_ONE",
    "crawl": "ALL_FOURS", "plank": "PLANK", "pushup_low": "PLANK", "side_plank": "SIDE_PLANK", "down_dog": "ARCH",
    "bear_crawl": "ARCH", "bridge": "SHOULDER_BRIDGE", "supine": "LIE_BACK", "leg_raise": "LIE_BACK",
    "prone": "LIE_FRONT", "cobra": "CHEST_UP", "side_lying": "LIE_SIDE",
    "jump_tuck": "TUCK_JUMP",
}  # fmt: skip


@pytest.mark.parametrize(("name", "posture"), POSTURES.items())
def test_the_posture_of_named_poses(named_joints, name: str, posture: str) -> None:
    assert Posture(int(measure_stances(named_joints(name)).posture)).name == posture


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hands_on_hips", "both hands are on the hips"),
        ("arms_crossed", "the arms are crossed"),
        ("t_pose", "both arms are stretched out to the sides"),
        ("arms_up", "both arms are raised overhead"),
        ("salute", "right hand is at the head"),
        ("wave", "right arm is bent with the elbow raised to the side, forearm pointing up"),
        ("hands_behind_back", "behind the back"),
        ("plank", "plank position."),
        ("tree", "foot against the"),
    ],
)
def test_brief_captions_of_named_poses(named_joints, name: str, words: str) -> None:
    assert words in describe(named_joints(name), style="brief")[0][0].lower()


@pytest.mark.parametrize(("thigh", "knee", "words"), [(-0.55, 1.9, "foot lifted behind"), (-1.3, 1.6, "knee raised")])
def test_a_foot_behind_is_told_though_the_knee_is_a_little_ahead(thigh: float, knee: float, words: str) -> None:
    axis_angle = Pose.rest(1).to_axis_angle()
    axis_angle[0, JOINT_NAMES.index("right_hip"), 0] = thigh
    axis_angle[0, JOINT_NAMES.index("right_knee"), 0] = knee
    rotmat = Pose.from_axis_angle(axis_angle).rotmat
    assert f"on the left leg with the right {words}" in describe(text_joints(rotmat), style="brief")[0][0]


def test_an_arm_state_packs_into_one_integer() -> None:
    for state in (
        (Hand.OTHER_FOOT, Towards.UP, Elbow.SHARP, Forearm.IN),
        (Hand.FREE, *(Towards(0), Elbow(0), Forearm(0))),
    ):
        assert unpack_arm(int(pack_arm(*map(int, state)))) == state


def test_rows_list_the_states_in_the_order_of_row(poses) -> None:
    stance = measure_stances(poses.joints_m, poses.rotmat)
    rows = [Row(*row) for row in stance.rows()]
    assert [row.posture for row in rows] == stance.posture.tolist()
    assert [row.arm_right for row in rows] == stance.arms[:, 1].tolist()
    assert [row.roll for row in rows] == stance.head[:, 2].tolist()
    assert [row.step for row in rows] == stance.step.tolist()


def test_what_brief_captions_state_holds_in_the_joints(poses) -> None:
    """Checked with other means than those that made them: plain coordinates in the world frame."""
    at = {name: poses.joints_m[:, index] for index, name in enumerate(JOINT_NAMES)}
    other = {"left": "right", "right": "left"}
    checked = wrong = 0
    for row, (text,) in enumerate(describe(poses.joints_m, style="brief", rotmat=poses.rotmat)):

        def height(name: str, row: int = row) -> float:
            return float(at[name][row, 2])

        def front(name: str, row: int = row) -> float:
            return -float(at[name][row, 1])

        upright = text.startswith("The person is standing") and "leaning" not in text and "bending" not in text
        claims: list[bool] = []
        for side in re.findall(r"standing on the (left|right) leg", text):
            claims.append(min(height(f"{side}_ankle"), height(f"{side}_foot")) < height(f"{other[side]}_ankle"))
        for side in re.findall(r"kneeling on the (left|right) knee", text):
            claims.append(height(f"{side}_knee") < height(f"{other[side]}_knee"))
        for side in re.findall(r"with the (left|right) foot (?:far )?forward", text):
            claims.append(front(f"{side}_ankle") > front(f"{other[side]}_ankle"))
        for side in re.findall(r"the (left|right) knee raised in front", text):
            claims.append(height(f"{side}_knee") > height(f"{other[side]}_knee"))
        if upright:
            for side in re.findall(r"the (left|right) arm (?:is )?raised overhead", text):
                claims.append(height(f"{side}_wrist") > height("head"))
            for side in re.findall(r"the (left|right) arm (?:is )?hanging down", text):
                claims.append(height(f"{side}_wrist") < height(f"{side}_elbow") < height(f"{side}_shoulder"))
            for side in re.findall(r"the (left|right) arm (?:is )?stretched forward", text):
                claims.append(front(f"{side}_wrist") > front(f"{side}_shoulder") + 0.2)
            for side in re.findall(r"the (left|right) arm (?:is )?stretched out to the side", text):
                x = float(at[f"{side}_wrist"][row, 0] - at[f"{side}_shoulder"][row, 0])
                claims.append((x > 0.2) if side == "left" else (x < -0.2))
        checked += len(claims)
        wrong += claims.count(False)
    assert checked > 500
    assert wrong <= 0.01 * checked, f"{wrong} of {checked} statements do not hold"
