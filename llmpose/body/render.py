"""Pictures of bodies on the CPU: a z-buffer over meshes (`rasterize`) and a clean picture of one pose (`render_pose`).

No GL, no display, no system package. The built-in world's renderer and the drawings of the chat share `rasterize`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from llmpose.body.camera import Array, Camera
from llmpose.body.raster import Engine, Faces, choose_engine, fill_triangles, vertex_normals
from llmpose.errors import UserError

if TYPE_CHECKING:
    from llmpose.body.model import BodyModel
    from llmpose.body.pose import Pose

__all__ = ["Camera", "GBuffer", "mesh_normals", "rasterize", "render_pose"]

View: TypeAlias = Literal["front", "left", "back", "right", "three_quarter"]
Mesh: TypeAlias = tuple[ArrayLike, ArrayLike]
"""Vertices (V, 3) in world metres and faces (F, 3), counter-clockwise seen from outside."""

_VIEW_AZIMUTH_DEG: dict[View, float] = {
    "front": 0.0,
    "left": 90.0,
    "back": 180.0,
    "right": -90.0,
    "three_quarter": 35.0,
}
"""Where the camera stands, turning about the vertical from the viewer's place towards +x, the left hand of a body that
faces the viewer."""


@dataclass(frozen=True, eq=False)
class GBuffer:
    """What each pixel sees. All faces are numbered through: mesh i owns [face_start[i], face_start[i + 1])."""

    face_id: NDArray[np.int32]
    """(H, W), -1 where nothing is."""
    depth_m: Array
    """(H, W), inf where nothing is."""
    bary: Array
    """(H, W, 3) perspective-correct weights of the face's corners; (0, 0, 3) if they were not asked for."""
    face_start: NDArray[np.int64]

    @property
    def hit(self) -> NDArray[np.bool_]:
        return self.face_id >= 0

    @property
    def mesh_id(self) -> NDArray[np.int32]:
        """(H, W) number of the mesh, -1 where nothing is."""
        owner = np.searchsorted(self.face_start, self.face_id, side="right") - 1
        return np.where(self.hit, owner, -1).astype(np.int32)


def rasterize(
    camera: Camera, meshes: Sequence[Mesh], *, engine: Engine | None = None, with_bary: bool = True
) -> GBuffer:
    """The nearest front face in every pixel. Back faces are not drawn: give a two-sided sheet both windings.

    Shadow maps and silhouettes need no weights of corners: without `with_bary` three quarters of the memory are saved.
    """
    engine = choose_engine(engine)
    shape = (camera.height, camera.width)
    face_id = np.full(shape, -1, np.int32)
    depth = np.full(shape, np.inf)
    bary = np.zeros((*shape, 3) if with_bary else (0, 0, 3))
    starts = [0]
    for vertices, faces in meshes:
        faces = np.ascontiguousarray(faces, np.int32)
        pixels, depths = camera.project(vertices)
        fill_triangles(
            np.ascontiguousarray(pixels),
            np.ascontiguousarray(depths),
            faces,
            starts[-1],
            face_id,
            depth,
            bary,
            engine,
        )
        starts.append(starts[-1] + len(faces))
    return GBuffer(face_id, depth, bary, np.asarray(starts))


def mesh_normals(vertices_m: ArrayLike, faces: ArrayLike, *, engine: Engine | None = None) -> Array:
    """(V, 3) unit vertex normals."""
    vertices = np.ascontiguousarray(vertices_m, np.float64)
    return vertex_normals(vertices, np.ascontiguousarray(faces, np.int32), choose_engine(engine))


def render_pose(
    pose: "Pose",
    body: "BodyModel | None" = None,
    size: int = 256,
    view: View = "front",
    color: tuple[float, float, float] = (0.45, 0.62, 0.80),
    *,
    engine: Engine | None = None,
) -> Image.Image:
    """One pose on a light ground with a soft shadow, filling the picture. Heading and tilt are shown as they are.

    "front" is the viewer's own place, so a pose from pose estimation looks as it does in its photograph; "left" looks
    from the side where a body that faces the viewer has its left.
    """
    if view not in _VIEW_AZIMUTH_DEG:
        raise UserError(f"unknown view {view!r}; choose one of {', '.join(_VIEW_AZIMUTH_DEG)}")
    if pose.batch_shape:
        raise UserError(f"render_pose draws one pose, got a batch of shape {tuple(pose.batch_shape)}; index it first")
    if body is None:
        from llmpose.body.model import load_body_model

        body = load_body_model()
    import torch

    with torch.no_grad():
        vertices = body(pose).vertices_m.double().cpu().numpy()
    faces = np.ascontiguousarray(body.faces.cpu().numpy(), np.int32)
    engine = choose_engine(engine)
    camera = _framing(vertices, view, size)
    light = _view_turn(view) @ np.array([-0.45, -0.62, 0.85])
    light /= np.linalg.norm(light)
    image = _shade(vertices, faces, camera.scaled(2), light, np.asarray(color, np.float64), engine)
    image = image.reshape(size, 2, size, 2, 3).mean((1, 3))
    return Image.fromarray((np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8))


