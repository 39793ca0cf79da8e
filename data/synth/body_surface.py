"""The stand-in body as an implicit surface: about seventy soft blobs around a skeleton at rest.

Frame: SMPL's rest frame. Metres, y up, z the way the person faces, x the person's left; T-pose, palms down. Only the
left half is modelled; the right one is its mirror image. The skeleton's joints are ours: rounded, symmetric numbers at
places like SMPL's.

The first argument of every blob is how far it melts into what came before, in metres (`data.synth.blobs`).
"""

from collections.abc import Sequence

import numpy as np

from data.synth.blobs import Blob, Loft, Vector, capsule, ellipsoid, smooth_max
from llmpose.body.landmarks import FINGERS, joint_names
from llmpose.body.pose import swap_sides

FLOOR_M = -1.165
"""Height of the soles."""

_MIDDLE: dict[str, Vector] = {
    "pelvis": (0.0, -0.22, 0.02),
    "spine1": (0.0, -0.11, 0.005),
    "spine2": (0.0, 0.02, 0.005),
    "spine3": (0.0, 0.08, 0.015),
    "neck": (0.0, 0.29, -0.015),
    "head": (0.0, 0.355, 0.03),
}
_LEFT: dict[str, Vector] = {
    "left_hip": (0.085, -0.31, 0.015),
    "left_knee": (0.10, -0.695, 0.012),
    "left_ankle": (0.095, -1.09, -0.03),
    "left_foot": (0.112, -1.142, 0.09),
    "left_collar": (0.08, 0.195, -0.005),
    "left_shoulder": (0.175, 0.225, -0.018),
    "left_elbow": (0.43, 0.215, -0.04),
    "left_wrist": (0.68, 0.218, -0.045),
    "left_hand": (0.765, 0.214, -0.053),
}
_FINGERS: dict[str, tuple[tuple[Vector, ...], float]] = {
    # three joints and the tip; the radius at the base
    "index": (
        ((0.768, 0.217, -0.018), (0.802, 0.216, -0.012), (0.826, 0.2145, -0.008), (0.848, 0.213, -0.005)),
        0.0090,
    ),
    "middle": (
        ((0.773, 0.218, -0.041), (0.811, 0.217, -0.039), (0.838, 0.2155, -0.038), (0.861, 0.214, -0.037)),
        0.0092,
    ),
    "pinky": (
        ((0.752, 0.213, -0.083), (0.778, 0.2115, -0.089), (0.797, 0.2105, -0.093), (0.815, 0.209, -0.097)),
        0.0076,
    ),
    "ring": (((0.766, 0.216, -0.063), (0.801, 0.215, -0.065), (0.827, 0.2135, -0.067), (0.849, 0.212, -0.068)), 0.0086),
    "thumb": (((0.705, 0.208, -0.018), (0.730, 0.203, 0.012), (0.753, 0.200, 0.032), (0.778, 0.198, 0.047)), 0.0110),
}
_TOES: tuple[tuple[float, float, float, float], ...] = (
    # x, z of the base, radius, length; big toe first
    (0.0835, 0.112, 0.0150, 0.043),
    (0.1050, 0.116, 0.0115, 0.036),
    (0.1220, 0.111, 0.0108, 0.031),
    (0.1375, 0.103, 0.0102, 0.026),
    (0.1510, 0.092, 0.0098, 0.021),
)


def rest_joints(names: Sequence[str] = joint_names("smpl")) -> np.ndarray:
    """(J, 3) joints at rest, by name; also the finger joints of SMPL-H (`left_index1` ...)."""
    known = {**_MIDDLE, **_LEFT}
    known |= {f"left_{finger}{joint + 1}": _FINGERS[finger][0][joint] for finger in FINGERS for joint in range(3)}
    known |= {swap_sides(name): (-x, y, z) for name, (x, y, z) in known.items() if name.startswith("left_")}
    return np.array([known[name] for name in names], float)


def finger_chain(finger: str) -> np.ndarray:
    """(4, 3) the three joints and the tip of a left finger."""
    return np.array(_FINGERS[finger][0], float)


