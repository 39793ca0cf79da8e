"""The z-buffer against hand-worked pictures and against itself: numba and numpy must give the same bits."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

from llmpose.body.camera import VIEWER_ROTATION, Camera
from llmpose.body.model import load_body_model
from llmpose.body.pose import Pose
from llmpose.body.raster import Engine, compiled
from llmpose.body.render import mesh_normals, rasterize, render_pose
from llmpose.errors import UserError

ENGINES: list[Engine] = ["numba", "numpy"]


def level_camera(width: int = 8, height: int = 8) -> Camera:
    """At the origin, looking along +y, one pixel per metre at one metre."""
    return Camera(1.0, (width / 2, height / 2), width, height, VIEWER_ROTATION, np.zeros(3))


def facing_triangle(depth: float, left: float = -3, right: float = 3, low: float = -3, high: float = 3):
    """A right-angled triangle across the view at one depth, its front towards the camera."""
    corners = np.array([[left, depth, low], [right, depth, low], [left, depth, high]]) * [depth, 1, depth]
    return corners, np.array([[0, 1, 2]])


def a_crowd(seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random triangles of all sizes, some behind the camera, some twice (equal depth)."""
    rng = np.random.default_rng(seed)
    meshes = []
    for size in (0.05, 0.5, 6.0):
        centre = rng.uniform((-2, 1, -2), (2, 5, 2), (120, 1, 3))
        vertices = (centre + rng.normal(0, size, (120, 3, 3))).reshape(-1, 3)
        meshes.append((vertices, np.arange(360).reshape(-1, 3)))
    return [*meshes, meshes[1]]


# ---- camera ----------------------------------------------------------------------------------------------------------


def test_camera_sees_x_to_the_right_z_up_and_its_target_in_the_middle() -> None:
    camera = Camera.look_at((0, -5, 1), (0, 0, 1), width=100, height=80, fov_deg=40)
    pixels, depth = camera.project([[0, 0, 1], [1, 0, 1], [0, 0, 2], [0, -6, 1]])
    np.testing.assert_allclose(pixels[0], [50, 40], atol=1e-9)
    assert pixels[1, 0] > 50
    assert pixels[1, 1] == pytest.approx(40)
    assert pixels[2, 1] < 40
    assert depth[:3] == pytest.approx([5, 5, 5])
    assert depth[3] < 0


def test_rays_go_through_the_pixels_they_are_named_after() -> None:
    camera = Camera.look_at((1, -4, 2), (0.3, 0, 1), width=12, height=9, fov_deg=50, roll_deg=7)
    points = camera.eye_m + 3.0 * camera.rays()
    pixels, depth = camera.project(points)
    columns, rows = np.meshgrid(np.arange(12) + 0.5, np.arange(9) + 0.5)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], -1), atol=1e-9)
    np.testing.assert_allclose(depth, 3.0, atol=1e-9)


def test_a_scaled_camera_sees_the_same_in_more_pixels() -> None:
    camera = Camera.look_at((0, -3, 1), (0.2, 0, 1.2), width=40, height=30)
    point = np.array([0.3, 0.2, 1.5])
    np.testing.assert_allclose(camera.scaled(2).project(point)[0], 2 * camera.project(point)[0])


def test_camera_refuses_to_look_at_itself() -> None:
    with pytest.raises(UserError, match="where it stands"):
        Camera.look_at((0, 0, 1), (0, 0, 1), width=10)


# ---- z-buffer --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_triangle_covers_the_pixels_whose_centres_lie_inside(engine: Engine) -> None:
    buffer = rasterize(level_camera(), [facing_triangle(2.0, high=3.3)], engine=engine)
    # Corners at pixels (1, 7), (7, 7), (1, 0.7): below the line from (1, 0.7) to (7, 7), which rises by 1.05 a column.
    rows, columns = np.nonzero(buffer.hit)
    expected = {(r, c) for r in range(7) for c in range(1, 8) if r + 0.5 > 0.7 + 1.05 * (c + 0.5 - 1)}
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == expected
    np.testing.assert_allclose(buffer.depth_m[buffer.hit], 2.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_depth_and_weights_are_those_of_the_point_in_space(engine: Engine) -> None:
    """On a triangle that recedes, weights times corners must give back the world point on the pixel's ray."""
    camera = Camera.look_at((0, -4, 1), (0, 0, 0.5), width=64)
    corners, faces = np.array([[-1.5, -1, 0], [1.5, 2.0, 0.2], [-0.5, 1.0, 1.8]]), np.array([[0, 1, 2]])
    buffer = rasterize(camera, [(corners, faces)], engine=engine)
    assert buffer.hit.sum() > 100
    points = buffer.bary[buffer.hit] @ corners
    pixels, depth = camera.project(points)
    rows, columns = np.nonzero(buffer.hit)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1) + 0.5, atol=1e-9)
    np.testing.assert_allclose(depth, buffer.depth_m[buffer.hit], atol=1e-9)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_nearer_mesh_hides_the_farther_in_any_order(engine: Engine) -> None:
    near, far = facing_triangle(2.0), facing_triangle(3.0, left=-4, right=4, low=-4, high=4)
    for meshes, nearest in (([near, far], 0), ([far, near], 1)):
        buffer = rasterize(level_camera(), meshes, engine=engine)
        inside = rasterize(level_camera(), [near], engine=engine).hit
        assert (buffer.mesh_id[inside] == nearest).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_of_two_equal_faces_the_first_stays(engine: Engine) -> None:
    buffer = rasterize(level_camera(), [facing_triangle(2.0), facing_triangle(2.0)], engine=engine)
    assert set(np.unique(buffer.mesh_id)) == {-1, 0}


