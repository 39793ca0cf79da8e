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


def to_rotmat(angles: Array, yaw_deg: Array | float = 0.0) -> NDArray[np.float32]:
    """(N, NUM_ANGLES) and headings (N,) -> (N, 22, 3, 3), world frame. Heading 0 faces the viewer, + turns left."""
    radians = np.radians(angles)
    result = np.tile(np.eye(3), (len(angles), NUM_JOINTS, 1, 1))

    def of(key: str) -> Array:
        return radians[:, INDEX[key]]

    def put(joint: str, *factors: Array) -> None:
        product = factors[0]
        for factor in factors[1:]:
            product = product @ factor
        result[:, JOINT_NAMES.index(joint)] = product

    # The body is written y-up as SMPL's rest pose is; Rz(yaw) Rx(90) = Rx(90) Ry(yaw) stands it up in the world.
    yaw = np.radians(np.broadcast_to(np.asarray(yaw_deg, np.float64), (len(angles),)))
    up = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    put("pelvis", _rz(yaw), up, _rz(of("root.sway")), _rx(of("root.pitch")), _rz(of("root.roll")))
    for joint in ("spine1", "spine2", "spine3", "neck", "head"):
        put(joint, _ry(of(f"{joint}.twist")), _rz(of(f"{joint}.lean")), _rx(of(f"{joint}.flex")))
    for side, s in (("left", 1.0), ("right", -1.0)):
        a = {key: of(f"{side}_{key}") for key in _SIDED}
        put(f"{side}_hip", _rx(-a["hip.flex"]), _rz(s * a["hip.abd"]), _ry(s * a["hip.turn"]))
        put(f"{side}_knee", _rx(a["knee.flex"]))
        put(f"{side}_ankle", _rx(a["ankle.point"]), _rz(s * a["ankle.tilt"]))
        put(f"{side}_foot", _rx(a["toes.down"]))
        put(f"{side}_collar", _ry(-s * a["collar.reach"]), _rz(s * a["collar.raise"]))
        put(
            f"{side}_shoulder",
            _rx(-a["arm.swing"]),
            _ry(-s * a["arm.front"]),
            _rz(s * a["arm.raise"]),
            _rx(a["arm.twist"]),
        )
        put(f"{side}_elbow", _ry(-s * a["elbow.bend"]), _rx(a["elbow.turn"]))
        put(f"{side}_wrist", _rz(-s * a["wrist.bend"]), _ry(-s * a["wrist.tilt"]), _rx(0.7 * a["elbow.turn"]))
    return result.astype(np.float32)


def _rx(angle: Array) -> Array:
    return _turn(angle, 1, 2)


def _ry(angle: Array) -> Array:
    return _turn(angle, 2, 0)


def _rz(angle: Array) -> Array:
    return _turn(angle, 0, 1)


def _turn(angle: Array, i: int, j: int) -> Array:
    """(N, 3, 3) rotations that take axis i towards axis j."""
    result = np.zeros((len(angle), 3, 3))
    c, s = np.cos(angle), np.sin(angle)
    result[:, i, i], result[:, j, j], result[:, 3 - i - j, 3 - i - j] = c, c, 1.0
    result[:, i, j], result[:, j, i] = -s, s
    return result
