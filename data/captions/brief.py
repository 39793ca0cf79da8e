"""Brief captions: posture first, then what is special about legs, trunk, arms and head, in at most 45 words.

    The person is standing with the left foot forward and both knees slightly bent, leaning forward.
    The right hand is on the hip, the left arm raised overhead. The head is turned to the left.

Rule-based stand-in for the rewriting by a language model of UniPose suppl. §A.1 (-R). What is usual goes unsaid, the
most telling comes first, and where a caption would grow too long the least telling part goes.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from data.captions.codes import CODES, HEAD_KINDS
from data.captions.limb_states import Elbow, Hand, Leg, Together, Towards, unpack_arm
from data.captions.points import check_joints, named_points, rotations_in_rule_axes
from data.captions.posecodes import CHUNK, measure
from data.captions.randomness import fold
from data.captions.stance import ARMS_LIE, LYING, ON_BACK, Posture, Stance, stances

MAX_WORDS = 45
SIDES = ("", "left", "right")
HANDS_ON_GROUND = (Posture.ALL_FOURS, Posture.PLANK, Posture.ARCH, Posture.BRIDGE, Posture.SIDE_PLANK)


class Row(NamedTuple):
    """The states of one pose, in the order of `Stance.rows`."""

    posture: int
    side: int
    lean: int
    sway: int
    twist: int
    knee_left: int
    knee_right: int
    leg_left: int
    leg_right: int
    width: int
    step: int
    arm_left: int
    arm_right: int
    together: int
    turn: int
    pitch: int
    roll: int


class Bit(NamedTuple):
    """A few words that may be left out; the lower the worth, the sooner they go."""

    worth: int
    text: str


Choose = Callable[[Sequence[str]], str]
"""Picks one way of several: the first, or a random one."""


@cache
def brief_words() -> dict[str, Any]:
    """brief.yaml as it is."""
    return yaml.safe_load((files("data.captions") / "brief.yaml").read_text())


def measure_stances(joints_m: Tensor | np.ndarray, rotmat: Tensor | None = None) -> Stance:
    """States of (N, 22|24|52, 3) z-up joints (heading removed); with rotations also of the head."""
    joints = check_joints(joints_m)
    rotations = None if rotmat is None else rotations_in_rule_axes(rotmat, len(joints))
    parts = []
    for start in range(0, max(len(joints), 1), CHUNK):
        points = named_points(joints[start : start + CHUNK])
        head = None
        if rotations is not None:
            value = measure(points, rotations[start : start + CHUNK])
            head = value[:, [_HEAD_COLUMN[kind] for kind in ("head_turn", "head_pitch", "head_roll")]]
        parts.append(stances(points, head))
    if len(parts) == 1:
        return parts[0]
    return Stance(*(torch.cat([getattr(part, name) for part in parts]) for name in Stance.__dataclass_fields__))


_HEAD_COLUMN = {code.kind: column for column, code in enumerate(CODES) if code.kind in HEAD_KINDS}


def brief_captions(
    joints_m: Tensor | np.ndarray,
    *,
    seed: int | None,
    num: int,
    rotmat: Tensor | None = None,
    keys: Sequence[int] | np.ndarray | None = None,
) -> list[list[str]]:
    """`describe(style="brief")`."""
    rows = measure_stances(joints_m, rotmat).rows()
    if seed is None:
        return [[plain_brief(row)] for row in rows]
    where = np.arange(len(rows)) if keys is None else np.asarray(keys)
    seeds = [fold(seed, number, where, 2) for number in range(num)]
    return [
        [compose(Row(*row), Random(int(seeds[number][index])).choice) for number in range(num)]
        for index, row in enumerate(rows)
    ]


@lru_cache(maxsize=200_000)
def plain_brief(row: tuple[int, ...]) -> str:
    """The one caption of these states when nothing is left to chance."""
    return compose(Row(*row), lambda ways: ways[0])


def compose(row: Row, choose: Choose) -> str:
    """States of one pose -> its caption."""
    words = brief_words()
    posture = Posture(row.posture)
    opening = f"{choose(words['subject'])} {fill(choose(words['posture'][posture.name]), SIDES[row.side])}"
    legs, trunk = leg_bits(row, posture, choose), _trunk(row, posture, choose)
    arms, head = _arms(row, posture, choose), _head(row, choose)
    while True:
        caption = _assemble(opening, legs, trunk, arms, head)
        if len(caption.split()) <= MAX_WORDS:
            return caption
        longest = min(
            (group for group in (legs, trunk, head, arms) if group), key=lambda group: min(b.worth for b in group)
        )
        longest.remove(min(longest, key=lambda bit: bit.worth))


def _assemble(opening: str, legs: list[Bit], trunk: list[Bit], arms: list[Bit], head: list[Bit]) -> str:
    first = opening
    if legs:
        first = with_legs(opening, legs)
    first += "".join(f", {bit.text}" for bit in trunk)
    sentences = [first]
    if arms:
        sentences.append(", ".join(bit.text for bit in arms))
    if head:
        sentences.append("the head is " + " and ".join(bit.text for bit in head))
    return " ".join(sentence[:1].upper() + sentence[1:] + "." for sentence in sentences)


def with_legs(opening: str, legs: list[Bit]) -> str:
    """A posture and what is special about its legs, whether or not the posture's words have a "with" already."""
    texts = [bit.text for bit in legs]
    return listed([opening, *texts]) if " with " in opening else f"{opening} with {listed(texts)}"


