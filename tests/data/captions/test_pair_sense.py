"""What readers of instructions took otherwise than it was measured, each cause by an example."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from data.captions import compare, text_joints
from data.captions.aggregate import Clause, Fact, aggregate, fact_table
from data.captions.codes import Part
from data.captions.paircodes import PAIR_CODES, PAIR_KINDS, changes, goals, paircodes
from data.captions.points import POINT_INDEX
from data.captions.posecodes import NUM_CODES, posecodes
from llmpose.body.pose import Pose

Named = Callable[..., Tensor]


def _told(a: Tensor, b: Tensor, **rotations: Tensor) -> set[Fact]:
    return set(changes(paircodes(a, b, **rotations))[0])


@pytest.fixture(scope="module")
def bowing() -> Callable[[float, float], Tensor]:
    """(1, 22, 3, 3) a standing person whose neck is bowed, and turned to the left, by so many degrees."""

    def rotmat(bow_deg: float, turn_deg: float = 0.0) -> Tensor:
        axis_angle = torch.zeros(1, 22, 3)
        axis_angle[0, 0, 0] = torch.pi / 2
        axis_angle[0, 12] = torch.deg2rad(torch.tensor([bow_deg, turn_deg, 0.0]))
        return Pose.from_axis_angle(axis_angle).rotmat

    return rotmat


@pytest.mark.parametrize(("high", "low"), [("stand", "sit_cross"), ("stand", "sit_floor"), ("stand", "sit_chair")])
def test_who_sits_down_lowers_the_hips_and_raises_no_foot(named_joints: Named, high: str, low: str) -> None:
    down, up = _told(named_joints(high), named_joints(low)), _told(named_joints(low), named_joints(high))
    assert {fact.category.removeprefix("slightly_") for fact in down if fact.part == "hip"} == {"lower_hips"}
    assert {fact.category.removeprefix("slightly_") for fact in up if fact.part == "hip"} == {"raise_hips"}
    assert not [fact for fact in down | up if fact.part in ("foot", "knee", "leg") and fact.category.endswith("_up")]


def test_a_leg_that_leaves_the_ground_is_still_raised(named_joints: Named) -> None:
    a, b = named_joints("supine"), named_joints("leg_raise", 1.0)
    assert {fact.category for fact in _told(a, b) if fact.part == "foot" and "move_up" in fact.category} == {"move_up"}


@pytest.mark.parametrize("low", ["plank", "supine", "prone", "crawl"])
def test_getting_up_raises_the_upper_body_and_is_no_lean(named_joints: Named, low: str) -> None:
    a, b = named_joints(low), named_joints("sit_lean_forward")
    up, down = _told(a, b), _told(b, a)
    assert Fact("", "torso", "raise_trunk") in up
    assert Fact("", "torso", "lower_trunk") in down
    assert not [fact for fact in up | down if fact.part == "body"]


def test_no_lean_is_seen_of_who_lies_on_a_side(named_joints: Named) -> None:
    for other in ("curled_up", "side_plank", "sit_lean_forward"):
        told = _told(named_joints("side_lying"), named_joints(other))
        assert not [fact for fact in told if "incline_forward" in fact.category or "incline_back" in fact.category]


def test_bending_over_on_the_feet_is_still_a_lean(named_joints: Named) -> None:
    a, b = named_joints("stand"), named_joints("stand").clone()
    trunk = [3, 6, 9, 12, 13, 14, 15, *range(16, 24)]
    turn = torch.tensor([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])  # by 90 degrees about x: up becomes forward
    turn = turn if float(turn[1] @ torch.tensor([0.0, 0, 1])) < 0 else turn.T
    b[:, trunk] = (b[:, trunk] - b[:, :1]) @ turn.T + b[:, :1]
    assert Fact("", "body", "incline_forward") in _told(a, b)


def test_of_who_lies_on_the_back_forward_is_told_as_away_from_the_head(named_joints: Named) -> None:
    a, b = named_joints("supine"), named_joints("supine").clone()
    b[:, [20, 22]] += torch.tensor([0.0, -0.2, 0.0])  # the left hand, along the ground to the feet
    assert Fact("left", "hand", "slightly_move_from_head") in _told(a, b)
    assert Fact("left", "hand", "slightly_move_to_head") in _told(b, a)
    assert not [fact for fact in _told(a, b) | _told(b, a) if "forward" in fact.category or "back" in fact.category]


def test_nothing_is_straight_in_front_or_behind_of_who_lies(named_joints: Named) -> None:
    column = next(
        number
        for number, facts in enumerate(fact_table())
        if Fact("right", "hand", "straight_in_front", "right", "hip") in facts
    )
    for name, told in (("plank", False), ("sit_floor", True)):
        a, b = named_joints("t_pose"), named_joints(name).clone()
        hand = (b[:, 21] + b[:, 23]) / 2
        b[:, [19, 21, 23]] += b[:, 2:3] + torch.tensor([0.0, -0.3, 0.0]) - hand[:, None]
        codes = paircodes(a, b)
        assert int(codes.second.category[0, column]) > 0
        ends = goals(codes, changes(codes))[0]
        assert any(fact.category == "straight_in_front" for fact in ends) is told, name


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ((50, 0), (5, 0), "Lift the head into line with the trunk."),
        ((-40, 0), (5, 0), "Bring the head forward into line with the trunk."),
        ((5, 0), (50, 0), "Bow the head."),
        ((5, 0), (-45, 0), "Tip the head back."),
        ((0, 40), (0, 5), "Turn the head to the front."),
        ((0, 5), (0, 40), "Turn the head to the left."),
    ],
)
def test_a_head_that_only_comes_back_is_not_told_to_go_beyond(
    bowing: Callable[..., Tensor], a: tuple[float, float], b: tuple[float, float], words: str
) -> None:
    a_rotmat, b_rotmat = bowing(*a), bowing(*b)
    joints = text_joints(a_rotmat), text_joints(b_rotmat)
    assert compare(*joints, rotmat_a=a_rotmat, rotmat_b=b_rotmat) == [[words]]


def test_changes_too_small_to_tell_are_not_told_as_none(named_joints: Named) -> None:
    a, b = named_joints("stand"), named_joints("stand").clone()
    b[:, [16, 18, 20, 22]] += torch.tensor([0.0, -0.1, 0.0])  # the whole left arm
    assert compare(a, b) == [["Keep the pose almost as it is."]]


def test_feet_that_cross_or_stand_one_before_the_other_are_no_shoulder_width_apart(named_joints: Named) -> None:
    column = next(
        number
        for number, facts in enumerate(fact_table())
        if number >= NUM_CODES and facts[1] == Fact("both", "foot", "shoulder_width")
    )
    joints = named_joints("t_pose").clone()
    middle = joints[:, [10, 11]].mean(1, keepdim=True)
    for across_m, along_m, holds in ((0.3, 0.0, True), (-0.3, 0.0, False), (0.05, 0.3, False)):
        offset = torch.tensor([across_m / 2, along_m / 2, 0.0])
        joints[:, [10, 11]] = middle + torch.stack([offset, -offset])
        assert bool(posecodes(joints).category[0, column]) is holds, (across_m, along_m)


def test_what_two_sides_are_to_each_other_is_told_of_one_part_at_a_time() -> None:
    facts = [Fact("both", "hand", "close"), Fact("both", "foot", "close")]
    clauses = aggregate(facts, rng=None, pruned=False)
    assert set(clauses) == {Clause((Part("both", name),), (("close", "", ""),)) for name in ("hand", "foot")}
    bent = aggregate([Fact("both", "elbow", "bend"), Fact("both", "knee", "bend")], rng=None, pruned=False)
    assert bent == [Clause((Part("both", "elbow"), Part("both", "knee")), (("bend", "", ""),))]


def test_a_foot_goes_up_by_the_lesser_of_its_ways_from_the_pelvis_and_from_the_ground(named_joints: Named) -> None:
    a, b = named_joints("stand"), named_joints("sit_floor")
    codes = paircodes(a, b)
    column = next(n for n, code in enumerate(PAIR_CODES) if code.kind == "y" and code.point == "left_foot")
    assert abs(float(codes.value[0, column])) <= abs(float(codes.sense.ground[0, POINT_INDEX["left_foot"]]))
    assert PAIR_KINDS["y"].categories[int(codes.category[0, column])] == "-"