def landmark_points() -> dict[str, np.ndarray]:
    """Where the landmarks of `llmpose.body.landmarks` lie, to be matched with the nearest vertex."""
    points: dict[str, Vector] = {
        "nose": (0.0, 0.408, 0.1365),
        "left_eye": (0.032, 0.437, 0.100),
        "left_ear": (0.088, 0.432, -0.004),
        "left_heel": (0.094, -1.135, -0.11),
        "left_big_toe": (0.0855, -1.15, 0.165),
        "left_small_toe": (0.153, -1.15, 0.118),
        **{f"left_{finger}_tip": _FINGERS[finger][0][3] for finger in FINGERS},
    }
    points |= {swap_sides(name): (-x, y, z) for name, (x, y, z) in points.items() if name.startswith("left_")}
    return {name: np.array(point, float) for name, point in points.items()}


class BodySurface:
    """The whole body's signed distance; mirrored in x."""

    def __init__(self, blobs: Sequence[Blob]) -> None:
        self.blobs = tuple(blobs)

    _FAR_M = 0.1
    _MARGIN_M = 0.03

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (N,) at points (N, 3); positive far outside, at most 0.1."""
        points = np.array(points, float)
        points[:, 0] = np.abs(points[:, 0])
        distance = np.full(len(points), self._FAR_M)
        for blob in self.blobs:
            margin = blob.blend_m + self._MARGIN_M
            near = np.all((points > blob.low - margin) & (points < blob.high + margin), axis=1)
            if near.any():
                distance[near] = blob.join(distance[near], points[near])
        return smooth_max(distance, FLOOR_M - points[:, 1], 0.008)  # feet stand flat

    def gradient(self, points: np.ndarray, step_m: float = 4e-4) -> np.ndarray:
        """(N, 3) central differences."""
        shifts = np.eye(3) * step_m
        return np.stack([(self(points + shift) - self(points - shift)) / (2 * step_m) for shift in shifts], axis=-1)

    def on_grid(self, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Signed distance on the grid of three coordinate axes (x >= 0 only), blob by blob in its own box."""
        distance = np.full([len(axis) for axis in axes], self._FAR_M)
        for blob in self.blobs:
            margin = blob.blend_m + self._MARGIN_M
            box = tuple(
                slice(*np.searchsorted(axis, (low - margin, high + margin)))
                for axis, low, high in zip(axes, blob.low, blob.high, strict=True)
            )
            points = np.stack(
                np.meshgrid(*(axis[part] for axis, part in zip(axes, box, strict=True)), indexing="ij"), -1
            )
            if points.size:
                distance[box] = blob.join(distance[box], points)
        return smooth_max(distance, FLOOR_M - axes[1][None, :, None] + np.zeros_like(distance), 0.008)


def body_surface() -> BodySurface:
    """The left half of the stand-in body, from the trunk outwards."""
    return BodySurface([*_trunk(), *_arm(), *_hand(), *_leg(), *_foot(), *_head()])


def _trunk() -> list[Blob]:
    rows = (
        # height, half-width, half-depth, how far forward
        (-0.36, 0.085, 0.070, 0.008),
        (-0.33, 0.125, 0.092, 0.004),
        (-0.29, 0.152, 0.105, 0.000),
        (-0.23, 0.160, 0.107, 0.004),
        (-0.16, 0.149, 0.099, 0.010),
        (-0.08, 0.135, 0.092, 0.014),
        (0.00, 0.136, 0.094, 0.014),
        (0.07, 0.147, 0.103, 0.012),
        (0.13, 0.156, 0.108, 0.008),
        (0.18, 0.158, 0.102, 0.000),
        (0.215, 0.150, 0.088, -0.008),
        (0.245, 0.115, 0.070, -0.014),
        (0.27, 0.075, 0.058, -0.016),
    )
    low, high = rows[0][0], rows[-1][0]
    table = [((y - low) / (high - low), width, depth, 0.0, -forward) for y, width, depth, forward in rows]
    return [
        Loft((0, low, 0), (0, high, 0), (1, 0, 0), table, caps=(0.6, 0.5), roundness=2.3).blob(0),
        ellipsoid(0.04, (0.070, 0.125, 0.075), (0.070, 0.055, 0.036)),  # chest
        ellipsoid(0.06, (0.078, 0.11, -0.062), (0.066, 0.085, 0.034)),  # shoulder blade
        ellipsoid(0.05, (0.075, -0.300, -0.058), (0.080, 0.085, 0.062)),  # buttock
        capsule(0.03, (0.03, 0.285, -0.035), (0.150, 0.248, -0.028), 0.040, 0.040),  # trapezius
    ]


