"""`llmpose body …` as a person types it."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from llmpose import Pose, UserError
from llmpose.cli import app
from llmpose.errors import BadUsage


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["body", *map(str, words)])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    axis_angle = torch.zeros(12, 22, 3)
    axis_angle[:, 0, 0] = torch.pi / 2
    axis_angle[:, 4, 0] = torch.linspace(0, 1.5, 12)
    path = tmp_path / "walk.npz"
    Pose.from_axis_angle(axis_angle, trans_m=torch.zeros(12, 3)).save(path)
    return path


def test_info_says_which_file_and_what_is_in_it() -> None:
    said = run("info", "--model", "stand-in", "--kind", "smplh")
    for fact in ("built in", "smplh", "6890", "13776", "1.73 m", "52: pelvis left_hip"):
        assert fact in said


def test_convert_keeps_the_pose_through_all_formats(walk: Path, tmp_path: Path) -> None:
    run("convert", walk, tmp_path / "one.json", "--frame", 11)
    assert "trans_m left out, an .npy holds rotations only" in run(
        "convert", tmp_path / "one.json", tmp_path / "one.npy"
    )
    expected = Pose.load(walk, frame=11)
    torch.testing.assert_close(Pose.load(tmp_path / "one.npy").rotmat, expected.rotmat, atol=2e-6, rtol=0)
    run("convert", walk, tmp_path / "other.npz", "--mirror", "--face-viewer")
    assert torch.equal(Pose.load(tmp_path / "other.npz").rotmat[:, 5], Pose.load(walk).rotmat[:, 4])


def test_convert_turns_camera_poses_upright_with_their_translation(tmp_path: Path) -> None:
    camera = torch.eye(3).repeat(22, 1, 1)
    camera[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    Pose(camera, trans_m=torch.tensor([0.1, 0.2, 3.0])).save(tmp_path / "camera.npz")
    run("convert", tmp_path / "camera.npz", tmp_path / "world.npz", "--axes", "camera")
    pose = Pose.load(tmp_path / "world.npz")
    torch.testing.assert_close(pose.rotmat, Pose.rest().rotmat)
    assert pose.trans_m is not None
    assert pose.trans_m[1] > 2  # three metres ahead of the camera is three metres away from the viewer


def test_render_draws_one_pose_or_a_row_of_them(walk: Path, tmp_path: Path) -> None:
    run("render", walk, tmp_path / "one.png", "--frame", 3, "--size", 64, "--model", "stand-in")
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.size == (64, 64)
        assert len(picture.getcolors(4096) or []) > 50  # a body, not a blank sheet
    run("render", walk, tmp_path / "row.png", "--count", 3, "--size", 48, "--model", "stand-in")
    with Image.open(tmp_path / "row.png") as picture:
        assert picture.width >= 3 * 48


def test_export_stands_several_poses_in_a_row(walk: Path, tmp_path: Path) -> None:
    import trimesh

    said = run("export", walk, tmp_path / "row.glb", "--count", 2, "--model", "stand-in")
    assert "2 poses, 13780 vertices" in said
    mesh = trimesh.load(tmp_path / "row.glb", force="mesh", process=False)
    assert mesh.extents[0] == pytest.approx(1.2 + 1.70, abs=0.02)  # pyright: ignore[reportOptionalSubscript]


def test_bad_words_are_said(walk: Path, tmp_path: Path) -> None:
    for words, error, message in (
        (("render", walk, tmp_path / "x.gif"), BadUsage, "png or .jpg"),
        (("convert", walk, tmp_path / "x.npz", "--axes", "up"), BadUsage, "choose world, camera or y-up"),
        (("convert", walk, tmp_path / "x.bvh"), UserError, "saved as .npz, .npy, .json"),
        (("render", walk, tmp_path / "x.png", "--view", "top"), BadUsage, "--view 'top'; choose one of front"),
        (("info", "--model", tmp_path / "absent.pkl"), UserError, "no such file"),
        (("info", "--kind", "star"), BadUsage, "--kind 'star'; choose one of smpl, smplh, smplx"),
        (("info", "--gender", "nuetral"), BadUsage, "choose one of neutral, male, female"),
    ):
        with pytest.raises(error, match=message):
            run(*words)


@pytest.mark.parametrize("command", ["info", "convert", "render", "export"])
def test_every_command_shows_an_example(command: str) -> None:
    assert f"Example: llmpose body {command}" in run(command, "--help")
