"""Brief instructions: how to get from pose A to pose B in at most 45 words, the most telling change first.

    Turn to the left by a quarter. Kneel on the right knee, raise the left arm overhead and bow the head.

They name the state to reach rather than the way there, so that the instruction alone says much about pose B. Rule-based
stand-in for the rewriting by a language model of UniPose suppl. §A.2 (-R).
"""

from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from data.captions.brief import (
    HANDS_ON_GROUND,
    MAX_WORDS,
    SIDES,
    Bit,
    Choose,
    Row,
    brief_words,
    carries,
    fill,
    leg_bits,
    listed,
    measure_stances,
    with_legs,
    words_for_arm,
)
from data.captions.limb_states import Elbow, Hand, Leg, Together, Towards, unpack_arm
from data.captions.points import POINT_INDEX, named_points
from data.captions.randomness import fold
from data.captions.stance import ARMS_LIE, LYING, ON_BACK, Posture

NUDGE_M = 0.15
"""A hand or foot that moves less, from the pelvis, is not spoken of."""

_ENDS = ("left_hand", "right_hand", "left_foot", "right_foot")


@cache
def change_words() -> dict[str, Any]:
    """brief_change.yaml as it is."""
    return yaml.safe_load((files("data.captions") / "brief_change.yaml").read_text())


def brief_changes(
    joints_a: Tensor,
    joints_b: Tensor,
    turn_deg: Tensor,
    *,
    seed: int | None,
    num: int,
    rotmat_a: Tensor | None,
    rotmat_b: Tensor | None,
    keys: np.ndarray,
) -> list[list[str]]:
    """`compare(style="brief")`."""
    from data.captions.compare import turn_sentence

    rows_a, rows_b = measure_stances(joints_a, rotmat_a).rows(), measure_stances(joints_b, rotmat_b).rows()
    ends = [POINT_INDEX[name] for name in _ENDS]
    moved = ((named_points(joints_b) - named_points(joints_a))[:, ends]).tolist()
    seeds = None if seed is None else [fold(seed, number, keys, 4) for number in range(num)]
    result = []
    for index, (a, b) in enumerate(zip(rows_a, rows_b, strict=True)):
        said = []
        for number in range(num):
            rng = None if seeds is None else Random(int(seeds[number][index]))
            turn = turn_sentence(float(turn_deg[index]), rng)
            choose: Choose = (lambda ways: ways[0]) if rng is None else rng.choice
            said.append(_compose(Row(*a), Row(*b), moved[index], turn, choose))
        result.append(said)
    return result


def _compose(a: Row, b: Row, moved: list[list[float]], turn: str | None, choose: Choose) -> str:
    bits = _posture(a, b, choose) + _arms(a, b, moved, choose) + _head(a, b, choose)
    if not bits:
        bits = _nudges(moved, choose)
    if not bits and turn is None:
        return _sentence(choose(change_words()["nothing"]))
    while True:
        text = " ".join(_sentence(_join(group)) for group in _sentences(bits))
        text = f"{_sentence(turn)} {text}".strip() if turn else text
        if len(text.split()) <= MAX_WORDS:
            return text
        bits.remove(min(bits, key=lambda bit: bit.worth))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _join(bits: list[Bit]) -> str:
    """Commands in one sentence. After one with an "and" or a comma of its own there is a comma: there it ends."""
    texts = [bit.text for bit in bits]
    mixed = any(", " in text or " and " in text for text in texts[:-1])
    return f"{', '.join(texts[:-1])}, and {texts[-1]}" if mixed else listed(texts)


def _sentences(bits: list[Bit]) -> list[list[Bit]]:
    """Up to three commands make a sentence."""
    return [bits[start : start + 3] for start in range(0, len(bits), 3)]


# ---- posture, legs and trunk ----------------------------------------------------------------------------------------


