"""Where a posed body touches itself and the floor, and small corrections that make it stand.

Everything works on batches: joints and some dozens of points of the skin per pose, never the whole mesh. Heights are
world z.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from data.synth.angles import HIGHEST_DEG, INDEX, LOWEST_DEG, Array, to_rotmat, within_limits
from data.synth.primitives import Support
from llmpose.body.model import BodyModel, load_body_model
from llmpose.body.skinning import skin

_MASSES: dict[str, float] = {
    "pelvis": 0.14, "spine1": 0.08, "spine2": 0.09, "spine3": 0.16, "neck": 0.01, "head": 0.07, "collar": 0.02,
    "shoulder": 0.022, "elbow": 0.018, "wrist": 0.012, "hip": 0.07, "knee": 0.06, "ankle": 0.025, "foot": 0.01,
}  # fmt: skip
"""Share of the body's mass carried around each joint (limbs: each side); only the centre of mass is made from it."""

_FEET, _KNEES = ("left_foot", "right_foot"), ("left_knee", "right_knee")
_HANDS, _ARMS = ("left_hand", "right_hand"), ("left_arm", "right_arm")

_TOUCHING: dict[Support, tuple[tuple[str, ...], ...]] = {
    # each group must have one of its parts at the floor
    "feet": (("left_foot",), ("right_foot",)),
    "foot": (_FEET,),
    "step": (_FEET,),
    "knees": (("left_knee",), ("right_knee",)),
    "knee": (_KNEES, _FEET),
    "ground": (("pelvis",),),
    "lying": (("pelvis", "chest", *_ARMS, *_KNEES),),
    "hands": (_HANDS,),
    "head": (("head", "chest", *_HANDS),),
    "seat": (),
    "air": (),
}
_FLOOR_TOLERANCE_M: dict[Support, float] = {"feet": 0.03, "foot": 0.02, "step": 0.03, "hands": 0.06}
_OTHER_TOLERANCE_M = 0.05

_SHORT_LEVER_M = 0.30
"""Contacts nearer to each other than this tilt the body as if they were this far apart."""
_WIDE_STANCE_M = 0.45
"""Feet farther apart than this are levelled by tilting the body, nearer ones by bending a leg."""

_LEVEL: dict[Support, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    # two groups that lie on the floor together, unless they are farther apart in height than this
    "knees": (_KNEES, _FEET, 0.30),
    "ground": (("pelvis",), _FEET, 0.20),
    "lying": (("chest", "head", *_ARMS), ("pelvis", *_KNEES, *_FEET), 0.16),
    "hands": (_HANDS, (*_FEET, *_KNEES), 0.35),
    "head": (("chest", "head"), _FEET, 0.35),
}

_PARTS: dict[str, tuple[str, ...]] = {
    "pelvis": ("pelvis", "left_hip", "right_hip"),
    "chest": ("spine1", "spine2", "spine3", "left_collar", "right_collar", "neck"),
    "head": ("head",),
    **{f"{side}_foot": (f"{side}_ankle", f"{side}_foot") for side in ("left", "right")},
    **{f"{side}_knee": (f"{side}_knee",) for side in ("left", "right")},
    **{f"{side}_hand": (f"{side}_wrist", f"{side}_hand", f"{side}_elbow") for side in ("left", "right")},
    **{f"{side}_arm": (f"{side}_shoulder",) for side in ("left", "right")},
    **{f"{side}_thigh": (f"{side}_hip",) for side in ("left", "right")},
}
_SEAT_Y_M = -0.42
"""Height at rest that parts the seat from the thighs: both hang on the hip joints."""

# Capsules: from joint, to joint, radius. The head's end lies 10 cm above its joint.
_CAPSULES: tuple[tuple[str, str, float], ...] = (
    ("pelvis", "spine3", 0.115), ("spine2", "neck", 0.115), ("head", "head_top", 0.095),
    *[(f"{side}_{a}", f"{side}_{b}", radius) for side in ("left", "right") for a, b, radius in (
        ("shoulder", "elbow", 0.045), ("elbow", "wrist", 0.038), ("wrist", "hand", 0.035),
        ("hip", "knee", 0.065), ("knee", "ankle", 0.045), ("ankle", "foot", 0.035))],
)  # fmt: skip
_TORSO, _CHEST, _HEAD = 0, 1, 2
_LEFT, _RIGHT = 3, 9  # upper arm, forearm, hand, thigh, shin, foot


