"""The stand-in's maker gives a closed, symmetric, human-sized body in SMPL's counts: the one that the library ships."""

from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from data.synth.blobs import smooth_min
from data.synth.body import make_stand_in
from data.synth.body_mesh import _unzoom, _zoom
from data.synth.body_rig import SMPL_NAMES, SMPLH_NAMES, parents
from data.synth.body_shape import SHAPE_NAMES
from data.synth.body_surface import FLOOR_M, body_surface, landmark_points, rest_joints
from llmpose import load_body_model
from llmpose.body.files import ASSET, read_npz
from llmpose.body.landmarks import LANDMARK_VERTICES
from llmpose.body.pose import swap_sides

FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def made() -> dict[str, np.ndarray]:
    return make_stand_in()


@pytest.fixture(scope="module")
def shipped() -> dict[str, np.ndarray]:
    return read_npz(ASSET)


def solid(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, faces.astype(np.int64), process=False)


def test_the_maker_gives_what_the_library_ships(made: dict[str, np.ndarray], shipped: dict[str, np.ndarray]) -> None:
    """To the byte where the same libraries run; a newer mesh library may number vertices in another way."""
    assert made.keys() == shipped.keys()
    for key, value in made.items():
        assert value.shape == shipped[key].shape
        assert value.dtype == shipped[key].dtype
    ours, theirs = solid(made["v_template"], made["f"]), solid(shipped["v_template"], shipped["f"])
    assert ours.volume == pytest.approx(theirs.volume, rel=1e-3)
    np.testing.assert_allclose(ours.bounds, theirs.bounds, atol=2e-3)
    for prefix in ("", "smplh_"):
        np.testing.assert_allclose(
            made[f"{prefix}J_regressor"] @ made["v_template"],
            shipped[f"{prefix}J_regressor"] @ shipped["v_template"],
            atol=1e-6,
        )


def test_the_mesh_is_closed_without_handles_and_has_no_slivers(made: dict[str, np.ndarray]) -> None:
    mesh = solid(made["v_template"].astype(np.float64), made["f"])
    assert (len(mesh.vertices), len(mesh.faces)) == (6890, 13776)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert 0.055 < mesh.volume < 0.080  # cubic metres; positive: the faces look outwards
    assert np.degrees(np.percentile(mesh.face_angles.min(axis=1), 1)) > 20


def test_every_vertex_lies_on_the_surface(made: dict[str, np.ndarray]) -> None:
    assert np.abs(body_surface()(made["v_template"].astype(np.float64))).max() < 1e-5


def test_the_body_is_a_persons_size_and_stands_on_its_soles(made: dict[str, np.ndarray]) -> None:
    low, high = made["v_template"].min(axis=0), made["v_template"].max(axis=0)
    assert high[1] - low[1] == pytest.approx(1.727, abs=0.01)
    assert high[0] - low[0] == pytest.approx(1.70, abs=0.02)  # arm span
    sole = made["v_template"][made["v_template"][:, 1] < FLOOR_M + 0.006]
    assert sole[:, 2].min() < -0.07  # from the heel
    assert sole[:, 2].max() > 0.12  # to the toes


def test_left_and_right_are_exact_mirror_images(made: dict[str, np.ndarray]) -> None:
    mirror = made["mirror"].astype(np.int64)
    assert np.array_equal(mirror[mirror], np.arange(6890))
    np.testing.assert_array_equal(made["v_template"][mirror], made["v_template"] * FLIP.astype(np.float32))
    np.testing.assert_allclose(made["shapedirs"][mirror], made["shapedirs"] * FLIP[:, None], atol=1e-8)
    for prefix, names in (("", SMPL_NAMES), ("smplh_", SMPLH_NAMES)):
        swap = [names.index(swap_sides(name)) for name in names]
        np.testing.assert_array_equal(made[f"{prefix}weights"][mirror][:, swap], made[f"{prefix}weights"])
        np.testing.assert_array_equal(made[f"{prefix}J_regressor"][:, mirror][swap], made[f"{prefix}J_regressor"])


