"""What turns the stand-in's mesh into a body model: skinning weights, joint regressors, the order of its vertices.

Weights are products of smooth steps across planes at the joints, smoothed over the mesh, a handful per vertex. A
regressor row is a non-negative combination of nearby vertices that meets its joint exactly, at rest and, as far as it
can, under every shape direction.
"""

from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from scipy.optimize import nnls

from data.synth.body_mesh import Mesh, neighbours
from data.synth.body_surface import finger_chain, landmark_points, rest_joints
from llmpose.body.landmarks import FINGERS, LANDMARK_VERTICES, joint_names
from llmpose.body.pose import swap_sides

SMPL_NAMES = joint_names("smpl")
SMPLH_NAMES = joint_names("smplh")
_CHAINS: tuple[tuple[str, ...], ...] = (
    ("pelvis", "spine1", "spine2", "spine3", "neck", "head"),
    ("pelvis", "_hip", "_knee", "_ankle", "_foot"),
    ("spine3", "_collar", "_shoulder", "_elbow", "_wrist", "_hand"),
    *(("_wrist", *(f"_{finger}{joint}" for joint in (1, 2, 3))) for finger in FINGERS),
)
"""Parent to child along each row; a name that starts with _ stands for its left and its right."""


def parents(names: tuple[str, ...]) -> tuple[int, ...]:
    """Index of each joint's parent, -1 for the pelvis."""
    above: dict[str, str] = {}
    for side in ("left", "right"):
        for chain in _CHAINS:
            sided = [side + name if name.startswith("_") else name for name in chain]
            above |= {child: parent for parent, child in pairwise(sided)}
    return tuple(names.index(above[name]) if name in above else -1 for name in names)


