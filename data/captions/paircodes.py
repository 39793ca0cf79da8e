"""Paircodes: how pose B differs from pose A, measured, binned, and combined with what B looks like (PoseFix).

Every value is A minus B: the height of a hand minus its height in B is negative where the hand has to go up.
Figures follow PoseFix (Delmas et al., ICCV 2023), which UniPose uses (UniPose suppl. §A.2). Different from there, a
pair's facts depend on the pair alone, "away from the trunk" and "away from each other" are different categories, and
what a reader would take otherwise is told otherwise (`pair_sense.py`).
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import torch
from torch import Tensor

from data.captions.aggregate import Fact, fact_table
from data.captions.codes import CODE_INDEX, CODES, NOT_TOLD, OTHER_SIDE, SIDES, Kind, Part, part
from data.captions.pair_sense import Sense, lesser, sense
from data.captions.points import POINT_INDEX, check_joints, named_points
from data.captions.posecodes import CATEGORY_NAMES, NOT_MEASURED, NUM_CODES, Posecodes, posecodes
from llmpose.errors import UserError

_MOVED = (-0.40, -0.15, 0.15, 0.40)
PAIR_KINDS: dict[str, Kind] = {
    "angle": Kind(
        ("unbend_much", "unbend", "slightly_unbend", NOT_TOLD, "slightly_bend", "bend", "bend_much"),
        (-80, -45, -18, 18, 45, 80),
        5,
    ),
    "distance": Kind(
        ("apart", "slightly_apart", NOT_TOLD, "slightly_together", "together"), (-0.4, -0.1, 0.1, 0.4), 0.05
    ),
    "x": Kind(("move_left", "slightly_move_left", NOT_TOLD, "slightly_move_right", "move_right"), _MOVED, 0.05),
    "y": Kind(("move_up", "slightly_move_up", NOT_TOLD, "slightly_move_down", "move_down"), _MOVED, 0.05),
    "z": Kind(("move_forward", "slightly_move_forward", NOT_TOLD, "slightly_move_back", "move_back"), _MOVED, 0.05),
    "incline": Kind(
        ("incline_forward", "slightly_incline_forward", NOT_TOLD, "slightly_incline_back", "incline_back"),
        (-45, -20, 20, 45),
        5,
    ),
    "twist": Kind(
        ("turn_chest_right", "slightly_turn_chest_right", NOT_TOLD, "slightly_turn_chest_left", "turn_chest_left"),
        (-45, -20, 20, 45),
        5,
    ),
    "sway": Kind(
        ("incline_left", "slightly_incline_left", NOT_TOLD, "slightly_incline_right", "incline_right"),
        (-30, -15, 15, 30),
        5,
    ),
    "head_pitch": Kind(("bow_head", NOT_TOLD, "raise_head"), (-30, 30), 5),
    "head_turn": Kind(
        ("turn_head_left", "slightly_turn_head_left", NOT_TOLD, "slightly_turn_head_right", "turn_head_right"),
        (-30, -15, 15, 30),
        5,
    ),
}
"""Bins of A - B. The trunk twists to the right when its value in B is higher, so that A - B is negative."""


@dataclass(frozen=True)
class PairCode:
    kind: str
    subject: Part
    column: int | None = None
    """The posecode whose values are subtracted, or"""
    point: str | None = None
    """the point whose place is compared."""
    from_torso: bool = False


def _table() -> list[PairCode]:
    table = []
    for joint, side in product(("knee", "elbow"), SIDES):
        ends = ("hip", "ankle") if joint == "knee" else ("shoulder", "wrist")
        points = (f"{side}_{ends[0]}", f"{side}_{joint}", f"{side}_{ends[1]}")
        table.append(PairCode("angle", Part(side, joint), CODE_INDEX["angle", points]))
    for name in ("elbow", "hand", "knee", "foot"):
        table.append(
            PairCode("distance", Part("both", name), CODE_INDEX["distance", (f"left_{name}", f"right_{name}")])
        )
    for name, side in product(("elbow", "hand", "knee", "foot"), SIDES):
        column = CODE_INDEX["distance", (f"{side}_{name}", "torso")]
        table.append(PairCode("distance", Part(side, name), column, from_torso=True))
    for axis in "xyz":
        names = ("elbow", "hand", "knee", "foot") + (() if axis == "x" else ("shoulder",))
        table += [PairCode(axis, Part(side, name), point=f"{side}_{name}") for name in names for side in SIDES]
    for kind in ("incline", "twist", "sway", "head_pitch", "head_turn"):
        column = next(index for index, code in enumerate(CODES) if code.kind == kind)
        table.append(PairCode(kind, part("head" if kind.startswith("head") else "body"), column))
    return table


PAIR_CODES: tuple[PairCode, ...] = tuple(_table())
NUM_PAIR_CODES = len(PAIR_CODES)


@dataclass(frozen=True)
class Paircodes:
    """What was measured on N pairs."""

    value: Tensor
    """(N, NUM_PAIR_CODES) float32, A minus B; NaN where not measured."""
    category: Tensor
    """(N, NUM_PAIR_CODES) uint8."""
    first: Posecodes
    second: Posecodes
    sense: Sense

    def __len__(self) -> int:
        return len(self.value)


def paircodes(
    joints_a: Tensor | np.ndarray,
    joints_b: Tensor | np.ndarray,
    *,
    rotmat_a: Tensor | None = None,
    rotmat_b: Tensor | None = None,
    noise: Tensor | None = None,
) -> Paircodes:
    """Compare (N, J, 3) joints pairwise; both z up, metres, heading removed (places are taken from the pelvis).

    noise: (N, NUM_PAIR_CODES + 2 NUM_CODES) in [-1, 1]: for the differences, for A and for B.
    """
    a, b = check_joints(joints_a), check_joints(joints_b)
    if len(a) != len(b):
        raise UserError(f"{len(a)} poses A do not pair with {len(b)} poses B")
    if (rotmat_a is None) != (rotmat_b is None):
        raise UserError("rotations are needed of both poses of a pair, or of none")
    split = (NUM_PAIR_CODES, NUM_PAIR_CODES + NUM_CODES)
    first = posecodes(a, rotmat=rotmat_a, noise=None if noise is None else noise[:, split[0] : split[1]])
    second = posecodes(b, rotmat=rotmat_b, noise=None if noise is None else noise[:, split[1] :])
    points_a, points_b = named_points(a), named_points(b)
    seen = sense(points_a, points_b)
    leans = {"incline": seen.lean, "twist": seen.lean, "sway": seen.sway}
    value = torch.empty(len(a), NUM_PAIR_CODES)
    category = torch.empty(len(a), NUM_PAIR_CODES, dtype=torch.uint8)
    for column, code in enumerate(PAIR_CODES):
        if code.column is not None:
            difference = first.value[:, code.column] - second.value[:, code.column]
            if code.kind in ("twist", "head_turn"):  # headings: -170 and 170 are 20 degrees apart
                difference = torch.remainder(difference + 180, 360) - 180
            if code.kind in leans:
                difference = torch.where(leans[code.kind], difference, 0.0)
        else:
            place = POINT_INDEX[code.point or ""]
            difference = (points_a - points_b)[:, place, "xyz".index(code.kind)]
            if code.kind == "y" and code.subject.name in ("knee", "foot"):
                difference = lesser(difference, seen.ground[:, place])
        value[:, column] = difference
        rule = PAIR_KINDS[code.kind]
        noisy = difference if noise is None else difference + noise[:, column] * rule.tolerance
        binned = torch.bucketize(noisy.contiguous(), torch.tensor(rule.thresholds)).to(torch.uint8)
        category[:, column] = torch.where(difference.isnan(), NOT_MEASURED, binned)
    return Paircodes(value, category, first, second, seen)


# ---- facts ----------------------------------------------------------------------------------------------------------

# What hangs on what: a fact about B's hand is of use where the upper arm has moved.
_CHAINS = (
    ("body", "torso", "arm", "shoulder", "upper arm", "elbow", "forearm", "hand"),
    ("body", "torso", "leg", "hip", "thigh", "knee", "shin", "ankle", "foot"),
)
_LIMB = {"knee": "leg", "elbow": "arm"}
_STRETCHED = ("slightly_bent", "straight")
_BEFORE_AND_BEHIND = ("straight_in_front", "straight_behind")
HEAD_IN_LINE_DEG, HEAD_AHEAD_DEG = 20, 10
"""A head of B no further from the trunk's line, or from straight ahead, is not told to be bowed, or turned aside."""


