"""What is known about each person of a picture: keypoints, seen or hidden, box, mask, words for where and how.

Everything is read from the very z-buffer the picture was painted from, so labels and pixels cannot disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.synth.formats_coco import COCO_NAMES
from data.synth.people import LANDMARKS, Person, figure
from data.synth.picture import Picture, Piece
from data.synth.primitives import BY_NAME, PRIMITIVES
from llmpose.body.camera import Array, Camera
from llmpose.body.render import rasterize
from llmpose.body.rle import encode_rle

_TOLERANCE_M: Mapping[str, tuple[float, float]] = {
    # how far below the surface the point may lie along the line of sight, and from the seen spot on the body at rest
    "pelvis": (0.17, 0.20), "hip": (0.16, 0.18), "spine1": (0.15, 0.19), "spine2": (0.16, 0.19), "spine3": (0.17, 0.19),
    "neck": (0.11, 0.15), "collar": (0.13, 0.15), "head": (0.14, 0.16), "shoulder": (0.12, 0.14), "elbow": (0.09, 0.11),
    "wrist": (0.08, 0.10), "hand": (0.07, 0.12), "knee": (0.10, 0.13), "ankle": (0.09, 0.12), "foot": (0.08, 0.12),
    "nose": (0.03, 0.05), "eye": (0.03, 0.04), "ear": (0.035, 0.05),
}  # fmt: skip

_POSTURES: Mapping[str, str] = {
    "walk": "walking", "run": "running", "march": "marching", "climb": "climbing", "sneak": "sneaking",
    "stand": "standing", "squat": "squatting", "half_squat": "squatting", "sumo_squat": "squatting",
    "crouch": "crouching", "crawl": "crawling", "bear_crawl": "crawling", "lunge": "lunging", "bow": "bending forward",
    "pick_up": "bending forward", "toe_touch": "bending forward",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PersonLabel:
    person: Person
    keypoints: Array
    """(17, 3) COCO: x, y in pixels; 0 outside the picture, 1 hidden, 2 visible."""
    keypoints24: Array
    """(24, 3) the same for SMPL's joints."""
    box_xyxy_px: tuple[float, float, float, float]
    """Tight around the visible pixels."""
    mask_rle: dict[str, Any]
    area_px: int
    visible_share: float
    """Pixels seen of those that would be seen if nothing stood in front."""
    position: list[str]
    """leftmost · second from the right · in the middle · closest to the camera; empty if alone."""
    facing: str
    posture: str


@dataclass(frozen=True, eq=False)
class Sight:
    """What a picture shows of each person."""

    masks: list[NDArray[np.bool_]]
    shares: list[float]
    """Pixels seen of those that would be seen if nothing stood in front."""


def see_people(camera: Camera, picture: Picture, pieces: Sequence[Piece], people: Sequence[Person]) -> Sight:
    masks = person_masks(picture, len(people))
    return Sight(masks, visible_shares(camera, people, pieces, masks))


def label_people(
    camera: Camera, picture: Picture, pieces: Sequence[Piece], people: Sequence[Person], sight: Sight | None = None
) -> list[PersonLabel]:
    """One label per person, in the order given. Who is not seen at all gets an empty mask and an empty box."""
    sight = sight or see_people(camera, picture, pieces, people)
    masks, shares = sight.masks, sight.shares
    boxes = [_box(mask) for mask in masks]
    joint_names = figure().body.joint_names
    names = tuple(dict.fromkeys((*COCO_NAMES, *joint_names)))  # COCO's limbs are SMPL's: look once
    coco, smpl = ([names.index(name) for name in some] for some in (COCO_NAMES, joint_names))
    positions = position_words(boxes, [float(camera.to_camera(person.joints_m[0])[2]) for person in people])
    labels = []
    for person, mask, box, share, position in zip(people, masks, boxes, shares, positions, strict=True):
        points = _keypoints(camera, picture, pieces, person, names)
        labels.append(
            PersonLabel(
                person=person,
                keypoints=points[coco],
                keypoints24=points[smpl],
                box_xyxy_px=box,
                mask_rle=encode_rle(mask),
                area_px=int(mask.sum()),
                visible_share=share,
                position=position,
                facing=facing_words(camera, person),
                posture=posture_word(person),
            )
        )
    return labels


