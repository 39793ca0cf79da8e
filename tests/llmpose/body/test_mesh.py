"""Exported meshes keep every vertex, stand upright in a y-up viewer, and carry normals and colours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from llmpose import Pose, UserError
from llmpose.body.model import load_body_model
from llmpose.body.pose import export_mesh


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_a_mesh_file_holds_the_body_upright(tmp_path: Path, suffix: str) -> None:
    body = load_body_model("stand-in")
    vertices = body(Pose.rest()).vertices_m
    export_mesh(tmp_path / f"body.{suffix}", vertices, body.faces)
    mesh: Any = trimesh.load(tmp_path / f"body.{suffix}", force="mesh", process=False)
    assert len(mesh.faces) == len(body.faces)
    assert len(mesh.vertices) == body.num_vertices
    up = vertices.numpy() @ np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).T
    np.testing.assert_allclose(mesh.vertices, up, atol=1e-5)
    assert mesh.extents[1] > mesh.extents[2]  # y is up: taller than deep
    assert mesh.vertices[332][2] > 0.1  # the nose points to +z, glTF's front


def test_glb_has_normals_and_linear_colours(tmp_path: Path) -> None:
    body = load_body_model("stand-in")
    export_mesh(tmp_path / "body.glb", body(Pose.rest()).vertices_m, body.faces, colors=(0.5, 0.5, 0.5))
    content = (tmp_path / "body.glb").read_bytes()
    assert b'"NORMAL"' in content
    mesh: Any = trimesh.load(tmp_path / "body.glb", force="mesh", process=False)
    assert mesh.visual.vertex_colors[0, 0] == round(0.5**2.2 * 255)


def test_several_people_go_into_one_file(tmp_path: Path) -> None:
    body = load_body_model("stand-in")
    export_mesh(tmp_path / "two.glb", body(Pose.rest(2)).vertices_m, body.faces)
    mesh: Any = trimesh.load(tmp_path / "two.glb", force="mesh", process=False)
    assert len(mesh.faces) == 2 * len(body.faces)
    assert mesh.faces.max() == 2 * body.num_vertices - 1


def test_other_endings_and_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.glb, \.obj or \.ply"):
        export_mesh(tmp_path / "body.stl", np.zeros((3, 3)), np.zeros((1, 3)))
    with pytest.raises(UserError, match="vertices"):
        export_mesh(tmp_path / "body.glb", np.zeros((3, 2)), np.zeros((1, 3)))