def _arm() -> list[Blob]:
    upper = (
        (0, 0.060, 0.062, -0.004),
        (0.15, 0.060, 0.062, 0.002),
        (0.3, 0.053, 0.056),
        (0.55, 0.046, 0.049),
        (0.8, 0.041, 0.043),
        (1, 0.038, 0.040),
    )
    lower = (
        (0, 0.039, 0.040),
        (0.12, 0.041, 0.043),
        (0.3, 0.040, 0.044, -0.002),
        (0.55, 0.034, 0.038),
        (0.8, 0.027, 0.032),
        (1, 0.0205, 0.027),
    )
    return [
        Loft((0.135, 0.222, -0.016), (0.43, 0.215, -0.04), (0, 1, 0), upper, caps=(0.9, 0.9)).blob(0.03),
        ellipsoid(0.03, (0.19, 0.228, -0.018), (0.062, 0.052, 0.058)),  # deltoid
        Loft((0.135, 0.165, -0.02), (0.23, 0.205, -0.02), (0, 1, 0), ((0, 0.045, 0.062), (1, 0.030, 0.045))).blob(0.03),
        Loft((0.43, 0.215, -0.04), (0.685, 0.218, -0.045), (0, 1, 0), lower, caps=(0.9, 0.5)).blob(0.02),
        ellipsoid(0.01, (0.425, 0.212, -0.068), (0.020, 0.020, 0.016)),  # point of the elbow
    ]


def _hand() -> list[Blob]:
    palm = ((0, 0.0150, 0.025), (0.3, 0.0175, 0.036), (0.7, 0.0160, 0.041), (1, 0.0130, 0.041))
    blobs = [
        Loft((0.685, 0.217, -0.046), (0.765, 0.214, -0.050), (0, 1, 0), palm, caps=(0.5, 0.6), roundness=2.5).blob(
            0.03
        ),
        ellipsoid(0.012, (0.716, 0.207, -0.018), (0.026, 0.014, 0.018)),  # ball of the thumb
        ellipsoid(0.010, (0.725, 0.206, -0.072), (0.030, 0.011, 0.014)),  # heel of the hand
    ]
    for finger in FINGERS:
        joints, radius = finger_chain(finger), _FINGERS[finger][1]
        last = joints[3] - joints[2]
        joints[3] -= last / np.linalg.norm(last) * radius * 0.6  # the capsule's round end reaches on to the tip
        for bone in range(3):
            thick, thin = radius * (1.08 - 0.1 * bone), radius * (1.0, 0.9, 0.66)[bone]
            blobs.append(capsule(0.006 if bone == 0 else 0.003, joints[bone], joints[bone + 1], thick, thin))
    return blobs


def _leg() -> list[Blob]:
    thigh = (
        (0, 0.064, 0.080, 0.000, -0.002),
        (0.15, 0.077, 0.089, 0.001, 0.002),
        (0.35, 0.077, 0.085, 0.002, 0.006),
        (0.6, 0.066, 0.072, 0.002, 0.006),
        (0.85, 0.053, 0.056, 0, 0.002),
        (1, 0.040, 0.042),
    )
    shin = (
        (0, 0.038, 0.040),
        (0.13, 0.047, 0.050, 0, -0.004),
        (0.3, 0.054, 0.057, 0.002, -0.012),
        (0.45, 0.050, 0.053, 0.002, -0.011),
        (0.7, 0.039, 0.042, 0, -0.004),
        (0.88, 0.0325, 0.037, 0, -0.001),
        (1, 0.033, 0.040),
    )
    return [
        Loft((0.085, -0.315, 0.005), (0.10, -0.695, 0.012), (1, 0, 0), thigh, caps=(1.0, 0.8), roundness=2.15).blob(
            0.075
        ),
        Loft((0.10, -0.695, 0.010), (0.095, -1.09, -0.03), (1, 0, 0), shin, caps=(0.8, 0.6)).blob(0.045),
        ellipsoid(0.025, (0.101, -0.688, 0.047), (0.026, 0.034, 0.018)),  # kneecap
        ellipsoid(0.012, (0.125, -1.088, -0.035), (0.010, 0.014, 0.013)),  # outer ankle bone
        ellipsoid(0.012, (0.066, -1.080, -0.028), (0.010, 0.014, 0.013)),  # inner ankle bone
    ]