def _view_turn(view: View) -> Array:
    """Rotation about z that takes the viewer's place to the view's."""
    angle = np.radians(_VIEW_AZIMUTH_DEG[view])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _framing(vertices: Array, view: View, size: int) -> Camera:
    """A long lens, slightly raised, at the distance where the body just fits."""
    turn = _view_turn(view)
    fov_deg, fill = 24.0, 0.90
    seen = vertices @ turn  # the body as if the camera stood at the viewer's place
    low, high = seen.min(0), seen.max(0)
    middle = turn @ ((low + high) / 2)
    direction = turn @ np.array([0.0, -np.cos(np.radians(9)), np.sin(np.radians(9))])
    distance = max(high[0] - low[0], high[2] - low[2], 0.5) / (2 * np.tan(np.radians(fov_deg) / 2))
    camera = Camera.look_at(middle + direction * distance, middle, width=size, fov_deg=fov_deg)
    for _ in range(3):  # perspective makes near limbs larger: correct the distance by what is seen
        pixels, _ = camera.project(vertices)
        extent = np.abs(pixels - size / 2).max() / (fill * size / 2)
        distance *= extent
        camera = Camera.look_at(middle + direction * distance, middle, width=size, fov_deg=fov_deg)
    return camera


def _shade(vertices: Array, faces: Faces, camera: Camera, light: Array, color: Array, engine: Engine) -> Array:
    """(H, W, 3) in 0..1: the body lit by a lamp, the sky and the camera, on a floor that takes its shadow."""
    buffer = rasterize(camera, [(vertices, faces)], engine=engine)
    rays = camera.rays()
    eye = camera.eye_m
    image = np.empty(rays.shape)
    slope = rays[..., 2] / np.linalg.norm(rays, axis=-1)
    image[:] = np.array([0.93, 0.94, 0.955]) + 0.04 * np.clip(slope, -0.5, 0.5)[..., None]

    lamp = Camera.look_at(vertices.mean(0) + 8 * light, vertices.mean(0), width=256, fov_deg=18)
    lit_depth = rasterize(lamp, [(vertices, faces)], engine=engine).depth_m
    floor_z = vertices[:, 2].min()
    below = ~buffer.hit & (rays[..., 2] < -1e-3)
    steps = (floor_z - eye[2]) / rays[below][:, 2]
    ground = eye + rays[below] * steps[:, None]
    image[below] *= 1 - 0.32 * _shadow(lamp, lit_depth, ground, blur=3)[:, None]

    hit = buffer.hit
    corners = faces[buffer.face_id[hit]]
    weights = buffer.bary[hit][:, :, None]
    normals = (vertex_normals(vertices, faces, engine)[corners] * weights).sum(1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    points = (vertices[corners] * weights).sum(1)
    to_eye = eye - points
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    shadow = _shadow(lamp, lit_depth, points + 0.015 * normals, blur=1)
    direct = np.clip(normals @ light, 0, 1) * (1 - 0.75 * shadow)
    facing = np.clip((normals * to_eye).sum(1), 0, 1)
    brightness = 0.36 + 0.14 * normals[:, 2] + 0.16 * facing + 0.52 * direct
    image[hit] = color * brightness[:, None] + 0.05 * (direct * facing**8)[:, None]
    return image


def _shadow(lamp: Camera, nearest_m: Array, points: Array, *, blur: int) -> Array:
    """(N,) share of the map's cells around each point that something nearer to the lamp covers."""
    pixels, depth = lamp.project(points)
    column, row = np.floor(pixels).astype(np.int64).T
    total = np.zeros(len(points))
    for dy in range(-blur, blur + 1):
        for dx in range(-blur, blur + 1):
            x, y = np.clip(column + dx, 0, lamp.width - 1), np.clip(row + dy, 0, lamp.height - 1)
            total += nearest_m[y, x] < depth - 0.02
    return total / (2 * blur + 1) ** 2
