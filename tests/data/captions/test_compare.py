import re

import numpy as np
import pytest
import torch

from data.captions import compare, mirror_text, text_joints, turn_deg_between
from data.captions.compare import turn_sentence
from data.captions.paircodes import NUM_PAIR_CODES, PAIR_CODES, PAIR_KINDS, paircodes
from llmpose.body.pose import Pose
from llmpose.errors import BadUsage, UserError

STYLES = ("full", "brief")


@pytest.fixture(scope="module")
def pairs(poses):
    """Poses beside others that are near in the order of sampling; some are alike, most are not."""
    rows = torch.arange(len(poses))
    return poses[torch.roll(rows, 1)], poses


@pytest.mark.parametrize("style", STYLES)
def test_instructions_of_mirrored_pairs_are_the_mirrored_instructions(pairs, style) -> None:
    a, b = pairs
    turn = torch.linspace(-180, 180, len(a))
    original = compare(a.joints_m, b.joints_m, turn_deg=turn, style=style, rotmat_a=a.rotmat, rotmat_b=b.rotmat)
    a, b = a.mirrored(), b.mirrored()
    mirrored = compare(a.joints_m, b.joints_m, turn_deg=-turn, style=style, rotmat_a=a.rotmat, rotmat_b=b.rotmat)
    assert [[mirror_text(text) for text in texts] for texts in original] == mirrored


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [None, 5])
def test_the_same_pose_twice_is_to_be_kept(poses, style, seed) -> None:
    some = poses[slice(0, 20)]
    texts = compare(some.joints_m, some.joints_m, style=style, seed=seed)
    if seed is None:
        assert {text for (text,) in texts} == {"Keep the pose as it is."}
    assert all(len(text.split()) <= 12 for (text,) in texts)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [None, 7])
def test_an_instruction_does_not_depend_on_the_other_pairs(pairs, style, seed) -> None:
    a, b = pairs
    together = compare(a.joints_m, b.joints_m, style=style, seed=seed)
    rows = torch.tensor([5, 300, 21])
    alone = compare(a.joints_m[rows], b.joints_m[rows], style=style, seed=seed, keys=rows.tolist())
    assert alone == [together[row] for row in rows.tolist()]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", [None, 3])
def test_instructions_are_well_formed_sentences(pairs, style, seed) -> None:
    a, b = pairs
    turn = torch.linspace(-180, 180, len(a))
    for (text,) in compare(a.joints_m, b.joints_m, turn_deg=turn, style=style, seed=seed):
        assert re.fullmatch(r"[A-Z][^{}]*\.", text), text
        assert not re.search(r"  | ,|\.\.", text), text
        assert all(sentence[0].isupper() for sentence in text.split(". ")), text
        if style == "brief":
            assert len(text.split()) <= 45, text


def test_a_command_with_a_comma_or_an_and_of_its_own_ends_with_a_comma(pairs) -> None:
    a, b = pairs
    said = [text for (text,) in compare(a.joints_m, b.joints_m, style="brief", rotmat_a=a.rotmat, rotmat_b=b.rotmat)]
    assert any(", slightly bent, and " in text for text in said)
    assert not [text for text in said if re.search(r", (slightly bent|forearms? [^,.]*) and ", text)]


def _raise_left_arm() -> tuple[torch.Tensor, torch.Tensor]:
    down = Pose.rest(1).rotmat.clone()
    axis_angle = torch.zeros(1, 22, 3)
    axis_angle[0, 16, 2], axis_angle[0, 17, 2] = -1.3, 1.3
    axis_angle[0, 0, 0] = torch.pi / 2
    down = Pose.from_axis_angle(axis_angle).rotmat
    axis_angle[0, 16, 2] = 1.2
    return down, Pose.from_axis_angle(axis_angle).rotmat


def test_raising_the_left_arm_is_said_so_and_lowering_it_the_other_way() -> None:
    down, up = (text_joints(rotmat) for rotmat in _raise_left_arm())
    assert compare(down, up, style="brief") == [["Raise the left arm overhead."]]
    assert compare(up, down, style="brief") == [["Let the left arm hang down."]]
    assert compare(down, up)[0][0].startswith("Raise the left arm")
    assert compare(up, down)[0][0].startswith("Lower the left arm")


def test_values_are_a_minus_b() -> None:
    down, up = (text_joints(rotmat) for rotmat in _raise_left_arm())
    codes = paircodes(down, up)
    column = next(i for i, code in enumerate(PAIR_CODES) if code.kind == "y" and code.point == "left_hand")
    assert float(codes.value[0, column]) == pytest.approx(float(down[0, 20, 2] - up[0, 20, 2]), abs=0.35)
    assert PAIR_KINDS["y"].categories[int(codes.category[0, column])] == "move_up"


def test_there_are_49_paircodes_of_the_published_kinds() -> None:
    kinds = [code.kind for code in PAIR_CODES]
    assert NUM_PAIR_CODES == 49
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "angle": 4, "distance": 12, "x": 8, "y": 10, "z": 10,
        "incline": 1, "twist": 1, "sway": 1, "head_pitch": 1, "head_turn": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("degrees", "words"),
    [
        (0, None), (19, None), (-19, None), (40, "turn slightly to the left"), (-90, "turn to the right by a quarter"),
        (90, "turn to the left by a quarter"), (-130, "turn far round to the right"),
        (175, "turn around"), (-180, "turn around"),
    ],
)  # fmt: skip
def test_the_turn_has_a_sentence_of_its_own(degrees: float, words: str | None) -> None:
    assert turn_sentence(degrees) == words


def test_turning_to_the_persons_left_is_positive_and_tilting_is_no_turn() -> None:
    rest = Pose.rest(1)
    assert turn_deg_between(rest.rotmat, rest.turned(70.0).rotmat).item() == pytest.approx(70, abs=1e-3)
    assert turn_deg_between(rest.rotmat, rest.turned(-70.0).rotmat).item() == pytest.approx(-70, abs=1e-3)
    lying = rest.rotmat.clone()
    lying[:, 0] = torch.eye(3)
    assert turn_deg_between(rest.rotmat, lying).item() == pytest.approx(0, abs=1e-3)


def test_sampled_instructions_of_a_pair_differ_and_come_back(pairs) -> None:
    a, b = (batch[slice(0, 30)] for batch in pairs)
    for style in STYLES:
        texts = compare(a.joints_m, b.joints_m, style=style, seed=1, num=3)
        assert texts == compare(a.joints_m, b.joints_m, style=style, seed=1, num=3)
        assert np.mean([len(set(row)) for row in texts]) > (2.5 if style == "full" else 1.8)


def test_wrong_pairs_are_said_so(poses) -> None:
    with pytest.raises(UserError, match="do not pair"):
        compare(poses.joints_m[:3], poses.joints_m[:2])
    with pytest.raises(UserError, match="rotations are needed of both"):
        compare(poses.joints_m[:2], poses.joints_m[:2], rotmat_a=poses.rotmat[:2])
    with pytest.raises(UserError, match="expected one angle for each of 2 pairs"):
        compare(poses.joints_m[:2], poses.joints_m[:2], turn_deg=[1.0])
    with pytest.raises(BadUsage, match="unknown style"):
        compare(poses.joints_m[:2], poses.joints_m[:2], style="long")  # type: ignore[arg-type]