@pytest.mark.parametrize("engine", ENGINES)
def test_backs_and_what_is_behind_the_camera_are_not_drawn(engine: Engine) -> None:
    corners, faces = facing_triangle(2.0)
    behind = corners * [1, -1, 1]
    assert not rasterize(level_camera(), [(corners, faces[:, ::-1])], engine=engine).hit.any()
    assert not rasterize(level_camera(), [(behind, faces), (behind, faces[:, ::-1])], engine=engine).hit.any()


def test_both_engines_give_the_same_bits() -> None:
    camera = Camera.look_at((0.3, -5, 1.2), (0, 0, 0.4), width=150, height=110, fov_deg=60, roll_deg=11)
    for seed in range(3):
        compiled, plain = (rasterize(camera, a_crowd(seed), engine=engine) for engine in ENGINES)
        assert compiled.hit.mean() > 0.3
        np.testing.assert_array_equal(compiled.face_id, plain.face_id)
        np.testing.assert_array_equal(compiled.depth_m, plain.depth_m)
        np.testing.assert_array_equal(compiled.bary, plain.bary)
    vertices, faces = a_crowd()[1]
    normals = [mesh_normals(vertices, faces, engine=engine) for engine in ENGINES]
    np.testing.assert_array_equal(normals[0], normals[1])


def test_memory_of_the_numpy_engine_is_bounded_without_changing_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera.look_at((0.3, -5, 1.2), (0, 0, 0.4), width=90)
    whole = rasterize(camera, a_crowd(), engine="numpy")
    monkeypatch.setattr("llmpose.body.raster._MAX_CANDIDATES", 500)
    parts = rasterize(camera, a_crowd(), engine="numpy")
    np.testing.assert_array_equal(whole.face_id, parts.face_id)


def test_normals_of_a_closed_body_point_outwards() -> None:
    body = load_body_model("stand-in")
    vertices, faces = body.vertices_rest.numpy(), body.faces.numpy()
    normals = mesh_normals(vertices, faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    nose, heel = 332, 3387
    assert normals[nose, 2] > 0.5
    assert normals[heel, 2] < 0


def test_unknown_engine_is_refused() -> None:
    with pytest.raises(UserError, match="choose numba or numpy"):
        rasterize(level_camera(), [facing_triangle(2.0)], engine="gl")  # pyright: ignore[reportArgumentType]


# ---- pictures of a pose ----------------------------------------------------------------------------------------------


def test_both_engines_paint_the_same_picture() -> None:
    body = load_body_model("stand-in")
    compiled, plain = (np.asarray(render_pose(Pose.rest(), body, 96, engine=engine)) for engine in ENGINES)
    assert compiled.shape == (96, 96, 3)
    np.testing.assert_array_equal(compiled, plain)


def test_the_left_arm_of_a_body_that_faces_the_viewer_is_on_the_right() -> None:
    body = load_body_model("stand-in")
    down = Pose.rest().rotmat.clone()
    angle = np.radians(-75)
    down[16] = down.new_tensor(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )  # the left arm hangs, the right one stays out
    picture = np.asarray(render_pose(Pose(down), body, 128, view="front")).astype(int)
    blue = picture[:, :, 2] - picture[:, :, 0] > 40
    columns = np.flatnonzero(blue.any(0))
    middle = np.flatnonzero(blue[-20:].any(0)).mean()  # between the feet
    assert middle - columns[0] > 1.5 * (columns[-1] - middle)


def test_views_stand_around_the_body_and_bad_calls_say_so() -> None:
    body = load_body_model("stand-in")
    pictures = {view: np.asarray(render_pose(Pose.rest(), body, 64, view=view)) for view in ("front", "left", "back")}
    widths = {
        view: np.ptp(np.flatnonzero((image[:, :, 2].astype(int) - image[:, :, 0] > 40).any(0)))
        for view, image in pictures.items()
    }
    assert widths["front"] > 3 * widths["left"]  # arms out are seen end-on from the side
    assert (pictures["front"] != pictures["back"]).any()
    with pytest.raises(UserError, match="unknown view"):
        render_pose(Pose.rest(), body, 64, view="top")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="draws one pose"):
        render_pose(Pose.rest(2), body, 64)


def test_pictures_need_no_numba() -> None:
    """The library's own install has none: importing it is made to fail here."""
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "from llmpose.body.pose import Pose\n"
        "from llmpose.body.render import render_pose\n"
        "from llmpose.body.model import load_body_model\n"
        "print(render_pose(Pose.rest(), load_body_model('stand-in'), 48).size)"
    )
    env_code = f"import os; os.environ['LLMPOSE_NUMBA'] = '0'\n{code}"
    done = subprocess.run([sys.executable, "-c", env_code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(48, 48)", done.stderr


def doubled(number: int) -> int:
    return 2 * number


def test_a_loop_is_compiled_anew_when_a_file_changes_whose_functions_it_calls(tmp_path: Path) -> None:
    """numba looks at the loop's own file only; the name on disk tells the others apart."""
    pytest.importorskip("numba")
    names: list[str] = []
    for version in ("one", "two"):
        path = tmp_path / f"source_{version}.py"
        path.write_text(f"answer = {version!r}\n")
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        source = module_from_spec(spec)
        spec.loader.exec_module(source)
        names.append(compiled(doubled, source).__qualname__)
    assert names[0] != names[1]
    assert all(name.startswith("doubled_") for name in names)