def _foot() -> list[Blob]:
    sole = (
        (0, 0.033, 0.042),
        (0.35, 0.034, 0.040, 0.002),
        (0.6, 0.038, 0.033, 0.003),
        (0.85, 0.044, 0.025, 0.003),
        (1, 0.045, 0.021, 0.003),
    )
    blobs = [
        ellipsoid(0.02, (0.094, -1.128, -0.058), (0.032, 0.040, 0.042)),  # heel
        Loft((0.095, -1.118, -0.045), (0.113, -1.142, 0.10), (1, 0, 0), sole, caps=(0.6, 0.5), roundness=2.3).blob(
            0.02
        ),
    ]
    for toe, (x, z, radius, length) in enumerate(_TOES):
        start, end = (x, -1.1475, z - 0.02), (x + 0.002, -1.1500, z + length - radius)
        blobs.append(capsule(0.008 if toe == 0 else 0.005, start, end, radius * 1.05, radius))
    return blobs


def _head() -> list[Blob]:
    neck = ((0, 0.064, 0.060), (0.35, 0.056, 0.055), (1, 0.055, 0.058))
    rows = (
        # height, half-width, half-depth, how far forward: brow, cheek, lips, chin
        (0.480, 0.071, 0.078, 0.028),
        (0.430, 0.0665, 0.071, 0.033),
        (0.400, 0.061, 0.066, 0.036),
        (0.372, 0.053, 0.060, 0.042),
        (0.350, 0.041, 0.046, 0.054),
        (0.338, 0.030, 0.032, 0.064),
    )
    high, low = rows[0][0], rows[-1][0]
    face = [((high - y) / (high - low), width, depth, 0.0, forward) for y, width, depth, forward in rows]
    return [
        Loft((0, 0.245, -0.028), (0, 0.385, 0.010), (1, 0, 0), neck, caps=(0.3, 0.3)).blob(0.025),
        ellipsoid(0.02, (0, 0.463, 0.010), (0.0765, 0.099, 0.098)),  # skull
        Loft((0, high, 0), (0, low, 0), (1, 0, 0), face, caps=(0.5, 0.4), roundness=2.2).blob(0.025),
        ellipsoid(0.015, (0, 0.345, 0.087), (0.021, 0.014, 0.015)),  # chin
        ellipsoid(0.014, (0.026, 0.4590, 0.092), (0.027, 0.009, 0.014)),  # brow
        ellipsoid(0.018, (0.046, 0.414, 0.073), (0.021, 0.014, 0.019)),  # cheekbone
        ellipsoid(0.010, (0.0320, 0.4370, 0.1140), (0.0195, 0.0135, 0.0225), carve=True),  # eye socket
        ellipsoid(0.003, (0.0320, 0.4375, 0.0875), (0.0130, 0.0105, 0.0125)),  # eyeball
        ellipsoid(0.005, (0.0325, 0.4480, 0.0900), (0.0160, 0.0045, 0.0105)),  # upper eyelid
        capsule(0.010, (0, 0.450, 0.100), (0, 0.4095, 0.1250), 0.0055, 0.0105),  # nose
        ellipsoid(0.008, (0.0105, 0.4065, 0.1120), (0.0070, 0.0075, 0.0105)),  # wing of the nose
        ellipsoid(0.006, (0, 0.3780, 0.0985), (0.0230, 0.0055, 0.0095)),  # upper lip
        ellipsoid(0.003, (0, 0.3680, 0.0980), (0.0205, 0.0060, 0.0095)),  # lower lip
        ellipsoid(0.010, (0.0790, 0.4320, -0.004), (0.0095, 0.0290, 0.0180)),  # ear
        ellipsoid(0.004, (0.0895, 0.4350, 0.0010), (0.0060, 0.0150, 0.0095), carve=True),  # hollow of the ear
    ]