# ---- masks and boxes -----------------------------------------------------------------------------------------------


def person_masks(picture: Picture, count: int) -> list[NDArray[np.bool_]]:
    """(H, W) per person: the pixels of which most samples, and at least half, see that person."""
    if not count:
        return []
    k = picture.samples
    seen = []
    for number in range(count):
        mine = (picture.owner == number).view(np.uint8)
        seen.append(np.add.reduce([mine[i::k, j::k] for i in range(k) for j in range(k)], dtype=np.uint8))
    most = np.argmax(seen, axis=0) if count > 1 else 0
    return [(most == number) & (2 * seen[number] >= k * k) for number in range(count)]


def visible_shares(
    camera: Camera, people: Sequence[Person], pieces: Sequence[Piece], masks: Sequence[NDArray[np.bool_]]
) -> list[float]:
    """Seen pixels over those of the same person alone; 1 for somebody with nothing around."""
    if len(people) == 1 and all(piece.owner >= 0 for piece in pieces):
        return [1.0]
    shares = []
    for person, mask in zip(people, masks, strict=True):
        meshes = [(piece.vertices_m, piece.faces) for piece in person.pieces]
        alone = rasterize(camera, meshes, with_bary=False).hit
        shares.append(min(1.0, float(mask.sum()) / max(int(alone.sum()), 1)))
    return shares


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


# ---- keypoints -----------------------------------------------------------------------------------------------------


def world_points(person: Person, names: tuple[str, ...]) -> Array:
    """(K, 3) world positions of SMPL joints or landmarks of the skin, by name."""
    return np.concatenate([person.joints_m, person.landmarks_m])[_places(names)]


@cache
def _places(names: tuple[str, ...]) -> NDArray[np.int64]:
    """(K,) where named points stand among a person's joints and landmarks."""
    known = (*figure().body.joint_names, *LANDMARKS)
    return np.array([known.index(name) for name in names])


@cache
def _rest_points(names: tuple[str, ...]) -> Array:
    body = figure().body
    marks = body.landmarks(body.vertices_rest)
    rows = [
        figure().joints[body.joint_names.index(n)] if n in body.joint_names else marks[n].double().numpy()
        for n in names
    ]
    return np.stack(rows)


@cache
def _tolerances(names: tuple[str, ...]) -> Array:
    """(2, K) of `_TOLERANCE_M`."""
    return np.array([_TOLERANCE_M[name.removeprefix("left_").removeprefix("right_")] for name in names]).T


def _keypoints(
    camera: Camera, picture: Picture, pieces: Sequence[Piece], person: Person, names: tuple[str, ...]
) -> Array:
    """(K, 3). A point is visible if, right there, the nearest surface is this person's, lies close in front of it, and
    is the part of the body around it: a hip behind the own forearm is hidden."""
    pixels, depth = camera.project(world_points(person, names))
    inside = (pixels >= 0).all(1) & (pixels < (camera.width, camera.height)).all(1) & (depth > 0)
    result = np.concatenate([pixels, inside[:, None].astype(np.float64)], axis=1)
    result[~inside, :2] = 0
    below_m, around_m = _tolerances(names)
    # Nine samples around each point that lies inside.
    height, width = picture.owner.shape
    column, row = np.floor(pixels[inside] * picture.samples).astype(np.int64).T[:, :, None]
    rows, columns = row + np.repeat((-1, 0, 1), 3), column + np.tile((-1, 0, 1), 3)
    real = (rows >= 0) & (columns >= 0) & (rows < height) & (columns < width)
    point = np.broadcast_to(np.flatnonzero(inside)[:, None], real.shape)[real]
    spots = rows[real], columns[real]
    near = depth[point] - picture.buffer.depth_m[spots] < below_m[point]
    shows = near & (picture.owner[spots] == person.number)
    point, spots = point[shows], (spots[0][shows], spots[1][shows])
    # Skirts and hair lie on what they cover: annotators mark a hip under a skirt as visible.
    seen = ~np.array([piece.is_skin for piece in pieces])[picture.piece_id[spots]]
    away = np.linalg.norm(_rest_at(picture, pieces, spots) - _rest_points(names)[point], axis=1)
    result[point[seen | (away < around_m[point])], 2] = 2
    return result