def step(value: np.ndarray, width: float) -> np.ndarray:
    """0 well below zero, 1 well above, smooth over `width` around zero."""
    t = np.clip(value / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


Vector: TypeAlias = tuple[float, float, float] | np.ndarray


def beyond(points: np.ndarray, through: Vector, normal: Vector, width: float) -> np.ndarray:
    """1 on the far side of a plane, 0 on the near one, smooth over `width`."""
    direction = np.array(normal, float)
    return step((points - np.array(through)) @ (direction / np.linalg.norm(direction)), width)


# ---- skinning weights -----------------------------------------------------------------------------------------------


def smpl_weights(mesh: Mesh, *, smoothing_rounds: int = 6) -> np.ndarray:
    """(V, 24) rows sum to 1, mirror-symmetric."""
    vertices = mesh.vertices_m
    weights = _raw_weights(vertices)
    average = neighbours(mesh.faces, len(vertices))
    for _ in range(smoothing_rounds):
        weights = 0.5 * weights + 0.5 * (average @ weights)
    return _tidy(weights, mesh, SMPL_NAMES, most=4)


def _raw_weights(vertices: np.ndarray) -> np.ndarray:
    """From the limbs inwards: each part takes its share of what is left."""
    joints = dict(zip(SMPL_NAMES, rest_joints(), strict=True))
    x, y, _ = vertices.T
    side = np.abs(vertices) * [1, 0, 0] + vertices * [0, 1, 1]  # every vertex seen as a left one
    out = side[:, 0]
    weights = np.zeros((len(vertices), len(SMPL_NAMES)))

    def give(name: str, share: np.ndarray) -> None:
        if name in SMPL_NAMES:
            weights[:, SMPL_NAMES.index(name)] += share
            return
        for sign, whose in ((1, "left"), (-1, "right")):  # the two half-steps sum to 1: nothing is lost at x = 0
            weights[:, SMPL_NAMES.index(f"{whose}_{name}")] += share * step(sign * x, 0.05)

    def chain(names: tuple[str, ...], share: np.ndarray, *past: np.ndarray) -> None:
        """A limb: past[i] says how far a vertex lies beyond the joint that starts names[i + 1]."""
        for name, next_one in zip(names, (*past, None), strict=True):
            give(name, share if next_one is None else share * (1 - next_one))
            share = share if next_one is None else share * next_one

    beside_head = step(out - 0.10, 0.06)  # keeps ears and jaw out of the arms' reach
    arm = beyond(side, (0.168, 0.20, -0.018), (1, 0.22, 0), 0.10) * step(y - 0.06, 0.12)
    arm *= 1 - step(y - 0.31, 0.07) * (1 - beside_head)
    not_thumb = 1 - beyond(side, (0.76, 0.2, 0.008), (-0.2, 0, 1), 0.02)
    chain(
        ("shoulder", "elbow", "wrist", "hand"),
        arm,
        beyond(side, joints["left_elbow"], (1, 0, 0), 0.075),
        beyond(side, joints["left_wrist"], (1, 0, 0), 0.05),
        beyond(side, joints["left_hand"], (1, 0, 0), 0.03) * not_thumb,
    )
    rest = 1 - arm
    leg = beyond(side, (0.085, -0.315, 0.0), (0.60, -0.80, 0.05), 0.115)
    chain(
        ("hip", "knee", "ankle", "foot"),
        rest * leg,
        beyond(side, joints["left_knee"], (0, -1, 0), 0.10),
        beyond(side, (0.095, -1.085, -0.03), (0, -0.95, 0.3), 0.055),
        beyond(side, joints["left_foot"], (0, -0.1, 1), 0.045),
    )
    rest = rest * (1 - leg)
    skull = beyond(vertices, (0, 0.345, 0.02), (0, 0.92, 0.39), 0.05)
    neck = np.maximum(
        beyond(vertices, (0, 0.268, -0.015), (0, 0.95, 0.25), 0.075) * (1 - step(out - 0.095, 0.06)), skull
    )
    chain(("neck", "head"), rest * neck, skull)
    rest = rest * (1 - neck)
    collar = beyond(side, (0.085, 0.19, 0), (0.75, 0.65, 0), 0.15) * step(y - 0.10, 0.14)
    collar *= 1 - step(y - 0.33, 0.08) * (1 - beside_head)
    give("collar", rest * collar)
    spine = [step(y - joints[name][1], width) for name, width in (("spine1", 0.11), ("spine2", 0.09), ("spine3", 0.09))]
    chain(("pelvis", "spine1", "spine2", "spine3"), rest * (1 - collar), *spine)
    return weights


def smplh_weights(mesh: Mesh, weights: np.ndarray) -> np.ndarray:
    """(V, 52) the same body, each hand's share divided among palm and fifteen finger joints."""
    spread = np.zeros((len(weights), len(SMPLH_NAMES)))
    for index, name in enumerate(SMPL_NAMES):
        if not name.endswith(("wrist", "hand")):
            spread[:, SMPLH_NAMES.index(name)] = weights[:, index]
    for sign, side in ((1, "left"), (-1, "right")):
        hand = weights[:, SMPL_NAMES.index(f"{side}_wrist")] + weights[:, SMPL_NAMES.index(f"{side}_hand")]
        for name, share in _finger_shares(mesh.vertices_m * [sign, 1, 1]).items():
            spread[:, SMPLH_NAMES.index(f"{side}_{name}")] = hand * share
    return _tidy(spread, mesh, SMPLH_NAMES, most=5)


def _finger_shares(points: np.ndarray) -> dict[str, np.ndarray]:
    """Shares of a left hand's vertices: the wrist carries the palm; every vertex belongs to the nearest finger."""
    distance = np.full((len(FINGERS), len(points)), np.inf)
    for finger, name in enumerate(FINGERS):
        joints = finger_chain(name)
        for start, end in pairwise(joints):
            bone = end - start
            along = np.clip((points - start) @ bone / (bone @ bone), 0, 1)
            distance[finger] = np.minimum(
                distance[finger], np.linalg.norm(points - start - along[:, None] * bone, axis=1)
            )
    nearest = distance.argmin(axis=0)
    shares = {"wrist": np.ones(len(points))}
    for finger, name in enumerate(FINGERS):
        joints = finger_chain(name)
        mine = (nearest == finger).astype(float)
        for joint in range(3):
            mine = mine * beyond(points, joints[joint], joints[joint + 1] - joints[joint], 0.010 if joint else 0.016)
            before = f"{name}{joint}" if joint else "wrist"
            shares[before] = shares[before] - mine
            shares[f"{name}{joint + 1}"] = mine
    return shares


def _tidy(weights: np.ndarray, mesh: Mesh, names: tuple[str, ...], *, most: int) -> np.ndarray:
    """Drop crumbs, keep the `most` largest per vertex, make both sides exact mirror images, normalise."""
    weights = np.where(weights < 0.01, 0.0, weights)
    small = np.argsort(-weights, axis=1, kind="stable")[:, most:]
    np.put_along_axis(weights, small, 0.0, axis=1)
    weights = weights / weights.sum(axis=1, keepdims=True)
    swapped = weights[mesh.mirror][:, [names.index(swap_sides(name)) for name in names]]
    on_right, on_midline = mesh.vertices_m[:, 0] < -1e-9, mesh.mirror == np.arange(len(weights))
    weights = np.where(on_right[:, None], swapped, weights)
    return np.where(on_midline[:, None], (weights + swapped) / 2, weights)


# ---- joint regressors -----------------------------------------------------------------------------------------------


def joint_regressor(mesh: Mesh, shapes: np.ndarray, joint_shapes: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """(J, V) with R @ vertices = joints exactly and R @ shapes ~ joint_shapes; symmetric."""
    joints = rest_joints(names)
    regressor = np.zeros((len(names), len(mesh.vertices_m)))
    for index, joint in enumerate(joints):
        distance = np.linalg.norm(mesh.vertices_m - joint, axis=1)
        order = np.argsort(distance, kind="stable")
        for count in (160, 320, 640):  # widen until the joint lies inside the hull of its vertices
            near = order[:count]
            row, exact = _regressor_row(
                mesh.vertices_m[near] - joint, shapes[near] - joint_shapes[index], distance[near]
            )
            if exact:
                regressor[index, near] = row
                break
        else:
            raise AssertionError(f"{names[index]} lies outside the mesh around it")
    swap = [names.index(swap_sides(name)) for name in names]
    return (regressor + regressor[:, mesh.mirror][swap]) / 2


def _regressor_row(offsets: np.ndarray, shape_offsets: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, bool]:
    """Weights >= 0 with sum 1 and no offset left (heavily), no shape offset left (softly), near a Gaussian (softly)."""
    count = len(offsets)
    scale = max(float(np.median(distance)), 0.01)
    must = np.concatenate([np.ones((1, count)), (offsets / scale).T])
    goal = np.array([1.0, 0, 0, 0])
    wish = shape_offsets.reshape(count, -1).T / 0.02 * 0.5
    prior = np.exp(-((distance / scale) ** 2))
    prior /= prior.sum()
    row, _ = nnls(
        np.concatenate([300 * must, wish, 0.5 * np.eye(count)]),
        np.concatenate([300 * goal, np.zeros(len(wish)), 0.5 * prior]),
        maxiter=60 * count,
    )
    for _ in range(20):  # the last digits, without leaving w >= 0
        used = row > 1e-9
        row = np.where(used, row, 0.0)
        root = np.sqrt(row[used])
        row[used] += np.linalg.lstsq(must[:, used] * root, goal - must @ row, rcond=None)[0] * root
        if row.min() >= 0:
            break
        row = np.maximum(row, 0.0)
    return row, bool(np.abs(must @ row - goal).max() < 1e-10)


# ---- vertex order ---------------------------------------------------------------------------------------------------


def order_vertices(mesh: Mesh) -> Mesh:
    """Number the vertices so that the landmarks get SMPL's vertex numbers; the others run from the feet up."""
    points = landmark_points()
    chosen: dict[str, int] = {}
    for name in LANDMARK_VERTICES:
        twin = swap_sides(name)
        if twin != name and twin in chosen:
            chosen[name] = int(mesh.mirror[chosen[twin]])
            continue
        distance = np.linalg.norm(mesh.vertices_m - points[name], axis=1)
        distance[list(chosen.values())] = np.inf
        if twin == name:
            distance[mesh.mirror != np.arange(len(distance))] = np.inf  # on the midline
        chosen[name] = int(distance.argmin())
    count = len(mesh.vertices_m)
    old = np.full(count, -1)
    old[list(LANDMARK_VERTICES.values())] = [chosen[name] for name in LANDMARK_VERTICES]
    others = np.setdiff1d(np.arange(count), list(chosen.values()))
    height, depth = np.round(mesh.vertices_m[others, 1], 2), mesh.vertices_m[others, 2]
    old[old < 0] = others[np.lexsort((depth, height))]
    new = np.empty(count, np.int64)
    new[old] = np.arange(count)
    return replace(mesh, vertices_m=mesh.vertices_m[old], faces=new[mesh.faces], mirror=new[mesh.mirror[old]])