def _posture(a: Row, b: Row, choose: Choose) -> list[Bit]:
    words = change_words()
    was, now = Posture(a.posture), Posture(b.posture)
    if (was, a.side) != (now, b.side):
        if now is Posture.STAND and was is Posture.ONE_LEG:
            command = fill(choose(words["put_down"]), SIDES[3 - a.side])
            ahead = "left" if b.step > 0 else "right"
            if b.step and ahead == SIDES[3 - a.side]:  # the foot that comes down is the one in front
                command += choose(words["put_down_ahead"][abs(b.step)])
                b = b._replace(step=0, width=0 if b.width == -1 else b.width)
        elif now is Posture.STAND and was in (Posture.LUNGE, Posture.SIDE_LUNGE, Posture.BEND_OVER):
            bent = b.lean or b.sway or b.knee_left or b.knee_right
            command = choose(words["stand" if bent else "straight"])
        else:
            command = fill(choose(words["posture"][now.name]), SIDES[b.side])
        legs = leg_bits(b, now, choose)
        command = with_legs(command, legs) if legs else command
        bits = [Bit(100, command)]
    else:
        bits = _legs(a, b, now, choose)
    return bits + _trunk(a, b, now, choose)


def _legs(a: Row, b: Row, posture: Posture, choose: Choose) -> list[Bit]:
    """The same posture: only what differs."""
    words = change_words()
    bits = []
    legs_a, legs_b = (Leg(a.leg_left), Leg(a.leg_right)), (Leg(b.leg_left), Leg(b.leg_right))
    # elsewhere (kneeling, in a lunge) a foot off the ground is part of the posture
    free = posture in (*LYING, Posture.ONE_LEG, Posture.SIT_FLOOR)
    changed = [index for index in range(2) if free and legs_a[index] != legs_b[index]]
    if len(changed) == 2 and legs_b[0] is legs_b[1] and legs_b[0].name in words["legs"]:
        bits.append(Bit(90, choose(words["legs"][legs_b[0].name])))
        changed = []
    # the leg that comes up is told before the one that goes down
    for index in sorted(changed, key=lambda index: -int(legs_b[index])):
        bits.append(Bit(90, fill(choose(words["leg"][legs_b[index].name]), SIDES[index + 1])))
    on_feet = posture in (Posture.STAND, Posture.BEND_OVER, Posture.SQUAT)
    if on_feet and a.step != b.step:
        side = "left" if b.step > 0 else "right"
        bits.append(Bit(45 + 10 * abs(b.step), fill(choose(words["step"][abs(b.step)]), side)))
    elif (on_feet or posture is Posture.SIT) and a.width != b.width:
        bits.append(Bit(40 + 5 * abs(b.width), choose(words["width"][b.width])))
    lifted = [index for index in range(2) if free and legs_b[index] and legs_a[index] != legs_b[index]]
    return bits + _joint_changes(
        "knee",
        "{k}",
        (a.knee_left, a.knee_right),
        (b.knee_left, b.knee_right),
        ("the {s} knee", "both knees"),
        lifted,
        choose,
    )


def _joint_changes(
    table: str,
    slot: str,
    was: tuple[int, int],
    now: tuple[int, int],
    names: tuple[str, str],
    done: list[int],
    choose: Choose,
) -> list[Bit]:
    """Bend or straighten knees or elbows; both in one go where they end alike."""
    words = change_words()[table]

    def command(index: int) -> str | None:
        if was[index] == now[index] or index in done:
            return None
        return words["more"][now[index] - 1] if now[index] > was[index] else words["less"][now[index]]

    said = [command(0), command(1)]
    worth = [26 + 9 * abs(was[index] - now[index]) for index in range(2)]
    if said[0] and said[0] == said[1]:
        return [Bit(max(worth), said[0].replace(slot, names[1]))]
    order = sorted((index for index in range(2) if said[index]), key=lambda index: (-worth[index], -now[index]))
    return [Bit(worth[i], (said[i] or "").replace(slot, fill(names[0], SIDES[i + 1]))) for i in order]