def _pairs() -> list[tuple[int, int]]:
    """Capsules that may not overlap: all but neighbours along the body."""
    near = {(_TORSO, _CHEST), (_CHEST, _HEAD), (_TORSO, _HEAD), (_LEFT + 3, _RIGHT + 3)}
    for side in (_LEFT, _RIGHT):
        upper_arm, forearm, hand, thigh, shin, foot = range(side, side + 6)
        near |= {(_CHEST, upper_arm), (_TORSO, upper_arm), (_HEAD, upper_arm), (_TORSO, thigh)}
        near |= {(upper_arm, forearm), (forearm, hand), (upper_arm, hand), (thigh, shin), (shin, foot), (thigh, foot)}
    count = len(_CAPSULES)
    return [(i, j) for i in range(count) for j in range(i + 1, count) if (i, j) not in near]


@dataclass(frozen=True)
class Probe:
    """The stand-in body reduced to what the checks need: joints, and points of the skin, each belonging to a part."""

    body: BodyModel
    vertex_ids: NDArray[np.int64]
    part_of: NDArray[np.int64]
    part_names: tuple[str, ...]

    _parts: dict[tuple[str, ...], NDArray[np.bool_]] = field(default_factory=dict)

    @cached_property
    def skin_tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the points: weights (P, 24), rest positions (P, 3), shape directions (10, P, 3)."""
        ids = torch.from_numpy(self.vertex_ids)
        return self.body.weights[ids], self.body.vertices_rest[ids], self.body.shape_directions[:, ids]

    def part(self, *names: str) -> NDArray[np.bool_]:
        """(points,) those of the named parts. Asked for some hundred times a shard, always for the same few."""
        if names not in self._parts:
            self._parts[names] = np.isin(self.part_of, [self.part_names.index(name) for name in names])
        return self._parts[names]


@cache
def probe() -> Probe:
    """Points that can touch the floor first: per part, the outermost vertices in 26 directions of the rest pose."""
    body = load_body_model("stand-in")
    vertices = body.vertices_rest.numpy().astype(np.float64)
    owner = body.weights.argmax(1).numpy()
    grid = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) != (0, 0, 0)])
    directions = grid / np.linalg.norm(grid, axis=1, keepdims=True)
    ids: list[int] = []
    parts: list[int] = []
    for number, joints in enumerate(_PARTS.values()):
        members = np.flatnonzero(np.isin(owner, [body.joint_names.index(joint) for joint in joints]))
        if "left_hip" in joints or "right_hip" in joints:
            is_seat = vertices[members, 1] > _SEAT_Y_M
            members = members[is_seat if "pelvis" in joints else ~is_seat]
        outermost = sorted(set(members[(vertices[members] @ directions.T).argmax(0)].tolist()))
        ids += outermost
        parts += [number] * len(outermost)
    return Probe(body, np.array(ids), np.array(parts), tuple(_PARTS))


@dataclass(frozen=True)
class Placement:
    """Posed joints and skin points of a batch, pelvis at its rest place (nothing is on the floor yet)."""

    rotations: Array
    """(N, 24, 3, 3) in the world."""
    joints_m: Array
    """(N, 24, 3)."""
    points_m: Array
    """(N, points, 3)."""

    @property
    def floor_m(self) -> Array:
        """(N,) height of the lowest point."""
        return self.points_m[:, :, 2].min(1)


def place(rotmat: NDArray[np.float32], betas: NDArray[np.float32] | None = None) -> Placement:
    """Forward kinematics of (N, 22, 3, 3) poses in the world frame."""
    body = probe().body
    with torch.no_grad():
        pose = torch.from_numpy(np.ascontiguousarray(rotmat))
        shape = None if betas is None else torch.from_numpy(np.ascontiguousarray(betas, np.float32))
        hands = torch.eye(3).expand(len(pose), 2, 3, 3)
        rest = body.rest_joints(shape)
        rotations, joints = body.chain(torch.cat([pose, hands], 1), rest)
        weights, points_rest, directions = probe().skin_tables
        if shape is not None:
            points_rest = points_rest + torch.einsum("ns,spc->npc", shape, directions)
        points = skin(weights, rotations, joints, rest, points_rest)
    return Placement(rotations.double().numpy(), joints.double().numpy(), points.double().numpy())


def touches_floor(placement: Placement, supports: Sequence[Support]) -> NDArray[np.bool_]:
    """(N,) whether what should carry each body lies at its lowest height."""
    height = placement.points_m[:, :, 2] - placement.floor_m[:, None]
    result = np.ones(len(height), bool)
    kinds = np.array(supports)
    for support, groups in _TOUCHING.items():
        rows = np.flatnonzero(kinds == support)
        for parts in groups:
            nearest = height[np.ix_(rows, np.flatnonzero(probe().part(*parts)))].min(1)
            result[rows] &= nearest < _FLOOR_TOLERANCE_M.get(support, _OTHER_TOLERANCE_M)
    return result


def overlap_m(placement: Placement) -> Array:
    """(N,) how deep the worst pair of limbs presses into each other, by capsules; 0 if none does."""
    joints, names = placement.joints_m, probe().body.joint_names
    top = joints[:, names.index("head")] + 0.10 * placement.rotations[:, names.index("head"), :, 1]

    def end(name: str) -> Array:
        return top if name == "head_top" else joints[:, names.index(name)]

    start = np.stack([end(a) for a, _, _ in _CAPSULES], 1)
    stop = np.stack([end(b) for _, b, _ in _CAPSULES], 1)
    radius = np.array([r for _, _, r in _CAPSULES])
    i, j = np.array(_pairs()).T
    gap = _segment_distance(start[:, i], stop[:, i], start[:, j], stop[:, j])
    return np.maximum(radius[i] + radius[j] - gap, 0).max(1)


def _segment_distance(p: Array, q: Array, a: Array, b: Array) -> Array:
    """Shortest distance between segments pq and ab (..., 3) (Ericson, Real-Time Collision Detection, §5.1.9)."""
    # Coordinates first: numpy is slow where the last axis has three entries.
    u, v, w = (np.ascontiguousarray(np.moveaxis(side, -1, 0)) for side in (q - p, b - a, p - a))

    def dot(one: Array, other: Array) -> Array:
        return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]

    uu, uv, vv, uw, vw = dot(u, u), dot(u, v), dot(v, v), dot(u, w), dot(v, w)
    det = uu * vv - uv * uv
    s = np.clip(np.where(det > 1e-9, (uv * vw - vv * uw) / np.maximum(det, 1e-9), 0), 0, 1)
    t = np.clip((uv * s + vw) / np.maximum(vv, 1e-9), 0, 1)
    s = np.clip((uv * t - uw) / np.maximum(uu, 1e-9), 0, 1)
    t = np.clip((uv * s + vw) / np.maximum(vv, 1e-9), 0, 1)
    gap = w + s * u - t * v
    return np.sqrt(dot(gap, gap))


# ---- standing ------------------------------------------------------------------------------------------------------


def settle(angles: Array, supports: Sequence[Support], flat: NDArray[np.bool_], rounds: int = 4) -> Array:
    """Corrected (N, NUM_ANGLES): what carries lies at one height, soles flat, the centre of mass above the feet.

    `flat` (N, 2): left and right sole lie on the floor if that foot carries. Seated and flying bodies stay as they are.
    """
    kinds = np.array(supports)
    result = angles.copy()
    rows = np.flatnonzero(np.isin(kinds, ("feet", "foot", "knee")))
    if len(rows):
        result[rows] = _stand(angles[rows], kinds[rows], flat[rows], rounds)
    rows = np.flatnonzero(np.isin(kinds, ["knee", *_LEVEL]))
    for _ in range(rounds if len(rows) else 0):
        now = place(to_rotmat(result[rows]))
        result[rows] = _level_body(result[rows], now, kinds[rows])
    return within_limits(result)


def _stand(angles: Array, kinds: NDArray[np.str_], flat: NDArray[np.bool_], rounds: int) -> Array:
    """Level the feet, balance, flatten the soles."""
    part = angles.copy()
    names = probe().body.joint_names
    for turn in range(rounds + 1):
        now = place(to_rotmat(part))
        soles = [now.points_m[:, probe().part(f"{side}_foot"), 2].min(1) for side in ("left", "right")]
        lowest = np.minimum(*soles)
        for side, (name, sole) in enumerate(zip(("left", "right"), soles, strict=True)):
            carries = (kinds == "feet") | (sole < lowest + 0.02)
            carries &= flat[:, side]
            knee = now.rotations[:, names.index(f"{name}_knee")]
            part[carries] = _flatten_sole(part[carries], knee[carries], name)
        if turn == rounds:  # the last word is the soles', so that a correction of the trunk does not lift them
            break
        both = kinds == "feet"
        apart = now.joints_m[:, names.index("left_ankle"), :2] - now.joints_m[:, names.index("right_ankle"), :2]
        wide = both & (np.linalg.norm(apart, axis=1) > _WIDE_STANCE_M)
        narrow = both & ~wide
        part[narrow] = _level_legs(part[narrow], (soles[0] - soles[1])[narrow])
        part = _level_groups(part, now, wide, ("left_foot",), ("right_foot",), reach_m=0.4)
        # Someone who hangs on one foot because the other is not down yet must not be tipped over that foot.
        steady = np.where(both, np.abs(soles[0] - soles[1]) < 0.04, kinds == "foot")
        part[steady] = _balance(part, now)[steady]
    return part


def _flatten_sole(angles: Array, knee: Array, side: str) -> Array:
    """The two ankle angles that turn the foot's upward axis to the vertical: Rx(point) Rz(tilt) y = K^T z."""
    result = angles.copy()
    up = knee[:, 2, :]  # world z, seen from the shin
    sign = 1 if side == "left" else -1
    result[:, INDEX[f"{side}_ankle.tilt"]] = sign * np.degrees(np.arcsin(np.clip(-up[:, 0], -1, 1)))
    result[:, INDEX[f"{side}_ankle.point"]] = np.degrees(np.arctan2(up[:, 2], up[:, 1]))
    result[:, INDEX[f"{side}_toes.down"]] = 0
    keys = [INDEX[f"{side}_{key}"] for key in ("ankle.tilt", "ankle.point")]
    result[:, keys] = np.clip(result[:, keys], LOWEST_DEG[keys], HIGHEST_DEG[keys])
    return result


