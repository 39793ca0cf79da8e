"""Posecodes: every relation of `codes.py` measured on many poses at once, binned, and combined into super-codes.

    joints (N, J, 3) -> 35 points -> 271 values -> 271 categories -> 150 super-codes -> what may be told

All tables are built once; a call is a few gathers per kind, in chunks, so memory stays small however many poses come.
(UniPose suppl. §A.1; the codes are PoseScript's, Delmas et al. 2024, §3.)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data.captions.codes import CODE_INDEX, CODES, HEAD_KINDS, KINDS, NOT_TOLD, SUPER_CODES
from data.captions.points import POINT_INDEX, check_joints, named_points, rotations_in_rule_axes

CHUNK = 8192
"""Poses measured at once: about 30 MB of work space."""

STANDING_M = 0.2
"""The lower ankle must be this far below the shoulders for a lean to mean anything (not lying, not upside down)."""

NUM_CODES, NUM_SUPERS = len(CODES), len(SUPER_CODES)
NOT_MEASURED = 255


@dataclass(frozen=True)
class Posecodes:
    """What was measured on N poses. Column c < NUM_CODES is `CODES[c]`, the rest are `SUPER_CODES`."""

    value: Tensor
    """(N, NUM_CODES) float32, degrees or metres, without noise; NaN where it was not measured (head, no rotations)."""
    category: Tensor
    """(N, NUM_CODES + NUM_SUPERS) uint8: index into the column's category names; `NOT_MEASURED` where it was not."""
    told: Tensor
    """(N, NUM_CODES + NUM_SUPERS) uint8: 0 not to be told, 1 may be told, 2 rare and therefore always told."""

    def __len__(self) -> int:
        return len(self.category)

    def name(self, pose: int, column: int) -> str:
        """The category's name, "-" between categories."""
        index = int(self.category[pose, column])
        return NOT_TOLD if index == NOT_MEASURED else CATEGORY_NAMES[column][index]

    def absolute(self) -> Tensor:
        """(N, columns) uint8 like `told`, for what may be said of a pose beside another (PoseFix's absolute codes)."""
        return _lookup(_tables().absolute, self.category)


CATEGORY_NAMES: tuple[tuple[str, ...], ...] = (
    *(KINDS[code.kind].categories for code in CODES),
    *(code.categories for code in SUPER_CODES),
)


@dataclass(frozen=True)
class _Tables:
    told: Tensor
    """(columns, 8) uint8"""
    absolute: Tensor
    unless_super: Tensor
    """(columns, 8) bool: told only if no super-code built on it came out."""
    needs: Tensor
    """(M,) column of each distinct condition; `allowed` (M, 8) bool its accepted categories."""
    allowed: Tensor
    recipes: list[tuple[int, list[int]]]
    """(super index, indices of its conditions)."""
    built_on: Tensor
    """(NUM_SUPERS, NUM_CODES) bool: the super asks for this code."""


@cache
def _tables() -> _Tables:
    columns, width = NUM_CODES + NUM_SUPERS, 8
    told = torch.zeros(columns, width, dtype=torch.uint8)
    absolute, unless = torch.zeros_like(told), torch.zeros(columns, width, dtype=torch.bool)
    for column, code in enumerate(CODES):
        for index, name in enumerate(KINDS[code.kind].categories):
            told[column, index] = 2 if name in code.rare else int(name in code.usual)
            absolute[column, index] = (1 + (name in code.rare)) * (name in code.absolute)
            unless[column, index] = name in code.unless_super
    for offset, code in enumerate(SUPER_CODES):
        column = NUM_CODES + offset
        told[column, 1 : len(code.categories)] = 2 if code.rare else 1
        absolute[column, 1 : len(code.categories)] = (1 + code.rare) * code.absolute
    conditions: dict[tuple[int, frozenset[str]], int] = {}
    recipes: list[tuple[int, list[int]]] = []
    built_on = torch.zeros(NUM_SUPERS, NUM_CODES, dtype=torch.bool)
    for offset, code in enumerate(SUPER_CODES):
        for recipe in code.recipes:
            picked = [(CODE_INDEX[key], names) for key, names in recipe]
            recipes.append((offset, [conditions.setdefault(condition, len(conditions)) for condition in picked]))
            built_on[offset, [column for column, _ in picked]] = True
    allowed = torch.zeros(len(conditions), width, dtype=torch.bool)
    for (column, names), row in conditions.items():
        for index, name in enumerate(CATEGORY_NAMES[column]):
            allowed[row, index] = name in names
    needs = torch.tensor([column for column, _ in conditions])
    return _Tables(told, absolute, unless, needs, allowed, recipes, built_on)