def _trunk(a: Row, b: Row, posture: Posture, choose: Choose) -> list[Bit]:
    words = change_words()
    bits = []
    upright = 0
    if a.lean != b.lean and posture is not Posture.BEND_OVER:
        if b.lean:
            bits.append(Bit(52 + 6 * abs(b.lean), choose(words["lean"][b.lean])))
        elif Posture(a.posture) is posture and not b.sway:
            upright = 50
    if a.sway != b.sway:
        if b.sway:
            bits.append(Bit(50, fill(choose(words["sway"]), "left" if b.sway > 0 else "right")))
        elif not b.lean and Posture(a.posture) is posture:
            upright = max(upright, 44)
    if upright:
        bits.append(Bit(upright, choose(words["lean"][0])))
    if a.twist != b.twist and posture not in LYING:
        way = "twist" if b.twist else "untwist"
        bits.append(Bit(38, fill(choose(words[way]), "left" if b.twist > 0 else "right")))
    return bits


# ---- arms -----------------------------------------------------------------------------------------------------------


def _height(state: int) -> float:
    """How high an arm is held: 0 hanging ... 4 overhead."""
    hand, towards, _, _ = unpack_arm(state)
    if hand:
        return {
            Hand.HEAD: 3.2,
            Hand.OWN_SHOULDER: 2.6,
            Hand.OTHER_SHOULDER: 2.6,
            Hand.CHEST: 2,
            Hand.OTHER_ARM: 1.8,
        }.get(hand, 1)
    return 0 if towards is Towards.DOWN else 4 if towards is Towards.UP else 1 + (towards - 1) // 4


def _arms(a: Row, b: Row, moved: list[list[float]], choose: Choose) -> list[Bit]:
    words = change_words()
    if b.together:
        if a.together == b.together:
            return []
        return [Bit(80, choose(words["together"][Together(b.together).name]))]
    was, now = (a.arm_left, a.arm_right), (b.arm_left, b.arm_right)
    posture = Posture(b.posture)
    commands = [_one_arm(was[i], now[i], posture, choose, i) for i in range(2)]
    if posture in HANDS_ON_GROUND:  # the posture says where such hands are
        commands = [None if carries(now[i]) else commands[i] for i in range(2)]
    worth = [50 + min(35, int(40 * sum(step * step for step in moved[i]) ** 0.5)) for i in range(2)]
    if commands[0] and commands[1] and now[0] == now[1]:
        return [Bit(max(worth), _both(was, now[0], posture, choose))]
    order = sorted((i for i in range(2) if commands[i]), key=lambda i: (-worth[i], -now[i]))
    bits = [Bit(worth[i], commands[i] or "") for i in order]
    if a.together and not bits:
        return [Bit(60, choose(words["parted"]))]
    return bits


def _one_arm(was: int, now: int, posture: Posture, choose: Choose, index: int) -> str | None:
    if was == now:
        return None
    side = SIDES[index + 1]
    return _arm_command(
        was,
        now,
        posture,
        choose,
        (f"the {side} arm", f"the {side} hand", f"the {side} elbow", f"the {side} forearm"),
        side,
    )


def _both(was: tuple[int, int], now: int, posture: Posture, choose: Choose) -> str:
    """Both arms end alike, wherever they come from."""
    names = ("both arms", "both hands", "both elbows", "both forearms")

    def plain(state: int) -> str:
        return _arm_command(state, now, posture, lambda ways: ways[0], names, "")

    hand, _, elbow, _ = unpack_arm(now)
    if plain(was[0]) != plain(was[1]) and not hand and elbow < Elbow.BENT:  # one from above, one from below
        return _arm_command(now, now, posture, choose, names, "", verb="same")
    # the fuller of two commands serves both arms
    state = max(was, key=lambda state: (len(plain(state)), plain(state)))
    return _arm_command(state, now, posture, choose, names, "")