def _level_legs(angles: Array, higher_left_m: Array) -> Array:
    """Bend or stretch the leg that is bent more until both soles are level: only its distance hip to ankle changes."""
    result = angles.copy()
    flexes = [result[:, INDEX[f"{side}_knee.flex"]] for side in ("left", "right")]
    left_moves = flexes[0] > flexes[1] + 15
    # A leg that is about straight cannot stretch: if neither is clearly bent, the lower one bends.
    left_moves |= (np.abs(flexes[0] - flexes[1]) <= 15) & (higher_left_m < 0)
    rest = probe().body.joints_rest.numpy().astype(np.float64)
    names = probe().body.joint_names
    for side, lower_by in (("left", -higher_left_m * left_moves), ("right", higher_left_m * ~left_moves)):
        hip, knee, ankle = (rest[names.index(f"{side}_{joint}")] for joint in ("hip", "knee", "ankle"))
        thigh, shin = float(np.linalg.norm(knee - hip)), float(np.linalg.norm(ankle - knee))
        flex = np.radians(result[:, INDEX[f"{side}_knee.flex"]])
        length = np.sqrt(thigh**2 + shin**2 + 2 * thigh * shin * np.cos(flex))
        wanted = np.clip(length - lower_by, 0.3, thigh + shin - 1e-6)

        def bend(leg: Array, a: float = thigh, b: float = shin) -> tuple[Array, Array]:
            """Angles at the hip and at the knee of a triangle with sides thigh, shin and `leg`."""
            at_hip = np.arccos(np.clip((a**2 + leg**2 - b**2) / (2 * a * leg), -1, 1))
            at_knee = np.pi - np.arccos(np.clip((a**2 + b**2 - leg**2) / (2 * a * b), -1, 1))
            return at_hip, at_knee

        (hip_before, knee_before), (hip_after, knee_after) = bend(length), bend(wanted)
        change = (np.abs(lower_by) > 1e-4)[:, None] * np.degrees(
            np.stack([hip_after - hip_before, knee_after - knee_before], axis=1)
        )
        result[:, INDEX[f"{side}_hip.flex"]] += change[:, 0]
        result[:, INDEX[f"{side}_knee.flex"]] += change[:, 1]
        result[:, INDEX[f"{side}_ankle.point"]] += change[:, 0] - change[:, 1]  # the foot keeps its direction
    return within_limits(result)