def listed(texts: list[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join([*([", ".join(texts[:-1])] if texts[1:] else []), texts[-1]])


def fill(text: str, side: str) -> str:
    return text.replace("{s}", side).replace("{o}", {"left": "right", "right": "left"}.get(side, ""))


# ---- legs and trunk -------------------------------------------------------------------------------------------------


def leg_bits(row: Row, posture: Posture, choose: Choose) -> list[Bit]:
    """What the legs do beyond what the posture says."""
    words = brief_words()
    bits: list[Bit] = []
    knees, states = (row.knee_left, row.knee_right), (Leg(row.leg_left), Leg(row.leg_right))

    if posture in LYING or posture is Posture.SIT_FLOOR:
        return _legs_on_floor(row, knees, states, posture, choose)
    if posture is Posture.SIT:
        for index, side in enumerate(("left", "right")):
            if knees[index] == 0:
                bits.append(Bit(60, fill(choose(words["stretched_one"]), side)))
        if len(bits) == 2:
            bits = [Bit(60, choose(words["stretched_both"]))]
        if row.width in (-2, 2):
            bits.append(Bit(40, choose(words["width"][row.width])))
        return bits
    if posture is Posture.ONE_LEG:
        lifted = 1 if row.side == 1 else 0
        if states[lifted]:
            bits.append(Bit(90, fill(choose(words["leg"][states[lifted].name]), SIDES[lifted + 1])))
        bend = knees[1 - lifted]
        if bend:
            bits.append(Bit(30 + bend, f"{fill(words['knee_one'][0], SIDES[row.side])} {choose(words['knee'][bend])}"))
        return bits
    if posture in (Posture.STAND, Posture.BEND_OVER, Posture.SQUAT):
        if row.step and posture is not Posture.SQUAT:
            side = "left" if row.step > 0 else "right"
            bits.append(Bit(45 + 10 * abs(row.step), fill(choose(words["step"][abs(row.step)]), side)))
        if row.width and not (row.width == -1 and row.step):  # one foot before the other is not "together"
            bits.append(Bit(40 + 5 * abs(row.width), choose(words["width"][row.width])))
        if posture is not Posture.SQUAT:
            bits += _bent_knees(knees, choose)
    if posture in (Posture.LUNGE, Posture.SIDE_LUNGE):
        other = knees[1] if row.side == 1 else knees[0]
        if other >= 2:
            bits.append(Bit(25, f"the {SIDES[3 - row.side]} knee {choose(words['knee'][other])}"))
    if posture in (Posture.PLANK, Posture.ARCH, Posture.UPSIDE_DOWN, Posture.SIDE_PLANK):
        bits += _bent_knees(knees, choose)
    return bits


def _bent_knees(knees: tuple[int, int], choose: Choose) -> list[Bit]:
    words = brief_words()
    if knees[0] == knees[1]:
        if not knees[0]:
            return []
        return [Bit(30 + 8 * knees[0], f"{choose(words['knee_both'])} {choose(words['knee'][knees[0]])}")]
    # the more bent one first; where one is straight only the other is told
    order = (0, 1) if knees[0] > knees[1] else (1, 0)
    return [
        Bit(
            28 + 8 * knees[index],
            f"{fill(words['knee_one'][0], SIDES[index + 1])} {choose(words['knee'][knees[index]])}",
        )
        for index in order
        if knees[index]
    ]


def _legs_on_floor(
    row: Row, knees: tuple[int, int], states: tuple[Leg, Leg], posture: Posture, choose: Choose
) -> list[Bit]:
    words = brief_words()
    up = [index for index in range(2) if states[index] is Leg.UP]
    if len(up) == 2:
        return [Bit(85, choose(words["legs_up"]))]
    bits = [Bit(85, fill(choose(words["leg"]["UP"]), SIDES[index + 1])) for index in up]
    rest = [index for index in range(2) if index not in up]
    bent = [index for index in rest if knees[index] >= 2]
    if len(bent) == 2:
        bits.append(Bit(60, choose(words["drawn_both"])))
    elif len(rest) == 2 and not bent:
        if row.width == 2:
            bits.append(Bit(58, choose(words["width"][2])))
        elif posture is Posture.SIT_FLOOR:
            bits.append(Bit(50, choose(words["stretched_both"])))
    else:
        for index in sorted(rest, key=lambda index: index not in bent):
            way = "drawn_one" if index in bent else "stretched_one"
            bits.append(Bit(55 if index in bent else 35, fill(choose(words[way]), SIDES[index + 1])))
    return bits


def _trunk(row: Row, posture: Posture, choose: Choose) -> list[Bit]:
    words = brief_words()
    bits = []
    side = "left" if row.sway > 0 else "right"
    if row.lean and posture is not Posture.BEND_OVER:
        lean = choose(words["lean"][row.lean])
        bits.append(Bit(50 + 10 * (abs(row.lean) - 1), f"{lean} and to the {side}" if row.sway else lean))
    elif row.sway:
        bits.append(Bit(48, fill(choose(words["sway"]), side)))
    if row.twist and posture not in LYING:
        bits.append(Bit(36, fill(choose(words["twist"]), "left" if row.twist > 0 else "right")))
    return bits


# ---- arms and head --------------------------------------------------------------------------------------------------

# Which of two arms is spoken of first: what is seen first in a picture. Higher is earlier.
_TOWARDS_WORTH = {
    Towards.UP: 9,
    **dict.fromkeys((Towards.HIGH_FRONT, Towards.HIGH_SIDE, Towards.HIGH_BACK, Towards.HIGH_ACROSS), 8),
    **dict.fromkeys((Towards.FRONT, Towards.SIDE, Towards.BACK, Towards.ACROSS), 7),
    **dict.fromkeys((Towards.LOW_FRONT, Towards.LOW_SIDE, Towards.LOW_BACK, Towards.LOW_ACROSS), 3),
    Towards.DOWN: 1,
}


def arm_worth(state: int) -> tuple[int, int]:
    """Orders the two arms without asking which is left."""
    hand, towards, elbow, _ = unpack_arm(state)
    if hand:
        return (6 if hand is not Hand.GROUND else 4), state
    return _TOWARDS_WORTH[towards] + (elbow >= Elbow.BENT), state


def carries(state: int) -> bool:
    """The arm stands on the ground or hangs to it: nothing to tell where the posture says hands."""
    hand, towards, _, _ = unpack_arm(state)
    return hand is Hand.GROUND or (not hand and towards is Towards.DOWN)


def common_state(left: int, right: int) -> int | None:
    """The state that both arms have; a slight bend of only one is passed over."""
    if left == right:
        return left
    (hand, towards, elbow, _), (other_hand, other_towards, other_elbow, _) = unpack_arm(left), unpack_arm(right)
    if hand or other_hand or towards is not other_towards or max(elbow, other_elbow) >= Elbow.BENT:
        return None
    return min(left, right)


def _arms(row: Row, posture: Posture, choose: Choose) -> list[Bit]:
    words = brief_words()
    if row.together:
        return [Bit(70, choose(words["together"][Together(row.together).name]))]
    if posture in HANDS_ON_GROUND and carries(row.arm_left) and carries(row.arm_right):
        elbow = min(unpack_arm(state)[2] for state in (row.arm_left, row.arm_right))
        return [Bit(50, f"both elbows are {choose(words['bend'][int(elbow)])}")] if elbow >= Elbow.BENT else []
    alike = common_state(row.arm_left, row.arm_right)
    if alike is not None:
        return [Bit(70, both_arms(alike, posture, choose))]
    arms = sorted(((row.arm_left, "left"), (row.arm_right, "right")), key=lambda arm: arm_worth(arm[0]), reverse=True)
    bits = []
    for state, side in arms:
        if posture in HANDS_ON_GROUND and carries(state):
            continue
        noun, said = one_arm(state, side, posture, choose)
        verb = " is" if not bits else ""
        bits.append(Bit(80 - 12 * len(bits), f"the {side} {noun}{verb} {said}"))
    return bits


def one_arm(state: int, side: str, posture: Posture, choose: Choose) -> tuple[str, str]:
    """(arm or hand, what it is doing)."""
    words = brief_words()
    hand, towards, elbow, forearm = unpack_arm(state)
    if hand:
        return "hand", fill(choose(words["hand"][hand.name][0]), side)
    if elbow >= Elbow.BENT:
        place = choose(words_for_arm("elbow", towards.name, posture))
        where = choose(words_for_arm("forearm", forearm.name, posture))
        return "arm", f"{choose(words['bend'][int(elbow)])} {place}, forearm {where}"
    said = choose(words_for_arm("arm", towards.name, posture))
    if elbow is Elbow.SLIGHT and towards is not Towards.DOWN:
        said += f" and {choose(words['arm_slight'])}"
    return "arm", said


def words_for_arm(table: str, name: str, posture: Posture) -> list[str]:
    """Ways to say where an arm, an elbow or a forearm is; who lies down has no "forward"."""
    words = brief_words()
    tables = [f"{table}_back"] if posture in ON_BACK else []
    tables += [f"{table}_lying"] if posture in ARMS_LIE else []
    return next((words[special][name] for special in tables if name in words[special]), words[table][name])


def both_arms(state: int, posture: Posture, choose: Choose) -> str:
    """Both arms do the same."""
    words = brief_words()
    hand = unpack_arm(state)[0]
    if hand:
        return f"both hands are {choose(words['hand'][hand.name][1])}"
    said = one_arm(state, "", posture, choose)[1]
    for one, two in (("the side", "the sides"), ("the elbow", "the elbows"), (", forearm ", ", forearms ")):
        said = said.replace(one, two)
    return f"both arms are {said}"


def _head(row: Row, choose: Choose) -> list[Bit]:
    words = brief_words()["head"]
    bits = []
    if row.turn:
        bits.append(Bit(34, fill(choose(words["turn"]), "left" if row.turn > 0 else "right")))
    if row.pitch:
        bits.append(Bit(32, choose(words["bowed" if row.pitch > 0 else "tipped"])))
    if row.roll:
        bits.append(Bit(26, fill(choose(words["roll"]), "left" if row.roll > 0 else "right")))
    return bits