def _arm_command(
    was: int, now: int, posture: Posture, choose: Choose, names: tuple[str, str, str, str], side: str, verb: str = ""
) -> str:
    words, (arm, hand_name, elbow_name, forearm_name) = change_words(), names
    plural = not side
    hand, towards, elbow, forearm = unpack_arm(now)
    old_hand, old_towards, old_elbow, _ = unpack_arm(was)
    if hand:
        where = fill(choose(brief_words()["hand"][hand.name][1 if plural else 0]), side)
        return choose(words["hand"]).replace("{p}", hand_name).replace("{where}", where)
    same_way = not old_hand and old_towards is towards
    if elbow >= Elbow.BENT:
        if same_way and old_elbow >= Elbow.BENT and was % 8 != now % 8:
            where = choose(words_for_arm("forearm", forearm.name, posture))
            return (
                choose(words["point"][:1])
                .replace("{f}", forearm_name)
                .replace("{where}", where.removeprefix("pointing "))
            )
        if not (same_way and old_elbow >= Elbow.BENT):
            place = choose(words_for_arm("elbow", towards.name, posture))
            where = choose(words_for_arm("forearm", forearm.name, posture))
            if not old_hand and old_elbow >= elbow:  # it is bent already, but elsewhere
                command = f"{choose(words['hold_arm'])} {arm} {choose(brief_words()['bend'][int(elbow)])}"
            else:
                command = f"{choose(words['bend_arm'][int(elbow)])} {arm}"
            said = f"{command} {place}, forearm {where}"
            return _in_plural(said) if plural else said
    if same_way and not verb:
        table = words["elbow"]
        way = table["more"][elbow - 1] if elbow > old_elbow else table["less"][elbow]
        return way.replace("{e}", elbow_name)
    if towards is Towards.DOWN:
        return choose(words["laid" if posture in ARMS_LIE else "hang"]).replace("{p}", arm)
    verb = verb or _verb(was, now)
    where = choose(words["arm_back" if posture in ON_BACK else "arm"].get(towards.name) or words["arm"][towards.name])
    said = f"{choose(words['arm_verb'][verb])} {arm} {where}"
    if elbow is Elbow.SLIGHT:
        said += f", {choose(brief_words()['arm_slight'])}"
    return _in_plural(said) if plural else said


def _verb(was: int, now: int) -> str:
    """How a straight arm gets there: a key of the words' arm_verb."""
    old_hand, _, old_elbow, _ = unpack_arm(was)
    if unpack_arm(now)[2] is Elbow.STRAIGHT and not old_hand and old_elbow >= Elbow.BENT:
        return "out"
    rise, level = _height(now) - _height(was), _height(now)
    # "raise low" and "lower high" are no way to speak
    if rise > 0.4 and level >= 2:
        return "up"
    return "down" if rise < -0.4 and level <= 2 else "same"


def _in_plural(said: str) -> str:
    for one, two in (("the side", "the sides"), ("the elbow", "the elbows"), (", forearm ", ", forearms ")):
        said = said.replace(one, two)
    return said


# ---- head and small movements ---------------------------------------------------------------------------------------


def _head(a: Row, b: Row, choose: Choose) -> list[Bit]:
    words = change_words()["head"]
    bits = []
    if a.turn != b.turn:
        way = "turn" if b.turn else "turn_0"
        bits.append(Bit(34, fill(choose(words[way]), "left" if b.turn > 0 else "right")))
    if a.pitch != b.pitch and b.pitch:
        bits.append(Bit(32, choose(words["bowed" if b.pitch > 0 else "tipped"])))
    if a.roll != b.roll and b.roll:
        bits.append(Bit(26, fill(choose(words["roll"]), "left" if b.roll > 0 else "right")))
    if not b.pitch and not b.roll and (a.pitch or a.roll):
        bits.append(Bit(28, choose(words["pitch_0"])))
    return bits


def _nudges(moved: list[list[float]], choose: Choose) -> list[Bit]:
    """No state changed: say which hand or foot moves most, and where to."""
    words = change_words()["nudge"]
    bits = []
    for name, step in zip(_ENDS, moved, strict=True):
        size = max(abs(part) for part in step)
        if size < NUDGE_M:
            continue
        axis = next(axis for axis in range(3) if abs(step[axis]) == size)
        way = (("left", "right"), ("up", "down"), ("forward", "back"))[axis][int(step[axis] < 0)]
        bits.append(Bit(int(1000 * size), choose(words[way]).replace("{p}", "the " + name.replace("_", " "))))
    bits.sort(key=lambda bit: -bit.worth)
    return bits[:3]