def _level_body(angles: Array, placement: Placement, kinds: NDArray[np.str_]) -> Array:
    """Level what carries bodies that do not stand."""
    knees = [placement.points_m[:, probe().part(f"{side}_knee"), 2].min(1) for side in ("left", "right")]
    tasks = [(kinds == support, *groups) for support, groups in _LEVEL.items()]
    # Kneeling on one knee: that knee and the other side's foot.
    tasks += [
        ((kinds == "knee") & (knees[0] <= knees[1]), ("left_knee",), ("right_foot",), 0.3),
        ((kinds == "knee") & (knees[0] > knees[1]), ("right_knee",), ("left_foot",), 0.3),
    ]
    for members, one, other, reach in tasks:
        angles = _level_groups(angles, placement, members, one, other, reach_m=reach)
    return angles


def _level_groups(
    angles: Array,
    placement: Placement,
    members: NDArray[np.bool_],
    one: tuple[str, ...],
    other: tuple[str, ...],
    *,
    reach_m: float,
) -> Array:
    """Pitch and sway the members' bodies until the lowest points of both groups of parts are level."""
    rows = np.flatnonzero(members)
    if not len(rows):
        return angles
    result = angles.copy()
    lowest = []
    for parts in (one, other):
        points = placement.points_m[np.ix_(rows, np.flatnonzero(probe().part(*parts)))]
        lowest.append(points[np.arange(len(rows)), points[:, :, 2].argmin(1)])
    apart = lowest[0] - lowest[1]
    across = np.maximum((apart[:, :2] ** 2).sum(1), _SHORT_LEVER_M**2)
    # Pitching forward by d lifts a point at y (behind) by y d; swaying by d lifts a point at x (left) by x d.
    turn = np.degrees(-apart[:, 2:] * apart[:, :2] / across[:, None])
    turn = np.clip(turn, -12, 12) * (np.abs(apart[:, 2:]) < reach_m)
    result[rows] = _tilted(result[rows], pitch=turn[:, 1], sway=turn[:, 0])
    return result