def posecodes(
    joints_m: Tensor | np.ndarray, *, noise: torch.Generator | Tensor | None = None, rotmat: Tensor | None = None
) -> Posecodes:
    """Measure all posecodes of (N, 22|24|52, 3) joints: z up, metres, heading removed, neutral body.

    noise: None (exact), a generator, or (N, NUM_CODES) numbers in [-1, 1]; scaled by each kind's tolerance.
    rotmat: (N, 22, 3, 3) local rotations; without them the head's codes are not measured.
    """
    joints = check_joints(joints_m)
    count, device = len(joints), joints.device
    rotations = None if rotmat is None else rotations_in_rule_axes(rotmat, count).to(device)
    value = torch.empty(count, NUM_CODES, device=device)
    category = torch.empty(count, NUM_CODES + NUM_SUPERS, dtype=torch.uint8, device=device)
    told = torch.empty_like(category)
    for start in range(0, count, CHUNK):
        rows = slice(start, min(start + CHUNK, count))
        value[rows] = measure(named_points(joints[rows]), None if rotations is None else rotations[rows])
        shift = None
        if isinstance(noise, torch.Generator):
            drawn = torch.rand(value[rows].shape, generator=noise, device=noise.device)
            shift = drawn.to(device) * 2 - 1
        elif isinstance(noise, Tensor):
            shift = noise[rows].to(device)
        category[rows], told[rows] = _bin(value[rows], shift)
    return Posecodes(value, category, told)


def measure(points: Tensor, rotations: Tensor | None) -> Tensor:
    """(N, 35, 3) points in rule axes -> (N, NUM_CODES) values in degrees or metres."""
    value = torch.full((len(points), NUM_CODES), float("nan"), device=points.device)
    for kind, (columns, picked) in _columns_by_kind().items():
        if kind in HEAD_KINDS:
            if rotations is not None:
                value[:, columns] = _head(kind, rotations)[:, None]
        else:
            value[:, columns] = _MEASURES[kind](points, torch.tensor(picked, device=points.device))
    return value


@cache
def _columns_by_kind() -> dict[str, tuple[slice, list[list[int]]]]:
    """The columns of each kind (neighbours, as `CODES` is ordered by kind) and their points as indices."""
    found: dict[str, tuple[slice, list[list[int]]]] = {}
    for kind in KINDS:
        columns = [column for column, code in enumerate(CODES) if code.kind == kind]
        points = [[POINT_INDEX[name] for name in CODES[column].points] for column in columns]
        found[kind] = (slice(columns[0], columns[-1] + 1), points)
    return found


def _arccos_deg(cosine: Tensor) -> Tensor:
    # collinear limbs reach 1 + 1e-7 in float32, where arccos is NaN
    return torch.rad2deg(torch.arccos(cosine.clamp(-1, 1)))


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=-1)


def _angle(points: Tensor, picked: Tensor) -> Tensor:
    first, middle, last = (points[:, picked[:, i]] for i in range(3))
    return _arccos_deg((_unit(first - middle) * _unit(last - middle)).sum(-1))


def _distance(points: Tensor, picked: Tensor) -> Tensor:
    return (points[:, picked[:, 0]] - points[:, picked[:, 1]]).norm(dim=-1)


