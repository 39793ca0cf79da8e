"""A dressed person as pieces to paint: the posed body, a skirt, long hair, a bun, the brim of a cap.

The body's own mesh carries most clothes as colours and a few millimetres of thickness. What stands off it is a small
mesh of its own, laid out around the body at rest and moved by the same joints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from data.synth import shading
from data.synth.clothes import Outfit
from data.synth.picture import Piece
from llmpose.body.landmarks import LANDMARK_VERTICES
from llmpose.body.model import BodyModel, load_body_model
from llmpose.body.raster import Engine, choose_engine, vertex_normals

if TYPE_CHECKING:
    from data.synth.primitives import Support

Array = NDArray[np.float64]
Faces = NDArray[np.int32]

LANDMARKS: tuple[str, ...] = (*LANDMARK_VERTICES, "head_top")

_PELVIS, _LEFT_HIP, _RIGHT_HIP, _LEFT_KNEE, _RIGHT_KNEE, _CHEST, _NECK, _HEAD = 0, 1, 2, 4, 5, 9, 12, 15


@dataclass(frozen=True, eq=False)
class Person:
    """Somebody in the world, posed and dressed."""

    number: int
    pose_name: str
    support: "Support"
    rotmat: NDArray[np.float32]
    """(22, 3, 3) in the world frame."""
    betas: NDArray[np.float32]
    """(10,)."""
    trans_m: Array
    """(3,) SMPL's translation: added after the root has turned the body about its pelvis."""
    pelvis_rest_m: Array
    """(3,) where this body has its pelvis at rest."""
    outfit: Outfit
    joints_m: Array
    """(24, 3) in the world."""
    landmarks_m: Array
    """(len(LANDMARKS), 3) points of the skin: nose, eyes, ears, toes, heels, finger tips, the top of the head."""
    pieces: tuple[Piece, ...]
    """The body first."""

    def moved(self, offset_m: Sequence[float] | Array) -> "Person":
        offset = np.asarray(offset_m, np.float64)
        return replace(
            self,
            trans_m=self.trans_m + offset,
            joints_m=self.joints_m + offset,
            landmarks_m=self.landmarks_m + offset,
            pieces=tuple(replace(piece, vertices_m=piece.vertices_m + offset) for piece in self.pieces),
        )

    def numbered(self, number: int) -> "Person":
        return replace(self, number=number, pieces=tuple(replace(piece, owner=number) for piece in self.pieces))

    @property
    def vertices_m(self) -> Array:
        """(V, 3) of the dressed body, without skirt and hair."""
        return self.pieces[0].vertices_m


@dataclass(frozen=True)
class _Figure:
    """A body model with what dressing needs, at hand once."""

    body: BodyModel
    faces: Faces
    rest: Array
    """(V, 3) vertices at rest, as the stand-in has them: another body's are moved with their joints."""
    joints: Array
    """(24, 3) of the stand-in at rest."""


@cache
def figure() -> _Figure:
    body = load_body_model("stand-in")
    rest = body.vertices_rest.double().numpy()
    faces = np.ascontiguousarray(body.faces.numpy(), np.int32)
    return _Figure(body, faces, rest, body.joints_rest.double().numpy())


def make_people(
    rotmats: NDArray[np.float32],
    betas: NDArray[np.float32],
    outfits: Sequence[Outfit],
    names: Sequence[str],
    supports: Sequence["Support"],
    *,
    engine: Engine | None = None,
) -> list[Person]:
    """Pose and dress people (N). Each stands on z = 0 with the pelvis above the origin."""
    engine = choose_engine(engine)
    shape = figure()
    with torch.no_grad():
        pose, beta = torch.from_numpy(np.ascontiguousarray(rotmats)), torch.from_numpy(np.ascontiguousarray(betas))
        output = shape.body(pose, beta)
        rest_joints = shape.body.rest_joints(beta)
        hands = torch.eye(3).expand(len(pose), 2, 3, 3)
        turns, _ = shape.body.chain(torch.cat([pose, hands], 1), rest_joints)
    vertices, joints = output.vertices_m.double().contiguous().numpy(), output.joints_m.double().numpy()
    landmarks = vertices[:, [*LANDMARK_VERTICES.values(), int(shape.rest[:, 1].argmax())]]
    rests, turns_m = rest_joints.double().numpy(), turns.double().numpy()
    people = []
    for n, outfit in enumerate(outfits):
        normals = vertex_normals(vertices[n], shape.faces, engine)
        thick = vertices[n] + normals * outfit.thickness_m(shape.rest)[:, None]
        pieces = [Piece(thick, shape.faces, outfit.material, shape.rest, owner=0, is_skin=True, normals=normals)]
        for extra in _extras(outfit):
            moved = _skinned(extra, rests[n], turns_m[n], joints[n])
            pieces.append(Piece(moved, extra.faces, extra.material, extra.rest, owner=0))
        person = Person(
            number=0,
            pose_name=names[n],
            support=supports[n],
            rotmat=rotmats[n],
            betas=betas[n],
            trans_m=np.zeros(3),
            pelvis_rest_m=rests[n, 0],
            outfit=outfit,
            joints_m=joints[n],
            landmarks_m=landmarks[n],
            pieces=tuple(pieces),
        )
        people.append(person.moved([-joints[n, 0, 0], -joints[n, 0, 1], -thick[:, 2].min()]))
    return people