def _tilted(angles: Array, *, pitch: Array, sway: Array) -> Array:
    """The body turned as a whole, except the feet: they stay as they are."""
    result = angles.copy()
    result[:, INDEX["root.pitch"]] += pitch
    result[:, INDEX["root.sway"]] += sway
    for side, sign in (("left", 1), ("right", -1)):
        result[:, INDEX[f"{side}_ankle.point"]] -= pitch
        result[:, INDEX[f"{side}_ankle.tilt"]] -= sign * sway
    return within_limits(result)


def _balance(angles: Array, placement: Placement) -> Array:
    """Tilt the whole body about its support until the centre of mass is above it. Headings are 0: x left, -y front."""
    names = probe().body.joint_names
    mass = np.array([_MASSES.get(name.removeprefix("left_").removeprefix("right_"), 0.006) for name in names])
    centre = np.einsum("j,njc->nc", mass / mass.sum(), placement.joints_m)
    carrying = probe().part("left_foot", "right_foot", "left_knee", "right_knee")
    points = placement.points_m[:, carrying]
    low = points[:, :, 2] < placement.floor_m[:, None] + 0.05
    target = _nearest_in_hull(points[:, :, :2], low, centre[:, :2])
    lever = np.maximum(centre[:, 2] - placement.floor_m, 0.3)
    tilt = np.degrees(np.arctan2(target - centre[:, :2], lever[:, None]))
    tilt = np.clip(tilt, -12, 12) * np.any(low, axis=1)[:, None]
    return _tilted(angles, pitch=-tilt[:, 1], sway=-tilt[:, 0])  # forward is -y, the body's left +x


def _nearest_in_hull(points: Array, valid: NDArray[np.bool_], centre: Array) -> Array:
    """(N, 2): the point of the convex hull of the valid points (N, P, 2) that is nearest to each centre."""
    rows = np.arange(len(points))
    # The hull's corners to 30 degrees are enough: the farthest valid point in each of twelve directions.
    angle = np.radians(30) * np.arange(12)
    reach = points @ np.stack([np.cos(angle), np.sin(angle)])  # (N, P, 12)
    points = points[rows[:, None], np.where(valid[:, :, None], reach, -np.inf).argmax(1)]
    # Coordinates apart: numpy is slow where the last axis has two entries.
    x, y, cx, cy = points[..., 0], points[..., 1], centre[:, :1], centre[:, 1:]
    ax, ay = x[:, _FIRST], y[:, _FIRST]
    edge_x, edge_y = x[:, _SECOND] - ax, y[:, _SECOND] - ay
    along = ((cx - ax) * edge_x + (cy - ay) * edge_y) / np.maximum(edge_x * edge_x + edge_y * edge_y, 1e-12)
    along = np.clip(along, 0, 1)
    on_x, on_y = ax + along * edge_x, ay + along * edge_y
    off_x, off_y = on_x - cx, on_y - cy
    best = np.sqrt(off_x * off_x + off_y * off_y).argmin(1)
    nearest = np.stack([on_x[rows, best], on_y[rows, best]], axis=1)
    # The centre is inside iff the widest gap between the directions to the points is less than 180 degrees.
    direction = np.sort(np.arctan2(y - cy, x - cx), axis=1)
    gap = np.diff(np.concatenate([direction, direction[:, :1] + 2 * np.pi], 1), axis=1).max(1)
    return np.where((gap < np.pi)[:, None], centre, nearest)


_FIRST, _SECOND = np.triu_indices(12, 1)
"""Both ends of every line between two of twelve points."""
