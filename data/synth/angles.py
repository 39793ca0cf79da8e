"""A pose as anatomical angles in degrees: what a joint can do, how far, and which rotation that is.

People describe a pose by angles ("the left knee bent by 90 degrees"), and joint limits, mixtures and small variations
are simple in them: the limits are a box, so any blend of two legal poses is legal. `to_rotmat` turns rows of angles
into the 22 rotations of a `Pose`, in the world frame.

A key is "part.motion" for the spine, neck, head and root ("spine1.flex"), "left_part.motion" or "right_part.motion" for
limbs ("left_knee.flex"). Signs are anatomical, the same on both sides:

    hip.flex     thigh forward          hip.abd      thigh out                hip.turn     toes out
    knee.flex    heel to the seat       ankle.point  toes down                ankle.tilt   sole inwards
    toes.down    toes curled down       collar.raise shoulder up              collar.reach shoulder forward
    arm.raise    0 = T-pose, -75 hangs  arm.front    a raised arm forward     arm.swing    a hanging arm forward
    arm.twist    elbow crease down      elbow.bend   forearm to upper arm     elbow.turn   palm turned down
    wrist.bend   palm to the forearm    wrist.tilt   towards the thumb
    *.flex       bend forward           *.lean       to the body's right      *.twist      turn to the left
    root.pitch   whole body forward     root.roll    about its front axis     root.sway    about the room's front axis
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llmpose.body.pose import JOINT_NAMES, NUM_JOINTS, swap_sides

Array = NDArray[np.float64]

_SIDED: dict[str, tuple[float, float, float]] = {
    # motion: smallest, largest, spread of small variations
    "hip.flex": (-25, 125, 7),
    "hip.abd": (-20, 50, 5),
    "hip.turn": (-35, 78, 7),
    "knee.flex": (0, 150, 7),
    "ankle.point": (-28, 52, 6),
    "ankle.tilt": (-18, 18, 4),
    "toes.down": (-50, 20, 3),
    "collar.raise": (-8, 28, 3),
    "collar.reach": (-12, 18, 3),
    "arm.raise": (-88, 75, 7),
    "arm.front": (-35, 120, 8),
    "arm.swing": (-55, 185, 9),
    "arm.twist": (-95, 85, 10),
    "elbow.bend": (0, 148, 10),
    "elbow.turn": (-55, 55, 10),
    "wrist.bend": (-65, 60, 9),
    "wrist.tilt": (-20, 25, 6),
}
_MIDDLE: dict[str, tuple[float, float, float]] = {
    "spine1.flex": (-12, 28, 3),
    "spine1.lean": (-10, 10, 3),
    "spine1.twist": (-12, 12, 3),
    "spine2.flex": (-12, 28, 3),
    "spine2.lean": (-10, 10, 3),
    "spine2.twist": (-12, 12, 3),
    "spine3.flex": (-10, 22, 2),
    "spine3.lean": (-8, 8, 2),
    "spine3.twist": (-12, 12, 3),
    "neck.flex": (-25, 30, 5),
    "neck.lean": (-18, 18, 4),
    "neck.twist": (-35, 35, 8),
    "head.flex": (-25, 25, 5),
    "head.lean": (-15, 15, 4),
    "head.twist": (-30, 30, 8),
    "root.pitch": (-180, 180, 4),
    "root.roll": (-180, 180, 3),
    "root.sway": (-60, 60, 0),
}
_LIMITS: dict[str, tuple[float, float, float]] = {
    **{f"left_{key}": limit for key, limit in _SIDED.items()},
    **{f"right_{key}": limit for key, limit in _SIDED.items()},
    **_MIDDLE,
}

KEYS: tuple[str, ...] = tuple(_LIMITS)
INDEX: dict[str, int] = {key: index for index, key in enumerate(KEYS)}
NUM_ANGLES = len(KEYS)

LOWEST_DEG: Array = np.array([limit[0] for limit in _LIMITS.values()], np.float64)
HIGHEST_DEG: Array = np.array([limit[1] for limit in _LIMITS.values()], np.float64)
SPREAD_DEG: Array = np.array([limit[2] for limit in _LIMITS.values()], np.float64)

IS_ROOT: NDArray[np.bool_] = np.array([key.startswith("root.") for key in KEYS])
_LEGS = ("hip", "knee", "ankle", "toes")
IS_UPPER: NDArray[np.bool_] = np.array(
    [not key.startswith("root") and key.split(".")[0].removeprefix("left_").removeprefix("right_") not in _LEGS
     for key in KEYS]
)  # fmt: skip
"""True for arms, spine, neck and head: what a gesture lends to another lower body."""


def keys_for(name: str) -> tuple[str, ...]:
    """The keys a short name stands for: "knee.flex" means both sides, "left_knee.flex" and "neck.flex" themselves."""
    if name in INDEX:
        return (name,)
    if name in _SIDED:
        return (f"left_{name}", f"right_{name}")
    raise KeyError(f"unknown angle {name!r}")


def angles_of(values: Mapping[str, float], base: Array | None = None) -> Array:
    """(NUM_ANGLES,) from named values; what is not named is taken from `base` (default: standing at ease)."""
    return _set(values, STANDING_DEG if base is None else base)


def _set(values: Mapping[str, float], base: Array) -> Array:
    result = base.copy()
    for name in sorted(values, key=INDEX.__contains__):  # both sides first, so that one side can differ from them
        for key in keys_for(name):
            result[INDEX[key]] = values[name]
    return result


_STANDING = {"arm.raise": -74, "elbow.bend": 12, "hip.abd": 3, "hip.turn": 5, "knee.flex": 3}
STANDING_DEG = _set(_STANDING, np.zeros(NUM_ANGLES))


def within_limits(angles: Array) -> Array:
    """Each angle moved to the nearest one its joint allows."""
    return np.clip(angles, LOWEST_DEG, HIGHEST_DEG)


_MIRROR_INDEX = np.array([INDEX[swap_sides(key)] for key in KEYS])
_MIRROR_SIGN = np.array(
    [-1.0 if key in _MIDDLE and key.split(".")[1] in ("lean", "twist", "roll", "sway") else 1.0 for key in KEYS]
)


def mirrored(angles: Array) -> Array:
    """(..., NUM_ANGLES) as seen in a mirror: left and right swap, sideways motions of the middle turn round."""
    return angles[..., _MIRROR_INDEX] * _MIRROR_SIGN


_X, _Y, _Z = 0, 1, 2


def _turns() -> dict[str, tuple[tuple[int, str, float], ...]]:
    """Per joint the rotations that make it up, first on the left: about which axis, by which angle times what."""
    turns: dict[str, tuple[tuple[int, str, float], ...]] = {
        "pelvis": ((_Z, "root.sway", 1), (_X, "root.pitch", 1), (_Z, "root.roll", 1))
    }
    for joint in ("spine1", "spine2", "spine3", "neck", "head"):
        turns[joint] = ((_Y, f"{joint}.twist", 1), (_Z, f"{joint}.lean", 1), (_X, f"{joint}.flex", 1))
    for side, s in (("left", 1.0), ("right", -1.0)):
        limbs = {
            "hip": ((_X, "hip.flex", -1), (_Z, "hip.abd", s), (_Y, "hip.turn", s)),
            "knee": ((_X, "knee.flex", 1),),
            "ankle": ((_X, "ankle.point", 1), (_Z, "ankle.tilt", s)),
            "foot": ((_X, "toes.down", 1),),
            "collar": ((_Y, "collar.reach", -s), (_Z, "collar.raise", s)),
            "shoulder": ((_X, "arm.swing", -1), (_Y, "arm.front", -s), (_Z, "arm.raise", s), (_X, "arm.twist", 1)),
            "elbow": ((_Y, "elbow.bend", -s), (_X, "elbow.turn", 1)),
            "wrist": ((_Z, "wrist.bend", -s), (_Y, "wrist.tilt", -s), (_X, "elbow.turn", 0.7)),
        }
        for joint, parts in limbs.items():
            turns[f"{side}_{joint}"] = tuple((axis, f"{side}_{key}", factor) for axis, key, factor in parts)
    return turns


def _rounds() -> tuple[NDArray[np.int64], Array, list[tuple[int, slice, NDArray[np.int64]]]]:
    """All turns in rows, those of the same place and axis together: angle of each row, its factor, and per group the
    axis, its rows and its joints. Some sixty turns of single joints become a dozen of many."""
    keys: list[int] = []
    factors: list[float] = []
    groups: list[tuple[int, slice, NDArray[np.int64]]] = []
    turns = _turns()
    for place in range(max(map(len, turns.values()))):
        for axis in (_X, _Y, _Z):
            chosen = [(joint, t[place]) for joint, t in turns.items() if len(t) > place and t[place][0] == axis]
            rows = slice(len(keys), len(keys) + len(chosen))
            keys += [INDEX[key] for _, (_, key, _) in chosen]
            factors += [factor for _, (_, _, factor) in chosen]
            if chosen:
                groups.append((axis, rows, np.array([JOINT_NAMES.index(joint) for joint, _ in chosen])))
    return np.array(keys), np.array(factors), groups


_ROW_KEYS, _ROW_FACTORS, _GROUPS = _rounds()


def to_rotmat(angles: Array, yaw_deg: Array | float = 0.0) -> NDArray[np.float32]:
    """(N, NUM_ANGLES) and headings (N,) -> (N, 22, 3, 3), world frame. Heading 0 faces the viewer, + turns left."""
    count = len(angles)
    radians = np.radians(angles).T[_ROW_KEYS] * _ROW_FACTORS[:, None]
    cos, sin = np.cos(radians), np.sin(radians)
    columns = np.zeros((3, NUM_JOINTS, 3, count))  # column, joint, row, pose: long axes last
    for axis in range(3):
        columns[axis, :, axis] = 1.0
    # The body is written y-up as SMPL's rest pose is; Rz(yaw) Rx(90) = Rx(90) Ry(yaw) stands it up in the world.
    yaw = np.radians(np.broadcast_to(np.asarray(yaw_deg, np.float64), (count,)))
    c, s = np.cos(yaw), np.sin(yaw)
    pelvis = columns[:, JOINT_NAMES.index("pelvis")]
    pelvis[:] = 0.0
    pelvis[0, 0], pelvis[0, 1], pelvis[1, 2], pelvis[2, 0], pelvis[2, 1] = c, s, 1.0, s, -c
    for axis, rows, joints in _GROUPS:
        # Times a rotation on the right: two columns are mixed, the axis's own stays.
        i, j = (axis + 1) % 3, (axis + 2) % 3
        a, b, c, s = columns[i, joints], columns[j, joints], cos[rows, None], sin[rows, None]
        columns[i, joints] = a * c + b * s
        columns[j, joints] = b * c - a * s
    return np.ascontiguousarray(columns.transpose(3, 1, 2, 0), np.float32)
