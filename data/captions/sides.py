"""Does a text name the right side? Claims of a text are checked against what was measured on the pose.

A claim ("the left knee is bent", "raise the right arm") is taken for swapped if the side that it names plainly does not
do so and the other side plainly does. What cannot be checked passes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from data.captions.codes import CODE_INDEX, OTHER_SIDE, SIDES
from data.captions.paircodes import PAIR_CODES

Row = list[float]
"""Values of one pose (`Posecodes.value`) or of one pair (`Paircodes.value`)."""
Score = Callable[[Row, str], float]
"""How much the values say it of a side."""


@dataclass(frozen=True)
class Claim:
    """`words`: a pattern with one group, the side. A score below `no` denies the claim, one above `yes` affirms it."""

    words: re.Pattern[str]
    score: Score
    no: float
    yes: float


def swapped_sides(text: str, row: Row, claims: list[Claim]) -> str | None:
    """The first words of the text that hold for the other side only; None where there are none."""
    for claim in claims:
        for match in claim.words.finditer(text):
            side = match.group(1).lower()
            if claim.score(row, side) < claim.no and claim.score(row, OTHER_SIDE[side]) > claim.yes:
                return match.group(0)
    return None


def _pattern(text: str) -> re.Pattern[str]:
    # a few words between the part and what is said of it, but no other side, part or sentence
    gap = r"(?:(?!\b(?:left|right|both|and|while|with|but)\b)[^.,;])*?"
    text = text.replace("OF SIDE", r"(?:the|your|their|his|her) SIDE").replace("SIDE", r"\b(left|right)")
    return re.compile(text.replace(" ... ", rf"\b{gap}\b"), re.IGNORECASE)


# ---- of one pose ----------------------------------------------------------------------------------------------------


def _bent(joint: str) -> Score:
    ends = ("hip", "ankle") if joint == "knee" else ("shoulder", "wrist")
    column = {
        side: CODE_INDEX["angle", (f"{side}_{ends[0]}", f"{side}_{joint}", f"{side}_{ends[1]}")] for side in SIDES
    }
    return lambda row, side: 180 - row[column[side]]


def _beyond(axis: str, part: str) -> Score:
    """How much the part of a side is higher, or further in front, than that of the other side."""
    column = CODE_INDEX[axis, (f"left_{part}", f"right_{part}")]
    return lambda row, side: row[column] if side == "left" else -row[column]


def _against(axis: str, part: str, other: str) -> Score:
    """How much the part of a side is higher, or further in front, than `other` (of its side, or of the middle)."""
    column = {
        side: CODE_INDEX[axis, (f"{side}_{part}", other if other == "torso" else f"{side}_{other}")] for side in SIDES
    }
    return lambda row, side: row[column[side]]


def _either(*scores: Score) -> Score:
    return lambda row, side: max(score(row, side) for score in scores)


def _minus(score: Score) -> Score:
    return lambda row, side: -score(row, side)


_RAISED = "(?:raised|lifted|overhead|up)"
POSE_CLAIMS = [
    Claim(_pattern("SIDE (?:knee|leg) ... bent"), _bent("knee"), 18, 25),
    Claim(_pattern("SIDE (?:knee|leg) ... straight"), _minus(_bent("knee")), -40, -25),
    Claim(_pattern("SIDE (?:elbow|arm) ... bent"), _bent("elbow"), 18, 25),
    Claim(_pattern("SIDE (?:elbow|arm) ... straight"), _minus(_bent("elbow")), -45, -30),
    Claim(
        _pattern(f"SIDE (?:arm|hand) ... {_RAISED}"),
        _either(_beyond("y", "hand"), _against("y", "hand", "shoulder")),
        -0.2,
        0,
    ),
    Claim(_pattern(f"SIDE (?:leg|foot) ... (?:{_RAISED}|off the)"), _beyond("y", "foot"), 0, 0.1),
    Claim(_pattern(f"SIDE knee ... {_RAISED}"), _beyond("y", "knee"), 0, 0.1),
    Claim(
        _pattern("SIDE (?:foot|leg) ... (?:forward|in front|ahead)"),
        _either(_beyond("z", "foot"), _against("z", "foot", "torso")),
        0,
        0.1,
    ),
    Claim(_pattern(r"(?:stand|balanc)\w* on OF SIDE"), _minus(_beyond("y", "foot")), 0, 0.05),
    Claim(_pattern(r"kneel\w* on OF SIDE"), _minus(_beyond("y", "knee")), 0, 0.05),
]


# ---- of a pair ------------------------------------------------------------------------------------------------------


def _less(kind: str, part: str) -> Score:
    """How much the value of a side's part is less in A than in B: up, forward, straighter in B."""
    column = {
        code.subject.side: index
        for index, code in enumerate(PAIR_CODES)
        if code.kind == kind and code.subject.name == part and code.subject.side and not code.from_torso
    }
    return lambda row, side: -row[column[side]]


def _change(words: str, score: Score, metres: bool = True) -> Claim:
    return Claim(_pattern(words), score, -0.05 if metres else -5.0, 0.1 if metres else 15.0)


CHANGE_CLAIMS = [
    _change("(?:raise|lift) OF SIDE (?:arm|hand)", _less("y", "hand")),
    _change("(?:lower|drop) OF SIDE (?:arm|hand)", _minus(_less("y", "hand"))),
    _change("(?:raise|lift) OF SIDE (?:leg|foot)", _less("y", "foot")),
    _change("(?:lower|drop) OF SIDE (?:leg|foot)", _minus(_less("y", "foot"))),
    _change("(?:raise|lift) OF SIDE knee", _less("y", "knee")),
    _change("bend OF SIDE (?:knee|leg)", _minus(_less("angle", "knee")), metres=False),
    _change("bend OF SIDE (?:elbow|arm)", _minus(_less("angle", "elbow")), metres=False),
    _change("straighten OF SIDE (?:knee|leg)", _less("angle", "knee"), metres=False),
    _change("straighten OF SIDE (?:elbow|arm)", _less("angle", "elbow"), metres=False),
    _change("(?:step|move|bring|put) OF SIDE (?:foot|leg) ... forward", _less("z", "foot")),
    _change("(?:move|bring|stretch) OF SIDE (?:arm|hand) ... forward", _less("z", "hand")),
]
