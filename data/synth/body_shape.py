"""Ten ways in which the stand-in body differs from person to person.

Each is a smooth displacement field of a rest position, per unit of its coefficient; the same field moves the vertices
and the joints, so a longer leg has its knee lower. Coefficients between -2 and 2 look like people.
"""

import numpy as np

from data.synth.body_rig import SMPL_NAMES, parents, step
from data.synth.body_surface import rest_joints

SHAPE_NAMES: tuple[str, ...] = (
    "stature",
    "girth",
    "leg length",
    "arm length",
    "shoulder width",
    "hip width",
    "belly",
    "chest",
    "head size",
    "limb girth",
)


def shape_directions(points: np.ndarray) -> np.ndarray:
    """(N, 3, 10) displacement in metres per unit, at rest positions (N, 3)."""
    x, y, z = points.T
    out, side = np.abs(x), np.tanh(x / 0.02)
    zero = np.zeros_like(x)
    arm = step(out - 0.17, 0.08) * step(y - 0.05, 0.1)
    leg = step(-y - 0.33, 0.10) * (1 - arm)
    hand, foot = step(out - 0.66, 0.06), step(-y - 1.06, 0.06)
    head = step(y - 0.31, 0.08) * (1 - step(out - 0.09, 0.04))
    outwards = from_bones(points)

    def along(dx: np.ndarray, dy: np.ndarray, dz: np.ndarray) -> np.ndarray:
        return np.stack([dx, dy, dz], axis=1)

    def bump(centre: tuple[float, ...], size: tuple[float, ...]) -> np.ndarray:
        return np.exp(-(((points - np.array(centre)) / np.array(size)) ** 2).sum(axis=1))

    front = step(z - 0.01, 0.05)
    upper, lower = step(y, 0.3) * (1 - head), step(-y - 0.05, 0.2)
    breasts = bump((0.075, 0.12, 0.11), (0.07, 0.06, 0.07)) + bump((-0.075, 0.12, 0.11), (0.07, 0.06, 0.07))
    above_neck = step(y - 0.345, 0.05) * (1 - step(out - 0.1, 0.03))
    fields = (
        points * 0.032,
        outwards * (0.11 * (1 - 0.8 * hand) * (1 - 0.8 * foot) * (1 - 0.75 * head))[:, None],
        along(zero, np.minimum(y + 0.30, 0) * 0.045 * step(-y - 0.28, 0.06), zero),
        along(side * np.maximum(out - 0.17, 0) * 0.05 * step(y - 0.05, 0.1), zero, zero),
        along(side * 0.012 * np.clip(out / 0.175, 0, 1) * upper, zero, zero),
        along(side * 0.008 * np.clip(out / 0.1, 0, 1) * lower * (1 - arm), zero, zero),
        along(zero, zero, 0.022 * bump((0, -0.09, 0.10), (0.13, 0.11, 0.12)) * front),
        along(zero, zero, 0.016 * breasts * front),
        (points - np.array([0, 0.415, 0.03])) * (0.05 * above_neck)[:, None],
        outwards * (0.11 * np.maximum(arm, leg) * (1 - hand) * (1 - foot))[:, None],
    )
    return np.stack(fields, axis=-1)


def from_bones(points: np.ndarray) -> np.ndarray:
    """(N, 3) offset from the nearby bones, averaged with weights that fall with distance: the direction of fatness."""
    joints = rest_joints()
    middle = np.abs(joints[:, 0]) < 1e-9
    joints[middle, 2] = 0.0  # the spine's joints lie near the back; fat grows around the trunk's middle
    total, weight = np.zeros_like(points), np.zeros(len(points))
    for child, parent in enumerate(parents(SMPL_NAMES)):
        name = SMPL_NAMES[child]
        across = parent >= 0 and middle[parent] and not middle[child]  # pelvis to hip, chest to collar
        if parent < 0 or across or name.endswith(("shoulder", "hand")):
            continue
        bone = joints[child] - joints[parent]
        along = np.clip((points - joints[parent]) @ bone / (bone @ bone), 0, 1)
        offset = points - joints[parent] - along[:, None] * bone
        near = np.exp(-((np.linalg.norm(offset, axis=1) / 0.05) ** 2)) + 1e-9
        total += near[:, None] * offset
        weight += near
    return total / weight[:, None]
