"""Pose files come back as they were written; files of others are understood; damaged ones are named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from llmpose import Pose, UserError, load_body_model
from llmpose.body import pose_files


@pytest.fixture
def walk() -> Pose:
    generator = torch.Generator().manual_seed(3)
    return Pose.from_axis_angle(
        torch.randn(6, 22, 3, generator=generator),
        torch.randn(6, 10, generator=generator),
        torch.randn(6, 3, generator=generator),
    )


def test_npz_and_npy_come_back_bit_for_bit(walk: Pose, tmp_path: Path) -> None:
    walk.save(tmp_path / "walk.npz")
    walk[2].save(tmp_path / "one.npy")
    back = Pose.load(tmp_path / "walk.npz")
    for name in ("rotmat", "betas", "trans_m"):
        assert torch.equal(getattr(back, name), getattr(walk, name))
    assert torch.equal(Pose.load(tmp_path / "one.npy").rotmat, walk[2].rotmat)
    assert Pose.load(tmp_path / "walk.npz", frame=-1).batch_shape == ()


@pytest.mark.parametrize("shape", [(), (6,), (2, 3)])
def test_json_comes_back_with_its_batch(walk: Pose, tmp_path: Path, shape: tuple[int, ...]) -> None:
    pose = walk[0] if shape == () else walk.mapped(lambda value: value.unflatten(0, shape))
    pose.save(tmp_path / "pose.json")
    back = Pose.load(tmp_path / "pose.json")
    assert back.batch_shape == shape
    torch.testing.assert_close(back.rotmat, pose.rotmat, atol=2e-6, rtol=0)
    assert back.trans_m is not None
    torch.testing.assert_close(back.trans_m, pose.trans_m)


def test_a_json_written_by_hand_names_only_what_moves(tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    path.write_text(json.dumps({"format": "llmpose.pose", "poses": [{"axis_angle": {"left_knee": [1.5, 0, 0]}}]}))
    pose = Pose.load(path)[0]
    moved = (pose.rotmat - Pose.rest().rotmat).abs().amax((-1, -2)) > 1e-5
    assert moved.nonzero().flatten().tolist() == [4]


def test_what_we_save_is_readable_as_amass(walk: Pose, tmp_path: Path) -> None:
    walk.save(tmp_path / "walk.npz")
    with np.load(tmp_path / "walk.npz") as archive:
        assert archive["poses"].shape == (6, 66)
        assert archive["trans"].shape == (6, 3)


def test_amass_and_its_newer_layout_are_read(walk: Pose, tmp_path: Path) -> None:
    axis_angle = walk.to_axis_angle().flatten(-2).double().numpy()
    old = {"poses": np.pad(axis_angle, ((0, 0), (0, 90))), "betas": np.arange(16.0), "trans": np.zeros((6, 3))}
    new = {"root_orient": axis_angle[:, :3], "pose_body": axis_angle[:, 3:], "betas": np.arange(16.0)}
    for name, arrays in (("old", old), ("new", new)):
        np.savez(tmp_path / f"{name}.npz", gender="neutral", mocap_framerate=120.0, **arrays)
        pose = Pose.load(tmp_path / f"{name}.npz")
        torch.testing.assert_close(pose.rotmat, walk.rotmat, atol=2e-6, rtol=0)
        assert pose.betas is not None
        assert pose.betas[3].tolist() == list(range(10))


def test_axes_say_which_way_up_a_file_is(tmp_path: Path) -> None:
    np.save(tmp_path / "upright.npy", np.eye(3, dtype=np.float32)[None].repeat(22, 0))  # identity: upright when y is up
    torch.testing.assert_close(Pose.load(tmp_path / "upright.npy", axes="y-up").rotmat, Pose.rest().rotmat)


def test_a_pose_on_the_way_to_a_full_disk_leaves_no_file(
    walk: Pose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk.save(tmp_path / "walk.npz")
    before = (tmp_path / "walk.npz").read_bytes()

    def full_disk(file, **arrays) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pose_files.np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="No space left"):
        walk[0].save(tmp_path / "walk.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["walk.npz"]
    assert (tmp_path / "walk.npz").read_bytes() == before


def test_rotations_rounded_to_half_precision_are_made_whole(walk: Pose, tmp_path: Path) -> None:
    rounded = walk.rotmat.bfloat16().float()
    np.save(tmp_path / "rounded.npy", rounded.numpy())
    pose = Pose.load(tmp_path / "rounded.npy").check()
    assert (pose.rotmat - walk.rotmat).abs().max() < 0.006


def test_the_published_demo_poses_stand_upright(samples_dir: Path) -> None:
    body = load_body_model("stand-in")
    for path in sorted((samples_dir / "unipose_demo").glob("*.npy")):
        joints = body.joints(Pose.load(path))
        assert joints[12, 2] > joints[0, 2] + 0.3, f"{path.name}: neck above pelvis"


def write_npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


def test_damaged_and_foreign_files_are_named(walk: Pose, tmp_path: Path) -> None:
    walk.save(tmp_path / "whole.npz")
    cut = tmp_path / "cut.npz"
    cut.write_bytes((tmp_path / "whole.npz").read_bytes()[:-200])
    broken = tmp_path / "broken.npz"
    content = bytearray((tmp_path / "whole.npz").read_bytes())
    content[200:260] = bytes(60)
    broken.write_bytes(content)
    nan = np.zeros((4, 66))
    nan[2, 7] = np.nan
    (tmp_path / "typo.json").write_text(
        json.dumps({"format": "llmpose.pose", "poses": [{"axis_angle": {"left_kne": [1, 0, 0]}}]})
    )
    (tmp_path / "short.json").write_text(
        json.dumps({"format": "llmpose.pose", "poses": [{"axis_angle": {"head": [1, 0]}}]})
    )
    (tmp_path / "other.json").write_text("[1, 2]")
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "pose.txt").write_text("")
    cases = [
        (tmp_path / "absent.npz", "no such file"),
        (cut, "not a readable .npz"),
        (broken, "not a readable .npz"),
        (write_npz(tmp_path / "nan.npz", poses=nan), "NaN"),
        (write_npz(tmp_path / "joints.npz", poses=np.zeros((4, 63))), r"flat \(..., 66\), got \(4, 63\)"),
        (write_npz(tmp_path / "keys.npz", images=np.zeros(3)), "no pose in it.*found images"),
        (write_npz(tmp_path / "objects.npz", poses=np.array([{}, None], dtype=object)), "not a readable .npz"),
        (write_npz(tmp_path / "words.npz", poses=np.array(["walk"] * 66)), "numbers were expected"),
        (write_npz(tmp_path / "sheared.npz", rotmat=np.full((22, 3, 3), 0.5)), "not a rotation"),
        (write_npz(tmp_path / "betas.npz", poses=np.zeros(66), betas=np.zeros(3)), "at least 10"),
        (tmp_path / "typo.json", "pose 0: no joint 'left_kne', did you mean 'left_knee'"),
        (tmp_path / "short.json", "head: expected 3 numbers"),
        (tmp_path / "other.json", "not a pose file"),
        (tmp_path / "text.npy", "not a readable .npy"),
        (write_npz(tmp_path / "none.npz", poses=np.zeros((0, 66))), "holds no pose"),
        (tmp_path, "a folder, expected a pose file"),
        (tmp_path / "pose.txt", "ends in .npz, .npy, .json"),
    ]
    for path, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            Pose.load(path)
        assert str(caught.value).count(path.name) == 1
        assert "allow_pickle" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_frame_outside_the_sequence_is_said(walk: Pose, tmp_path: Path) -> None:
    walk.save(tmp_path / "walk.npz")
    with pytest.raises(UserError, match=r"no frame 6, the file holds 6"):
        Pose.load(tmp_path / "walk.npz", frame=6)
