"""Meshes for other programs: .glb for viewers and the web, .obj and .ply for everything else."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from llmpose.body.pose_files import write_whole
from llmpose.errors import UserError

# glTF fixes y as up and +z as the front of a model; most programs read .obj the same way. Ours is z up, front at -y.
_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
_SKIN = (0.80, 0.62, 0.52)


def export_mesh(
    path: str | Path,
    vertices_m: Tensor | np.ndarray,
    faces: Tensor | np.ndarray,
    *,
    colors: Tensor | np.ndarray | tuple[float, float, float] = _SKIN,
) -> None:
    """Write a mesh, or several with the same faces, in the world frame (z up); the file is y up, as viewers expect.

    vertices_m (V, 3) or (people, V, 3); colors one RGB in 0..1 (sRGB) or one per vertex.
    """
    import trimesh

    path = Path(path)
    if path.suffix not in (".glb", ".obj", ".ply"):
        raise UserError(f"{path}: a mesh is written as .glb, .obj or .ply")
    vertices = _array(vertices_m).astype(np.float64)
    triangles = _array(faces).astype(np.int64)
    if vertices.ndim == 2:
        vertices = vertices[None]
    if vertices.ndim != 3 or vertices.shape[-1] != 3 or triangles.ndim != 2 or triangles.shape[-1] != 3:
        raise UserError(f"a mesh is vertices (V, 3) and faces (F, 3), got {vertices.shape[1:]} and {triangles.shape}")
    people, count = vertices.shape[:2]
    rgb = np.broadcast_to(np.clip(_array(colors), 0, 1), (people, count, 3)).reshape(-1, 3)
    if path.suffix == ".glb":
        rgb = rgb**2.2  # glTF reads vertex colours as linear light; sRGB numbers would look washed out
    offsets = (np.arange(people) * count)[:, None, None]
    mesh = trimesh.Trimesh(
        vertices=vertices.reshape(-1, 3) @ _TO_Y_UP.T,
        faces=(triangles + offsets).reshape(-1, 3),
        vertex_colors=np.concatenate([(rgb * 255).round(), np.full((len(rgb), 1), 255)], axis=1).astype(np.uint8),
        process=False,  # keep vertex numbers
    )
    # Without normals in the file, three.js and others shade every triangle flat.
    options: dict[str, Any] = {} if path.suffix == ".ply" else {"include_normals": True}
    content = mesh.export(file_type=path.suffix[1:], **options)
    data = content.encode() if isinstance(content, str) else bytes(content)  # pyright: ignore[reportArgumentType]
    write_whole(path, lambda file: file.write(data))


def _array(value: Tensor | np.ndarray | tuple[float, ...]) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