def changes(codes: Paircodes, skip: np.ndarray | None = None) -> list[list[Fact]]:
    """Facts about the way from A to B: elementary ones, and the super-paircodes (straighten, further apart, ...).

    skip: (N, NUM_PAIR_CODES) bool, facts to leave out; those that super-paircodes are made of are rare and stay.
    """
    names_a, names_b = _names(codes.first), _names(codes.second)
    category = codes.category.numpy()
    table = [PAIR_KINDS[code.kind].categories for code in PAIR_CODES]
    supine = codes.sense.supine.tolist()
    result: list[list[Fact]] = []
    for row, (hips, trunk) in enumerate(codes.sense.whole_body()):
        facts = [Fact("both", "hip", hips)] if hips else []
        facts += [Fact("", "torso", trunk)] if trunk else []
        for column in np.flatnonzero(_tellable()[np.arange(NUM_PAIR_CODES), np.minimum(category[row], 7)]).tolist():
            code, name = PAIR_CODES[column], table[column][category[row, column]]
            if code.kind == "distance":
                near = names_a if "apart" in name else names_b
                if near(row, code.column) != "close":
                    continue  # without "close" before or after, a distance means little
                if code.from_torso:
                    name = name.replace("apart", "away").replace("together", "closer")
            elif code.kind == "angle" and "unbend" in name and names_b(row, code.column) in _STRETCHED:
                facts.append(Fact(code.subject.side, _LIMB[code.subject.name], "straighten"))
                continue
            elif skip is not None and skip[row, column]:
                continue
            elif code.kind == "x":  # left hand to the left, right hand to the right: both go outwards
                name = name.replace(f"move_{code.subject.side}", "move_out")
                name = name.replace(f"move_{OTHER_SIDE[code.subject.side]}", "move_in")
            elif code.kind == "z" and supine[row]:
                name = name.replace("move_forward", "move_from_head").replace("move_back", "move_to_head")
            elif code.subject.name == "head":
                name = _head_change(code.kind, name, float(codes.second.value[row, code.column or 0]))
            facts.append(Fact(*code.subject, name))
        result.append(facts)
    return result