def test_weights_and_regressors_are_shares(made: dict[str, np.ndarray]) -> None:
    for prefix, names in (("", SMPL_NAMES), ("smplh_", SMPLH_NAMES)):
        weights, regressor = made[f"{prefix}weights"], made[f"{prefix}J_regressor"]
        for shares in (weights, regressor):
            assert shares.min() >= 0
            np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        assert (weights > 0).sum(axis=1).max() <= 6
        assert (weights.max(axis=0) > 0.5).all()  # every joint moves something
        np.testing.assert_allclose(regressor @ made["v_template"], rest_joints(names), atol=1e-6)
        assert made[f"{prefix}kintree_table"][0].tolist() == list(parents(names))


def test_parents_are_smpls_tree() -> None:
    tree = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
    assert parents(SMPL_NAMES) == tree
    hands = parents(SMPLH_NAMES)
    assert hands[:22] == tree[:22]
    assert hands[22:28] == (20, 22, 23, 20, 25, 26)
    assert hands[37:40] == (21, 37, 38)


def test_landmarks_have_smpls_vertex_numbers(made: dict[str, np.ndarray]) -> None:
    for name, point in landmark_points().items():
        distance = np.linalg.norm(made["v_template"][LANDMARK_VERTICES[name]] - point)
        assert distance < 0.016, f"{name} is {1000 * distance:.0f} mm away"


def test_shape_directions_do_what_their_names_say() -> None:
    body = load_body_model("stand-in")

    def shaped(name: str, value: float) -> Any:
        betas = torch.zeros(10)
        betas[SHAPE_NAMES.index(name)] = value
        output = body(torch.eye(3).repeat(22, 1, 1), betas=betas)
        joints = dict(zip(body.joint_names, output.joints_m.numpy(), strict=True))
        mesh = solid(output.vertices_m.double().numpy(), body.faces.numpy())
        return joints, mesh

    def spread(name: str, measure: Any) -> float:
        """How much a measure grows from coefficient -2 to 2, relative."""
        small, large = measure(*shaped(name, -2)), measure(*shaped(name, 2))
        return float(large / small - 1)

    def length(a: str, b: str) -> Any:
        return lambda joints, _: np.linalg.norm(joints[a] - joints[b])

    height, volume = (lambda _, mesh: mesh.extents[1]), (lambda _, mesh: mesh.volume)
    assert 0.10 < spread("stature", height) < 0.18
    assert 0.3 < spread("girth", volume) < 1.2
    assert abs(spread("girth", height)) < 0.04
    assert spread("leg length", length("left_hip", "left_ankle")) > 0.1
    assert spread("leg length", length("pelvis", "head")) == pytest.approx(0, abs=0.01)
    assert spread("arm length", length("left_shoulder", "left_wrist")) > 0.1
    assert spread("shoulder width", length("left_shoulder", "right_shoulder")) > 0.05
    for name in ("hip width", "belly", "chest", "head size", "limb girth"):
        assert spread(name, volume) > 0.002, name
    for name in SHAPE_NAMES:
        for value in (-2, 2):
            assert shaped(name, value)[1].is_volume, f"{name} {value} turns the mesh inside out"


def test_magnifying_before_decimation_can_be_undone() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    assert np.abs(_zoom(points) - points).max() > 0.01
    np.testing.assert_allclose(_unzoom(_zoom(points)), points, atol=1e-12)


def test_a_smooth_minimum_is_the_minimum_away_from_the_seam() -> None:
    assert smooth_min(np.array([0.0, 0.5]), np.array([1.0, 0.2]), 0.1).tolist() == [0.0, 0.2]
    assert smooth_min(np.array(0.3), np.array(0.3), 0.1) == pytest.approx(0.3 - 0.1 / 4)


def test_the_grid_and_the_points_see_the_same_surface() -> None:
    surface = body_surface()
    axes = [np.linspace(0.0, 0.3, 13), np.linspace(-0.4, 0.5, 19), np.linspace(-0.15, 0.15, 11)]
    grid = surface.on_grid(axes)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = surface(points).reshape(grid.shape)
    near = np.abs(distance) < 0.01  # farther away the boxes of the blobs may differ by a grid line
    np.testing.assert_allclose(grid[near], distance[near], atol=1e-9)