def _along(axis: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda points, picked: points[:, picked[:, 0], axis] - points[:, picked[:, 1], axis]


def _upright(points: Tensor, picked: Tensor) -> Tensor:
    return _arccos_deg(_unit(points[:, picked[:, 0]] - points[:, picked[:, 1]])[..., 1].abs())


def _above_ground(points: Tensor, picked: Tensor) -> Tensor:
    height = points[..., 1]
    return height[:, picked[:, 0]] - height.amin(1, keepdim=True)


def _trunk(points: Tensor, picked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Across the shoulders; from the pelvis to their middle; whether the person is on the feet: rows of (N, 1, 3)."""
    left, right, pelvis, left_ankle, right_ankle = (points[:, picked[:, i]] for i in range(5))
    middle = (left + right) / 2
    lower_ankle = torch.minimum(left_ankle[..., 1], right_ankle[..., 1])
    return left - right, middle - pelvis, middle[..., 1] - lower_ankle > STANDING_M


def _incline(points: Tensor, picked: Tensor) -> Tensor:
    """Forward positive: the trunk's angle to the vertical, seen from the side."""
    _, up, standing = _trunk(points, picked)
    return torch.where(standing, torch.rad2deg(torch.atan2(up[..., 2], up[..., 1])), 0.0)


def _twist(points: Tensor, picked: Tensor) -> Tensor:
    """To the right positive (left shoulder forward): the shoulders' angle to the x axis, seen from above."""
    across, _, standing = _trunk(points, picked)
    return torch.where(standing, torch.rad2deg(torch.atan2(across[..., 2], across[..., 0])), 0.0)


def _sway(points: Tensor, picked: Tensor) -> Tensor:
    """To the left positive: how far the trunk tips sideways."""
    _, up, standing = _trunk(points, picked)
    return torch.where(standing, torch.rad2deg(torch.arcsin(_unit(up)[..., 0].clamp(-1, 1))), 0.0)


_MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "angle": _angle,
    "distance": _distance,
    "x": _along(0),
    "y": _along(1),
    "z": _along(2),
    "upright": _upright,
    "ground": _above_ground,
    "incline": _incline,
    "twist": _twist,
    "sway": _sway,
}


def _head(kind: str, rotations: Tensor) -> Tensor:
    """The head against the upper trunk (pitch, roll), and its heading against the pelvis (turn), in degrees.

    The turn leaves the root out, so that it means the same for somebody who lies down.
    """
    joints = [12, 15] if kind != "head_turn" else [3, 6, 9, 12, 15]
    chain = rotations[:, joints[0]]
    for joint in joints[1:]:
        chain = chain @ rotations[:, joint]
    if kind == "head_turn":
        return torch.rad2deg(torch.atan2(chain[:, 0, 2], chain[:, 2, 2]))
    if kind == "head_pitch":
        return torch.rad2deg(torch.atan2(chain[:, 2, 1], chain[:, 2, 2]))
    # Rz of R = Rz Ry Rx: positive leans the top of the head towards the body's right
    return torch.rad2deg(torch.atan2(chain[:, 1, 0], chain[:, 0, 0]))


def _bin(value: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor]:
    tables = _tables()
    category = torch.full((len(value), NUM_CODES + NUM_SUPERS), NOT_MEASURED, dtype=torch.uint8, device=value.device)
    for kind, (columns, _) in _columns_by_kind().items():
        rule, measured = KINDS[kind], value[:, columns]
        noisy = measured if shift is None else measured + shift[:, columns] * rule.tolerance
        edges = torch.tensor(rule.thresholds, device=value.device)
        binned = torch.bucketize(noisy.contiguous(), edges).to(torch.uint8)
        category[:, columns] = torch.where(measured.isnan(), NOT_MEASURED, binned)
    came_out = _infer_supers(category)
    told = _lookup(tables.told, category)
    unless = _lookup(tables.unless_super, category)[:, :NUM_CODES]
    covered = (came_out.float() @ tables.built_on.to(value.device).float()) > 0
    told[:, :NUM_CODES][unless & covered] = 0
    return category, told


def _infer_supers(category: Tensor) -> Tensor:
    """Fill the super columns of `category` in place; returns (N, NUM_SUPERS) bool of those that came out."""
    tables = _tables()
    holds = _lookup(tables.allowed, category[:, tables.needs])
    came_out = torch.zeros(len(category), NUM_SUPERS, dtype=torch.bool, device=category.device)
    for offset, conditions in tables.recipes:
        came_out[:, offset] |= holds[:, conditions].all(1)
    category[:, NUM_CODES:] = came_out
    for column, code, offset in _DIRECTED:
        # bins below/around/above zero: 0 1 | 2 | 3 4 -> 1 2 3
        direction = 2 + (category[:, code] > 2).to(torch.uint8) - (category[:, code] < 2).to(torch.uint8)
        category[:, column] = torch.where(came_out[:, offset], direction, 0)
    return came_out


_DIRECTED = [
    (NUM_CODES + offset, CODE_INDEX[code.by_offset[0]], offset)
    for offset, code in enumerate(SUPER_CODES)
    if code.by_offset is not None
]


def _lookup(table: Tensor, category: Tensor) -> Tensor:
    """table[c, category[n, c]] for all n, c; `NOT_MEASURED` reads as zero."""
    padded = torch.nn.functional.pad(table.to(category.device), (0, 1))
    index = category.clamp(max=padded.shape[1] - 1).long()
    return padded[torch.arange(len(padded), device=category.device), index]