# ---- what stands off the body --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Extra:
    """A mesh at rest around the stand-in, and which joints move it."""

    rest: Array
    faces: Faces
    weights: Array
    """(V, 24)."""
    material: Array


def _skinned(extra: _Extra, rest_joints: Array, turns: Array, joints: Array) -> Array:
    """Moved with the joints: each pulls along what lies around it at rest, also where a body's joints differ."""
    here = extra.rest + extra.weights @ (rest_joints - figure().joints)
    used = np.flatnonzero(extra.weights.any(0))
    total = np.zeros_like(here)
    for joint in used:
        moved = (here - rest_joints[joint]) @ turns[joint].T + joints[joint]
        total += extra.weights[:, joint, None] * moved
    return total


def _extras(outfit: Outfit) -> list[_Extra]:
    found = []
    hair = _plain(outfit.color(shading.HAIR))
    if outfit.skirt_hem is not None:
        found.append(_skirt(outfit, outfit.skirt_hem))
    if outfit.hair_style == "long":
        found.append(_long_hair(hair))
    elif outfit.hair_style == "bun":
        found.append(_ball((0.0, 0.505, -0.105), (0.046, 0.046, 0.040), hair))
    elif outfit.hair_style == "ponytail":
        found.append(_ponytail(hair))
    if outfit.hat is not None:
        found.append(_brim(_plain(outfit.color(shading.HAT))))
    return found


def _plain(color: tuple[float, float, float]) -> Array:
    material = np.zeros(shading.MATERIAL_SIZE)
    material[shading.KIND] = shading.PLAIN
    material[shading.SKIN : shading.SKIN + 3] = color
    return material


def _skirt(outfit: Outfit, hem: float) -> _Extra:
    """Rings around hips and legs, wider towards the hem. Left and right hang on their own thigh."""
    m = outfit.material
    material = np.zeros(shading.MATERIAL_SIZE)
    material[shading.KIND] = shading.CLOTH
    is_dress = outfit.bottom is None
    place = shading.TOP if is_dress else shading.BOTTOM
    material[shading.SKIN : shading.SKIN + 3] = m[place : place + 3]
    if is_dress:
        for part in (shading.TOP_ACCENT, shading.TOP_ACCENT + 1, shading.TOP_ACCENT + 2):
            material[part] = m[part]
        material[shading.PATTERN], material[shading.PATTERN_SIZE] = m[shading.PATTERN], m[shading.PATTERN_SIZE]
    start = max(m[shading.WAIST], -0.24) + 0.01
    rest = figure().rest
    rows, columns = 12, 40
    angle = np.arange(columns) * 2 * np.pi / columns
    rings = []
    width, front, back = 0.0, 0.0, 0.0
    for row in range(rows):
        t = row / (rows - 1)
        y = start + (hem - start) * t
        level = rest[(np.abs(rest[:, 1] - y) < 0.02) & (np.abs(rest[:, 0]) < 0.32)]
        width = max(width, np.abs(level[:, 0]).max())  # never narrower than above: cloth hangs from the hips
        front, back = max(front, level[:, 2].max()), max(back, -level[:, 2].min())
        margin = 0.012 + 0.055 * t
        depth = np.where(np.cos(angle) > 0, front + margin, back + margin)
        rings.append(np.stack([np.sin(angle) * (width + margin), np.full(columns, y), np.cos(angle) * depth], 1))
    vertices = np.concatenate(rings)
    below = np.clip((-0.24 - vertices[:, 1]) / 0.16, 0, 1)
    left = np.clip(vertices[:, 0] / 0.14 + 0.5, 0, 1)
    left = left * left * (3 - 2 * left)
    knee = 0.6 * np.clip((-0.66 - vertices[:, 1]) / 0.14, 0, 1)
    weights = np.zeros((len(vertices), 24))
    weights[:, _PELVIS] = 1 - below
    for hip, lower, share in ((_LEFT_HIP, _LEFT_KNEE, left), (_RIGHT_HIP, _RIGHT_KNEE, 1 - left)):
        weights[:, hip] = below * share * (1 - knee)
        weights[:, lower] = below * share * knee
    # Rows run down, columns from the front to the body's left: this order of corners faces outwards.
    return _two_sided(vertices, _grid_faces(rows, columns, closed=True), weights, material)