def _rest_at(picture: Picture, pieces: Sequence[Piece], spots: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Array:
    """(N, 3) where on the body at rest the samples' points lie."""
    owner, face = picture.piece_id[spots], picture.buffer.face_id[spots]
    corners = np.empty((len(face), 3, 3))
    for number in np.unique(owner).tolist():
        here = owner == number
        corners[here] = pieces[number].rest[pieces[number].faces[face[here] - picture.buffer.face_start[number]]]
    return (picture.buffer.bary[spots][:, :, None] * corners).sum(1)


# ---- words ---------------------------------------------------------------------------------------------------------

_ORDINALS = ("", "", "second", "third", "fourth", "fifth", "sixth")


def position_words(boxes: Sequence[tuple[float, float, float, float]], depths_m: Sequence[float]) -> list[list[str]]:
    """Per person: place in the row from both sides, the middle, nearest and farthest; nothing for somebody alone."""
    count = len(boxes)
    words: list[list[str]] = [[] for _ in range(count)]
    if count < 2:
        return words
    order = sorted(range(count), key=lambda i: boxes[i][0] + boxes[i][2])
    for place, i in enumerate(order):
        from_left, from_right = place + 1, count - place
        if from_left == 1:
            words[i] += ["leftmost", "on the left"] if count == 2 else ["leftmost"]
        elif from_right == 1:
            words[i] += ["rightmost", "on the right"] if count == 2 else ["rightmost"]
        else:
            words[i] += [f"{_ORDINALS[from_left]} from the left", f"{_ORDINALS[from_right]} from the right"]
            if from_left == from_right:
                words[i].append("in the middle")
    by_depth = sorted(range(count), key=lambda i: depths_m[i])
    # "Closest" is only said where an eye would agree: a tenth of a metre tells nobody apart.
    if depths_m[by_depth[1]] - depths_m[by_depth[0]] > 0.25:
        words[by_depth[0]].append("closest to the camera")
    if depths_m[by_depth[-1]] - depths_m[by_depth[-2]] > 0.25:
        words[by_depth[-1]].append("farthest from the camera")
    return words


def facing_words(camera: Camera, person: Person) -> str:
    """Where the chest points, as the viewer sees it."""
    hips, neck = person.joints_m[[1, 2]], person.joints_m[12]
    left = hips[0] - hips[1]
    up = neck - person.joints_m[0]
    front = camera.R @ np.cross(left, up)  # left x up = front, as x cross y is z on the body at rest
    front /= np.linalg.norm(front) + 1e-9
    if abs(front[1]) > 0.75:
        return "facing down" if front[1] > 0 else "facing up"
    if abs(front[0]) > abs(front[2]):
        return "facing right" if front[0] > 0 else "facing left"
    return "facing away" if front[2] > 0 else "facing the camera"


def posture_word(person: Person) -> str:
    """standing, sitting, kneeling, lying, walking, jumping ... of the primitive that carries the body."""
    base = person.pose_name.split("+")[0].split("~")[0]
    if base in _POSTURES:
        return _POSTURES[base]
    if person.support in ("seat", "ground"):
        return "sitting"
    if person.support in ("knees", "knee"):
        return "kneeling"
    if person.support == "lying":
        return "lying"
    if person.support == "air":
        return "jumping"
    if base in BY_NAME and PRIMITIVES[BY_NAME[base]].category in ("sport", "yoga", "ground"):
        return "exercising"
    return "standing"