def _head_change(kind: str, name: str, angle_b_deg: float) -> str:
    """A head that only comes back from where it was is not told to end on the other side."""
    if kind == "head_turn":
        return "turn_head_ahead" if abs(angle_b_deg) <= HEAD_AHEAD_DEG else name
    return f"{name}_in_line" if abs(angle_b_deg) <= HEAD_IN_LINE_DEG else name


def _names(codes: Posecodes):
    category = codes.category.numpy()
    return lambda row, column: CATEGORY_NAMES[column][category[row, column]]


@cache
def _tellable() -> np.ndarray:
    """(NUM_PAIR_CODES, 8) bool: the bin has a name."""
    table = np.zeros((NUM_PAIR_CODES, 8), dtype=bool)
    for column, code in enumerate(PAIR_CODES):
        for index, name in enumerate(PAIR_KINDS[code.kind].categories):
            table[column, index] = name != NOT_TOLD
    return table


def goals(codes: Paircodes, changed: list[list[Fact]], skip: np.ndarray | None = None) -> list[list[Fact]]:
    """Absolute facts about B, of parts that moved or hang on one that moved; what is true in A as well is left out."""
    absolute = codes.second.absolute().numpy()
    told = (absolute > 0) & (codes.first.category.numpy() != codes.second.category.numpy())
    if skip is not None:
        told &= (absolute == 2) | ~skip
    category, table = codes.second.category.numpy(), fact_table()
    result: list[list[Fact]] = [[] for _ in changed]
    brought = [{fact[:2] for fact in facts if "together" in fact.category} for facts in changed]
    straightened = [{fact[:2] for fact in facts if fact.category == "straighten"} for facts in changed]
    affected = [set().union(*(_affected(fact.side, fact.part) for fact in facts)) for facts in changed]
    lies = codes.sense.lies.tolist()
    rows, columns = np.nonzero(told)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        fact = table[column][category[row, column]]
        if fact is None or not affected[row] or (lies[row] and fact.category in _BEFORE_AND_BEHIND):
            continue
        # already said by the change that leads there
        if fact.category == "close" and fact.part == fact.other and ("both", fact.part) in brought[row]:
            continue
        if fact.category == "straight" and (fact.side, _LIMB.get(fact.part, "")) in straightened[row]:
            continue
        if (fact.side, fact.part) in affected[row] or ((fact.other_side, fact.other) in affected[row] and fact.other):
            result[row].append(fact)
    return result


@cache
def _affected(side: str, name: str) -> frozenset[tuple[str, str]]:
    sides = ("left", "right", "both", "") if side in ("both", "") else (side, "both")
    parts = {name}
    for chain in _CHAINS:
        if name in chain:
            parts.update(chain[chain.index(name) :])
    return frozenset((s, p) for s in sides for p in parts)