def _long_hair(material: Array) -> _Extra:
    """A curtain around the back of the head down to the shoulders."""
    rows, columns = 10, 17
    angle = np.radians(np.linspace(-112, 112, columns))
    rings = []
    for row in range(rows):
        t = row / (rows - 1)
        y = 0.515 - 0.315 * t
        wide, deep = 0.080 + 0.026 * min(1.0, 2.2 * t), 0.094 + 0.018 * min(1.0, 2.0 * t)
        rings.append(np.stack([np.sin(angle) * wide, np.full(columns, y), 0.004 - np.cos(angle) * deep], 1))
    vertices = np.concatenate(rings)
    low = np.clip((0.34 - vertices[:, 1]) / 0.16, 0, 1) * 0.7
    weights = np.zeros((len(vertices), 24))
    weights[:, _HEAD], weights[:, _CHEST] = 1 - low, low
    return _two_sided(vertices, _grid_faces(rows, columns, closed=False)[:, ::-1], weights, material)


def _ponytail(material: Array) -> _Extra:
    rows, columns = 9, 10
    angle = np.arange(columns) * 2 * np.pi / columns
    rings = []
    for row in range(rows):
        t = row / (rows - 1)
        middle = np.array([0.0, 0.50 - 0.24 * t * t - 0.04 * t, -0.088 - 0.085 * np.sqrt(t)])
        radius = (0.012 + 0.075 * t) if t < 0.25 else 0.031 * (1.12 - t) / 0.87
        rings.append(middle + radius * np.stack([np.cos(angle), 0.5 * np.sin(angle), np.sin(angle)], 1))
    vertices = np.concatenate(rings)
    weights = np.zeros((len(vertices), 24))
    weights[:, _HEAD] = 1
    return _two_sided(vertices, _grid_faces(rows, columns, closed=True), weights, material)


def _brim(material: Array) -> _Extra:
    rows, columns = 5, 13
    angle = np.radians(np.linspace(-78, 78, columns))
    rings = []
    for row in range(rows):
        t = row / (rows - 1)
        x, z = np.sin(angle) * (0.076 + 0.006 * t), 0.030 + np.cos(angle) * (0.080 + 0.075 * t)
        rings.append(np.stack([x, 0.484 - 0.016 * t - 2.2 * x * x, z], 1))
    vertices = np.concatenate(rings)
    weights = np.zeros((len(vertices), 24))
    weights[:, _HEAD] = 1
    return _two_sided(vertices, _grid_faces(rows, columns, closed=False), weights, material)


def _ball(centre: tuple[float, float, float], radii: tuple[float, float, float], material: Array) -> _Extra:
    rows, columns = 8, 12
    polar = np.linspace(0.02, np.pi - 0.02, rows)
    angle = np.arange(columns) * 2 * np.pi / columns
    unit = np.stack(
        [
            np.outer(np.sin(polar), np.sin(angle)),
            np.outer(np.cos(polar), np.ones(columns)),
            np.outer(np.sin(polar), np.cos(angle)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    weights = np.zeros((len(unit), 24))
    weights[:, _HEAD] = 1
    faces = _grid_faces(rows, columns, closed=True)
    return _Extra(unit * np.array(radii) + np.array(centre), faces, weights, material)


@cache
def _grid_faces(rows: int, columns: int, *, closed: bool) -> Faces:
    """Two triangles per cell of a grid whose rows run down and whose columns run to the right as seen from outside."""
    quads = []
    for row in range(rows - 1):
        for column in range(columns if closed else columns - 1):
            a, b = row * columns + column, row * columns + (column + 1) % columns
            quads += [(a, a + columns, b), (b, a + columns, b + columns)]
    return np.array(quads, np.int32)


def _two_sided(vertices: Array, faces: Faces, weights: Array, material: Array) -> _Extra:
    """A sheet seen from both sides: a second copy with the corners in the other order, so that its normals turn too."""
    both = np.concatenate([faces, faces[:, ::-1] + np.int32(len(vertices))])
    return _Extra(np.tile(vertices, (2, 1)), both, np.tile(weights, (2, 1)), material)
